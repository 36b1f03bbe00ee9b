"""A server to log in to, and all the ways in."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jabberd.certificates import issue, make_ca
from tests.interop.actor import PASSWORD as SECRET
from tests.running import Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ALL", "COMPONENT", "COMPONENT_SECRET", "DOMAIN", "SCRAM", "SECRET", "serving"]

DOMAIN = "montague.lit"
COMPONENT = "echo.montague.lit"
COMPONENT_SECRET = "a thing of no great worth"
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
direct_tls = true
[[listeners]]
kind = "component"
address = "127.0.0.1"
port = 0
[components."echo.montague.lit"]
secret = "a thing of no great worth"
federation = "off"
[domains."montague.lit"]
federation = "off"
[domains."montague.lit".modules.registration]
open = true
[tls]
certificates = "certs"
[storage]
url = "sqlite:montague.db"
[limits]
login_failures = "1000 per 1 min"
"""
SCRAM = ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]
ALL = [*SCRAM, *(f"{each}-PLUS" for each in SCRAM), "PLAIN"]


@contextmanager
def serving(folder: Path, more: str = "", *domains: str) -> Iterator[Running]:
    """With an account for romeo.

    :param more: what else stands in the configuration, for other domains among it.
    """
    ca = make_ca()
    for domain in (DOMAIN, *domains):
        issue(ca, domain).write(folder / "certs", domain)
    (folder / "ca.crt").write_bytes(ca.certificate_pem())
    config = folder / "montague.toml"
    config.write_text(CONFIG + more)
    command = [sys.executable, "-m", "jabberd.ctl", "--config", str(config), "--password-stdin"]
    create = [*command, "accounts", "create", f"romeo@{DOMAIN}"]
    subprocess.run(create, input=SECRET, text=True, check=True, capture_output=True, timeout=90)
    with running(config) as server:
        yield server
