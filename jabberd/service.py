"""Assembly: the one place that knows the concrete classes of all parts, and the order of their ends.

`assemble` makes everything that can fail before the reactor runs.  The services start in the
order in which they stand in `Server`, and stop in the opposite one, each with a time limit.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from jabberd import loader, notify
from jabberd.interfaces import LoginPolicy
from jabberd.jsm import manager
from jabberd.jsm.account import ACCOUNTS
from jabberd.jsm.credentials import AccountRecord, Accounts
from jabberd.jsm.threads import BoundedThreads
from jabberd.router import Router
from jabberd.storage import open_storage
from jabberd.streams.certfiles import CertificateFolder, NoCertificateError
from jabberd.streams.clients import ClientFactory, DoorSettings
from jabberd.streams.protocol import StreamSettings
from jabberd.streams.tls import Contexts, security
from jabberd.xmpp.boundaries import Limits
from jabberd.xmpp.errors import StanzaError, StreamError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jabberd.config import Config
    from jabberd.interfaces import Storage
    from jabberd.settings import Domain, ServerSettings, Settings
    from jabberd.streams.certfiles import ServerCertificate
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza

log = Logger()

_STEP: Final = 1.0  # seconds that each step of the goodbye may take; SIGTERM is obeyed within 5
_KEPT: Final = ("localhost", "secret")  # owner and key of what `_secret` keeps


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


@dataclass
class Host:
    """A hosted domain: its session manager, accounts and modules."""

    manager: manager.SessionManager
    accounts: Accounts
    modules: loader.Modules


class Hosts(Service):
    """The hosted domains: their modules, and the client streams that end before them."""

    name = "domains"

    def __init__(
        self, clock: Any, clients: ClientFactory, hosts: Mapping[str, Host], listeners: Listeners
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
    modules = {name: _modules(config, name, domain) for name, domain in settings.domains.items()}
    certificates = _certificates(config, settings)
    config.check()
    secret = _secret(settings.storage.url)
    storage = open_storage(settings.storage.url, reactor)
    threads = BoundedThreads(reactor)
    router = Router(Nowhere())
    hosts: dict[str, Host] = {}
    for name, domain in settings.domains.items():
        accounts = Accounts(name, storage.keyed(ACCOUNTS, AccountRecord), threads.run, secret)
        jsm = manager.SessionManager(
            name, router, storage, reactor, accounts, policy=_policy(domain), limits=_limits(settings)
        )
        host = Host(jsm, accounts, loader.Modules(jsm, modules[name]))
        jsm.registry = host.modules.registry
        router.add(name, jsm)
        hosts[name] = host
    factories: dict[str, Any] = {}
    contexts = Contexts("xmpp-client", certificates, settings.tls.minimum) if certificates else None
    clients = ClientFactory(
        reactor,
        _streams(settings),
        _door(settings),
        lambda domain: contexts.acceptor(domain) if contexts and domain in certificates else None,
        lambda transport: security(cast("Any", transport), server=True),
    )
    factories["c2s"] = clients
    if contexts:
        factories["c2s-direct"] = TLSMemoryBIOFactory(contexts.acceptor(), False, clients, reactor)
    listeners = Listeners(reactor, settings, factories)
    server = InOrder(reactor)
    for service in (threads, StorageService(storage), Hosts(reactor, clients, hosts, listeners), listeners):
        service.setServiceParent(server)  # type: ignore[no-untyped-call]  # Twisted's
    return server


class Nowhere:
    """The default route of a server that does not federate."""

    def deliver(self, _stanza: Stanza) -> None:
        """See `jabberd.interfaces.Route`."""
        raise StanzaError("remote-server-not-found")


# --- from settings to what the parts take ----------------------------------------------------------


def _modules(config: Config, name: JID, domain: Domain) -> dict[str, Settings]:
    """The settings of a domain's modules; mistakes are noted in the config."""
    chosen: dict[str, Settings] = {}
    for module in loader.chosen(domain.modules):
        keys = ("domains", name, "modules", module)
        try:
            settings = config.validate(keys, loader.module_class(module).Config)
        except loader.LoadError as error:
            config.problem(keys, error.said)
            continue
        if settings is not None:
            chosen[module] = settings
    return chosen


def _certificates(config: Config, settings: ServerSettings) -> dict[str, ServerCertificate]:
    """For each domain the certificate that names it; what is missing is noted in the config."""
    folders: dict[Path, CertificateFolder] = {}
    chosen: dict[str, ServerCertificate] = {}
    for name, domain in settings.domains.items():
        own = domain.certificates is not None
        path = domain.certificates or settings.tls.certificates
        keys = ("domains", name, "certificates") if own else ("tls", "certificates")
        if path is None:
            if domain.require_tls:
                config.problem(("domains", name), "has no certificate; name a folder in tls.certificates")
            continue
        if path not in folders:
            folders[path] = CertificateFolder(path)
        try:
            chosen[name] = folders[path].choose(name)
            log.info(
                "{domain} shows {path}, valid until {expires:%Y-%m-%d}",
                domain=name,
                path=str(chosen[name].path),
                expires=chosen[name].expires,
            )
        except NoCertificateError as error:
            config.problem(keys, f"{error}; put one there")
    return chosen


def _secret(url: str) -> bytes:
    """What keys of unknown accounts are made from; kept in the storage, so that they stay the same."""
    storage = open_storage(url, None)
    store = storage.keyed("server", str)
    known: list[str | None] = []
    store.get(*_KEPT).addCallback(known.append)
    made = known[0] or secrets.token_hex(32)
    if not known[0]:
        store.put(*_KEPT, made)
    storage.close()
    return bytes.fromhex(made)


def _policy(domain: Domain) -> LoginPolicy:
    return LoginPolicy(
        require_tls=domain.require_tls,
        plain=domain.plain,
        anonymous=domain.anonymous,
        hashes=tuple(name.removeprefix("SCRAM-") for name in domain.scram),
    )


def _limits(settings: ServerSettings) -> manager.Limits:
    return manager.Limits(sessions=settings.limits.resources)


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
