"""What an owner says at once is there after kill -9, all of it or nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, TypeVar

import pytest

from jabberd.modules.muc.room import Belonging, Record
from jabberd.modules.muc.store import AFFILIATIONS, RECORDS
from jabberd.modules.muc_avatars import HASH
from jabberd.storage import open_storage
from jabberd.testing.outcome import done
from tests.modules.muc import configures
from tests.modules.muc.play import ROOM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
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


def shown(url: str) -> tuple[bool, bool]:
    """Whether the room tells of an avatar, and whether it has one."""
    storage = open_storage(url, None)
    record = done(storage.keyed(RECORDS, Record).get(ROOM))
    card = done(storage.keyed("muc-vcard", str).get(ROOM))
    done(storage.close())
    assert record is not None
    return HASH in record.kept, card is not None


def killed(url: str, what: str, number: int) -> tuple[int, str]:
    """Let a process configure a room and die at a commit; its status, and what it said."""
    command = [sys.executable, "-m", configures.__name__, url, what, str(number)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode, ended.stdout


def at_each_commit(path: Path, what: str, look: Callable[[str], T]) -> list[T]:
    """What is stored when the process dies at its first commit, at its second and so on, and if it lives."""
    found, status = list[T](), -signal.SIGKILL
    while status:
        url = f"sqlite:///{path}/{len(found)}.db"
        status, said = killed(url, what, len(found) + 1)
        found.append(look(url))
    assert int(said) == len(found) - 1 >= 1
    return found


@pytest.mark.parametrize(("what", "before"), [("configure", ("", {ROMEO: "owner"})), ("create", None)])
def test_a_configuration_is_stored_all_or_not_at_all(
    tmp_path: Path, what: str, before: tuple[str, dict[str, str]] | None
) -> None:
    found = at_each_commit(tmp_path, what, stored)
    first = found.index(NEW)  # of a new room, it is forgotten first where another one has gone
    assert found == [before] * first + [NEW] * (len(found) - first)
    assert first == (1 if before else 2)


def test_no_room_tells_of_an_avatar_that_it_does_not_have(tmp_path: Path) -> None:
    first, *others = at_each_commit(tmp_path, "avatar", shown)
    assert first == (False, False)
    assert all(each == (True, True) for each in others)
