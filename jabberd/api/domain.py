"""What a module sees: the domain it serves, accounts, sessions, and the questions put to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from jabberd.xmpp.element import Element, Sealed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from jabberd import interfaces
    from jabberd.api.module import Module
    from jabberd.api.relay import Relay
    from jabberd.api.stores import Archive, Keyed, Ordered
    from jabberd.xmpp.errors import StreamError
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza


class Session(Protocol):
    """A bound resource (a full JID with a stream)."""

    @property
    def account(self) -> Account:
        """Whose it is."""

    @property
    def jid(self) -> JID:
        """Its full JID."""

    @property
    def presence(self) -> Stanza | None:
        """Its last available presence; None while it is not available (RFC 6121 §4)."""

    @property
    def priority(self) -> int | None:
        """What its presence says (RFC 6121 §4.7.2.3), -128 to 127; None while it is not available."""

    @property
    def client(self) -> interfaces.Identity:
        """Who its client is, how it proved that, and what it says of itself."""

    since: float  #: when it was opened, by the domain's clock
    outlet: interfaces.Outlet  #: its stream, or what stands for it
    keeper: interfaces.Keeper | None  #: what may let it outlive its stream

    def send(self, stanza: Stanza) -> Deferred[None] | None:
        """Put a stanza on its stream; see *Home* in `jabberd.interfaces`."""

    def close(self, error: StreamError | None = None) -> None:
        """End the session, and its stream if it has one."""

    def drained(self) -> Deferred[None]:
        """Fires when the client has read nearly all it was sent, or is gone; who sends much waits for it."""


class Login(Protocol):
    """A client that logs in by XEP-0388, or has just done so: it has not been told yet.

    Nothing is sent to it meanwhile.
    """

    client: interfaces.Identity  #: who it is, once it has proved it
    agent: interfaces.UserAgent  #: what it says of itself
    credentials: interfaces.Credentials  #: whom to ask about passwords; those who guess too often may not
    request: Element  #: its ``<authenticate/>``
    session: Session | None  #: the session that goes on with this stream; None as long as there is none
    outlet: interfaces.Outlet  #: the stream

    async def open(self, resource: str) -> Session:
        """Bind a resource for it, a random one if that is empty; `session` from then on.

        :raises StanzaError: ``resource-constraint`` or ``not-allowed``.
        """


class Account(Protocol):
    """A bare JID of ours, loaded: what its owner stored and who is online."""

    @property
    def jid(self) -> JID:
        """Its bare JID."""

    @property
    def exists(self) -> bool:
        """False for an address at our domain that nobody registered."""

    @property
    def created(self) -> datetime | None:
        """When it was made; None where `exists` is false or `anonymous` true."""

    @property
    def registered(self) -> bool:
        """Whether somebody made it for themselves, whom nobody here need know."""

    @property
    def anonymous(self) -> bool:
        """Whether it ends with its only session (XEP-0175): keep nothing of it."""

    @property
    def sessions(self) -> Mapping[str, Session]:
        """Its sessions by resourcepart, also those that are not available."""

    def trusts(self, contact: JID) -> bool:
        """Whether the contact may see this account's presence (subscription *from* or *both*)."""

    def sees(self, contact: JID) -> bool:
        """Whether this account may see the contact's presence (subscription *to* or *both*)."""

    def knows(self, contact: JID) -> bool:
        """Whether the contact is in the account's roster, whatever the subscription."""

    def groups(self, contact: JID) -> tuple[str, ...]:
        """The roster groups that the contact is in."""


@dataclass(frozen=True, slots=True)
class Operators:
    """Who may operate a domain from afar, and the verbs that they have (`jabberd.api.operator`).

    :ivar call: does what a verb does: its noun, its name, its arguments by name, those of an address as
        JID.  It raises `Refused`, and KeyError if there is no such verb.
    :ivar domain: the accounts that may operate this domain.
    :ivar server: those of them who may operate all domains of this server, and thereby the server.
    """

    call: Callable[[str, str, Mapping[str, object]], Awaitable[Any]]
    domain: frozenset[JID] = frozenset()
    server: frozenset[JID] = frozenset()


