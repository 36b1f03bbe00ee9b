"""XEP-0500: how long somebody waits in a room between two messages."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from jabberd.api import JID, Settings, Stanza, StanzaError, on
from jabberd.modules.muc.events import RoomDestroyed, RoomMessage
from jabberd.modules.muc.messages import announce_codes
from jabberd.modules.muc.names import BODY
from jabberd.modules.muc.privileges import Affiliation
from jabberd.modules.muc.seam import Extension
from jabberd.xmpp.forms import Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.room import Room

_WANTED: Final = "muc#roomconfig_slow_mode_duration"
_TOLD: Final = "muc#roominfo_slow_mode_duration"


class SlowMode(Extension, xep=500, version="0.1.1"):
    """Refuses what is said too soon after the last that the same account has said (§6).

    What has no body does not count, and admins and owners do not wait.  A restart forgives everybody.
    """

    requires = ("muc",)

    class Config(Settings):
        """What rooms are like.

        :ivar usual: seconds to wait in rooms whose owners have not said anything; 0: none.
        :ivar most: as long as an owner may have it.
        """

        usual: Annotated[int, Meta(ge=0)] = 0
        most: Annotated[int, Meta(ge=0, le=86400)] = 21600

    config: Config

    async def start(self) -> None:
        """Nobody has said anything."""
        # who spoke last at the end: what is too old stands at the beginning
        self._spoke: dict[tuple[JID, JID], float] = {}

    def duration(self, room: Room) -> int:
        """How many seconds there are between two messages of one account; 0: no matter how many."""
        return _duration(room, self.config)

    def reconfigured(self, before: Config) -> None:
        """Where another duration holds now, those who are in the room learn that (§5.2)."""
        for room in tuple(self.rooms.service.rooms.resident.values()):
            if _duration(room, before) != self.duration(room):
                announce_codes(room, 104)

    def room_fields(self, room: Room) -> Iterable[Field]:
        """§5.1."""
        now = (str(self.duration(room)),)
        yield Field(
            _WANTED,
            "text-single",
            "Seconds between two messages of one person",
            now,
            within=(0, self.config.most),
        )

    def room_features(self, room: Room) -> Iterable[str]:
        """None: the field tells it."""
        return ()

    def room_info(self, room: Room, asker: JID) -> Iterable[Field]:
        """§5.2."""
        yield Field(_TOLD, "text-single", "Seconds between two messages", (str(self.duration(room)),))

    def hears(self, room: Room, occupant: Occupant, stanza: Stanza) -> Stanza:
        """See `Hears`; the text tells how long it takes until that one may speak again."""
        duration = self.duration(room)
        if not duration or BODY not in stanza.children or self._is_exempt(room, occupant):
            return stanza
        now = self.domain.clock.seconds()
        left = self._spoke.get((room.jid, occupant.account), now - duration) + duration - now
        if left > 0:
            raise StanzaError(
                "policy-violation",
                f"There are {duration} seconds between two messages of one person in this room. "
                f"You can speak again in {min(ceil(left), duration)} s.",
                type="wait",
            )
        return stanza

    def _is_exempt(self, room: Room, occupant: Occupant) -> bool:
        return room.affiliation(occupant.account) >= Affiliation.admin

    @on(RoomMessage)
    def spoken(self, event: RoomMessage) -> None:
        """It has been said: nobody else had anything against it."""
        if BODY not in event.stanza.children or not self.duration(event.room):
            return
        now = self.domain.clock.seconds()
        who = event.room.jid, event.occupant.account
        self._spoke.pop(who, None)
        self._spoke[who] = now
        for old, when in list(self._spoke.items()):
            if when > now - self.config.most:
                break
            del self._spoke[old]

    @on(RoomDestroyed)
    def forget(self, event: RoomDestroyed) -> None:
        """Another room of that name begins anew."""
        for each in [each for each in self._spoke if each[0] == event.jid]:
            del self._spoke[each]


def _duration(room: Room, config: SlowMode.Config) -> int:
    values = room.options.extra.get(_WANTED)
    return min(int(values[0]) if values and values[0] else config.usual, config.most)
