"""The door that other servers come through: what their streams share, how many from where."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall

from jabberd.settings import Federation, Limits
from jabberd.streams.acks import Kept
from jabberd.streams.addresses import Addresses, ip
from jabberd.streams.incoming import IncomingStream, NotVerifiedError
from jabberd.streams.protocol import Unwelcome

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress

    from jabberd.measure import Traffic
    from jabberd.router import Router
    from jabberd.streams.proof import Pair
    from jabberd.streams.s2s import Terms
    from jabberd.xmpp.errors import StanzaError, StreamError
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Outward", "ServerFactory"]

_SWEEP: Final = 60.0  # seconds between two looks at who is silent


class Outward(Protocol):
    """The other direction: `jabberd.streams.federation.Federation`."""

    async def verify(self, pair: Pair, stream_id: str, key: str) -> bool:
        """See `jabberd.streams.incoming.Door`."""

    def turned(self, stream: IncomingStream, pair: Pair) -> None:
        """See `jabberd.streams.incoming.Door`."""

    def closed(self, stream: IncomingStream) -> None:
        """See `jabberd.streams.incoming.Door`."""


class ServerFactory(Factory):
    """Makes an `IncomingStream` for every server that connects.

    :param addresses: who comes from where, if others than servers count as well.
    """

    noisy = False

    def __init__(
        self, terms: Terms, router: Router, outward: Outward, addresses: Addresses | None = None
    ) -> None:
        self.streams: set[IncomingStream] = set()
        self.federation = Federation()
        self.kept = Kept(limit=self.federation.resumable)
        self._verifying: Counter[str] = Counter()  # keys, by the address that they came from
        self._terms = terms
        self._router = router
        self._outward = outward
        self.addresses = addresses or Addresses(terms.clock, Limits())
        self._sweep = LoopingCall(self.sweep)
        self._sweep.clock = terms.clock

    def use(self, terms: Terms, federation: Federation) -> None:
        """Have other terms for the streams to come, and other limits."""
        self.federation, self.kept.limit = federation, federation.resumable
        self._terms = terms

    @property
    def traffic(self) -> Traffic:
        """What went over all streams with servers."""
        return self._terms.streams.traffic

    # -- from Twisted -------------------------------------------------------------------------------

    def doStart(self) -> None:
        super().doStart()  # type: ignore[no-untyped-call]  # Twisted's
        if not self._sweep.running:
            self._sweep.start(_SWEEP, now=False)

    def doStop(self) -> None:
        super().doStop()  # type: ignore[no-untyped-call]  # Twisted's
        if self.numPorts == 0 and self._sweep.running:
            self._sweep.stop()

    def buildProtocol(self, addr: IAddress | None) -> IncomingStream | Unwelcome:
        address = ip(addr)
        if not self.addresses.admit(address):
            return Unwelcome()
        stream = IncomingStream(self, self._terms)
        stream.address = address
        self.streams.add(stream)
        return stream

    # -- the door -----------------------------------------------------------------------------------

    def route(self, stanza: Stanza) -> Deferred[None] | None:
        """See `jabberd.streams.incoming.Door`."""
        return self._router.route(stanza)

    def bounce(self, stanza: Stanza, error: StanzaError) -> Deferred[None] | None:
        """See `jabberd.streams.incoming.Door`."""
        return self._router.bounce(stanza, error)

    async def verify(self, pair: Pair, stream_id: str, key: str, address: str) -> bool:
        """See `jabberd.streams.incoming.Door`."""
        if self._verifying[address] >= self.federation.address_verifications:
            raise NotVerifiedError("resource-constraint")
        self._verifying[address] += 1
        try:
            return await self._outward.verify(pair, stream_id, key)
        finally:
            self._verifying[address] -= 1
            if not self._verifying[address]:
                del self._verifying[address]

    def turned(self, stream: IncomingStream, pair: Pair) -> None:
        """See `jabberd.streams.incoming.Door`."""
        self._outward.turned(stream, pair)

    def closed(self, stream: IncomingStream) -> None:
        """See `jabberd.streams.incoming.Door`."""
        self._outward.closed(stream)
        self.streams.discard(stream)
        self.addresses.leave(stream.address)

    def sweep(self) -> None:
        """End the streams of servers that have said nothing for long (RFC 6120 §4.6)."""
        heard = self._terms.clock.seconds() - self._terms.streams.idle
        for stream in list(self.streams):
            if stream.heard <= heard and not stream.ended:
                stream.close()

    def close_all(self, error: StreamError) -> None:
        """Tell every server why, and end its stream."""
        for stream in list(self.streams):
            stream.finish(error)