class Contacts(Protocol):
    """The rosters of a domain's accounts, as far as modules read and change them."""

    def listed(self, account: Account) -> Sealed:
        """The whole roster, as a client of the account gets it (RFC 6121 §2.2)."""

    async def apply(self, account: Account, query: Element) -> None:
        """Do what a roster set says, as if a client of the account had said it (RFC 6121 §2.3 to §2.5).

        :raises StanzaError: what that client would be told.
        """

    async def share(self, account: Account, contact: JID, group: str = "") -> None:
        """Make somebody a contact who shares presence both ways; its clients learn it.

        The other side is for the caller to do, and `show` when both are done.

        :param group: of the roster, for the contact to be in; empty: none.
        :raises StanzaError: ``resource-constraint``: the roster is full.
        """

    async def welcome(self, account: Account, request: Stanza) -> None:
        """Grant a request to subscribe without asking the owner, and request the same (RFC 6121 §3.1).

        :raises StanzaError: ``resource-constraint``: the roster is full, or too much is requested.
        """

    async def unshare(self, account: Account, contact: JID, group: str) -> None:
        """Take a contact out of that group, and out of the roster if it was in no other one."""

    def show(self, account: Account, contact: JID) -> None:
        """Tell a contact of the account's presence, as far as it may know."""

    def hide(self, account: Account, contact: JID) -> None:
        """Tell a contact that the account is unavailable, as far as it may know that it is there."""

    def watchers(self, account: Account) -> list[JID]:
        """Who may know that the account is there: its subscribers, and whom a session showed itself to."""


class Registrar(Protocol):
    """Makes, changes and removes the accounts of a domain, as operators and their owners have it."""

    async def create(self, jid: JID, password: str, *, registered: bool = False) -> None:
        """Make an account; `AccountCreated` tells of it.

        :param registered: whether somebody makes it for themselves, whom nobody here need know.
        :raises Refused: with the condition ``conflict``: it exists; ``not-acceptable``: the password
            cannot be used; ``resource-constraint``: the server has too many to work on.
        """

    async def set_password(self, jid: JID, password: str) -> None:
        """Replace its password; sessions that are open stay open.

        :raises Refused: as `create`; ``item-not-found``: there is no such account.
        """

    async def delete(self, jid: JID, last: Session | None = None) -> None:
        """Remove an account with everything it owns; `AccountDeleted` tells of it.

        Its sessions end, and its subscriptions.

        :param last: the session that is left open, for the caller to close.
        :raises Refused: ``item-not-found``: there is no such account.
        """


