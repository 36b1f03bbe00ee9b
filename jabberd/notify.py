"""Telling whoever started the server how it is: sd_notify(3) and its watchdog, without a library."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IReactorTime

log = Logger()


def notify(**fields: str) -> None:
    """Send fields like ``READY="1"`` to ``NOTIFY_SOCKET``; never wait, never fail."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    text = "\n".join(f"{name}={value}" for name, value in fields.items())
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(text.encode(), address)
    except OSError as error:
        log.warn("cannot notify {address!r}: {error}", address=address, error=error)


def ready(bound: Iterable[tuple[str, str, int]]) -> None:
    """Say that clients may come, and where: kind, address and port of each listener.

    The status reads ``c2s 127.0.0.1:5222, s2s [::1]:5269``.
    """
    places = [
        f"{kind} [{host}]:{port}" if ":" in host else f"{kind} {host}:{port}" for kind, host, port in bound
    ]
    log.info("ready: {places}", places=", ".join(places))
    notify(READY="1", STATUS=", ".join(places))


class Watchdog(Service):
    """Says ``WATCHDOG=1`` twice as often as the service manager asks for, if it does."""

    name = "watchdog"

    def __init__(self, clock: IReactorTime) -> None:
        self._call = LoopingCall(notify, WATCHDOG="1")
        self._call.clock = clock

    def startService(self) -> None:
        Service.startService(self)
        microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if microseconds and ours:
            self._call.start(microseconds / 2e6)

    def stopService(self) -> None:
        Service.stopService(self)
        if self._call.running:
            self._call.stop()
