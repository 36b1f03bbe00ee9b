"""What modules see of a domain (`jabberd.api.Domain`), delivery apart."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jabberd.api import Keyed, Ordered, Stage
from jabberd.api.domain import Operators
from jabberd.jsm import login as logins
from jabberd.jsm.account import ACCOUNTS, Account, AccountCache, Residents
from jabberd.jsm.credentials import AccountRecord
from jabberd.jsm.questions import Questions
from jabberd.registry import Registry
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from jabberd import api, interfaces
    from jabberd.jsm.trace import Watch
    from jabberd.router import Router
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.stanza import Stanza

__all__ = ["HostedDomain"]

T = TypeVar("T")

log = Logger()


class HostedDomain:
    """A domain of this server: its modules, its accounts, and the ways to ask and to tell others.

    :param cached: accounts that stay in memory though nobody is connected to them.
    :ivar watch: is told of all stanzas while operators trace an account; None while nobody does.
    :ivar registrar: given by whoever makes the domain, and so may ``relay`` be.
    :ivar secret: what `key` makes keys from, given in the same way; kept over restarts.
    """

    registrar: api.Registrar
    secret: bytes
    relay: api.relay.Relay | None = None

    def __init__(
        self,
        jid: JID,
        router: Router,
        storage: interfaces.Storage,
        clock: IReactorTime,
        credentials: interfaces.Credentials,
        cached: int,
    ) -> None:
        self.jid = jid
        self.clock = clock
        self.storage = storage
        self.credentials = credentials
        self.registry = Registry()
        self.url = ""
        self.operators = Operators(_no_verb)
        self.watch: Watch | None = None
        self._router = router
        self.connected = router.connected
        self._records = storage.keyed(ACCOUNTS, AccountRecord)
        self.accounts = AccountCache(storage, cached)
        self.questions = Questions(clock, self.route)

    @property
    def modules(self) -> Iterable[api.Module]:
        """See `jabberd.api.Domain`."""
        return self.registry.modules.values()

    def having(self, kind: Callable[..., T]) -> Sequence[T]:
        """See `jabberd.api.Domain`."""
        return self.registry.having(kind)

    def module(self, name: str) -> api.Module:
        """See `jabberd.api.Domain`."""
        return self.registry.modules[name]

    def key(self, use: str) -> bytes:
        """See `jabberd.api.Domain`."""
        return hmac.digest(self.secret, f"{use}\0{self.jid}".encode(), "sha256")

    def route(self, stanza: Stanza) -> Deferred[None] | None:
        """See `jabberd.api.Domain`."""
        if self.watch is not None:
            self.watch.routed(stanza)
        return self._router.route(stanza)

    def tell(self, stanza: Stanza) -> Deferred[None] | None:
        """See `jabberd.api.Domain`."""
        filters = self.registry.filters.get((Stage.TELLING, stanza.name))
        if filters is not None and stanza.sender is not None:
            account = self.accounts.get(stanza.sender.bare)
            if account is not None and filters.run(stanza, account) is None:
                return None
        return self.route(stanza)

    def spread(self, copies: Iterable[Stanza]) -> None:
        """See `jabberd.api.Domain`."""
        if self.watch is None:
            self._router.spread(copies)
        else:
            for copy in copies:
                self.route(copy)

    def tell_all(self, account: Account, stanza: Stanza, recipients: Collection[JID]) -> None:
        """Send to each of these what a session of an account tells by itself: `tell`, for many."""
        assert stanza.sender is not None  # it was stamped
        filters = self.registry.filters.get((Stage.TELLING, stanza.name))
        objecting = () if filters is None else filters.concerned(stanza)

        def passes(copy: Stanza) -> bool:
            for method in objecting:  # noqa: SIM110  # a generator for each copy would cost more than they do
                if method(copy, account) is None:
                    return False
            return True

        self.spread(filter(passes, stanza.copies(stanza.sender, recipients)))

    def ask(self, question: Stanza, seconds: float = 30) -> Deferred[Stanza]:
        """See `jabberd.api.Domain`."""
        return self.questions.ask(question, seconds)

    async def registered(self) -> list[JID]:
        """See `jabberd.api.Domain`."""
        return [JID.parse(owner) for owner in await self._records.owners(self.jid)]

    def account(self, jid: JID) -> Deferred[Account]:
        """See `jabberd.api.Domain`."""
        return self.accounts.load(jid.bare)

    @property
    def has_accounts(self) -> bool:
        """See `jabberd.api.Domain`."""
        return self.registry.serves is None

    @property
    def services(self) -> Iterable[JID]:
        """See `jabberd.api.Domain`."""
        below = f".{self.jid}"
        routes = self._router.routes.items()
        return [
            JID.parse(name)
            for name, route in routes
            if name.endswith(below) and not (isinstance(route, HostedDomain) and route.has_accounts)
        ]

    def services_by(self, module: str) -> Iterable[JID]:
        """See `jabberd.api.Domain`."""
        routes = self._router.routes
        return [
            jid
            for jid in self.services
            if isinstance(route := routes[jid], HostedDomain) and module in route.registry.modules
        ]

    @property
    def online(self) -> Iterable[Account]:
        """See `api.Domain.online`."""
        return [account for account in self.accounts if account.sessions]

    def bind(self, store: api.Keyed[Any] | api.Archive | api.Ordered[Any]) -> object:
        """See `jabberd.api.Domain`."""
        if isinstance(store, Keyed):
            keyed = self.storage.keyed(store.name, store.type)
            return Residents(self.accounts, keyed, store.name) if store.resident else keyed
        if isinstance(store, Ordered):
            return self.storage.ordered(store.name, store.type)
        return self.storage.archive(store.name)

    def fire(self, event: object) -> None:
        """See `jabberd.api.Domain`; one of the four places where errors are caught."""
        for listener in self.registry.listeners.get(type(event), ()):
            try:
                done = listener(event)
                if done is not None:
                    ensureDeferred(cast("Deferred[None]", done)).addErrback(_not_heard, event)
            except Exception:  # noqa: BLE001  # its mistake is not that of the others
                _not_heard(Failure(), event)

    def fire_everywhere(self, event: object) -> None:
        """Tell the listeners at this domain and then at all others of this server."""
        others = [each for each in self._router.routes.values() if isinstance(each, HostedDomain)]
        for domain in (self, *(each for each in others if each is not self)):
            domain.fire(event)

    @property
    def inlines(self) -> Iterable[str]:
        """See `jabberd.api.Domain`."""
        return sorted({name[1:].partition("}")[0] for name in self.registry.binding})

    async def inlined(self, session: api.Session, request: Element) -> list[Element]:
        """See `jabberd.api.Domain`."""
        return await logins.inlined(self.registry, session, request)

    def is_local(self, jid: JID) -> bool:
        """Whether this server answers for the address."""
        return jid.domainpart in self._router.domains


async def _no_verb(noun: str, name: str, _arguments: Mapping[str, object]) -> object:
    """Whoever makes the domain says what operators can do; see `jabberd.hosting.let_operate`."""
    raise KeyError(noun, name)


def _not_heard(why: Failure, event: object) -> None:
    log.failure("a listener of {event} failed", why, event=event)
