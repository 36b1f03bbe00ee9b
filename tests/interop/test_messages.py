"""Archive, carbons, client state, blocking, retraction and what waits, with slixmpp."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import slixmpp
from slixmpp.exceptions import IqError

from tests.interop.actor import PATIENCE, Actor, entered
from tests.interop.test_pep import JULIET, ROMEO, played
from tests.interop.test_pep import config as config  # noqa: PLC0414  # the fixture
from tests.interop.test_pep import server as server  # noqa: PLC0414  # the fixture

if TYPE_CHECKING:
    from tests.running import Running

pytestmark = pytest.mark.process
PLUGINS = ("xep_0059", "xep_0191", "xep_0198", "xep_0280", "xep_0313")


def client(server: Running, jid: str) -> Any:  # slixmpp's types are its own
    actor = Actor(jid, server.port("c2s"), server.log.parent / "certs" / "ca.crt", register=False)
    for plugin in PLUGINS:
        actor.register_plugin(plugin)
    return actor


async def copy_of(actor: Any, kind: str, body: str) -> None:
    """Wait for the carbon of a message."""

    def found() -> bool:
        return any(
            each.name == "message" and each[f"carbon_{kind}"]["body"] == body
            for each in actor._seen
            if each.xml.find(f"{{urn:xmpp:carbons:2}}{kind.removeprefix('carbon_')}") is not None
        )

    await actor.until(f"a copy of {body!r}", found)


async def archived(actor: Any, **asked: Any) -> list[str]:
    """The bodies of a page of the archive."""
    answer = await actor.plugin["xep_0313"].retrieve(**asked)
    return [each["mam_result"]["forwarded"]["stanza"]["body"] for each in answer["mam"]["results"]]


async def done(actor: Any) -> None:
    """Wait until the server has done what the client has said before."""
    await actor.plugin["xep_0199"].send_ping("montague.lit")


def bodies(actor: Any) -> list[str]:
    return [each["body"] for each in actor._seen if each.name == "message" and each["body"]]


@played
async def test_both_sides_of_a_conversation_are_on_every_client_and_in_both_archives(server: Running) -> None:
    romeo, garden = client(server, f"{ROMEO}/orchard"), client(server, f"{ROMEO}/garden")
    juliet = client(server, f"{JULIET}/balcony")
    moon, swear = "Lady, by yonder blessed moon I vow", "O, swear not by the moon"
    async with entered(romeo, garden, juliet):
        await garden.plugin["xep_0280"].enable()
        romeo.send_message(JULIET, moon, mtype="chat")
        await juliet.receives("message", from_=f"{ROMEO}/orchard", body=moon)
        await copy_of(garden, "sent", moon)
        juliet.send_message(f"{ROMEO}/orchard", swear, mtype="chat")
        await romeo.receives("message", from_=f"{JULIET}/balcony", body=swear)
        await copy_of(garden, "received", swear)
        for actor in (romeo, garden, juliet):
            assert await archived(actor) == [moon, swear]
        assert await archived(romeo, with_jid=slixmpp.JID(JULIET), rsm={"max": "1"}) == [moon]
        assert await archived(romeo, with_jid=slixmpp.JID("nurse@montague.lit")) == []
        everything = romeo.plugin["xep_0313"].iterate(reverse=True, rsm={"max": "1"})
        found = [each["mam_result"]["forwarded"]["stanza"]["body"] async for each in everything]
        assert found == [swear, moon]


@played
async def test_what_waits_comes_once_and_not_to_who_has_read_it(server: Running) -> None:
    romeo = client(server, f"{ROMEO}/orchard")
    first, second = "Do not swear at all", "Well, do not swear"
    async with entered(romeo):
        romeo.send_message(JULIET, first, mtype="chat")
        await done(romeo)
        juliet = client(server, f"{JULIET}/balcony")
        async with entered(juliet):
            await juliet.receives("message", from_=f"{ROMEO}/orchard", body=first)
        romeo.send_message(JULIET, second, mtype="chat")
        await done(romeo)
        juliet = client(server, f"{JULIET}/balcony")
        juliet.connect("127.0.0.1", server.port("c2s"))
        await juliet.until("the start of its session", lambda: juliet.sessionstarted)
        try:
            assert await archived(juliet) == [first, second]
            juliet._seen.clear()
            juliet.send_presence()
            await done(juliet)
            assert bodies(juliet) == []
        finally:
            await juliet.disconnect(wait=1.0)


@played
async def test_who_is_blocked_meets_nobody(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        await juliet.plugin["xep_0191"].block(slixmpp.JID(ROMEO))
        blocked = await juliet.plugin["xep_0191"].get_blocked()
        assert [str(item["jid"]) for item in blocked["blocklist"]["items"]] == [ROMEO]
        with pytest.raises(IqError, match="service-unavailable"):
            await romeo.plugin["xep_0199"].send_ping(f"{JULIET}/balcony")
        romeo.send_message(JULIET, "What shall I swear by?", mtype="chat")
        await romeo.receives("message", type="error")
        await juliet.plugin["xep_0191"].unblock(slixmpp.JID(ROMEO))
        assert await archived(juliet) == []


@played
async def test_presence_waits_for_a_client_that_nobody_looks_at(server: Running) -> None:
    romeo, garden = client(server, f"{ROMEO}/orchard"), client(server, f"{ROMEO}/garden")
    async with entered(romeo, garden):
        garden.send_raw("<inactive xmlns='urn:xmpp:csi:0'/>")
        await done(garden)
        garden._seen.clear()
        for status in ("sad", "in love"):
            romeo.send_presence(pstatus=status)
        await romeo.receives("presence", status="in love")
        await asyncio.sleep(0.2)
        assert [each for each in garden._seen if each.name == "presence"] == []
        garden.send_raw("<active xmlns='urn:xmpp:csi:0'/>")
        await garden.receives("presence", status="in love")
        assert [each for each in garden._seen if each.name == "presence"] == []


@played
async def test_what_was_taken_back_is_buried(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        said = romeo.make_message(JULIET, "Ay me!", mtype="chat")
        said.send()
        await juliet.receives("message", body="Ay me!")
        back = romeo.make_message(JULIET, "/me took it back", mtype="chat")
        retract = slixmpp.xmlstream.ET.SubElement(back.xml, "{urn:xmpp:message-retract:1}retract")
        retract.set("id", said["id"])
        back.send()
        await juliet.receives("message", body="/me took it back")
        async with asyncio.timeout(PATIENCE):
            for actor in (romeo, juliet):
                while await archived(actor) != ["", "/me took it back"]:  # noqa: ASYNC110  # behind the scenes
                    await asyncio.sleep(0.05)
