"""OpenSSL's own client against a real server: what TLS is spoken, and what is not (RFC 9325)."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest

from jabberd.certificates import Issued, issue, make_ca
from tests.running import PATIENCE, Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.process,
    pytest.mark.foreign,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="install openssl"),
]

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
[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = 0
direct_tls = true
[domains."montague.lit"]
[tls]
certificates = "certs"
[storage]
url = "sqlite:montague.db"
[control]
socket = "control"
[limits]
connections = 1000
"""
#: How each kind of listener is reached.
WAYS = {
    "c2s": ["-starttls", "xmpp", "-xmpphost", DOMAIN],
    "c2s-direct": ["-alpn", "xmpp-client"],
    "s2s": ["-starttls", "xmpp-server", "-xmpphost", DOMAIN],
    "s2s-direct": ["-alpn", "xmpp-server"],
}
#: RFC 9325 §4.2, and ChaCha20: all that TLS 1.2 may use with the key that the certificate has.
SAFE = {
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
}
OPENING = (
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    f" to='{DOMAIN}' version='1.0'>"
)


@pytest.fixture(scope="module")
def ca() -> Issued:
    return make_ca()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, ca: Issued) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("montague")
    issue(ca, DOMAIN).write(folder / "certs", DOMAIN)
    (folder / "ca.crt").write_bytes(ca.certificate_pem())
    config = folder / "montague.toml"
    config.write_text(CONFIG)
    with running(config) as server:
        yield server


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, server: Running) -> list[str]:
    """What to type to reach a listener of each kind."""
    port = f"127.0.0.1:{server.port(request.param)}"
    authority = str(server.log.with_name("ca.crt"))
    return [
        "openssl",
        "s_client",
        "-connect",
        port,
        "-servername",
        DOMAIN,
        "-CAfile",
        authority,
        *WAYS[request.param],
    ]


def shaken(way: list[str], *options: str, typed: str = "Q\n") -> str:
    """What the client tells of the handshake, and of what is typed then."""
    run = subprocess.run(
        [*way, *options],
        input=typed.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
    )
    return run.stdout.decode(errors="replace")


def cipher(said: str) -> str | None:
    """What was agreed on; None if nothing was."""
    found = re.search(r"^New, TLSv1\.\d, Cipher is (\S+)$", said, re.MULTILINE)
    return found[1] if found else None


def test_tls_1_3_is_spoken_and_the_certificate_is_the_domains(way: list[str]) -> None:
    said = shaken(way, "-tls1_3", "-verify_hostname", DOMAIN)
    assert (cipher(said) or "").startswith("TLS_")
    assert "Verify return code: 0 (ok)" in said
    assert re.search(r"Server Temp Key: (X25519|ECDH)", said)


@pytest.mark.parametrize("version", ["-tls1_1", "-tls1"])
def test_older_versions_are_not_spoken(way: list[str], version: str) -> None:
    assert cipher(shaken(way, version, "-cipher", "ALL:@SECLEVEL=0")) is None


