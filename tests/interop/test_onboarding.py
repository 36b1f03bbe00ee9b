"""slixmpp makes accounts with the answer to a question and with invitations, and contacts with these too.

XEP-0158, XEP-0401, XEP-0445, XEP-0379, and XEP-0489, which tells others who made them; slixmpp has no words
for the last three, so these are the XEPs' own.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import slixmpp

from tests.interop.actor import PASSWORD, PATIENCE, Actor, entered
from tests.interop.logins import DOMAIN, serving
from tests.interop.test_upload import visitor
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign]

LIST, REVOKE = "urn:jabberd:invitations#list", "urn:jabberd:invitations#revoke"
MORE = """
[domains."montague.lit".modules]
affiliations = true
[control]
socket = "montague.sock"
[[listeners]]
kind = "web"
address = "127.0.0.1"
port = 0
direct_tls = true
[domains."montague.lit".modules.invitations]
inviters = "everybody"
[[domains."montague.lit".modules.registration.questions]]
ask = "How many houses are there in fair Verona?"
answers = ["two"]
[[domains."montague.lit".modules.registration.questions]]
lang = "it"
ask = "Quante casate ci sono nella bella Verona?"
answers = ["due"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("montague"), MORE) as server:
        yield server


class Newcomer(Actor):
    """Somebody without an account, who does something before the login."""

    def __init__(self, server: Running, name: str) -> None:
        super().__init__(
            f"{name}@{DOMAIN}/piazza", server.port("c2s"), server.log.with_name("ca.crt"), register=False
        )
        self.register_plugin("xep_0077")
        self._always_send_everything = True  # it has a word for registration alone, before a login
        self.came = asyncio.Event()
        self.left = asyncio.Event()
        self.add_event_handler("register", self._wait)

    async def _wait(self, _: object) -> None:
        """Log in when all else is done."""
        self.came.set()
        await self.left.wait()

    async def form(self) -> Any:
        """The form."""
        return (await self._ask(self.Iq(stype="get")))["register"]["form"]

    async def register(self, form: Any, **filled: str) -> str:
        """The condition of the refusal; empty: it was done."""
        iq = self.Iq(stype="set")
        mine = {"username": self.boundjid.user, "password": PASSWORD, **filled}
        form.set_type("submit")
        form.set_values({**form.get_values(), **mine})
        iq["register"].append(form)
        try:
            await iq.send(timeout=PATIENCE)  # type: ignore[no-untyped-call]  # slixmpp's
        except slixmpp.exceptions.IqError as error:
            return str(error.condition)
        return ""

    async def shows(self, token: str) -> str:
        """The same of an invitation."""
        iq = self.Iq(stype="set", sto=DOMAIN)
        iq.append(ET.Element("{urn:xmpp:pars:0}preauth", {"token": token}))
        try:
            await iq.send(timeout=PATIENCE)  # type: ignore[no-untyped-call]  # slixmpp's
        except slixmpp.exceptions.IqError as error:
            return str(error.condition)
        return ""

    async def _ask(self, iq: Any) -> Any:
        iq.enable("register")
        return await iq.send(timeout=PATIENCE)


async def meet(newcomer: Newcomer) -> None:
    newcomer.connect("127.0.0.1", newcomer._port)
    async with asyncio.timeout(PATIENCE):
        await newcomer.came.wait()


async def enter(newcomer: Newcomer) -> None:
    newcomer.left.set()
    await newcomer.until("the start of its session", lambda: newcomer.sessionstarted)


def test_a_newcomer_answers_and_comes_in(server: Running) -> None:
    async def play() -> None:
        peter = Newcomer(server, "peter")
        await meet(peter)
        form = await peter.form()
        assert form.get_fields(use_dict=True)["qa"]["label"].endswith("in fair Verona?")
        assert await peter.register(form, qa="three") == "not-acceptable"
        assert await peter.register(await peter.form(), qa="Two") == ""
        await enter(peter)
        await peter.disconnect(wait=1.0)

    asyncio.run(play())
    assert "two" not in server.log.read_text().lower().split()


