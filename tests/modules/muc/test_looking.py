"""What rooms and the service tell (XEP-0045 §6, XEP-0059), and questions to occupants (§18.4, XEP-0410)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.modules.muc import Rooms
from jabberd.testing import Network
from jabberd.testing.client import condition
from tests.modules.muc.play import (
    MUC,
    ROOM,
    ROOMS,
    configure,
    create,
    enter,
    find,
    heard_by,
    say,
    texts,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing.client import Client

DISCO = "http://jabber.org/protocol/disco"
RSM = "http://jabber.org/protocol/rsm"
PING = "<ping xmlns='urn:xmpp:ping'/>"


def about(who: Client, what: str, to: str = ROOM, node: str = "", inside: str = "") -> _Element:
    named = f" node='{node}'" if node else ""
    return who.ask(f"<iq type='get' to='{to}'><query xmlns='{DISCO}#{what}'{named}>{inside}</query></iq>")


def features(answer: _Element) -> set[str]:
    return {str(each) for each in answer.xpath("*/*[local-name()='feature']/@var")}


def info(answer: _Element) -> dict[str, list[str]]:
    """The form."""
    return {
        each.get("var", "").rpartition("#")[2]: texts(each, "x:value/text()")
        for each in find(answer, ".//x:x[@type='result']/x:field")
    }


# -- the service ----------------------------------------------------------------------------------------


def test_the_service_is_found_and_says_what_it_can(romeo: Client) -> None:
    found = about(romeo, "items", "montague.lit")
    assert ROOMS in texts(found, "*/*/@jid")
    answer = about(romeo, "info", ROOMS)
    identities = [dict(each.attrib) for each in answer.xpath("*/*[local-name()='identity']")]
    assert [(each["category"], each["type"]) for each in identities] == [("conference", "text")]
    assert features(answer) >= {
        MUC,
        f"{MUC}#stable_id",
        "urn:xmpp:occupant-id:0",
        "jabber:x:conference",
        f"{DISCO}#items",
    }


def rooms(answer: _Element) -> list[str]:
    return [each.partition("@")[0] for each in texts(answer, "*/*[local-name()='item']/@jid")]


def test_public_rooms_are_listed_page_by_page(romeo: Client) -> None:
    for name in ("b", "d", "a", "c", "hidden"):
        public = "0" if name == "hidden" else "1"
        create(romeo, "Romeo", room=f"{name}@{ROOMS}", publicroom=public, roomname=f"Room {name}")
    listed = about(romeo, "items", ROOMS)
    assert rooms(listed) == ["a", "b", "c", "d"]
    assert texts(listed, "*/*/@name")[0] == "Room a"
    assert listed.find(f".//{{{RSM}}}set") is None

    def page(inside: str) -> tuple[list[str], str, str]:
        answer = about(romeo, "items", ROOMS, inside=f"<set xmlns='{RSM}'>{inside}</set>")
        ends = [answer.findtext(f".//{{{RSM}}}{end}") or "" for end in ("first", "last")]
        return rooms(answer), *(each.partition("@")[0] for each in ends)  # type: ignore[return-value]

    assert page("<max>2</max>") == (["a", "b"], "a", "b")
    assert page(f"<max>2</max><after>b@{ROOMS}</after>") == (["c", "d"], "c", "d")
    assert page(f"<max>2</max><after>d@{ROOMS}</after>") == ([], "", "")
    assert page("<max>1</max><before/>") == (["d"], "d", "d")
    assert page(f"<max>2</max><before>d@{ROOMS}</before>") == (["b", "c"], "b", "c")
    wrong = about(romeo, "items", ROOMS, inside=f"<set xmlns='{RSM}'><after>@</after></set>")
    assert condition(wrong) == "item-not-found"


def test_a_list_that_is_too_long_says_where_it_goes_on(network: Network) -> None:
    network.serve("verona.lit", services={"r.verona.lit": {"disco": {}, "muc": {"page": 2}}})
    escalus = network.client("escalus@verona.lit/palace")
    for name in "abc":
        create(escalus, "E", room=f"{name}@r.verona.lit")
    answer = about(escalus, "items", "r.verona.lit")
    assert rooms(answer) == ["a", "b"]
    assert answer.findtext(f".//{{{RSM}}}last") == "b@r.verona.lit"


# -- a room ---------------------------------------------------------------------------------------------


def test_a_room_says_of_which_kinds_it_is(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    kinds = {each for each in features(about(juliet, "info")) if each.startswith("muc_")}
    usual = {"public", "temporary", "open", "unmoderated", "semianonymous", "unsecured"}
    assert kinds == {f"muc_{each}" for each in usual}
    configure(
        romeo,
        publicroom="0",
        persistentroom="1",
        membersonly="1",
        moderatedroom="1",
        whois="anyone",
        passwordprotectedroom="1",
        roomsecret="rose",
    )
    kinds = {each for each in features(about(juliet, "info")) if each.startswith("muc_")}
    other = {"hidden", "persistent", "membersonly", "moderated", "nonanonymous", "passwordprotected"}
    assert kinds == {f"muc_{each}" for each in other}


def test_a_room_tells_more_in_a_form(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", roomname="The orchard", roomdesc="Behind the wall", lang="en", changesubject="1")
    romeo.send(f"<message to='{ROOM}' type='groupchat'><subject>Roses</subject></message>")
    answer = about(juliet, "info")
    assert texts(answer, "*/*[local-name()='identity']/@name") == ["The orchard"]
    told = info(answer)
    assert told["FORM_TYPE"] == [f"{MUC}#roominfo"]
    assert told["roominfo_description"] == ["Behind the wall"]
    assert told["roominfo_lang"] == ["en"]
    assert told["roominfo_occupants"] == ["1"]
    assert told["roominfo_subject"] == ["Roses"]
    assert told["roominfo_subjectmod"] == ["1"]
    assert told["maxhistoryfetch"] == ["20"]
    assert "roominfo_contactjid" not in told
    configure(romeo, membersonly="1", whois="anyone")
    told = info(about(juliet, "info"))
    assert "roominfo_subject" not in told
    assert told["roominfo_contactjid"] == ["romeo@montague.lit"]
    assert info(about(romeo, "info"))["roominfo_subject"] == ["Roses"]


def test_where_logs_are_is_told_where_they_are_public(network: Network) -> None:
    settings = {"logs": "https://logs.verona.lit/{room}/"}
    network.serve("verona.lit", services={"r.verona.lit": {"disco": {}, "muc": settings}})
    escalus = network.client("escalus@verona.lit/palace")
    create(escalus, "E", room="square@r.verona.lit")
    assert "roominfo_logs" not in info(about(escalus, "info", "square@r.verona.lit"))
    configure(escalus, "square@r.verona.lit", enablelogging="1")
    told = info(about(escalus, "info", "square@r.verona.lit"))
    assert told["roominfo_logs"] == ["https://logs.verona.lit/square/"]


def test_who_is_in_a_room_is_for_those_who_could_go_and_see(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    assert texts(about(juliet, "items"), "*/*/@jid") == [f"{ROOM}/Romeo"]
    for fields in ({"publicroom": "0"}, {"publicroom": "1", "membersonly": "1"}):
        configure(romeo, **fields)
        assert texts(about(juliet, "items"), "*/*/@jid") == []
        assert texts(about(romeo, "items"), "*/*/@jid") == [f"{ROOM}/Romeo"]


@pytest.mark.parametrize(
    ("what", "to", "node", "said"),
    [
        ("info", f"nowhere@{ROOMS}", "", "item-not-found"),
        ("info", ROOM, f"{MUC}#traffic", "service-unavailable"),
        ("info", ROOM, "else", "item-not-found"),
        ("items", ROOM, "else", "item-not-found"),
        ("info", f"{ROOM}/Romeo", "", "bad-request"),
        ("items", f"{ROOM}/Nobody", "", "bad-request"),
        ("info", f"nowhere@{ROOMS}/Romeo", "", "bad-request"),
    ],
)
def test_what_is_not_there_or_not_for_strangers(
    romeo: Client, juliet: Client, what: str, to: str, node: str, said: str
) -> None:
    create(romeo, "Romeo")
    assert condition(about(juliet, what, to, node)) == said


def test_a_room_nobody_has_configured_is_nobodys_business(romeo: Client, juliet: Client) -> None:
    enter(romeo, "Romeo")
    assert condition(about(juliet, "info")) == "item-not-found"
    assert MUC in features(about(romeo, "info"))


def test_a_room_answers_pings_and_refuses_what_it_does_not_know(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    assert juliet.ask(f"<iq type='get' to='{ROOM}'>{PING}</iq>").get("type") == "result"
    answer = juliet.ask(f"<iq type='get' to='{ROOM}'><query xmlns='urn:example:what'/></iq>")
    assert condition(answer) == "service-unavailable"


# -- questions to occupants -----------------------------------------------------------------------------


def ping(who: Client, nick: str, room: str = ROOM) -> str:
    """``result``, or the condition of the error."""
    answer = who.ask(f"<iq type='get' to='{room}/{nick}'>{PING}</iq>")
    return condition(answer) or str(answer.get("type"))


def test_a_ping_to_oneself_tells_whether_one_is_in_the_room(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo")
    assert f"{MUC}#self-ping-optimization" in features(about(romeo, "info"))
    assert ping(romeo, "Romeo") == "result"
    second = network.client("romeo@montague.lit/street")
    assert ping(second, "Romeo") == "not-acceptable"
    enter(second, "Romeo")
    assert ping(second, "Romeo") == "result"
    assert ping(second, "Nobody") == "item-not-found"
    assert ping(juliet, "Juliet", f"nowhere@{ROOMS}") == "not-acceptable"


def test_a_question_goes_to_the_occupant_and_neither_learns_the_others_address(
    romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    query = "<query xmlns='jabber:iq:version'/>"
    juliet.send(f"<iq type='get' id='v' to='{ROOM}/Romeo'>{query}</iq>")
    [asked] = heard_by(romeo)
    assert (asked.get("from"), asked.get("to")) == (f"{ROOM}/Juliet", romeo.jid)
    assert asked.get("id") != "v"
    romeo.send(
        f"<iq type='result' id='{asked.get('id')}' to='{ROOM}/Juliet'><query xmlns='jabber:iq:version'/></iq>"
    )
    [answer] = heard_by(juliet)
    assert (answer.get("from"), answer.get("id"), answer.get("type")) == (f"{ROOM}/Romeo", "v", "result")
    romeo.send(f"<iq type='result' id='{asked.get('id')}' to='{ROOM}/Juliet'/>")
    assert heard_by(juliet) == []


def test_a_refusal_comes_back_whole(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    juliet.send(f"<iq type='set' id='v' to='{ROOM}/Romeo'><jingle xmlns='urn:xmpp:jingle:1'/></iq>")
    [asked] = heard_by(romeo)
    error = (
        "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "<unknown-session xmlns='urn:xmpp:jingle:errors:1'/></error>"
    )
    romeo.send(f"<iq type='error' id='{asked.get('id')}' to='{ROOM}/Juliet'>{error}</iq>")
    [answer] = heard_by(juliet)
    assert condition(answer) == "item-not-found"
    assert answer.find(".//{urn:xmpp:jingle:errors:1}unknown-session") is not None


def test_what_an_account_answers_itself_is_asked_of_the_account(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.ask("<iq type='set'><vCard xmlns='vcard-temp'><FN>Romeo Montague</FN></vCard></iq>")
    answer = juliet.ask(f"<iq type='get' to='{ROOM}/Romeo'><vCard xmlns='vcard-temp'/></iq>")
    assert answer.findtext("{*}vCard/{*}FN") == "Romeo Montague"
    assert answer.get("from") == f"{ROOM}/Romeo"


def test_questions_that_nobody_answers_are_forgotten_and_there_are_so_many(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    question = f"<iq type='get' id='{{}}' to='{ROOM}/Romeo'><query xmlns='jabber:iq:version'/></iq>"
    for number in range(51):
        juliet.send(question.format(number))
    assert [(condition(each), each.get("id")) for each in heard_by(juliet)] == [("resource-constraint", "50")]
    network.advance(61)
    juliet.send(question.format("late"))
    assert heard_by(juliet) == []
    network.advance(61)
    rooms = network.server("montague.lit").hosts[ROOMS].manager.module("muc")
    assert isinstance(rooms, Rooms)
    assert not rooms.relay._waiting
    assert not rooms.relay._askers


def test_who_blocks_somebody_in_a_room_stays_there(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    block = f"<block xmlns='urn:xmpp:blocking'><item jid='{ROOM}/Romeo'/></block>"
    assert juliet.ask(f"<iq type='set'>{block}</iq>").get("type") == "result"
    juliet.forget()
    say(romeo, "He jests")
    say(juliet, "Ay me!")
    assert [each.findtext("{*}body") for each in heard_by(juliet)] == ["Ay me!"]
    assert [each.findtext("{*}body") for each in heard_by(romeo)] == ["He jests", "Ay me!"]


# -- the end of the service -----------------------------------------------------------------------------


def test_everybody_is_told_when_the_service_stops() -> None:
    network = Network()
    network.serve("montague.lit", services={ROOMS: {"disco": {}, "muc": {"creators": ["verona.lit"]}}})
    tybalt = network.stranger("tybalt@verona.lit/street")
    enter(tybalt, "Tybalt")
    network.close()
    assert [texts(each, "u:x/u:status/@code") for each in tybalt.heard] == [["110", "332"]]


# -- ghosts (§11.1, §19.1.2) ----------------------------------------------------------------------------


def test_who_is_not_there_any_more_is_put_out(network: Network, romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    tybalt = network.stranger("tybalt@verona.lit/street")
    for kind, said in (
        ("message", "gone"),
        ("message", "recipient-unavailable"),
        ("presence", "remote-server-not-found"),
        ("message", "service-unavailable"),
        ("message", "item-not-found"),
        ("message", "remote-server-timeout"),
    ):
        enter(tybalt, "Tybalt")
        juliet.forget()
        error = f"<error type='cancel'><{said} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        tybalt.send(f"<{kind} xmlns='jabber:client' type='error' to='{ROOM}/Juliet'>{error}</{kind}>")
        [own], [hers] = heard_by(tybalt), heard_by(juliet)
        assert texts(own, "u:x/u:status/@code") == ["110", "333"]
        assert (hers.get("type"), texts(hers, "u:x/u:status/@code")) == ("unavailable", ["333"])


def test_an_occupant_whose_server_is_gone_is_put_out_with_the_next_message(
    network: Network, romeo: Client
) -> None:
    create(romeo, "Romeo")
    tybalt = network.stranger("tybalt@verona.lit/street")
    enter(tybalt, "Tybalt")
    romeo.forget()
    del network._strangers[tybalt.jid.bare]  # nobody answers there any more
    say(romeo, "Tybalt?")
    heard = heard_by(romeo)
    assert [each.get("type") for each in heard] == ["groupchat", "unavailable"]
    assert texts(heard[1], "u:x/u:status/@code") == ["333"]


@pytest.mark.parametrize("said", ["policy-violation", "service-unavailable"])
def test_who_does_not_take_a_private_message_stays_and_its_sender_learns_that(
    romeo: Client, juliet: Client, said: str
) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.send(f"<message type='chat' id='w' to='{ROOM}/Juliet'><body>psst</body></message>")
    for who in (romeo, juliet):
        who.forget()
    error = f"<error type='modify'><{said} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    juliet.send(f"<message type='error' id='w' to='{ROOM}/Romeo'>{error}</message>")
    [told] = heard_by(romeo)
    assert (condition(told), told.get("from")) == (said, f"{ROOM}/Juliet")
    assert len(texts(told, "id:occupant-id/@id")) == 1  # XEP-0421 §4
    juliet.send(f"<message type='error' id='other' to='{ROOM}/Romeo'>{error}</message>")
    left = [each for each in heard_by(romeo) if each.get("type") == "unavailable"]
    assert len(left) == (said == "service-unavailable")


def test_who_is_blocked_cannot_put_somebody_out_by_whispering(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    block = f"<block xmlns='urn:xmpp:blocking'><item jid='{ROOM}/Romeo'/></block>"
    juliet.ask(f"<iq type='set'>{block}</iq>")
    romeo.forget()
    romeo.send(f"<message type='chat' id='w' to='{ROOM}/Juliet'><body>psst</body></message>")
    assert [condition(each) for each in heard_by(romeo)] == ["service-unavailable"]
    assert texts(about(romeo, "items"), "*/*/@jid") == [f"{ROOM}/Romeo", f"{ROOM}/Juliet"]
