"""Assembly: the one place that knows the concrete classes of all parts, and the order of their ends.

`assemble` makes everything that can fail before the reactor runs.  The services start in the
order in which they stand in `Server`, and stop in the opposite one, each with a time limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from jabberd import hosting, notify
from jabberd.admin import Admin
from jabberd.control import Control
from jabberd.jsm.threads import BoundedThreads
from jabberd.router import Router
from jabberd.storage import open_storage
from jabberd.streams.clients import ClientFactory, DoorSettings
from jabberd.streams.protocol import StreamSettings
from jabberd.streams.tls import Contexts, security
from jabberd.xmpp.boundaries import Limits
from jabberd.xmpp.errors import StanzaError, StreamError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jabberd.config import Config
    from jabberd.interfaces import Storage
    from jabberd.settings import ServerSettings
    from jabberd.streams.certfiles import ServerCertificate
    from jabberd.xmpp.stanza import Stanza

log = Logger()

_STEP: Final = 1.0  # seconds that each step of the goodbye may take; SIGTERM is obeyed within 5


class InOrder(MultiService):
    """Services that stop one after the other, last started first, each within a time limit."""

    def __init__(self, clock: Any) -> None:
        MultiService.__init__(self)
        self._clock = clock

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._goodbye())

    async def _goodbye(self) -> None:
        for service in reversed(list(self)):
            try:
                await maybeDeferred(service.stopService).addTimeout(_STEP, self._clock)
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

    def privilegedStartService(self) -> None:
        for listener in self._settings.listeners:
            kind = f"{listener.kind}-direct" if listener.direct_tls else listener.kind
            port = self._reactor.listenTCP(
                listener.port, self._factories[kind], interface=listener.address, backlog=1024
            )
            self._ports.append((kind, port))

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


class Hosts(Service):
    """The hosted domains: their modules, and the client streams that end before them."""

    name = "domains"

    def __init__(
        self, clock: Any, clients: ClientFactory, hosts: Mapping[str, hosting.Host], listeners: Listeners
    ) -> None:
        self._clock = clock
        self._clients = clients
        self.hosts = hosts
        self._listeners = listeners

    def startService(self) -> None:
        Service.startService(self)
        Deferred.fromCoroutine(self._start()).addErrback(self._not_started)

    async def _start(self) -> None:
        for name, host in self.hosts.items():
            await host.modules.start()
            self._clients.hosts = {**self._clients.hosts, name: host.manager}
        notify.ready(self._listeners.bound)

    def _not_started(self, why: Any) -> None:
        log.failure("a module did not start; the server ends", why)
        self._clock.stop()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._clients.close_all(StreamError("system-shutdown"))
        for _ in range(20):
            if not self._clients.streams:
                break
            await deferLater(self._clock, _STEP / 40)
        for host in self.hosts.values():
            await host.modules.stop()


class StorageService(Service):
    """The storage, closed behind everybody who writes to it."""

    name = "storage"

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return self.storage.close()


def assemble(config: Config, reactor: Any) -> MultiService:
    """Make the server that a configuration file describes.

    :raises ConfigError: with all that is wrong in the file, certificates included.
    :raises StorageError: the storage cannot be used.
    """
    settings = config.settings
    certificates = hosting.certificates(config, settings)
    secret = hosting.secret_of(settings.storage.url)
    storage = open_storage(settings.storage.url, reactor)
    threads = BoundedThreads(reactor)
    router = Router(Nowhere())
    hosts = hosting.host_domains(config, storage, router, reactor, threads.run, secret)
    clients, factories = _client_factories(settings, certificates, reactor)
    listeners = Listeners(reactor, settings, factories)
    services = [threads, StorageService(storage), Hosts(reactor, clients, hosts, listeners), listeners]
    if settings.control.socket is not None:
        admin = Admin(lambda: hosting.verb_groups(hosts))
        services.append(Control(reactor, settings.control.socket, admin))
    server = InOrder(reactor)
    for service in services:
        service.setServiceParent(server)
    return server


def _client_factories(
    settings: ServerSettings, certificates: Mapping[str, ServerCertificate], reactor: Any
) -> tuple[ClientFactory, dict[str, Any]]:
    """What listens to clients, by the kind of listener."""
    contexts = Contexts("xmpp-client", certificates, settings.tls.minimum) if certificates else None
    clients = ClientFactory(
        reactor,
        _streams(settings),
        _door(settings),
        lambda domain: contexts.acceptor(domain) if contexts and domain in certificates else None,
        lambda transport: security(cast("Any", transport), server=True),
    )
    if contexts is None:
        return clients, {"c2s": clients}
    direct = TLSMemoryBIOFactory(contexts.acceptor(), False, clients, reactor)
    return clients, {"c2s": clients, "c2s-direct": direct}


class Nowhere:
    """The default route of a server that does not federate."""

    def deliver(self, _stanza: Stanza) -> None:
        """See `jabberd.interfaces.Route`."""
        raise StanzaError("remote-server-not-found")


# --- from settings to what the parts take ----------------------------------------------------------


def _streams(settings: ServerSettings) -> StreamSettings:
    limits = settings.limits
    return StreamSettings(
        before=Limits(
            size=limits.stanza_before_login,
            tag=min(limits.start_tag, limits.stanza_before_login),
            depth=limits.depth,
            elements=limits.elements_before_login,
        ),
        after=Limits(limits.stanza, limits.start_tag, limits.depth, limits.elements),
        negotiation=limits.negotiation_timeout,
        unread=limits.unread,
    )


def _door(settings: ServerSettings) -> DoorSettings:
    limits = settings.limits
    return DoorSettings(
        per_address=limits.connections, silence=limits.idle_timeout, patience=limits.answer_timeout
    )
