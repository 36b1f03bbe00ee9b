"""What is on its way to another server, and whether it has a home."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from jabberd.interfaces import ArchiveRow
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Carrier", "Parcel"]


class Carrier(Protocol):
    """Whoever has taken a parcel: a link."""

    def settled(self, parcel: Parcel) -> None:
        """The parcel is nobody's burden any more."""


class Parcel:
    """A stanza that a link has taken.

    :ivar at: when, by the clock; ``stamp`` the same, or when it was first taken if it comes from the spool.
    :ivar size: bytes.
    :ivar home: fires when the stanza has a home: the next server's ``<a/>`` or, where that does not
        acknowledge, that it was written; a bounce; a row in the spool.  None for what nobody waits for.
    :ivar spooling: it is in the spool, or on its way there.
    :ivar row: its id there.
    :ivar over: it has another home than the spool.
    """

    __slots__ = ("at", "carrier", "home", "over", "row", "size", "spooling", "stamp", "stanza")

    def __init__(
        self, carrier: Carrier, stanza: Stanza, at: float, size: int, row: ArchiveRow | None = None
    ) -> None:
        self.carrier = carrier
        self.stanza = stanza
        self.at = at
        self.size = size
        self.stamp = row.stamp if row else None
        self.row = row.id if row else None
        self.home: Deferred[None] | None = Deferred() if stanza.name == "message" and row is None else None
        self.spooling = row is not None
        self.over = False

    @property
    def since(self) -> datetime:
        """When it was first taken."""
        return self.stamp or datetime.fromtimestamp(self.at, UTC)

    def settle(self, _: object = None) -> None:
        """It has a home that is not the spool."""
        if not self.over:
            self.over = True
            self.carrier.settled(self)
            self.housed()

    def housed(self) -> None:
        """It has a home."""
        home, self.home = self.home, None
        if home is not None:
            home.callback(None)
