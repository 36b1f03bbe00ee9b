"""What the tests of the manhole share: verbs of every kind, and a terminal whose screen can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.conch.insults import helper
from twisted.conch.insults.insults import ClientProtocol, ServerProtocol
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from jabberd.admin import Admin
from jabberd.api import JID, Live, Refused, Secret, operator
from jabberd.manhole.console import Console
from jabberd.manhole.line import History
from jabberd.manhole.terminal import Window

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "wherefore"


class Treasury:
    """Verbs that take and answer all kinds of things.

    :ivar opened: fires when the vault opens.
    """

    def __init__(self) -> None:
        self.opened: Deferred[str] = Deferred()

    @operator("pay somebody")
    async def pay(self, jid: JID, word: Secret, ducats: int = 1) -> str:
        """Pay so many ducats, if the word is right."""
        if word != SECRET:
            raise Refused("that is not the word")
        return f"{jid} has {ducats} more"

    @operator("list what there is")
    def all_of_it(self) -> list[dict[str, object]]:
        return [{"jid": "romeo@montague.lit", "ducats": 40}, {"jid": "evil.example\x1b[2J", "ducats": None}]

    @operator("wait until the vault opens")
    def open(self) -> Deferred[str]:
        return self.opened

    @operator("list nobody")
    def debtors(self) -> list[str]:
        return []

    @operator("fail")
    def spill(self) -> None:
        raise ZeroDivisionError


class Alone:
    """A verb without a noun."""

    def __init__(self) -> None:
        self.clock = Clock()

    @operator("watch somebody")
    def watch(self, jid: JID) -> Live:
        """See them now, and once more a minute later; then never again."""

        def begin(tell: Callable[[object], None]) -> Callable[[], None]:
            tell({"who": jid, "where": "balcony\x1b[2J", "with": None})
            later = self.clock.callLater(
                60, tell, {"who": jid, "where": "orchard", "with": ["nurse", "friar"]}
            )
            return lambda: later.cancel() if later.active() else None

        return Live(self.clock, begin, rows=10, seconds=120)


def verbs(treasury: Treasury, alone: Alone | None = None) -> Admin:
    return Admin(lambda: [("treasury", "", treasury), ("", "", alone or Alone())])


class Seat:
    """A console with a terminal, and an operator who types.

    :ivar treasury, alone: what the verbs work on.
    :ivar raw: everything that was shown, as it was sent.
    :ivar left: whether the console ended the session.
    """

    def __init__(self, width: int = 80, *, colour: bool = False, history: History | None = None) -> None:
        self.treasury = Treasury()
        self.alone = Alone()
        self.window = Window(width, colour=colour)
        self.raw = b""
        self.left = False
        self._buffer = helper.TerminalBuffer()
        self._buffer.width, self._buffer.height = width, 40
        self._emulator = ClientProtocol(lambda: self._buffer)
        self._emulator.makeConnection(None)
        self.console = Console(
            "nurse@verona",
            verbs(self.treasury, self.alone),
            {"one": 1},
            self.window,
            history or History(),
            self._leave,
        )
        self._keys = ServerProtocol(lambda: self.console)
        self._keys.makeConnection(self)

    def _leave(self) -> None:
        self.left = True

    def write(self, data: bytes) -> None:
        self.raw += data
        self._emulator.dataReceived(data)

    def type(self, *texts: str) -> str:
        """Type each text, as one piece; returns the screen from the first prompt on."""
        for text in texts:
            self._keys.dataReceived(text.encode())
            self.console.received()
        return self.screen()

    def vanish(self) -> None:
        self._keys.connectionLost(Failure(ConnectionDone()))

    def screen(self) -> str:
        """What the operator sees, without the greeting and without blanks at the ends of lines."""
        shown = bytes(self._buffer).decode()
        return "\n".join(line.rstrip() for line in shown.split("\n")[1:]).rstrip("\n")

    @property
    def cursor(self) -> int:
        """The column that the cursor is in."""
        return int(self._buffer.x)
