"""A bad mobile link: a relay on this machine whose connections break, stall and trickle, by a seed."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PIECE = 4096  # bytes that are read at once
_MANY = 9_000  # bytes; a connection breaks within so many more than it must last for
_SILENCE = 0.6  # seconds that it is dead before it is cut, at the most


class FlakyLink:
    """Relays to a port.  While it is bad, each connection ends after some bytes, in the middle of anything.

    :param lasting: bytes for which a connection lasts, both ways together.
    :ivar port: where it listens.
    :ivar cut: how many connections it has cut.
    """

    def __init__(self, to: int, seed: int, lasting: int) -> None:
        self._to = to
        self._lasting = lasting
        self._random = random.Random(seed)
        self._bad = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cut = 0

    def worsen(self) -> None:
        """From now on connections break, those that there are as well."""
        self._bad = True

    def mend(self) -> None:
        """From now on nothing breaks any more."""
        self._bad = False

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways, as long as it lasts."""
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        left = [self._lasting + self._random.randrange(_MANY)]  # both directions use it up
        pumps = [
            asyncio.ensure_future(self._pump(source, sink, left))
            for source, sink in ((reader, back), (there, writer))
        ]
        self._tasks.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for sink in (writer, back):
            sink.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: list[int]) -> None:
        with suppress(ConnectionError):
            while data := await source.read(_PIECE):
                breaks = self._bad and len(data) >= left[0]
                sink.write(data[: max(0, left[0])] if breaks else data)
                await sink.drain()
                left[0] -= len(data) if self._bad else 0
                if breaks:
                    await asyncio.sleep(self._random.choice((0, self._random.random() * _SILENCE)))
                    self.cut += 1
                    return


@asynccontextmanager
async def flaky_link(to: int, seed: int, lasting: int) -> AsyncIterator[FlakyLink]:
    """Such a relay, open until the block ends."""
    link = FlakyLink(to, seed, lasting)
    server = await asyncio.start_server(link.relay, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
