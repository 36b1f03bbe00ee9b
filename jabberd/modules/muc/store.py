"""Where rooms are kept, and which of them are in memory.

Every room that is not locked is stored, also one that goes with its last occupant: what is left of such
after a crash goes at the next start.  In memory are those alone that somebody is in, or that are just
asked something.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, DeferredLock

from jabberd.api import JID, Span, Stanza, StanzaError
from jabberd.modules.muc.events import RoomDestroyed
from jabberd.modules.muc.messages import is_subject
from jabberd.modules.muc.names import X_USER
from jabberd.modules.muc.room import Belonging, Record, Room

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from jabberd.interfaces import Keyed, Storage
    from jabberd.modules.muc.options import Options
    from jabberd.modules.muc.service import Service

__all__ = ["AFFILIATIONS", "RECORDS", "Rooms"]

RECORDS: Final = "muc-rooms"
AFFILIATIONS: Final = "muc-affiliations"
_TOGETHER: Final = 500  # rooms that are read at once


class Rooms:
    """All rooms of one service.

    :ivar resident: those in memory.
    :ivar count: how many there are.
    """

    def __init__(
        self, service: Service, storage: Storage, records: Keyed[Record], belongings: Keyed[Belonging]
    ) -> None:
        self._service = service
        self._storage = storage
        self.records = records
        self.belongings = belongings
        self.resident: dict[JID, Room] = {}
        self._creators: Counter[str] = Counter()
        self._turns: dict[JID, DeferredLock] = {}

    async def start(self) -> None:
        """Count the rooms, and remove those that nobody can be in any more."""
        async for jid, record in self.stored():
            if record.options.persistent:
                self._creators[record.creator] += 1
            else:
                await self._storage.forget(jid)

    async def stored(self, after: str = "") -> AsyncIterator[tuple[JID, Record]]:
        """All that are stored, in the storage's order, from behind one of them."""
        while page := await self.records.page(self._service.jid, after, _TOGETHER):
            for jid, record in page.items():
                yield JID.parse(jid), record
            after = next(reversed(page))

    @property
    def count(self) -> int:
        """How many there are."""
        return self._creators.total()

    def check(self, creator: JID) -> None:
        """See whether somebody may make another one.

        :raises StanzaError: ``not-allowed``: that one may not; ``resource-constraint``: there are enough.
        """
        limits = self._service.limits
        if not self._service.may_create(creator):
            raise StanzaError("not-allowed", "rooms are made by others here")
        if creator in self._service.admins():
            return
        if self.count >= limits.rooms or self._creators[creator] >= limits.rooms_each:
            self._service.met["rooms" if self.count >= limits.rooms else "rooms_each"] += 1
            raise StanzaError("resource-constraint", "there are too many rooms")

    def add(self, room: Room) -> None:
        """A new room is in memory."""
        self.resident[room.jid] = room
        self._creators[room.record.creator] += 1

    async def create(
        self, room: Room, options: Options, changes: Mapping[str, Belonging | None] | None = None
    ) -> None:
        """Store a locked room, with these options from now on, and nothing of another one of that name.

        It is there for everybody then (§10.1.2).

        :param changes: of who belongs to it; whoever calls makes them, too.
        """
        new = replace(room.record, options=options)
        belongings = {**room.belongings, **(changes or {})}
        await self._service.redirects.forget(room.jid)  # first: else it might be stored, and nobody know
        await self.save(room, belongings, new, anew=True)
        room.record = new
        room.locked = False

    def save(
        self,
        room: Room,
        belongings: Mapping[str, Belonging | None],
        record: Record,
        *,
        beside: Mapping[str, Mapping[str, object]] | None = None,
        anew: bool = False,
    ) -> Deferred[None]:
        """Change a room's record and who belongs to it: all or nothing.

        :param beside: what changes with them, by the names of stores that other modules have.
        :param anew: everything else that is kept of it is removed.
        """
        changes = {AFFILIATIONS: belongings, RECORDS: {"": record}, **(beside or {})}
        return self._storage.save(room.jid, changes, anew=anew)

    # -- in and out of memory -----------------------------------------------------------------------

    @asynccontextmanager
    async def turn(self, jid: JID) -> AsyncIterator[None]:
        """Wait until nobody else brings that room into memory, or destroys it; one after the other."""
        lock = self._turns.setdefault(jid, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            if not lock.waiting:
                del self._turns[jid]
            lock.release()

    async def load(self, jid: JID) -> Room | None:
        """The room of a bare JID, in memory until `leave`, or None.  It is the caller's `turn`."""
        room = self.resident.get(jid)
        if room is None:
            room = await self._read(jid)
            if room is not None:
                self.resident[jid] = room
        return room

    async def _read(self, jid: JID) -> Room | None:
        found = await self._storage.load(jid, (RECORDS, AFFILIATIONS))
        record = found[RECORDS].get("")
        if not isinstance(record, Record):
            return None
        belongings = {key: each for key, each in found[AFFILIATIONS].items() if isinstance(each, Belonging)}
        room = Room(self._service, jid, record, belongings)
        if room.options.keeps and room.options.history:
            await self._remember(room)
        return room

    async def _remember(self, room: Room) -> None:
        """Fill a room's history from its archive."""
        archive = self._service.archive
        await archive.mark(room.jid, [], waiting=False)  # what was said before all left is in the archive now
        rows = await archive.newest(room.jid, Span(), room.options.history)
        for row in rows:
            stanza = Stanza.from_standalone(row.stanza).without([X_USER])
            if not is_subject(stanza):
                room.history.add(row.id, row.stamp, stanza)

    def leave(self, room: Room) -> Deferred[None] | None:
        """Let a room out of memory that nobody uses; a temporary one ends then.

        :returns: what fires when it has ended.
        """
        if room.visits or room.users or self.resident.get(room.jid) is not room:
            return None
        del self.resident[room.jid]
        if room.options.persistent and not room.locked:
            return None
        return Deferred.fromCoroutine(self.destroy(room))

    async def destroy(self, room: Room) -> None:
        """Remove a room with all that was kept of it; nobody comes in meanwhile."""
        async with self.turn(room.jid):
            if room.gone:
                return
            if not room.locked:
                await self._storage.forget(room.jid)
            room.gone = True
            self._creators -= Counter((room.record.creator,))  # who has none is not remembered
            if self.resident.get(room.jid) is room:
                del self.resident[room.jid]
        self._service.fire(RoomDestroyed(room.jid))
