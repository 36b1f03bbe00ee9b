"""Rows that a client was sent: each stays until its message has another home, and also if it comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jabberd.api import Stanza
    from jabberd.interfaces import ArchiveRow

__all__ = ["Given", "UnderWay"]


@dataclass(slots=True, eq=False)
class Given:
    """A row that a client was sent.

    :ivar over: its message has another home.
    """

    row: ArchiveRow
    stanza: Stanza
    over: bool = False


class UnderWay:
    """The rows of one account that a client was sent and that are stored all the same."""

    def __init__(self) -> None:
        self._given: dict[int, Given] = {}  # by identity of the payload, which every envelope shares
        self._removing: dict[int, Given] = {}

    def __bool__(self) -> bool:
        return bool(self._given or self._removing)

    def __contains__(self, stanza: Stanza) -> bool:
        """Whether that was sent, and its row stays until it has a home."""
        given = self._given.get(id(stanza.payload))
        return given is not None and not given.over

    def give(self, row: ArchiveRow, stanza: Stanza) -> Given:
        """A client is going to be sent this."""
        given = self._given[id(stanza.payload)] = Given(row, stanza)
        return given

    def returned(self, stanza: Stanza) -> bool:
        """Whether a message to be stored is one that a client did not take: its row, and its place, stay.

        A row that is just being removed is none; one that is only marked is marked anew, and stays so.
        """
        key = id(stanza.payload)
        if self._given.pop(key, None) is not None:
            return True
        if key in self._removing and self._removing[key].row.waiting:
            del self._removing[key]
        return False

    def remove(self) -> list[ArchiveRow]:
        """Those that have another home, until they are `removed`; some may be, if that failed in between."""
        over = {key: given for key, given in self._given.items() if given.over}
        for key in over:
            del self._given[key]
        self._removing |= over
        return [given.row for given in self._removing.values()]

    def removed(self) -> None:
        """They are."""
        self._removing = {}
