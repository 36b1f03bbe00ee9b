"""Many who enter at once take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.task import Clock

from jabberd.api import JID
from jabberd.modules.muc import doorway
from jabberd.testing import Network
from jabberd.testing.client import condition
from tests.modules.muc.play import (
    ROOM,
    ROOMS,
    affiliate,
    ask,
    codes,
    configure,
    create,
    heard_by,
    join,
    nick,
    say,
    send,
    texts,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.api import Stanza
    from jabberd.modules.muc import Rooms
    from jabberd.testing.client import Client, Hearer
    from tests.conftest import LoggedErrors

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


# -- who waits, and says more ---------------------------------------------------------------------------


@pytest.fixture
def stranger(network: Network, ball: list[Client]) -> Hearer:
    """One more, of another server, whose stream does not wait."""
    stranger: Hearer = network.stranger("mercutio@verona.lit/street")
    join(stranger, "Mercutio")
    return stranger


def bodies(heard: list[_Element]) -> list[str]:
    return [text for each in heard for text in texts(each, "c:body/text()")]


def goodbye(who: Hearer) -> None:
    send(who, f"<presence xmlns='jabber:client' type='unavailable' to='{ROOM}/Mercutio' id='out'/>")


def test_who_comes_from_another_server_is_heard_when_inside_as_well_and_in_order(
    romeo: Client, stranger: Hearer, turns: Clock
) -> None:
    for text in ("Good evening", "Blind is his love"):
        say(stranger, text)
    query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    send(stranger, f"<iq xmlns='jabber:client' type='get' id='q' to='{ROOM}'>{query}</iq>")
    send(stranger, f"<message xmlns='jabber:client' to='{ROOM}/Romeo'><body>Psst</body></message>")
    goodbye(stranger)
    assert not heard_by(stranger)
    assert not bodies(heard_by(romeo))
    let_all_in(turns)
    assert bodies(heard_by(romeo)) == ["Good evening", "Blind is his love", "Psst"]
    told = heard_by(stranger)
    assert not [condition(each) for each in told if each.get("type") == "error"]
    assert [each.get("id") for each in told][-2:] == ["q", "out"]


def test_who_is_refused_at_last_is_told_so_before_what_it_said_is(
    stranger: Hearer, romeo: Client, turns: Clock
) -> None:
    say(stranger, "Good evening")
    affiliate(romeo, "mercutio@verona.lit", "outcast")
    let_all_in(turns)
    assert [condition(each) for each in heard_by(stranger)] == ["forbidden", "not-acceptable"]


def test_so_much_waits_behind_somebody_and_no_more_but_a_goodbye(
    network: Network, romeo: Client, stranger: Hearer, turns: Clock
) -> None:
    for number in range(70):
        say(stranger, f"line {number}")
    assert [condition(each) for each in heard_by(stranger)] == ["resource-constraint"] * 6
    for _ in range(3):
        goodbye(stranger)
    say(stranger, "line 70")
    assert [condition(each) for each in heard_by(stranger)] == ["resource-constraint"]
    [behind] = [
        each
        for jid, each in rooms(network).service.rooms.resident[JID.parse(ROOM)].coming.items()
        if jid.domainpart == "verona.lit"
    ]
    assert len(behind) == 65
    let_all_in(turns)
    assert bodies(heard_by(romeo)) == [f"line {number}" for number in range(64)]
    assert [each.get("type") for each in heard_by(stranger)][-1] == "unavailable"


def test_what_cannot_be_handled_keeps_nothing_that_stands_behind_it(
    network: Network,
    stranger: Hearer,
    romeo: Client,
    turns: Clock,
    monkeypatch: pytest.MonkeyPatch,
    logged_errors: LoggedErrors,
) -> None:
    class Deaf:
        def hears(self, room: object, occupant: object, stanza: Stanza) -> Stanza:
            if b"thunder" in stanza.payload:
                raise ZeroDivisionError
            return stanza

    monkeypatch.setattr(rooms(network).service.seam, "hearing", [Deaf()])
    for text in ("First", "thunder", "Last"):
        say(stranger, text)
    let_all_in(turns)
    assert bodies(heard_by(romeo)) == ["First", "Last"]
    failed = [condition(each) for each in heard_by(stranger) if each.get("type") == "error"]
    assert failed == ["internal-server-error"]
    logged_errors.take(ZeroDivisionError)


def test_who_leaves_before_its_turn_and_said_nothing_does_not_enter(
    romeo: Client, stranger: Hearer, turns: Clock
) -> None:
    goodbye(stranger)
    let_all_in(turns)
    assert [nick(each) for each in heard_by(romeo)] == GUESTS


def test_who_enters_leaves_and_enters_again_behind_the_door_is_inside(
    romeo: Client, stranger: Hearer, turns: Clock
) -> None:
    say(stranger, "First")
    goodbye(stranger)
    join(stranger, "Benvolio")
    say(stranger, "Second")
    let_all_in(turns)
    turns.advance(0)
    told = [(nick(each), each.get("type") or "") for each in heard_by(romeo)][len(GUESTS) :]
    assert told == [
        ("Mercutio", ""),
        ("Mercutio", "groupchat"),
        ("Mercutio", "unavailable"),
        ("Benvolio", ""),
        ("Benvolio", "groupchat"),
    ]


def test_who_waits_for_a_room_that_ends_meanwhile_learns_that(
    romeo: Client, stranger: Hearer, turns: Clock
) -> None:
    say(stranger, "Good evening")
    ask(romeo, "<destroy/>", part="owner")
    let_all_in(turns)
    assert [condition(each) for each in heard_by(stranger)] == ["item-not-found"] * 2


def test_who_takes_another_nickname_is_heard_under_that(
    network: Network, romeo: Client, juliet: Client, turns: Clock
) -> None:
    create(romeo, "Romeo")
    stranger = network.stranger("mercutio@verona.lit/street")
    join(stranger, "Mercutio")
    for number in range(3):
        join(network.client(f"guest{number}@montague.lit/hall"), f"guest{number}")
    romeo.forget()
    send(stranger, f"<presence xmlns='jabber:client' to='{ROOM}/Benvolio'/>")
    say(stranger, "Good evening")
    assert heard_by(romeo) == []
    let_all_in(turns)
    told = [(nick(each), each.get("type")) for each in heard_by(romeo) if "guest" not in nick(each)]
    assert told == [("Mercutio", "unavailable"), ("Benvolio", None), ("Benvolio", "groupchat")]


def test_who_is_kicked_while_waiting_for_another_nickname_is_out(
    network: Network, romeo: Client, turns: Clock
) -> None:
    create(romeo, "Romeo")
    stranger = network.stranger("mercutio@verona.lit/street")
    join(stranger, "Mercutio")
    for number in range(3):
        join(network.client(f"guest{number}@montague.lit/hall"), f"guest{number}")
    heard_by(stranger)
    send(stranger, f"<presence xmlns='jabber:client' to='{ROOM}/Benvolio'/>")
    romeo.send(
        f"<iq type='set' id='k' to='{ROOM}'><query xmlns='http://jabber.org/protocol/muc#admin'>"
        "<item nick='Mercutio' role='none'/></query></iq>"
    )
    let_all_in(turns)
    assert [codes(each) for each in heard_by(stranger)] == [["110", "307"], ["110", "307", "333"]]
    visits = rooms(network).service.rooms.resident[JID.parse(ROOM)].visits
    assert JID.parse("mercutio@verona.lit/street") not in visits


@pytest.mark.parametrize("password", ["rose", "tulip"])
def test_the_password_that_counts_is_the_one_when_somebody_enters(
    network: Network, romeo: Client, turns: Clock, password: str
) -> None:
    create(romeo, "Romeo", passwordprotectedroom="1", roomsecret="rose")
    for number in range(8):
        join(network.stranger(f"guest{number}@verona.lit/x"), f"guest{number}", "<password>rose</password>")
    last = network.stranger("mercutio@verona.lit/street")
    join(last, "Mercutio", f"<password>{password}</password>")
    configure(romeo, roomsecret="tulip")
    let_all_in(turns)
    turns.advance(0)
    found = [condition(each) or nick(each) for each in heard_by(last)]
    assert (found == ["not-authorized"]) is (password == "rose")


def rooms(network: Network) -> Rooms:
    module: Rooms = network.server("montague.lit").hosts[ROOMS].manager.module("muc")  # type: ignore[assignment]  # it is
    return module


def test_over_streams_between_servers_what_is_said_in_the_same_breath_is_heard(turns: Clock) -> None:
    network = Network()
    network.serve("montague.lit", services={ROOMS: {"disco": {}, "muc": {}}}, federate=True)
    network.serve("capulet.lit", federate=True)
    rooms(network).service.doorway._clock = turns
    romeo, juliet = (network.client(f"{jid}/x") for jid in ("romeo@montague.lit", "juliet@capulet.lit"))
    create(romeo, "Romeo")
    for number in range(6):
        join(network.client(f"guest{number}@montague.lit/hall"), f"guest{number}")
    romeo.forget()
    juliet.send(
        f"<presence to='{ROOM}/Juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        f"<message to='{ROOM}' type='groupchat'><body>Ay me!</body></message>"
    )
    assert not heard_by(juliet)
    let_all_in(turns)
    assert bodies(heard_by(romeo)) == bodies(heard_by(juliet)) == ["Ay me!"]
    network.close()
