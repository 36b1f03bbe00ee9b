"""Between clients and servers: connections that break anywhere, stop, or are not made at all."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


class Proxy:
    """Hands bytes on to one port, as long as it lasts.

    :ivar port: where it listens itself, once started.
    :ivar mean: after how many bytes a connection breaks, on average; 0: never.
    :ivar refusing: connections end at once, with nothing said.
    :ivar flowing: if not set, nothing is handed on, and nothing is read.
    :ivar cuts: connections that were broken.
    """

    def __init__(self, target: int, random: Random) -> None:
        self.port = 0
        self.mean = 0
        self.refusing = False
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.cuts = 0
        self._target = target
        self._random = random
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def cut(self) -> None:
        """Break all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        other: asyncio.StreamWriter | None = None
        self._writers.add(writer)
        try:
            if not self.refusing:
                back, other = await asyncio.open_connection("127.0.0.1", self._target)
                self._writers.add(other)
                await self._between((reader, other), (back, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in filter(None, (writer, other)):
                each.transport.abort()
                self._writers.discard(each)
            self._tasks.discard(task)

    async def _between(self, *ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        tasks = [asyncio.ensure_future(self._pump(*way)) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = int(self._random.expovariate(1 / self.mean)) if self.mean else None
        with suppress(OSError):
            while data := await reader.read(4096):
                await self.flowing.wait()
                if not self.mean:
                    left = None  # it was to break, and is not any more
                writer.write(data if left is None else data[:left])
                if left is not None and len(data) >= left:
                    self.cuts += 1
                    return
                left = None if left is None else left - len(data)
                await writer.drain()
