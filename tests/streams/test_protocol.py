"""What client and server streams have in common: the inbox, the outbox, the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from jabberd.streams.protocol import StreamProtocol, StreamSettings, Unwelcome
from jabberd.testing import Pipe
from jabberd.testing.wire import HIGH_WATER
from jabberd.xmpp import ns, stream
from jabberd.xmpp.boundaries import Limits
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.stanza import Stanza
from tests.testing.test_wire import Listener

if TYPE_CHECKING:
    from jabberd.xmpp.parser import Header, Nonza
    from tests.conftest import LoggedErrors

HEADER = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}' to='montague.lit' version='1.0'>"
GOODBYE = b"</stream:stream>"


class Scripted(StreamProtocol):
    """A stream that does with each stanza what the test has written for its id."""

    content_ns = ns.CLIENT

    def __init__(self, settings: StreamSettings, clock: Clock) -> None:
        super().__init__(settings, clock)
        self.script: dict[str, Deferred[None] | Exception] = {}
        self.handled: list[str] = []
        self.told: list[str] = []
        self.left: list[Stanza] = []

    def our_header(self) -> bytes:
        self.header_sent = True
        return stream.header(ns.CLIENT, sender="montague.lit")

    def on_header(self, header: Header) -> None:
        self.write(self.our_header())

    def on_stanza(self, stanza: Stanza) -> Deferred[None] | None:
        self.handled.append(stanza.id)
        home = self.script.get(stanza.id)
        if isinstance(home, Exception):
            raise home
        return home

    def on_nonza(self, nonza: Nonza) -> None:
        self.handled.append(nonza.name)
        if nonza.name == "{urn:x}restart":
            self.restart()

    def on_over(self) -> None:
        self.told.append("over")
        self.left = self.unsent()

    def on_end(self, why: str) -> None:
        self.told.append("end")


class Talk:
    """A peer, and a stream of ours that it talks to."""

    def __init__(self, settings: StreamSettings | None = None, *, opened: bool = True) -> None:
        self.clock = Clock()
        self.peer = Listener()
        self.stream = Scripted(settings or StreamSettings(), self.clock)
        self.pipe = Pipe(self.peer, self.stream, self.clock)
        if opened:
            self.say(HEADER)

    def say(self, xml: str) -> None:
        self.pipe.client.write(xml.encode())
        self.pipe.flush()

    def send(self, count: int, size: int) -> list[str]:
        """Send the peer messages of about that size, and return their ids."""
        ids = [f"s{number}" for number in range(count)]
        for id in ids:
            message = Stanza.of("message", id=id * (size // len(id)))
            self.stream.write(message.to_bytes(), message)
        return ids

    @property
    def handled(self) -> list[str]:
        return self.stream.handled

    @property
    def said(self) -> bytes:
        """What the peer heard behind the stream header."""
        return self.peer.heard.partition(b"to='x'>")[2] or self.peer.heard.partition(b"xml:lang='en'>")[2]


def messages(*ids: str) -> str:
    return "".join(f"<message id='{id}'/>" for id in ids)


def held(*ids: str, settings: StreamSettings | None = None) -> tuple[Talk, list[Deferred[None]]]:
    """A talk in which these stanzas find no home before their Deferreds fire."""
    talk = Talk(settings)
    homes = [Deferred[None]() for _ in ids]
    talk.stream.script.update(zip(ids, homes, strict=True))
    return talk, homes


def test_nothing_that_is_written_waits_for_the_peers_acknowledgement() -> None:
    """With Nagle's algorithm the end of what is longer than one record came 40 ms later."""
    assert Talk().stream.transport.getTcpNoDelay()


# --- the inbox ------------------------------------------------------------------------------------


@pytest.mark.rfc6120("10.1-1", "10.1-5")
def test_what_follows_an_iq_without_a_home_waits_for_it() -> None:
    talk, [home] = held("q")
    talk.say("<iq id='q'/>" + messages("a"))
    talk.say(messages("b"))
    assert talk.handled == ["q"]
    home.callback(None)
    assert talk.handled == ["q", "a", "b"]


def test_messages_without_a_home_are_in_flight_together() -> None:
    talk, homes = held("a", "b")
    talk.say(messages("a", "b", "c"))
    assert talk.handled == ["a", "b", "c"]
    for home in homes:
        home.callback(None)


def test_there_are_at_most_64_in_flight_and_then_order_is_kept() -> None:
    names = [f"m{number}" for number in range(70)]
    talk, homes = held(*names)
    talk.say(messages(*names))
    assert talk.handled == names[:64]
    homes[10].callback(None)
    assert talk.handled == names[:65]
    for home in homes[:10] + homes[11:]:
        home.callback(None)
    assert talk.handled == names


