"""A terminal at the other end: keys become lines, secrets are typed unseen, output comes between.

What is typed while something runs waits its turn, so that several lines can be pasted at once.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections import deque
from dataclasses import dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING, Final

from twisted.conch.insults.insults import TerminalProtocol
from twisted.internet.defer import Deferred

from jabberd.api import Refused
from jabberd.manhole.line import History, Line, drawn
from jabberd.table import cells, escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

__all__ = ["Terminal", "Window"]

_AHEAD: Final = 100_000  # keys that wait while something runs
_LONGEST: Final = 20_000  # characters in a line
_TOO_MUCH: Final = "that is too much at once, and dropped; go on with Ctrl-C"
_OFFERED: Final = 200  # completions that are shown

_INTERRUPT: Final = b"\x03"
_RETURN: Final = (b"\r", b"\n")
_EDITS: Final[dict[bytes, Callable[[Line], None]]] = {
    b"\x7f": Line.backspace,
    b"\x08": Line.backspace,
    b"\x01": Line.home,
    b"\x05": Line.end,
    b"\x02": Line.left,
    b"\x06": Line.right,
    b"\x0b": Line.delete_to_end,
    b"\x15": Line.delete_to_start,
    b"\x17": Line.delete_word,
    b"[DELETE]": Line.delete,
    b"[LEFT_ARROW]": Line.left,
    b"[RIGHT_ARROW]": Line.right,
    b"[HOME]": Line.home,
    b"[END]": Line.end,
}


@dataclass
class Window:
    """What the client says of its terminal.

    :ivar width: in cells.
    """

    width: int = 80
    colour: bool = True


class Terminal(TerminalProtocol):
    """Lines from keys.  Subclasses say what becomes of a line.

    :ivar prompt: what stands before the line that is being typed.
    :ivar busy: whether a line is being obeyed, and the next one has to wait.
    """

    prompt = ""
    busy = False

    def __init__(self, window: Window, history: History) -> None:
        self._window = window
        self._history = history
        self._line = Line()
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._typed: deque[bytes] = deque()
        self._taking = False
        self._deaf = False
        self._asked: Deferred[str] | None = None
        self._question = ""
        self._secret = Line()
        self._gone = False
        history.rest()

    # --- for subclasses --------------------------------------------------------------------------

    def entered(self, line: str) -> None:
        """The line was typed; after `busy` was set, `idle` must follow."""
        raise NotImplementedError

    def interrupted(self) -> None:
        """Ctrl-C was typed."""
        raise NotImplementedError

    def ended(self) -> None:
        """Ctrl-D was typed on an empty line."""
        raise NotImplementedError

    def completed(self, before: str) -> tuple[str, list[str]]:
        """The beginning of a name that the cursor stands behind, and the names that it may become."""
        raise NotImplementedError

    def idle(self) -> None:
        """Go on with the next line."""
        self.busy = False
        self._take()

    def put(self, text: str) -> None:
        """Show lines of text, above the line that is being typed."""
        self._write(f"\r\x1b[K{text}\n")
        if not self._taking:
            self._draw()

    def drop(self) -> None:
        """Take nothing of what is too long, up to Ctrl-C: half of it may mean something else."""
        self._deaf = True
        self._typed.clear()
        self._line.take()
        self._secret.take()
        self.put(_TOO_MUCH)

    async def ask(self, question: str) -> str:
        """What is typed unseen.

        :raises CancelledError: Ctrl-C was typed.
        :raises Refused: something else is being asked.
        """
        if self._asked is not None:
            raise Refused("something else is being asked for")
        self._asked = Deferred()
        self._question = f"\r\x1b[K{escaped(question)}"
        self._draw()
        self._take()
        try:
            return await self._asked
        finally:
            self._asked = None
            self._secret.take()
            self._write("\n")

    # --- from the other end ----------------------------------------------------------------------

    def keystrokeReceived(self, keyID: bytes, modifier: bytes | None) -> None:
        if keyID == _INTERRUPT:
            self._interrupt()
        elif modifier is None and not self._deaf:
            self._typed.append(keyID)
            if len(self._typed) > _AHEAD:
                self.drop()

    def received(self) -> None:
        """All keys that came together were told."""
        self._take()

    def connectionLost(self, _reason: Failure) -> None:
        self._gone = True
        self._typed.clear()
        if self._asked is not None:
            self._asked.cancel()

    # --- keys ------------------------------------------------------------------------------------

    def _take(self) -> None:
        """Obey the keys that were typed, as long as there is somebody to take them."""
        if self._taking:
            return
        self._taking = True
        while self._typed:
            if self._asked is not None and not self._asked.called:
                self._hide(self._typed.popleft(), self._asked)
            elif self.busy:
                break
            else:
                self._edit(self._typed.popleft())
        self._taking = False
        self._draw()

    def _edit(self, key: bytes) -> None:
        if key in _RETURN:
            self._draw()
            self._write("\n")
            self.entered(self._line.take())
        elif key == b"\t":
            self._complete()
        elif key == b"\x04":
            self._line.delete() if self._line.text else self.ended()
        elif key == b"\x0c":
            self._write("\x1b[2J\x1b[H")
        elif key in (b"[UP_ARROW]", b"\x10"):
            self._recall(-1)
        elif key in (b"[DOWN_ARROW]", b"\x0e"):
            self._recall(1)
        else:
            self._insert(self._line, key)

    def _hide(self, key: bytes, asked: Deferred[str]) -> None:
        if key in _RETURN:
            asked.callback(self._secret.take())
        else:
            self._insert(self._secret, key)

    def _insert(self, line: Line, key: bytes) -> None:
        if key in _EDITS:
            _EDITS[key](line)
        elif len(key) == 1:
            line.insert("".join(filter(str.isprintable, self._decoder.decode(key))))
            if len(line.text) > _LONGEST:
                self.drop()

    def _interrupt(self) -> None:
        self._deaf = False
        self._typed.clear()
        self._line.take()
        self._history.rest()
        self._write("^C\n")
        if self._asked is not None:
            self._asked.cancel()
        self.interrupted()
        self._draw()

    def _recall(self, by: int) -> None:
        line = self._history.move(by, self._line.text)
        if line is not None:
            self._line.set(line)

    def _complete(self) -> None:
        beginning, names = self.completed(self._line.text[: self._line.cursor])
        common = commonprefix(names)  # noqa: RUF071  # of characters, not of paths
        if len(common) > len(beginning):
            self._line.insert(common[len(beginning) :])
        elif len(names) > 1:
            self._draw()
            self._write("\n" + columns(names[:_OFFERED], self._window.width) + "\n")

    # --- the screen ------------------------------------------------------------------------------

    def _draw(self) -> None:
        if self._asked is not None:
            self._write(self._question)
        elif not self.busy:
            self._write(drawn(self.prompt, self._line, self._window.width, colour=self._window.colour))

    def _write(self, text: str) -> None:
        if not self._gone:
            self.terminal.write(text.encode())


def columns(names: list[str], width: int) -> str:
    """Names side by side, as many in a row as the width allows."""
    column = max(map(cells, names)) + 2
    many = max(width // column, 1)
    rows = [names[place : place + many] for place in range(0, len(names), many)]
    return "\n".join("".join(name.ljust(column) for name in row).rstrip() for row in rows)
