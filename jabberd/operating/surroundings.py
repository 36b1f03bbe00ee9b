"""What a server needs of the machine it runs on."""

from __future__ import annotations

import errno
import resource
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jabberd.operating.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from jabberd.config import Config
    from jabberd.settings import Listener
    from jabberd.streams.certfiles import ServerCertificate

__all__ = ["files", "keys", "ports", "room"]

_FILES: Final = 4096  # one for each connection
_ROOM: Final = 256 << 20  # bytes
_OTHERS: Final = 0o007  # what the mode of a file allows everybody
_REMEDIES: Final = {
    errno.EADDRINUSE: "end the program that holds it, or choose another",
    errno.EACCES: "choose one above 1023, or give the server CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "write an address that this machine has",
}


def ports(config: Config, held: Collection[tuple[str, int]]) -> Iterator[Finding]:
    """A finding for each listener.

    :param held: the addresses and ports where this server itself listens.
    """
    for listener in config.settings.listeners:
        what = f"port {listener.address} {listener.port}"
        if (listener.address, listener.port) in held:
            yield Finding(what, f"this server listens there ({listener.kind})")
        elif listener.port == 0:
            yield Finding(what, "the system chooses one")
        else:
            yield _tried(what, listener)


def _tried(what: str, listener: Listener) -> Finding:
    """Whether the port can be bound."""
    family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((listener.address, listener.port))
            trial.listen()
        except OSError as error:
            return Finding(what, str(error.strerror), _REMEDIES.get(error.errno or 0, "choose another"))
    return Finding(what, f"it is free ({listener.kind})")


def keys(certificates: Iterable[ServerCertificate]) -> Iterator[Finding]:
    """Those private keys that everybody on this machine can read or replace."""
    for path in dict.fromkeys(each.key_path for each in certificates):
        if path.stat().st_mode & _OTHERS:
            yield Finding(f"key {path}", "everybody on this machine can get at it", f"chmod o= {path}")


def files() -> Finding:
    """How many connections the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= _FILES:
        return Finding("open files", "as many as are wanted" if most < 0 else f"{most} are allowed")
    return Finding("open files", f"only {most} are allowed", "raise the limit (LimitNOFILE= in systemd)")


def room(url: str) -> Iterator[Finding]:
    """Whether there is room for the storage, where it is a file."""
    if url == "memory":
        return
    from sqlalchemy import make_url  # noqa: PLC0415 - only what is used costs memory

    parsed = make_url(url)
    if parsed.drivername != "sqlite":
        return
    folder = Path(parsed.database or "").absolute().parent
    free = shutil.disk_usage(folder).free
    said = f"{folder} has room for {free >> 20} MiB more"
    yield Finding("disk", said, "make room" if free < _ROOM else "")
