"""The domains that a configuration describes, made from their parts.

The server makes them around its reactor; `jabberctl` makes them around the storage alone, to work on
accounts while no server runs.
"""

from __future__ import annotations

import errno
import os
import secrets
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jabberd import loader
from jabberd.api.domain import Operators
from jabberd.config import ConfigError
from jabberd.interfaces import LoginPolicy
from jabberd.jsm import manager, roster
from jabberd.jsm.credentials import Accounts, Run
from jabberd.jsm.explain import Explanation
from jabberd.jsm.limits import Limits
from jabberd.jsm.registrar import Registrar
from jabberd.jsm.session_verbs import Announcement, SessionVerbs
from jabberd.jsm.trace import Tracing
from jabberd.jsm.verbs import AccountVerbs
from jabberd.storage import open_storage
from jabberd.streams import rules, vouch
from jabberd.streams.certfiles import CertificateFolder, NoCertificateError
from jabberd.xmpp.domain import a_labels, ip_literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from jabberd.admin import Admin
    from jabberd.config import Config
    from jabberd.interfaces import Storage
    from jabberd.router import Router
    from jabberd.settings import Component, Domain, ServerSettings, Settings
    from jabberd.streams.certfiles import ServerCertificate
    from jabberd.streams.vouch import Trust
    from jabberd.xmpp.jid import JID

_HTTPS: Final = 443
_KEPT = ("localhost", "secret")  # owner and key of what `secret_of` keeps


@dataclass
class Host:
    """A hosted domain: its session manager, accounts and modules.

    :ivar service: the module that serves it, if it has no accounts.
    """

    manager: manager.SessionManager
    accounts: Accounts
    modules: loader.Modules
    service: str = ""


def host_domains(
    config: Config, storage: Storage, router: Router, clock: Any, run: Run, secret: bytes
) -> dict[str, Host]:
    """Make every domain of the configuration and give it its route; nothing is started.

    :param run: where passwords are hashed.
    :raises ConfigError: modules or their settings are wrong.
    """
    settings = config.settings
    modules = {
        name: module_settings(config, name, each.modules, each.service)
        for name, each in settings.domains.items()
    }
    config.check()
    hosts: dict[str, Host] = {}
    for name in settings.domains:
        hosts[name] = host_domain(config, name, modules[name], storage, router, clock, run, secret)
        router.add(name, hosts[name].manager)
    return hosts


def host_domain(
    config: Config,
    name: JID,
    modules: dict[str, Settings],
    storage: Storage,
    router: Router,
    clock: Any,
    run: Run,
    secret: bytes,
) -> Host:
    """Make one domain; it has no route and is not started.

    :raises ConfigError: its modules cannot work together.
    """
    accounts = Accounts(name, storage, run, secret)
    jsm = manager.SessionManager(name, router, storage, clock, accounts)
    jsm.registrar = Registrar(jsm, accounts)
    jsm.secret = secret
    service = config.settings.domains[name].service
    host = Host(jsm, accounts, _loaded(config, jsm, modules, service), service)
    jsm.registry = host.modules.registry
    settle(host, config.settings)
    return host


def settle(host: Host, settings: ServerSettings, trust: Mapping[str, Trust] = MappingProxyType({})) -> None:
    """Let a domain follow these settings, where they are not those of its modules.

    :param trust: by domain, the authorities whose certificates its clients may show.
    """
    jsm = host.manager
    jsm.policy = _policy(jsm.jid, settings.domains[jsm.jid], trust.get(jsm.jid))
    jsm.use(_limits(settings))
    host.accounts.names.span = settings.domains[jsm.jid].deleted_names


def _limits(settings: ServerSettings) -> Limits:
    given = settings.limits
    return Limits(
        sessions=given.resources,
        directed=given.directed_presence,
        roster=roster.Limits(items=given.roster),
        presence=given.presence,
        subscriptions=given.subscriptions,
        server_subscriptions=given.server_subscriptions,
    )


