"""A real server for authors of clients: a process on this machine, with TLS, which is gone afterwards."""

from __future__ import annotations

import json
import socket
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jabberd.certificates import development_certificates
from jabberd.testing.process import PATIENCE, running

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LocalServer", "local_server"]

_CONFIG: Final = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
direct_tls = true
[domains."{domain}"]
federation = "off"
[tls]
certificates = "certificates"
[storage]
url = "memory"
[control]
socket = "control"
"""

_NOTED: Final = 30  # lines


@dataclass(frozen=True)
class LocalServer:
    """A running server, which forgets everything when it ends.

    :ivar domain: which it hosts.
    :ivar host: where clients connect; ``port`` with STARTTLS, ``direct_port`` with TLS from the first byte.
    :ivar authority: the PEM file of the CA that a client has to trust.
    :ivar log: the file of its log.
    """

    domain: str
    host: str
    port: int
    direct_port: int
    authority: Path
    log: Path

    def account(self, name: str, password: str = "secret") -> str:  # noqa: S107  # nobody's
        """Make an account; its bare JID."""
        jid = f"{name}@{self.domain}"
        self.operate("accounts", "create", jid, password=password)
        return jid

    def operate(self, *words: str, **secrets: str) -> Any:
        """Run an operator's verb, as ``jabberctl --json`` does; what it answers.

        :raises ValueError: it was refused or not understood; the reason, with the end of the log as a note.
        """
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE)
            control.connect(str(self.log.with_name("control")))
            control.sendall(json.dumps({"words": words, "secrets": secrets}).encode() + b"\n")
            answer = json.loads(b"".join(iter(lambda: control.recv(65536), b"")))
        if "done" not in answer:
            error = ValueError(next(iter(answer.values())))
            error.add_note(
                "".join(["its log ends with\n", *self.log.read_text().splitlines(keepends=True)[-_NOTED:]])
            )
            raise error
        return answer["done"]


@contextmanager
def local_server(domain: str = "montague.lit", more: str = "") -> Iterator[LocalServer]:
    """Start a server, wait until clients may come, and end it behind the block.

    :param more: what its configuration has besides, in TOML.
    :raises AssertionError: it did not start; with what it printed.
    """
    with tempfile.TemporaryDirectory(prefix="jabberd-") as name:
        folder = Path(name)
        development_certificates(folder / "certificates", (domain,))
        config = folder / "jabberd.toml"
        config.write_text(_CONFIG.format(domain=domain) + more)
        with running(config) as server:
            yield LocalServer(
                domain,
                "127.0.0.1",
                server.port("c2s"),
                server.port("c2s-direct"),
                folder / "certificates" / "ca.crt",
                server.log,
            )
