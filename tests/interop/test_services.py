"""What clients ask of their server beside chatting, with slixmpp; where it has no words, in the XEPs' own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import slixmpp

from jabberd.certificates import development_certificates
from tests.interop.actor import PATIENCE, Actor, entered
from tests.interop.test_pep import CONFIG, JULIET, ROMEO, accounts, element, played
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Running

pytestmark = pytest.mark.process
NEWS, PUSH, SECRET = "news.montague.lit", "push.montague.lit", "which we call a rose"
SERVICES = f"""
[[listeners]]
kind = "component"
address = "127.0.0.1"
port = 0
[components."{PUSH}"]
secret = "{SECRET}"
federation = "off"
[domains."{NEWS}"]
federation = "off"
service = "pubsub"
"""
MODULES = """
admins = ["juliet@montague.lit"]
[domains."montague.lit".modules.contact]
abuse = ["mailto:abuse@montague.lit"]
[domains."montague.lit".modules]
affiliations = true
serverinfo = true
"""
PLUGINS = tuple(f"xep_{each:04}" for each in (12, 60, 92, 128, 191, 202, 203, 313, 359, 377, 441, 444, 494))
MAM = "urn:xmpp:mam:2"
FORM = (
    "<x xmlns='jabber:x:data' type='submit'>"
    f"<field var='FORM_TYPE' type='hidden'><value>{MAM}</value></field>{{}}</x>"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all: each test has something else to ask."""
    folder: Path = tmp_path_factory.mktemp("services")
    development_certificates(folder / "certs", ("montague.lit", NEWS))
    config = folder / "montague.toml"
    config.write_text(CONFIG.replace('[domains."montague.lit".modules]\n', MODULES.lstrip()) + SERVICES)
    accounts(config)
    with running(config) as server:
        yield server


def client(server: Running, jid: str) -> Any:  # slixmpp's types are its own
    actor = Actor(jid, server.port("c2s"), server.log.parent / "certs" / "ca.crt", register=False)
    for plugin in PLUGINS:
        actor.register_plugin(plugin)
    return actor


async def asked(actor: Any, xml: str, kind: str = "get", to: str | None = None) -> Any:
    """The answer to a question that slixmpp has no words for."""
    iq = actor.Iq(stype=kind, sto=to)
    iq.append(element(xml))
    return await iq.send()


@played
async def test_a_client_learns_what_serves_it_since_when_and_whom_to_write_to(server: Running) -> None:
    romeo = client(server, f"{ROMEO}/orchard")
    async with entered(romeo):
        version = (await romeo.plugin["xep_0092"].get_version("montague.lit"))["software_version"]
        assert version["name"] == "jabberd"
        clock = (await romeo.plugin["xep_0202"].get_entity_time("montague.lit"))["entity_time"]
        utc = clock.xml.findtext("{*}utc")  # slixmpp puts a Z behind the Z
        assert abs(datetime.fromisoformat(utc) - datetime.now(UTC)) < timedelta(minutes=1)
        up = await romeo.plugin["xep_0012"].get_last_activity("montague.lit")
        assert 0 <= up["last_activity"]["seconds"] < 600
        info = (await romeo.plugin["xep_0030"].get_info("montague.lit"))["disco_info"]
        [found] = info.xml.iterfind(".//{jabber:x:data}field[@var='abuse-addresses']")
        assert [each.text for each in found] == ["mailto:abuse@montague.lit"]


@played
async def test_the_server_tells_of_itself_in_a_node(server: Running) -> None:
    romeo = client(server, f"{ROMEO}/orchard")
    async with entered(romeo), asyncio.timeout(PATIENCE):
        found: list[Any] = []
        while not found:  # it begins some seconds after the start
            await asyncio.sleep(0.2)
            nodes = (await romeo.plugin["xep_0060"].get_nodes(NEWS))["disco_items"]["items"]
            found = [node for _, node, _ in nodes if node == "serverinfo"]
        kept = (await romeo.plugin["xep_0060"].get_items(NEWS, "serverinfo"))["pubsub"]["items"]
        payloads = [each["payload"] for each in kept]
        assert payloads[0].find(".//{urn:xmpp:serverinfo:0}domain").get("name") == "montague.lit"


