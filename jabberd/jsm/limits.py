"""What one domain gives its accounts, and whom that holds back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jabberd.jsm import roster
from jabberd.rates import HeldBack, Meter, Rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.jsm.manager import SessionManager

__all__ = ["Limits", "held_back", "meters"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one domain gives its accounts.

    :ivar sessions: resources of one account at a time.
    :ivar directed: addresses that one session may send directed presence to.
    :ivar cached: accounts kept in memory beside those that are online.
    :ivar presence: how often one account may tell its contacts of another presence.
    :ivar subscriptions: requests that one account may send.
    :ivar server_subscriptions: requests that may come from all accounts of one other domain.
    """

    sessions: int = 10
    directed: int = 1000
    cached: int = 10_000
    roster: roster.Limits = field(default_factory=roster.Limits)
    presence: Rate = Rate(60, 60)
    subscriptions: Rate = Rate(200, 3600)
    server_subscriptions: Rate = Rate(1000, 3600)


def meters(manager: SessionManager) -> tuple[Meter, ...]:
    """What counts over time."""
    return manager.presence.changes, *manager.contacts.meters


def held_back(manager: SessionManager) -> Iterator[HeldBack]:
    """Who is held back now; of accounts only those that are in memory."""
    now, limits = manager.clock.seconds(), manager.limits
    for meter in meters(manager):
        yield from meter.held(now)
    for account in manager.accounts:
        if len(account.sessions) >= limits.sessions:
            yield HeldBack("resources", account.jid, f"{len(account.sessions)} of {limits.sessions}")
        contacts = len(roster.listed(account.roster))
        if contacts >= limits.roster.items:
            yield HeldBack("roster", account.jid, f"{contacts} of {limits.roster.items}")
