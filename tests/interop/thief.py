"""Somebody on the way, who takes the offer of TLS out of what a server says (RFC 7457 §2.1)."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_OFFER: Final = re.compile(rb"<starttls\b[^>]*/>|<starttls\b[^>]*>.*?</starttls>")


class Thief(ThreadingTCPServer):
    """Relays to a port of this machine.

    :ivar taken: how many offers it has taken.
    """

    daemon_threads = True

    def __init__(self, to: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.to = to
        self.taken = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class _Relay(BaseRequestHandler):
    server: Thief

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.to)) as there:
            back = threading.Thread(target=self._pump, args=(there, self.request), daemon=True)
            back.start()
            self._pump(self.request, there)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                left, taken = _OFFER.subn(b"", data) if source is not self.request else (data, 0)
                self.server.taken += taken
                sink.sendall(left)
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def thief(to: int) -> Iterator[Thief]:
    """One, until the block ends."""
    with Thief(to) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
