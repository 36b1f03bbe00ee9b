"""Assembly: the one place that knows the concrete classes of all parts, and the order of their ends.

`assemble` makes everything that can fail before the reactor runs.  The services start in the
order in which they stand in `Server`, and stop in the opposite one, each with a time limit.
"""

from __future__ import annotations

from functools import partial
from socket import gethostname
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from jabberd import hosting, notify
from jabberd.admin import Admin
from jabberd.control import Control
from jabberd.holdings import Holdings
from jabberd.jsm.threads import BoundedThreads
from jabberd.logs import LogVerbs
from jabberd.manhole import manhole
from jabberd.measure import Traffic
from jabberd.operating import terms
from jabberd.operating.limits import LimitVerbs
from jabberd.operating.parts import Parts
from jabberd.operating.reload import Hangup, Reload
from jabberd.operating.shown import Shown
from jabberd.operating.verbs import operating_verbs
from jabberd.router import Router
from jabberd.storage import open_storage
from jabberd.storage.migrate import migrate
from jabberd.storage.ownership import InUseError, ownership
from jabberd.streams.addresses import Addresses, most_connections
from jabberd.streams.clients import ClientFactory
from jabberd.streams.link_verbs import LinkVerbs, outlook
from jabberd.streams.rules import RuleVerbs, store_of
from jabberd.streams.servers import ServerFactory
from jabberd.streams.spool import Spool
from jabberd.streams.tls import security
from jabberd.xmpp.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jabberd.config import Config
    from jabberd.interfaces import Storage
    from jabberd.jsm.credentials import Run
    from jabberd.logs import Levels
    from jabberd.settings import ServerSettings
    from jabberd.storage.ownership import Ownership
    from jabberd.streams.federation import Federation
    from jabberd.streams.vouch import Trust

log = Logger()

_GOODBYE: Final = 4.5  # seconds: SIGTERM is obeyed within 5
_RENEWAL: Final = 5.0  # seconds between two looks at whether the storage is still ours
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
    """The hosted domains: their modules start before the clients come, and stop behind them."""

    name = "domains"

    def __init__(
        self,
        clock: Any,
        clients: ClientFactory,
        hosts: Mapping[str, hosting.Host],
        listeners: Listeners,
        federation: Federation,
    ) -> None:
        self._clock = clock
        self._clients = clients
        self.hosts = hosts
        self._listeners = listeners
        self._federation = federation

    def startService(self) -> None:
        Service.startService(self)
        Deferred.fromCoroutine(self._start()).addErrback(self._not_started)

    async def _start(self) -> None:
        for name, host in self.hosts.items():
            await host.modules.start()
            if host.manager.has_accounts:
                self._clients.hosts = {**self._clients.hosts, name: host.manager}
        for host in self.hosts.values():
            await self._federation.read_back(host.manager.jid)
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

    def __init__(self, name: str, clock: Any, factory: ClientFactory | ServerFactory) -> None:
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
        self._ours.acquire()

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


def assemble(config: Config, reactor: Any, levels: Levels) -> MultiService:
    """Make the server that a configuration file describes.

    :param levels: what is logged, for operators to change.
    :raises ConfigError: with all that is wrong in the file, certificates included.
    :raises StorageError: the storage cannot be used.
    """
    settings = config.settings
    shown, trust, client_trust = _examined(config)
    ours, secret, kept_rules, storage = _opened(settings.storage.url, reactor)
    threads = BoundedThreads(reactor)
    policies = terms.policies(settings)
    spool = Spool(storage.archive("spool of links"))
    federation = terms.federation(
        settings, shown, policies, trust, secret, reactor, lambda: listeners.bound, spool
    )
    router = Router(federation)
    federation.bounce = router.bounce
    federation.terms.rules.table.update(kept_rules)
    hosts = hosting.host_domains(config, storage, router, reactor, threads.run, secret)
    for host in hosts.values():
        hosting.settle(host, settings, client_trust)
    addresses = Addresses(reactor, settings.limits, most_connections())
    clients, factories = _client_factories(settings, shown, hosts, reactor, addresses)
    servers = ServerFactory(federation.terms, router, federation, addresses)
    factories |= _server_factories(servers, federation, reactor)
    listeners = Listeners(reactor, settings, factories)
    domains = Hosts(reactor, clients, hosts, listeners, federation)
    services = [
        threads,
        StorageService(reactor, threads.run, storage, ours),
        domains,
        Links(federation),
        Streams("streams of servers", reactor, servers),
        Streams("streams of clients", reactor, clients),
        listeners,
    ]
    parts = Parts(
        reactor=reactor,
        storage=storage,
        router=router,
        run=threads.run,
        secret=secret,
        levels=levels,
        shown=shown,
        hosts=hosts,
        policies=policies,
        clients=clients,
        servers=servers,
        federation=federation,
        bound=lambda: listeners.bound,
        let_operate=lambda now: hosting.let_operate(hosts, admin, hosting.admins(now)),
    )
    reload = Reload(config, parts)
    services.append(Hangup(reload, reactor))
    verbs = [
        *operating_verbs(reload),
        ("log", "", LogVerbs(levels)),
        ("links", "", LinkVerbs(federation, servers)),
        ("federation", "", RuleVerbs(federation, servers, store_of(storage))),
        ("", "", Holdings(hosts, clients, servers, federation, storage)),
    ]
    abroad = partial(outlook, federation)
    admin = Admin(lambda: [*hosting.verb_groups(hosts, abroad), *verbs])
    parts.let_operate(settings)
    if any(each.kind == "http" for each in settings.listeners):
        lag, pages = _pages(
            shown,
            reactor,
            domains,
            settings.limits.http_connections,
            clients=clients,
            servers=servers,
            federation=federation,
            storage=storage,
            traffic={"c2s": clients.traffic, "s2s": federation.terms.streams.traffic},
            verbs=admin.seconds,
            limits=LimitVerbs(reload).met,
        )
        services.append(lag)
        factories |= pages
    if settings.control.socket is not None:
        services.append(Control(reactor, settings.control.socket, admin))
    services += manhole(config, reactor, admin, {"hosts": hosts, "services": services})
    server = InOrder(reactor)
    for service in services:
        service.setServiceParent(server)
    return server


