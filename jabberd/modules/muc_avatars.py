"""XEP-0486: rooms have avatars, in vCards that their owners set."""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode
from typing import TYPE_CHECKING, Final

from jabberd.api import E, Element, Keyed, Settings, Size, Stanza, StanzaError, on
from jabberd.modules.muc.events import OccupantJoined
from jabberd.modules.muc.messages import announce_codes
from jabberd.modules.muc.names import VCARD
from jabberd.modules.muc.privileges import Affiliation
from jabberd.modules.muc.seam import Extension, RoomAnswer, RoomRequest
from jabberd.xmpp.element import parse, serialize
from jabberd.xmpp.forms import Field

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from jabberd.api import JID
    from jabberd.modules.muc.room import Room

HASH: Final = "muc#roominfo_avatarhash"  #: also what it is called in `Record.kept`
UPDATE: Final = "vcard-temp:x:update"
_CARDS: Final = "muc-vcard"
_CARD: Final = f"{{{VCARD}}}vCard"
_PHOTO: Final = f"{{{VCARD}}}PHOTO"
_BINVAL: Final = f"{{{VCARD}}}BINVAL"
_TYPE: Final = f"{{{VCARD}}}TYPE"
_MOST: Final = 5  # photos, which are to be one image in several formats (§5.1)


class RoomAvatars(Extension, xep=486, version="0.1.0"):
    """Keeps a vCard of each room, and tells by hashes which avatar it has."""

    requires = ("muc",)
    features = (VCARD,)
    counted = ("size",)

    class Config(Settings):
        """How much one may hold.

        :ivar size: of a room's vCard with its avatar, in all formats.
        """

        size: Size = 128 << 10

    config: Config

    cards = Keyed(_CARDS, of=str)

    def room_features(self, room: Room) -> Iterable[str]:
        """See `jabberd.modules.muc.seam.DescribesRooms`."""
        return (VCARD,)

    def room_info(self, room: Room, asker: JID) -> Iterable[Field]:
        """The hashes (§3.3); no field where there is no avatar (§4)."""
        hashes = room.record.kept.get(HASH, ())
        return (Field(HASH, "text-multi", "Avatar hash", hashes),) if hashes else ()

    def room_answers(self) -> Mapping[tuple[str, str], Callable[[RoomRequest], Awaitable[RoomAnswer]]]:
        """See `jabberd.modules.muc.seam.AnswersRooms`."""
        return {("get", _CARD): self.get, ("set", _CARD): self.set}

    async def get(self, request: RoomRequest) -> RoomAnswer:
        """The vCard (§3.4); an empty one where none was set."""
        text = await self.cards.get(request.room.jid)
        return RoomAnswer(parse(text.encode(), "") if text else E(VCARD, "vCard"))

    async def set(self, request: RoomRequest) -> RoomAnswer:
        """Keep it in place of the one before; an empty one removes that (§3.2).

        :raises StanzaError: ``forbidden``: that is for owners; ``unexpected-request``: the room has no
            configuration yet; ``resource-constraint``: it is too large; ``not-acceptable``: a photo is none.
        """
        room, card = request.room, request.payload
        text = serialize(card, "").decode()
        if len(text.encode()) > self.config.size:
            raise self.limited("size", f"a vCard has at most {self.config.size} bytes")
        async with room.changing():
            if room.affiliation(request.sender.bare) is not Affiliation.owner:
                raise StanzaError("forbidden", "only owners set avatars")
            if room.locked:
                raise StanzaError("unexpected-request", "configure the room first")
            hashes = _hashes(card)
            before = room.record.kept.get(HASH, ())
            await room.keep({HASH: hashes}, beside={_CARDS: {"": text if len(card) else None}})
        return RoomAnswer(None, lambda: self._tell(room, before))

    def _tell(self, room: Room, before: tuple[str, ...]) -> None:
        """Everybody in the room hears that it is another one (§3.2), old clients by presence (§5.2)."""
        announce_codes(room, 104)
        if room.record.kept.get(HASH, ()) != before:
            self._show(room, tuple(room.visits))

    @on(OccupantJoined)
    def joined(self, event: OccupantJoined) -> None:
        """A newcomer learns which avatar there is."""
        if HASH in event.room.record.kept:
            self._show(event.room, (event.occupant.main.jid,))

    def _show(self, room: Room, to: Collection[JID]) -> None:
        """Presence of the room itself, with the avatar's first format, as XEP-0153 has it."""
        first = next(iter(room.record.kept.get(HASH, ())), "")
        shown = Stanza.of("presence", E(UPDATE, "x", None, E(UPDATE, "photo", None, first)))
        room.service.spread(shown.copies(room.jid, to))


def _hashes(card: Element) -> tuple[str, ...]:
    """Of each photo that the vCard holds (XEP-0153 §3.1)."""
    photos = [each for each in card.iterfind(_PHOTO) if len(each)]
    if len(photos) > _MOST:
        raise StanzaError("not-acceptable", f"an avatar has at most {_MOST} formats")
    return tuple(dict.fromkeys(hash for hash in map(_hash, photos) if hash))


def _hash(photo: Element) -> str:
    """Empty: there is no image in it."""
    text = photo.findtext(_BINVAL)
    if not text:
        return ""
    if not (photo.findtext(_TYPE) or "").strip().lower().startswith("image/"):
        raise StanzaError("not-acceptable", "an avatar is an image")
    try:
        image = b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise StanzaError("not-acceptable", "the image is not written in base64") from None
    return hashlib.sha1(image, usedforsecurity=False).hexdigest()
