"""XEP-0424 in rooms: who takes a message back leaves a tombstone in the room's archive and history."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from jabberd.api import Element, Span, Stanza, StanzaError, on
from jabberd.archive.tombstones import NS, RETRACT, is_buried, tombstone
from jabberd.modules.muc.events import RoomMessage
from jabberd.modules.muc.names import OCCUPANT_ID, STANZA_ID, X_USER
from jabberd.modules.muc.seam import Extension

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from jabberd.api import JID
    from jabberd.modules.muc.room import Room
    from jabberd.xmpp.forms import Field


@dataclass(frozen=True, slots=True)
class Said:
    """A message that was said in a room, and can be taken back.

    :ivar stanza: from the archive, or else from the history.
    :ivar archived: whether it is in the archive.
    """

    id: int
    stanza: Stanza
    archived: bool

    @property
    def author(self) -> str:
        """The occupant id of who said it (XEP-0421)."""
        found = self.stanza.child(OCCUPANT_ID)
        return "" if found is None else found.get("id", "")

    @property
    def stands(self) -> bool:
        """Whether it can still be taken back."""
        return not is_buried(self.stanza)


async def find(room: Room, id: str) -> Said | None:
    """The message to which the room gave that id (XEP-0424 §5.1), or its tombstone; None: it has neither."""
    archive = room.service.archive
    number = room.service.uids.id(room.jid, id)
    if number is None:
        return None
    await archive.mark(room.jid, [], waiting=False)  # what was said just before is in the archive now
    rows = await archive.rows(room.jid, span=Span(ids=(number,)))
    line = room.history.line(number)
    if rows:
        return Said(number, Stanza.from_standalone(rows[0].stanza), archived=True)
    return None if line is None else Said(number, line.stanza, archived=False)


async def bury(
    room: Room, said: Said, by: str, stamp: datetime, *inside: Element, beside: Iterable[Element] = ()
) -> None:
    """Put a tombstone in the place of a message (XEP-0424 §4), wherever the room has it.

    :param by: the id of the message that takes it back, and ``stamp``: when.
    :param inside: more of ``<retracted/>``.
    :param beside: more of the tombstone.
    """
    keeping = (OCCUPANT_ID, STANZA_ID, X_USER)
    stone = tombstone(said.stanza, by, stamp, *inside, keeping=keeping).with_child(*beside)
    if said.archived:
        await room.service.archive.replace(room.jid, said.id, stone.to_standalone())
    room.history.replace(said.id, stone.without([X_USER]))  # which tells moderators alone who it was


class RoomRetraction(Extension, xep=424, version="0.4.2"):
    """Buries what its author took back; what is another's stays, and clients pass over the attempt (§5).

    A retraction is said and kept like any message.
    """

    requires = ("muc",)

    def room_features(self, room: Room) -> Iterable[str]:
        """See `jabberd.modules.muc.seam.DescribesRooms`."""
        yield NS
        if room.options.keeps:
            yield f"{NS}#tombstone"

    def room_info(self, room: Room, asker: JID) -> Iterable[Field]:
        """Nothing."""
        return ()

    @on(RoomMessage)
    def said(self, event: RoomMessage) -> None:
        """Somebody may take something back."""
        if RETRACT in event.stanza.children:
            taken = Deferred.fromCoroutine(self._take_back(event))
            taken.addErrback(lambda why: self.log.failure("a message in a room cannot be buried", why))

    async def _take_back(self, event: RoomMessage) -> None:
        retract = event.stanza.child(RETRACT)
        assert retract is not None
        async with self.rooms.room(event.room.jid) as room:
            if room is None:
                return
            with suppress(StanzaError):  # it is destroyed
                async with room.changing():
                    said = await find(room, retract.get("id", ""))
                    if said is not None and said.stands and said.author == event.occupant.id:
                        await bury(room, said, event.stanza.id, self.now())