@played
async def test_it_is_told_how_far_the_server_knows_somebody(server: Running) -> None:
    """The query of XEP-0489 §4.2."""
    romeo = client(server, f"{ROMEO}/orchard")
    async with entered(romeo):
        answer = await asked(romeo, "<query xmlns='urn:xmpp:raa:0'/>", to=JULIET)
        info = answer.xml.find(".//{urn:xmpp:raa:0}info")
        assert info.get("affiliation") == "member"


@played
async def test_an_old_client_gets_the_session_that_it_asks_for(server: Running) -> None:
    romeo = client(server, f"{ROMEO}/orchard")
    async with entered(romeo):
        session = "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>"
        assert (await asked(romeo, session, "set"))["type"] == "result"


@played
async def test_what_waited_says_since_when(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    async with entered(romeo):
        romeo.send_message(JULIET, "It is my lady", mtype="chat")
        await romeo.plugin["xep_0199"].send_ping("montague.lit")
    async with entered(juliet):
        late = await juliet.receives("message", body="It is my lady")
        assert abs(late["delay"]["stamp"] - datetime.now(UTC)) < timedelta(minutes=1)
        assert late["delay"]["from"] in ("montague.lit", JULIET)


# --- the archive -----------------------------------------------------------------------------------


async def page(actor: Any, fields: str, behind: str = "") -> list[str]:
    """The bodies that an extended query finds (XEP-0313 §4.3)."""
    id = actor.new_id()
    actor._seen.clear()
    query = f"<query xmlns='{MAM}' queryid='{id}'>{FORM.format(fields)}{behind}</query>"
    await asked(actor, query, "set")
    return [each["mam_result"]["forwarded"]["stanza"]["body"] for each in results(actor, id)]


def results(actor: Any, queryid: str) -> list[Any]:
    return [
        each for each in actor._seen if each.name == "message" and each["mam_result"]["queryid"] == queryid
    ]


def field(name: str, *values: str) -> str:
    return f"<field var='{name}'>{''.join(f'<value>{each}</value>' for each in values)}</field>"


@played
async def test_the_archive_answers_extended_queries(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        mam = juliet.plugin["xep_0313"]
        allowed = {each.get("var") for each in (await mam.get_fields()).xml.iterfind("{*}field")}
        assert {"with", "start", "end", "before-id", "after-id", "ids"} <= allowed
        ids = []
        for body in ("But soft", "what light", "through yonder", "window breaks"):
            romeo.send_message(f"{JULIET}/balcony", body, mtype="chat")
            ids.append((await juliet.receives("message", body=body))["stanza_id"]["id"])
        since = field("after-id", ids[0])
        assert await page(juliet, since) == ["what light", "through yonder", "window breaks"]
        assert await page(juliet, since + field("before-id", ids[3])) == ["what light", "through yonder"]
        assert (await page(juliet, since, "<flip-page/>"))[0] == "window breaks"
        assert await page(juliet, field("ids", ids[3], ids[1])) == ["what light", "window breaks"]
        about = (await mam.get_archive_metadata())["mam_metadata"]
        assert about["end"]["id"] == ids[3]


@played
async def test_what_is_archived_is_as_its_kind_and_its_owner_want_it(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        said = [
            ("<reactions xmlns='urn:xmpp:reactions:0' id='r'><reaction>🌹</reaction></reactions>", True),
            ("<displayed xmlns='urn:xmpp:chat-markers:0' id='r'/>", True),
            ("<fallback xmlns='urn:xmpp:fallback:0' for='urn:example:0'/><body>fall</body>", True),
            ("<body>unkept</body><no-permanent-store xmlns='urn:xmpp:hints'/>", False),
            ("<composing xmlns='http://jabber.org/protocol/chatstates'/>", False),
        ]
        ids = {}
        for content, kept in said:
            id = romeo.new_id()
            romeo.send_raw(f"<message to='{JULIET}/balcony' type='chat' id='{id}'>{content}</message>")
            ids[id] = kept
            await juliet.receives("message", id=id)
        for actor in (romeo, juliet):
            answer = await actor.plugin["xep_0313"].retrieve(rsm={"max": "50"})
            found = {each["mam_result"]["forwarded"]["stanza"]["id"] for each in answer["mam"]["results"]}
            assert {id: id in found for id in ids} == ids
        prefs = romeo.plugin["xep_0441"]
        await prefs.set_preferences("always", always=[], never=[slixmpp.JID(JULIET)])
        default, _, never = await prefs.get_preferences()
        assert (default, set(never)) == ("always", {slixmpp.JID(JULIET)})
        romeo.send_message(f"{JULIET}/balcony", "off the record", mtype="chat")
        await juliet.receives("message", body="off the record")
        newest = await romeo.plugin["xep_0313"].retrieve(rsm={"max": "1", "before": ""})
        bodies = [each["mam_result"]["forwarded"]["stanza"]["body"] for each in newest["mam"]["results"]]
        assert bodies != ["off the record"]
        await prefs.set_preferences("always", always=[], never=[])


# --- protection, devices, push ---------------------------------------------------------------------


@played
async def test_who_is_reported_is_blocked_and_an_administrator_hears_of_it(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        reason = "urn:xmpp:reporting:spam"
        report = f"<report xmlns='urn:xmpp:reporting:1' reason='{reason}'><text>Pills</text></report>"
        item = f"<item jid='spam@evil.example'>{report}</item>"
        await asked(romeo, f"<block xmlns='urn:xmpp:blocking'>{item}</block>", "set")
        await juliet.receives(
            "message",
            type="headline",
            body=f"{ROMEO} reports spam@evil.example ({reason}): Pills",
        )
        blocked = await romeo.plugin["xep_0191"].get_blocked()
        assert [str(each["jid"]) for each in blocked["blocklist"]["items"]] == ["spam@evil.example"]


@played
async def test_an_owner_sees_which_clients_have_access(server: Running) -> None:
    romeo = client(server, f"{ROMEO}/orchard")
    async with entered(romeo):
        clients = await romeo.plugin["xep_0494"].get_clients()
        assert [(each["connected"], each["auth"]["password"]) for each in clients] == [(True, True)]


class Service(slixmpp.ComponentXMPP):
    """A push service that says yes to everything.

    :ivar pushed: what it was told.
    """

    def __init__(self, port: int) -> None:
        super().__init__(PUSH, SECRET, "127.0.0.1", port)  # type: ignore[no-untyped-call]  # slixmpp's
        self.pushed: asyncio.Queue[Any] = asyncio.Queue()
        self.add_filter("in", self._hear)

    def _hear(self, stanza: Any) -> Any:
        if stanza.name == "iq" and stanza.xml.find(".//{urn:xmpp:push:0}notification") is not None:
            self.pushed.put_nowait(stanza)
            stanza.reply().send()
            return None
        return stanza


@played
async def test_a_push_component_wakes_who_is_away(server: Running) -> None:
    service = Service(server.port("component"))
    service.connect()
    await asyncio.wait_for(service.wait_until("session_start"), PATIENCE)
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/phone")
    async with entered(juliet):
        enable = f"<enable xmlns='urn:xmpp:push:0' jid='{PUSH}' node='yxs32uqsflafdk3iuqo'/>"
        await asked(juliet, enable, "set")
    async with entered(romeo):
        romeo.send_message(JULIET, "Wake up", mtype="chat")
        told = await asyncio.wait_for(service.pushed.get(), PATIENCE)
    assert told["from"] == JULIET
    assert told.xml.find(".//{*}publish").get("node") == "yxs32uqsflafdk3iuqo"
    assert "Wake up" not in str(told)
    async with entered(juliet):
        await asked(juliet, f"<disable xmlns='urn:xmpp:push:0' jid='{PUSH}'/>", "set")
    await service.disconnect(wait=1.0)
