"""Moments as XMPP writes them: the DateTime profile of XEP-0082, and the notes of XEP-0203."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import E

if TYPE_CHECKING:
    from jabberd.xmpp.stanza import Stanza

__all__ = ["EPOCH", "delayed", "from_stamp", "to_microseconds", "to_stamp"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_DATETIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_DELAY: Final = f"{{{ns.DELAY}}}delay"


def to_stamp(moment: datetime) -> str:
    """A moment in UTC to the second, such as ``2002-09-10T23:08:25Z``.

    :raises ValueError: if it does not know its time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone is no moment")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def to_microseconds(moment: datetime) -> str:
    """A moment in UTC with all it has, such as ``2002-09-10T23:08:25.000000Z``."""
    return moment.isoformat(timespec="microseconds")[:-6] + "Z"  # for +00:00


def from_stamp(text: str) -> datetime:
    """The moment in UTC, with its fraction of a second down to microseconds.

    :raises ValueError: if the text is not a DateTime of XEP-0082.
    """
    if not _DATETIME.fullmatch(text):
        raise ValueError("not a DateTime of XEP-0082")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:  # the first or last hours of the calendar, in another time zone
        raise ValueError("not a DateTime within the calendar") from None


def delayed(stanza: Stanza, stamp: datetime, by: str) -> Stanza:
    """With a note of when it was first sent (XEP-0203), unless it has one."""
    if _DELAY in stanza.children:
        return stanza
    return stanza.with_child(E(ns.DELAY, "delay", {"from": by, "stamp": to_stamp(stamp)}))
