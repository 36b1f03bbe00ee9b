"""The door that other servers come through: what their streams share, how many from where."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from twisted.internet.protocol import Factory
from twisted.logger import Logger

from jabberd.streams.acks import Kept
from jabberd.streams.clients import unmapped
from jabberd.streams.incoming import IncomingStream
from jabberd.streams.protocol import Unwelcome

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress

    from jabberd.router import Router
    from jabberd.streams.proof import Pair
    from jabberd.streams.s2s import Terms
    from jabberd.xmpp.errors import StanzaError, StreamError
    from jabberd.xmpp.stanza import Stanza

__all__ = ["ServerFactory", "Verifier"]

log = Logger()


class Verifier(Protocol):
    """Who asks authoritative servers about dialback keys: `jabberd.streams.federation.Federation`."""

    async def verify(self, pair: Pair, stream_id: str, key: str) -> bool:
        """See `jabberd.streams.incoming.Door`."""


class ServerFactory(Factory):
    """Makes an `IncomingStream` for every server that connects.

    :param per_address: connections from one IP address at a time.
    """

    noisy = False

    def __init__(self, terms: Terms, router: Router, verifier: Verifier, per_address: int = 100) -> None:
        self.streams: set[IncomingStream] = set()
        self.kept = Kept()
        self._terms = terms
        self._router = router
        self._verifier = verifier
        self._per_address = per_address
        self._connections: Counter[str] = Counter()

    def use(self, terms: Terms, per_address: int) -> None:
        """Have other terms for the streams to come."""
        self._terms, self._per_address = terms, per_address

    def buildProtocol(self, addr: IAddress | None) -> IncomingStream | Unwelcome:
        host = unmapped(getattr(addr, "host", "") or "")
        if self._connections[host] >= self._per_address:
            log.info("too many connections from {address}: one more refused", address=host)
            return Unwelcome()
        stream = IncomingStream(self, self._terms)
        stream.address = host
        self._connections[host] += 1
        self.streams.add(stream)
        return stream

    # -- the door -----------------------------------------------------------------------------------

    def route(self, stanza: Stanza) -> Deferred[None] | None:
        """See `jabberd.streams.incoming.Door`."""
        return self._router.route(stanza)

    def bounce(self, stanza: Stanza, error: StanzaError) -> Deferred[None] | None:
        """See `jabberd.streams.incoming.Door`."""
        return self._router.bounce(stanza, error)

    async def verify(self, pair: Pair, stream_id: str, key: str) -> bool:
        """See `jabberd.streams.incoming.Door`."""
        return await self._verifier.verify(pair, stream_id, key)

    def closed(self, stream: IncomingStream) -> None:
        """See `jabberd.streams.incoming.Door`."""
        self.streams.discard(stream)
        self._connections[stream.address] -= 1
        if self._connections[stream.address] <= 0:
            del self._connections[stream.address]

    def close_all(self, error: StreamError) -> None:
        """Tell every server why, and end its stream."""
        for stream in list(self.streams):
            stream.close(error)
