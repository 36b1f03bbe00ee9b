"""Each in its turn, and no faster than the rate: one peer that floods us delays nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from jabberd.streams.protocol import StreamSettings
from jabberd.xmpp.errors import StreamError
from tests.streams.test_protocol import GOODBYE, HEADER, Talk, messages

MANY = [f"m{number}" for number in range(500)]


def flood(talk: Talk, xml: str) -> None:
    """Have it all arrive at once, before anything else happens."""
    talk.stream.dataReceived(xml.encode())


# --- turns ---------------------------------------------------------------------------------------


def test_fifty_stanzas_are_handled_before_others_have_their_turn() -> None:
    talk = Talk()
    flood(talk, messages(*MANY))
    for turn in range(1, 10):
        assert talk.handled == MANY[: 50 * turn]
        assert talk.pipe.server.paused
        assert talk.stream._rest is not None
        assert talk.stream._rest.getTime() == talk.clock.seconds()  # as soon as the others had theirs
        talk.stream._rest.cancel()
        talk.stream._rested()
    assert talk.handled == MANY
    assert not talk.pipe.server.paused


def test_no_more_is_parsed_in_a_turn_than_may_be_handled_soon() -> None:
    talk = Talk()
    flood(talk, "<presence/>" * 6000)
    assert len(talk.stream._inbox) < 1600
    assert talk.stream.held > 40_000  # the rest is kept as it came
    talk.pipe.flush()
    assert len(talk.handled) == 6000


def test_what_comes_while_a_peer_waits_for_its_turn_is_kept_in_order() -> None:
    talk = Talk()
    for start in range(0, 500, 100):
        flood(talk, messages(*MANY[start : start + 100]))
    talk.pipe.flush()
    assert talk.handled == MANY


def test_two_who_talk_take_turns() -> None:
    one, other = Talk(), Talk()
    flood(one, messages(*MANY))
    flood(other, messages("only this"))
    assert len(one.handled) == 50
    assert other.handled == ["only this"]


def test_a_home_that_is_found_at_once_changes_no_order() -> None:
    talk = Talk()
    homes = {id: Deferred[None]() for id in MANY}
    talk.stream.script.update(homes)
    for home in homes.values():
        home.callback(None)
    flood(talk, "".join(f"<iq id='{id}'><x xmlns='urn:x'>{'x' * 100}</x></iq>" for id in MANY))
    talk.pipe.flush()
    assert talk.handled == MANY


def test_an_error_behind_a_flood_comes_behind_it() -> None:
    talk = Talk()
    flood(talk, messages(*MANY) + "<message></presence>")
    talk.pipe.flush()
    assert talk.handled == MANY
    assert b"<not-well-formed" in talk.said


def test_who_floods_and_says_goodbye_is_heard_to_the_end() -> None:
    talk = Talk()
    talk.say(messages(*MANY) + "</stream:stream>")
    assert talk.handled == MANY
    assert talk.said == GOODBYE
    assert not talk.pipe.client.connected
    assert talk.clock.getDelayedCalls() == []


def test_who_floods_and_is_cut_off_is_heard_to_the_end() -> None:
    talk = Talk()
    flood(talk, messages(*MANY))
    talk.pipe.client.abortConnection()
    talk.pipe.flush()
    assert talk.handled == MANY
    assert talk.clock.getDelayedCalls() == []


def test_nothing_of_a_flood_is_handled_once_the_stream_is_over() -> None:
    talk = Talk()
    talk.stream.script["m7"] = StreamError("policy-violation")
    flood(talk, messages(*MANY))
    talk.pipe.flush()
    assert talk.handled == MANY[:8]
    assert talk.stream.held == 0
    assert talk.clock.getDelayedCalls() == []


def test_a_restart_throws_away_a_flood_that_came_ahead_of_the_new_header() -> None:
    talk = Talk()
    flood(talk, "<restart xmlns='urn:x'/>" + messages(*MANY) * 10)
    talk.pipe.flush()
    talk.say(HEADER + messages("b"))
    assert talk.handled == ["{urn:x}restart", "b"]


def test_what_waits_for_a_home_waits_though_its_turn_would_come() -> None:
    talk = Talk()
    home: Deferred[None] = Deferred()
    talk.stream.script["q"] = home
    flood(talk, messages(*MANY[:70]) + "<iq id='q'/>" + messages(*MANY[70:]))
    talk.pipe.flush()
    assert talk.handled == [*MANY[:70], "q"]
    home.callback(None)
    talk.pipe.flush()
    assert talk.handled == [*MANY[:70], "q", *MANY[70:]]
    assert not talk.pipe.server.paused


@given(st.lists(st.integers(1, 4000), max_size=40))
def test_however_a_flood_is_cut_it_is_read_the_same(cuts: list[int]) -> None:
    talk = Talk()
    said = (messages(*MANY) + "<iq id='last'/>").encode()
    for cut in cuts:
        talk.stream.dataReceived(said[:cut])
        said = said[cut:]
        talk.clock.advance(0)
    talk.stream.dataReceived(said)
    talk.pipe.flush()
    assert talk.handled == [*MANY, "last"]


# --- the rate ------------------------------------------------------------------------------------


def slow() -> StreamSettings:
    return StreamSettings(rate=1000, burst=5.0)


KILOBYTE = f"<message id='k'><body>{'x' * 961}</body></message>"


def test_a_burst_is_let_through_at_once() -> None:
    talk = Talk(slow())
    talk.say(KILOBYTE * 4)
    assert len(talk.handled) == 4
    assert not talk.pipe.server.paused
    assert talk.stream.slowed == 0


def test_behind_a_burst_reading_pauses_until_the_rate_is_kept() -> None:
    talk = Talk(slow())
    talk.say(KILOBYTE * 8)
    assert len(talk.handled) == 8  # what was on its way
    assert talk.pipe.server.paused
    assert 3 <= talk.stream.slowed <= 3.5
    talk.say(KILOBYTE)
    assert len(talk.pipe.client.waiting) == 1000  # nothing is buffered here
    talk.clock.advance(3)
    talk.pipe.flush()
    assert len(talk.handled) == 8
    talk.clock.advance(0.5)
    talk.pipe.flush()
    assert len(talk.handled) == 9
    assert talk.stream.settings.traffic.slowed == 2


def test_who_is_slowed_down_gets_as_much_as_the_rate_allows_and_loses_nothing() -> None:
    talk = Talk(slow())
    talk.stream.negotiated()
    talk.pipe.chunk = 1000
    talk.pipe.client.write((KILOBYTE * 65).encode())
    for _ in range(59):
        talk.pipe.flush()
        talk.clock.advance(1)
    assert 60 <= len(talk.handled) < 65
    talk.clock.advance(3)
    talk.pipe.flush()
    assert len(talk.handled) == 65


def test_who_was_silent_may_send_a_burst_again() -> None:
    talk = Talk(slow())
    for _ in range(3):
        talk.say(KILOBYTE * 4)
        talk.clock.advance(10)
        talk.pipe.flush()
        assert not talk.pipe.server.paused
    assert talk.stream.settings.traffic.slowed == 0


def test_who_goes_on_flooding_behind_the_end_is_cut_off() -> None:
    talk = Talk(slow())
    talk.stream.script["k"] = StreamError("policy-violation")
    flood(talk, KILOBYTE)
    for _ in range(3):
        flood(talk, KILOBYTE)
    assert not talk.pipe.server._raw.aborted
    flood(talk, KILOBYTE * 3)
    assert talk.pipe.server._raw.aborted
    talk.pipe.flush()
    assert not talk.pipe.client.connected
    assert talk.clock.getDelayedCalls() == []


@pytest.mark.parametrize("held", [False, True])
def test_a_stream_that_is_slowed_down_ends_without_leaving_a_timer(held: bool) -> None:
    talk = Talk(slow())
    if held:
        talk.stream.script["k"] = Deferred()
    flood(talk, KILOBYTE * 8)
    talk.stream.close(StreamError("system-shutdown"))
    talk.pipe.flush()
    assert b"system-shutdown" in talk.said
    assert not talk.pipe.client.connected
    assert talk.clock.getDelayedCalls() == []
