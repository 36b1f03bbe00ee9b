"""Where in a TOML file each key stands: what the standard library's parser does not tell."""

from __future__ import annotations

import re
import tomllib
from typing import TypeAlias

#: The way to a value: names of keys, and places in arrays counted from 0.
Keys: TypeAlias = "tuple[str | int, ...]"

_GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*""")
_SCALAR = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?'{3,5}|"(?:[^"\\]|\\.)*"|'[^']*'|[^,\]}#\n]+''',
    re.DOTALL,
)


def index(source: str) -> dict[Keys, int]:
    """The line, counted from 1, of every key, table and array item of a valid TOML document.

    A table stands where its header does, or else at the first key that implies it.
    """
    scanner = _Scanner(source)
    scanner.document()
    return scanner.lines


class _Scanner:
    """One pass over text that `tomllib` has accepted already: nothing is checked again here."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.position = 0
        self.lines: dict[Keys, int] = {(): 1}
        self._last: dict[Keys, int] = {}  # the newest item of each array of tables

    def document(self) -> None:
        table: Keys = ()
        while self.gap() < len(self.source):
            if self.peek("["):
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> Keys:
        line = self.line()
        array = self.peek("[[")
        self.position += 1 + array
        path = self.below((), self.key(), line)
        self.position += 1 + array
        if array:
            self.lines.setdefault(path, line)
            self._last[path] = self._last.get(path, -1) + 1
            path = (*path, self._last[path])
        self.lines[path] = line
        return path

    def pair(self, table: Keys) -> None:
        line = self.line()
        path = self.below(table, self.key(), line)
        self.lines[path] = line
        self.position += 1  # the equals sign
        self.value(path)

    def below(self, path: Keys, names: list[str], line: int) -> Keys:
        """The path of those names, which may lead through the newest items of arrays of tables."""
        for name in names[:-1]:
            path = (*path, name)
            self.lines.setdefault(path, line)
            if path in self._last:
                path = (*path, self._last[path])
        return (*path, names[-1])

    def value(self, path: Keys) -> None:
        self.gap()
        if self.peek("["):
            self.items(path)
        elif self.peek("{"):
            self.inline(path)
        else:
            self.take(_SCALAR)

    def items(self, path: Keys) -> None:
        self.position += 1
        place = 0
        while self.gap() >= 0 and not self.peek("]"):
            self.lines[*path, place] = self.line()
            self.value((*path, place))
            place += 1
            self.comma()
        self.position += 1

    def inline(self, path: Keys) -> None:
        self.position += 1
        while self.gap() >= 0 and not self.peek("}"):
            self.pair(path)
            self.comma()
        self.position += 1

    def comma(self) -> None:
        self.gap()
        self.position += self.peek(",")

    def key(self) -> list[str]:
        """The names of a bare, quoted or dotted key."""
        names = [_name(self.take(_KEY))]
        while self.peek("."):
            self.position += 1
            names.append(_name(self.take(_KEY)))
        return names

    def gap(self) -> int:
        """Go on to what is neither blank nor comment; returns that position."""
        self.take(_GAP)
        return self.position

    def peek(self, text: str) -> bool:
        return self.source.startswith(text, self.position)

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.source, self.position)
        if found is None:
            raise ValueError(f"not TOML at line {self.line()}")
        self.position = found.end()
        return found.group()

    def line(self) -> int:
        return self.source.count("\n", 0, self.position) + 1


def _name(key: str) -> str:
    (name,) = tomllib.loads(f"{key} = 0")
    return name
