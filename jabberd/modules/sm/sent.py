"""What was sent to a client that acknowledges, and whether it has a home."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from jabberd.api import Stanza
    from jabberd.modules.sm import StreamManagement

__all__ = ["Row", "Sent"]


class Row:
    """A row of the spool: what several sessions of an account were sent waits there once.

    :ivar stanza: what all of them were sent.
    :ivar id: None until it is durable.
    :ivar sharers: those for whom it is needed.
    """

    __slots__ = ("id", "sharers", "stanza")

    def __init__(self, stanza: Stanza, id: int | None = None) -> None:
        self.stanza = stanza
        self.id = id
        self.sharers: list[Sent] = []


class Sent:
    """A stanza on its way to a client that acknowledges.

    :ivar row: of the spool, once it has one.
    :ivar home: fires when the message has a home: the client's ``<a/>``, the spool, or wherever it
        went instead.  None for what nobody waits for.
    :ivar failing: since when, by the clock, no other home can be found for it; None before that.
    :ivar spooling: it need not be looked at any more whether it is to be spooled.
    """

    __slots__ = ("_module", "_stamp", "at", "failing", "home", "row", "spooling", "stanza")

    def __init__(
        self, module: StreamManagement, stanza: Stanza, row: Row | None = None, stamp: datetime | None = None
    ) -> None:
        self._module = module
        self.stanza = stanza
        self.at = module.domain.clock.seconds()
        self._stamp = stamp
        self.home: Deferred[None] | None = Deferred() if stanza.name == "message" and not row else None
        self.spooling = False
        self.failing: float | None = None
        self.row: Row | None = None
        if row is not None:
            self.share(row)

    @property
    def stamp(self) -> datetime:
        """When it was sent first, in UTC; nearly always nobody asks."""
        return self._stamp or datetime.fromtimestamp(self.at, UTC)

    @property
    def is_spooled(self) -> bool:
        """Whether the next process would deliver it."""
        return self.row is not None and self.row.id is not None

    def share(self, row: Row) -> None:
        """It waits in that row, too."""
        self.row = row
        row.sharers.append(self)
        if row.id is not None:
            self.spooled()

    def spooled(self) -> None:
        """Its row is durable: if need be the next process delivers it."""
        home, self.home = self.home, None
        if home is not None:
            home.callback(None)

    def settled(self, _: None = None) -> None:
        """It has another home, and is needed in the spool no more."""
        self.spooled()
        self.dropped()

    def dropped(self) -> None:
        """It is not needed in the spool any more; others see to its home."""
        row, self.row = self.row, None
        if row is not None:
            row.sharers.remove(self)
            self._module.left(row)
