"""Declarations on methods: what they answer, filter, listen to, take or offer."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Target(enum.Enum):
    """At whose address a question is asked."""

    DOMAIN = "domain"
    ACCOUNT = "account"
    HIDDEN = "hidden account"


class By(enum.Enum):
    """Who may ask a question."""

    OWNER = "the account itself"
    SUBSCRIBER = "who may see the account's presence"
    LOCAL = "any account of this domain"
    ANYONE = "anyone"


DOMAIN: Final = Target.DOMAIN
ACCOUNT: Final = Target.ACCOUNT
HIDDEN: Final = Target.HIDDEN
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
    is about to be put on a session's stream; ``filter(stanza, session)``.  TELLING, off this road: an
    account of ours tells others something by itself, such as its presence; ``filter(stanza, account)``.
    """

    SAID = 1
    REFUSE = 2
    REWRITE = 3
    COPY = 4
    SENDING = 5
    TELLING = 6


class Moment(enum.Enum):
    """When a client asks for something that is done in the same round trip."""

    LOGIN = "in <authenticate/>"
    BINDING = "in <bind/>"


LOGIN: Final = Moment.LOGIN
BINDING: Final = Moment.BINDING


class AnswerDeclared(Struct, frozen=True):
    """A method that answers one question."""

    type: str
    payload: str
    to: Target
    by: By


class NewcomerDeclared(Struct, frozen=True):
    """A method that answers one question of clients that have not logged in."""

    type: str
    payload: str


class FilterDeclared(Struct, frozen=True):
    """A method that sees stanzas of these names; if children are named, only those that have one of them."""

    stage: Stage
    names: tuple[str, ...]
    children: tuple[str, ...]


class ListenerDeclared(Struct, frozen=True):
    """A method that is told of an event."""

    event: type


class ServesDeclared(Struct, frozen=True):
    """The method that takes the stanzas for a domain without accounts."""


class DivertsDeclared(Struct, frozen=True):
    """A method that may have a question answered by somebody else than whose it is."""


class ToldDeclared(Struct, frozen=True):
    """A method that takes messages to the domain itself with that child."""

    payload: str


class UndeliveredDeclared(Struct, frozen=True):
    """The method that takes messages for accounts with nobody to deliver them to."""


class NonzaDeclared(Struct, frozen=True):
    """A method that takes a first-level element that is no stanza."""

    name: str
    bound: bool
    newcomers: bool


class InlineDeclared(Struct, frozen=True):
    """A method that does what a client asks for while it logs in or binds a resource."""

    name: str
    at: Moment


class BoundDeclared(Struct, frozen=True):
    """A method that adds to what a client learns when it has bound a resource."""


class PageDeclared(Struct, frozen=True):
    """A method that gives what is found at a path of the domain's pages, and below it."""

    path: str
    needed: bool


class VerbDeclared(Struct, frozen=True):
    """A method that operators can call."""

    help: str


Declared = (
    AnswerDeclared
    | NewcomerDeclared
    | FilterDeclared
    | ListenerDeclared
    | ServesDeclared
    | DivertsDeclared
    | ToldDeclared
    | UndeliveredDeclared
    | NonzaDeclared
    | InlineDeclared
    | BoundDeclared
    | PageDeclared
    | VerbDeclared
)


def _declare(declared: Declared) -> Callable[[F], F]:
    def mark(method: F) -> F:
        vars(method).setdefault("declared", []).append(declared)
        return method

    return mark


