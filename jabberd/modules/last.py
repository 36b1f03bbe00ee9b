"""XEP-0012: when somebody was last here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  # the types of stored values are read
from typing import Final

from jabberd.api import (
    ACCOUNT,
    ANYONE,
    DOMAIN,
    IQ,
    JID,
    SUBSCRIBER,
    E,
    Element,
    Keyed,
    Module,
    Refused,
    SessionClosed,
    SessionOpened,
    StanzaError,
    answers,
    on,
    operator,
)
from jabberd.xmpp.timestamp import to_stamp

NS: Final = "jabber:iq:last"


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
        departure = await self.departures.get(request.account.jid)
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
        arrival = await self.arrivals.get(account.jid)
        departure = await self.departures.get(account.jid)
        return {
            "jid": account.jid,
            "online": bool(account.sessions),
            "login": arrival and to_stamp(arrival.at),
            "logout": departure and to_stamp(departure.at),
            "status": departure and departure.status,
        }

    @on(SessionOpened)
    async def greet(self, event: SessionOpened) -> None:
        """Write down when somebody logged in."""
        if not event.account.anonymous:
            await self.arrivals.put(event.account.jid, "", Arrival(at=self.now()))

    @on(SessionClosed)
    async def remember(self, event: SessionClosed) -> None:
        """Write down when the account's last session ended."""
        if not event.account.sessions and not event.account.anonymous:
            await self.departures.put(event.account.jid, "", Departure(at=self.now(), status=event.status))

    def _seconds_since(self, moment: datetime, status: str = "") -> Element:
        seconds = max(0, int((self.now() - moment).total_seconds()))
        return E(NS, "query", {"seconds": str(seconds)}, status)
