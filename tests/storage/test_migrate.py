"""A storage is brought up to date in a process of its own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from jabberd.interfaces import StorageError
from jabberd.storage.engine import engines
from jabberd.storage.migrate import migrate
from jabberd.storage.schema import MIGRATIONS, revision, revisions

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process


def test_a_new_storage_gets_its_tables_and_one_that_has_them_is_left_alone(
    sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(sql_url)
    _, reading = engines(sql_url)
    with reading.connect() as connection:
        assert revision(connection) == revisions(MIGRATIONS)[-1]
    reading.dispose()
    monkeypatch.setattr("subprocess.run", None)  # nothing is to be run now
    migrate(sql_url)


def test_what_keeps_nothing_has_no_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)
    migrate("memory")


def test_a_storage_of_a_newer_version_is_told(tmp_path: Path) -> None:
    file = tmp_path / "montague.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
        database.commit()
    with pytest.raises(StorageError, match=r"^the database has schema 9999, newer than .*; run the newer"):
        migrate(f"sqlite:///{file}")


def test_a_migration_that_ends_by_itself_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alembic.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StorageError, match=r"^the migration was ended by signal 9; start again$"):
        migrate(f"sqlite:///{tmp_path}/montague.db")