class answers:  # noqa: N801  # reads as a word: @answers.get(...)
    """Declare that a method answers an iq.

    :param to: at whose address it is asked, `DOMAIN` or `ACCOUNT`; `HIDDEN`: at that of an account that does
        not exist, and of one that the sender may not ask, so that nobody can tell the two apart.
    :param by: who may ask; everybody else gets what a `HIDDEN` account says, ``service-unavailable`` unless
        that was declared.  A domain has no owner, so there ``by`` must be said; of `HIDDEN` it means nothing.
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


class newcomers:  # noqa: N801  # reads as a word: @newcomers.get(...)
    """Declare that a method answers an iq of a client that has not logged in: ``method(newcomer)``.

    Nobody vouches for who it is, so there is no sender.  What it orders counts against what its address may
    do (``limits.registrations``).
    """

    @staticmethod
    def get(namespace: str, name: str) -> Callable[[F], F]:
        """Questions: ``<iq type='get'>``."""
        return _declare(NewcomerDeclared("get", f"{{{namespace}}}{name}"))

    @staticmethod
    def set(namespace: str, name: str) -> Callable[[F], F]:
        """Orders: ``<iq type='set'>``."""
        return _declare(NewcomerDeclared("set", f"{{{namespace}}}{name}"))


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


def serves(method: F) -> F:
    """Declare the one method of a domain without accounts that takes what is addressed to it.

    ``method(stanza) -> Awaitable[None] | None``: every stanza for the domain or an address at it, but for
    the questions to the domain itself.  A `StanzaError`, raised or later, is the answer to the sender.
    """
    return _declare(ServesDeclared())(method)


def diverts(method: F) -> F:
    """Declare that a method sees what the domain and its accounts are asked before it is answered.

    ``method(stanza, account)``, where ``account`` is None for the domain, returns the method that answers in
    the place of whose question it is, as those of `answers` do, whoever asks; None: it is theirs.  It is a
    plain function over what is in memory.
    """
    return _declare(DivertsDeclared())(method)


def told(namespace: str, name: str) -> Callable[[F], F]:
    """Declare that a method takes messages to the domain itself that have that child: ``method(stanza)``.

    It may be ``async``; a `StanzaError` is the answer to the sender.
    """
    return _declare(ToldDeclared(f"{{{namespace}}}{name}"))


def undelivered(method: F) -> F:
    """Declare the one method of a domain that takes messages that nobody was there to receive.

    ``method(stanza, account) -> Deferred[None] | None``: a Deferred fires when the message is stored
    durably.  A `StanzaError`, raised or in the Deferred, is the answer to the sender.  Only messages
    worth keeping come here (XEP-0160 §3).
    """
    return _declare(UndeliveredDeclared())(method)


def nonza(namespace: str, name: str, *, bound: bool = True, newcomers: bool = False) -> Callable[[F], F]:
    """Declare that a method takes a first-level element that is no stanza, from an authenticated client.

    ``method(session, element)``; it may return a Deferred, and what the client sends next waits for it.

    :param bound: False: it comes before a resource is bound.  ``method(username, outlet, element)``
        then returns the session that goes on with this stream, or None.
    :param newcomers: with ``bound`` False: it may come from a client that has not even logged in, too.  The
        username is empty then, the method can only refuse, and the client has failed once more.
    """
    return _declare(NonzaDeclared(f"{{{namespace}}}{name}", bound, newcomers))


def inline(namespace: str, name: str, *, at: Moment = BINDING) -> Callable[[F], F]:
    """Declare that a method does what a client asks for inside another request, to save a round trip.

    :param at: `BINDING`: it stands in the ``<bind/>`` of XEP-0386: ``method(session, element)``; the
        namespace is advertised, and what the method returns stands in ``<bound/>``.  `LOGIN`: it stands in
        the ``<authenticate/>`` of XEP-0388 itself: ``method(login, element)``; what it returns stands in
        ``<success/>``.

    The method returns an element or None, and may be ``async``.  Whatever is sent to the new session
    meanwhile, by the method or by others, comes behind the answer.
    """
    return _declare(InlineDeclared(f"{{{namespace}}}{name}", at))


def bound(method: F) -> F:
    """Declare that a method adds to what a client learns in ``<bound/>`` (XEP-0386), without being asked.

    ``method(session)`` returns an element or None, and may be ``async``; see `inline`.
    """
    return _declare(BoundDeclared())(method)


def page(path: str, *, needed: bool = True) -> Callable[[F], F]:
    """Declare that a method gives what stands at a path of the domain's pages, and below it, over HTTP.

    ``method(request)`` returns the `jabberd.web.Page` that answers it; what is left of the path is in
    ``request.postpath``.  See ``Domain.url``.

    :param path: as after the host's name, without the first slash: ``upload``, ``.well-known/host-meta``.
    :param needed: whether a configuration that serves no pages is a mistake, where the module is switched on.
    """
    return _declare(PageDeclared(path, needed))


def operator(help: str) -> Callable[[F], F]:
    """Declare a verb for operators: its typed arguments become those of ``jabberctl MODULE VERB``."""
    return _declare(VerbDeclared(help))


class Secret(str):
    """What an operator's verb takes but must never stand on a command line or in a log: a password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(...)"


class Refused(Exception):  # noqa: N818  # what the verb was
    """An operator's verb cannot do that; the text says why.

    :ivar condition: what a client is told that asked for the same (RFC 6120 §8.3.3).
    """

    def __init__(self, said: str, condition: str = "not-acceptable") -> None:
        super().__init__(said)
        self.condition = condition


class Live:
    """What an operator's verb answers that goes on: row by row, until it is over or nobody listens.

    :param begin: called with what takes each row; returns what ends it.  Nothing is done before
        somebody listens.
    :param rows: after so many it is over; ``seconds``: or after so much time.
    """

    def __init__(
        self,
        clock: IReactorTime,
        begin: Callable[[Callable[[object], None]], Callable[[], None]],
        *,
        rows: int,
        seconds: float,
    ) -> None:
        self._clock = clock
        self._begin = begin
        self._rows = rows
        self._seconds = seconds

    def listen(self, tell: Callable[[object], None]) -> Deferred[None]:
        """Have each row told.  Fires when it is over; whoever cancels it ends it."""
        over: Deferred[None] = Deferred()
        left = self._rows

        def told(row: object) -> None:
            nonlocal left
            if left:
                left -= 1
                tell(row)
                if not left:
                    over.callback(None)

        end = self._begin(told)
        timer = self._clock.callLater(self._seconds, over.callback, None)

        def ended(outcome: T) -> T:
            nonlocal left
            left = 0
            end()
            if timer.active():
                timer.cancel()
            return outcome

        return over.addBoth(ended)
