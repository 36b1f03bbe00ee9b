"""A room's archive, as those may read it who may enter (XEP-0313 §7.1.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jabberd.api import E, StanzaError
from jabberd.archive import pages
from jabberd.archive.pages import NS
from jabberd.modules.muc.names import X_USER
from jabberd.modules.muc.privileges import Affiliation, Role
from jabberd.modules.muc.seam import RoomAnswer
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from jabberd.api import JID
    from jabberd.modules.muc.room import Room
    from jabberd.modules.muc.seam import RoomRequest

__all__ = ["fields", "metadata", "query"]


async def fields(request: RoomRequest) -> RoomAnswer:
    """What can be asked."""
    _check(request)
    return RoomAnswer(E(NS, "query", None, pages.fields()))


async def metadata(request: RoomRequest) -> RoomAnswer:
    """Where the archive begins and ends."""
    _check(request)
    service = request.room.service
    await _caught_up(request.room)
    return RoomAnswer(await pages.metadata(service.archive, request.room.jid, service.uids))


async def query(request: RoomRequest) -> RoomAnswer:
    """Send a page of the archive."""
    _check(request)
    room, service = request.room, request.room.service
    asked = pages.Query.read(request.payload, room.jid, service.uids, service.limits.page)
    await _caught_up(room)
    page = await pages.page(service.archive, room.jid, service.uids, asked)
    sees = _sees_addresses(room, request.sender)
    for row in page.rows:
        shown = row if sees else replace(row, stanza=_without_address(row.stanza))
        service.route(pages.result(shown, asked, service.uids, sender=room.jid, to=request.sender))
    return RoomAnswer(page.fin)


async def _caught_up(room: Room) -> None:
    """Wait until all is in the archive that was said before, and what was taken back is not any more."""
    async with room.changing():
        pass  # whoever changes something has done it
    await room.service.archive.mark(room.jid, [], waiting=False)


def _check(request: RoomRequest) -> None:
    room = request.room
    if not room.options.keeps:
        raise StanzaError("service-unavailable")
    if not room.may_read(request.sender.bare):
        raise StanzaError("forbidden")


def _sees_addresses(room: Room, asker: JID) -> bool:
    if room.options.whois == "anyone" or room.affiliation(asker.bare) >= Affiliation.admin:
        return True
    occupant = room.visits.get(asker)
    return occupant is not None and occupant.role is Role.moderator


def _without_address(row: bytes) -> bytes:
    return Stanza.from_standalone(row).without([X_USER]).to_standalone()
