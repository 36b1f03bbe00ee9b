"""How long archived messages stay, and how many of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jabberd.api import Span
from jabberd.xmpp.timestamp import EPOCH

if TYPE_CHECKING:
    from datetime import datetime

    from jabberd.interfaces import Archive

__all__ = ["Retention", "trim"]

_TOGETHER: Final = 500  # rows that are removed in one transaction, so that others need not wait long


@dataclass(frozen=True)
class Retention:
    """What stays.

    :ivar age: seconds that a message stays.
    :ivar messages: the newest so many stay.
    """

    age: float
    messages: int


async def trim(archive: Archive, owner: str, retention: Retention, now: datetime) -> int:
    """Remove what is too old or too much of one owner's archive; how many rows that were.

    What waits for somebody to take it stays.
    """
    oldest = max(0, (now - timedelta(seconds=retention.age) - EPOCH) // timedelta(microseconds=1))
    too_many = await archive.ids(owner, Span(), limit=1, newest=True, skip=retention.messages)
    span = Span(before=max(oldest, *(id + 1 for id in too_many), 0))
    removed = 0
    while rows := await archive.ids(owner, span, limit=_TOGETHER):
        waiting = set(await archive.ids(owner, Span(span.after, rows[-1] + 1, waiting=True), limit=_TOGETHER))
        gone = [id for id in rows if id not in waiting]
        await archive.remove(owner, gone)
        removed += len(gone)
        span = Span(after=rows[-1], before=span.before)
    return removed
