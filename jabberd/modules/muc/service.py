"""What all rooms of one service have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jabberd.modules.muc.allowance import Allowances

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Container, Iterable
    from datetime import datetime

    from twisted.python.failure import Failure

    from jabberd.api import JID, Stanza
    from jabberd.archive.uids import Uids
    from jabberd.interfaces import Archive
    from jabberd.modules.muc.doorway import Doorway
    from jabberd.modules.muc.moved import Redirects
    from jabberd.modules.muc.options import Options
    from jabberd.modules.muc.seam import Seam
    from jabberd.modules.muc.store import Rooms

__all__ = ["Limits", "Service"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much there may be.

    :ivar rooms: of the service, ``rooms_each``: of one creator.
    :ivar occupants: sessions in one room.
    :ivar affiliations: of one room.
    :ivar history: messages that a newcomer gets.
    :ivar page: rows that answer one question to an archive, or rooms in one list.
    """

    rooms: int
    rooms_each: int
    occupants: int
    affiliations: int
    history: int
    page: int


@dataclass(slots=True)
class Service:
    """The service.

    :ivar jid: its domain.
    :ivar uids: what messages in the rooms' archives are known by.
    :ivar met: how often each of the limits has held somebody back.
    :ivar usual: what a new room is like.
    :ivar admins: who owns all rooms.
    :ivar may_create: whether somebody may make rooms.
    :ivar logs: where logs can be read: ``{room}`` stands for the room's localpart; empty: nowhere.
    :ivar not_archived: is told when a message could not be archived.
    :ivar invites: how many others an account may invite.
    :ivar courtesies: by the creators of rooms, how many who are not there may be told that they belong to one
        in another way.
    """

    jid: JID
    limits: Limits
    met: Counter[str]
    usual: Options
    archive: Archive
    uids: Uids
    route: Callable[[Stanza], object]
    spread: Callable[[Iterable[Stanza]], None]
    fire: Callable[[object], None]
    now: Callable[[], datetime]
    admins: Callable[[], Container[str]]
    may_create: Callable[[JID], bool]
    not_archived: Callable[[Failure], None]
    logs: str
    doorway: Doorway
    seam: Seam = field(init=False)
    rooms: Rooms = field(init=False)
    invites: Allowances = field(default_factory=Allowances)
    courtesies: Allowances = field(default_factory=Allowances)
    redirects: Redirects = field(init=False)