def operate(config: Path, *words: str) -> str:
    """What jabberctl prints."""
    command = [sys.executable, "-m", "jabberd.ctl", "--config", str(config), *words]
    return subprocess.run(command, text=True, check=True, capture_output=True, timeout=90).stdout


def preauth(uri: str) -> str:
    found = re.search(r";preauth=([a-z2-7]+)", uri)
    assert found is not None, uri
    return found[1]


async def page(server: Running, url: str) -> tuple[int, str]:
    """Status and text of a web page, by aiohttp."""
    async with visitor(server, server.log.with_name("ca.crt")) as browser, browser.get(url) as answer:
        return answer.status, await answer.text()


async def revoke_all(actor: Actor) -> list[str]:
    """Revoke each of one's own invitations, from the menu; what was in the list."""
    plugin: Any = actor.plugin["xep_0050"]
    listed = await plugin.get_commands(DOMAIN, timeout=PATIENCE)
    nodes = [node for _, node, _ in listed["disco_items"]["items"]]
    assert {LIST, REVOKE} <= {*nodes}
    told = (await plugin.send_command(DOMAIN, LIST, timeout=PATIENCE))["command"]["form"].get_items()
    asked = (await plugin.send_command(DOMAIN, REVOKE, timeout=PATIENCE))["command"]
    form = asked["form"]
    form.set_type("submit")
    form.set_values({"id": [each["id"] for each in told]})
    iq = actor.Iq(stype="set", sto=DOMAIN)
    iq["command"]["node"], iq["command"]["sessionid"] = REVOKE, asked["sessionid"]
    iq["command"].append(form)
    done = await iq.send(timeout=PATIENCE)  # type: ignore[no-untyped-call]  # slixmpp's
    assert done["command"]["status"] == "completed"
    return [each["for"] for each in told]


async def invited(actor: Actor) -> str:
    """The URI that a client gets from its menu."""
    return (await invitation(actor))["uri"]


async def invitation(actor: Actor) -> dict[str, str]:
    """All that it gets."""
    actor.register_plugin("xep_0050")
    plugin: Any = actor.plugin["xep_0050"]
    listed = await plugin.get_commands(DOMAIN, timeout=PATIENCE)
    assert "urn:xmpp:invite#invite" in [node for _, node, _ in listed["disco_items"]["items"]]
    answer = await plugin.send_command(DOMAIN, "urn:xmpp:invite#invite", timeout=PATIENCE)
    assert answer["command"]["status"] == "completed"
    return {name: str(value) for name, value in answer["command"]["form"].get_values().items()}


def romeo(server: Running) -> Actor:
    return Actor(
        f"romeo@{DOMAIN}/orchard", server.port("c2s"), server.log.with_name("ca.crt"), register=False
    )


def test_whom_a_user_invites_comes_in_and_is_seen(server: Running) -> None:
    async def play() -> None:
        inviter, juliet = romeo(server), Newcomer(server, "juliet")
        async with entered(inviter):
            uri = await invited(inviter)
            assert uri.startswith(f"xmpp:romeo@{DOMAIN}?roster;")
            assert uri.endswith(";ibr=y")
            await meet(juliet)
            assert await juliet.shows(preauth(uri)) == ""
            assert await juliet.register(await juliet.form()) == ""
            await inviter.until(
                "its new contact", lambda: inviter.client_roster[f"juliet@{DOMAIN}"]["subscription"] == "both"
            )
            await enter(juliet)
            await juliet.get_roster()
            assert juliet.client_roster[f"romeo@{DOMAIN}"]["subscription"] == "both"
            juliet.send_presence()
            await inviter.receives("presence", from_=juliet.boundjid.full)
            await juliet.receives("presence", from_=inviter.boundjid.full)
            await juliet.disconnect(wait=1.0)
            late = Newcomer(server, "tybalt")
            await meet(late)
            assert await late.shows(preauth(uri)) == "item-not-found"
            await late.disconnect(wait=1.0)

    asyncio.run(play())


