"""The line that an operator types: editing, history, and how a terminal shows it.

Pure text in, text out.  A line longer than the terminal scrolls sideways, so that it always has one row.
"""

from __future__ import annotations

import keyword
import re
from typing import Final

from jabberd.table import cells

__all__ = ["History", "Line", "drawn"]

_REMEMBERED: Final = 500  # lines in a history


class History:
    """The lines typed before, and the place among them.

    :ivar lines: the newest last.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._place = 0
        self._draft = ""

    def add(self, line: str) -> None:
        """Remember a line; blank ones and repeated ones are not worth it."""
        if line.strip() and self.lines[-1:] != [line]:
            self.lines.append(line)
            del self.lines[:-_REMEMBERED]
        self.rest()

    def rest(self) -> None:
        """Go back behind the newest line."""
        self._place = len(self.lines)
        self._draft = ""

    def move(self, by: int, current: str) -> str | None:
        """The line that is so many places on, or None; what was being typed is kept behind the newest."""
        if not 0 <= self._place + by <= len(self.lines):
            return None
        if self._place == len(self.lines):
            self._draft = current
        self._place += by
        return self.lines[self._place] if self._place < len(self.lines) else self._draft


class Line:
    """A text with a cursor in it.

    :ivar cursor: before which character it stands.
    """

    def __init__(self, text: str = "") -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.text = text
        self.cursor = len(text)

    def insert(self, text: str) -> None:
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)

    def left(self) -> None:
        self.cursor = max(self.cursor - 1, 0)

    def right(self) -> None:
        self.cursor = min(self.cursor + 1, len(self.text))

    def home(self) -> None:
        self.cursor = 0

    def end(self) -> None:
        self.cursor = len(self.text)

    def backspace(self) -> None:
        if self.cursor:
            self._delete(self.cursor - 1, self.cursor)

    def delete(self) -> None:
        """Take out the character that the cursor is at."""
        self._delete(self.cursor, self.cursor + 1)

    def delete_to_end(self) -> None:
        self._delete(self.cursor, len(self.text))

    def delete_to_start(self) -> None:
        self._delete(0, self.cursor)

    def delete_word(self) -> None:
        """Take out the word before the cursor, as a shell does."""
        before = self.text[: self.cursor].rstrip()
        self._delete(before.rfind(" ") + 1, self.cursor)

    def _delete(self, start: int, end: int) -> None:
        self.text = self.text[:start] + self.text[end:]
        self.cursor = start

    def take(self) -> str:
        """The text, which is gone from here."""
        text = self.text
        self.set("")
        return text


# --- drawing ---------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(
    r"""(?P<string>(?:\b[rbfRBF]{1,2})?(?:"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?))
    |(?P<comment>\#.*)|(?P<number>\b\d[\w.]*)|(?P<name>[^\W\d]\w*)""",
    re.VERBOSE,
)
_COLOURS: Final = {"string": "32", "comment": "2", "number": "36", "keyword": "35"}


def drawn(prompt: str, line: Line, width: int, *, colour: bool) -> str:
    """What a terminal of that width is told, wherever in its row the cursor is, to show the line."""
    room = max(width - len(prompt) - 1, 8)
    first = last = line.cursor
    used = 0
    while first and used + cells(line.text[first - 1]) <= room:
        first -= 1
        used += cells(line.text[first])
    while last < len(line.text) and used + cells(line.text[last]) <= room:
        used += cells(line.text[last])
        last += 1
    column = len(prompt) + cells(line.text[first : line.cursor])
    shown = _coloured(line.text, first, last) if colour else line.text[first:last]
    return f"\r{prompt}{shown}\x1b[K\r\x1b[{column}C"


def _coloured(text: str, first: int, last: int) -> str:
    """That part of a line of Python with colours, which need not be correct or complete."""
    parts: list[str] = []
    done = first
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup or ""
        if kind == "name" and keyword.iskeyword(token.group()):
            kind = "keyword"
        start, end = max(token.start(), first), min(token.end(), last)
        if kind in _COLOURS and start < end:
            parts += [text[done:start], f"\x1b[{_COLOURS[kind]}m{text[start:end]}\x1b[0m"]
            done = end
    return "".join([*parts, text[done:last]])
