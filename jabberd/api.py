"""All that a module imports: declarations, and what it sees of the domain it serves.

A module adds one feature to one domain.  It is a class whose *declarations* say what it answers,
filters, listens to and stores; they are collected when the class is made and bound to an instance
when a domain starts (`jabberd.loader`)::

    class Ping(Module, xep=199, version="2.0.1"):
        \"\"\"Answers pings.\"\"\"

        features = (NS,)

        @answers.get(NS, "ping", to=DOMAIN, by=ANYONE)
        def ping(self, request: IQ) -> None: ...

``docs/modules.md`` is the tutorial.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Protocol, TypeVar, cast, overload

from jabberd import interfaces
from jabberd.settings import DomainName, Duration, FilePath, Settings, Size
from jabberd.xmpp.element import E, Element
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.logger import Logger

__all__ = [
    "ACCOUNT",
    "ANYONE",
    "DOMAIN",
    "IQ",
    "JID",
    "LOCAL",
    "OWNER",
    "SUBSCRIBER",
    "Account",
    "AccountCreated",
    "AccountDeleted",
    "Archive",
    "BecameAvailable",
    "BecameUnavailable",
    "Domain",
    "DomainName",
    "Duration",
    "E",
    "Element",
    "FilePath",
    "Keyed",
    "Module",
    "Session",
    "SessionClosed",
    "SessionOpened",
    "Settings",
    "Size",
    "Stage",
    "Stanza",
    "StanzaError",
    "answers",
    "filters",
    "on",
    "operator",
    "undelivered",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# --- what a module sees of its domain --------------------------------------------------------------


class Session(Protocol):
    """A bound resource (a full JID with a stream)."""

    @property
    def jid(self) -> JID:
        """Its full JID."""

    @property
    def presence(self) -> Stanza | None:
        """Its last available presence; None while it is not available (RFC 6121 §4)."""

    @property
    def priority(self) -> int | None:
        """What its presence says (RFC 6121 §4.7.2.3), -128 to 127; None while it is not available."""

    def send(self, stanza: Stanza) -> None:
        """Put a stanza on its stream."""

    def drained(self) -> Deferred[None]:
        """Fires when the client has read nearly all it was sent, or is gone; who sends much waits for it."""


class Account(Protocol):
    """A bare JID of ours, loaded: what its owner stored and who is online."""

    @property
    def jid(self) -> JID:
        """Its bare JID."""

    @property
    def exists(self) -> bool:
        """False for an address at our domain that nobody registered."""

    @property
    def anonymous(self) -> bool:
        """Whether it ends with its only session (XEP-0175): keep nothing of it."""

    @property
    def sessions(self) -> Mapping[str, Session]:
        """Its sessions by resourcepart, also those that are not available."""

    def trusts(self, contact: JID) -> bool:
        """Whether the contact may see this account's presence (subscription *from* or *both*)."""


class Domain(Protocol):
    """The domain that a module serves."""

    jid: JID
    clock: IReactorTime
    storage: interfaces.Storage

    def route(self, stanza: Stanza) -> Deferred[None] | None:
        """Send a stanza of the module's own on its way, to anybody anywhere."""

    def account(self, jid: JID) -> Awaitable[Account]:
        """The account of a bare JID at this domain, loaded; it may not exist (`Account.exists`)."""

    def bind(self, store: Keyed[Any] | Archive) -> object:
        """A declared store as this domain has it: a `Resident` or an `interfaces.Archive`."""

    def module(self, name: str) -> Module:
        """Another module of this domain, one that is named in ``requires``."""

    def fire(self, event: object) -> None:
        """Tell all listeners of this event's class."""

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


Answer = Element | tuple[Element, ...] | None


# --- events ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A resource was bound."""

    account: Account
    session: Session


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """A session has ended; ``status`` is what its last presence said, if it said goodbye."""

    account: Account
    session: Session
    status: str = ""


@dataclass(frozen=True, slots=True)
class BecameAvailable:
    """A session can be sent messages: it is available, with a priority that was negative or none before."""

    account: Account
    session: Session


@dataclass(frozen=True, slots=True)
class BecameUnavailable:
    """An available session said it is not, or was lost (RFC 6121 §4.5)."""

    account: Account
    session: Session
    status: str = ""


@dataclass(frozen=True, slots=True)
class AccountCreated:
    """An account was made."""

    jid: JID


@dataclass(frozen=True, slots=True)
class AccountDeleted:
    """An account and everything in its stores was removed."""

    jid: JID


# --- declarations ----------------------------------------------------------------------------------


