"""What was sent to a client that acknowledges, and whether it has a home."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from jabberd.api import Stanza
    from jabberd.interfaces import ArchiveRow
    from jabberd.modules.sm import StreamManagement

__all__ = ["Sent"]


class Sent:
    """A stanza on its way to a client that acknowledges.

    :ivar row: its id in the spool, while it is there.
    :ivar home: fires when the message has a home: the client's ``<a/>``, the spool, or wherever it
        went instead.  None for what nobody waits for.
    :ivar failing: since when, by the clock, no other home can be found for it; None before that.
    """

    __slots__ = ("_module", "_over", "at", "failing", "home", "row", "spooling", "stamp", "stanza")

    def __init__(self, module: StreamManagement, stanza: Stanza, row: ArchiveRow | None = None) -> None:
        self._module = module
        self.stanza = stanza
        self.at = module.domain.clock.seconds()
        self.stamp = row.stamp if row else datetime.fromtimestamp(self.at, UTC)
        self.home: Deferred[None] | None = Deferred() if stanza.name == "message" and not row else None
        self.spooling = False
        self.failing: float | None = None
        self.row = row.id if row else None
        self._over = False

    def spooled(self, row: int) -> None:
        """It is in the spool: if need be the next process delivers it."""
        self.row = row
        self._fire()
        if self._over:
            self._module.unspool([row])

    def settled(self, _: None = None) -> None:
        """It has another home, and is needed in the spool no more."""
        self._fire()
        self.dropped()

    def dropped(self) -> None:
        """It is not needed in the spool any more; others see to its home."""
        self._over = True
        if self.row is not None:
            self._module.unspool([self.row])

    def _fire(self) -> None:
        home, self.home = self.home, None
        if home is not None:
            home.callback(None)
