"""The list of public rooms, page by page (XEP-0045 §6.3, XEP-0059)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from jabberd.api import JID, E, Element, StanzaError
from jabberd.modules.disco import ITEMS
from jabberd.xmpp.jid import InvalidJID
from jabberd.xmpp.rsm import NS as RSM

if TYPE_CHECKING:
    from jabberd.modules.muc.room import Record
    from jabberd.modules.muc.service import Service
    from jabberd.xmpp.rsm import PageWanted

__all__ = ["rooms_page"]


async def rooms_page(service: Service, page: PageWanted | None) -> list[Element]:
    """The items of a page, and what tells where it ends if it is not the whole list."""
    most = service.limits.page if page is None or page.most is None else min(page.most, service.limits.page)
    if page is not None and page.last:
        rows, more = await _last(service, _jid(page.before), most)
    else:
        rows, more = await _first(service, "" if page is None else _jid(page.after), most)
    items = [
        E(ITEMS, "item", {"jid": jid, "name": record.options.name or jid.localpart}) for jid, record in rows
    ]
    if page is not None or more:
        ends = zip(("first", "last"), (rows[0][0], rows[-1][0]), strict=True) if rows else ()
        items.append(E(RSM, "set", None, *(E(RSM, name, None, jid) for name, jid in ends)))
    return items


async def _first(service: Service, after: str, most: int) -> tuple[list[tuple[JID, Record]], bool]:
    rows: list[tuple[JID, Record]] = []
    async for jid, record in service.rooms.stored(after):
        if record.options.public:
            if len(rows) == most:
                return rows, True
            rows.append((jid, record))
    return rows, False


async def _last(service: Service, before: str, most: int) -> tuple[list[tuple[JID, Record]], bool]:
    rows: deque[tuple[JID, Record]] = deque(maxlen=most)
    count = 0
    async for jid, record in service.rooms.stored():
        if jid == before:
            break
        if record.options.public:
            rows.append((jid, record))
            count += 1
    return list(rows), count > len(rows)


def _jid(text: str) -> str:
    try:
        return JID.parse(text) if text else ""
    except InvalidJID:
        raise StanzaError("item-not-found") from None
