"""A whole internet in memory: servers that listen, clients that connect, every connection a `Pipe`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from jabberd.testing.wire import Pipe

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory
    from twisted.internet.task import Clock

__all__ = ["Internet"]


class Internet:
    """Who listens where, and all connections so far.

    :ivar pipes: in the order in which they were made, closed ones too.
    :ivar silent: addresses and ports that never answer: neither yes nor no.
    """

    def __init__(self, clock: Clock) -> None:
        self.pipes: list[Pipe] = []
        self.silent: set[tuple[str, int]] = set()
        self._clock = clock
        self._listening: dict[tuple[str, int], IProtocolFactory] = {}

    def listen(self, host: str, port: int, factory: IProtocolFactory) -> None:
        """Let the factory's protocols answer at this IP address and port."""
        self._listening[host, port] = factory

    def endpoint(self, host: str, port: int) -> IStreamClientEndpoint:
        """Give the way to connect there: what a `jabberd.streams.connect.Connector` asks for."""
        return _Endpoint(self, host, port)

    def connect(self, host: str, port: int, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect a protocol of the factory to whoever listens there.

        Fires with the protocol, or fails at once with Twisted's ``ConnectionRefusedError``.
        """
        if (host, port) in self.silent:
            return Deferred()
        if (host, port) not in self._listening:
            return fail(RefusedError())
        kind, ours = (IPv6Address, "::1") if ":" in host else (IPv4Address, "127.0.0.1")
        client = factory.buildProtocol(kind("TCP", host, port))
        assert client is not None, "the client has changed its mind"
        server = self._listening[host, port].buildProtocol(kind("TCP", ours, 49152)) or _Closed()
        self.pipes.append(Pipe(client, server, self._clock, client_address=ours, server_port=port))
        return succeed(client)

    def flush(self, turns: int = 100_000) -> None:
        """Let all connections take turns until nothing moves any more; time stands still.

        :raises AssertionError: if they still talk after so many turns.
        """
        for _ in range(turns):
            moved = [pipe.turn() for pipe in self.pipes]
            if not any(moved):
                return
        raise AssertionError(f"they still talk after {turns} turns")


class _Closed(Protocol):
    """The end of a connection that a server's factory did not want."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, network: Internet, host: str, port: int) -> None:
        self._network = network
        self._host = host
        self._port = port

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return self._network.connect(self._host, self._port, protocolFactory)
