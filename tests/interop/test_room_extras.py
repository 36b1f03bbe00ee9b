"""What rooms can do beside XEP-0045, through the wire, with the examples of its XEPs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from tests.interop.actor import Actor, entered
from tests.interop.gateway import jabberctl
from tests.interop.test_pep import JULIET, ROMEO, played
from tests.interop.test_rooms import MUC, ROOM, ROOMS, configure, create, enter, say
from tests.interop.test_rooms import client as client_of
from tests.interop.test_rooms import config as config  # noqa: PLC0414  # the fixture
from tests.interop.test_rooms import server as server  # noqa: PLC0414  # the fixture
from tests.running import running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.running import Running

pytestmark = pytest.mark.process
MAV = "urn:xmpp:muc:affiliations:1"
TOKENS = "urn:xmpp:muc-token-invite:0"
ROSA = "rosa@commons.example"
INFO = "http://jabber.org/protocol/disco#info"


async def asked(actor: Actor, type: str, xml: str) -> Any:
    """What a room answers to an iq with that in it, written as the XEP has it."""
    id = actor.new_id()
    actor.send_raw(f"<iq type='{type}' to='{ROOM}' id='{id}'>{xml}</iq>")
    return await actor.receives("iq", id_=id)


def marks(stanza: Any) -> list[dict[str, str]]:
    """The versions that it tells."""
    return [dict(each.attrib) for each in stanza.xml.iter(f"{{{MAV}}}mav")]


def listed(stanza: Any) -> dict[str, str]:
    return {each.get("jid"): each.get("affiliation") for each in stanza.xml.iter(f"{{{MUC}#user}}item")}


async def come(actor: Actor, nick: str, since: str) -> tuple[Any, str]:
    """Enter with a question after what has changed: the answer, None if there is none, and the version."""
    actor._seen.clear()
    actor.send_raw(
        f"<presence to='{ROOM}/{nick}'><x xmlns='{MUC}'><mav xmlns='{MAV}'{since}/></x></presence>"
    )
    own = await actor.receives("presence", from_=f"{ROOM}/{nick}")
    told = [each for each in actor._seen if each.name == "message" and marks(each)]
    return (told[0] if told else None), marks(own)[0]["until"]


@played
async def test_affiliations_are_told_since_a_version(server: Running) -> None:
    """XEP-0463, examples 1 to 7."""
    romeo, juliet = client_of(server, f"{ROMEO}/orchard"), client_of(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        await create(romeo, "Romeo", persistentroom=True, membersonly=True, whois="anyone")
        muc = romeo.plugin["xep_0045"]
        await muc.set_affiliation(ROOM, "member", jid=JULIET)
        told, first = await come(juliet, "Juliet", "")
        assert marks(told) == [{"until": first}]
        assert listed(told) == {ROMEO: "owner", JULIET: "member"}
        await muc.set_affiliation(ROOM, "admin", jid=ROSA)
        change = await juliet.until(
            "the change", lambda: next((each for each in juliet._seen if listed(each).keys() == {ROSA}), None)
        )
        assert marks(change)[0]["since"] == first
        juliet.send_raw(f"<presence to='{ROOM}/Juliet' type='unavailable'/>")
        await juliet.receives("presence", from_=f"{ROOM}/Juliet", type_="unavailable")
        told, second = await come(juliet, "Juliet", f" since='{first}'")
        assert marks(told) == [{"since": first, "until": second}]
        assert listed(told) == {ROSA: "admin"}
        assert marks(change)[0]["until"] == second


@played
async def test_a_slow_room_is_found_and_holds_people_back(server: Running) -> None:
    """XEP-0500, examples 1 to 3."""
    romeo, juliet = client_of(server, f"{ROMEO}/orchard"), client_of(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        await create(romeo, "Romeo", slow_mode_duration="20")
        info = await asked(juliet, "get", f"<query xmlns='{INFO}'/>")
        [field] = info.xml.findall(".//*[@var='muc#roominfo_slow_mode_duration']")
        assert (field.get("type"), field[-1].text) == ("text-single", "20")
        await enter(juliet, "Juliet")
        for text in ("Ay me!", "O Romeo"):
            say(juliet, text)
        error = await juliet.receives("message", type_="error")
        assert error["error"]["type"] == "wait"
        assert error.xml.find(".//{urn:ietf:params:xml:ns:xmpp-stanzas}policy-violation") is not None
        assert "20 seconds" in error["error"]["text"]
        assert not [each for each in romeo._seen if each["body"] == "O Romeo"]


def test_an_operator_makes_rooms_slow_where_their_owners_have_not_said_anything(config: Path) -> None:
    """XEP-0500 §5.2, with the whole form sent back as it came, as clients do."""

    def settings(more: str) -> None:
        config.write_text(config.read_text() + more)

    async def play(server: Running) -> None:
        romeo = client_of(server, f"{ROMEO}/orchard")
        async with entered(romeo):
            await create(romeo, "Romeo")
            settings(f'[domains."{ROOMS}".modules.muc_slow]\nusual = 5\n')
            await asyncio.to_thread(jabberctl, config, "config", "reload")
            code = f".//{{{MUC}#user}}status[@code='104']"
            await romeo.until("104", lambda: any(each.xml.find(code) is not None for each in romeo._seen))
            info = await asked(romeo, "get", f"<query xmlns='{INFO}'/>")
            [field] = info.xml.findall(".//*[@var='muc#roominfo_slow_mode_duration']")
            assert field[-1].text == "5"

    settings('[control]\nsocket = "jabberd.sock"\n')
    with running(config) as server:
        asyncio.run(play(server))


@played
async def test_tokens_are_made_limited_listed_used_and_revoked(server: Running) -> None:
    """XEP-0488, examples 1 to 10."""
    romeo, juliet = client_of(server, f"{ROMEO}/orchard"), client_of(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        await create(romeo, "Romeo", membersonly=True)
        answer = await asked(romeo, "set", f"<request xmlns='{TOKENS}' delay='2678400' counter='5'/>")
        [token] = answer.xml
        assert (token.tag, token.get("delay"), token.get("counter")) == (f"{{{TOKENS}}}token", "604800", "5")
        refused = await asked(juliet, "set", f"<request xmlns='{TOKENS}'/>")
        assert (refused["error"]["type"], refused["error"]["condition"]) == ("auth", "forbidden")
        own, *_ = await enter(juliet, "Juliet", password=token.text)
        assert own["muc"]["affiliation"] == "member"
        [tokens] = (await asked(romeo, "get", f"<tokens xmlns='{TOKENS}'/>")).xml
        assert [(each.text, each.get("counter")) for each in tokens] == [(token.text, "4")]
        revoke = f"<revoke xmlns='{TOKENS}'>{token.text}</revoke>"
        assert (await asked(romeo, "set", revoke))["type"] == "result"
        gone = await asked(romeo, "set", revoke)
        assert (gone["error"]["type"], gone["error"]["condition"]) == ("cancel", "item-not-found")
        await romeo.plugin["xep_0045"].set_affiliation(ROOM, "none", jid=JULIET)
        join = f"<x xmlns='{MUC}'><password>{token.text}</password></x>"
        juliet.send_raw(f"<presence to='{ROOM}/Juliet'>{join}</presence>")
        error = await juliet.receives("presence", type_="error")
        assert [each.tag for each in error.xml.find("{jabber:client}error")][
            -1
        ] == f"{{{TOKENS}}}expired-token"


@played
async def test_activity_is_told_when_it_is_known(server: Running) -> None:
    """XEP-0502, example 1: nothing is known in the first hour, and nothing else of the form is missing."""
    romeo = client_of(server, f"{ROMEO}/orchard")
    async with entered(romeo):
        await create(romeo, "Romeo", persistentroom=True)
        await configure(romeo, persistentroom=True)
        info = await asked(romeo, "get", f"<query xmlns='{INFO}'/>")
        assert info.xml.findall(".//*[@var='muc#roominfo_occupants']")
        assert [ET.tostring(each) for each in info.xml.iter() if "activity" in each.get("var", "")] == []
