"""Many who leave at once: each is out at once, and those who stay are told of them in turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.task import Clock

from jabberd.api import JID
from jabberd.modules.muc import Rooms, doorway
from tests.modules.muc.play import (
    ROOM,
    ROOMS,
    codes,
    configure,
    create,
    enter,
    give_role,
    heard_by,
    join,
    nick,
    say,
    send,
)

if TYPE_CHECKING:
    from jabberd.api import Stanza
    from jabberd.modules.muc.room import Room
    from jabberd.testing import Network
    from jabberd.testing.client import Client, Hearer

MANY = 80  # one who vanished put out the next: Python's stack had room for 60


class Turns:
    """The turns of the reactor, and what the rooms send in each."""

    def __init__(self, network: Network) -> None:
        rooms = network.server("montague.lit").hosts[ROOMS].manager.module("muc")
        assert isinstance(rooms, Rooms)
        self._rooms = rooms
        self._clock = rooms.service.doorway._clock = Clock()
        self.told = 0
        spread = rooms.service.spread

        def counted(copies: object) -> None:
            stanzas: list[Stanza] = list(copies)  # type: ignore[call-overload]
            self.told += len(stanzas)
            spread(stanzas)

        rooms.service.spread = counted

    @property
    def room(self) -> Room:
        return self._rooms.service.rooms.resident[JID.parse(ROOM)]

    def next(self) -> bool:
        """Have the next turn, and no more, if somebody waits for it."""
        self.told = 0
        for call in self._clock.getDelayedCalls():
            call.cancel()
            self._rooms.service.doorway._turned()
            return True
        return False

    def all(self) -> int:
        """Have them all; the most that was told in one."""
        most = 0
        while self.next():
            most = max(most, self.told)
        return most


@pytest.fixture
def turns(network: Network) -> Turns:
    return Turns(network)


def abroad(network: Network, turns: Turns, many: int = MANY) -> list[Hearer]:
    """People of another server, in the room."""
    people = [network.stranger(f"u{number}@verona.lit/x") for number in range(many)]
    for number, each in enumerate(people):
        join(each, f"u{number}")
    turns.all()
    return list(people)


def vanish(network: Network) -> None:
    """Nobody abroad can be reached any more."""
    network._strangers.clear()


@pytest.fixture
def staying(network: Network, romeo: Client, juliet: Client, turns: Turns) -> list[Client]:
    """Two who stay."""
    create(romeo, "Romeo", moderatedroom="0")
    enter(juliet, "Juliet")
    return [romeo, juliet]


def gone(who: Hearer) -> list[str]:
    """Of whom it hears that they have left, in that order."""
    return [nick(each) for each in heard_by(who) if each.get("type") == "unavailable"]


def test_all_whose_server_is_gone_are_out_and_those_who_stay_hear_it_in_turns(
    network: Network, staying: list[Client], turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "_A_TURN", 50)
    names = [nick_of(each) for each in abroad(network, turns)]
    for each in staying:
        each.forget()
    vanish(network)
    turns.told = 0
    say(staying[0], "Is anybody there?")
    assert len(turns.room.visits) == len(staying)
    assert turns.told < 2 * (MANY + len(staying))  # what was said, and of the first who is gone
    assert 0 < turns.all() <= 50 + len(staying)
    for each in staying:
        assert gone(each) == names


def nick_of(who: Hearer) -> str:
    return str(who.jid.localpart)  # type: ignore[attr-defined]  # a stranger has one


def test_who_vanished_with_two_sessions_is_gone_with_both(
    network: Network, staying: list[Client], turns: Turns
) -> None:
    abroad(network, turns)
    for number in range(MANY):
        join(network.stranger(f"u{number}@verona.lit/y"), f"u{number}")
    turns.all()
    staying[0].forget()
    vanish(network)
    say(staying[0], "Is anybody there?")
    turns.all()
    assert len(turns.room.visits) == len(staying)
    assert sorted(gone(staying[0])) == sorted(f"u{number}" for number in range(MANY))


def test_what_is_told_of_who_vanished_is_what_was_told_before(
    network: Network, staying: list[Client], turns: Turns
) -> None:
    abroad(network, turns, 1)
    staying[1].forget()
    vanish(network)
    say(staying[0], "Is anybody there?")
    turns.all()
    told = heard_by(staying[1])[-1]
    assert (nick(told), told.get("type"), codes(told)) == ("u0", "unavailable", ["333"])


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is told to anybody is a turn's share."""
    monkeypatch.setattr(doorway, "_A_TURN", 0)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("again", ["enters", "is renamed"])
