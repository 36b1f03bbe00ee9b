"""Completion in the shell: bash asks jabberctl itself which verbs there are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

SCRIPT = """
source <(jabberctl completion)
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_jabberctl
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "jabberd.toml"
    file.write_text(
        '[[listeners]]\nkind = "c2s"\naddress = "127.0.0.1"\nport = 0\n'
        '[domains."montague.lit"]\nrequire_tls = false\n[storage]\nurl = "sqlite:jabberd.db"\n'
    )
    return file


def completed(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    bash = shutil.which("bash")
    assert bash is not None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "--norc", "-c", SCRIPT, "bash", "jabberctl", *words],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PATH": path},
    )
    return done.stdout.split()


def test_options_are_completed_without_a_server() -> None:
    assert completed("--pa") == ["--password-stdin"]
    assert completed("") == ["--config", "completion"]


def test_nouns_and_their_verbs_are_those_that_there_are(config: Path) -> None:
    assert completed("--config", str(config), "acc") == ["accounts"]
    assert completed("--json", "--config", str(config), "accounts", "pass") == ["password"]
    assert set(completed("--config", str(config), "accounts", "")) >= {"create", "delete", "list"}


def test_an_argument_is_left_to_the_shell(config: Path) -> None:
    assert completed("--config", str(config), "accounts", "create", "rom") == []
