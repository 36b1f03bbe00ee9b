"""Two protocols joined in memory: real TLS, real back-pressure, no sockets, a clock that the test turns.

.. code-block:: python

    clock = Clock()
    pipe = Pipe(client_protocol, server_protocol, clock)
    pipe.flush()                          # everything both sides say, until both are silent
    clock.advance(30); pipe.flush()       # ... and what their timers say

`Pipe.chunk` cuts what is delivered into pieces of so many bytes.  Nothing moves unless `Pipe.turn` or
`Pipe.flush` is called, so that a test can look at what is under way (`Wire.waiting`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer, ISSLTransport, ITCPTransport, ITLSTransport
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from OpenSSL.crypto import X509
    from OpenSSL.SSL import Connection
    from twisted.internet.interfaces import (
        IOpenSSLClientConnectionCreator,
        IOpenSSLServerConnectionCreator,
        IProtocol,
    )
    from twisted.internet.task import Clock

__all__ = ["Pipe", "Wire"]

#: A producer is paused when more bytes than these wait to be sent: the figure of Twisted's sockets.
HIGH_WATER: Final = 2**16


@implementer(ITCPTransport)
class _Raw:
    """The bottom of one end: what is written here leaves as it is.  TLS, once started, writes into it."""

    def __init__(self, wire: Wire) -> None:
        self.waiting = bytearray()
        self.disconnecting = False
        self.aborted = False
        self.no_delay = False
        self.keep_alive = False
        self._wire = wire
        self._producer: IPushProducer | None = None
        self._producer_paused = False

    def write(self, data: bytes) -> None:
        if not self._wire.connected:
            return
        self.waiting += data
        if self._producer and not self._producer_paused and len(self.waiting) > HIGH_WATER:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def take(self, size: int | None) -> bytes:
        """Remove and return the oldest bytes: ``size`` at most."""
        taken = bytes(self.waiting[:size])
        del self.waiting[: len(taken)]
        if self._producer and self._producer_paused and not self.waiting:
            self._producer_paused = False
            self._producer.resumeProducing()
        return taken

    def loseConnection(self) -> None:
        self.disconnecting = True

    def loseWriteConnection(self) -> None:
        raise NotImplementedError("XMPP closes streams, not halves of connections")

    def abortConnection(self) -> None:
        self.disconnecting = self.aborted = True
        self.waiting.clear()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        if not streaming:
            raise NotImplementedError("only push producers")
        if self._producer:
            raise RuntimeError("there is a producer already")
        self._producer, self._producer_paused = producer, False
        if not self._wire.connected:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def getHost(self) -> IPv4Address | IPv6Address:
        return self._wire.host

    def getPeer(self) -> IPv4Address | IPv6Address:
        return self._wire.peer

    def getTcpNoDelay(self) -> bool:
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        return self.keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keep_alive = bool(enabled)


@implementer(ITLSTransport)
class Wire:
    """One end of a `Pipe`: the transport that its protocol sees.

    :ivar connected: false as soon as the protocol was told ``connectionLost``.
    :ivar paused: whether the protocol has asked not to be given more to read.
    """

    def __init__(
        self, clock: Clock, *, client: bool, host: IPv4Address | IPv6Address, peer: IPv4Address | IPv6Address
    ) -> None:
        self.connected = False
        self.paused = False
        self.protocol: IProtocol
        self.host = host
        self.peer = peer
        self._clock = clock
        self._client = client
        self._raw = _Raw(self)
        self._tls: BufferingTLSTransport | None = None
        self._producer: IPushProducer | None = None

    @property
    def waiting(self) -> bytes:
        """What this end has written (encrypted, under TLS) and the other has not been given yet."""
        return bytes(self._raw.waiting)

    @property
    def disconnecting(self) -> bool:
        """Whether this end has asked to close and is still open."""
        return bool(self._top.disconnecting)

    @property
    def _top(self) -> BufferingTLSTransport | _Raw:
        return self._tls or self._raw

    # -- what the protocol calls

    def write(self, data: bytes) -> None:
        """Queue the bytes, through TLS once it was started."""
        self._top.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Queue the pieces in order."""
        self._top.writeSequence(data)

    def loseConnection(self) -> None:
        """Close once everything written has been delivered; under TLS, once the peer has agreed."""
        self._top.loseConnection()

    def loseWriteConnection(self) -> None:
        """Nothing here closes one half of a connection."""
        self._raw.loseWriteConnection()

    def abortConnection(self) -> None:
        """Close at the next turn, throwing away what is under way from here."""
        self._top.abortConnection()

    def startTLS(
        self,
        contextFactory: IOpenSSLClientConnectionCreator | IOpenSSLServerConnectionCreator,
        normal: bool = True,
    ) -> None:
        """Encrypt from here on; the client end is the TLS client unless ``normal`` is false."""
        producer = self._producer
        if producer:
            self.unregisterProducer()
        factory = TLSMemoryBIOFactory(contextFactory, self._client == normal, None, clock=self._clock)  # type: ignore[arg-type]  # Twisted does the same: startTLS wraps no factory
        self._tls = BufferingTLSTransport(factory, self.protocol, _connectWrapped=False)
        alsoProvides(self, ISSLTransport)
        self._tls.makeConnection(self._raw)
        if producer:
            self.registerProducer(producer, streaming=True)

    def getHandle(self) -> Connection | None:
        """Give the TLS connection; None before `startTLS`."""
        return self._tls.getHandle() if self._tls else None

    def getPeerCertificate(self) -> X509 | None:
        """Give what the peer showed in TLS, if it did."""
        return self._tls.getPeerCertificate() if self._tls else None

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Pause the producer while more than `HIGH_WATER` bytes wait; resume it when all have left."""
        self._top.registerProducer(producer, streaming)
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._top.unregisterProducer()
        self._producer = None

    def pauseProducing(self) -> None:
        """Stop reading: what the other end writes waits there."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Read on."""
        self.paused = False

    def stopProducing(self) -> None:
        """Close, as every transport of Twisted does."""
        self.loseConnection()

    def getHost(self) -> IPv4Address | IPv6Address:
        """Give this end's address."""
        return self.host

    def getPeer(self) -> IPv4Address | IPv6Address:
        """Give the other end's address."""
        return self.peer

    def getTcpNoDelay(self) -> bool:
        """Tell what `setTcpNoDelay` said."""
        return self._raw.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Remember it for a test to look at."""
        self._raw.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Tell what `setTcpKeepAlive` said."""
        return self._raw.keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Remember it for a test to look at."""
        self._raw.setTcpKeepAlive(enabled)

    # -- what the pipe calls

    def _join(self, protocol: IProtocol) -> None:
        self.protocol = protocol
        self.connected = True
        protocol.makeConnection(self)

    def _receive(self, data: bytes) -> None:
        (self._tls or self.protocol).dataReceived(data)

    def _lose(self, why: Exception) -> None:
        if self.connected:
            self.connected = False
            if self._producer:
                self._producer.stopProducing()
            (self._tls or self.protocol).connectionLost(Failure(why))


class Pipe:
    """A connection in memory between two protocols.

    :param chunk: the most bytes delivered at once; None for all there are.
    :param client_address: the IP address that the server side sees.
    :ivar client, server: the two ends, a `Wire` each.
    """

    def __init__(
        self,
        client: IProtocol,
        server: IProtocol,
        clock: Clock,
        *,
        chunk: int | None = None,
        client_address: str = "127.0.0.1",
        server_port: int = 5222,
    ) -> None:
        self.chunk = chunk
        self._clock = clock
        kind = IPv6Address if ":" in client_address else IPv4Address
        here = kind("TCP", client_address, 49152)
        there = kind("TCP", "::1" if kind is IPv6Address else "127.0.0.1", server_port)
        self.client = Wire(clock, client=True, host=here, peer=there)
        self.server = Wire(clock, client=False, host=there, peer=here)
        self.server._join(server)  # noqa: SLF001  # the two are one thing
        self.client._join(client)  # noqa: SLF001

    def flush(self, turns: int = 100_000) -> None:
        """Take turns until nothing moves any more; time stands still.

        :raises AssertionError: if the two are still talking after so many turns.
        """
        for _ in range(turns):
            if not self.turn():
                return
        raise AssertionError(f"the two ends still talk after {turns} turns")

    def turn(self) -> bool:
        """Run what is due on the clock, then carry one chunk each way.  Whether anything moved."""
        now = self._clock.seconds()
        moved = any(call.getTime() <= now for call in self._clock.getDelayedCalls())
        self._clock.advance(0)
        moved = self._carry(self.client, self.server) or moved
        return self._carry(self.server, self.client) or moved

    def _carry(self, one: Wire, other: Wire) -> bool:
        raw = one._raw  # noqa: SLF001
        if not one.connected:
            return False
        if raw.aborted:
            self._break(one, ConnectionAborted(), other, ConnectionLost())
        elif raw.waiting:
            if other.paused:
                return False
            other._receive(raw.take(self.chunk))  # noqa: SLF001
        elif raw.disconnecting:
            self._break(one, ConnectionDone(), other, ConnectionDone())
        else:
            return False
        return True

    @staticmethod
    def _break(one: Wire, why: Exception, other: Wire, other_why: Exception) -> None:
        one._lose(why)  # noqa: SLF001
        other._lose(other_why)  # noqa: SLF001
