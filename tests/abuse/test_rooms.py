"""Rows F4 to F9 of the abuses: rooms, their archives and publish-subscribe, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.abuse.wire import Wire, condition

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tests.abuse.scene import Scene

pytestmark = pytest.mark.process

ROOM = "vault@rooms.montague.lit"
MUC = "http://jabber.org/protocol/muc"
MAM = "urn:xmpp:mam:2"
PUBSUB = "http://jabber.org/protocol/pubsub"
SERVICE = "pubsub.montague.lit"
OWNER = "tybalt399"  # nobody's villain
ID, OCCUPANT, STANZA = "urn:xmpp:occupant-id:0", "occupant-id", "urn:xmpp:sid:0"


def enter(wire: Wire, nick: str, password: str = "") -> str:
    """Enter the room: empty, or why not; all is heard that a newcomer is told."""
    inside = f"<password>{password}</password>" if password else ""
    wire.say(f"<presence to='{ROOM}{nick and '/'}{nick}'><x xmlns='{MUC}'>{inside}</x></presence>")
    while True:
        heard = wire.next()
        if heard.get("type") == "error":
            return condition(heard)
        if heard.find("{jabber:client}subject") is not None:
            return ""


def form(**fields: str) -> str:
    filled = "".join(
        f"<field var='muc#roomconfig_{var}'><value>{value}</value></field>" for var, value in fields.items()
    )
    return f"<x xmlns='jabber:x:data' type='submit'>{filled}</x>"


def rule(wire: Wire, inside: str, part: str = "admin") -> str:
    """Ask the room for something: empty, or why not; what else is heard meanwhile is passed over."""
    wire.say(f"<iq type='set' id='rule' to='{ROOM}'><query xmlns='{MUC}#{part}'>{inside}</query></iq>")
    return condition(answer_in(wire, "rule"))


def answer_in(wire: Wire, id: str) -> Element:
    while True:
        heard = wire.next()
        if heard.get("id") == id:
            return heard


def hosted(scene: Scene, **options: str) -> Wire:
    """A room that somebody else has made, with these options."""
    owner = scene.bound(OWNER)
    assert enter(owner, "Owner") == ""
    assert rule(owner, form(**options), "owner") == ""
    scene.lines = 0
    return owner


@pytest.mark.parametrize(
    ("options", "nick", "error"),
    [
        ({}, "", "jid-malformed"),
        ({"passwordprotectedroom": "1", "roomsecret": "rose"}, "Villain", "not-authorized"),
        ({"membersonly": "1"}, "Villain", "registration-required"),
        ({}, "OWNER", "conflict"),
    ],
)
def test_f4_a_room_is_not_entered_wrongly(
    scene: Scene, options: dict[str, str], nick: str, error: str
) -> None:
    hosted(scene, **options)
    password = "thorn" if "roomsecret" in options else ""
    assert enter(scene.bound(), nick, password) == error


def test_f4_the_banned_and_those_who_are_not_there_have_no_say(scene: Scene) -> None:
    owner = hosted(scene)
    wire = scene.bound()
    say = f"<message to='{ROOM}' type='groupchat' id='m'><body>hi</body></message>"
    assert condition(wire.ask(say)) == "not-acceptable"
    assert condition(wire.ask(say.replace("type='groupchat'", "").replace(ROOM, f"{ROOM}/Owner"))) == (
        "not-acceptable"
    )
    assert rule(owner, f"<item jid='{scene.villain}@montague.lit' affiliation='outcast'/>") == ""
    assert enter(wire, "Villain") == "forbidden"
    question = f"<iq type='set' id='q' to='{ROOM}'><query xmlns='{MAM}'/></iq>"
    assert condition(wire.ask(question)) == "forbidden"


def test_f4_a_room_that_is_locked_lets_nobody_else_in(scene: Scene) -> None:
    owner = scene.bound(OWNER)
    assert enter(owner, "Owner") == ""
    wire = scene.bound()
    assert enter(wire, "Villain") == "item-not-found"
    assert rule(wire, form(), "owner") == "item-not-found"
    scene.lines = 0


def test_f5_a_room_is_not_ruled_without_right(scene: Scene) -> None:
    owner = hosted(scene)
    wire = scene.bound()
    assert enter(wire, "Villain") == ""
    me, him = f"{scene.villain}@montague.lit", f"{OWNER}@montague.lit"
    assert rule(wire, form(moderatedroom="1"), "owner") == "forbidden"
    assert rule(wire, "<destroy/>", "owner") == "forbidden"
    for item in (
        f"<item jid='{me}' affiliation='owner'/>",
        f"<item jid='{him}' affiliation='outcast'/>",
        "<item nick='Villain' role='moderator'/>",
        "<item nick='Owner' role='none'/>",
    ):
        assert rule(wire, item) == "forbidden"
    assert rule(owner, f"<item jid='{him}' affiliation='none'/>") == "conflict"
    assert rule(owner, f"<item jid='{me}' affiliation='member'/>") == ""
    assert rule(wire, "<item nick='Villain' role='moderator'/>") == "forbidden"
    assert rule(owner, f"<item jid='{me}' affiliation='admin'/>") == ""
    assert rule(wire, "<item nick='Owner' role='none'/>") == "not-allowed"
    assert rule(wire, f"<item jid='{him}' affiliation='outcast'/>") == "not-allowed"


FORGED = f"<occupant-id xmlns='{ID}' id='forged'/>" * 3


def test_f6_an_occupant_has_the_id_that_the_room_gives_it_and_no_other(scene: Scene) -> None:
    owner = hosted(scene)
    wire = scene.bound()
    wire.say(f"<presence to='{ROOM}/Villain'><x xmlns='{MUC}'/>{FORGED}</presence>")
    seen = owner.next()
    forged = f"<stanza-id xmlns='{STANZA}' by='{ROOM}' id='forged'/><x xmlns='{MUC}#user'/>"
    inside = f"<body>hi</body>{FORGED}{forged}"
    wire.say(f"<message to='{ROOM}' type='groupchat' id='m'>{inside}</message>")
    wire.say(f"<message to='{ROOM}/Owner' type='chat' id='p'>{inside}</message>")
    said, whispered = owner.next(), owner.next()
    assert whispered.get("type") == "chat"
    ids = [
        [each.get("id") for each in heard.findall(f"{{{ID}}}{OCCUPANT}")] for heard in (seen, said, whispered)
    ]
    assert len(ids[0]) == 1
    assert ids[0] == ids[1] == ids[2] != ["forged"]
    [signed] = said.findall(f"{{{STANZA}}}stanza-id")
    assert signed.get("id") != "forged"
    assert said.find(f"{{{MUC}#user}}x") is None
    assert "forged" not in [each.get("id") for each in whispered]
    assert f"{scene.villain}@montague.lit" not in "".join(
        str(each.attrib) for each in whispered.iter() if each is not whispered
    )


MODERATE = (
    "<iq type='set' id='mod' to='{}'><moderate xmlns='urn:xmpp:message-moderate:1' id='{}'>{}</moderate></iq>"
)
RETRACT = "<retract xmlns='urn:xmpp:message-retract:1'/>"


def test_f7_who_is_no_moderator_takes_nothing_back(scene: Scene) -> None:
    owner = hosted(scene)
    wire = scene.bound()
    assert enter(wire, "Villain") == ""
    owner.say(f"<message to='{ROOM}' type='groupchat' id='m'><body>hi</body></message>")
    said = wire.next().find(f"{{{STANZA}}}stanza-id")
    assert said is not None
    wire.say(MODERATE.format(ROOM, said.get("id"), RETRACT))
    assert condition(answer_in(wire, "mod")) == "forbidden"
    for unknown in ("1", "'; --".replace("'", "&apos;")):
        owner.say(MODERATE.format(ROOM, unknown, RETRACT))
        assert condition(answer_in(owner, "mod")) == "item-not-found"
    owner.say(f"<iq type='set' id='q' to='{ROOM}'><query xmlns='{MAM}'/></iq>")
    found = answer_in(owner, "q")
    assert found.get("type") == "result"


@pytest.mark.parametrize(
    ("inside", "error"),
    [
        ("<set xmlns='http://jabber.org/protocol/rsm'><after>1</after></set>", "item-not-found"),
        ("<set xmlns='http://jabber.org/protocol/rsm'><after>&apos;; --</after></set>", "item-not-found"),
        (
            "<x xmlns='jabber:x:data' type='submit'><field var='start'><value>now</value></field></x>",
            "bad-request",
        ),
        (
            "<x xmlns='jabber:x:data' type='submit'><field var='ids'><value>1</value></field></x>",
            "item-not-found",
        ),
        ("<set xmlns='http://jabber.org/protocol/rsm'><max>1000000000</max></set>", ""),
    ],
)
def test_f8_the_archive_of_a_room_is_for_those_who_may_enter(scene: Scene, inside: str, error: str) -> None:
    owner = hosted(scene, membersonly="1")
    question = f"<iq type='set' id='q' to='{ROOM}'><query xmlns='{MAM}'>{inside}</query></iq>"
    wire = scene.bound()
    assert condition(wire.ask(question)) == "forbidden"
    about = f"<iq type='get' id='q' to='{ROOM}'><metadata xmlns='{MAM}'/></iq>"
    assert condition(wire.ask(about)) == "forbidden"
    owner.say(question)
    answer = answer_in(owner, "q")
    assert (answer.get("type") == "error") is bool(error)
    assert not error or condition(answer) == error


def pubsub(wire: Wire, inside: str, kind: str = "set", part: str = "") -> Element:
    return wire.ask(
        f"<iq type='{kind}' id='p' to='{SERVICE}'><pubsub xmlns='{PUBSUB}{part}'>{inside}</pubsub></iq>"
    )


def why(answer: Element) -> tuple[str, str]:
    """The condition, and the one of publish-subscribe."""
    own = [each.tag for each in answer.iter() if each.tag.startswith(f"{{{PUBSUB}#errors}}")]
    return condition(answer), own[0].rpartition("}")[2] if own else ""


def options_of(kind: str, **fields: str) -> str:
    type = f"<field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#{kind}</value></field>"
    filled = "".join(
        f"<field var='pubsub#{var}'><value>{value}</value></field>" for var, value in fields.items()
    )
    return f"<x xmlns='jabber:x:data' type='submit'>{type}{filled}</x>"


def test_f9_nodes_are_not_written_or_read_wrongly(scene: Scene) -> None:
    owner, wire = scene.bound(OWNER), scene.bound()
    scene.lines = 0
    node = "&apos;; DROP TABLE items; --"
    closed = options_of("node_config", access_model="whitelist")
    assert pubsub(owner, f"<create node='{node}'/><configure>{closed}</configure>").get("type") == "result"
    item = "<item id='{}'><entry xmlns='urn:x'>{}</entry></item>"
    try:
        assert why(pubsub(owner, "<publish><item/></publish>")) == ("bad-request", "nodeid-required")
        publish = f"<publish node='{node}'>{{}}</publish>"
        assert why(pubsub(owner, publish.format(item.format("a", "x" * 3000)))) == (
            "not-acceptable",
            "payload-too-big",
        )
        wanted = f"<publish-options>{options_of('publish-options', access_model='open')}</publish-options>"
        assert why(pubsub(owner, publish.format(item.format("a", "x")) + wanted)) == (
            "conflict",
            "precondition-not-met",
        )
        assert pubsub(owner, publish.format(item.format(node, "x"))).get("type") == "result"
        read = f"<items node='{node}'/>"
        assert why(pubsub(wire, read, "get")) == ("not-allowed", "closed-node")
        assert why(pubsub(wire, f"<subscribe node='{node}' jid='{scene.villain}@montague.lit'/>")) == (
            "not-allowed",
            "closed-node",
        )
        assert condition(pubsub(wire, publish.format(item.format("b", "x")))) == "forbidden"
        assert condition(pubsub(wire, f"<delete node='{node}'/>", part="#owner")) == "forbidden"
        paged = read + "<set xmlns='http://jabber.org/protocol/rsm'><after>&apos; OR 1=1 --</after></set>"
        assert condition(pubsub(owner, paged, "get")) == "item-not-found"
        found = pubsub(owner, read, "get").findall(f".//{{{PUBSUB}}}item")
        assert [each.get("id") for each in found] == ["'; DROP TABLE items; --"]
    finally:
        pubsub(owner, f"<delete node='{node}'/>", part="#owner")
