"""What is said to all, to one, and the subject (XEP-0045 §7.4, §7.5, §8.1, §7.2.13 to §7.2.15)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.testing.client import condition
from tests.modules.muc.play import (
    ROOM,
    ROOMS,
    affiliate,
    configure,
    create,
    enter,
    find,
    give_role,
    heard_by,
    nick,
    say,
    send,
    texts,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Network
    from jabberd.testing.client import Client, Hearer

HISTORY = "<history {}/>"


def subject(who: Hearer, text: str, inside: str = "") -> None:
    send(who, f"<message to='{ROOM}' type='groupchat'><subject>{text}</subject>{inside}</message>")


def bodies(heard: list[_Element]) -> list[str]:
    return [each.findtext("{*}body") or "" for each in heard if each.find("{*}body") is not None]


def stage(romeo: Client, juliet: Client, **fields: Any) -> None:
    """Both are in the room, which is his."""
    create(romeo, "Romeo", **fields)
    enter(juliet, "Juliet")
    romeo.forget()


def test_everybody_hears_what_one_says_with_its_id(romeo: Client, juliet: Client) -> None:
    stage(romeo, juliet)
    say(juliet, "Ay me!", inside="<x xmlns='urn:example:rose'/>")
    for who in (romeo, juliet):
        [heard] = heard_by(who)
        assert (nick(heard), heard.get("type"), heard.get("id")) == ("Juliet", "groupchat", "m")
        assert heard.get("to") == who.jid
        assert heard.find("{urn:example:rose}x") is not None
        assert find(heard, "sid:stanza-id")[0].get("by") == ROOM


def test_what_has_no_id_gets_one(romeo: Client, juliet: Client) -> None:
    stage(romeo, juliet)
    juliet.send(f"<message to='{ROOM}' type='groupchat'><body>O</body></message>")
    [heard] = heard_by(romeo)
    assert heard.get("id") == find(heard, "sid:stanza-id")[0].get("id")


def test_ids_that_somebody_forged_are_taken_away(romeo: Client, juliet: Client) -> None:
    stage(romeo, juliet)
    forged = (
        "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>" * 3
        + "<x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>"
        + f"<delay xmlns='urn:xmpp:delay' from='{ROOM}' stamp='2002-09-10T23:08:25Z'/>"
        + "<delay xmlns='urn:xmpp:delay' from='juliet@capulet.lit' stamp='2002-09-10T23:08:25Z'/>"
        + "".join(
            f"<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{by}'/>"
            for by in (ROOM, ROOM.upper(), f"{ROOM}/Romeo", ROOMS, "archive.verona.lit")
        )
    )
    say(juliet, "Ay me!", inside=forged)
    juliet.send(f"<message to='{ROOM}/Romeo' type='chat'><body>psst</body>{forged}</message>")
    said, whispered = heard_by(romeo)
    for heard in (said, whispered):
        [id] = texts(heard, "id:occupant-id/@id")
        assert id != "forged"
        assert texts(heard, "u:x/u:status/@code") == []
        assert texts(heard, "d:delay/@from") == ["juliet@capulet.lit"]
    ids = [(each.get("by"), each.get("id") == "forged") for each in find(said, "sid:stanza-id")]
    assert ids == [("archive.verona.lit", True), (ROOM, False)]
    assert texts(whispered, "sid:stanza-id/@by") == ["archive.verona.lit"]


def test_who_has_no_voice_and_who_is_not_there_says_nothing(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    stage(romeo, juliet, moderatedroom="1")
    say(juliet, "Ay me!")
    assert condition(juliet.next()) == "forbidden"
    give_role(romeo, "Juliet", "participant")
    for who in (romeo, juliet):
        who.forget()
    say(juliet, "Ay me!")
    assert bodies(heard_by(romeo)) == ["Ay me!"]
    say(nurse, "Madam!")
    assert condition(nurse.next()) == "not-acceptable"
    say(nurse, "Madam!", room=f"nowhere@{ROOMS}")
    assert condition(nurse.next()) == "item-not-found"


def test_nobody_speaks_in_a_room_that_is_not_configured(romeo: Client) -> None:
    enter(romeo, "Romeo")
    say(romeo, "He jests")
    assert condition(romeo.next()) == "item-not-found"


def test_what_is_not_for_all_and_not_understood_is_refused(romeo: Client, juliet: Client) -> None:
    stage(romeo, juliet)
    for type in ("chat", "normal"):
        juliet.send(f"<message to='{ROOM}' type='{type}'><body>Hm</body></message>")
        assert condition(juliet.next()) == "bad-request"
    assert heard_by(romeo) == []


# -- to one ---------------------------------------------------------------------------------------------


def whisper(who: Client, to: str, type: str = "chat") -> str:
    """The condition with which it is refused; empty: it is not."""
    who.send(f"<message to='{ROOM}/{to}' type='{type}' id='w'><body>psst</body></message>")
    errors = [condition(each) for each in heard_by(who) if each.get("type") == "error"]
    return errors[0] if errors else ""


def test_a_private_message_comes_from_the_occupant(romeo: Client, juliet: Client, nurse: Client) -> None:
    stage(romeo, juliet)
    enter(nurse, "Nurse")
    for who in (romeo, juliet):
        who.forget()
    assert whisper(juliet, "Romeo") == ""
    [heard] = heard_by(romeo)
    assert (heard.get("from"), heard.get("to"), heard.get("id")) == (f"{ROOM}/Juliet", romeo.jid, "w")
    assert len(find(heard, "u:x")) == 1
    assert len(find(heard, "id:occupant-id")) == 1
    assert heard_by(nurse) == []
    assert whisper(juliet, "Romeo", "groupchat") == "bad-request"
    assert whisper(juliet, "Tybalt") == "item-not-found"
    nurse.send(f"<presence to='{ROOM}/Nurse' type='unavailable'/>")
    nurse.forget()
    assert whisper(nurse, "Romeo") == "not-acceptable"


@pytest.mark.parametrize(
    ("allowed", "visitor", "participant", "moderator"),
    [
        ("anyone", "", "", ""),
        ("participants", "forbidden", "", ""),
        ("moderators", "forbidden", "forbidden", ""),
        ("none", "forbidden", "forbidden", "forbidden"),
    ],
)
def test_a_room_says_who_may_send_private_messages(
    romeo: Client, juliet: Client, nurse: Client, allowed: str, visitor: str, participant: str, moderator: str
) -> None:
    stage(romeo, juliet, moderatedroom="1", allowpm=allowed)
    enter(nurse, "Nurse")
    give_role(romeo, "Nurse", "participant")
    for who in (romeo, juliet, nurse):
        who.forget()
    said = [whisper(juliet, "Nurse"), whisper(nurse, "Juliet"), whisper(romeo, "Nurse")]
    assert said == [visitor, participant, moderator]


# -- the subject ----------------------------------------------------------------------------------------


def test_moderators_change_the_subject_and_participants_where_the_room_lets_them(
    romeo: Client, juliet: Client
) -> None:
    stage(romeo, juliet)
    subject(juliet, "Names")
    assert condition(juliet.next()) == "forbidden"
    subject(romeo, "Roses")
    for who in (romeo, juliet):
        [heard] = heard_by(who)
        assert (nick(heard), heard.findtext("{*}subject")) == ("Romeo", "Roses")
    configure(romeo, changesubject="1")
    for who in (romeo, juliet):
        who.forget()
    subject(juliet, "Names")
    assert [each.findtext("{*}subject") for each in heard_by(romeo)] == ["Names"]


def test_only_a_subject_alone_is_a_change(romeo: Client, juliet: Client, nurse: Client) -> None:
    stage(romeo, juliet)
    subject(romeo, "Roses")
    subject(romeo, "Names", "<body>What's in a name?</body>")
    subject(romeo, "Threads", "<thread>1</thread>")
    assert enter(nurse, "Nurse")[-1].findtext("{*}subject") == "Roses"


def test_a_subject_can_be_taken_away_and_is_not_too_long(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    stage(romeo, juliet)
    subject(romeo, "Roses")
    subject(romeo, "x" * 5_000)
    assert condition(romeo.heard[-1]) == "not-acceptable"
    subject(romeo, "")
    last = enter(nurse, "Nurse")[-1]
    assert last.findtext("{*}subject") == ""
    assert texts(last, "d:delay/@from") == [ROOM]


def test_a_subject_comes_with_the_id_of_who_set_it_under_the_name_of_then(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    stage(romeo, juliet)
    subject(romeo, "Roses")
    [id] = texts(heard_by(juliet)[0], "id:occupant-id/@id")
    romeo.send(f"<presence to='{ROOM}/Montague'/>")
    last = enter(nurse, "Nurse")[-1]
    assert (nick(last), texts(last, "id:occupant-id/@id")) == ("Romeo", [id])


# -- history --------------------------------------------------------------------------------------------


@pytest.fixture
def talked(network: Network, romeo: Client, juliet: Client) -> None:
    """Five messages, one every ten seconds; the last one forty seconds after the first."""
    stage(romeo, juliet)
    for number in range(5):
        if number:
            network.advance(10)
        say(juliet, f"line {number}")


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        ("", [0, 1, 2, 3, 4]),
        (HISTORY.format(""), [0, 1, 2, 3, 4]),
        (HISTORY.format("maxstanzas='2'"), [3, 4]),
        (HISTORY.format("maxstanzas='0'"), []),
        (HISTORY.format("maxstanzas='many'"), [0, 1, 2, 3, 4]),
        (HISTORY.format("seconds='25'"), [2, 3, 4]),
        (HISTORY.format("seconds='99999999999'"), [0, 1, 2, 3, 4]),
        (HISTORY.format("since='1970-01-01T00:17:00Z'"), [2, 3, 4]),
        (HISTORY.format("since='yesterday'"), [0, 1, 2, 3, 4]),
        (HISTORY.format("since='1970-01-01T00:17:00Z' seconds='5'"), [4]),
        (HISTORY.format("since='1970-01-01T00:17:00Z' maxstanzas='1'"), [4]),
        (HISTORY.format("maxchars='0'"), []),
        (HISTORY.format("maxchars='1100'"), [3, 4]),
    ],
)
@pytest.mark.usefixtures("talked")
def test_a_newcomer_says_how_much_to_hear_of_what_was_said(
    nurse: Client, asked: str, lines: list[int]
) -> None:
    assert bodies(enter(nurse, "Nurse", asked)) == [f"line {number}" for number in lines]


@pytest.mark.usefixtures("talked")
def test_a_room_says_how_much_a_newcomer_hears(romeo: Client, nurse: Client) -> None:
    configure(romeo, history="3")
    nurse.forget()
    heard = enter(nurse, "Nurse", HISTORY.format("maxstanzas='100'"))
    assert bodies(heard) == ["line 2", "line 3", "line 4"]
    [first, *_] = [each for each in heard if str(each.tag).endswith("message")]
    assert texts(first, "d:delay/@stamp") == ["1970-01-01T00:17:00Z"]
    assert len(find(first, "sid:stanza-id")) == len(find(first, "id:occupant-id")) == 1


def test_what_is_only_for_the_moment_is_not_told_later(romeo: Client, juliet: Client, nurse: Client) -> None:
    stage(romeo, juliet)
    juliet.send(
        f"<message to='{ROOM}' type='groupchat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
    )
    assert len(heard_by(romeo)) == 1
    say(juliet, "forget this", inside="<no-store xmlns='urn:xmpp:hints'/>")
    affiliate(romeo, "nurse@capulet.lit", "member")
    nurse.forget()
    assert bodies(enter(nurse, "Nurse")) == []


def test_history_is_no_larger_than_a_megabyte(romeo: Client, nurse: Client) -> None:
    create(romeo, "Romeo", history="50")
    for number in range(12):
        say(romeo, f"{number}" + "x" * 100_000)
    romeo.forget()
    assert [each[:2] for each in bodies(enter(nurse, "Nurse"))] == [
        *(f"{n}x" for n in range(2, 10)),
        "10",
        "11",
    ]
