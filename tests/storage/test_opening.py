"""What cannot work fails at start, in one line that says what to do; and what opening leaves behind."""

from __future__ import annotations

import stat
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jabberd.interfaces import StorageError
from jabberd.storage import open_storage
from tests.storage.conftest import Opened

if TYPE_CHECKING:
    from sqlalchemy import QueuePool

    from tests.storage.postgresql import Server
    from tests.storage.pump import Pump

ROMEO = "romeo@montague.lit"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def refusal(url: str) -> str:
    """Why a storage does not open."""
    with pytest.raises(StorageError) as caught:
        open_storage(url, None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "jabberd.db",
        "mysql://root:geheim@localhost/jabberd",
        "sqlite://",
        "sqlite:///:memory:",
        "://geheim@",
    ],
)
def test_a_url_of_another_kind_is_refused_with_examples_and_not_quoted(url: str) -> None:
    said = refusal(url)
    assert "storage.url" in said
    assert "sqlite:///var/jabberd.db" in said
    assert "geheim" not in said


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    said = refusal(f"sqlite:///{tmp_path}/no/such/jabberd.db")
    assert said.startswith(f"cannot write {tmp_path}/no/such/jabberd.db: No such file or directory; make the")


def test_a_path_that_cannot_be_written_is_named() -> None:
    assert refusal("sqlite:////proc/jabberd.db").startswith("cannot write /proc/jabberd.db: ")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    assert "unable to open" in refusal(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "jabberd.toml"
    file.write_text("[storage]\nurl = 'sqlite:///jabberd.toml'\n" * 50)
    said = refusal(f"sqlite:///{file}")
    assert "file is not a database; name another file in storage.url" in said
    assert file.read_text().startswith("[storage]")


@pytest.mark.foreign
def test_a_wrong_password_is_named_but_not_quoted(postgresql: Server) -> None:
    said = refusal(postgresql.url(password="geheim") + "&passfile=geheim")
    assert "password authentication failed" in said
    assert "check the user and the password in storage.url" in said
    assert "geheim" not in said


@pytest.mark.foreign
def test_a_missing_postgresql_database_is_named(postgresql: Server) -> None:
    said = refusal(postgresql.url("verona"))
    assert '"verona" does not exist; make it with createuser and createdb' in said
    assert postgresql.password not in said


@pytest.mark.foreign
def test_a_postgresql_database_that_cannot_hold_every_text_is_refused(postgresql: Server) -> None:
    postgresql.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    said = refusal(postgresql.url("ascii"))
    assert "SQL_ASCII, not UTF8; make one with createdb -E UTF8 -T template0" in said
    assert postgresql.password not in said


@pytest.mark.parametrize(
    "url", ["postgresql://jabberd:geheim@127.0.0.1:1/jabberd", "postgresql:///?host=/nowhere"]
)
def test_a_postgresql_that_is_not_there_is_named(url: str) -> None:
    pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")
    said = refusal(url)
    assert "start PostgreSQL, or correct the host and port in storage.url" in said
    assert "geheim" not in said


def test_a_missing_driver_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    said = refusal("postgresql://jabberd:geheim@127.0.0.1:1/jabberd")
    assert said.endswith(f"; {sys.executable} -m pip install 'psycopg[binary]'")


def test_opening_leaves_no_thread_and_no_connection_so_that_the_process_may_fork(
    sql_url: str, pump: Pump
) -> None:
    before = set(threading.enumerate())
    opened = Opened(sql_url, pump)
    pools: list[QueuePool] = [opened.writing.pool, opened.reading.pool]  # type: ignore[list-item]  # declared as any Pool
    assert set(threading.enumerate()) == before
    assert [(pool.checkedin(), pool.checkedout()) for pool in pools] == [(0, 0), (0, 0)]
    pump.wait(opened.storage.close())


def test_the_file_is_private_to_its_owner(sqlite: Opened, pump: Pump, tmp_path: Path) -> None:
    pump.wait(sqlite.storage.keyed("nicks", str).put(ROMEO, "", "love"))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["jabberd.db", "jabberd.db-wal", "jabberd.db-shm"], 0o600)


def test_a_relative_path_stays_true_when_the_directory_changes(
    tmp_path: Path, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage("sqlite:///jabberd.db", pump)
    monkeypatch.chdir("/")
    pump.wait(storage.keyed("nicks", str).put(ROMEO, "", "love"))
    pump.wait(storage.close())
    assert (tmp_path / "jabberd.db").exists()
    assert not Path("/jabberd.db").exists()


def test_without_a_reactor_everything_is_done_at_once(sql_url: str) -> None:
    storage = open_storage(sql_url, None)
    nicks, offline = storage.keyed("nicks", str), storage.archive("offline")
    assert nicks.put(ROMEO, "", "love").called
    offline.append(ROMEO, "juliet@capulet.lit", NOON, b"<message/>")
    answers: list[object] = []
    nicks.get(ROMEO).addCallback(answers.append)
    offline.count(ROMEO).addCallback(answers.append)
    assert answers == ["love", 1]
    failed = nicks.put(ROMEO, "\udc80", "")
    failures: list[object] = []
    failed.addErrback(lambda failure: failures.append(failure.type))
    assert failures == [StorageError]
    assert storage.close().called


def test_what_was_stored_is_there_when_the_storage_is_opened_again(sql_url: str, pump: Pump) -> None:
    storage = open_storage(sql_url, pump)
    first = pump.wait(storage.archive("offline").append(ROMEO, "juliet@capulet.lit", NOON, b"1"))
    pump.wait(storage.close())
    storage = open_storage(sql_url, pump)
    assert [row.id for row in pump.wait(storage.archive("offline").rows(ROMEO))] == [first]
    pump.wait(storage.close())


def test_ids_go_on_above_the_highest_though_the_clock_was_set_back(
    sql_url: str, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(sql_url, pump)
    last = pump.wait(storage.archive("offline").append(ROMEO, "juliet@capulet.lit", NOON, b"1"))
    pump.wait(storage.close())
    monkeypatch.setattr("time.time_ns", lambda: 0)
    storage = open_storage(sql_url, pump)
    ids = [pump.wait(storage.archive("offline").append(ROMEO, "j", NOON, b"2")) for _ in range(2)]
    assert ids == [last + 1, last + 2]
    pump.wait(storage.close())
