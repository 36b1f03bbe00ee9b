"""A real server process for tests: ``twistd jabberd`` on a configuration, until the block ends."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TWISTD = Path(sys.executable).with_name("twistd")
PATIENCE = 30.0  # seconds that a start may take on a busy machine


def command(config: Path, *options: str) -> list[str]:
    """What is typed to start a server in the foreground."""
    return [str(TWISTD), "--nodaemon", *options, "jabberd", "--config", str(config)]


@dataclass
class Running:
    """A server that said it is ready.

    :ivar bound: kind, address and port of each listener, in the order of the configuration.
    :ivar log: the file with all that it printed.
    :ivar manager: the socket on which it tells how it is.
    """

    process: subprocess.Popen[bytes]
    log: Path
    manager: socket.socket
    bound: list[tuple[str, str, int]] = field(default_factory=list)

    def port(self, kind: str) -> int:
        """The port of the first listener of that kind."""
        return next(port for each, _, port in self.bound if each == kind)

    def tells(self, name: str) -> str:
        """The value of the next field of that name that the service manager is told."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                told = fields(self.manager.recv(4096))
            except TimeoutError:
                continue
            if name in told:
                return told[name]
        raise AssertionError(f"{name} was not told within {PATIENCE} s")

    def stop(self) -> tuple[int, float]:
        """Ask it to end, as systemd does: its exit status (negative: the signal) and the seconds it took."""
        asked = time.monotonic()
        self.process.terminate()
        status = self.process.wait(PATIENCE)
        return status, time.monotonic() - asked


@contextmanager
def running(config: Path, *options: str) -> Iterator[Running]:
    """Start a server, wait until it is ready, and see that it is gone afterwards.

    :param options: of twistd.
    :raises AssertionError: it ended, or was not ready in time; with what it printed.
    """
    folder = config.parent
    log = folder / f"{config.stem}.log"
    address = folder / f"{config.stem}.notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, log.open("wb") as output:
        manager.bind(str(address))
        manager.settimeout(0.1)
        process = subprocess.Popen(  # noqa: S603  # our own program
            command(config, *options),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "NOTIFY_SOCKET": str(address)},
        )
        try:
            status = _ready(manager, process, log)
            found = re.findall(r"([\w-]+) \[?([0-9a-f:.]+?)\]?:(\d+)", status)
            yield Running(process, log, manager, [(kind, host, int(port)) for kind, host, port in found])
        finally:
            process.kill()
            process.wait()


def fields(told: bytes) -> dict[str, str]:
    """What one datagram tells a service manager."""
    return dict(line.split("=", 1) for line in told.decode().splitlines())


def _ready(manager: socket.socket, process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for ``READY=1``; returns the status that came with it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            told = fields(manager.recv(4096))
        except TimeoutError:
            assert process.poll() is None, f"ended with {process.returncode}:\n{log.read_text()}"
        else:
            if told.get("READY") == "1":
                return told.get("STATUS", "")
    raise AssertionError(f"not ready after {PATIENCE} s:\n{log.read_text()}")
