"""Rows F4 to F7 of the abuses: what is said to a room of a real server by those who may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.abuse.scene import VILLAINS
from tests.abuse.wire import condition

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tests.abuse.scene import Scene
    from tests.abuse.wire import Wire

pytestmark = pytest.mark.process

ROOM: Final = "tomb@rooms.montague.lit"
MUC: Final = "http://jabber.org/protocol/muc"
OWNER: Final = f"tybalt{VILLAINS - 1}"  # none of those who do the abuses
OCCUPANT: Final = "{urn:xmpp:occupant-id:0}occupant-id"


def enter(wire: Wire, nick: str = "Tybalt", inside: str = "") -> Element:
    """Ask to enter; the presence that answers it: an error, or one's own (status 110)."""
    wire.say(f"<presence to='{ROOM}/{nick}'><x xmlns='{MUC}'>{inside}</x></presence>")
    while (heard := wire.next()).get("type") != "error" and not (
        any(each.get("code") == "110" for each in heard.iter(f"{{{MUC}#user}}status"))
    ):
        pass
    return heard


def asked(wire: Wire, kind: str, inside: str, type: str = "set") -> Element:
    """The answer of the room to a request of its owners or admins; what is said in it meanwhile is heard."""
    query = f"<query xmlns='{MUC}#{kind}'>{inside}</query>"
    wire.say(f"<iq type='{type}' id='room' to='{ROOM}'>{query}</iq>")
    while (heard := wire.next()).get("id") != "room":
        pass
    return heard


def form(**options: str) -> str:
    fields = "".join(
        f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>"
        for name, value in options.items()
    )
    kind = f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>"
    return f"<x xmlns='jabber:x:data' type='submit'>{kind}{fields}</x>"


def owned(scene: Scene, **options: str) -> Wire:
    """The owner of a room with these options, in it."""
    owner = scene.bound(OWNER)
    assert enter(owner, "Lord").get("type") != "error"
    assert asked(owner, "owner", form(**options)).get("type") == "result"
    return owner


def item(jid: str, affiliation: str) -> str:
    return f"<item jid='{jid}' affiliation='{affiliation}'/>"


@pytest.fixture(autouse=True)
def quiet(scene: Scene) -> None:
    """Nothing of this is worth a line in the log: it is told to whom it concerns."""
    scene.lines = 0


@pytest.mark.parametrize(
    ("options", "nick", "inside", "error"),
    [
        ({"passwordprotectedroom": "1", "roomsecret": "rest"}, "Tybalt", "", "not-authorized"),
        (
            {"passwordprotectedroom": "1", "roomsecret": "rest"},
            "Tybalt",
            "<password>unrest</password>",
            "not-authorized",
        ),
        ({"membersonly": "1"}, "Tybalt", "", "registration-required"),
        ({}, "Lord", "", "conflict"),
        ({}, "", "", "jid-malformed"),
    ],
    ids=["no password", "wrong password", "members only", "nick taken", "no nick"],
)
def test_f4_a_room_is_not_entered_without_right(
    scene: Scene, options: dict[str, str], nick: str, inside: str, error: str
) -> None:
    owned(scene, **options)
    assert condition(enter(scene.bound(), nick, inside)) == error


def test_f4_who_is_banned_stays_outside(scene: Scene) -> None:
    owner = owned(scene)
    outcast = item(f"{scene.villain}@montague.lit", "outcast")
    assert asked(owner, "admin", outcast).get("type") == "result"
    assert condition(enter(scene.bound())) == "forbidden"


def test_f4_nobody_enters_a_room_that_is_not_ready(scene: Scene) -> None:
    owner = scene.bound(OWNER)
    enter(owner, "Lord")
    assert condition(enter(scene.bound())) == "item-not-found"


