"""Clients that nobody here wrote log in with every mechanism: in Python (slixmpp, scramp) and in Go."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
import sys
from base64 import b64decode, b64encode
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from scramp import ScramClient  # type: ignore[import-untyped]  # it has no types

from jabberd.certificates import issue, make_ca
from jabberd.xmpp import ns
from tests.interop.actor import PASSWORD as SECRET
from tests.interop.actor import PATIENCE, Actor
from tests.running import Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.foreign]

DOMAIN = "montague.lit"
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
[domains."montague.lit"]
federation = "off"
[tls]
certificates = "certs"
[storage]
url = "sqlite:montague.db"
[limits]
login_failures = "1000 per 1 min"
"""
SCRAM = ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]
ALL = [*SCRAM, *(f"{each}-PLUS" for each in SCRAM), "PLAIN"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With an account for romeo."""
    folder = tmp_path_factory.mktemp("montague")
    ca = make_ca()
    issue(ca, DOMAIN).write(folder / "certs", DOMAIN)
    (folder / "ca.crt").write_bytes(ca.certificate_pem())
    config = folder / "montague.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "jabberd.ctl", "--config", str(config), "--password-stdin"]
    create = [*command, "accounts", "create", f"romeo@{DOMAIN}"]
    subprocess.run(create, input=SECRET, text=True, check=True, capture_output=True, timeout=30)
    with running(config) as server:
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


# --- Go ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client in ``golang/``, built."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("install Go")
    made = tmp_path_factory.mktemp("go") / "login"
    source = Path(__file__).with_name("golang")
    built = subprocess.run(
        [go, "build", "-o", str(made), "."], cwd=source, capture_output=True, text=True, check=False
    )
    if built.returncode:
        pytest.skip(f"the client's packages cannot be had: {built.stderr}")
    return made


def went(
    program: Path,
    server: Running,
    library: str,
    mechanism: str,
    binding: str = "",
    version: str = "1.3",
    *,
    password: str = SECRET,
) -> str:
    """What came of it: ``success`` or the condition of the failure.

    :param binding: the kind of channel binding.
    :param version: the newest one of TLS.
    """
    address = f"127.0.0.1:{server.port('c2s-direct')}"
    authority = str(server.log.with_name("ca.crt"))
    words = [address, authority, DOMAIN, "romeo", password, library, mechanism, binding, version]
    run = subprocess.run(
        [str(program), *words], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert run.returncode == 0, run.stderr
    offered, outcome = run.stdout.splitlines()
    assert set(offered.split()) == set(ALL)
    return outcome


@pytest.mark.parametrize(
    ("mechanism", "version"),
    [
        *(
            (each, version)
            for each in ("SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN")
            for version in ("1.3", "1.2")
        ),
        ("SCRAM-SHA-1-PLUS", "1.3"),  # on 1.2 it knows tls-unique alone, which is not offered (RFC 7627)
        ("SCRAM-SHA-256-PLUS", "1.3"),
    ],
)
def test_mellium_logs_in(program: Path, server: Running, mechanism: str, version: str) -> None:
    """Bound to ``tls-exporter`` where the mechanism is -PLUS."""
    assert went(program, server, "mellium", mechanism, "", version) == "success"
    assert went(program, server, "mellium", mechanism, "", version, password="rosaline") == "not-authorized"


@pytest.mark.parametrize(
    ("binding", "version"),
    [("tls-exporter", "1.3"), ("tls-server-end-point", "1.3"), ("tls-server-end-point", "1.2")],
)
@pytest.mark.parametrize("mechanism", SCRAM)
def test_xdg_logs_in_bound_to_the_channel(
    program: Path, server: Running, mechanism: str, binding: str, version: str
) -> None:
    plus = f"{mechanism}-PLUS"
    assert went(program, server, "xdg", plus, binding, version) == "success"
    assert went(program, server, "xdg", plus, binding, version, password="rosaline") == "not-authorized"


@pytest.mark.parametrize("mechanism", SCRAM)
def test_xdg_logs_in_unbound_and_cannot_be_talked_out_of_binding(
    program: Path, server: Running, mechanism: str
) -> None:
    assert went(program, server, "xdg", mechanism) == "success"
    assert went(program, server, "xdg", mechanism, "advertised") == "not-authorized"
    assert went(program, server, "xdg", f"{mechanism}-PLUS", "another-channel") == "not-authorized"