def test_whoever_has_an_account_becomes_a_contact_with_the_token(server: Running) -> None:
    async def play() -> None:
        inviter, nurse = romeo(server), Newcomer(server, "nurse")
        inviter.roster.auto_authorize = inviter.roster.auto_subscribe = False
        async with entered(inviter):
            await meet(nurse)
            assert await nurse.register(await nurse.form(), qa="two") == ""
            await enter(nurse)
            await nurse.get_roster()
            nurse.send_presence()
            request = nurse.Presence()
            request["to"], request["type"] = f"romeo@{DOMAIN}", "subscribe"
            token = preauth(await invited(inviter))
            request.append(ET.Element("{urn:xmpp:pars:0}preauth", {"token": token}))
            request.send()
            await nurse.receives("presence", type="subscribed", from_=f"romeo@{DOMAIN}")
            await nurse.receives("presence", from_=inviter.boundjid.full)
            await inviter.receives("presence", from_=nurse.boundjid.full)
            await nurse.disconnect(wait=1.0)

    asyncio.run(play())


def test_an_invitation_has_a_page_until_its_maker_takes_it_back(server: Running) -> None:
    async def play() -> None:
        inviter = romeo(server)
        async with entered(inviter):
            made = await invitation(inviter)
            status, text = await page(server, made["landing-url"])
            assert status == 200
            assert f"romeo@{DOMAIN} invites you to chat" in text
            assert f'href="{made["uri"]}"' in text
            assert (await page(server, made["landing-url"][:-1]))[0] == 404
            assert "a contact or an account at montague.lit" in await revoke_all(inviter)
            status, text = await page(server, made["landing-url"])
            assert status == 404
            assert "This invitation cannot be used" in text
            paris = Newcomer(server, "paris")
            await meet(paris)
            assert await paris.shows(preauth(made["uri"])) == "item-not-found"
            await paris.disconnect(wait=1.0)

    asyncio.run(play())
    assert "preauth" not in server.log.read_text()


def test_it_is_told_who_made_an_account(server: Running) -> None:
    async def told(asker: Actor, name: str) -> dict[str, str]:
        iq = asker.Iq(stype="get", sto=f"{name}@{DOMAIN}")
        iq.append(ET.Element("{urn:xmpp:raa:0}query"))
        answer = await iq.send(timeout=PATIENCE)  # type: ignore[no-untyped-call]  # slixmpp's
        return dict(answer.xml.find("{urn:xmpp:raa:0}info").attrib)

    async def play() -> None:
        asker, balthasar = romeo(server), Newcomer(server, "balthasar")
        async with entered(asker):
            await meet(balthasar)
            assert await balthasar.register(await balthasar.form(), qa="two") == ""
            assert await told(asker, "romeo") == {"affiliation": "member"}
            day = f"{datetime.now(UTC):%Y-%m-%d}T00:00:00Z"
            assert await told(asker, "balthasar") == {"affiliation": "registered", "since": day}
            await enter(balthasar)
            message = balthasar.make_message(f"romeo@{DOMAIN}", "hi")
            message.append(ET.Element("{urn:xmpp:raa:0}info", {"affiliation": "admin"}))
            message.send()
            heard = await asker.receives("message", body="hi")
            infos = heard.xml.findall("{urn:xmpp:raa:0}info")
            assert [each.get("affiliation") for each in infos] == ["registered"]
            await balthasar.disconnect(wait=1.0)

    asyncio.run(play())


def test_a_server_that_is_killed_lets_nobody_in_a_second_time(tmp_path: Path) -> None:
    async def first(server: Running, token: str) -> None:
        peter = Newcomer(server, "peter")
        await meet(peter)
        assert await peter.shows(token) == ""
        assert await peter.register(await peter.form()) == ""
        server.process.kill()
        peter.abort()

    async def second(server: Running, token: str) -> None:
        peter, tybalt = Newcomer(server, "peter"), Newcomer(server, "tybalt")
        await meet(tybalt)
        assert await tybalt.shows(token) == "item-not-found"
        await meet(peter)
        await enter(peter)
        for each in (peter, tybalt):
            await each.disconnect(wait=1.0)

    config = tmp_path / "montague.toml"
    with serving(tmp_path, MORE) as server:
        token = preauth(operate(config, "invitations", "create", DOMAIN))
        asyncio.run(first(server, token))
        server.process.wait(PATIENCE)
    with running(config) as server:
        asyncio.run(second(server, token))
        assert "peter" in operate(config, "accounts", "list", DOMAIN)