def test_f4_nobody_speaks_in_a_room_from_outside(scene: Scene) -> None:
    owner = owned(scene)
    refused = scene.bound().ask(f"<message to='{ROOM}' type='groupchat'><body>trust me</body></message>")
    assert condition(refused) == "not-acceptable"
    owner.say(f"<message to='{ROOM}' type='groupchat'><body>who is there?</body></message>")
    while (heard := owner.next()).findtext("{jabber:client}body") is None:
        pass
    assert heard.findtext("{jabber:client}body") == "who is there?"


@pytest.mark.parametrize(
    ("kind", "inside", "error"),
    [
        ("owner", form(roomname="mine"), "forbidden"),
        ("owner", f"<destroy jid='{ROOM}'/>", "forbidden"),
        ("admin", "<item nick='Tybalt' role='moderator'/>", "forbidden"),
        ("admin", "<item nick='Lord' role='none'/>", "forbidden"),
        ("admin", item("{me}", "owner"), "forbidden"),
    ],
    ids=["configure", "destroy", "a role", "kick", "own it"],
)
def test_f5_a_room_is_not_ruled_without_right(scene: Scene, kind: str, inside: str, error: str) -> None:
    owner = owned(scene)
    wire = scene.bound()
    enter(wire)
    refused = asked(wire, kind, inside.replace("{me}", f"{scene.villain}@montague.lit"))
    assert condition(refused) == error
    held = asked(owner, "admin", "<item affiliation='owner'/>", "get")
    assert [each.get("jid") for each in held.iter(f"{{{MUC}#admin}}item")] == [f"{OWNER}@montague.lit"]


def test_f5_the_last_owner_does_not_resign(scene: Scene) -> None:
    owner = owned(scene)
    assert condition(asked(owner, "admin", item(f"{OWNER}@montague.lit", "none"))) == "conflict"


def test_f7_nobody_takes_back_without_right_what_another_said(scene: Scene) -> None:
    owner, wire = owned(scene), scene.bound()
    enter(wire)
    owner.say(f"<message to='{ROOM}' type='groupchat'><body>what news?</body></message>")
    while (heard := owner.next()).findtext("{jabber:client}body") is None:
        pass
    stamp = heard.find("{urn:xmpp:sid:0}stanza-id")
    assert stamp is not None
    assert [moderated(each, stamp.get("id") or "") for each in (wire, owner)] == ["forbidden", ""]
    assert moderated(owner, "12345") == "item-not-found"


def moderated(wire: Wire, id: str) -> str:
    """What becomes of an order to take back what somebody said (XEP-0425); empty if it is done."""
    retract = "<retract xmlns='urn:xmpp:message-retract:1'/>"
    moderate = f"<moderate xmlns='urn:xmpp:message-moderate:1' id='{id}'>{retract}</moderate>"
    wire.say(f"<iq type='set' id='room' to='{ROOM}'>{moderate}</iq>")
    while (heard := wire.next()).get("id") != "room":
        pass
    return condition(heard)


def test_f6_forged_ids_of_a_room_are_replaced(scene: Scene) -> None:
    owner, wire = owned(scene), scene.bound()
    forged = (
        "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='lord'/>" * 3
        + f"<stanza-id xmlns='urn:xmpp:sid:0' by='{ROOM}' id='7'/>"
    )
    wire.say(f"<presence to='{ROOM}/Tybalt'><x xmlns='{MUC}'/>{forged}</presence>")
    wire.say(f"<message to='{ROOM}' type='groupchat'><body>I am the lord</body>{forged}</message>")
    heard: list[Element] = []
    while not heard or heard[-1].findtext("{jabber:client}body") is None:
        heard.append(owner.next())
    came = next(each for each in heard if each.get("from") == f"{ROOM}/Tybalt")
    ids = [[each.get("id") for each in stanza.findall(OCCUPANT)] for stanza in (came, heard[-1])]
    assert ids[0] == ids[1] != ["lord"]
    assert len(ids[0]) == 1
    stamps = heard[-1].findall("{urn:xmpp:sid:0}stanza-id")
    assert [each.get("by") for each in stamps] == [ROOM]
    assert stamps[0].get("id") != "7"
