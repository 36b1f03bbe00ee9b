"""Two connections become one, no faster than either reads, and for no longer than they may."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from jabberd.api import BytestreamTerms
from jabberd.settings import Limits
from jabberd.streams.addresses import Addresses
from jabberd.streams.protocol import Unwelcome
from jabberd.streams.relay import Bytestream, Relay, Side
from tests.streams.test_socks5 import DIGEST, GREETING, request

OTHER = "0" * 40


class Scene:
    """A relay, and whom the clock lets wait for 60 seconds."""

    def __init__(self, connections: int = 10) -> None:
        self.clock = Clock()
        self.addresses = Addresses(self.clock, Limits(connections=connections))
        self.relay = Relay(
            self.clock, self.addresses, 60, lambda: [("c2s", "::", 1), ("bytestreams", "::1", 2)]
        )
        self.ended = 0

    def connected(self) -> Side:
        side = self.relay.buildProtocol(IPv4Address("TCP", "192.0.2.1", 50000))
        assert isinstance(side, Side)
        cast("Any", side).makeConnection(StringTransport())
        return side

    def waiting(self, digest: str = DIGEST) -> Side:
        """One that has said what it is for, and forgotten what it was told."""
        side = self.connected()
        side.dataReceived(GREETING + request(digest))
        heard(side)
        return side

    def activated(
        self, rate: int = 1000, size: int = 10_000, idle: float = 300
    ) -> tuple[Side, Side, Bytestream]:
        one, other = self.waiting(), self.waiting()
        stream = self.relay.activate(DIGEST, BytestreamTerms(rate, size, idle), self.end)
        return one, other, stream

    def end(self) -> None:
        self.ended += 1


def transport(side: Side) -> Any:
    return cast("Any", side.transport)


def heard(side: Side) -> bytes:
    said: bytes = transport(side).value()
    transport(side).clear()
    return said


def gone(*sides: Side) -> None:
    for side in sides:
        side.connectionLost()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_what_one_says_the_other_hears(scene: Scene) -> None:
    one, other, stream = scene.activated()
    one.dataReceived(b"But soft, ")
    one.dataReceived(b"what light")
    other.dataReceived(b"Ay me!")
    assert (heard(one), heard(other)) == (b"Ay me!", b"But soft, what light")
    assert stream.carried == 26


def test_a_request_is_answered_with_its_own_address(scene: Scene) -> None:
    side = scene.connected()
    side.dataReceived(GREETING)
    assert heard(side) == b"\x05\x00"
    side.dataReceived(request())
    assert heard(side) == b"\x05\x00\x00\x03\x28" + DIGEST.encode() + b"\x00\x00"


def test_nothing_passes_before_it_is_active(scene: Scene) -> None:
    one, other = scene.waiting(), scene.waiting()
    one.dataReceived(b"too early")
    assert (heard(one), heard(other)) == (b"", b"")
    scene.relay.activate(DIGEST, BytestreamTerms(1000, 1000, 10), scene.end)
    assert (heard(one), heard(other)) == (b"", b"")


def test_who_sends_much_before_it_is_active_is_let_go_of(scene: Scene) -> None:
    side = scene.waiting()
    side.dataReceived(b"x" * 20_000)
    assert transport(side).disconnecting


def test_nobody_waits_for_longer_than_it_takes_to_be_activated(scene: Scene) -> None:
    silent, alone = scene.connected(), scene.waiting()
    scene.clock.advance(59)
    assert not transport(silent).disconnecting
    scene.clock.advance(1)
    assert transport(silent).disconnecting
    assert transport(alone).disconnecting
    gone(silent, alone)
    assert scene.relay.waiting(DIGEST) == 0
    assert scene.addresses.open == 0


def test_those_who_wait_for_something_else_are_not_meant(scene: Scene) -> None:
    scene.waiting(OTHER)
    scene.waiting()
    assert (scene.relay.waiting(DIGEST), scene.relay.waiting(OTHER)) == (1, 1)


def test_a_third_one_is_not_let_in(scene: Scene) -> None:
    scene.waiting()
    scene.waiting()
    third = scene.connected()
    third.dataReceived(GREETING + request())
    assert heard(third) == b"\x05\x00" + bytes([5, 2, 0, 1, 0, 0, 0, 0, 0, 0])
    assert transport(third).disconnecting
    gone(third)
    assert scene.relay.waiting(DIGEST) == 2


def test_who_wants_to_go_elsewhere_is_refused_and_let_go_of(scene: Scene) -> None:
    side = scene.connected()
    side.dataReceived(GREETING + request("montague.lit"))
    assert heard(side)[-9:-8] == b"\x02"
    assert transport(side).disconnecting


def test_who_does_not_read_is_not_sent_more(scene: Scene) -> None:
    one, other, _ = scene.activated()
    producer = transport(other).producer
    producer.pauseProducing()  # as a transport does whose buffer is full
    assert transport(one).producerState == "paused"
    assert transport(other).producerState == "producing"
    producer.resumeProducing()
    assert transport(one).producerState == "producing"


def test_who_sends_too_fast_is_read_from_later(scene: Scene) -> None:
    one, other, _ = scene.activated(rate=1000)
    one.dataReceived(b"x" * 500)
    assert transport(one).producerState == "paused"
    assert len(heard(other)) == 500
    transport(other).producer.pauseProducing()
    transport(other).producer.resumeProducing()
    assert transport(one).producerState == "paused"
    scene.clock.advance(0.5)
    assert transport(one).producerState == "producing"
    one.dataReceived(b"x" * 500)
    transport(other).producer.pauseProducing()
    scene.clock.advance(0.5)
    assert transport(one).producerState == "paused"
    transport(other).producer.resumeProducing()
    assert transport(one).producerState == "producing"


def test_so_much_passes_and_no_more(scene: Scene) -> None:
    one, other, _ = scene.activated(size=10)
    one.dataReceived(b"12345")
    other.dataReceived(b"12345")
    assert not transport(one).disconnecting
    other.dataReceived(b"6")
    assert heard(one) == b"12345"
    assert transport(one).disconnecting
    assert transport(other).disconnecting


def test_a_bytestream_on_which_nobody_says_anything_ends(scene: Scene) -> None:
    one, other, _ = scene.activated(idle=100)
    scene.clock.advance(99)
    one.dataReceived(b"x")
    scene.clock.advance(99)
    assert not transport(one).disconnecting
    scene.clock.pump([1, 1])
    assert transport(one).disconnecting
    assert transport(other).disconnecting


def test_when_one_hangs_up_the_other_gets_the_rest_and_the_end(scene: Scene) -> None:
    one, other, _ = scene.activated()
    one.dataReceived(b"the end")
    gone(one)
    assert heard(other) == b"the end"
    assert transport(other).disconnecting
    assert transport(other).producer is None
    assert scene.ended == 0
    gone(other)
    assert scene.ended == 1
    assert scene.relay.streams == set()
    assert scene.clock.getDelayedCalls() == []


def test_who_reads_too_slowly_for_the_rest_is_not_waited_for(scene: Scene) -> None:
    one, other, _ = scene.activated(idle=100)
    gone(one)
    transport(other).disconnecting = False  # its buffer is not empty
    scene.clock.pump([100, 1])
    assert transport(other).disconnecting


def test_a_server_that_ends_ends_them_all(scene: Scene) -> None:
    one, other, _ = scene.activated()
    third = scene.connected()
    scene.relay.close_all(cast("Any", None))
    assert all(transport(each).disconnecting for each in (one, other, third))


def test_connections_count_for_their_address(scene: Scene) -> None:
    scene = Scene(connections=1)
    side = scene.connected()
    address = IPv4Address("TCP", "192.0.2.1", 50001)
    assert isinstance(scene.relay.buildProtocol(address), Unwelcome)
    gone(side)
    assert isinstance(scene.relay.buildProtocol(address), Side)


def test_it_is_where_its_listener_is(scene: Scene) -> None:
    assert scene.relay.place == ("::1", 2)
    assert Relay(scene.clock, scene.addresses, 60, list).place is None
