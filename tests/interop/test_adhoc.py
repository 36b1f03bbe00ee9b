"""An admin administers a running server with slixmpp, as with any client that has ad-hoc commands."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from slixmpp.exceptions import IqError

from jabberd.certificates import development_certificates
from tests.interop.actor import PASSWORD, PATIENCE, Actor, entered
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.running import Running

pytestmark = pytest.mark.process
JABBERCTL = Path(sys.executable).with_name("jabberctl")
ADMIN = "http://jabber.org/protocol/admin"
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
federation = "off"
admins = ["prince@montague.lit"]
[tls]
certificates = "certs"
[storage]
url = "sqlite:montague.db"
[control]
socket = "control"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """With accounts for romeo and the prince, who is its admin."""
    development_certificates(tmp_path / "certs", ("montague.lit",))
    config = tmp_path / "montague.toml"
    config.write_text(CONFIG)
    for name in ("prince", "romeo"):
        command = [JABBERCTL, "--config", config, "--password-stdin", "accounts", "create"]
        subprocess.run(
            [*map(str, command), f"{name}@montague.lit"],
            input=PASSWORD,
            text=True,
            check=True,
            capture_output=True,
            timeout=90,
        )
    with running(config) as server:
        yield server


def client(server: Running, name: str) -> Any:  # slixmpp's types are its own
    authority = server.log.parent / "certs" / "ca.crt"
    actor = Actor(f"{name}@montague.lit/palace", server.port("c2s"), authority, register=False)
    for plugin in ("xep_0004", "xep_0050", "xep_0133"):
        actor.register_plugin(plugin)
    return actor


async def administer(actor: Any, name: str, fields: dict[str, Any] | None = None) -> Any:
    """Run a command as slixmpp does: fill in its form, if it has one, and return the last answer."""
    answers: asyncio.Queue[Any] = asyncio.Queue()

    def next_step(iq: Any, session: dict[str, Any]) -> None:
        if iq["command"]["status"] == "completed":
            answers.put_nowait(iq)
            return
        form = iq["command"]["form"]
        assert form.get_fields()["FORM_TYPE"]["value"] == [ADMIN]
        form["type"] = "submit"
        form.set_values(fields or {})
        session["payload"] = form
        session["next"] = next_step
        actor.plugin["xep_0050"].complete_command(session)

    run: Callable[..., None] = getattr(actor.plugin["xep_0133"], name)
    run(session={"next": next_step})
    async with asyncio.timeout(PATIENCE):
        return await answers.get()


async def refused(actor: Any, name: str, fields: dict[str, Any]) -> str:
    """The condition of the error that a filled in form gets."""
    commands = actor.plugin["xep_0050"]
    first = await commands.send_command("montague.lit", f"{ADMIN}#{name}")
    form = first["command"]["form"]
    form["type"] = "submit"
    form.set_values(fields)
    with pytest.raises(IqError) as error:
        await commands.send_command(
            "montague.lit",
            f"{ADMIN}#{name}",
            action="complete",
            payload=form,
            sessionid=first["command"]["sessionid"],
        )
    return str(error.value.condition)


async def prefilled(actor: Any, name: str) -> str:
    """What a command's form has in its field."""
    first = await actor.plugin["xep_0050"].send_command("montague.lit", f"{ADMIN}#{name}")
    fields = first["command"]["form"].get_fields()
    [value] = [field["value"] for var, field in fields.items() if var != "FORM_TYPE"]
    return "\n".join(value)


def values(iq: Any) -> dict[str, Any]:
    return {var: field["value"] for var, field in iq["command"]["form"].get_fields().items()}


def notes(iq: Any) -> list[tuple[str, str]]:
    assert iq["type"] == "result", iq
    return [(type, text) for type, text in iq["command"]["notes"]]


