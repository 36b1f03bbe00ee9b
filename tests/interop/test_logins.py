"""Clients that nobody here wrote log in with every mechanism: slixmpp and scramp; for Go see beside."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from base64 import b64decode, b64encode
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from scramp import ScramClient  # type: ignore[import-untyped]  # it has no types

from jabberd.xmpp import ns
from tests.interop.actor import PATIENCE, Actor
from tests.interop.logins import ALL, DOMAIN, SCRAM, SECRET, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("montague")) as server:
        yield server


# --- slixmpp -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", [*SCRAM, "PLAIN"])
@pytest.mark.parametrize(("password", "outcome"), [(SECRET, "session_start"), ("rosaline", "failed_auth")])
def test_slixmpp_logs_in(server: Running, mechanism: str, password: str, outcome: str) -> None:
    async def play() -> None:
        authority = server.log.with_name("ca.crt")
        actor = Actor(f"romeo@{DOMAIN}/orchard", server.port("c2s"), authority, register=False)
        actor.password = password
        actor.plugin["feature_mechanisms"].use_mech = mechanism
        came: asyncio.Queue[str] = asyncio.Queue()
        for event in ("session_start", "failed_auth"):
            actor.add_event_handler(event, lambda _, event=event: came.put_nowait(event))
        actor.connect("127.0.0.1", server.port("c2s"))
        async with asyncio.timeout(PATIENCE):
            assert await came.get() == outcome
        await actor.disconnect(wait=1.0)

    asyncio.run(play())


# --- scramp --------------------------------------------------------------------------------------


class Stream:
    """A stream over direct TLS."""

    def __init__(self, server: Running) -> None:
        context = ssl.create_default_context(cafile=str(server.log.with_name("ca.crt")))
        context.set_alpn_protocols(["xmpp-client"])
        raw = socket.create_connection(("127.0.0.1", server.port("c2s-direct")), PATIENCE)
        self.socket = context.wrap_socket(raw, server_hostname=DOMAIN)

    def open(self) -> str:
        opening = (
            f"<stream:stream xmlns='jabber:client' xmlns:stream='{ns.STREAM}' to='{DOMAIN}' version='1.0'>"
        )
        return self.ask(opening, "</stream:features>")

    def ask(self, text: str, end: str) -> str:
        """Send something and read until a pattern matches."""
        self.socket.sendall(text.encode())
        heard = ""
        while not re.search(end, heard):
            more = self.socket.recv(4096)
            assert more, heard
            heard += more.decode()
        return heard

    def say(self, name: str, data: str, attributes: str = "") -> tuple[str, str]:
        """A step of SASL: what the server answers, and what is in that."""
        text = b64encode(data.encode()).decode()
        heard = self.ask(
            f"<{name} xmlns='{ns.SASL}'{attributes}>{text}</{name}>", "</(challenge|success|failure)>"
        )
        answer = re.fullmatch(r"<(\w+)[^>]*>(.*)</\1>", heard, re.DOTALL)
        assert answer, heard
        return answer[1], answer[2] if answer[1] == "failure" else b64decode(answer[2]).decode()

    def end_point(self) -> bytes:
        """RFC 5929 §4.1."""
        der = self.socket.getpeercert(binary_form=True)
        assert der
        return x509.load_der_x509_certificate(der).fingerprint(hashes.SHA256())


@pytest.mark.parametrize("mechanism", [each for each in ALL if each != "PLAIN"])
@pytest.mark.parametrize("password", [SECRET, "rosaline"])
def test_scramp_logs_in(server: Running, mechanism: str, password: str) -> None:
    stream = Stream(server)
    with closing(stream.socket):
        assert f"<mechanism>{mechanism}</mechanism>" in stream.open()
        binding = ("tls-server-end-point", stream.end_point()) if mechanism.endswith("-PLUS") else None
        client = ScramClient([mechanism], "romeo", password, channel_binding=binding)
        answer, data = stream.say("auth", client.get_client_first(), f" mechanism='{mechanism}'")
        assert answer == "challenge"
        client.set_server_first(data)
        answer, data = stream.say("response", client.get_client_final())
        if password == SECRET:
            assert answer == "success"
            client.set_server_final(data)
            assert ns.BIND in stream.open()
        else:
            assert (answer, "<not-authorized" in data) == ("failure", True)
