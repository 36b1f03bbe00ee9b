"""What is seen of the play: headlines, and every stanza with its time, its direction and whose it is."""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

_SECRET: Final = re.compile(r"(<(?:auth|challenge|response|success)\b[^>]*[^/>]>)[^<]+")
_PIECE: Final = re.compile(r"<([^\s/>]+)[^<>]*(?<!/)>[^<]*</\1>|<[^>]*>|[^<]+")
_MARGIN: Final = 25  # columns ahead of a stanza

_BOLD, _DIM = "1", "2"
_COLOURS: Final = {"romeo": "36", "juliet": "35", "nurse": "33", "mercutio": "32", "benvolio": "34"}


class Stage:
    """Prints as things happen, in colour on a terminal unless ``NO_COLOR`` is set (https://no-color.org)."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colour = out.isatty() and not os.environ.get("NO_COLOR")
        self._width = shutil.get_terminal_size().columns if out.isatty() else 120
        self._begun = 0.0
        self._kept: dict[str, list[str]] = {}

    def headline(self, text: str) -> None:
        """Begin a step."""
        self._print(f"\n{self._in(_BOLD, text)}")

    def say(self, text: str = "") -> None:
        """Explain something."""
        self._print(text)

    def stanza(self, who: str, xml: str, *, sent: bool) -> None:
        """Show what a client sent (→) or received (←), without the secrets of a login."""
        if not xml.strip():
            return  # white space that keeps the connection alive
        now = time.monotonic()
        self._begun = self._begun or now  # times are counted from the first stanza
        milliseconds = (now - self._begun) * 1000
        head = f"{milliseconds:9.1f} ms  {who:<8} {'→' if sent else '←'}"
        lines = laid_out(_SECRET.sub(r"\1(secret)", xml), max(self._width - _MARGIN, 40))
        body = f"\n{' ' * _MARGIN}".join(lines)
        text = f"{self._in(_DIM, head[:14])}{self._in(_COLOURS.get(who, _BOLD), head[14:])} {body}"
        if not sent and who in self._kept:
            self._kept[who].append(text)
        else:
            self._print(text)

    def keep(self, who: str) -> None:
        """Show what this client receives only when `release` is called: it belongs to another step."""
        self._kept[who] = []

    def release(self, who: str) -> None:
        """Show what was kept, with the time when it came, and from now on what comes."""
        for text in self._kept.pop(who, []):
            self._print(text)

    def _in(self, style: str, text: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._colour else text

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def laid_out(xml: str, width: int) -> list[str]:
    """The XML in one line if it is short enough, else with a line for each element."""
    xml = xml.strip()
    if len(xml) <= width:
        return [xml]
    lines: list[str] = []
    depth = 0
    for piece in (match[0] for match in _PIECE.finditer(xml)):
        if piece.startswith("</"):
            depth -= 1
            lines[-1] += piece
            continue
        lines.append("  " * depth + piece)
        depth += piece.startswith("<") and not piece.endswith(("/>", "?>")) and "</" not in piece
    return lines