def test_the_prince_administers_montague(server: Running) -> None:
    async def play() -> None:
        prince, romeo = client(server, "prince"), client(server, "romeo")
        async with entered(prince, romeo):
            listed = await prince.plugin["xep_0133"].get_commands()
            found = {node.removeprefix(f"{ADMIN}#") for _, node, _ in listed["disco_items"]["items"]}
            assert {"add-user", "announce", "shutdown"} <= found

            password = {"password": "ratcatcher", "password-verify": "ratcatcher"}
            tybalt = {"accountjid": "tybalt@montague.lit"}
            added = await administer(prince, "add_user", tybalt | password)
            assert notes(added) == [("info", "tybalt@montague.lit was made")]
            assert await refused(prince, "add-user", tybalt | password) == "conflict"
            mistyped = tybalt | password | {"password-verify": "ratcather"}
            assert notes(await administer(prince, "add_user", mistyped)) == [
                ("error", "the passwords differ")
            ]

            counted = await administer(prince, "get_registered_users_num")
            assert values(counted)["registeredusersnum"] == "3"
            online = await administer(prince, "get_online_users_list", {"max_items": "50"})
            assert values(online)["onlineuserjids"] == ["prince@montague.lit", "romeo@montague.lit"]
            stats = await administer(prince, "user_stats", {"accountjid": "romeo@montague.lit"})
            assert values(stats)["onlineresources"] == ["palace"]
            assert values(stats)["ipaddresses"] == ["127.0.0.1"]
            last = await administer(prince, "get_user_lastlogin", {"accountjids": ["romeo@montague.lit"]})
            [login] = values(last)["lastlogin"]
            assert login.endswith("Z")

            await administer(prince, "announce", {"announcement": "Rebellious subjects!"})
            await romeo.receives("message", body="Rebellious subjects!", type="headline")

            gone = asyncio.Event()
            romeo.add_event_handler("disconnected", lambda _: gone.set())
            disabled = await administer(prince, "disable_user", {"accountjids": ["romeo@montague.lit"]})
            assert notes(disabled) == [("info", "romeo@montague.lit is disabled")]
            async with asyncio.timeout(PATIENCE):
                await gone.wait()

    asyncio.run(play())
    log = server.log.read_text()
    assert f"'prince@montague.lit/palace' runs {ADMIN}#add-user" in log
    assert "ratcatcher" not in log


def test_the_prince_proclaims_and_keeps_lists(server: Running) -> None:
    proclamation = "Rebellious subjects,\nenemies to peace"

    async def proclaim(prince: Any, romeo: Any) -> None:
        told = await administer(prince, "set_motd", {"motd": proclamation})
        assert notes(told) == [("info", "told 2 accounts, the others when they come")]
        await romeo.receives("message", body=proclamation, from_="montague.lit")
        assert await prefilled(prince, "edit-motd") == proclamation
        welcomed = await administer(prince, "set_welcome", {"welcome": "Welcome, gentlemen"})
        assert notes(welcomed) == [("info", "newcomers are told that from now on")]
        password = {"password": PASSWORD, "password-verify": PASSWORD}
        await administer(prince, "add_user", {"accountjid": "tybalt@montague.lit"} | password)
        tybalt = client(server, "tybalt")
        async with entered(tybalt):
            await tybalt.receives("message", body=proclamation)
            await tybalt.receives("message", body="Welcome, gentlemen")
        for name in ("delete_motd", "delete_welcome"):
            [(type, _)] = notes(await administer(prince, name))
            assert type == "info"

    async def keep_lists(prince: Any, romeo: Any) -> None:
        barred = await administer(prince, "edit_blacklist", {"blacklistjids": "evil.example\n*.example.com"})
        assert notes(barred) == [
            ("info", "montague.lit does not talk to evil.example"),
            ("info", "montague.lit does not talk to *.example.com"),
        ]
        admitted = await administer(prince, "edit_whitelist", {"whitelistjids": "good.example.com"})
        assert notes(admitted) == [("info", "montague.lit talks to good.example.com")]
        assert await prefilled(prince, "edit-blacklist") == "*.example.com\nevil.example"
        jids = ["prince@montague.lit", "romeo@montague.lit"]
        raised = await administer(prince, "edit_admin", {"adminjids": jids})
        assert notes(raised) == [("info", "romeo@montague.lit is an admin of montague.lit")]
        assert values(await administer(romeo, "get_online_users_num"))["onlineusersnum"] == "2"

    async def play() -> None:
        prince, romeo = client(server, "prince"), client(server, "romeo")
        async with entered(prince, romeo):
            await proclaim(prince, romeo)
            await keep_lists(prince, romeo)

    asyncio.run(play())


#: Every other command of XEP-0133 that is offered: what is filled in, and what comes of it.
OTHERS: list[tuple[str, dict[str, Any], str]] = [
    (
        "change-user-password",
        {"accountjid": "romeo@montague.lit", "password": "rosaline"},
        "has a new password",
    ),
    ("get-user-roster", {"accountjids": ["romeo@montague.lit"]}, "jabber:iq:roster"),
    ("end-user-session", {"accountjids": ["romeo@montague.lit"]}, "ended romeo@montague.lit/palace"),
    ("disable-user", {"accountjids": ["romeo@montague.lit"]}, "is disabled"),
    ("get-disabled-users-num", {}, "<value>1</value>"),
    ("get-disabled-users-list", {"max_items": "25"}, "romeo@montague.lit"),
    ("reenable-user", {"accountjids": ["romeo@montague.lit"]}, "is enabled"),
    ("get-registered-users-list", {"max_items": "25"}, "romeo@montague.lit"),
    ("get-active-users-num", {}, "<value>1</value>"),
    ("get-active-users", {"max_items": "25"}, "prince@montague.lit"),
    ("get-idle-users-num", {}, "<value>0</value>"),
    ("get-idle-users", {"max_items": "25"}, "idleuserjids"),
    ("delete-user", {"accountjids": ["romeo@montague.lit"]}, "is deleted"),
]