class Domain(Protocol):
    """The domain that a module serves."""

    jid: JID
    url: str  #: where its pages are (`jabberd.api.page`), without a slash at its end; empty: it has none
    clock: IReactorTime
    storage: interfaces.Storage
    credentials: interfaces.Credentials
    registrar: Registrar
    operators: Operators
    relay: Relay | None  #: where clients connect for bytestreams; None: there is no listener

    def key(self, use: str) -> bytes:
        """32 octets that nobody outside of this server can know, the same after each restart.

        :param use: what they are for; those for another use are others, and so are another domain's.
        """

    def route(self, stanza: Stanza) -> Deferred[None] | None:
        """Send a stanza of the module's own on its way, to anybody anywhere."""

    def spread(self, copies: Iterable[Stanza]) -> None:
        """Send stanzas of the same name and type on their way, such as `Stanza.copies` of one.

        That takes less than to route each, most where their children have the same names as well; nobody
        learns when they have a home.
        """

    def tell(self, stanza: Stanza) -> Deferred[None] | None:
        """Send what an account tells others by itself, unless a filter of stage TELLING objects."""

    def say(self, account: Account, stanza: Stanza) -> Deferred[None] | None:
        """Send a stanza as if a client of the account had said it, from its bare JID; see *Home*.

        Filters of stage SAID see it, with a session that is none of the account's.

        :raises StanzaError: what that client would be told.
        """

    def ask(self, question: Stanza, seconds: float = 30) -> Deferred[Stanza]:
        """Ask an iq of the module's own, from the domain or an account, and get the result.

        It is given an id.  Fails with `StanzaError`: the refusal, or ``remote-server-timeout`` after so
        many seconds without an answer.
        """

    def hold(self, stored: Deferred[Any], failed: Callable[[Failure], object] | None = None) -> None:
        """What a filter is looking at has no home before this fires, see *Home*.

        For a filter that writes down what passes: the sender's acknowledgement waits for the disk, and
        nothing else does.

        :param failed: told when it fails; the stanza goes its way all the same.  Without it, it may not fail.
        """

    def redeliver(self, stanza: Stanza) -> Deferred[None]:
        """Find another home for what an account of ours was sent and did not get; it fires with the home.

        It was accepted once and is not refused now: filters in stage REFUSE do not see it again.  Where
        nobody can have it, its sender learns that.  Fails with `interfaces.StorageError` if it cannot be
        stored just now: then it has no home, and its sender knows nothing.
        """

    def others_have(
        self, stanza: Stanza, receiver: Session, since: float, *, alone: bool | None = None
    ) -> bool:
        """Whether what that session was sent then (by the clock) went to the account's other ones as well.

        It is theirs to lose, then, and needs no redelivery.

        :param alone: whether only that session was sent it; None: if it had waited (XEP-0203), it may be so.
        """

    async def registered(self) -> list[JID]:
        """The bare JIDs of all accounts of the domain, sorted."""

    def account(self, jid: JID) -> Awaitable[Account]:
        """The account of a bare JID at this domain, loaded; it may not exist (`Account.exists`)."""

    @property
    def has_accounts(self) -> bool:
        """Whether clients log in here; False where a module `serves` the domain."""

    @property
    def services(self) -> Iterable[JID]:
        """The domains below this one that are served here, by modules or components, without accounts."""

    def services_by(self, module: str) -> Iterable[JID]:
        """Those of them that the module of that name serves."""

    @property
    def online(self) -> Iterable[Account]:
        """The accounts that have sessions now."""

    def bind(self, store: Keyed[Any] | Archive | Ordered[Any]) -> object:
        """A declared store as this domain has it: a `Resident`, an `interfaces.Archive` or `Ordered`."""

    def module(self, name: str) -> Module:
        """Another module of this domain, one that is named in ``requires``."""

    def connected(self, component: JID) -> bool:
        """Whether that is the domain of a component of this server, which is connected now."""

    def fire(self, event: object) -> None:
        """Tell all listeners of this event's class."""

    async def inlined(self, session: Session, request: Element) -> list[Element]:
        """Do what a client asks for while it binds a resource, and what its modules do then anyway.

        :param request: holds what was asked for.
        :returns: the answers.
        """

    @property
    def inlines(self) -> Iterable[str]:
        """The namespaces of what a client may ask for while it binds a resource (`jabberd.api.inline`)."""

    @property
    def contacts(self) -> Contacts:
        """The rosters of its accounts."""

    @property
    def modules(self) -> Iterable[Module]:
        """All modules of this domain, in the order in which they were started."""


@dataclass(frozen=True, slots=True)
class IQ:
    """A question (an iq of type get or set) that a module answers.

    The answer is what the method returns: an element, several of them in a tuple, or None for an
    empty result; a `StanzaError` that it raises is the refusal.

    :ivar account: the account that was asked, or None when the domain was asked.
    :ivar payload: the one child element, opened.
    """

    stanza: Stanza
    sender: JID
    account: Account | None
    payload: Element

    @property
    def type(self) -> str:
        """``get`` or ``set``."""
        return self.stanza.type


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A question of a client that has not logged in; see `jabberd.api.newcomers`.

    :ivar outlet: its stream.
    :ivar payload: the one child element, opened.
    """

    stanza: Stanza
    outlet: interfaces.Outlet
    payload: Element


Answer = Element | Sealed | None  # RFC 6120 §8.2.3: a result has at most one child


@dataclass(frozen=True, slots=True)
class Apart:
    """What a method that answers a question returns where it asks others first.

    What the asker says next does not wait for the answer, so that it can help to find it.
    """

    answer: Awaitable[Answer]
