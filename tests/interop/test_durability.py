"""What a real client was told is safe survives kill -9, on each database; slixmpp is the client."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jabberd.certificates import development_certificates
from tests.interop.actor import PASSWORD, Actor, entered
from tests.running import running
from tests.storage.postgresql import Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Running

pytestmark = pytest.mark.process
JABBERCTL = Path(sys.executable).with_name("jabberctl")
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
federation = "off"
[tls]
certificates = "certs"
[storage]
url = "{url}"
"""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    yield from serve()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.foreign)])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A server's configuration, with accounts for romeo and the nurse."""
    url = "sqlite:montague.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
    development_certificates(tmp_path / "certs", ("montague.lit",))
    path = tmp_path / "montague.toml"
    path.write_text(CONFIG.format(url=url))
    for name in ("romeo", "nurse"):
        command = [
            str(JABBERCTL),
            "--config",
            str(path),
            "--password-stdin",
            "accounts",
            "create",
            f"{name}@montague.lit",
        ]
        subprocess.run(command, input=PASSWORD, text=True, check=True, capture_output=True, timeout=60)
    return path


def actor(jid: str, server: Running) -> Any:  # slixmpp's types are its own
    client = Actor(jid, server.port("c2s"), server.log.parent / "certs" / "ca.crt", register=False)
    client.register_plugin("xep_0198")
    return client


def test_a_message_that_was_acknowledged_and_a_contact_that_was_added_survive_kill_9(config: Path) -> None:
    async def acknowledged(server: Running) -> None:
        romeo = actor("romeo@montague.lit/orchard", server)
        async with entered(romeo):
            await romeo.update_roster("nurse@montague.lit", name="Nurse")
            acks: list[int] = []
            romeo.add_event_handler("stanza_acked", lambda stanza: acks.append(stanza["id"]))
            for number in range(20):
                romeo.send_message("nurse@montague.lit", f"message {number}", mtype="chat")
            romeo.plugin["xep_0198"].request_ack()
            await romeo.until("all acknowledgements", lambda: len(acks) >= 20)
            os.kill(server.process.pid, signal.SIGKILL)
            await asyncio.sleep(0.2)

    async def there(server: Running) -> None:
        romeo, nurse = actor("romeo@montague.lit/x", server), actor("nurse@montague.lit/chamber", server)
        async with entered(romeo, nurse):
            for number in range(20):
                await nurse.receives("message", body=f"message {number}")
            assert romeo.client_roster["nurse@montague.lit"]["name"] == "Nurse"

    with running(config) as server:
        asyncio.run(acknowledged(server))
    with running(config) as server:
        asyncio.run(there(server))
