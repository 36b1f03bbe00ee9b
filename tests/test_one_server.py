"""A second server on the same storage or socket, as processes: it is refused and names the first."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from jabberd.certificates import issue, make_ca
from tests.running import PATIENCE, command, running

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
