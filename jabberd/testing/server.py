"""One server in memory: real router, domains, modules and client streams over a storage in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.defer import execute
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates

from jabberd import hosting, loader, settings
from jabberd.admin import Admin
from jabberd.certificates import issue, make_ca
from jabberd.hosting import Host
from jabberd.interfaces import LoginPolicy
from jabberd.jsm.account import ACCOUNTS
from jabberd.jsm.credentials import AccountRecord, Accounts
from jabberd.jsm.manager import SessionManager
from jabberd.jsm.registrar import Registrar
from jabberd.router import Router
from jabberd.storage import open_storage
from jabberd.streams.addresses import Addresses
from jabberd.streams.certfiles import ServerCertificate
from jabberd.streams.clients import ClientFactory
from jabberd.streams.components import ComponentFactory
from jabberd.streams.protocol import StreamSettings
from jabberd.streams.tls import Contexts, security
from jabberd.testing.component import SECRET
from jabberd.testing.outcome import done
from jabberd.xmpp.jid import JID
from jabberd.xmpp.scram import HASHES, ScramKeys, derive
from jabberd.xmpp.scram import MINIMUM_ITERATIONS as _ITERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
    from twisted.internet.task import Clock

    from jabberd import interfaces
    from jabberd.api import Module, Settings
    from jabberd.jsm.limits import Limits

__all__ = ["Server", "trusting"]

_SECRET = b"not for the stage"

T = TypeVar("T")


class Server:
    """A server and its domains.

    :param default: the way to other domains.
    :param modules: for each module's name its settings; if not given the default ones but the archive.
    :param services: by name the domains that are served by a module, with the modules of each.
    :param classes: modules by name that cannot be found by name, such as those of a test.
    :param admins: bare JIDs that may administer every domain.
    :param components: the domains of components; see `jabberd.testing.Network.component`.
    :param tls: let nobody in without TLS; the certificates are of a CA of the tests' own.
    :param door: what holds for clients together, as ``[limits]`` of a configuration has it.
    :ivar hosts: manager, accounts and modules of each domain.
    :ivar door: what clients connect to.  ``components``: the same for components.
    """

    def __init__(
        self,
        clock: Clock,
        default: interfaces.Route,
        *domains: str,
        modules: Mapping[str, Settings | Mapping[str, object]] | None = None,
        services: Mapping[str, Mapping[str, Settings | Mapping[str, object]]] | None = None,
        classes: Mapping[str, type[Module]] | None = None,
        tls: bool = False,
        policy: LoginPolicy | None = None,
        storage: interfaces.Storage | None = None,
        streams: StreamSettings | None = None,
        door: settings.Limits | None = None,
        limits: Limits | None = None,
        admins: Iterable[str] = (),
        components: Iterable[str] = (),
    ) -> None:
        self.storage = storage or open_storage("memory", None)
        self.router = Router(default)
        self.hosts: dict[str, Host] = {}
        self._records = self.storage.keyed(ACCOUNTS, AccountRecord)
        contexts = Contexts("xmpp-client", {name: certificate(name) for name in domains}) if tls else None
        self.door = ClientFactory(
            clock,
            streams or StreamSettings(),
            door or settings.Limits(),
            lambda domain: contexts.acceptor(domain) if contexts else None,
            lambda transport: security(cast("Any", transport), server=True),
        )
        if contexts is not None:
            contexts.asks = lambda domain: self.hosts[domain].manager.policy.named is not None
        usual = {key: {} for key in loader.DEFAULT} if modules is None else modules
        for name, configured in ({JID(name): usual for name in domains} | _parsed(services or {})).items():
            accounts = Accounts(name, self.storage, execute, _SECRET, iterations=_ITERATIONS)
            manager = SessionManager(
                name,
                self.router,
                self.storage,
                clock,
                accounts,
                policy=policy or LoginPolicy(require_tls=tls),
                limits=limits,
            )
            manager.registrar = Registrar(manager, accounts)
            manager.secret = _SECRET
            manager.url = f"https://{name}"
            self._start(Host(manager, accounts, loader.Modules(manager, configured, classes)))
        secrets = dict.fromkeys(map(JID.parse, components), SECRET)
        self.components = ComponentFactory(
            clock, StreamSettings(), secrets, self.router, Addresses(clock, settings.Limits())
        )
        self.components.tell = self._tell
        trusted = frozenset(map(JID.parse, admins))
        admin = Admin(lambda: hosting.verb_groups(self.hosts))
        hosting.let_operate(self.hosts, admin, dict.fromkeys(self.hosts, trusted))
        self.door.hosts = hosting.open_hosts(self.hosts)
        self.door.doStart()

    def _start(self, host: Host) -> None:
        host.manager.registry = host.modules.registry
        done(host.modules.start())
        self.router.add(host.manager.jid, host.manager)
        self.hosts[host.manager.jid] = host

    def _tell(self, event: object) -> None:
        for host in self.hosts.values():
            host.manager.fire(event)

    def create(self, account: JID, password: str) -> None:
        """Make an account, unless there is one."""
        known: list[AccountRecord | None] = []
        self._records.get(account).addCallback(known.append)
        if known == [None]:
            self._records.put(account, "", AccountRecord(_keys(password), datetime.now(UTC)))
            self.hosts[account.domainpart].manager.accounts.drop(account)

    def stop(self) -> None:
        """Stop the modules and the door; sessions that wait for their client end.

        :raises AssertionError: a stream or another session is left.
        """
        self.door.doStop()
        for host in self.hosts.values():
            host.manager.questions.end()
            for account in host.manager.accounts:
                for session in [each for each in account.sessions.values() if each.keeper is not None]:
                    session.close()
            done(host.modules.stop())
        sessions = [
            each
            for host in self.hosts.values()
            for account in host.manager.accounts
            for each in account.sessions
        ]
        assert not sessions, f"sessions are left: {sessions}"
        assert not self.door.streams, f"streams are left: {self.door.streams}"


def _parsed(services: Mapping[str, T]) -> dict[JID, T]:
    return {JID(name): modules for name, modules in services.items()}


@cache
def _keys(password: str) -> tuple[ScramKeys, ...]:
    """The keys of a password, the same for all who have it: they cost milliseconds."""
    return tuple(derive(password, hash_name, b"salt of the test", _ITERATIONS) for hash_name in HASHES)


authority = make_ca(name="jabberd test CA")


@cache
def certificate(domain: str) -> ServerCertificate:
    issued = issue(authority, domain)
    return ServerCertificate(
        issued.certificate, issued.chain, issued.key, Path(f"{domain}.crt"), Path(f"{domain}.key")
    )


@cache
def trusting(domain: str) -> IOpenSSLClientConnectionCreator:
    """A client's side of TLS, which trusts the tests' CA alone and wants to see the domain's certificate."""
    root = trustRootFromCertificates([Certificate.loadPEM(authority.certificate_pem())])
    creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(domain, trustRoot=root)
    return creator
