"""All the seams between the parts of jabberd, on one page; that of storage is `jabberd.stores`.

Who meets whom: a *stream* (``streams/``) sees `SessionHost`, `Session` and `Links`; a *session*
(``jsm/``) sees `Outlet`; the *router* sees `Route`; modules see what `jabberd.api` offers.  Nobody
knows the concrete classes behind these but `jabberd.service`, which puts them together.

**Home.**  Whatever hands a stanza on returns ``Deferred[None] | None``: None when the stanza has a
*home* already (it was sent, stored or answered), else a Deferred that fires with None when it has.
It never fails: an error was told to the stanza's sender by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from jabberd.stores import (
    Archive,
    ArchiveRow,
    Entry,
    Keyed,
    Ordered,
    Page,
    Span,
    Storage,
    StorageError,
    neighbours,
)
from jabberd.xmpp.identity import Credentials, Identity, LoginPolicy, Security, UserAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from jabberd.xmpp.element import Element, Sealed
    from jabberd.xmpp.errors import StreamError
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.parser import Nonza
    from jabberd.xmpp.sasl import Mechanism
    from jabberd.xmpp.stanza import Stanza

__all__ = [
    "Archive",
    "ArchiveRow",
    "Credentials",
    "Entry",
    "Identity",
    "Keeper",
    "Keyed",
    "Login",
    "LoginPolicy",
    "Ordered",
    "Outlet",
    "Page",
    "Route",
    "Security",
    "Session",
    "SessionHost",
    "Span",
    "Storage",
    "StorageError",
    "UserAgent",
    "neighbours",
]


class Route(Protocol):
    """Whoever takes the stanzas for a domain: a domain service, a component, or federation."""

    def deliver(self, stanza: Stanza) -> Deferred[None] | None:
        """Give the stanza to the one it is addressed to.  See *Home*; never raises for a bad stanza."""


class Outlet(Protocol):
    """A session's way out: the stream that its client reads."""

    @property
    def security(self) -> Security: ...

    @property
    def address(self) -> str:
        """The peer's IP address, for operators."""

    @property
    def waits(self) -> bool:
        """Whether the stream is lost and the client may come back with another one (XEP-0198)."""

    @property
    def queued(self) -> Sequence[Stanza]:
        """What has not left for the client or, where it acknowledges, was not acknowledged."""

    def send(self, stanza: Stanza) -> Deferred[None] | None:
        """Put the stanza on the stream.  Order is kept; what is sent in one turn leaves as one write.

        See *Home*: where the client does not acknowledge, being written is all that can be promised.
        """

    def say(self, element: Element | Sealed) -> None:
        """Put another first-level element on the stream."""

    def drained(self) -> Deferred[None]:
        """Fires when the client has read nearly all it was sent, or is gone; who sends much waits for it."""

    def close(self, error: StreamError | None = None) -> None:
        """Say why (if there is a why), end the stream and then the connection.

        The session is `Session.lost` when this returns.
        """


class Session(Protocol):
    """A bound resource, as its stream sees it."""

    @property
    def jid(self) -> JID:
        """Its full JID."""

    def receive(self, stanza: Stanza) -> Deferred[None] | None:
        """The client said this.  See *Home*."""

    def send(self, stanza: Stanza) -> Deferred[None] | None:
        """Put a stanza on the client's stream.  See *Home*."""

    def opened(self) -> None:
        """The client knows its JID; nothing is sent to it before."""

    def nonza(self, nonza: Nonza) -> Deferred[None] | None:
        """The client said something that is no stanza; what it says next waits for the Deferred.

        :raises StreamError: ``unsupported-stanza-type`` if no module knows it.
        """

    def lost(
        self, stream: Outlet, unsent: Sequence[tuple[Stanza, float]] = (), *, goodbye: bool = False
    ) -> None:
        """That stream is gone; these stanzas never left for its client.

        :param unsent: each with the time at which it was to be sent.
        :param goodbye: the client ended it by itself, and with it the session.
        """


class Keeper(Protocol):
    """What may let a session outlive its stream."""

    def received(self, home: Deferred[None] | None) -> None:
        """The client's stanza was received; see *Home*."""

    def lost(self, stream: Outlet) -> bool:
        """That stream is gone: whether the session goes on without it."""

    def keep(self, stanza: Stanza, since: float) -> None:
        """Send, when the client is back, what was to be sent then (by the clock) and did not leave."""

    def ended(self) -> None:
        """The session is over."""


class Login(Protocol):
    """A client that logs in by XEP-0388, or has just done so: it has not been told yet.

    Nothing is sent to it meanwhile.
    """

    client: Identity  #: once it has proved who it is
    agent: UserAgent
    credentials: Credentials
    request: Element  #: its ``<authenticate/>``, whose other children are what it asks for
    session: Session | None  #: what goes on with this stream; None as long as there is none
    outlet: Outlet

    async def open(self, resource: str) -> Session:
        """Bind a resource: `session` from then on.

        :raises StanzaError: see `SessionHost.open`.
        """


class SessionHost(Protocol):
    """A domain that clients log in to, as a c2s stream sees it."""

    offers: dict[Any, bytes]  #: what streams wrote of its features; emptied when its modules change

    @property
    def jid(self) -> JID:
        """The domain."""

    @property
    def credentials(self) -> Credentials:
        """Whom to ask about passwords."""

    @property
    def policy(self) -> LoginPolicy:
        """How clients get in."""

    @property
    def stream_features(self) -> Sequence[Element]:
        """What the stream advertises after login beside resource binding."""

    def newcomer_features(self, security: Security) -> Sequence[Element]:
        """What the stream advertises before login beside TLS and SASL."""

    def newcomer(self, stanza: Stanza) -> Callable[[Outlet], Deferred[Stanza]] | None:
        """Who answers that iq of a client that has not logged in, told of its stream; None: nobody."""

    async def unbound(self, username: str, outlet: Outlet, nonza: Nonza) -> Session | None:
        """A client said what is no stanza before it bound a resource (no username: before it logged in).

        :returns: the session that goes on with this stream, if that is what it asked for.
        :raises StreamError: ``unsupported-stanza-type`` if no module knows it.
        """

    async def admits(self, username: str) -> bool:
        """Whether there is such an account, and one can log in to it."""

    async def open(self, client: Identity, resource: str, outlet: Outlet) -> Session:
        """Bind a resource (RFC 6120 §7) for an authenticated client; ``resource`` empty: make one up.

        :raises StanzaError: ``bad-request``, ``conflict``, ``resource-constraint`` or ``not-allowed``.
        """

    def inline(self, security: Security) -> Sequence[Element]:
        """What a client may ask for while it logs in: the children of ``<inline/>`` (XEP-0388 §2.1)."""

    def mechanism(self, name: str, login: Login) -> Mechanism | None:
        """A mechanism of the domain's own that the client asks for; None if there is none of that name.

        :raises SASLFailure: it is not for this client.
        """

    async def logged_in(self, login: Login) -> Sequence[Element]:
        """Do what a client asked for while it logged in.

        :returns: what ``<success/>`` holds of that (XEP-0388 §2.6.1).
        """
