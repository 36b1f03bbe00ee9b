"""XEP-0502: how much is said in a room."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from jabberd.api import JID, Keyed, on
from jabberd.modules.muc.events import RoomDestroyed, RoomMessage
from jabberd.modules.muc.names import BODY
from jabberd.modules.muc.seam import Extension
from jabberd.xmpp.forms import Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.modules.muc.room import Room

_FIELD: Final = "{urn:xmpp:muc-activity}message-activity"
_CORRECTION: Final = "{urn:xmpp:message-correct:0}replace"
_HOUR: Final = 3600
_HOURS: Final = 24  # that are looked back at
_SINCE: Final = ""  # the key of when counting began


@dataclass(frozen=True)
class Counts:
    """How often something was said in the last hours.

    :ivar hour: the newest, in hours since 1970; ``counts``: its count, and of those before it.
    """

    hour: int
    counts: tuple[int, ...] = (0,)

    def at(self, hour: int) -> Counts:
        """The same, later."""
        passed = min(max(0, hour - self.hour), _HOURS + 1)
        return Counts(max(hour, self.hour), ((0,) * passed + self.counts)[: _HOURS + 1])

    def rate(self, hours: int) -> float:
        """Messages per hour, on the average of the full hours that have passed."""
        return sum(self.counts[1 : hours + 1]) / hours


class Activity(Extension, xep=502, version="0.1.0"):
    """Counts messages with a body, corrections apart, and tells of rooms that everybody may enter (§6, §11).

    Counts are stored every hour and when the module stops: what a crash loses is a part of an hour.
    """

    requires = ("muc",)

    kept = Keyed("muc-activity", of=Counts)

    async def start(self) -> None:
        """Go on where it was left."""
        self._rooms = await self.kept.all(self.domain.jid)
        self._since = self._rooms.pop(_SINCE, Counts(self._hour()))
        self._changed: set[str] = set()
        self._storing = LoopingCall(self._begin_to_store)
        self._storing.clock = self.domain.clock
        self._storing.start(_HOUR, now=False)

    async def stop(self) -> None:
        """Store what there is."""
        self._storing.stop()
        if self._changed:
            await self._store()
        await super().stop()

    def _hour(self) -> int:
        return int(self.domain.clock.seconds()) // _HOUR

    @on(RoomMessage)
    def count(self, event: RoomMessage) -> None:
        """Something was said to all."""
        children = event.stanza.children
        if BODY in children and _CORRECTION not in children:
            now = self._rooms.get(event.room.jid, Counts(self._hour())).at(self._hour())
            self._rooms[event.room.jid] = replace(now, counts=(now.counts[0] + 1, *now.counts[1:]))
            self._changed.add(event.room.jid)

    @on(RoomDestroyed)
    def forget(self, event: RoomDestroyed) -> None:
        """A room is gone."""
        if self._rooms.pop(event.jid, None) is not None:
            self._changed.add(event.jid)

    def room_features(self, room: Room) -> Iterable[str]:
        """None: the field tells it."""
        return ()

    def room_info(self, room: Room, asker: JID) -> Iterable[Field]:
        """§4.1, once a full hour was counted."""
        options = room.options
        hours = min(self._hour() - self._since.hour, _HOURS)
        if options.persistent and options.public and options.is_open and hours > 0:
            rate = self._rooms.get(room.jid, Counts(0)).at(self._hour()).rate(hours)
            yield Field(_FIELD, "text-single", "Messages per hour", (f"{rate:.2f}",))

    # -- what is stored -----------------------------------------------------------------------------

    def _begin_to_store(self) -> None:
        Deferred.fromCoroutine(self._store()).addErrback(
            lambda why: self.log.failure("what was counted cannot be stored", why)
        )

    async def _store(self) -> None:
        silent = [room for room, each in self._rooms.items() if not any(each.at(self._hour()).counts)]
        for room in silent:
            del self._rooms[room]
        changed, self._changed = self._changed.union(silent), set()
        try:
            await self.kept.change(
                self.domain.jid, {room: self._rooms.get(room) for room in changed} | {_SINCE: self._since}
            )
        except BaseException:
            self._changed |= changed
            raise