def _examined(config: Config) -> tuple[Shown, Trust, dict[str, Trust]]:
    """The certificates that are shown, and the authorities that are trusted: for servers, for clients.

    :raises ConfigError: with all that is wrong in the file, at once and before anything is touched.
    """
    settings = config.settings
    shown = Shown(hosting.certificates(config, settings), settings.tls.minimum)
    trust, client_trust = terms.trust(config), terms.client_trust(config)
    for name, domain in settings.domains.items():
        hosting.module_settings(config, name, domain.modules, domain.service)
    config.check()
    return shown, trust, client_trust


def _opened(url: str, reactor: Any) -> tuple[Ownership, bytes, dict[tuple[str, str], bool], Storage]:
    """The storage, with its lock and what the server itself keeps there: its secret and operators' rules."""
    ours = ownership(url)
    ours.acquire()  # nobody else's schema is changed
    migrate(url)
    secret, rules = hosting.secret_of(url), hosting.kept_rules(url)
    storage = open_storage(url, reactor)
    ours.release()
    return ours, secret, rules, storage


def _server_factories(servers: ServerFactory, federation: Federation, reactor: Any) -> dict[str, Any]:
    """What listens to other servers, by the kind of listener."""
    if federation.terms.contexts is None:
        return {"s2s": servers}
    direct = TLSMemoryBIOFactory(federation.terms.contexts.acceptor(), False, servers, reactor)
    return {"s2s": servers, "s2s-direct": direct}


def _client_factories(
    settings: ServerSettings,
    shown: Shown,
    hosts: Mapping[str, hosting.Host],
    reactor: Any,
    addresses: Addresses,
) -> tuple[ClientFactory, dict[str, Any]]:
    """What listens to clients, by the kind of listener."""
    contexts = shown.contexts("xmpp-client")
    clients = ClientFactory(
        reactor,
        terms.client_streams(settings, Traffic()),
        settings.limits,
        lambda domain: contexts.acceptor(domain) if contexts and domain in shown.table else None,
        lambda transport: security(cast("Any", transport), server=True),
        addresses,
    )
    if contexts is None:
        return clients, {"c2s": clients}
    contexts.asks = lambda domain: domain in hosts and hosts[domain].manager.policy.named is not None
    direct = TLSMemoryBIOFactory(contexts.acceptor(), False, clients, reactor)
    return clients, {"c2s": clients, "c2s-direct": direct}


def _pages(
    shown: Shown,
    reactor: Any,
    domains: Hosts,
    most: int,
    **measured: Any,
) -> tuple[Service, dict[str, Any]]:
    """What listens to operators over HTTP, by the kind of listener, and what it needs beside.

    :param most: connections of each kind.
    :param measured: see `jabberd.metrics.Sources`.
    """
    from jabberd.metrics import Lag, Metrics, Sources  # noqa: PLC0415 - 3 MiB, for those who want it
    from jabberd.web import Few, Health, Page, Pages  # noqa: PLC0415 - the same

    lag = Lag(reactor)
    sources = Sources(hosts=domains.hosts, certificates=shown.table, lag=lag.late, **measured)
    root = Page()
    root.putChild(b"healthz", Health(domains.serving, sources.storage, reactor))
    root.putChild(b"metrics", Metrics(sources))
    site = Pages(root, lambda name: name == gethostname().lower() or name in domains.hosts, reactor)
    contexts = shown.contexts("http/1.1")
    factories = {"http": Few(site, most)}
    if contexts is not None:
        direct = TLSMemoryBIOFactory(contexts.acceptor(), False, site, reactor)
        factories["http-direct"] = Few(direct, most)
    return lag, factories
