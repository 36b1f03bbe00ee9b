"""The schema is made, brought up to date, or left as it was."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from jabberd.interfaces import StorageError
from jabberd.storage import open_storage
from jabberd.storage.engine import engines
from jabberd.storage.schema import MIGRATIONS, bring_up_to_date, revision, revisions
from jabberd.storage.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "9001", "{newest}"
def upgrade():
    op.create_table("verona", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO verona VALUES (1)")
    with op.batch_alter_table("archive") as batch:
        batch.add_column(sa.Column("street", sa.Text))
"""
BROKEN = """
from alembic import op
revision, down_revision = "9002", "9001"
def upgrade():
    op.execute("INSERT INTO verona VALUES (2)")
    op.drop_table("keyed")
    op.execute("INSERT INTO mantua VALUES (1)")
"""


@pytest.fixture
def engine(sql_url: str) -> Iterator[Engine]:
    writing, _ = engines(sql_url)
    yield writing
    writing.dispose()


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of a later version."""
    folder = tmp_path / "50% more"
    shutil.copytree(MIGRATIONS, folder)
    (folder / "versions/v9001_verona.py").write_text(GOOD.format(newest=revisions(MIGRATIONS)[-1]))
    return folder


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def test_a_fresh_database_gets_the_newest_schema_without_drift(engine: Engine) -> None:
    bring_up_to_date(engine)
    with engine.connect() as connection:
        assert revision(connection) == revisions(MIGRATIONS)[-1]
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_drift_would_be_seen(engine: Engine) -> None:
    bring_up_to_date(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX keyed_domain"))
        [difference] = compare_metadata(MigrationContext.configure(connection), metadata)
    assert difference[0] == "add_index"


def test_the_file_names_tell_the_revisions(later: Path) -> None:
    for folder in (MIGRATIONS, later):
        scripts = ScriptDirectory(str(folder)).walk_revisions()
        assert revisions(folder) == [script.revision for script in scripts][::-1]


def test_an_old_database_is_brought_up_to_date_and_keeps_its_rows(engine: Engine, later: Path) -> None:
    bring_up_to_date(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO archive VALUES (1, 'offline', 'o', 1, 'p', 'x', '', 0)"))
    bring_up_to_date(engine, later)
    with engine.connect() as connection:
        assert revision(connection) == "9001"
        assert connection.scalar(text("SELECT count(*) FROM archive WHERE street IS NULL")) == 1


def test_a_migration_that_fails_in_the_middle_leaves_the_old_schema(engine: Engine, later: Path) -> None:
    bring_up_to_date(engine)
    before = tables(engine)
    (later / "versions/v9002_mantua.py").write_text(BROKEN)
    with pytest.raises(StorageError, match=r"stays at schema .*mantua") as caught:
        bring_up_to_date(engine, later)
    assert "\n" not in str(caught.value)
    assert tables(engine) == before
    bring_up_to_date(engine)  # and the older program starts again
    (later / "versions/v9002_mantua.py").unlink()
    bring_up_to_date(engine, later)  # as does the later one once it is mended
    assert "verona" in tables(engine)


def test_a_first_migration_that_fails_leaves_the_database_empty(engine: Engine, later: Path) -> None:
    (later / "versions/v9002_mantua.py").write_text(BROKEN)
    with pytest.raises(StorageError):
        bring_up_to_date(engine, later)
    assert tables(engine) == set()


def test_a_database_newer_than_the_code_is_refused_and_left_alone(
    engine: Engine, later: Path, sql_url: str
) -> None:
    bring_up_to_date(engine, later)
    before = tables(engine)
    with pytest.raises(StorageError, match=r"schema 9001, newer than .*; run the newer jabberd"):
        open_storage(sql_url, None)
    assert tables(engine) == before


def test_alembic_is_imported_only_when_there_is_something_to_do(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_up_to_date(engine)
    monkeypatch.setitem(sys.modules, "alembic", None)  # importing it would fail
    bring_up_to_date(engine)
