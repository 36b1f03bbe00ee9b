"""A second server on the same storage or socket, as processes: it is refused and names the first."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from socket import gethostname
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.keys import Key

from jabberd.certificates import issue, make_ca
from jabberd.storage.ownership import InUseError, ownership
from tests.running import PATIENCE, command, running
from tests.storage.postgresql import serve

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
[tls]
certificates = "certs"
[storage]
url = "sqlite:jabberd.db"
[control]
socket = "jabberd.sock"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    issue(make_ca(), "montague.lit").write(tmp_path / "certs", "montague.lit")
    file = tmp_path / "jabberd.toml"
    file.write_text(CONFIG)
    return file


def refusal(config: Path) -> str:
    done = subprocess.run(
        command(config), check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=config.parent
    )
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (1, False)
    (line,) = done.stderr.splitlines()
    return line


def jabberctl(config: Path, *words: str) -> dict[str, str]:
    arguments = [sys.executable, "-m", "jabberd.ctl", "--json", "--config", str(config), *words]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False)
    answer: dict[str, str] = json.loads(run.stdout)
    return answer


def test_a_second_server_on_the_same_file_is_refused_with_the_pid_of_the_first(config: Path) -> None:
    other = config.with_name("other.toml")
    other.write_text(CONFIG.replace("jabberd.sock", "other.sock"))
    with running(config) as server:
        said = refusal(other)
        assert f"jabberd.db is in use by process {server.process.pid}; end it first" in said
        assert "done" in jabberctl(config, "accounts", "list", "montague.lit")


def test_a_second_server_on_the_same_socket_is_refused_with_the_pid_of_the_first(config: Path) -> None:
    other = config.with_name("other.toml")
    other.write_text(CONFIG.replace("jabberd.db", "other.db"))
    with running(config) as server:
        said = refusal(other)
        assert "jabberd.sock: the server with process id" in said
        assert f" {server.process.pid} listens there" in said
        assert "done" in jabberctl(config, "accounts", "list", "montague.lit")


MANHOLE = """
[manhole]
authorized_keys = "operators"
host_key = "own"
socket = "manhole.sock"
"""


def test_a_second_server_on_the_same_socket_of_the_manhole_is_refused_too(config: Path) -> None:
    key = Key(Ed25519PrivateKey.generate()).public().toString("OPENSSH", comment=b"nurse")
    config.with_name("operators").write_bytes(key)
    config.with_name("operators").chmod(0o600)
    config.write_text(CONFIG + MANHOLE)
    other = config.with_name("other.toml")
    other.write_text((CONFIG + MANHOLE).replace("jabberd.", "other."))
    with running(config) as server:
        said = refusal(other)
        assert f"manhole.sock: the server with process id {server.process.pid} listens there" in said
        server.process.kill()
        server.process.wait()
    with running(config) as server:
        assert config.with_name("manhole.sock").is_socket()
        server.stop()
    assert not config.with_name("manhole.sock").exists()


@pytest.mark.foreign
def test_a_database_that_forgot_whose_it_is_is_taken_again(config: Path) -> None:
    for postgresql in serve():
        url = postgresql.url()
        config.write_text(CONFIG.replace("sqlite:jabberd.db", url))
        other = config.with_name("other.toml")
        other.write_text(config.read_text().replace("jabberd.sock", "other.sock"))
        with running(config) as server:
            holder = f"application_name = 'jabberd {server.process.pid} on ' || '{gethostname()}'"
            postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {holder}")
            end = time.monotonic() + PATIENCE
            while not postgresql.holds(holder) and time.monotonic() < end:
                time.sleep(0.1)
            assert f"in use by process {server.process.pid} on " in refusal(other)
            assert "done" in jabberctl(config, "accounts", "list", "montague.lit")


@pytest.mark.foreign
def test_a_database_that_another_one_took_meanwhile_is_left_to_it(config: Path) -> None:
    for postgresql in serve():
        config.write_text(CONFIG.replace("sqlite:jabberd.db", postgresql.url()))
        with running(config) as server:
            ours = ownership(postgresql.url())
            with pytest.raises(InUseError):
                ours.acquire()
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                postgresql.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                )
                try:
                    ours.acquire()
                    break
                except InUseError:
                    time.sleep(0.01)
            assert server.process.wait(PATIENCE) is not None
            assert "the server ends: the database is in use by process" in server.log.read_text()
            ours.release()


def test_who_was_killed_is_in_nobodys_way(config: Path) -> None:
    with running(config) as server:
        server.process.kill()
        server.process.wait()
    with running(config):
        assert "done" in jabberctl(config, "accounts", "list", "montague.lit")


def test_jabberctl_leaves_a_storage_alone_whose_server_it_cannot_reach(config: Path) -> None:
    with running(config) as server:
        config.with_name("jabberd.sock").unlink()
        said = jabberctl(config, "accounts", "list", "montague.lit")["refused"]
    assert f"in use by process {server.process.pid}" in said
    assert f"no server answers on its socket ({config.with_name('jabberd.sock')})" in said
