"""What an operator's client asks for on a session channel: a prompt on its terminal, or one verb."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import getNS
from twisted.conch.ssh.connection import EXTENDED_DATA_STDERR
from twisted.conch.ssh.session import parseRequest_pty_req, parseRequest_window_change
from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from jabberd.manhole.audit import quiet
from jabberd.manhole.command import Command
from jabberd.manhole.terminal import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.manhole.ssh import Avatar

__all__ = ["Session"]

log = Logger()

_UNREAD: Final = 1 << 20  # bytes that may wait for a client that does not read
_WIDTH: Final = 80  # of a terminal that does not know


class Session(SSHChannel):
    """One session channel of an operator (RFC 4254 §6)."""

    name = b"session"
    avatar: Avatar
    conn: Any  # Conch's own declaration doubts that there is one
    _log = quiet

    def __init__(self, **kwargs: Any) -> None:
        SSHChannel.__init__(self, **kwargs)
        self._window: Window | None = None
        self._running: Command | _Shell | None = None

    # --- requests (RFC 4254 §6.2, §6.5, §6.7) ----------------------------------------------------

    def request_pty_req(self, data: bytes) -> bool:
        term, (_, width, *_), _ = parseRequest_pty_req(data)
        self._window = Window(width or _WIDTH, colour=term not in (b"", b"dumb"))
        return True

    def request_window_change(self, data: bytes) -> bool:
        _, width, *_ = parseRequest_window_change(data)
        if self._window is None:
            return False
        self._window.width = width or _WIDTH
        if self._running is not None:
            self._running.resized()
        return True

    def request_shell(self, _: bytes) -> bool:
        window = self._window
        if window is None:  # without a terminal there is nothing to edit a line on
            return self._begin(lambda: Command(self, "", None))
        return self._begin(lambda: _Shell(self, window))

    def request_exec(self, data: bytes) -> bool:
        words = getNS(data)[0].decode("utf-8", "replace")
        return self._begin(lambda: Command(self, words, self._window))

    def _begin(self, running: Callable[[], Command | _Shell]) -> bool:
        """Do what was asked for, once."""
        if self._running is not None:
            return False
        self._running = running()
        return True

    # --- what the client says --------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self._running is not None:
            self._running.received(data)

    def eofReceived(self) -> None:
        if self._running is not None:
            self._running.eof()

    def closed(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.lost()

    # --- what it gets ----------------------------------------------------------------------------

    def out(self, data: bytes) -> None:
        """Write to standard output; what does not fit into the channel's window waits."""
        if not self.localClosed:
            SSHChannel.write(self, data)

    def err(self, data: bytes) -> None:
        """Write to standard error."""
        if not self.localClosed:
            SSHChannel.writeExtended(self, EXTENDED_DATA_STDERR, data)

    def end(self, status: int) -> None:
        """Close the channel behind what waits, with an exit status (RFC 4254 §6.10)."""
        if not self.localClosed:
            self.conn.sendRequest(self, b"exit-status", struct.pack(">L", status))
            SSHChannel.loseConnection(self)

    def show(self, data: bytes) -> None:
        """Write what has no end; a client that does not read it is dropped."""
        self.out(data)
        if len(self.buf) > _UNREAD:
            log.warn("manhole: {who} does not read, and is dropped", who=self.avatar.who)
            self.conn.transport.transport.abortConnection()


class _Shell:
    """A prompt, on a terminal at the other end of a session."""

    def __init__(self, session: Session, window: Window) -> None:
        self.write = session.show  # which makes this the transport of the keys
        self._session = session
        self._console = session.avatar.console(window, lambda: session.end(0))
        self._keys = ServerProtocol(lambda: self._console)
        self._keys.makeConnection(self)

    def received(self, data: bytes) -> None:
        self._keys.dataReceived(data)
        self._console.received()

    def eof(self) -> None:
        self._session.end(0)

    def resized(self) -> None:
        self._console.received()

    def lost(self) -> None:
        self._keys.connectionLost(Failure(ConnectionDone()))