def test_nobody_hears_of_a_nickname_that_is_taken_again_before_it_was_given_back(
    network: Network, staying: list[Client], turns: Turns, nurse: Client, again: str
) -> None:
    first, second = abroad(network, turns, 2)
    if again == "is renamed":
        join(nurse, "Nurse")
    turns.all()
    staying[1].forget()
    for each, name in ((first, "u0"), (second, "u1")):
        send(each, f"<presence xmlns='jabber:client' type='unavailable' to='{ROOM}/{name}'/>")
    join(nurse, "u1")
    assert turns.room.occupant("u1") is None
    say(staying[0], "Who is it?")
    turns.all()
    heard = [(nick(each), each.get("type", "")) for each in heard_by(staying[1])]
    told = [each for each in heard if each[1] != "groupchat"]
    entered = [("u1", "")] if again == "enters" else [("Nurse", "unavailable"), ("u1", "")]
    assert told == [("u0", "unavailable"), ("u1", "unavailable"), *entered]


@pytest.mark.usefixtures("narrow")
def test_who_is_put_out_by_a_configuration_is_out_at_once_and_told_of_in_turns(
    network: Network, staying: list[Client], turns: Turns
) -> None:
    guests = abroad(network, turns, 5)
    for each in staying:
        each.forget()
    answers = configure(staying[0], membersonly="1")
    assert answers.get("type") == "result"
    assert len(turns.room.visits) == 1  # the owner alone belongs to it
    for guest in guests:
        assert [codes(told) for told in heard_by(guest)][-1] == ["110", "322"]
    assert len(heard_by(staying[0])) < len(guests)
    turns.all()
    assert codes(heard_by(staying[0])[-1]) == ["104"]


@pytest.mark.usefixtures("narrow")
def test_who_kicks_many_is_heard_again_when_everybody_knows(
    network: Network, staying: list[Client], turns: Turns
) -> None:
    abroad(network, turns, 3)
    romeo, juliet = staying
    juliet.forget()
    kicks = "".join(f"<item nick='u{number}' role='none'/>" for number in range(3))
    query = f"<query xmlns='http://jabber.org/protocol/muc#admin'>{kicks}</query>"
    romeo.send(f"<iq type='set' id='k' to='{ROOM}'>{query}</iq>")
    say(romeo, "Peace!")
    assert len(turns.room.visits) == len(staying)
    assert [each.findtext("{*}body") for each in heard_by(juliet)] == [None]
    turns.all()
    assert [(nick(each), each.findtext("{*}body")) for each in heard_by(juliet)] == [
        ("u1", None),
        ("u2", None),
        ("Romeo", "Peace!"),
    ]


@pytest.mark.usefixtures("narrow")
def test_who_enters_hears_nothing_of_those_who_left_before(
    network: Network, staying: list[Client], turns: Turns, nurse: Client
) -> None:
    first, second = abroad(network, turns, 2)
    join(network.stranger("page@verona.lit/x"), "Page")
    join(nurse, "Nurse")  # it waits already
    for each, name in ((first, "u0"), (second, "u1")):
        send(each, f"<presence xmlns='jabber:client' type='unavailable' to='{ROOM}/{name}'/>")
    turns.all()
    assert [nick(each) for each in heard_by(nurse)] == ["Romeo", "Juliet", "Page", "Nurse", ""]