def test_reading_pauses_when_the_inbox_is_full_and_goes_on_when_it_is_empty() -> None:
    talk, [home] = held("q")
    talk.say("<iq id='q'/>" + messages(*"abc"))
    assert not talk.pipe.server.paused
    talk.say(messages(*map(str, range(64))))
    assert talk.pipe.server.paused
    talk.say(messages("last"))
    assert talk.pipe.client.waiting == messages("last").encode()
    home.callback(None)
    talk.pipe.flush()
    assert not talk.pipe.server.paused
    talk.pipe.flush()
    assert talk.handled[-2:] == ["63", "last"]


def test_reading_pauses_when_what_waits_is_large() -> None:
    talk, [home] = held("q", settings=StreamSettings(before=Limits(size=1000), after=Limits(size=1500)))
    talk.say("<iq id='q'/>")
    talk.say(f"<message>{'x' * 900}</message>")
    assert not talk.pipe.server.paused
    talk.say(f"<message>{'x' * 900}</message>")
    assert talk.pipe.server.paused
    home.callback(None)
    assert not talk.pipe.server.paused


def test_a_thousand_questions_at_once_are_answered_like_one() -> None:
    names = [f"q{number}" for number in range(1000)]
    talk, [home] = held("q0")
    talk.stream.script.update((name, succeed(None)) for name in names[1:])
    talk.say("".join(f"<iq id='{name}'/>" for name in names))
    assert talk.handled == ["q0"]
    home.callback(None)
    talk.pipe.flush()
    assert talk.handled == names
    assert talk.said == b""


def test_what_came_before_an_error_is_handled_before_it() -> None:
    talk, [home] = held("q")
    talk.say("<iq id='q'/>" + messages("a") + "<message></presence>")
    talk.say("whatever")
    assert talk.said == b""
    home.callback(None)
    talk.pipe.flush()
    assert talk.handled == ["q", "a"]
    assert b"<not-well-formed" in talk.said


def test_a_restart_throws_away_what_came_ahead_of_the_new_header() -> None:
    talk = Talk()
    talk.say("<restart xmlns='urn:x'/>" + messages("a"))
    talk.say(HEADER + messages("b"))
    assert talk.handled == ["{urn:x}restart", "b"]


def test_a_restart_behind_a_wait_does_the_same() -> None:
    talk, [home] = held("q")
    talk.say("<iq id='q'/><restart xmlns='urn:x'/>" + messages("a"))
    talk.say(messages("b"))
    home.callback(None)
    talk.say(HEADER + messages("c"))
    assert talk.handled == ["q", "{urn:x}restart", "c"]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.rfc6120("4.9-1", "4.9.1.1-1")
def test_a_stream_error_ends_the_stream_with_its_condition() -> None:
    talk = Talk()
    talk.stream.script["a"] = StreamError("policy-violation", "too loud")
    talk.say(messages("a", "b"))
    assert talk.said.startswith(b"<stream:error><policy-violation")
    assert talk.said.endswith(b"</stream:error>" + GOODBYE)
    assert talk.handled == ["a"]
    assert not talk.pipe.client.connected


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_bug_ends_the_stream_not_the_server(asynchronous: bool, logged_errors: LoggedErrors) -> None:
    talk, [home] = held("a")
    if not asynchronous:
        talk.stream.script["a"] = ZeroDivisionError()
    talk.say(messages("a"))
    if asynchronous:
        home.errback(ZeroDivisionError())
        talk.pipe.flush()
    assert talk.said.startswith(b"<stream:error><internal-server-error")
    assert len(logged_errors.take(ZeroDivisionError)) == 1


def test_a_stream_error_that_comes_late_counts_as_well() -> None:
    talk, [home] = held("a")
    talk.say(messages("a"))
    home.errback(StreamError("conflict"))
    talk.pipe.flush()
    assert b"<conflict" in talk.said


@pytest.mark.rfc6120("4.9.1.2-1")
def test_our_header_comes_before_an_error_in_theirs() -> None:
    talk = Talk(opened=False)
    talk.say("<message/>")
    head, _, rest = talk.peer.heard.partition(b"<stream:error>")
    assert head.startswith(b"<?xml version='1.0'?><stream:stream ")
    assert head.count(b"<stream:stream") == 1
    assert rest.endswith(GOODBYE)


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.rfc6120("4.4-2")
def test_a_goodbye_is_answered_and_the_connection_closed() -> None:
    talk = Talk()
    talk.say(messages("a") + "</stream:stream>" + messages("b"))
    assert talk.said == GOODBYE
    assert talk.handled == ["a"]
    assert not talk.pipe.client.connected
    assert talk.stream.told == ["over", "end"]
    assert talk.clock.getDelayedCalls() == []


@pytest.mark.rfc6120("4.4-1")
def test_nothing_is_handled_or_sent_once_it_is_over() -> None:
    talk, [home] = held("q")
    talk.say("<iq id='q'/>" + messages("a"))
    talk.stream.close()
    assert talk.stream.told == ["over"]
    talk.stream.write(b"<message/>")
    talk.stream.close(StreamError("reset"))
    home.callback(None)
    talk.say(messages("b"))
    assert talk.handled == ["q"]
    assert talk.said == GOODBYE
    assert talk.stream.told == ["over", "end"]


