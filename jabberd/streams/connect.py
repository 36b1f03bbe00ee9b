"""Connections to the servers of other domains: every place that DNS or the config names, in order."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, ClassVar, Final

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed

from jabberd.streams.sockets import tcp
from jabberd.streams.targets import NotResolvedError, Target
from jabberd.streams.tls import DirectTLS, openssl_reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from twisted.internet.interfaces import (
        IOpenSSLClientConnectionCreator,
        IProtocolFactory,
        IStreamClientEndpoint,
    )

    from jabberd.streams.targets import Resolver

__all__ = [
    "Attempt",
    "Connector",
    "RemoteServerError",
    "RemoteServerNotFoundError",
    "RemoteServerTimeoutError",
]

#: Domains that are looked for at a time; each takes up to three file descriptors, for its questions and its
#: connection, and clients of ours may write to as many domains as they like.
_MOST_SEARCHES: Final = 100


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that was tried in vain, for operators.

    :ivar address: empty if it did not come to that.
    :ivar why: what happened, as the end of a sentence.
    """

    target: Target
    address: str
    why: str

    def __str__(self) -> str:
        where = f"{self.target} ({self.address})" if self.address else str(self.target)
        return f"{where}: {self.why}"


class RemoteServerError(Exception):
    """No connection to a domain's server.

    :cvar condition: the stanza error for those who wrote to it (RFC 6120 §8.3.3, §10.4).
    :ivar why: what went wrong beside the attempts; empty if nothing did.
    """

    condition: ClassVar[str]

    def __init__(self, domain: str, attempts: Iterable[Attempt], why: str = "") -> None:
        self.domain = domain
        self.attempts = tuple(attempts)
        self.why = why
        super().__init__(f"{domain}: {'; '.join(filter(None, (why, *map(str, self.attempts))))}")


class RemoteServerNotFoundError(RemoteServerError):
    """It cannot be resolved, or leads back to ourselves."""

    condition = "remote-server-not-found"


class RemoteServerTimeoutError(RemoteServerError):
    """It was resolved, but nothing answered in time."""

    condition = "remote-server-timeout"


class Connector:
    """Finds the server of a domain and connects to it.

    :param hosts: by domain, where to connect without asking DNS for SRV records (RFC 6120 §3.2.3).
    :param listening: gives the addresses and ports where we listen ourselves: none of them is a peer.
    :param limit: seconds for it all; one address gets a third of them.
    :param endpoint: makes the endpoint for an IP address and a port; a test may have its own network.
    """

    def __init__(
        self,
        reactor: Any,
        resolver: Resolver,
        *,
        hosts: Mapping[str, Target] | None = None,
        listening: Callable[[], Iterable[tuple[str, int]]] = tuple,
        limit: float = 30.0,
        endpoint: Callable[[str, int], IStreamClientEndpoint] | None = None,
    ) -> None:
        self.reactor: Final = reactor
        self.limit: Final = limit
        self.endpoint: Final = endpoint or self._tcp
        self.resolver = resolver
        self._sockets = tcp(reactor)
        self._hosts = hosts or {}
        self._listening = listening
        self._turns = DeferredSemaphore(_MOST_SEARCHES)

    def connect(
        self,
        domain: str,
        factory_for: Callable[[Target], IProtocolFactory],
        *,
        tls: IOpenSSLClientConnectionCreator | None,
        ready: Callable[[Any], Awaitable[object]] | None = None,
    ) -> Deferred[Any]:
        """Connect to the first place that will do; fires with the protocol that the factory made.

        While many others are under way it waits for its turn, which counts as time as well; not so where
        the config says where the domain is.

        :param factory_for: gives the factory for a target.
        :param tls: starts TLS with the connection where the target is ``direct``: see `Contexts.initiator`;
            None: leave such targets out.
        :param ready: waits for more than the connection, such as its handshake or the peer's features.  If
            that fails because the connection is lost, TLS fails or time is up, the next place is tried.
        :raises RemoteServerNotFoundError: nowhere to connect to.
        :raises RemoteServerTimeoutError: nothing that answers.
        """
        search = _Search(self, domain, factory_for, tls, ready)

        def time_is_up(*_: object) -> Any:
            raise RemoteServerTimeoutError(domain, search.attempts, f"no answer in {self.limit:g} s")

        searching = search.run() if domain in self._hosts else self._in_turn(search)
        return Deferred.fromCoroutine(searching).addTimeout(self.limit, self.reactor, time_is_up)

    async def _in_turn(self, search: _Search) -> Any:
        await self._turns.acquire()
        try:
            return await search.run()
        finally:
            if self._turns.waiting:
                self.reactor.callLater(0, self._turns.release)  # or a long queue would make a deep stack
            else:
                self._turns.release()

    async def targets(self, domain: str) -> list[Target]:
        """Where the domain's server may be, in order.

        :raises NotResolvedError: nowhere.
        """
        if domain in self._hosts:
            return [self._hosts[domain]]
        from jabberd.streams.lookup import find_targets  # noqa: PLC0415 - twisted.names: half a MiB

        return await find_targets(domain, self.resolver)

    async def addresses(self, target: Target) -> list[str]:
        """Give the addresses of the target's host.

        :raises NotResolvedError: if it has none.
        """
        from jabberd.streams.lookup import find_addresses  # noqa: PLC0415 - the same

        return [str(each) for each in await find_addresses(target.host, self.resolver)]

    def is_ours(self, address: str, port: int) -> bool:
        """Whether we listen there: connected to it, we would talk to ourselves."""
        place = ip_address(address)
        for host, our_port in self._listening():
            listens = ip_address(host)
            if port == our_port and (
                place == listens or place.is_unspecified or (listens.is_unspecified and _is_local(place))
            ):
                return True
        return False

    def _tcp(self, address: str, port: int) -> IStreamClientEndpoint:
        from twisted.internet import endpoints  # noqa: PLC0415 - for a link, not before

        kind = endpoints.TCP6ClientEndpoint if ":" in address else endpoints.TCP4ClientEndpoint
        return kind(self._sockets, address, port, timeout=self.limit)


