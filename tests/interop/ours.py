"""Our own server beside a foreign one."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop.actor import PASSWORD
from tests.running import Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.peers import Authority, NameServer

ROMEO = "romeo@montague.lit"
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = {s2s}
direct_tls = {direct}
[domains."montague.lit"]
federation = "{federation}"
[tls]
certificates = "certs"
[federation]
authorities = ["certs/ca.pem"]
resolver = "127.0.0.1:{resolver}"
[storage]
url = "sqlite:montague.db"
[log]
level = "debug"
"""


@dataclass
class Ours:
    """montague.lit, with Romeo's account."""

    server: Running

    @property
    def port(self) -> int:
        """Where its clients connect."""
        return self.server.port("c2s")

    def proofs(self) -> dict[str, str]:
        """How they proved themselves to us, and we to them."""
        log = self.server.log.read_text()
        shown = {
            "in": r"'capulet.lit' writes to 'montague.lit', proved by (\w+)",
            "out": r"link from montague.lit to capulet.lit: up, by (\w+)",
        }
        return {way: found[-1] for way, form in shown.items() if (found := re.findall(form, log))}


@contextmanager
def served(
    folder: Path,
    authority: Authority,
    s2s: int,
    names: NameServer,
    federation: str,
    *,
    direct: bool = False,
    more: str = "",
) -> Iterator[Ours]:
    """Start our server for montague.lit.

    :param s2s: the port for other servers; ``direct``: they start TLS at once there.
    :param names: the name server that tells where others are.
    :param more: tables of the configuration.
    """
    names.start()
    config = folder / "montague.toml"
    config.write_text(
        CONFIG.format(s2s=s2s, direct=str(direct).lower(), federation=federation, resolver=names.port) + more
    )
    jabberctl = Path(sys.executable).with_name("jabberctl")
    command = [
        str(jabberctl),
        "--config",
        str(config),
        "--password-stdin",
        "accounts",
        "create",
        "romeo@montague.lit",
    ]
    subprocess.run(command, input=PASSWORD, text=True, check=True, capture_output=True, timeout=90)
    try:
        with running(config) as server:
            yield Ours(server)
    finally:
        names.stop()