def verb_groups(
    hosts: Mapping[str, Host], abroad: Callable[[JID, JID], str] = lambda *_: "it goes over federation"
) -> Iterator[tuple[str, str, object]]:
    """Who has verbs for operators, as `jabberd.admin.Admin` wants it: noun, domain, object.

    :param abroad: see `Explanation`.
    """
    for name, host in hosts.items():
        if host.manager.has_accounts:
            yield "accounts", name, AccountVerbs(host.manager, host.accounts)
        for module in host.manager.modules:
            yield module.noun or module.name, name, module
    managers = {name: host.manager for name, host in hosts.items()}
    yield "sessions", "", SessionVerbs(managers)
    yield "", "", Announcement(managers)
    yield "", "", Tracing(managers)
    yield "", "", Explanation(managers, abroad)


def lacking(hosts: Mapping[str, Host], noun: str) -> str:
    """Why nobody has verbs of that noun, if it is a module that no domain has; else nothing."""
    had = any(noun in host.modules.registry.modules for host in hosts.values())
    return "" if had or noun not in loader.available() else f"while no domain has the module {noun}"


def open_hosts(hosts: Mapping[str, Host]) -> dict[str, manager.SessionManager]:
    """The domains that clients may log in to."""
    return {name: host.manager for name, host in hosts.items() if host.manager.has_accounts}


def let_operate(hosts: Mapping[str, Host], admin: Admin, admins: Mapping[str, frozenset[JID]]) -> None:
    """Let the admins of each domain have the verbs from afar.

    :param admins: by domain.
    """
    everywhere = frozenset.intersection(*admins.values())
    anywhere = frozenset().union(*admins.values())
    for name, host in hosts.items():
        host.manager.operators = Operators(admin.call, admins[name], everywhere, anywhere)


def admins(settings: ServerSettings) -> dict[str, frozenset[JID]]:
    """By domain, whom its operator trusts."""
    return {name: frozenset(domain.admins) for name, domain in settings.domains.items()}


def secret_of(url: str) -> bytes:
    """What keys are made from that nobody else may know: kept in the storage, so that they stay the same."""
    storage = open_storage(url, None)
    store = storage.keyed("server", str)
    known: list[str | None] = []
    store.get(*_KEPT).addCallback(known.append)
    made = known[0] or secrets.token_hex(32)
    if not known[0]:
        store.put(*_KEPT, made)
    storage.close()
    return bytes.fromhex(made)


def kept_rules(url: str) -> dict[tuple[str, str], bool]:
    """Whom our domains talk to, as `jabberd.streams.proof.Rules` takes it: known before anybody connects."""
    storage = open_storage(url, None)
    kept: list[dict[tuple[str, str], bool]] = []
    rules.load(rules.store_of(storage)).addCallback(kept.append)
    storage.close()
    return kept[0]


def _named(settings: ServerSettings) -> Iterator[tuple[str, str, Domain | Component]]:
    """The names that certificates are wanted for: their tables, and who says how.

    They are domains, the hosts where their pages are, and components that talk to other servers.
    """
    for name, domain in settings.domains.items():
        yield "domains", name, domain
    for name, component in settings.components.items():
        if component.federation != "off":
            yield "components", name, component
    if any(each.kind == "web" and each.direct_tls for each in settings.listeners):
        for domain in settings.domains.values():
            host = urlsplit(domain.url).hostname
            if host and host not in settings.domains:
                yield "", host, domain


def certificates(config: Config, settings: ServerSettings) -> dict[str, ServerCertificate]:
    """For each domain the certificate that names it; what is missing is noted in the config.

    A component that talks to no other server needs none.
    """
    folders: dict[Path, CertificateFolder] = {}
    chosen: dict[str, ServerCertificate] = {}
    for table, name, domain in _named(settings):
        remedy = "" if table != "components" else ', or write federation = "off"'
        path = domain.certificates or settings.tls.certificates
        if path is None:
            if domain.require_tls:
                said = f"has no certificate; name a folder in tls.certificates{remedy}"
                config.problem((table or "domains", name), said)
            continue
        if path not in folders:
            folders[path] = CertificateFolder(path)
        try:
            chosen[name] = folders[path].choose(name)
        except NoCertificateError as error:
            config.problem(_keys(table, name, domain), f"{error}; {_to_do(error)}{remedy}")
    if not folders:
        for number, listener in enumerate(settings.listeners):
            if listener.direct_tls:
                said = "needs a certificate; name a folder in tls.certificates"
                config.problem(("listeners", number, "direct_tls"), said)
    return chosen


