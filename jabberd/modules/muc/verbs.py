"""What operators do with rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jabberd.api import JID, Refused, StanzaError, operator
from jabberd.modules.muc.affiliations import Order, affiliate
from jabberd.modules.muc.owner import destroy
from jabberd.modules.muc.privileges import Affiliation

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from jabberd.modules.muc.room import Record, Room
    from jabberd.modules.muc.service import Service

__all__ = ["Verbs"]

Row = dict[str, Any]


class Verbs:
    """The verbs; `jabberd.modules.muc.Rooms` has them."""

    service: Service

    def room(self, jid: JID) -> AbstractAsyncContextManager[Room | None]:
        """See `jabberd.modules.muc.Rooms`."""
        raise NotImplementedError

    @operator("list the rooms of the service")
    async def list(self, after: str = "", most: int = 100) -> list[Row]:
        """Some of them, from behind one of them: also those that are hidden."""
        rows: list[Row] = []
        async for jid, record in self.service.rooms.stored(after):
            if len(rows) >= most:
                break
            rows.append(self._row(jid, record))
        return rows

    def _row(self, jid: JID, record: Record) -> Row:
        room, options = self.service.rooms.resident.get(jid), record.options
        return {
            "room": jid,
            "name": options.name,
            "occupants": 0 if room is None else len(room.occupants),
            "public": options.public,
            "persistent": options.persistent,
            "members only": options.members_only,
            "creator": record.creator,
        }

    @operator("show a room: how it is configured, who is in it, who belongs to it")
    async def show(self, room: JID) -> Row:
        """What there is of it."""
        async with self.room(room.bare) as found:
            if found is None:
                raise Refused(f"there is no room {room}")
            options = found.options
            return self._row(found.jid, found.record) | {
                "description": options.description,
                "moderated": options.moderated,
                "password": bool(options.password),
                "archive": await self.service.archive.count(found.jid),
                "here": {
                    each.nick: f"{each.account} ({each.role.name})" for each in found.occupants.values()
                },
                "affiliations": {jid: each.affiliation for jid, each in sorted(found.belongings.items())},
            }

    @operator("destroy a room with all that is kept of it")
    async def destroy(self, room: JID, reason: str = "") -> str:
        """Everybody in it is told."""
        async with self.room(room.bare) as found:
            if found is None:
                raise Refused(f"there is no room {room}")
            await destroy(found, reason=reason)
        return f"{room.bare} is destroyed"

    @operator("give an account an affiliation with a room: owner, admin, member, none or outcast")
    async def affiliate(self, room: JID, jid: JID, affiliation: str, reason: str = "") -> str:
        """As an owner does."""
        if affiliation not in Affiliation.__members__:
            raise Refused(f"{affiliation} is none of {', '.join(Affiliation.__members__)}")
        async with self.room(room.bare) as found:
            if found is None:
                raise Refused(f"there is no room {room}")
            order = Order(jid.bare, Affiliation[affiliation], reason)
            try:
                async with found.changing():
                    told = await affiliate(found, [order], Affiliation.owner, self.service.jid, "")
            except StanzaError as error:
                raise Refused(error.text or error.condition, error.condition) from None
            told()
        return f"{jid.bare} is {affiliation} of {room.bare}"
