"""What was said last in a room, for those who come later (XEP-0045 §7.2.13, §7.2.14)."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from jabberd.modules.muc.names import DELAY, MUC
from jabberd.xmpp.element import escape_attribute
from jabberd.xmpp.timestamp import from_stamp, to_stamp

if TYPE_CHECKING:
    from jabberd.api import JID, Element, Stanza

__all__ = ["History", "Line"]

_LARGEST: Final = 1 << 20  # bytes of all that is kept of one room


@dataclass(frozen=True, slots=True)
class Line:
    """A message.

    :ivar id: its id in the archive.
    :ivar stanza: as it was reflected, without ``to``, with a note of when that was.
    """

    id: int
    stamp: datetime
    stanza: Stanza


class History:
    """The newest messages of a room, not more than a newcomer can be sent.

    :param most: as many as are kept, if they are not too large together.
    """

    __slots__ = ("_lines", "_most", "_room", "_size")

    def __init__(self, room: JID, most: int) -> None:
        self._room = room
        self._most = most
        self._size = 0  # of all payloads
        self._lines: deque[Line] = deque()

    def __len__(self) -> int:
        return len(self._lines)

    def line(self, id: int) -> Line | None:
        """The message of that id, if it is here."""
        return next((line for line in self._lines if line.id == id), None)

    def add(self, id: int, stamp: datetime, stanza: Stanza) -> None:
        """Keep a message as it was reflected."""
        note = (
            f"<delay xmlns='urn:xmpp:delay' from='{escape_attribute(self._room)}' stamp='{to_stamp(stamp)}'/>"
        )
        self._keep(Line(id, stamp, stanza.with_sealed(DELAY, note.encode())))

    def _keep(self, line: Line) -> None:
        self._lines.append(line)
        self._size += len(line.stanza.payload)
        while len(self._lines) > self._most or self._size > _LARGEST:
            self._size -= len(self._lines.popleft().stanza.payload)

    def replace(self, id: int, stanza: Stanza | None) -> None:
        """Put another message in the place of one, if that is here; None: take it out."""
        kept = list(self._lines)
        self._lines.clear()
        self._size = 0
        for line in kept:
            if line.id != id:
                self._keep(line)
            elif stanza is not None:
                self.add(id, line.stamp, stanza)

    def forget(self, before: datetime) -> None:
        """Take out what was said before that."""
        while self._lines and self._lines[0].stamp < before:
            self._size -= len(self._lines.popleft().stanza.payload)

    def wanted(self, join: Element, most: int, now: datetime) -> list[Stanza]:
        """What somebody gets who enters like that: the least that meets all conditions (§7.2.14).

        :param join: the ``<x/>`` of the presence; numbers in it that are none do not count.
        :param most: messages that the room gives at most.
        """
        asked = join.find(f"{{{MUC}}}history")
        lines = list(self._lines)
        if asked is not None:
            stanzas = _number(asked.get("maxstanzas"))
            most = most if stanzas is None else min(most, stanzas)
            since = _since(asked, now)
            lines = [line for line in lines if since is None or line.stamp >= since]
        newest = [line.stanza for line in (lines[-most:] if most else [])]
        room = None if asked is None else _number(asked.get("maxchars"))
        return newest if room is None else _fitting(newest, room)


def _fitting(stanzas: list[Stanza], room: int) -> list[Stanza]:
    """The newest that together have no more characters than that."""
    fitting: list[Stanza] = []
    for stanza in reversed(stanzas):
        room -= len(stanza.to_bytes().decode())
        if room < 0:
            break
        fitting.append(stanza)
    return fitting[::-1]


def _since(asked: Element, now: datetime) -> datetime | None:
    found: list[datetime] = []
    seconds = _number(asked.get("seconds"))
    if seconds is not None:
        found.append(now - timedelta(seconds=min(seconds, 10**9)))
    with suppress(ValueError):
        found.append(from_stamp(asked.get("since", "")))
    return max(found, default=None)


def _number(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 9:
        return None
    return int(text)
