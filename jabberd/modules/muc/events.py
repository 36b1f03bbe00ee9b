"""What happens in rooms: modules beside this one listen with ``@on`` (see `jabberd.modules.muc`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jabberd.api import JID, Stanza
    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.options import Options
    from jabberd.modules.muc.privileges import Affiliation
    from jabberd.modules.muc.room import Room

__all__ = [
    "AffiliationChanged",
    "OccupantJoined",
    "OccupantLeft",
    "RoomConfigured",
    "RoomDestroyed",
    "RoomMessage",
]


@dataclass(frozen=True, slots=True)
class OccupantJoined:
    """Somebody has entered, and has been told all that a newcomer is told."""

    room: Room
    occupant: Occupant


@dataclass(frozen=True, slots=True)
class OccupantLeft:
    """An occupant is out, with all its sessions."""

    room: Room
    occupant: Occupant


@dataclass(frozen=True, slots=True)
class RoomMessage:
    """Something was said to all.

    :ivar id: its id in the room's archive.
    :ivar stanza: as it was reflected, without ``to``.
    :ivar kept: whether it is in the archive, or on its way there.
    """

    room: Room
    occupant: Occupant
    id: int
    stanza: Stanza
    kept: bool


@dataclass(frozen=True, slots=True)
class AffiliationChanged:
    """Somebody belongs to a room in another way; it is stored.

    :ivar jid: a bare JID, or a domain.
    """

    room: Room
    jid: JID
    before: Affiliation
    after: Affiliation


@dataclass(frozen=True, slots=True)
class RoomConfigured:
    """A room has other options; they are stored."""

    room: Room
    before: Options


@dataclass(frozen=True, slots=True)
class RoomDestroyed:
    """A room is gone, with all that was kept of it."""

    jid: JID
