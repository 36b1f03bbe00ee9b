"""Clients made with aioxmpp, beside those made with slixmpp: each a process with its own libraries."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.actor import PASSWORD, PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__).with_name("aioxmpp")
HOME = Path(__file__).parents[2] / "var" / "aioxmpp"

# Not skipped, which fails in CI: Debian's Python is one of those that it runs with.
needs_aioxmpp = pytest.mark.xfail(
    sys.version_info >= (3, 13), reason="aioxmpp runs with Python 3.11 and 3.12", run=False
)


def python() -> str:
    """The interpreter of an environment with aioxmpp in it, made once for this checkout."""
    wanted = (HERE / "requirements.txt").read_text() + sys.version
    HOME.mkdir(parents=True, exist_ok=True)
    venv, stamp = HOME / "venv", HOME / "made"
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(venv, ignore_errors=True)
            pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            for command in (
                [sys.executable, "-m", "venv", str(venv)],
                [*pip, "--disable-pip-version-check", "-r", str(HERE / "requirements.txt")],
            ):
                subprocess.run(command, check=True, capture_output=True, timeout=240)
            stamp.write_text(wanted)
    return str(venv / "bin" / "python")


class Aioxmpp:
    """One such client.

    :ivar events: what it has told so far and nobody has taken.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._news = asyncio.Event()
        self.events: list[dict[str, Any]] = []
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if "event" in told:
                self.events.append(told)
                self._news.set()
            elif "error" in told:
                self._answers.pop(told["id"]).set_exception(Refusal(told["error"]))
            else:
                self._answers.pop(told["id"]).set_result(told["answer"])

    async def do(self, what: str, **arguments: object) -> Any:
        """Let it do something, and wait for the answer.

        :raises Refusal: what it was refused with.
        """
        async with asyncio.timeout(PATIENCE):
            return await self.asked(what, **arguments)

    def asked(self, what: str, **arguments: object) -> asyncio.Future[Any]:
        """The same without a limit, to be waited for later."""
        assert self._process.stdin is not None
        id = next(self._ids)
        self._answers[id] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": id, "do": what, "with": arguments})
        self._process.stdin.write(line.encode() + b"\n")
        return self._answers[id]

    async def hears(self, event: str, **values: object) -> dict[str, Any]:
        """Wait for an event with these values; it is taken."""

        def found() -> dict[str, Any] | None:
            for told in self.events:
                if told["event"] == event and all(told.get(key) == value for key, value in values.items()):
                    self.events.remove(told)
                    return told
            return None

        try:
            async with asyncio.timeout(PATIENCE):
                while (told := found()) is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {event} with {values}; it told {self.events}") from None
        return told

    def heard(self, event: str) -> list[Any]:
        """The bodies of all that it told of that kind."""
        return [told.get("body") for told in self.events if told["event"] == event]


class Refusal(Exception):  # noqa: N818  # it is what was asked for
    """A stanza error's condition, or what went wrong in the client."""


@asynccontextmanager
async def aioxmpp(port: int, authority: Path, jid: str) -> AsyncIterator[Aioxmpp]:
    """A client that has not logged in yet; it is gone in the end."""
    program = str(HERE / "client.py")
    process = await asyncio.create_subprocess_exec(
        await asyncio.to_thread(python),
        *("-W", "ignore", program, str(port), str(authority), jid, PASSWORD),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    client = Aioxmpp(process)
    try:
        yield client
    finally:
        client._reading.cancel()
        if process.returncode is None:
            process.kill()
        await process.wait()
