"""slixmpp logs in with certificates, made with OpenSSL as ``docs/operating.md`` says, over sockets."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import slixmpp
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from jabberd.certificates import CLIENT_AUTH, Issued, development_certificates, issue, make_ca
from tests.interop.actor import PASSWORD, PATIENCE
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Running

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here: apt install openssl"),
]

GUIDE = Path(__file__).parents[2] / "docs" / "operating.md"
JABBERCTL = [sys.executable, "-m", "jabberd.ctl"]
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
client_authorities = ["clients.pem"]
[storage]
url = "sqlite:montague.db"
[control]
socket = "control"
"""


def jabberctl(folder: Path, *words: str) -> None:
    command = [*JABBERCTL, "--config", str(folder / "montague.toml"), *words]
    subprocess.run(command, input=PASSWORD, text=True, check=True, capture_output=True, timeout=90)


def certify(ca: Issued, account: str, *, expired: bool = False) -> Issued:
    return issue(ca, account, dns=False, srv=False, eku=(CLIENT_AUTH,), accounts=[account], expired=expired)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("montague")
    (folder / "certificates").mkdir()  # of the guide's certificate for a trial
    for command in re.findall(r"^\$ (openssl (?:.*\\\n)*.*)$", GUIDE.read_text(), re.MULTILINE):
        subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True, timeout=90)
    ours = Issued(
        x509.load_pem_x509_certificate((folder / "clients.pem").read_bytes()),
        serialization.load_pem_private_key((folder / "clients.key").read_bytes(), None),  # type: ignore[arg-type]  # it is one of a curve
    )
    certify(make_ca(name="Clients of montague.lit"), "romeo@montague.lit").write(folder, "forged")
    certify(ours, "romeo@montague.lit", expired=True).write(folder, "expired")
    certify(ours, "romeo@capulet.lit").write(folder, "abroad")
    development_certificates(folder / "certs", ("montague.lit",))
    (folder / "montague.toml").write_text(CONFIG)
    for name in ("romeo", "benvolio"):
        jabberctl(folder, "accounts", "create", f"{name}@montague.lit", "--password-stdin")
    with running(folder / "montague.toml") as server:
        yield server


def enter(server: Running, jid: str, password: str, shown: str, *, direct: bool = False) -> str:
    """The mechanism by which a client gets in, or ``nobody``.

    :param shown: its certificate and key, without suffix.
    """
    folder = server.log.parent

    async def entering() -> str:
        client: Any = slixmpp.ClientXMPP(jid, password)  # whose types do not know what it takes
        client.ca_certs = folder / "certs" / "ca.crt"
        client.enable_direct_tls, client.enable_starttls = direct, not direct
        if shown:
            suffix = "crt" if (folder / f"{shown}.crt").exists() else "pem"
            client.certfile, client.keyfile = folder / f"{shown}.{suffix}", folder / f"{shown}.key"
        client.credentials["authzid"] = client.requested_jid.bare
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end(outcome: str) -> None:
            if not over.done():
                over.set_result(outcome)

        client.add_event_handler(
            "session_start", lambda _: end(client.plugin["feature_mechanisms"].mech.name)
        )
        client.add_event_handler("failed_all_auth", lambda _: end("nobody"))
        client.add_event_handler("disconnected", lambda _: end("nobody"))
        client.connect("127.0.0.1", server.port("c2s-direct" if direct else "c2s"))
        outcome = await asyncio.wait_for(over, PATIENCE)
        await client.disconnect()
        return outcome

    return asyncio.run(entering())


ROMEO = "romeo@montague.lit/orchard"


@pytest.mark.parametrize("direct", [False, True], ids=["STARTTLS", "direct TLS"])
def test_a_certificate_lets_its_account_in(server: Running, *, direct: bool) -> None:
    assert enter(server, ROMEO, "", "romeo", direct=direct) == "EXTERNAL"


def test_who_shows_none_is_let_in_by_password(server: Running) -> None:
    assert enter(server, ROMEO, PASSWORD, "").startswith("SCRAM-")


@pytest.mark.parametrize("shown", ["forged", "expired", "abroad"])
def test_a_certificate_that_will_not_do_is_no_hindrance(server: Running, shown: str) -> None:
    assert enter(server, ROMEO, PASSWORD, shown).startswith("SCRAM-")
    assert enter(server, ROMEO, "", shown) == "nobody"


def test_nobody_elses_account_is_opened(server: Running) -> None:
    assert enter(server, "benvolio@montague.lit/street", "", "romeo") == "nobody"
    assert server.log.read_text().count("login refused: invalid-authzid") >= 1


def test_authorities_come_and_go_with_a_reload(server: Running) -> None:
    file = server.log.parent / "montague.toml"
    before = file.read_text()
    file.write_text(before.replace('client_authorities = ["clients.pem"]\n', ""))
    jabberctl(server.log.parent, "config", "reload")
    assert enter(server, ROMEO, "", "romeo") == "nobody"
    file.write_text(before)
    jabberctl(server.log.parent, "config", "reload")
    assert enter(server, ROMEO, "", "romeo") == "EXTERNAL"


def test_a_file_that_is_missing_stops_the_start_and_changes_nothing_in_a_reload(server: Running) -> None:
    file = server.log.parent / "montague.toml"
    before = file.read_text()
    file.write_text(before.replace("clients.pem", "missing.pem"))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        jabberctl(server.log.parent, "config", "reload")
    file.write_text(before)
    assert "montague.toml:15: tls.client_authorities: " in refused.value.stderr
    assert "missing.pem: " in refused.value.stderr
    assert enter(server, ROMEO, "", "romeo") == "EXTERNAL"
