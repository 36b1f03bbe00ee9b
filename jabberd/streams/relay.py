"""Bytestreams between two clients that cannot reach each other (XEP-0065): what one says, the other hears.

A connection says in a `Handshake` what it is for, and waits.  As soon as a module activates two that wait for
the same, each gets what the other sends, no faster than it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from zope.interface import implementer

from jabberd.streams.addresses import ip
from jabberd.streams.protocol import Unwelcome
from jabberd.streams.socks5 import Handshake, NotWantedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from jabberd.api import BytestreamTerms
    from jabberd.streams.addresses import Addresses
    from jabberd.xmpp.errors import StreamError

__all__ = ["Bytestream", "Relay", "Side"]

log = Logger()

_SIDES: Final = 2
_MOST_IGNORED: Final = 16_384  # octets that come before the bytestream is active (§8.1)
_UNNOTICED: Final = 0.1  # seconds that a client may be ahead of its rate


@implementer(IPushProducer)
class Side(Protocol):
    """One of the two connections; the other one's transport tells it when to pause.

    :ivar stream: what it is half of; None until that is active.
    """

    def __init__(self, relay: Relay, address: str) -> None:
        self.address = address
        self.stream: Bytestream | None = None
        self._relay = relay
        self._handshake = Handshake()
        self._ignored = 0
        self._waiting: IDelayedCall | None = None
        self._full = False
        self._slowed: IDelayedCall | None = None
        self._ahead = 0.0  # until when, by the clock, it has said what its rate allows

    @property
    def digest(self) -> str:
        """What it is for, in hexadecimal; empty: it has not said so."""
        return self._handshake.digest

    def connectionMade(self) -> None:
        relay = self._relay
        self._waiting = relay.clock.callLater(relay.patience, cast("Any", self.transport).abortConnection)

    def dataReceived(self, data: bytes) -> None:
        if self.stream is not None:
            self.stream.carry(self, data)
        elif self.digest:
            self._ignored += len(data)
            if self._ignored > _MOST_IGNORED:
                self.abort()
        else:
            self._shake_hands(data)

    def _shake_hands(self, data: bytes) -> None:
        transport = cast("Any", self.transport)
        try:
            told = self._handshake.feed(data)
        except NotWantedError as refusal:
            transport.write(refusal.args[0])
            transport.loseConnection()
            return
        if not self.digest:
            transport.write(told)
        elif self._relay.joined(self):
            transport.write(told + self._handshake.accepted())
        else:
            transport.write(told + self._handshake.refused())
            transport.loseConnection()

    def connectionLost(self, _reason: Failure | None = None) -> None:
        for call in (self._waiting, self._slowed):
            if call is not None and call.active():
                call.cancel()
        self._relay.left(self)
        if self.stream is not None:
            self.stream.lost(self)

    def activated(self, stream: Bytestream) -> None:
        """From now on it is half of that."""
        assert self._waiting is not None  # it is connected
        self._waiting.cancel()
        self.stream = stream

    def abort(self) -> None:
        """End the connection at once."""
        cast("Any", self.transport).abortConnection()

    # -- no faster than the other side reads, nor than its rate -------------------------------------

    def said(self, size: int, rate: int) -> None:
        """It said so many octets of as many a second as it may."""
        now = self._relay.clock.seconds()
        self._ahead = max(self._ahead, now) + size / rate
        if self._ahead - now > _UNNOTICED and self._slowed is None:
            self._slowed = self._relay.clock.callLater(self._ahead - now, self._faster)
            cast("Any", self.transport).pauseProducing()

    def _faster(self) -> None:
        self._slowed = None
        if not self._full:
            cast("Any", self.transport).resumeProducing()

    def pauseProducing(self) -> None:
        """The other side does not read what it gets."""
        self._full = True
        cast("Any", self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        """It does again."""
        self._full = False
        if self._slowed is None:
            cast("Any", self.transport).resumeProducing()

    def stopProducing(self) -> None:
        """It is gone."""
        cast("Any", self.transport).loseConnection()


class Bytestream:
    """Two connections that are one; see `jabberd.api.relay.Bytestream`."""

    def __init__(
        self, sides: Iterable[Side], terms: BytestreamTerms, clock: IReactorTime, ended: Callable[[], None]
    ) -> None:
        self.carried = 0
        self._sides = list(sides)
        self._terms = terms
        self._clock = clock
        self._ended = ended
        self._heard = clock.seconds()
        one, other = self._sides
        self._peers = {one: other, other: one}
        for side, peer in self._peers.items():
            side.activated(self)
            cast("Any", peer.transport).registerProducer(side, streaming=True)
        self._idle = clock.callLater(terms.idle, self._look)

    def carry(self, side: Side, data: bytes) -> None:
        """One side said this."""
        self.carried += len(data)
        if self.carried > self._terms.size:
            self.close()
            return
        self._heard = self._clock.seconds()
        cast("Any", self._peers[side].transport).write(data)
        side.said(len(data), self._terms.rate)

    def lost(self, side: Side) -> None:
        """One side is gone; the other one still gets what is on its way."""
        self._sides.remove(side)
        for left in self._sides:
            transport = cast("Any", left.transport)
            transport.unregisterProducer()
            transport.loseConnection()
        if not self._sides:
            self._idle.cancel()
            self._ended()

    def close(self) -> None:
        """End it at once."""
        for side in list(self._sides):
            side.abort()

    def _look(self) -> None:
        """End it if nobody has said anything for too long."""
        quiet = self._clock.seconds() - self._heard
        self._idle = self._clock.callLater(max(self._terms.idle - quiet, 1.0), self._look)
        if quiet >= self._terms.idle:
            self.close()


class Relay(Factory):
    """Where clients connect for bytestreams; see `jabberd.api.relay.Relay`.

    :param addresses: who comes from where, others included.
    :param bound: kind, address and port of all listeners.
    :ivar patience: seconds that a connection may wait to be active.
    :ivar streams: the connections.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        addresses: Addresses,
        patience: float,
        bound: Callable[[], Iterable[tuple[str, str, int]]],
    ) -> None:
        self.clock = clock
        self.patience = patience
        self.streams: set[Side] = set()
        self._addresses = addresses
        self._bound = bound
        self._waiting: dict[str, list[Side]] = {}

    @property
    def place(self) -> tuple[str, int] | None:
        """See `jabberd.api.relay.Relay`."""
        there = ((address, port) for kind, address, port in self._bound() if kind == "bytestreams")
        return next(there, None)

    def waiting(self, digest: str) -> int:
        """See `jabberd.api.relay.Relay`."""
        return len(self._waiting.get(digest, ()))

    def activate(self, digest: str, terms: BytestreamTerms, ended: Callable[[], None]) -> Bytestream:
        """See `jabberd.api.relay.Relay`."""
        return Bytestream(self._waiting.pop(digest), terms, self.clock, ended)

    def buildProtocol(self, addr: IAddress | None) -> Side | Unwelcome:
        address = ip(addr)
        if not self._addresses.admit(address):
            return Unwelcome()
        side = Side(self, address)
        self.streams.add(side)
        return side

    def joined(self, side: Side) -> bool:
        """Whether there is room for that side where it wants to be: there are two of them (§8.1)."""
        there = self._waiting.setdefault(side.digest, [])
        if len(there) >= _SIDES:
            return False
        there.append(side)
        return True

    def left(self, side: Side) -> None:
        """That connection is gone."""
        self.streams.discard(side)
        self._addresses.leave(side.address)
        there = self._waiting.get(side.digest, [])
        if side in there:
            there.remove(side)
            if not there:
                del self._waiting[side.digest]

    def close_all(self, _error: StreamError) -> None:
        """End every connection: nobody there could be told why."""
        for side in list(self.streams):
            side.abort()
