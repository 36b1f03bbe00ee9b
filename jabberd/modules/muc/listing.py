"""The list of public rooms, page by page (XEP-0045 §6.3, XEP-0059)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from jabberd.api import JID, E, Element, StanzaError
from jabberd.modules.disco import ITEMS, page_ends, page_of
from jabberd.xmpp.jid import InvalidJID
from jabberd.xmpp.rsm import PageWanted

if TYPE_CHECKING:
    from jabberd.modules.muc.room import Record
    from jabberd.modules.muc.service import Service

__all__ = ["rooms_page"]


async def rooms_page(service: Service, page: PageWanted | None) -> list[Element]:
    """The items of a page, and what tells where it ends if it is not the whole list."""
    asked = page or PageWanted()
    asked = replace(asked, after=_jid(asked.after), before=_jid(asked.before))
    read = partial(service.rooms.records.page, service.jid)
    rows, more = await page_of(read, _is_public, asked, service.limits.page)
    items = [
        E(ITEMS, "item", {"jid": jid, "name": record.options.name or jid.partition("@")[0]})
        for jid, record in rows
    ]
    if page is not None or more:
        items.append(page_ends([jid for jid, _ in rows]))
    return items


def _is_public(record: Record) -> bool:
    return record.options.public


def _jid(text: str) -> str:
    try:
        return JID.parse(text) if text else ""
    except InvalidJID:
        raise StanzaError("item-not-found") from None
