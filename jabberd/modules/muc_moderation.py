"""XEP-0425: moderators take back what others said in a room.

The versions before 0.3 (``urn:xmpp:message-moderate:0``, inside of XEP-0422), which many clients still speak,
are understood and told beside the newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.api import E, Element, StanzaError
from jabberd.archive.tombstones import NS as RETRACTION
from jabberd.archive.tombstones import RETRACT, RETRACTED
from jabberd.modules.muc.messages import declare
from jabberd.modules.muc.names import OCCUPANT
from jabberd.modules.muc.privileges import Role
from jabberd.modules.muc.seam import Extension, RoomAnswer, RoomRequest
from jabberd.modules.muc_retraction import Said, bury, find
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from jabberd.api import JID, Stanza
    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.room import Room
    from jabberd.xmpp.forms import Field

NS: Final = "urn:xmpp:message-moderate:1"
OLD: Final = "urn:xmpp:message-moderate:0"
_OLD_RETRACTION: Final = "urn:xmpp:message-retract:0"
_FASTEN: Final = "urn:xmpp:fasten:0"
_APPLY: Final = f"{{{_FASTEN}}}apply-to"
_OLD_MODERATED: Final = f"{{{OLD}}}moderated"
#: What a room alone says of its messages.
_STONES: Final = frozenset({RETRACTED, _OLD_MODERATED})
_CLAIMS: Final = {RETRACT: f"{{{NS}}}moderated", _APPLY: _OLD_MODERATED}
_LONGEST_REASON: Final = 1_000  # characters


class Moderation(Extension, xep=425, version="0.3.0"):
    """Takes back on a moderator's word what somebody said: a tombstone is left, and everybody is told."""

    requires = ("muc", "muc_retraction")

    def room_features(self, room: Room) -> Iterable[str]:
        """See `jabberd.modules.muc.seam.DescribesRooms`."""
        return (NS, OLD)

    def room_info(self, room: Room, asker: JID) -> Iterable[Field]:
        """Nothing."""
        return ()

    def room_answers(self) -> Mapping[tuple[str, str], Callable[[RoomRequest], Awaitable[RoomAnswer]]]:
        """See `jabberd.modules.muc.seam.AnswersRooms`."""
        return {("set", f"{{{NS}}}moderate"): self.moderate, ("set", _APPLY): self.moderate_as_of_old}

    async def moderate(self, request: RoomRequest) -> RoomAnswer:
        """Take a message back (§3).

        :raises StanzaError: ``forbidden``: that is for moderators who are in the room; ``item-not-found``:
            the room has sent no such message, or took it back before; ``feature-not-implemented``: something
            else is to be done with it.
        """
        asked = request.payload
        if asked.find(RETRACT) is None:
            raise StanzaError("feature-not-implemented", "messages can be retracted, and that is all")
        await self._retract(request, asked.get("id", ""), asked.findtext(f"{{{NS}}}reason") or "")
        return RoomAnswer()

    async def moderate_as_of_old(self, request: RoomRequest) -> RoomAnswer:
        """The same in the words of version 0.2."""
        asked = request.payload.find(f"{{{OLD}}}moderate")
        if asked is None or asked.find(f"{{{_OLD_RETRACTION}}}retract") is None:
            raise StanzaError("feature-not-implemented", "messages can be retracted, and that is all")
        id, reason = request.payload.get("id", ""), asked.findtext(f"{{{OLD}}}reason") or ""
        await self._retract(request, id, reason)
        return RoomAnswer()

    async def _retract(self, request: RoomRequest, wanted: str, reason: str) -> None:
        room = request.room
        async with room.changing():
            moderator = room.visits.get(request.sender)
            if moderator is None or moderator.role is not Role.moderator:
                raise StanzaError("forbidden", "only moderators take back what others said")
            said = await find(room, wanted)
            if not _can_be_retracted(room, wanted, said):
                raise StanzaError("item-not-found", "there is no such message any more")
            now = self.now()
            id = room.service.archive.new_id(now)
            by, reason = moderator.jid, reason[:_LONGEST_REASON]
            inside = _moderated(moderator, reason)
            if said is not None:
                old = E(_OLD_RETRACTION, "retracted", {"stamp": to_stamp(now)})
                stone = _with_reason(E(OLD, "moderated", {"by": by}, old), OLD, reason)
                await bury(room, said, room.uid(id), now, *inside, beside=[stone])
            retract = E(RETRACTION, "retract", {"id": wanted}, *_moderated(moderator, reason))
            old = E(OLD, "moderated", {"by": by}, E(_OLD_RETRACTION, "retract"))
            fastened = E(_FASTEN, "apply-to", {"id": wanted}, _with_reason(old, OLD, reason))
            await declare(room, id, now, retract, fastened)

    # -- what nobody but the room says ----------------------------------------------------------------

    def hears(self, room: Room, occupant: Occupant, stanza: Stanza) -> Stanza:
        """See `jabberd.modules.muc.seam.Hears`: feigned tombstones go, feigned moderation is refused (§5)."""
        if not _STONES.isdisjoint(stanza.children):
            stanza = stanza.without(_STONES)
        for outer, inner in _CLAIMS.items():
            if outer in stanza.children and stanza.element().find(f"{outer}/{inner}") is not None:
                raise StanzaError("forbidden", "only the room tells of moderation")
        return stanza


def _can_be_retracted(room: Room, id: str, said: Said | None) -> bool:
    """Whether a message is there to be taken back.

    One that is kept nowhere is on the screens of those who were there all the same (§3.1), and who said it
    may have wanted just that (XEP-0334): its id, which the room alone can make, tells that it was said.
    """
    return room.service.uids.id(room.jid, id) is not None if said is None else said.stands


def _moderated(moderator: Occupant, reason: str) -> list[Element]:
    """Who did it, and why; ids of occupants tell moderators apart that change their nicknames."""
    id = E(OCCUPANT, "occupant-id", {"id": moderator.id})
    who = E(NS, "moderated", {"by": moderator.jid}, id)
    return [who, *([E(RETRACTION, "reason", None, reason)] if reason else [])]


def _with_reason(element: Element, namespace: str, reason: str) -> Element:
    if reason:
        element.append(E(namespace, "reason", None, reason))
    return element
