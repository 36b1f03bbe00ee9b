"""A session: one bound resource, from its client's first stanza to its last."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.internet.defer import succeed
from twisted.logger import Logger

from jabberd.api import SessionOpened, Stage
from jabberd.interfaces import Identity, Security
from jabberd.xmpp.errors import StanzaError, StreamError
from jabberd.xmpp.stanza import check_iq

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from jabberd.interfaces import Keeper, Outlet
    from jabberd.jsm.account import Account
    from jabberd.jsm.manager import SessionManager
    from jabberd.xmpp.element import Element, Sealed
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.parser import Nonza
    from jabberd.xmpp.stanza import Stanza

log = Logger()


class Session:
    """A client of ours, as the domain sees it.

    :ivar client: who its client is, and what it says of itself.
    :ivar since: when it was opened, by the clock.
    :ivar presence: its last available presence; None while it is not available (RFC 6121 §4).
    :ivar priority: of that presence; None while it is not available.
    :ivar reachable: since when (by the clock) its priority is not negative; None while it is.
    :ivar reached: from when to when it was so before.
    :ivar outlet: its stream, or what stands for it.
    :ivar keeper: what may let it outlive its stream.
    :ivar interested: whether it asked for the roster and so gets roster pushes (RFC 6121 §2.1.6).
    :ivar goodbye: the status with which it became unavailable last.
    :ivar directed: to whom it sent presence directly and who must learn that it is gone (§4.6).
    """

    __slots__ = (
        "account",
        "client",
        "closed",
        "closing",
        "directed",
        "goodbye",
        "interested",
        "jid",
        "keeper",
        "manager",
        "outlet",
        "presence",
        "priority",
        "reachable",
        "reached",
        "since",
    )

    def __init__(
        self, manager: SessionManager, account: Account, jid: JID, outlet: Outlet, client: Identity
    ) -> None:
        self.manager = manager
        self.client = client
        self.account = account
        self.jid = jid
        self.outlet = outlet
        self.since = manager.clock.seconds()
        self.keeper: Keeper | None = None
        self.presence: Stanza | None = None
        self.priority: int | None = None
        self.reachable: float | None = None
        self.reached: tuple[float, float] | None = None
        self.interested = False
        self.goodbye = ""
        self.directed: set[JID] = set()
        self.closing = False  # nothing keeps it now
        self.closed = False

    # -- from the client ----------------------------------------------------------------------------

    def receive(self, stanza: Stanza) -> Deferred[None] | None:
        """See `jabberd.interfaces.Session`."""
        home = self._caught(stanza)
        if self.keeper is not None:
            self.keeper.received(home)
        return home

    def _caught(self, stanza: Stanza) -> Deferred[None] | None:
        """One of the four places where errors are caught."""
        try:
            return self.say(stanza)
        except StanzaError as error:
            self._refuse(stanza, error)
        except Exception:  # noqa: BLE001  # a bug of ours must not cost the client its stream
            log.failure("a {name} of {jid!r} failed", name=stanza.name, jid=self.jid, stream=self.outlet)
            self._refuse(stanza, StanzaError("internal-server-error"))
        return None

    def say(self, said: Stanza) -> Deferred[None] | None:
        """Send on its way what the client says; see *Home* in `jabberd.interfaces`.

        :raises StanzaError: it may not, or that cannot be.
        """
        manager = self.manager
        name = said.name
        to = said.to
        if to is None and name != "presence":
            to = self.account.jid  # RFC 6120 §10.3: on behalf of the account
        if name == "iq":
            check_iq(said)
        stanza = said.stamped(self.jid, to)
        if manager.watch is not None:
            manager.watch(self.account.jid, "said", stanza, f"by {self.jid.resourcepart}")
        filters = manager.registry.filters.get((Stage.SAID, name))
        if filters is not None:
            passed = filters.run(stanza, self)
            if passed is None:
                return None
            stanza = passed
        if to is not None and self.account.anonymous and not manager.is_local(to):
            raise StanzaError("not-allowed", "anonymous sessions stay on this server")  # XEP-0175 §3
        if name == "presence":
            return manager.presence.said(self, stanza)
        return manager.held.settled(manager.route(stanza))

    def _refuse(self, stanza: Stanza, error: StanzaError) -> None:
        """Tell the client; never for an answer (RFC 6120 §8.3.1)."""
        if stanza.type in ("error", "result"):
            return
        refusal = stanza.error(error)
        to = None
        with suppress(StanzaError):  # what is no address cannot say so itself
            to = stanza.to
        if to is None:
            refusal.attrs["from"] = self.account.jid
        refusal.attrs["to"] = self.jid
        if self.manager.watch is not None:
            self.manager.watch(self.account.jid, "refused", stanza, error.condition)
        self.outlet.send(refusal)

    def opened(self) -> None:
        """See `jabberd.interfaces.Session`."""
        self.manager.fire(SessionOpened(self.account, self))

    def nonza(self, nonza: Nonza) -> Deferred[None] | None:
        """See `jabberd.interfaces.Session`."""
        take = self.manager.registry.nonzas.get(nonza.name)
        if take is None:
            raise StreamError("unsupported-stanza-type")
        return take(self, nonza.element())

    def lost(
        self, stream: Outlet, unsent: Sequence[tuple[Stanza, float]] = (), *, goodbye: bool = False
    ) -> None:
        """See `jabberd.interfaces.Session`."""
        if self.keeper is None:
            self._end(unsent)
            return
        known = {id(stanza) for stanza in self.outlet.queued} if unsent else set()
        early = [
            each for each in unsent if id(each[0]) not in known
        ]  # it was to be sent before there was one
        if goodbye or self.closing or not self.keeper.lost(stream):
            self._end(early)
        else:
            for stanza, since in early:
                self.keeper.keep(stanza, since)

    def _end(self, unsent: Sequence[tuple[Stanza, float]] = ()) -> None:
        if not self.closed:
            self.closed = True
            self.manager.closed(self, unsent)

    def unreachable(self) -> None:
        """Its priority is negative from now on, or it is unavailable."""
        if self.reachable is not None:
            self.reached = self.reachable, self.manager.clock.seconds()
            self.reachable = None

    def was_reachable(self, at: float) -> bool:
        """Whether its priority was not negative then; False as well where that is long ago."""
        if self.reachable is not None and self.reachable <= at:
            return True
        return self.reached is not None and self.reached[0] <= at < self.reached[1]

    # -- to the client ------------------------------------------------------------------------------

    def send(self, stanza: Stanza) -> Deferred[None] | None:
        """Put a stanza on the client's stream; see *Home* in `jabberd.interfaces`."""
        filters = self.manager.registry.filters.get((Stage.SENDING, stanza.name))
        if filters is not None:
            passed = filters.run(stanza, self)
            if passed is None:
                return None
            stanza = passed
        if self.manager.watch is not None:
            self.manager.watch(self.account.jid, "sent", stanza, f"to {self.jid.resourcepart}")
        return self.outlet.send(stanza)

    def drained(self) -> Deferred[None]:
        """See `jabberd.interfaces.Outlet`."""
        return self.outlet.drained()

    def close(self, error: StreamError | None = None) -> None:
        """End the session, and its stream if it has one, which tells what was not sent."""
        self.closing = True
        self.outlet.close(error)
        self._end()


class _Nowhere:
    """The outlet of somebody who speaks for an account and is none of its clients."""

    security = Security()
    address = ""
    waits = False
    queued: Sequence[Stanza] = ()

    def send(self, stanza: Stanza) -> None:
        """It is for the account's clients."""

    def say(self, element: Element | Sealed) -> None:
        """The same."""

    def drained(self) -> Deferred[None]:
        """Nothing waits."""
        return succeed(None)

    def close(self, error: StreamError | None = None) -> None:
        """It is not open."""


def spoken(manager: SessionManager, account: Account, stanza: Stanza) -> Deferred[None] | None:
    """See `jabberd.api.Domain.say`."""
    speaker = Session(manager, account, account.jid, _Nowhere(), Identity(account.jid.localpart))
    return speaker.say(stanza)
