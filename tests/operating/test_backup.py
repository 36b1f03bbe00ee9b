"""A copy of a storage is whole, and becomes a storage again, but never by accident."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import execute

from jabberd.admin import Admin
from jabberd.api import Refused
from jabberd.operating.backup import Backup, Restore
from jabberd.storage import open_storage
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from pathlib import Path

    from jabberd.interfaces import Storage

ROMEO = "romeo@montague.lit"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jabberd.db"


def operate(url: str, *words: str) -> Any:
    groups = [("", "", Backup(url, execute)), ("", "", Restore(url))]
    return done(Admin(lambda: groups).run([*words], {}))


def put(storage: Storage, value: str) -> None:
    done(storage.keyed("said", str).put(ROMEO, "", value))


def kept(url: str) -> str | None:
    storage = open_storage(url, None)
    found = done(storage.keyed("said", str).get(ROMEO))
    done(storage.close())
    return found


def test_a_backup_has_what_was_there_and_comes_back(url: str, tmp_path: Path) -> None:
    storage, copy = open_storage(url, None), tmp_path / "copy.db"
    put(storage, "by yonder blessed moon")
    answer = operate(url, "backup", str(copy))
    put(storage, "the inconstant moon")
    done(storage.close())
    assert (answer["integrity"], answer["bytes"]) == ("ok", copy.stat().st_size)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(each.name for each in tmp_path.glob("copy*")) == ["copy.db"]
    with pytest.raises(Refused, match=r"jabberd.db exists; say `restore .*copy.db overwrite`"):
        operate(url, "restore", str(copy))
    assert kept(url) == "the inconstant moon"
    operate(url, "restore", str(copy), "overwrite")
    assert kept(url) == "by yonder blessed moon"


def test_where_there_is_no_storage_one_is_made_from_the_backup(url: str, tmp_path: Path) -> None:
    storage = open_storage(url, None)
    put(storage, "swear not")
    operate(url, "backup", f"{tmp_path}/copy.db")
    done(storage.close())
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    operate(elsewhere, "restore", f"{tmp_path}/copy.db")
    assert kept(elsewhere) == "swear not"


def test_nothing_is_overwritten_by_a_backup(url: str, tmp_path: Path) -> None:
    done(open_storage(url, None).close())
    (tmp_path / "copy.db").write_text("dear")
    with pytest.raises(Refused, match=r"copy.db exists already"):
        operate(url, "backup", f"{tmp_path}/copy.db")
    assert (tmp_path / "copy.db").read_text() == "dear"


def test_a_place_that_cannot_be_written_is_told_and_nothing_is_left(url: str, tmp_path: Path) -> None:
    done(open_storage(url, None).close())
    with pytest.raises(Refused, match=r"no/copy.db cannot be made: No such file or directory; name a"):
        operate(url, "backup", f"{tmp_path}/no/copy.db")
    with pytest.raises(Refused, match="write the whole path"):
        operate(url, "backup", "copy.db")


@pytest.mark.parametrize("damage", ["text", "foreign", "newer", "torn"])
def test_what_is_no_backup_is_not_restored(url: str, tmp_path: Path, damage: str) -> None:
    storage, copy = open_storage(url, None), tmp_path / "copy.db"
    put(storage, "moon " * 100_000)
    operate(url, "backup", str(copy))
    done(storage.close())
    if damage == "text":
        copy.write_text("no database " * 1000)
    elif damage == "torn":
        copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
    else:
        with closing(sqlite3.connect(copy)) as database:
            statement = (
                "DROP TABLE alembic_version"
                if damage == "foreign"
                else "UPDATE alembic_version SET version_num = '9999'"
            )
            database.execute(statement)
            database.commit()
    with pytest.raises(Refused, match=r"is not a backup|is damaged|use a newer one"):
        operate(url, "restore", str(copy), "overwrite")
    assert kept(url) == "moon " * 100_000


def test_other_storages_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="pg_dump"):
        operate("postgresql://jabberd@localhost/jabberd", "backup", f"{tmp_path}/copy")
    with pytest.raises(Refused, match="cannot be copied"):
        operate("memory", "backup", f"{tmp_path}/copy")
