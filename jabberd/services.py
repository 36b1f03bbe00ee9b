"""The services of a server: what starts in order, and ends in the opposite one, each with a time limit."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from jabberd import hosting, notify
from jabberd.storage.ownership import InUseError, take
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from jabberd.interfaces import Storage
    from jabberd.jsm.credentials import Run
    from jabberd.settings import ServerSettings
    from jabberd.storage.ownership import Ownership
    from jabberd.streams.clients import ClientFactory
    from jabberd.streams.components import ComponentFactory
    from jabberd.streams.federation import Federation
    from jabberd.streams.relay import Relay
    from jabberd.streams.servers import ServerFactory

__all__ = ["Hosts", "InOrder", "Links", "Listeners", "StorageService", "Streams"]

log = Logger()

_GOODBYE: Final = 4.5  # seconds: SIGTERM is obeyed within 5
_RENEWAL: Final = 5.0  # seconds between two looks at whether the storage is still ours
_REMEDIES: Final = {
    errno.EADDRINUSE: "end what listens there, or choose another port",
    errno.EADDRNOTAVAIL: 'use an address of this machine, or "::" for all',
    errno.EACCES: "choose a port above 1023, or let this user bind it",
}
_STEP: Final = 1.0  # seconds that one step of the goodbye may take, if there is so much


class InOrder(MultiService):
    """Services that stop one after the other, last started first, each within its share of the time."""

    def __init__(self, clock: Any) -> None:
        MultiService.__init__(self)
        self._clock = clock

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._goodbye())

    async def _goodbye(self) -> None:
        end = self._clock.seconds() + _GOODBYE
        services = list(self)
        for left, service in reversed(list(enumerate(services, start=1))):
            limit = min(_STEP, (end - self._clock.seconds()) / left)
            try:
                await maybeDeferred(service.stopService).addTimeout(limit, self._clock)
            except TimeoutError:
                log.warn("{name} did not stop in time", name=service.name)
            except Exception:  # noqa: BLE001  # the others have something to end, too
                log.failure("{name} did not stop as it should", name=service.name)


class Listeners(Service):
    """All ports, from binding to the last goodbye.

    They are bound before the reactor runs, so that a port that is taken stops the start.
    """

    name = "listeners"

    def __init__(self, reactor: Any, settings: ServerSettings, factories: Mapping[str, Any]) -> None:
        self._reactor = reactor
        self._settings = settings
        self._factories = factories
        self._ports: list[tuple[str, Any]] = []

    @property
    def bound(self) -> list[tuple[str, str, int]]:
        """Kind, address and port of each listener."""
        return [(kind, port.getHost().host, port.getHost().port) for kind, port in self._ports]

    def url_of(self, domain: JID) -> str:
        """Where the pages of a domain are."""
        return hosting.public_url(self._settings, domain, self.bound)

    def privilegedStartService(self) -> None:
        for place, listener in enumerate(self._settings.listeners):
            try:
                port = self._reactor.listenTCP(
                    listener.port,
                    self._factories[listener.full_kind],
                    interface=listener.address,
                    backlog=1024,
                )
            except CannotListenError as error:
                raise _with_remedy(error, f"listeners[{place}]") from None
            self._ports.append((listener.full_kind, port))

    def startService(self) -> None:
        if not self._ports:
            self.privilegedStartService()
        Service.startService(self)

    async def close(self) -> None:
        """Take no more connections."""
        for _, port in self._ports:
            await maybeDeferred(port.stopListening)
        self._ports.clear()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self.close())


def _with_remedy(error: CannotListenError, key: str) -> CannotListenError:
    """The same, for operators: which listener it is, and what to do."""
    why = error.socketError
    remedy = _REMEDIES.get(why.errno, "choose another address or port")
    return CannotListenError(error.interface, error.port, OSError(f"{key}: {why.strerror}; {remedy}"))


class Hosts(Service):
    """The hosted domains: their modules start before the clients come, and stop behind them.

    :param ours: all domains that may have left something for other servers, those of components too.
    """

    name = "domains"

    def __init__(
        self,
        clock: Any,
        clients: ClientFactory,
        hosts: Mapping[str, hosting.Host],
        listeners: Listeners,
        federation: Federation,
        ours: Collection[str],
    ) -> None:
        self._clock = clock
        self._clients = clients
        self.hosts = hosts
        self._listeners = listeners
        self._federation = federation
        self._ours = ours

    def startService(self) -> None:
        Service.startService(self)
        Deferred.fromCoroutine(self._start()).addErrback(self._not_started)

    async def _start(self) -> None:
        for name, host in self.hosts.items():
            host.manager.url = self._listeners.url_of(host.manager.jid)
            await host.modules.start()
            if host.manager.has_accounts:
                self._clients.hosts = {**self._clients.hosts, name: host.manager}
        for name in [*self._ours]:
            await self._federation.read_back(JID.parse(name))
        notify.ready(self._listeners.bound)

    def serving(self) -> dict[str, bool]:
        """By domain, whether clients may come, or (where they cannot) whether it is served."""
        open = self._clients.hosts
        return {
            name: bool(self.running) and (name in open or not host.manager.has_accounts)
            for name, host in self.hosts.items()
        }

    def _not_started(self, why: Any) -> None:
        log.failure("a module did not start; the server ends", why)
        self._clock.stop()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for host in self.hosts.values():
            host.manager.close_all(StreamError("system-shutdown"))
            await host.modules.stop()


class Streams(Service):
    """The streams of clients, or those of other servers: told why they end, and waited for."""

    def __init__(
        self, name: str, clock: Any, factory: ClientFactory | ServerFactory | ComponentFactory | Relay
    ) -> None:
        self.name = name
        self._clock = clock
        self._factory = factory

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._factory.close_all(StreamError("system-shutdown"))
        for _ in range(20):
            if not self._factory.streams:
                break
            await deferLater(self._clock, _STEP / 40)


class Links(Service):
    """Our streams to other servers: what waits goes out first."""

    name = "links"

    def __init__(self, federation: Federation) -> None:
        self._federation = federation

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return self._federation.close(_STEP * 0.8)


class StorageService(Service):
    """The storage, ours alone from the start, closed behind everybody who writes to it.

    :param run: runs what may take long.
    """

    name = "storage"

    def __init__(self, reactor: Any, run: Run, storage: Storage, ours: Ownership) -> None:
        self.storage = storage
        self._reactor = reactor
        self._run = run
        self._ours = ours
        self._renewal = LoopingCall(self._renew)
        self._renewal.clock = reactor

    def privilegedStartService(self) -> None:
        """Behind the fork of `twistd`: a lock does not go over.

        :raises StorageError: another process has the storage.
        """
        take(self._ours)

    def startService(self) -> None:
        Service.startService(self)
        if self._ours.perishable:
            self._renewal.start(_RENEWAL, now=False)

    def _renew(self) -> Deferred[None]:
        return maybeDeferred(self._run, self._ours.renew).addErrback(self._not_renewed)

    def _not_renewed(self, why: Any) -> None:
        if why.check(InUseError):  # two that write to it would not see what the other does
            log.critical("the server ends: {why}", why=why.value)
            self._reactor.stop()
        else:
            log.warn("the storage cannot be reached: {why}", why=why.value)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        if self._renewal.running:
            self._renewal.stop()
        return self.storage.close().addBoth(self._closed)

    def _closed(self, outcome: None) -> None:
        self._ours.release()
        return outcome
