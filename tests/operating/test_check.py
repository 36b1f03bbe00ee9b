"""``jabberctl check``, with a server and without one, as a process: it has a reactor of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from jabberd.certificates import issue, make_ca
from tests.running import PATIENCE, running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

CONFIG = """
[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = {listen}
[domains."{domain}"]
[tls]
certificates = "certs"
[federation]
authorities = ["{ca}"]
resolver = "127.0.0.1:9"
[federation.hosts]
"montague.lit" = "127.0.0.1:{montague}"
"capulet.lit" = "127.0.0.1:{capulet}"
[storage]
url = "sqlite:{domain}.db"
[control]
socket = "{domain}.sock"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ca = make_ca(tmp_path / "ca")
    for domain in ("montague.lit", "capulet.lit"):
        issue(ca, domain).write(tmp_path / "certs", domain)
    (tmp_path / "stranger.crt").write_bytes(make_ca().certificate_pem())
    return tmp_path


def config(folder: Path, domain: str, *, listen: int = 0, capulet: int = 9, ca: str = "ca/ca.crt") -> Path:
    file = folder / f"{domain}.toml"
    file.write_text(CONFIG.format(domain=domain, listen=listen, montague=9, capulet=capulet, ca=ca))
    return file


def check(file: Path, *words: str) -> tuple[int, list[str]]:
    """The exit status and the lines."""
    arguments = [sys.executable, "-m", "jabberd.ctl", "--json", "--config", str(file), "check", *words]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False)
    answer = json.loads(run.stdout)
    return run.returncode, answer.get("done") or answer["refused"].splitlines()


def test_each_thing_is_looked_at_with_a_server_and_without(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = config(folder, "montague.lit", listen=port)
        status, lines = check(file)
        assert status == 1
        (failed,) = [line for line in lines if "FAILED" in line]
        remedy = "end the program that holds it, or choose another"
        assert failed == f"port 127.0.0.1 {port}: FAILED: Address already in use; {remedy}"
    status, stopped = check(file)
    with running(file):
        live = check(file)[1]
    assert (status, stopped[-2]) == (0, f"port 127.0.0.1 {port}: it is free (s2s)")
    assert live == [*stopped[:-2], f"port 127.0.0.1 {port}: this server listens there (s2s)", stopped[-1]]
    assert stopped[:-2] == [
        f"configuration: {file} is right",
        *(line for line in stopped if line.startswith("certificate montague.lit: ")),
        "dns montague.lit: 127.0.0.1:9 (STARTTLS) is 127.0.0.1",
    ]


def test_a_certificate_that_others_will_not_believe_is_told(folder: Path) -> None:
    status, lines = check(config(folder, "montague.lit", ca="stranger.crt"))
    (failed,) = [line for line in lines if "FAILED" in line]
    assert status == 1
    assert failed.startswith("certificate montague.lit: FAILED: it was issued by an unknown authority")


def test_the_handshake_is_played_step_by_step_with_a_server_and_without(folder: Path) -> None:
    with running(config(folder, "capulet.lit")) as capulet:
        file = config(folder, "montague.lit", capulet=capulet.port("s2s"))
        stopped = check(file, "--federation", "capulet.lit")
        with running(file):
            assert check(file, "--federation", "capulet.lit") == stopped
        steps = [line.partition(":")[0] for line in stopped[1]]
        assert steps == ["dns capulet.lit", "connect", "tls", "certificate", "authentication"]
        assert (stopped[0], stopped[1][-1]) == (0, "authentication: it takes our certificate")
        file = config(folder, "montague.lit", capulet=capulet.port("s2s"), ca="stranger.crt")
        status, lines = check(file, "--federation", "capulet.lit")
        assert status == 1
        assert lines[3].startswith("certificate: FAILED: it was issued by an unknown authority")
    status, lines = check(file, "--federation", "capulet.lit")
    assert (status, len(lines)) == (1, 2)
    assert lines[1].startswith("connect: FAILED: 127.0.0.1:")


def test_a_domain_that_cannot_be_found_is_told_and_nothing_more_is_tried(folder: Path) -> None:
    status, lines = check(config(folder, "montague.lit"), "--federation", "nowhere.example")
    assert (status, len(lines)) == (1, 1)
    assert lines[0].startswith("dns nowhere.example: FAILED: ")
