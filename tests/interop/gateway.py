"""Our server with a port for components, as the tests of gateways have it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from jabberd.certificates import issue, make_ca
from tests.interop.actor import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN: Final = "montague.lit"
SECRET: Final = "a thing of no great worth"
PUBSUB: Final = "http://jabber.org/protocol/pubsub"
_CONFIG: Final = f"""
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "component"
address = "127.0.0.1"
port = 0
[domains."{DOMAIN}"]
federation = "off"
[tls]
certificates = "certs"
[storage]
url = "sqlite:montague.db"
"""


def configured(*components: str, more: str = "") -> str:
    """A configuration with those components, and what is added to it."""
    tables = (f'[components."{each}"]\nsecret = "{SECRET}"\nfederation = "off"\n' for each in components)
    return "".join((_CONFIG, *tables, more))


def served(folder: Path, text: str) -> Path:
    """That configuration in a file, with certificates, and accounts for romeo and juliet."""
    ca = make_ca()
    issue(ca, DOMAIN).write(folder / "certs", DOMAIN)
    (folder / "ca.crt").write_bytes(ca.certificate_pem())
    config = folder / "montague.toml"
    config.write_text(text)
    for name in ("romeo", "juliet"):
        jabberctl(config, "--password-stdin", "accounts", "create", f"{name}@{DOMAIN}", said=PASSWORD)
    return config


def jabberctl(config: Path, *words: str, said: str = "") -> str:
    """Run a verb, which has to succeed; what it prints."""
    command = [sys.executable, "-m", "jabberd.ctl", "--config", str(config), *words]
    return subprocess.run(command, input=said, text=True, check=True, capture_output=True, timeout=90).stdout
