"""Real server processes for tests (`jabberd.testing.process`), and ports for those who must be told one."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress

from jabberd.testing.process import PATIENCE, TWISTD, Running, command, running

__all__ = ["PATIENCE", "TWISTD", "Running", "command", "free_ports", "running"]

_NOBODYS = range(15_000, 32_000)  # below those that the system gives to whoever asks for any


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has, and that no connection gets by chance before they are used."""
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.SystemRandom().sample(_NOBODYS, 1000):
            if len(ports) == count:
                return ports
            with suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
    raise AssertionError("no ports are free")
