"""A lock is held by one, names who it is, and is nobody's when its holder is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from jabberd.lock import FileLock, HeldError

if TYPE_CHECKING:
    from pathlib import Path

DIE_HOLDING = (
    "import os, pathlib, sys; from jabberd.lock import FileLock;"
    "FileLock(pathlib.Path(sys.argv[1])).acquire(); os.kill(os.getpid(), 9)"
)


def test_one_has_it_and_the_other_learns_who(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(HeldError) as caught:
        second.acquire()
    assert caught.value.pid == os.getpid()
    first.release()
    second.acquire()
    second.release()


def test_what_is_not_held_can_be_released(tmp_path: Path) -> None:
    FileLock(tmp_path / "lock").release()
    assert not (tmp_path / "lock").exists()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    died = subprocess.run([sys.executable, "-c", DIE_HOLDING, path], check=False, timeout=30)
    assert (died.returncode, path.exists()) == (-9, True)
    lock = FileLock(path)
    lock.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()
