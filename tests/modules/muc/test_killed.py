"""What an owner says by one form is there after kill -9, all of it or nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from jabberd.modules.muc.room import Belonging, Record
from jabberd.modules.muc.store import AFFILIATIONS, RECORDS
from jabberd.storage import open_storage
from jabberd.testing.outcome import done
from tests.modules.muc import configures
from tests.modules.muc.play import ROOM

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process
ROMEO, JULIET = "romeo@montague.lit", "juliet@capulet.lit"
NEW = ("The orchard", {ROMEO: "owner", JULIET: "admin"})


def stored(url: str) -> tuple[str, dict[str, str]] | None:
    """The room's name and who belongs to it."""
    storage = open_storage(url, None)
    record = done(storage.keyed(RECORDS, Record).get(ROOM))
    belongings = done(storage.keyed(AFFILIATIONS, Belonging).all(ROOM))
    done(storage.close())
    if record is None:
        assert not belongings, "there is no room, but somebody belongs to it"
        return None
    return record.options.name, {jid: each.affiliation for jid, each in belongings.items()}


def killed(url: str, what: str, number: int) -> tuple[int, str]:
    """Let a process configure a room and die at a commit; its status, and what it said."""
    command = [sys.executable, "-m", configures.__name__, url, what, str(number)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode, ended.stdout


@pytest.mark.parametrize(("what", "before"), [("configure", ("", {ROMEO: "owner"})), ("create", None)])
def test_a_configuration_is_stored_all_or_not_at_all(
    tmp_path: Path, what: str, before: tuple[str, dict[str, str]] | None
) -> None:
    found, number, status = [], 0, -signal.SIGKILL
    while status:
        number += 1
        url = f"sqlite:///{tmp_path}/{number}.db"
        status, said = killed(url, what, number)
        found.append(stored(url))
    first = found.index(NEW)  # of a new room, it is forgotten first where another one has gone
    assert found == [before] * first + [NEW] * (number - first)
    assert first == (1 if before else 2)
    assert int(said) == number - 1 >= 1