class _Search:
    """One call of `Connector.connect`."""

    def __init__(self, connector: Connector, domain: str, factory_for: Any, tls: Any, ready: Any) -> None:
        self.attempts: list[Attempt] = []
        self._connector = connector
        self._domain = domain
        self._factory_for = factory_for
        self._tls = tls
        self._ready = ready
        self._share = connector.limit / 3

    async def run(self) -> Any:
        try:
            targets = await self._connector.targets(self._domain)
        except NotResolvedError as error:
            raise RemoteServerNotFoundError(self._domain, (), str(error)) from error
        found = False
        for target in targets:
            for address in await self._addresses(target):
                found = True
                protocol = await self._try(target, address)
                if protocol:
                    return protocol
        raise (RemoteServerTimeoutError if found else RemoteServerNotFoundError)(self._domain, self.attempts)

    async def _addresses(self, target: Target) -> list[str]:
        if target.direct and self._tls is None:
            self._note(target, "", "it wants TLS at once, which is off here")
            return []
        try:
            found = await self._connector.addresses(target)
        except NotResolvedError as error:
            self._note(target, "", str(error))
            return []
        ours = [each for each in found if self._connector.is_ours(each, target.port)]
        for each in ours:
            self._note(target, each, "that is this server itself")
        return [each for each in found if each not in ours]

    async def _try(self, target: Target, address: str) -> Any:
        """The protocol, or None if the next place shall be tried."""
        reaching = Deferred.fromCoroutine(self._reach(target, address))
        try:
            return await reaching.addTimeout(self._share, self._connector.reactor)
        except DeferredTimeoutError:
            self._note(target, address, f"no answer in {self._share:g} s")
        except SSL.Error as error:
            self._note(target, address, f"TLS failed: {openssl_reason(error)}")
        except (ConnectError, ConnectionClosed) as error:
            self._note(target, address, str(error).rstrip("."))
        except CancelledError:
            self._note(target, address, "no answer so far")
            raise
        return None

    async def _reach(self, target: Target, address: str) -> Any:
        factory = self._factory_for(target)
        if target.direct:
            factory = DirectTLS(self._tls, factory)
        connected: Any = await self._connector.endpoint(address, target.port).connect(factory)
        protocol = connected.wrappedProtocol if target.direct else connected
        if self._ready:
            try:
                await self._ready(protocol)
            except Exception:
                protocol.transport.abortConnection()
                raise
        return protocol

    def _note(self, target: Target, address: str, why: str) -> None:
        self.attempts.append(Attempt(target, address, why))


def _is_local(address: IPv4Address | IPv6Address) -> bool:
    """Whether this machine has the address: only then can a socket be bound to it."""
    if address.is_loopback:
        return True
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.bind((str(address), 0))
    except OSError:
        return False
    return True
