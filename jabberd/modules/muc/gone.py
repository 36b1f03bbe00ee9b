"""Accounts that are deleted belong to no room any more: whoever gets the name next is somebody else."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from jabberd.api import StanzaError
from jabberd.modules.muc.events import AffiliationChanged
from jabberd.modules.muc.privileges import Affiliation

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from jabberd.api import JID
    from jabberd.modules.muc.room import Room
    from jabberd.modules.muc.service import Service

__all__ = ["forget"]


async def forget(
    service: Service, using: Callable[[JID], AbstractAsyncContextManager[Room | None]], account: JID
) -> None:
    """Take a bare JID out of all stored rooms; one that nobody else owns is left to the service's admins.

    :param using: brings a room into memory, see `jabberd.modules.muc.Rooms.room`.
    """
    async for jid, _ in service.rooms.stored():
        if await service.rooms.belongings.get(jid, account) is None:
            continue
        async with using(jid) as room:
            if room is not None:
                with suppress(StanzaError):  # destroyed meanwhile
                    await _leave(room, account)


async def _leave(room: Room, account: JID) -> None:
    async with room.changing():
        before = room.affiliation(account)
        await room.store_belongings({account: None})
        room.belong({account: None})
    room.service.fire(AffiliationChanged(room, account, before, Affiliation.none))