@pytest.mark.usefixtures("narrow")
def test_another_room_is_entered_between_two_who_leave_a_large_one(
    network: Network, staying: list[Client], turns: Turns, nurse: Client
) -> None:
    abroad(network, turns, 9)
    create(nurse, "Nurse", room=f"hall@{ROOMS}")
    turns.all()
    vanish(network)
    say(staying[0], "Is anybody there?")
    join(staying[1], "Juliet", room=f"hall@{ROOMS}")
    for _ in range(3):
        turns.next()
    assert turns.next()
    assert [nick(each) for each in heard_by(nurse)] == ["Juliet"]
    turns.all()


def test_who_is_gone_when_it_hears_of_its_other_nickname_goes_by_that(
    network: Network, staying: list[Client], turns: Turns
) -> None:
    [guest] = abroad(network, turns, 1)
    staying[1].forget()
    vanish(network)
    send(guest, f"<presence xmlns='jabber:client' to='{ROOM}/Rose'/>")
    turns.all()
    assert [(nick(each), codes(each)) for each in heard_by(staying[1])] == [
        ("u0", ["303"]),
        ("Rose", ["333"]),
    ]


@pytest.fixture
def late(network: Network, staying: list[Client], turns: Turns) -> Client:
    """Somebody who is told everything after two of another server."""
    assert staying
    abroad(network, turns, 2)
    late = network.client("friar@montague.lit/cell")
    enter(late, "Friar")
    late.forget()
    return late


def test_who_is_put_out_while_all_hear_of_its_other_nickname_goes_by_that(
    network: Network, staying: list[Client], turns: Turns, late: Client
) -> None:
    guest = network._strangers[JID.parse("u0@verona.lit")]
    staying[1].forget()
    vanish(network)
    send(guest, f"<presence xmlns='jabber:client' to='{ROOM}/Rose'/>")
    turns.all()
    assert len(turns.room.visits) == len(turns.room.occupants) == len(staying) + 1
    for each in (staying[1], late):
        told = [(nick(one), codes(one)) for one in heard_by(each)]
        assert told == [("u0", ["303"]), ("u1", ["333"]), ("Rose", ["333"])]


def test_who_is_put_out_by_what_it_says_itself_is_heard_before_all_hear_that(
    network: Network, turns: Turns, late: Client
) -> None:
    guest = network._strangers[JID.parse("u0@verona.lit")]
    vanish(network)
    say(guest, "Adieu")
    turns.all()
    assert [(nick(one), one.get("type", "")) for one in heard_by(late)] == [
        ("u0", "groupchat"),
        ("u0", "unavailable"),
        ("u1", "unavailable"),
    ]


@pytest.mark.usefixtures("narrow")
def test_who_vanishes_while_waiting_for_another_nickname_is_out_at_once(
    network: Network, staying: list[Client], turns: Turns
) -> None:
    guest, other = abroad(network, turns, 2)
    send(other, f"<presence xmlns='jabber:client' to='{ROOM}/Tybalt'/>")
    send(guest, f"<presence xmlns='jabber:client' to='{ROOM}/Rose'/>")
    say(guest, "I am Rose")
    vanish(network)
    say(staying[0], "Who?")
    assert len(turns.room.visits) == len(staying)
    turns.all()
    assert len(turns.room.visits) == len(staying)
    assert not turns.room.coming


@pytest.mark.usefixtures("narrow")
def test_who_waits_for_a_turn_to_be_told_of_when_the_service_stops_keeps_nobody(
    network: Network, staying: list[Client], turns: Turns
) -> None:
    abroad(network, turns, 3)
    romeo = staying[0]
    romeo.send(f"<presence to='{ROOM}/Romeo'/>")
    vanish(network)
    say(romeo, "Is anybody there?")
    turns._rooms.service.doorway.close()
    assert not turns._clock.getDelayedCalls()
    assert give_role(romeo, "Juliet", "visitor").get("type") == "result"
    turns.all()
