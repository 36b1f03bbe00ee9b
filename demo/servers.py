"""The two servers of the play, as ``twistd jabberd`` processes: their ports, accounts, start and end."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import tempfile
from asyncio import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jabberd.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BIN: Final = Path(sys.executable).parent
STEP: Final = 10_000  # by which all ports move if one is taken
START: Final = 30.0  # seconds that a server may take to be ready
END: Final = 5.0  # and to be gone
TAIL: Final = 15  # lines of its log that are shown when it has died

_PURPOSE: Final = {"c2s": "clients", "s2s": "other servers"}


class ServerError(Exception):
    """A server cannot do its part; the text says which one and why."""


def place(files: Sequence[Path], var: Path, say: Callable[[str], None]) -> list[Path]:
    """The configurations to start from: these, or copies in ``var`` with other ports if one is taken.

    :raises ConfigError: they are wrong.
    :raises ServerError: there is no room for them anywhere.
    """
    for shift in range(0, 1 << 16, STEP):
        busy = [each for file in files for each in _busy(file, shift)]
        if not busy:
            return [_moved(file, shift, var) if shift else file for file in files]
        say(f"{', '.join(busy)}: all ports move by {STEP:,}.")
    raise ServerError("the ports of the play are taken, and all others too")


def _busy(file: Path, shift: int) -> Iterable[str]:
    settings = Config.read(file).settings
    domain = ", ".join(settings.domains)
    for listener in settings.listeners:
        port = listener.port + shift
        if port >= 1 << 16 or not _is_free(listener.address, port):
            yield f"Port {port} is taken, where {domain} wants to hear {_PURPOSE[listener.kind]}"


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _moved(file: Path, shift: int, var: Path) -> Path:
    """A copy with other ports, and with data of its own: the server in its place may be another play's."""
    folder = var / f"moved-{shift}"
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / file.name
    text = re.sub(
        r'(?m)(^port = |"127\.0\.0\.1:)(\d+)',
        lambda found: f"{found[1]}{int(found[2]) + shift}",
        file.read_text(),
    )
    copy.write_text(text.replace("../var/certs", "../certs").replace("../var/", ""))
    return copy


@dataclass
class Server:
    """One server, and the end of its ``NOTIFY_SOCKET``.

    :ivar places: where it listens, as it said itself.
    :ivar log: the file with all that it prints.
    """

    domain: str
    config: Path
    log: Path
    process: subprocess.Process
    manager: socket.socket
    folder: tempfile.TemporaryDirectory[str]
    places: str = ""

    @property
    def port(self) -> int:
        """Where it listens to clients."""
        found = re.search(r"\bc2s \S+:(\d+)", self.places)
        assert found, "a server of the play listens to clients"
        return int(found[1])

    async def died(self) -> None:
        """Wait until it ends by itself.

        :raises ServerError: it has; with the end of its log.
        """
        status = await self.process.wait()
        raise _dead(self.domain, status, self.log)

    async def stop(self) -> bool:
        """End it; whether it ended in time when it was asked to."""
        if self.process.returncode is None:
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), END)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            return False
        finally:
            self.manager.close()
            self.folder.cleanup()
        return True


async def start(config: Path, var: Path) -> Server:
    """Start a server and wait until it says that it is ready.

    :raises ServerError: it ended, or was not ready in time.
    """
    domain = next(iter(Config.read(config).settings.domains))
    log = (config.parent if var in config.parents else var) / f"{config.stem}.log"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    folder = tempfile.TemporaryDirectory()
    manager.bind(f"{folder.name}/notify")
    manager.setblocking(False)
    with log.open("wb") as output:
        process = await subprocess.create_subprocess_exec(
            BIN / "twistd", "--nodaemon", "jabberd", "--config", config,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, "NOTIFY_SOCKET": manager.getsockname()},
            start_new_session=True,  # Ctrl-C is for the play, which then ends its servers
        )  # fmt: skip
    server = Server(domain, config, log, process, manager, folder)
    try:
        server.places = await _ready(server)
    except BaseException:
        await server.stop()
        raise
    return server


async def _ready(server: Server) -> str:
    """Wait for ``READY=1``; returns the status that comes with it."""
    told = asyncio.ensure_future(_told(server.manager))
    ended = asyncio.ensure_future(server.process.wait())
    try:
        await asyncio.wait({told, ended}, timeout=START, return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            return told.result()
        if ended.done():
            raise _dead(server.domain, ended.result(), server.log)
        raise ServerError(
            f"the server of {server.domain} was not ready within {START:.0f} s; see {server.log}"
        )
    finally:
        told.cancel()
        ended.cancel()


async def _told(manager: socket.socket) -> str:
    while True:
        said = (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode()
        fields = dict(line.split("=", 1) for line in said.splitlines())
        if fields.get("READY") == "1":
            return fields["STATUS"]


def _dead(domain: str, status: int, log: Path) -> ServerError:
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])
    return ServerError(f"the server of {domain} has ended with status {status}; the end of {log}:\n{tail}")


async def accounts(server: Server, names: Iterable[str], password: str, say: Callable[[str], None]) -> None:
    """Make accounts as an operator would; those that exist stay, with this password.

    :raises ServerError: one cannot be made.
    """
    config = os.path.relpath(server.config)  # noqa: ASYNC240  # does not look at the disk
    there = (await _jabberctl(server, "accounts", "list", server.domain)).split()
    for name in names:
        jid = f"{name}@{server.domain}"
        verb = "password" if jid in there else "create"
        say(f"$ jabberctl --config {config} accounts {verb} {jid}")
        await _jabberctl(server, "accounts", verb, jid, secret=password)


async def _jabberctl(server: Server, *words: str, secret: str = "") -> str:
    options = ["--password-stdin"] if secret else []
    process = await subprocess.create_subprocess_exec(
        BIN / "jabberctl", "--config", server.config, *options, *words,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(START):
        said, _ = await process.communicate(secret.encode())
    if process.returncode:
        raise ServerError(f"{server.domain}: {said.decode().strip()}")
    return said.decode()