class Target(enum.Enum):
    """At whose address a question is asked."""

    DOMAIN = "domain"
    ACCOUNT = "account"


class By(enum.Enum):
    """Who may ask a question."""

    OWNER = "the account itself"
    SUBSCRIBER = "who may see the account's presence"
    LOCAL = "any account of this domain"
    ANYONE = "anyone"


DOMAIN: Final = Target.DOMAIN
ACCOUNT: Final = Target.ACCOUNT
OWNER: Final = By.OWNER
SUBSCRIBER: Final = By.SUBSCRIBER
LOCAL: Final = By.LOCAL
ANYONE: Final = By.ANYONE


class Stage(enum.IntEnum):
    """Where on its road a stanza is when a filter sees it; the road runs in this order.

    SAID: a client of ours said it, it is stamped with its true sender and not yet routed:
    ``filter(stanza, session)``.  REFUSE: it is for an account of ours; ``filter(stanza, account)``.
    REWRITE: it is known to whom it goes; ``filter(stanza, account)``.  COPY: the same, to send
    copies to others; ``filter(stanza, account, recipients)``, with a list of sessions.  SENDING: it
    is about to be put on a session's stream; ``filter(stanza, session)``.
    """

    SAID = 1
    REFUSE = 2
    REWRITE = 3
    COPY = 4
    SENDING = 5


@dataclass(frozen=True, slots=True)
class AnswerDeclared:
    """A method that answers one question."""

    type: str
    payload: str
    to: Target
    by: By


@dataclass(frozen=True, slots=True)
class FilterDeclared:
    """A method that sees stanzas of these names; if children are named, only those that have one of them."""

    stage: Stage
    names: tuple[str, ...]
    children: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListenerDeclared:
    """A method that is told of an event."""

    event: type


@dataclass(frozen=True, slots=True)
class UndeliveredDeclared:
    """The method that takes messages for accounts with nobody to deliver them to."""


@dataclass(frozen=True, slots=True)
class VerbDeclared:
    """A method that operators can call."""

    help: str


Declared = AnswerDeclared | FilterDeclared | ListenerDeclared | UndeliveredDeclared | VerbDeclared


def _declare(declared: Declared) -> Callable[[F], F]:
    def mark(method: F) -> F:
        vars(method).setdefault("declared", []).append(declared)
        return method

    return mark


class answers:  # noqa: N801  # reads as a word: @answers.get(...)
    """Declare that a method answers an iq.

    :param to: at whose address it is asked, `DOMAIN` or `ACCOUNT`.
    :param by: who may ask; everybody else gets the answer of an unknown account,
        ``service-unavailable``.  A domain has no owner, so there ``by`` must be said.
    """

    @staticmethod
    def get(namespace: str, name: str, *, to: Target, by: By = OWNER) -> Callable[[F], F]:
        """Questions: ``<iq type='get'>``."""
        return _answer("get", namespace, name, to, by)

    @staticmethod
    def set(namespace: str, name: str, *, to: Target, by: By = OWNER) -> Callable[[F], F]:
        """Orders: ``<iq type='set'>``."""
        return _answer("set", namespace, name, to, by)


def _answer(type: str, namespace: str, name: str, to: Target, by: By) -> Callable[[F], F]:
    if to is DOMAIN and by in (OWNER, SUBSCRIBER):
        raise TypeError(
            f"answers.{type}({namespace!r}, {name!r}): a domain has no owner: say by=LOCAL or ANYONE"
        )
    return _declare(AnswerDeclared(type, f"{{{namespace}}}{name}", to, by))


class filters:  # noqa: N801  # reads as a word: @filters(Stage.REFUSE, "message")
    """Declare that a method sees stanzas on their road: it returns the one to go on with, or None to drop it.

    A filter is a plain function over what is already in memory; it never waits.  It may raise
    `StanzaError` before the stanza was delivered (stages SAID and REFUSE).

    :param names: ``message``, ``presence``, ``iq``.
    :param children: Clark names; a stanza without one of these children never pays for the filter.
    """

    def __init__(self, stage: Stage, *names: str, children: Iterable[str] = ()) -> None:
        self._declared = FilterDeclared(stage, names or ("message", "presence", "iq"), tuple(children))

    def __call__(self, method: F) -> F:
        return _declare(self._declared)(method)


def on(event: type) -> Callable[[F], F]:
    """Declare that a method, plain or ``async``, is told of every event of that class."""
    return _declare(ListenerDeclared(event))


