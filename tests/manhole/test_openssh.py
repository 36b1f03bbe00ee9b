"""OpenSSH's own client and a real server: what operators do at night."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from contextlib import closing, contextmanager
from fcntl import ioctl
from typing import TYPE_CHECKING

import pytest

from tests.running import PATIENCE, Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.process,
    pytest.mark.foreign,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="install openssh-client"),
]

ROMEO = "romeo@montague.lit"
SECRET = "wherefore art thou"
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
require_tls = false
[storage]
url = "sqlite:montague.db"
[manhole]
authorized_keys = "operators"
host_key = "own/key"
port = 0
"""


class Night:
    """A running server, and somebody who has to look after it.

    :ivar keys: by name: ``nurse`` and ``friar`` (RSA) are let in, ``tybalt`` is not.
    """

    def __init__(self, server: Running, folder: Path) -> None:
        self._server = server
        self._folder = folder
        found = re.search(r"manhole: at 127\.0\.0\.1 port (\d+), host key (\S+)", self.log)
        assert found, self.log
        self._port, self.host_key = found.groups()

    @property
    def log(self) -> str:
        return self._server.log.read_text()

    def command(self, *words: str, who: str = "nurse") -> list[str]:
        """How ``ssh`` is called, with nothing of the machine's own configuration."""
        options = {
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(self._folder / "known_hosts"),
            "LogLevel": "ERROR",
        }
        settings = [f"-o{name}={value}" for name, value in options.items()]
        key = str(self._folder / who)
        return ["ssh", "-F", "none", "-p", self._port, "-i", key, *settings, "admin@127.0.0.1", *words]

    def ssh(self, words: str, given: str = "", who: str = "nurse") -> tuple[int, str, str]:
        """Run one verb: its exit status, standard output and standard error."""
        done = subprocess.run(
            self.command(words, who=who),
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def wait_for_log(self, text: str) -> None:
        end = time.monotonic() + PATIENCE
        while text not in self.log:
            assert time.monotonic() < end, f"{text!r} is not in the log:\n{self.log}"
            time.sleep(0.05)


class Terminal:
    """``ssh`` on a terminal of its own.

    :ivar shown: what it printed and nobody has looked at.
    """

    def __init__(self, command: list[str], columns: int = 80) -> None:
        self.shown = ""
        self._file, inside = pty.openpty()
        self.resize(columns)
        self.process = subprocess.Popen(
            command,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env={**os.environ, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # else it learns of no new size
        )
        os.close(inside)

    def resize(self, columns: int) -> None:
        ioctl(self._file, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def expect(self, text: str) -> str:
        """Wait until that is shown; returns what was shown since the last time, colours left out."""
        end = time.monotonic() + PATIENCE
        while text not in (plain := re.sub(r"\x1b\[\d*[mKC]|\r", "", self.shown)):
            assert time.monotonic() < end, f"{text!r} is not in {plain!r}"
            if select.select([self._file], [], [], 0.1)[0]:
                self.shown += os.read(self._file, 65536).decode()
        self.shown = ""
        return plain

    def ends(self) -> int:
        """Wait for the end; returns the exit status."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._file)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp("night")
    for name, kind in (("nurse", "ed25519"), ("friar", "rsa"), ("tybalt", "ed25519")):
        command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"{name}@verona", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    keys = [(folder / f"{name}.pub").read_text() for name in ("nurse", "friar")]
    (folder / "operators").write_text("".join(keys))
    (folder / "operators").chmod(0o600)
    (folder / "montague.toml").write_text(CONFIG)
    with running(folder / "montague.toml") as server:
        yield Night(server, folder)


@contextmanager
def prompt(night: Night, columns: int = 80) -> Iterator[Terminal]:
    with closing(Terminal(night.command("-t"), columns)) as terminal:
        terminal.expect(">>> ")
        yield terminal


def test_a_wrong_key_is_refused_and_the_log_tells_of_it(night: Night) -> None:
    status, out, error = night.ssh("help", who="tybalt")
    assert (status, out) == (255, "")
    assert "Permission denied (publickey)" in error
    listing = subprocess.run(
        ["ssh-keygen", "-lf", night.command(who="tybalt")[6] + ".pub"],
        capture_output=True,
        text=True,
        check=True,
    )
    night.wait_for_log(f"refused the key {listing.stdout.split()[1]}")


def test_the_host_key_is_the_one_that_the_log_names(night: Night) -> None:
    assert night.ssh("help")[0] == 0
    known = next(each for each in night.command() if "known_hosts" in each).partition("=")[2]
    listing = subprocess.run(["ssh-keygen", "-lf", known], capture_output=True, text=True, check=True).stdout
    assert listing.split()[1] == night.host_key


def test_verbs_end_with_their_status(night: Night) -> None:
    assert night.ssh(f"accounts create {ROMEO}", given=SECRET + "\n")[:2] == (0, f"{ROMEO} was made\n")
    assert night.ssh("accounts list montague.lit") == (0, f"{ROMEO}\n", "")
    assert night.ssh(f"accounts create {ROMEO}", given=SECRET)[0] == 1
    status, out, error = night.ssh("acounts list montague.lit")
    assert (status, out) == (2, "")
    assert "there are: accounts list" in error


def test_a_key_of_another_kind_will_do(night: Night) -> None:
    assert night.ssh("help", who="friar")[0] == 0
    night.wait_for_log("manhole: friar@verona SHA256:")


def test_a_verb_on_a_terminal_asks_for_the_secret_unseen(night: Night) -> None:
    command = night.command("-t", "accounts create nurse@montague.lit")
    with closing(Terminal(command)) as terminal:
        terminal.expect("password for nurse@montague.lit: ")
        terminal.type(f"{SECRET}\r")
        assert SECRET not in terminal.expect("nurse@montague.lit was made\n")
        assert terminal.ends() == 0


def test_an_operator_works_at_the_prompt(night: Night) -> None:
    with prompt(night) as terminal:
        terminal.type("admin.acc\t.cre\t('mercutio@montague.lit')\r")
        terminal.expect("password for mercutio@montague.lit: ")
        terminal.type(f"{SECRET}\r")
        terminal.expect("once more: ")
        terminal.type(f"{SECRET}\r")
        terminal.expect("mercutio@montague.lit was made\n>>> ")
        terminal.type("who = await admin.accounts.list('montague.lit')\r")
        terminal.expect(">>> ")
        terminal.type("'mercutio@montague.lit' in who\r")
        terminal.expect("\nTrue\n>>> ")
        terminal.type("admin.accounts\r")
        assert "admin.accounts.create(jid, password)" in terminal.expect("\n>>> ")
        terminal.type("1 / 0\r")
        shown = terminal.expect("ZeroDivisionError: division by zero\n>>> ")
        assert 'Traceback (most recent call last):\n  File "<manhole>", line 1, in <module>\n' in shown
        terminal.type("\x04")
        assert terminal.ends() == 0
    night.wait_for_log("nurse@verona SHA256:")
    night.wait_for_log("admin.accounts.create('mercutio@montague.lit')")


def test_waiting_does_not_hold_up_the_server_and_can_be_given_up(night: Night) -> None:
    with prompt(night) as terminal:
        terminal.type("from twisted.internet.defer import Deferred\r")
        terminal.type("await Deferred()\r")
        terminal.expect("await Deferred()\n")
        assert night.ssh("help")[0] == 0
        terminal.type("\x03")
        terminal.expect("cancelled\n>>> ")
        terminal.type("exit()\r")
        assert terminal.ends() == 0


def test_tables_follow_the_size_of_the_window(night: Night) -> None:
    with prompt(night, 120) as terminal:
        terminal.type("admin.accounts\r")
        wide = terminal.expect("\n>>> ")
        terminal.resize(40)
        terminal.expect(">>> ")
        terminal.type("admin.accounts\r")
        narrow = terminal.expect("\n>>> ")
    assert max(map(len, wide.splitlines())) > 60
    assert max(map(len, narrow.splitlines())) <= 40
    assert "…" in narrow


def test_a_client_that_is_killed_leaves_the_server_as_it_was(night: Night) -> None:
    with prompt(night) as terminal:
        terminal.type("x = 1\r")
        terminal.expect(">>> ")
        terminal.process.kill()
        assert terminal.ends() == -signal.SIGKILL
    assert night.ssh("help")[0] == 0


def test_no_secret_is_in_the_log_and_nothing_went_wrong(night: Night) -> None:
    with prompt(night) as terminal:
        terminal.type(f"admin.accounts.password('mercutio@montague.lit', '{SECRET}')\r")
        terminal.expect("\n>>> ")
    night.wait_for_log("admin.accounts.password('mercutio@montague.lit', ***)")
    assert SECRET not in night.log
    assert "Traceback" not in night.log
    assert "#critical" not in night.log
    assert "#error" not in night.log
