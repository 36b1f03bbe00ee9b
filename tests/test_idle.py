"""A server that nobody is connected to has in memory only what it needs; the rest comes with its use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from jabberd.garbage import YOUNG
from jabberd.storage.schema import MIGRATIONS, revisions
from tests.running import running
from tests.test_launch import config as config  # noqa: PLC0414 - the fixture
from tests.test_launch import refused

#: By package, what brings it.
ABSENT = {
    "alembic": "a migration, in a process of its own",
    "mako": "the same",
    "lxml": "tests",
    "precis_i18n": "an address or a password that is not ASCII",
    "prometheus_client": "a page of figures",
    "psycopg": "PostgreSQL",
    "sqlalchemy.dialects.postgresql": "the same",
    "twisted.conch": "the manhole",
    "twisted.internet.endpoints": "a link",
    "twisted.names": "a link",
    "twisted.application.internet": "a link that failed",
    "twisted.trial": "twistd's search for plug-ins, and let go of",
    "twisted.web": "pages",
    "unittest": "the same",
    "jabberd.testing": "tests",
}
ABSENT_WITHOUT_DATABASE = {"sqlalchemy": "a database"}

WITNESS = """
import sys
from pathlib import Path
from jabberd.api import Module

class Witness(Module):
    '''Writes down what has been imported.'''

    async def ready(self):
        Path("imported").write_text(" ".join(sys.modules))
"""


@pytest.fixture
def witness(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What was imported, once a server with this configuration has started."""
    (tmp_path / "witness.py").write_text(WITNESS)
    info = tmp_path / "witness-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: witness\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[jabberd.modules]\nwitness = witness:Witness\n")
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    config.write_text(config.read_text() + '[domains."montague.lit".modules.witness]\n')
    return tmp_path / "imported"


def needless(imported: Path, absent: dict[str, str]) -> list[str]:
    loaded = [f"{name}." for name in imported.read_text().split()]
    return [
        name
        for name in loaded
        if any(name == package or name.startswith(f"{package}.") for package in absent)
    ]


@pytest.mark.process
def test_what_nobody_asked_for_yet_is_not_imported_not_even_by_the_first_start(
    config: Path, witness: Path
) -> None:
    for _ in range(2):
        with running(config) as server:
            assert needless(witness, ABSENT) == []
            server.stop()


@pytest.mark.process
def test_an_empty_server_takes_at_most_72_mib(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # or every start would compile it all
    for _ in range(2):  # the first start may have to compile, which takes memory
        with running(config) as server:
            pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
            server.stop()
    assert pages * os.sysconf("SC_PAGE_SIZE") / 2**20 <= 72


@pytest.mark.process
def test_a_server_that_keeps_nothing_has_no_database_in_memory(config: Path, witness: Path) -> None:
    config.write_text(config.read_text().replace("sqlite:montague.db", "memory"))
    with running(config):
        assert needless(witness, ABSENT | ABSENT_WITHOUT_DATABASE) == []


@pytest.mark.process
def test_why_a_migration_failed_is_told_in_the_line_that_ends_the_start(config: Path) -> None:
    file = config.with_name("montague.db")
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE keyed (somebody_elses TEXT)")
    newest = revisions(MIGRATIONS)[-1]
    [told] = refused(config)
    assert told.startswith(
        f"the database stays at schema None, for bringing it to {newest} failed: table keyed"
    )
    assert told.endswith("already exists; run the older jabberd and report this")


@pytest.mark.process
def test_python_never_looks_for_garbage_among_what_a_start_has_made(config: Path, witness: Path) -> None:
    folder = witness.parent
    with (folder / "witness.py").open("a") as module:
        module.write(
            "        import gc\n"
            '        Path("garbage").write_text(f"{gc.get_threshold()[0]} {gc.get_freeze_count()}")\n'
        )
    with running(config):
        threshold, frozen = map(int, (folder / "garbage").read_text().split())
    assert threshold == YOUNG
    assert frozen > 50_000