def test_a_lost_connection_is_told_once() -> None:
    talk = Talk()
    talk.pipe.client.abortConnection()
    talk.pipe.flush()
    assert talk.stream.told == ["over", "end"]
    assert talk.clock.getDelayedCalls() == []


@pytest.mark.rfc6120("4.4-3")
def test_who_does_not_read_our_goodbye_is_dropped_after_five_seconds() -> None:
    talk = Talk()
    talk.pipe.client.pauseProducing()
    talk.stream.close()
    talk.clock.advance(4.9)
    talk.pipe.flush()
    assert talk.pipe.client.connected
    talk.clock.advance(0.2)
    talk.pipe.flush()
    assert not talk.pipe.client.connected


@pytest.mark.parametrize("opened", [False, True])
def test_a_negotiation_that_takes_too_long_is_ended(opened: bool) -> None:
    talk = Talk(StreamSettings(negotiation=60), opened=opened)
    for _ in range(59):
        talk.clock.advance(1)
        talk.say(" ")  # a byte now and then does not help
    assert talk.pipe.client.connected
    talk.clock.advance(1)
    talk.pipe.flush()
    assert b"<stream:error><connection-timeout" in talk.peer.heard
    assert not talk.pipe.client.connected


def test_a_finished_negotiation_is_not() -> None:
    talk = Talk()
    talk.stream.negotiated()
    talk.clock.advance(1000)
    talk.say(messages("a"))
    assert talk.handled == ["a"]


def test_a_connection_that_is_not_wanted_is_dropped() -> None:
    peer, clock = Listener(), Clock()
    Pipe(peer, Unwelcome(), clock).flush()
    assert peer.ended is not None
    assert peer.heard == b""


# --- the outbox -----------------------------------------------------------------------------------


def test_what_a_peer_does_not_read_waits_in_order() -> None:
    talk = Talk()
    talk.pipe.client.pauseProducing()
    talk.send(200, 1000)
    assert len(talk.pipe.server.waiting) <= HIGH_WATER + 1100  # the rest is ours to keep
    talk.pipe.client.resumeProducing()
    talk.pipe.flush()
    positions = [talk.said.index(f"'s{number}s".encode()) for number in range(200)]
    assert positions == sorted(positions)
    assert talk.stream.told == []


def test_a_peer_that_never_reads_is_dropped_and_nothing_is_lost_or_doubled() -> None:
    talk = Talk(StreamSettings(unread=100_000))
    talk.pipe.client.pauseProducing()
    ids = talk.send(1000, 1000)
    assert talk.stream.told == ["over"]
    assert 90 < len(talk.stream.left) < 110
    left = [stanza.id.split("s")[1] for stanza in talk.stream.left + talk.stream.unsent()]
    given = 1000 - len(left)  # to the connection, before it said that it had enough
    assert HIGH_WATER < given * 1024 < HIGH_WATER + 2048
    assert left == [id[1:] for id in ids[given:]]
    talk.pipe.flush()
    assert talk.stream.told == ["over", "end"]


def test_an_unauthenticated_peer_is_no_exception() -> None:
    talk = Talk(StreamSettings(unread=1000))  # `negotiated` was not called
    talk.pipe.client.pauseProducing()
    for _ in range(1000):
        talk.stream.write(b"<failure/>" * 10)
    assert talk.stream.told == ["over"]
    talk.pipe.flush()


def test_stanzas_of_which_the_end_was_not_said_are_given_back_with_their_times() -> None:
    talk = Talk()
    talk.pipe.client.pauseProducing()
    talk.send(70, 1000)
    talk.clock.advance(7)
    message = Stanza.of("message", id="late")
    talk.stream.write(message.to_bytes(), message)
    left = talk.stream.unsent_since()
    assert {since for _, since in left[:-1]} == {0.0}
    assert left[-1] == (message, 7.0)
    assert talk.stream.unsent() == []


def test_a_stream_that_ends_while_its_peer_does_not_read_is_dropped_at_once() -> None:
    talk = Talk()
    talk.pipe.client.pauseProducing()
    talk.send(100, 1000)
    talk.stream.close(StreamError("system-shutdown"))
    assert talk.stream.left
    talk.pipe.flush()
    assert not talk.pipe.client.connected


def test_who_sends_much_can_wait_until_it_is_read() -> None:
    talk = Talk()
    assert talk.stream.drained().called
    talk.pipe.client.pauseProducing()
    talk.send(100, 1000)
    drained = talk.stream.drained()
    assert not drained.called
    talk.pipe.client.resumeProducing()
    talk.pipe.flush()
    assert drained.called


def test_who_waits_for_a_peer_that_leaves_is_told() -> None:
    talk = Talk()
    talk.pipe.client.pauseProducing()
    talk.send(100, 1000)
    drained = talk.stream.drained()
    talk.pipe.client.abortConnection()
    talk.pipe.flush()
    assert drained.called
    assert talk.stream.drained().called