def test_the_prince_runs_all_other_commands(server: Running) -> None:
    async def play() -> None:
        prince, romeo = client(server, "prince"), client(server, "romeo")
        async with entered(prince, romeo):
            for name, fields, outcome in OTHERS:
                assert outcome in str(await filled(prince, name, fields)), name

    asyncio.run(play())


async def filled(actor: Any, name: str, fields: dict[str, Any]) -> Any:
    """The last answer to a command, whatever slixmpp calls it."""
    commands = actor.plugin["xep_0050"]
    answer = await commands.send_command("montague.lit", f"{ADMIN}#{name}")
    if answer["command"]["status"] == "completed":
        return answer
    form = answer["command"]["form"]
    form["type"] = "submit"
    form.set_values(fields)
    return await commands.send_command(
        "montague.lit",
        f"{ADMIN}#{name}",
        action="complete",
        payload=form,
        sessionid=answer["command"]["sessionid"],
    )


def test_romeo_sees_no_commands_and_runs_none(server: Running) -> None:
    async def play() -> None:
        romeo = client(server, "romeo")
        async with entered(romeo):
            listed = await romeo.plugin["xep_0133"].get_commands()
            assert list(listed["disco_items"]["items"]) == []
            with pytest.raises(IqError, match="forbidden"):
                await romeo.plugin["xep_0050"].send_command("montague.lit", f"{ADMIN}#announce")

    asyncio.run(play())


def test_who_is_an_admin_follows_the_configuration_while_the_server_runs(server: Running) -> None:
    def reloaded() -> bool:
        return "the configuration was read again" in server.log.read_text()

    async def play() -> None:
        prince, romeo = client(server, "prince"), client(server, "romeo")
        async with entered(prince, romeo):
            assert notes(await administer(prince, "announce", {"announcement": "I abdicate."}))
            server.log.with_name("montague.toml").write_text(CONFIG.replace("prince@", "romeo@"))
            server.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(PATIENCE):
                while not reloaded():  # noqa: ASYNC110  # a file tells, which has no events
                    await asyncio.sleep(0.05)
            with pytest.raises(IqError, match="forbidden"):
                await prince.plugin["xep_0050"].send_command("montague.lit", f"{ADMIN}#announce")
            assert notes(await administer(romeo, "announce", {"announcement": "Love!"}))

    asyncio.run(play())


def test_the_prince_ends_the_server(server: Running) -> None:
    async def play() -> None:
        prince, romeo = client(server, "prince"), client(server, "romeo")
        async with entered(prince, romeo):
            answer = await administer(prince, "shutdown", {"delay": "0", "announcement": "Depart away!"})
            assert notes(answer) == [("info", "the server ends in 0 s; told 2 sessions")]
            await romeo.receives("message", body="Depart away!")

    asyncio.run(play())
    assert server.process.wait(PATIENCE) == -signal.SIGTERM


def test_the_prince_restarts_the_server(server: Running) -> None:
    config = server.log.with_name("montague.toml")
    right = config.read_text()

    async def play() -> None:
        prince, romeo = client(server, "prince"), client(server, "romeo")
        async with entered(prince, romeo):
            config.write_text(right.replace("prince@", "@"))
            refused = jabberctl(config, "restart")
            assert (refused.returncode, 'domains."montague.lit".admins' in refused.stderr) == (1, True)
            config.write_text(right + '[log.levels]\n"jabberd.xmpp" = "warn"\n')
            answer = await administer(prince, "restart", {"delay": "0", "announcement": "I come again!"})
            assert notes(answer) == [("info", "the server restarts in 0 s; told 2 sessions")]
            await romeo.receives("message", body="I come again!")

    asyncio.run(play())
    assert server.tells("STOPPING") == "1"
    server.tells("READY")
    assert server.process.poll() is None
    levels = jabberctl(config, "log", "levels")
    assert levels.stdout.splitlines()[-1].split() == ["jabberd.xmpp", "warn"], levels
    assert server.stop()[0] == -signal.SIGTERM


def jabberctl(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(JABBERCTL), "--config", str(config), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