def _to_do(error: NoCertificateError) -> str:
    unread = any(each.endswith(os.strerror(errno.EACCES)) for each in error.found)
    return "let the user that jabberd runs as read it" if unread else "put one there"


def check_pages(config: Config, settings: ServerSettings) -> None:
    """See that others can reach the pages of modules; what is missing is noted in the config."""
    doors = [each for each in settings.listeners if each.kind == "web"]
    for name, domain in settings.domains.items():
        for module in loader.chosen(domain.modules, domain.service):
            keys = ("domains", name, "modules", module)
            if not loader.needs_pages(module):
                continue
            if not doors:
                config.problem(keys, 'has pages, and nobody can reach them; add a listener of the kind "web"')
            elif not domain.url and not any(each.direct_tls for each in doors):
                said = "has pages behind another server; say with url where others reach them"
                config.problem(("domains", name), said)


def public_url(settings: ServerSettings, domain: JID, bound: Iterable[tuple[str, str, int]]) -> str:
    """Where others reach the pages of a domain: see ``Domain.url``.

    On a host that is called otherwise they are below the domain's name, as several may have theirs there.

    :param bound: kind, address and port of each listener.
    """
    bound = [each for each in bound if each[0] in ("web", "web-direct")]
    if not bound:
        return ""
    own = domain if ip_literal(domain) else a_labels(domain)
    if url := settings.domains[domain].url:
        return url if urlsplit(url).hostname == own else f"{url}/{own}"
    port = next((port for kind, _, port in bound if kind == "web-direct"), None)
    if port is None:
        return ""
    return f"https://{own}" + ("" if port == _HTTPS else f":{port}")


def _keys(table: str, name: str, domain: Domain | Component) -> tuple[str, ...]:
    """Where the folder of its certificates stands, or what lets a component do without."""
    if domain.certificates is not None and table:
        return table, name, "certificates"
    return (table, name) if table == "components" else ("tls", "certificates")


def settings_of(config: Config) -> ServerSettings:
    """The server's own settings.

    :raises ConfigError: they are wrong; what is wrong with modules is told as well.
    """
    try:
        return config.settings
    except ConfigError:
        for name, switches in config.modules().items():
            module_settings(config, name, switches)
        config.check()
        raise


def module_settings(
    config: Config, name: str, switches: Mapping[str, bool], service: str = ""
) -> dict[str, Settings]:
    """The settings of a domain's modules; mistakes are noted in the config.

    :param switches: by name, whether a module is wanted.
    :param service: the module that serves the domain, if one does.
    """
    chosen: dict[str, Settings] = {}
    for module in loader.chosen(switches, service):
        keys = ("domains", name, "modules", module)
        try:
            cls = loader.module_class(module)
            settings = config.validate(keys, cls.Config)
        except loader.LoadError as error:
            config.problem(_wanted_by(config, name, module, service), error.said)
            continue
        if settings is not None:
            chosen[module] = settings
            for what, said, remedy in cls.surroundings(settings):
                if remedy:
                    config.problem(keys, f"{what} {said}; {remedy}")
    return chosen


def _wanted_by(config: Config, domain: str, module: str, service: str) -> tuple[str, ...]:
    """Where the file says that a domain has the module: among its modules, or as its service."""
    among = module != service or module in config.modules().get(domain, {})
    return ("domains", domain, "modules", module) if among else ("domains", domain, "service")


def _loaded(
    config: Config, jsm: manager.SessionManager, modules: dict[str, Settings], service: str
) -> loader.Modules:
    """The modules of a domain, made.

    :raises ConfigError: they cannot work together.
    """
    try:
        loaded = loader.Modules(jsm, modules)
        loader.check_service(loaded, service)
    except loader.LoadError as error:
        config.problem(_wanted_by(config, jsm.jid, error.module, service), error.said)
        config.check()
        raise
    return loaded


def _policy(name: JID, domain: Domain, trust: Trust | None) -> LoginPolicy:
    return LoginPolicy(
        require_tls=domain.require_tls,
        plain=domain.plain,
        anonymous=domain.anonymous,
        hashes=tuple(each.removeprefix("SCRAM-") for each in domain.scram),
        downgrade_protection=domain.downgrade_protection,
        named=None if trust is None else partial(vouch.named, domain=name, trust=trust),
    )
