"""Assembly: the one place that knows the concrete classes of all parts.

`assemble` makes everything that can fail before the reactor runs.
"""

from __future__ import annotations

from functools import partial
from socket import gethostname
from typing import TYPE_CHECKING, Any, cast

from twisted.protocols.tls import TLSMemoryBIOFactory

from jabberd import hosting
from jabberd.admin import Admin
from jabberd.control import Control
from jabberd.holdings import Holdings
from jabberd.jsm.threads import BoundedThreads
from jabberd.logs import LogVerbs
from jabberd.manhole import examine as examine_manhole
from jabberd.manhole import manhole
from jabberd.measure import Traffic
from jabberd.operating import terms
from jabberd.operating.limits import LimitVerbs
from jabberd.operating.parts import Parts
from jabberd.operating.reload import Hangup, Reload
from jabberd.operating.shown import Shown
from jabberd.operating.verbs import operating_verbs
from jabberd.router import Router
from jabberd.services import Hosts, InOrder, Links, Listeners, StorageService, Streams
from jabberd.storage import open_storage
from jabberd.storage.migrate import migrate
from jabberd.storage.ownership import ownership, take
from jabberd.streams.addresses import Addresses, ip, most_connections
from jabberd.streams.clients import ClientFactory
from jabberd.streams.components import ComponentFactory, ComponentVerbs
from jabberd.streams.link_verbs import LinkVerbs, outlook
from jabberd.streams.rules import RuleVerbs, store_of
from jabberd.streams.servers import ServerFactory
from jabberd.streams.sockets import tcp
from jabberd.streams.spool import Spool
from jabberd.streams.tls import DirectTLS, security

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from twisted.application.service import IService, MultiService, Service

    from jabberd.config import Config
    from jabberd.interfaces import Storage
    from jabberd.jsm.credentials import Run
    from jabberd.logs import Levels
    from jabberd.settings import ServerSettings
    from jabberd.storage.ownership import Ownership
    from jabberd.streams.federation import Federation
    from jabberd.streams.relay import Relay
    from jabberd.streams.vouch import Trust


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

    def bound() -> list[tuple[str, str, int]]:
        return listeners.bound

    federation = terms.federation(settings, shown, policies, trust, secret, reactor, bound, spool)
    federation.terms.rules.table.update(kept_rules)
    router = _routed(federation)
    hosts = _hosted(config, client_trust, storage, router, reactor, threads.run, secret)
    addresses = Addresses(reactor, settings.limits, most_connections())
    clients, factories = _client_factories(settings, shown, hosts, reactor, addresses)
    servers = ServerFactory(federation.terms, router, federation, addresses)
    servers.use(federation.terms, settings.federation)
    factories |= _server_factories(servers, federation)
    components = _components(settings, hosts, router, reactor, addresses)
    factories["component"] = components
    relay = _relay(settings, hosts, reactor, addresses, bound)
    if relay is not None:
        factories["bytestreams"] = relay
    listeners = Listeners(tcp(reactor), settings, factories)
    domains = Hosts(reactor, clients, hosts, listeners, federation, policies)
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
        relay=relay,
        components=components,
        bound=bound,
        let_operate=lambda now: hosting.let_operate(hosts, admin, hosting.admins(now)),
    )
    reload = Reload(config, parts)
    admin = _admin(reload)
    parts.let_operate(settings)
    factories |= _web(hosts, shown, addresses, reactor, {each.kind for each in settings.listeners})
    services = [*_services(parts, threads, ours, domains, listeners), Hangup(reload, reactor)]
    services += _operators_doors(reload, admin, domains, services, factories)
    return _in_order(services, reactor)


def _hosted(
    config: Config,
    client_trust: Mapping[str, Trust],
    storage: Storage,
    router: Router,
    reactor: Any,
    run: Run,
    secret: bytes,
) -> dict[str, hosting.Host]:
    """The domains, as their settings want them; they are not started."""
    hosts = hosting.host_domains(config, storage, router, reactor, run, secret)
    for host in hosts.values():
        hosting.settle(host, config.settings, client_trust)
    return hosts


def _components(
    settings: ServerSettings,
    hosts: Mapping[str, hosting.Host],
    router: Router,
    reactor: Any,
    addresses: Addresses,
) -> ComponentFactory:
    """What listens to components, and tells the domains who comes and goes."""
    streams = terms.server_streams(settings, Traffic())
    components = ComponentFactory(reactor, streams, terms.secrets(settings), router, addresses)
    components.tell = partial(_told, hosts)
    return components


def _told(hosts: Mapping[str, hosting.Host], event: object) -> None:
    for host in hosts.values():
        host.manager.fire(event)


def _routed(federation: Federation) -> Router:
    """The router, whose default route are the other servers; what comes back from them is routed, too."""
    router = Router(federation)
    federation.join(router)
    return router


def _admin(reload: Reload) -> Admin:
    """All verbs: those of the domains that there are at the time, and those of the server."""
    parts = reload.parts
    federation, servers = parts.federation, parts.servers
    verbs = [
        *operating_verbs(reload),
        ("log", "", LogVerbs(parts.levels)),
        ("links", "", LinkVerbs(federation, servers)),
        ("components", "", ComponentVerbs(parts.components, parts.reactor)),
        ("federation", "", RuleVerbs(federation, servers, store_of(parts.storage))),
        ("", "", Holdings(parts.hosts, parts.clients, servers, federation, parts.storage)),
    ]
    abroad = partial(outlook, federation)
    return Admin(
        lambda: [*hosting.verb_groups(parts.hosts, abroad), *verbs], partial(hosting.lacking, parts.hosts)
    )