def test_tls_1_2_is_spoken_with_forward_secrecy_and_authenticated_encryption_alone(way: list[str]) -> None:
    offered = subprocess.run(
        ["openssl", "ciphers", "-tls1_2", "-s", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    known = set(offered.stdout.strip().split(":")) - {
        each for each in offered.stdout.split(":") if "TLS_" in each
    }
    assert known >= SAFE
    assert {"AES128-SHA", "AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"} <= known
    for each in SAFE:
        assert cipher(shaken(way, "-tls1_2", "-cipher", each)) == each
    unsafe = ":".join(sorted(known - SAFE))
    assert cipher(shaken(way, "-tls1_2", "-cipher", f"{unsafe}:@SECLEVEL=0")) is None


def test_the_keys_are_not_renegotiated(way: list[str]) -> None:
    said = shaken(way, "-tls1_2", typed="R\nQ\n")
    assert cipher(said)
    assert "Secure Renegotiation IS supported" in said  # RFC 5746: nobody in the middle can do it either
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said


def test_nothing_is_compressed_and_no_session_is_kept(way: list[str], tmp_path: Path) -> None:
    session = str(tmp_path / "session")
    said = shaken(way, "-tls1_2", "-sess_out", session)
    assert "Compression: NONE" in said
    assert "TLS session ticket:" not in said
    assert "Reused, " not in shaken(way, "-tls1_2", "-sess_in", session)
    assert "Reused, " not in shaken(way, "-tls1_3")


# --- certificates --------------------------------------------------------------------------------


def shown(way: list[str]) -> str:
    """The serial number of the certificate that those see who connect now."""
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", shaken(way), re.DOTALL)
    assert found
    return ssl.PEM_cert_to_DER_cert(found[0]).hex()


def jabberctl(server: Running, *words: str) -> None:
    config = str(server.log.with_name("montague.toml"))
    command = [sys.executable, "-m", "jabberd.ctl", "--config", config, *words]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)


class Stream:
    """A client's stream over TLS."""

    def __init__(self, server: Running) -> None:
        context = ssl.create_default_context(cafile=str(server.log.with_name("ca.crt")))
        context.set_alpn_protocols(["xmpp-client"])
        raw = socket.create_connection(("127.0.0.1", server.port("c2s-direct")), PATIENCE)
        self.socket = context.wrap_socket(raw, server_hostname=DOMAIN)
        assert b"</stream:features>" in self.asks(OPENING, "</stream:features>")

    def asks(self, text: str, end: str) -> bytes:
        self.socket.sendall(text.encode())
        heard = b""
        while end.encode() not in heard:
            more = self.socket.recv(4096)
            assert more, heard
            heard += more
        return heard

    def challenged(self, username: str) -> dict[str, str]:
        """What a server tells of an account's keys before it is proved that they are known."""
        first = b64encode(f"n,,n={username},r=fyko+d2lbbFgONRv9qkxdawL".encode()).decode()
        sasl = "urn:ietf:params:xml:ns:xmpp-sasl"
        said = self.asks(f"<auth xmlns='{sasl}' mechanism='SCRAM-SHA-256'>{first}</auth>", "</challenge>")
        found = re.search(rb"<challenge[^>]*>([^<]*)</challenge>", said)
        assert found
        return dict(part.split("=", 1) for part in b64decode(found[1]).decode().split(","))


def test_new_certificates_are_shown_and_no_stream_is_dropped_for_them(
    way: list[str], server: Running, ca: Issued
) -> None:
    before, stream = shown(way), Stream(server)
    with subprocess.Popen([*way, "-quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        time.sleep(1.0)
        issue(ca, DOMAIN).write(server.log.with_name("certs"), DOMAIN)
        jabberctl(server, "certificates", "reload")
        assert shown(way) != before
        assert stream.challenged("romeo")["i"]
        assert other.poll() is None
        assert other.stdin
        other.stdin.write(OPENING.encode())
        other.stdin.flush()
        assert other.stdout
        assert other.stdout.read(20).strip().startswith(b"<")
        other.terminate()
    stream.socket.close()


def challenged(server: Running, username: str) -> dict[str, str]:
    """See `Stream.challenged`; nothing is proved."""
    stream = Stream(server)
    told = stream.challenged(username)
    stream.socket.close()
    return told


# --- secrets -------------------------------------------------------------------------------------


def test_the_salt_of_who_does_not_exist_is_the_same_every_time_and_looks_like_any_other(
    tmp_path: Path, ca: Issued
) -> None:
    issue(ca, DOMAIN).write(tmp_path / "certs", DOMAIN)
    (tmp_path / "ca.crt").write_bytes(ca.certificate_pem())
    config = tmp_path / "montague.toml"
    config.write_text(CONFIG)
    told: list[dict[str, dict[str, str]]] = []
    for _ in range(2):
        with running(config) as server:
            command = [sys.executable, "-m", "jabberd.ctl", "--config", str(config), "--password-stdin"]
            create = [*command, "accounts", "create", f"romeo@{DOMAIN}"]
            subprocess.run(
                create, input=b"secret", check=bool(not told), capture_output=True, timeout=PATIENCE
            )
            told.append({name: challenged(server, name) for name in ("romeo", "nobody", "no-one")})
            told[-1]["nobody again"] = challenged(server, "nobody")
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(PATIENCE)
    salts = [{name: (each["s"], each["i"]) for name, each in run.items()} for run in told]
    assert salts[0] == salts[1]
    assert salts[0]["nobody"] == salts[0]["nobody again"] != salts[0]["no-one"]
    shapes = {(len(b64decode(salt)), iterations) for salt, iterations in salts[0].values()}
    assert len(shapes) == 1
