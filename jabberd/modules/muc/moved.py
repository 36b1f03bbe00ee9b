"""Where rooms are now that were destroyed for another one: who comes later is sent there (XEP-0045 §10.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from jabberd.api import StanzaError
from jabberd.modules.muc.privileges import Affiliation

if TYPE_CHECKING:
    from jabberd.api import JID
    from jabberd.interfaces import Ordered
    from jabberd.modules.muc.room import Room
    from jabberd.modules.muc.service import Service

__all__ = ["Moved", "Redirects"]

_LIST: Final = "rooms"
KEPT: Final = 31 * 86400.0  # seconds; then anybody may use the address again


@dataclass(frozen=True)
class Moved:
    """Where a room is now.

    :ivar owners: bare JIDs, who may make a room of that address again at once.
    :ivar at: when it was destroyed, in seconds since 1970.
    """

    venue: str
    owners: tuple[str, ...]
    at: float


class Redirects:
    """The rooms of a service that are elsewhere now, and not for long: so many as there may be rooms."""

    def __init__(self, service: Service, kept: Ordered[Moved]) -> None:
        self._service = service
        self._kept = kept

    async def remember(self, room: Room, venue: JID) -> None:
        """A room is destroyed for another one; if not everybody may come in, only its occupants learn it."""
        if room.locked or not room.options.is_open or venue.bare == room.jid:
            return
        owners = tuple(jid for jid, _ in room.affiliated(Affiliation.owner))
        first = await self._kept.page(self._service.jid, _LIST, limit=1)
        full = first is not None and first.count >= self._service.limits.rooms
        gone = [each.key for each in first.entries] if full and first is not None else []
        moved = Moved(venue, owners, self._service.now().timestamp())
        await self._kept.change(self._service.jid, _LIST, {room.jid: moved}, gone)

    async def check(self, jid: JID, who: JID) -> None:
        """See that somebody may make a room of that address.

        :raises StanzaError: ``gone``, with a URI: there was one.
        """
        found = await self._kept.get(self._service.jid, _LIST, [jid])
        if not found:
            return
        moved = found[0].value
        is_over = self._service.now().timestamp() - moved.at > KEPT
        if is_over or who in moved.owners or who in self._service.admins():
            return
        raise StanzaError("gone", uri=f"xmpp:{quote(moved.venue, safe='@/')}?join")

    async def forget(self, jid: JID) -> None:
        """There is a room of that address."""
        await self._kept.change(self._service.jid, _LIST, {}, [jid])