def undelivered(method: F) -> F:
    """Declare the one method of a domain that takes messages that nobody was there to receive.

    ``method(stanza, account) -> Deferred[None] | None``: a Deferred fires when the message is stored
    durably.  A `StanzaError`, raised or in the Deferred, is the answer to the sender.  Only messages
    worth keeping come here (XEP-0160 §3).
    """
    return _declare(UndeliveredDeclared())(method)


def operator(help: str) -> Callable[[F], F]:
    """Declare a verb for operators: its typed arguments become those of ``jabberctl MODULE VERB``."""
    return _declare(VerbDeclared(help))


class Secret(str):
    """What an operator's verb takes but must never stand on a command line or in a log: a password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(...)"


class Refused(Exception):  # noqa: N818  # what the verb was
    """An operator's verb cannot do that; the text says why."""


class Keyed(Generic[T]):
    """Declare a store of values by owner and key; on the instance it is an `interfaces.Keyed`.

    :param of: a type that pydantic can read and write as JSON.
    :param resident: every account's values are in memory while the account is: filters may read
        them, with ``self.NAME.of(account)``.
    """

    def __init__(self, name: str, *, of: type[T], resident: bool = False) -> None:
        self.name = name
        self.type = of
        self.resident = resident

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    @overload
    def __get__(self, instance: None, owner: type) -> Keyed[T]: ...

    @overload
    def __get__(self, instance: Module, owner: type) -> Resident[T]: ...

    def __get__(self, instance: Module | None, owner: type) -> Keyed[T] | Resident[T]:
        if instance is None:
            return self
        return cast("Resident[T]", instance.stores[self.attribute])


class Resident(interfaces.Keyed[T], Protocol[T]):
    """A bound `Keyed` store."""

    def of(self, account: Account) -> Mapping[str, T]:
        """A resident store's values of a loaded account, by key; without waiting."""


class Archive:
    """Declare a store of stanzas in order; on the instance it is an `interfaces.Archive`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name

    @overload
    def __get__(self, instance: None, owner: type) -> Archive: ...

    @overload
    def __get__(self, instance: Module, owner: type) -> interfaces.Archive: ...

    def __get__(self, instance: Module | None, owner: type) -> Archive | interfaces.Archive:
        if instance is None:
            return self
        return cast("interfaces.Archive", instance.stores[self.attribute])


# --- the module ------------------------------------------------------------------------------------


class Module:
    """A feature of one domain.  Subclass it with ``xep=`` and ``version=`` of what it follows.

    :cvar requires: names of modules that are started before this one.
    :cvar features: what disco#info of the domain lists (XEP-0030).
    :cvar account_features: what disco#info of an account lists.
    :cvar stream_features: what the stream advertises after login (RFC 6120 §4.3.2).
    """

    xep: ClassVar[int | None] = None
    version: ClassVar[str] = ""
    requires: ClassVar[tuple[str, ...]] = ()
    features: ClassVar[tuple[str, ...]] = ()
    account_features: ClassVar[tuple[str, ...]] = ()
    stream_features: ClassVar[tuple[Element, ...]] = ()
    declarations: ClassVar[tuple[tuple[str, Declared], ...]] = ()

    class Config(Settings):
        """No settings."""

    def __init_subclass__(cls, xep: int | None = None, version: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.xep, cls.version = xep or cls.xep, version or cls.version
        cls.declarations = tuple(_collected(cls))

    def __init__(
        self, name: str, domain: Domain, config: Settings, stores: Mapping[str, object], log: Logger
    ) -> None:
        self.name = name
        self.domain = domain
        self.config = config
        self.stores = stores
        self.log = log

    def now(self) -> datetime:
        """The time of day, in UTC, as the domain's clock has it."""
        return datetime.fromtimestamp(self.domain.clock.seconds(), UTC)

    async def start(self) -> None:
        """Begin to serve: everything declared is bound, no stanza has come yet."""

    async def stop(self) -> None:
        """End what `start` began; what was declared is undone by itself."""


def _collected(cls: type[Module]) -> Iterable[tuple[str, Declared]]:
    """The declarations of a class and its bases; the same answer twice is a mistake, told at once."""
    answered: dict[tuple[str, str, Target], str] = {}
    for attribute in dir(cls):
        for declared in getattr(getattr(cls, attribute, None), "declared", ()):
            if isinstance(declared, AnswerDeclared):
                key = (declared.type, declared.payload, declared.to)
                if key in answered:
                    raise TypeError(f"{cls.__name__}: {answered[key]} and {attribute} both answer {key}")
                answered[key] = attribute
            yield attribute, declared


Listener = Callable[[Any], Awaitable[None] | None]
