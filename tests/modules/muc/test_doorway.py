"""Many who enter at once take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.task import Clock

from jabberd.api import JID
from jabberd.modules.muc import doorway
from jabberd.testing.client import condition
from tests.modules.muc.play import ROOM, ROOMS, codes, create, heard_by, join, nick, say

if TYPE_CHECKING:
    from jabberd.modules.muc import Rooms
    from jabberd.testing import Network
    from jabberd.testing.client import Client

GUESTS = [f"guest{number}" for number in range(8)]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is over when three have come into a room of two."""
    monkeypatch.setattr(doorway, "_A_TURN", 11)


@pytest.fixture
def turns(network: Network) -> Clock:
    """What makes the next turn come; a `Network` would make all come at once."""
    clock = rooms(network).service.doorway._clock = Clock()
    return clock


@pytest.fixture
def ball(network: Network, romeo: Client, juliet: Client, turns: Clock) -> list[Client]:
    """Guests who have asked to enter a room of two."""
    create(romeo, "Romeo")
    join(juliet, "Juliet")
    guests = [network.client(f"{name}@montague.lit/hall") for name in GUESTS]
    turns.advance(0)
    romeo.forget()
    for guest in guests:
        join(guest, guest.jid.localpart)
    return guests


def let_all_in(turns: Clock) -> None:
    for _ in GUESTS:
        turns.advance(0)


def entered(guest: Client) -> bool:
    guest.flush()
    return any("110" in codes(each) for each in guest.heard)


def test_in_one_turn_no_more_enter_than_others_can_wait_for(ball: list[Client], turns: Clock) -> None:
    assert 0 < [entered(guest) for guest in ball].count(True) < len(ball)
    let_all_in(turns)
    assert all(entered(guest) for guest in ball)


def test_they_enter_in_their_order_and_nobody_misses_anybody(
    romeo: Client, ball: list[Client], turns: Clock
) -> None:
    let_all_in(turns)
    assert [nick(each) for each in heard_by(romeo)] == GUESTS
    for at, guest in enumerate(ball):
        heard = [nick(each) for each in heard_by(guest)]
        assert heard == ["Romeo", "Juliet", *GUESTS[: at + 1], "", *GUESTS[at + 1 :]]


def test_what_is_said_meanwhile_is_heard_meanwhile(
    romeo: Client, juliet: Client, ball: list[Client], turns: Clock
) -> None:
    juliet.forget()
    say(romeo, "Is she a Capulet?")
    [said] = [each for each in heard_by(juliet) if each.findtext("{*}body")]
    assert nick(said) == "Romeo"
    assert not entered(ball[-1])
    let_all_in(turns)


def test_who_says_something_behind_it_is_heard_when_inside(
    romeo: Client, ball: list[Client], turns: Clock
) -> None:
    say(ball[-1], "Good evening")
    assert not [each for each in heard_by(romeo) if each.findtext("{*}body")]
    let_all_in(turns)
    assert [each.findtext("{*}body") for each in heard_by(romeo)][-1] == "Good evening"


def test_who_is_lost_before_its_turn_does_not_enter(
    network: Network, romeo: Client, ball: list[Client], turns: Clock
) -> None:
    ball[-1].drop()
    let_all_in(turns)
    assert [nick(each) for each in heard_by(romeo)] == GUESTS[:-1]
    room = rooms(network).service.rooms.resident[JID.parse(ROOM)]
    assert room.coming == {}
    assert len(room.visits) == len(ball) + 1


def test_who_is_lost_and_comes_again_before_its_turn_enters_as_it_said_last(
    network: Network, romeo: Client, ball: list[Client], turns: Clock
) -> None:
    ball[-1].drop()
    again = network.client(f"{GUESTS[-1]}@montague.lit/hall")
    join(again, "Paris")
    let_all_in(turns)
    turns.advance(0)
    assert [nick(each) for each in heard_by(romeo)] == [*GUESTS[:-1], "Paris"]
    assert entered(again)


def test_who_says_goodbye_before_its_turn_enters_and_leaves(
    romeo: Client, ball: list[Client], turns: Clock
) -> None:
    ball[-1].send("</stream:stream>")
    let_all_in(turns)
    assert [(nick(each), each.get("type", "")) for each in heard_by(romeo)][-2:] == [
        (GUESTS[-1], ""),
        (GUESTS[-1], "unavailable"),
    ]


def test_who_waits_when_the_service_stops_is_turned_away(network: Network, ball: list[Client]) -> None:
    rooms(network).service.doorway.close()
    assert [condition(each) for each in heard_by(ball[-1])] == ["service-unavailable"]


def rooms(network: Network) -> Rooms:
    module: Rooms = network.server("montague.lit").hosts[ROOMS].manager.module("muc")  # type: ignore[assignment]  # it is
    return module