def _services(
    parts: Parts, threads: BoundedThreads, ours: Ownership, domains: Hosts, listeners: Listeners
) -> list[IService]:
    """What carries stanzas, from the storage below to the doors above: it starts in this order."""
    reactor, relay = parts.reactor, parts.relay
    return [
        threads,
        StorageService(reactor, parts.run, parts.storage, ours),
        domains,
        Links(parts.federation),
        Streams("streams of servers", reactor, parts.servers),
        Streams("streams of components", reactor, parts.components),
        Streams("streams of clients", reactor, parts.clients),
        *([Streams("bytestreams", reactor, relay)] if relay is not None else []),
        listeners,
    ]


def _operators_doors(
    reload: Reload, admin: Admin, domains: Hosts, services: list[Any], factories: dict[str, Any]
) -> list[Any]:
    """What lets operators in: pages over HTTP, the control socket, the prompt.

    :param services: those that there are, for the prompt to show.
    :param factories: gets what listens for pages.
    """
    config, parts = reload.config, reload.parts
    doors: list[Any] = []
    if any(each.kind == "http" for each in config.settings.listeners):
        lag, pages = _pages(domains, admin, reload, config.settings.limits.http_connections)
        doors.append(lag)
        factories |= pages
    if config.settings.control.socket is not None:
        doors.append(Control(parts.reactor, config.settings.control.socket, admin))
    seen = {"hosts": parts.hosts, "services": services}
    return doors + manhole(config, parts.reactor, admin, seen)


def _in_order(services: Iterable[IService], reactor: Any) -> MultiService:
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
    hosting.check_pages(config, settings)
    examine_manhole(config)
    config.check()
    return shown, trust, client_trust


def _opened(url: str, reactor: Any) -> tuple[Ownership, bytes, dict[tuple[str, str], bool], Storage]:
    """The storage, with its lock and what the server itself keeps there: its secret and operators' rules."""
    ours = ownership(url)
    take(ours)  # nobody else's schema is changed
    migrate(url)
    secret, rules = hosting.secret_of(url), hosting.kept_rules(url)
    storage = open_storage(url, reactor)
    ours.release()
    return ours, secret, rules, storage


def _server_factories(servers: ServerFactory, federation: Federation) -> dict[str, Any]:
    """What listens to other servers, by the kind of listener."""
    if federation.terms.contexts is None:
        return {"s2s": servers}
    direct = DirectTLS(federation.terms.contexts.acceptor(), servers)
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
    direct = DirectTLS(contexts.acceptor(), clients)
    return clients, {"c2s": clients, "c2s-direct": direct}


def _web(
    hosts: Mapping[str, hosting.Host],
    shown: Shown,
    addresses: Addresses,
    reactor: Any,
    kinds: Collection[str],
) -> dict[str, Any]:
    """What serves everybody the pages of modules, by the kind of listener.

    :param kinds: those that are wanted at all.
    """
    if "web" not in kinds:
        return {}
    from jabberd.pages import Counted, PublicPages  # noqa: PLC0415 - 3 MiB, for those who want it

    def declared() -> dict[str, Any]:
        managers = [host.manager for host in hosts.values()]
        return {each.jid: (each.url, each.registry.pages) for each in managers}

    def counted(factory: Any) -> Any:
        return Counted(
            factory, lambda peer: addresses.admit(ip(peer)), lambda peer: addresses.leave(ip(peer))
        )

    site = PublicPages(declared, reactor)
    factories = {"web": counted(site)}
    contexts = shown.contexts("http/1.1")
    if contexts is not None:
        factories["web-direct"] = counted(TLSMemoryBIOFactory(contexts.acceptor(), False, site, reactor))
    return factories


def _relay(
    settings: ServerSettings,
    hosts: Mapping[str, hosting.Host],
    reactor: Any,
    addresses: Addresses,
    bound: Callable[[], Iterable[tuple[str, str, int]]],
) -> Relay | None:
    """What listens to clients for bytestreams, if anything does, for the domains to know."""
    if not any(each.kind == "bytestreams" for each in settings.listeners):
        return None
    from jabberd.streams.relay import Relay  # noqa: PLC0415 - for those who want it

    relay = Relay(reactor, addresses, settings.limits.negotiation_timeout, bound)
    for host in hosts.values():
        host.manager.relay = relay
    return relay


def _pages(domains: Hosts, admin: Admin, reload: Reload, most: int) -> tuple[Service, dict[str, Any]]:
    """What listens to operators over HTTP, by the kind of listener, and what it needs beside.

    :param most: connections of each kind.
    """
    from jabberd.metrics import Lag, Metrics, Sources  # noqa: PLC0415 - 3 MiB, for those who want it
    from jabberd.web import Few, Health, Page, Pages  # noqa: PLC0415 - the same

    parts = reload.parts
    lag = Lag(parts.reactor)
    sources = Sources(
        hosts=domains.hosts,
        certificates=parts.shown.table,
        lag=lag.late,
        clients=parts.clients,
        servers=parts.servers,
        federation=parts.federation,
        storage=parts.storage,
        traffic={"c2s": parts.clients.traffic, "s2s": parts.federation.terms.streams.traffic},
        verbs=admin.seconds,
        limits=LimitVerbs(reload).met,
    )
    root = Page()
    root.putChild(b"healthz", Health(domains.serving, sources.storage, parts.reactor))
    root.putChild(b"metrics", Metrics(sources))
    site = Pages(root, lambda name: name == gethostname().lower() or name in domains.hosts, parts.reactor)
    contexts = parts.shown.contexts("http/1.1")
    factories = {"http": Few(site, most)}
    if contexts is not None:
        direct = TLSMemoryBIOFactory(contexts.acceptor(), False, site, parts.reactor)
        factories["http-direct"] = Few(direct, most)
    return lag, factories
