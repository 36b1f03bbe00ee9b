"""Rosters as they were written last, for clients that ask again: many do at each login.

Writing a roster of 500 contacts costs as much as ten messages; what was written is the same until a contact
changes.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from jabberd.jsm import roster

if TYPE_CHECKING:
    from jabberd.jsm.roster import RosterItem, Rows
    from jabberd.xmpp.element import Sealed

__all__ = ["WrittenRosters"]

_MOST: Final = 4 << 20  #: bytes that are kept; the oldest give way
_SMALL: Final = 20  #: contacts; smaller ones are written faster than they are found
_by_version = attrgetter("version")


class _Written(NamedTuple):
    newest: RosterItem
    result: Sealed


class WrittenRosters:
    """The results of the last roster gets of one domain, by account."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._size = 0
        self._written: OrderedDict[str, _Written] = OrderedDict()

    def result(self, owner: str, rows: Rows) -> Sealed:
        """What `roster.result` makes of these rows."""
        if len(rows) < _SMALL:
            return roster.result(rows)
        # Each change that clients see makes a new item with the highest version: as long as the very same
        # item is the newest, nothing has changed, also where a change could not be stored and was undone
        newest = max(rows.values(), key=_by_version)
        known = self._written.get(owner)
        if known is not None and known.newest is newest:
            self._written.move_to_end(owner)
            return known.result
        result = roster.result(rows)
        self._keep(owner, _Written(newest, result))
        return result

    def _keep(self, owner: str, written: _Written) -> None:
        old = self._written.pop(owner, None)
        self._size += len(written.result.data) - (len(old.result.data) if old is not None else 0)
        self._written[owner] = written
        while self._size > self._most:
            _, gone = self._written.popitem(last=False)
            self._size -= len(gone.result.data)
