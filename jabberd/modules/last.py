"""XEP-0012: when somebody was last here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  # the types of stored values are read
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from jabberd.api import (
    ACCOUNT,
    ANYONE,
    DOMAIN,
    IQ,
    JID,
    SUBSCRIBER,
    AccountDeleted,
    E,
    Element,
    Keyed,
    Module,
    Refused,
    SessionClosed,
    SessionOpened,
    StanzaError,
    StorageError,
    answers,
    on,
    operator,
)
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

NS: Final = "jabber:iq:last"

#: Seconds until it is written who came and left; that much is lost if the machine fails.
_WRITTEN_AFTER: Final = 5.0


@dataclass(frozen=True)
class Departure:
    """When an account's last session ended, and the status with which it said goodbye."""

    at: datetime
    status: str = ""


@dataclass(frozen=True)
class Arrival:
    """When an account's last session was opened."""

    at: datetime


class Last(Module, xep=12, version="2.0"):
    """Tells when an account was last connected, and since when the server runs.

    Who may not see the account's presence gets what an account that does not exist would answer:
    ``service-unavailable`` and not the ``forbidden`` of §3, so that nobody can find out which
    accounts there are (RFC 6120 §13.11).
    """

    features = (NS,)
    account_features = (NS,)
    noun = "accounts"

    arrivals = Keyed("arrival", of=Arrival)
    departures = Keyed("last", of=Departure)

    async def start(self) -> None:
        """Count from now."""
        self._started = self.now()
        self._noted: dict[tuple[Any, JID], Any] = {}  # by store and account, what is to be written
        self._writing: IDelayedCall | None = None

    async def stop(self) -> None:
        """Write what is left."""
        if self._writing is not None:
            self._writing.cancel()
            await self._write()

    @answers.get(NS, "query", to=DOMAIN, by=ANYONE)
    def uptime(self, request: IQ) -> Element:
        """The seconds since the server was started (§5)."""
        return self._seconds_since(self._started)

    @answers.get(NS, "query", to=ACCOUNT, by=SUBSCRIBER)
    async def last_activity(self, request: IQ) -> Element:
        """The seconds since the account's last session ended, 0 while it has one (§3).

        :raises StanzaError: ``item-not-found``: it never had a session.
        """
        assert request.account is not None
        if request.account.sessions:
            return E(NS, "query", {"seconds": "0"})
        departure = await self._found(self.departures, request.account.jid)
        if departure is None:
            raise StanzaError("item-not-found")
        return self._seconds_since(departure.at, departure.status)

    @operator("show when an account last logged in and when it left")
    async def last(self, jid: JID) -> dict[str, object]:
        """Its last login, and the end of its last session with the status that it left.

        :raises Refused: there is no such account.
        """
        account = await self.domain.account(jid)
        if not account.exists:
            raise Refused(f"there is no account {jid}")
        arrival = await self._found(self.arrivals, account.jid)
        departure = await self._found(self.departures, account.jid)
        return {
            "jid": account.jid,
            "online": bool(account.sessions),
            "login": arrival and to_stamp(arrival.at),
            "logout": departure and to_stamp(departure.at),
            "status": departure and departure.status,
        }

    @on(SessionOpened)
    def greet(self, event: SessionOpened) -> None:
        """Note when somebody logged in."""
        if not event.account.anonymous:
            self._note(self.arrivals, event.account.jid, Arrival(at=self.now()))

    @on(SessionClosed)
    def remember(self, event: SessionClosed) -> None:
        """Note when the account's last session ended; of one that is deleted nothing is kept."""
        account = event.account
        if not account.sessions and not account.anonymous and account.exists:
            self._note(self.departures, account.jid, Departure(at=self.now(), status=event.status))

    @on(AccountDeleted)
    def forget(self, event: AccountDeleted) -> None:
        """Nothing more is written of it."""
        for store in (self.arrivals, self.departures):
            self._noted.pop((store, event.jid), None)

    # -- a transaction for each login would be dearer than all the rest of it -------------------------

    def _note(self, store: Any, account: JID, what: Arrival | Departure) -> None:
        self._noted[store, account] = what
        if self._writing is None:
            self._writing = self.domain.clock.callLater(
                _WRITTEN_AFTER, lambda: Deferred.fromCoroutine(self._write())
            )

    async def _write(self) -> None:
        """Write all of it together."""
        self._writing = None
        under_way = [(key, what, key[0].put(key[1], "", what)) for key, what in self._noted.items()]
        for key, what, written in under_way:
            try:
                await written
            except StorageError as error:
                self.log.warn("who came and left was not written: {error}", error=error)
            if self._noted.get(key) is what:
                del self._noted[key]

    async def _found(self, store: Any, account: JID) -> Any:
        noted = self._noted.get((store, account))
        return await store.get(account) if noted is None else noted

    def _seconds_since(self, moment: datetime, status: str = "") -> Element:
        seconds = max(0, int((self.now() - moment).total_seconds()))
        return E(NS, "query", {"seconds": str(seconds)}, status)
