"""What the operator's verbs answer, as text: tables that fit a terminal, plain lines in a pipe.

``jabberctl`` and the manhole both show data with `render`.  Nothing here is imported but the standard
library, since ``jabberctl`` starts often.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["cells", "cut", "escaped", "one_line", "render"]

_GAP: Final = 2  # cells between columns
_NARROWEST: Final = 6  # cells that a column keeps when there is too little room
_BOLD: Final = "\x1b[1m{}\x1b[0m"
_DIM: Final = "\x1b[2m{}\x1b[0m"


def render(data: object, width: int | None = None, *, colour: bool = False) -> str:
    """The text of some data that JSON can show, without a line break at its end.

    A list of mappings becomes a table, any other list a line for each item, a mapping a line for each
    key.  Control characters are escaped: nothing that a peer chose can move the cursor.

    :param width: of the terminal in cells, which no line of a table exceeds; None: nothing is cut.
    :param colour: whether the terminal understands colours.
    """
    return "\n".join(_lines(data, width, colour=colour))


def one_line(row: object) -> str:
    """A row of those that come one after the other, when nobody knows yet how wide the next will be."""
    values = row.values() if isinstance(row, dict) else [row]
    return "  ".join(
        ",".join(map(_value, value)) if isinstance(value, list) else _value(value) for value in values
    )


def _lines(data: object, width: int | None, *, colour: bool) -> list[str]:
    if data is None:
        return []
    if isinstance(data, dict):
        return _fields(data, width, colour=colour)
    if isinstance(data, list | tuple):
        if data and all(isinstance(row, dict) for row in data):
            return _table(data, width, colour=colour)
        return [_value(item) for item in data]
    if isinstance(data, str):
        return [escaped(line) for line in data.split("\n")]
    return [_value(data)]


# --- characters ------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    r"""The text with all that a terminal would not simply show as ``\x1b`` and the like.

    Control characters, line breaks, directions of writing, blanks that are not the blank.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cells(text: str) -> int:
    """How wide a terminal shows the text."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text, or as much of its beginning as fits with a "…" behind it."""
    if cells(text) <= width:
        return text
    kept = 0
    for place, character in enumerate(text):
        kept += _cell(character)
        if kept >= width:
            return text[:place] + "…"
    raise AssertionError("a text that is too wide has a character that is too much")


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{escaped(str(key))}={_value(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return escaped(str(value))


def _title(key: object) -> str:
    return escaped(str(key).replace("_", " "))


# --- rows ------------------------------------------------------------------------------------------


def _table(rows: Iterable[Mapping[str, Any]], width: int | None, *, colour: bool) -> list[str]:
    rows = list(rows)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = [[_title(key) for key in keys]] + [[_value(row.get(key)) for key in keys] for row in rows]
    widths = [max(cells(line[place]) for line in table) for place in range(len(keys))]
    if width is not None:
        room = width - _GAP * (len(keys) - 1)
        if room < sum(min(each, _NARROWEST) for each in widths):
            return _records(rows, width, colour=colour)
        widths = _fitted(widths, room)
    sides = [_right if _counts(row.get(key) for row in rows) else _left for key in keys]
    title, *lines = (
        (" " * _GAP).join(side(text, each) for text, each, side in zip(line, widths, sides, strict=True))
        for line in table
    )
    return [_painted(_BOLD, title.rstrip(), colour), *(line.rstrip() for line in lines)]


def _fitted(widths: list[int], room: int) -> list[int]:
    """The widths of columns, with the widest made narrower until all of them have room."""
    widths = [min(each, room) for each in widths]
    while sum(widths) > room:
        widths[widths.index(max(widths))] -= 1
    return widths


def _left(text: str, width: int) -> str:
    text = cut(text, width)
    return text + " " * (width - cells(text))


def _right(text: str, width: int) -> str:
    text = cut(text, width)
    return " " * (width - cells(text)) + text


def _counts(values: Iterable[object]) -> bool:
    """Whether these are numbers, as far as they are known."""
    kinds = {type(value) for value in values} - {type(None)}
    return bool(kinds) and kinds <= {int, float}


def _records(rows: Iterable[Mapping[str, Any]], width: int, *, colour: bool) -> list[str]:
    """Rows that are too wide for a table: a paragraph for each."""
    lines: list[str] = []
    for row in rows:
        lines += ["", *_fields(row, width, colour=colour)] if lines else _fields(row, width, colour=colour)
    return lines


def _fields(data: Mapping[Any, Any], width: int | None, *, colour: bool) -> list[str]:
    """A line for each key; what is a table itself stands below its key."""
    column = max((cells(_title(key)) for key in data), default=0)
    lines: list[str] = []
    for key, value in data.items():
        inside = isinstance(value, dict) or (
            isinstance(value, list) and any(isinstance(item, dict) for item in value)
        )
        name = _painted(_DIM, _title(key), colour)
        if inside and value:
            below = _lines(value, None if width is None else max(width - _GAP, 1), colour=colour)
            lines += [name, *(" " * _GAP + line for line in below)]
        else:
            gap = " " * (column - cells(_title(key)) + _GAP)
            lines.append((name + gap + _value(value)).rstrip())
    return lines


def _painted(form: str, text: str, colour: bool) -> str:
    return form.format(text) if colour else text
