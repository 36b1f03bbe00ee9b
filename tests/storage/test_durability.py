"""What is acknowledged is durable, what fails fails alone, and what comes together is committed together."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier, Event, Thread, current_thread
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, event, func, select
from sqlalchemy.engine import make_url

from jabberd.interfaces import StorageError
from jabberd.storage import batch, database, open_storage
from jabberd.storage.tables import archive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine
    from twisted.internet.defer import Deferred

    from tests.storage.conftest import Opened
    from tests.storage.pump import Pump

ROMEO = "romeo@montague.lit"
JULIET = "juliet@capulet.lit"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HUGE = bytes(256 * 1024)


def occurrences(engine: Engine, name: str) -> list[object]:
    """A list that grows by one with each such event."""
    seen: list[object] = []

    @event.listens_for(engine, name)
    def happened(*args: object) -> None:
        seen.append(args)

    return seen


def outcomes(pump: Pump, deferreds: Sequence[Deferred[Any]]) -> list[str]:
    """``ok``, or why not."""

    def outcome(deferred: Deferred[Any]) -> str:
        try:
            pump.wait(deferred)
        except StorageError as error:
            return str(error)
        return "ok"

    return [outcome(deferred) for deferred in deferreds]


def path(opened: Opened) -> str:
    return make_url(opened.url).database or ""


# --- durable ---------------------------------------------------------------------------------------


def test_when_the_deferred_fires_another_connection_sees_the_row(sql: Opened, pump: Pump) -> None:
    other = create_engine(sql.url.replace("postgresql:", "postgresql+psycopg:"))
    seen: list[int | None] = []

    def look(_: int) -> None:
        with other.connect() as connection:
            seen.append(connection.scalar(select(func.count()).select_from(archive)))

    offline = sql.storage.archive("offline")
    pump.wait(offline.append(ROMEO, JULIET, NOON, b"1").addCallback(look))
    pump.wait(offline.append(ROMEO, JULIET, NOON, b"2").addCallback(look))
    other.dispose()
    assert seen == [1, 2]


def test_every_connection_syncs_at_each_commit(sqlite: Opened) -> None:
    for engine in (sqlite.writing, sqlite.reading):
        with engine.connect() as connection:
            pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            found = [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas]
        assert found == ["wal", 2, 1, 5000]


def test_closing_commits_what_waits_and_answers_what_was_asked(sql: Opened, pump: Pump) -> None:
    offline = sql.storage.archive("offline")
    told: list[str] = []
    for _ in range(1500):
        offline.append(ROMEO, JULIET, NOON, b"").addCallback(lambda _: told.append("written"))
    offline.count(ROMEO).addCallback(lambda _: told.append("answered"))
    pump.wait(sql.storage.close())
    assert sorted(told) == ["answered"] + ["written"] * 1500
    again = open_storage(sql.url, None)
    assert pump.wait(again.archive("offline").count(ROMEO)) == 1500
    again.close()


def test_after_closing_everything_fails(sql: Opened, pump: Pump) -> None:
    nicks = sql.storage.keyed("nicks", str)
    pump.wait(sql.storage.close())
    told = outcomes(pump, [nicks.put(ROMEO, "", "love"), nicks.get(ROMEO)])
    assert told == ["the storage is closed"] * 2


def test_a_closed_sqlite_database_is_one_file(sqlite: Opened, pump: Pump) -> None:
    nicks = sqlite.storage.keyed("nicks", str)
    pump.wait(nicks.put(ROMEO, "", "love"))
    pump.wait(nicks.get(ROMEO))
    pump.wait(sqlite.storage.close())
    folder = Path(path(sqlite)).parent
    assert [file.name for file in folder.iterdir()] == ["jabberd.db"]


@pytest.mark.process
def test_kill_nine_loses_no_row_whose_deferred_fired(sqlite_url: str) -> None:
    acknowledged: set[int] = set()
    for round in range(4):
        acknowledged |= ids_of_a_killed_writer(sqlite_url, seconds=0.1 + 0.07 * round)
    with closing(sqlite3.connect(make_url(sqlite_url).database or "")) as connection:
        stored = {id for (id,) in connection.execute("SELECT id FROM archive")}
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len(acknowledged) > 100
    assert acknowledged <= stored


def ids_of_a_killed_writer(url: str, seconds: float) -> set[int]:
    """Let a process append rows for so long, kill it, and return the ids whose Deferreds fired."""
    command = [sys.executable, "-m", "tests.storage.appends_for_ever", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as writer:
        assert writer.stdout
        first = writer.stdout.readline()
        time.sleep(seconds)
        writer.kill()
        ids = (first + writer.stdout.read()).rpartition(b"\n")[0].split()  # the last line may be cut
    return {int(id) for id in ids}


# --- together --------------------------------------------------------------------------------------


def test_what_waits_together_is_committed_and_told_together(sql: Opened, pump: Pump) -> None:
    commits = occurrences(sql.writing, "commit")
    statements = occurrences(sql.writing, "before_cursor_execute")
    offline = sql.storage.archive("offline")
    with sql.writer._changed:  # so that they all wait
        written = [offline.append(ROMEO, JULIET, NOON, b"") for _ in range(200)]
    assert outcomes(pump, written) == ["ok"] * 200
    assert len(commits) == 1
    assert len([statement for statement in statements if "INSERT" in str(statement)]) == 5  # 3 * 64 + 2 * 4
    assert pump.handed_over == 1


def test_writes_of_all_kinds_take_effect_in_order_in_one_commit(sql: Opened, pump: Pump) -> None:
    commits = occurrences(sql.writing, "commit")
    nicks, offline = sql.storage.keyed("nicks", str), sql.storage.archive("offline")
    with sql.writer._changed:
        offline.append(ROMEO, JULIET, NOON, b"1")
        nicks.put(ROMEO, "", "1")
        sql.storage.forget(ROMEO)
        nicks.put(ROMEO, "", "2")
        last = offline.append(ROMEO, JULIET, NOON, b"2")
    pump.wait(last)
    assert len(commits) == 1
    assert pump.wait(nicks.all(ROMEO)) == {"": "2"}
    assert [row.stanza for row in pump.wait(offline.rows(ROMEO))] == [b"2"]


def test_the_pace_is_brisk_only_while_many_units_come(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(batch, "monotonic", lambda: now)
    pace = batch.Pace()
    now += batch.WINDOW
    pace.count(int(batch.BRISK * batch.WINDOW) - 5)
    assert not pace.brisk
    now += batch.WINDOW
    pace.count(int(batch.BRISK * batch.WINDOW) + 5)
    assert pace.brisk
    now += 3 * batch.WINDOW
    assert not pace.brisk


def test_the_writer_does_not_wait_for_one_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(batch, "monotonic", lambda: now)
    pace = batch.Pace()
    now += batch.WINDOW
    pace.count(1000)
    pace.count(2)
    assert pace.brisk
    pace.count(1)
    assert not pace.brisk


class Brisk(batch.Pace):
    brisk = True


def test_at_a_brisk_pace_the_writer_waits_for_enough_units_and_no_longer(
    sql: Opened, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "GATHERING", 60)
    sql.writer._pace = Brisk()
    commits = occurrences(sql.writing, "commit")
    offline = sql.storage.archive("offline")
    written = [offline.append(ROMEO, JULIET, NOON, b"") for _ in range(batch.ENOUGH)]
    assert outcomes(pump, written) == ["ok"] * batch.ENOUGH
    assert len(commits) == 1


def test_closing_ends_the_wait_for_others(sql: Opened, pump: Pump, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "GATHERING", 60)
    sql.writer._pace = Brisk()
    written = sql.storage.archive("offline").append(ROMEO, JULIET, NOON, b"")
    pump.wait(sql.storage.close())
    assert outcomes(pump, [written]) == ["ok"]


def test_patient_units_wait_for_one_who_is_not(
    sql: Opened, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "PATIENCE", 60)
    commits = occurrences(sql.writing, "commit")
    said, nicks = sql.storage.archive("said"), sql.storage.keyed("nicks", str)
    written = [said.append(ROMEO, JULIET, NOON, b"", patient=True) for _ in range(3)]
    time.sleep(0.05)  # the writer is there, and could have written
    assert commits == []
    pump.wait(nicks.put(ROMEO, "", "1"))
    assert outcomes(pump, written) == ["ok"] * 3
    assert len(commits) == 1


@pytest.mark.parametrize("others", ["only wait for it", "close the storage", "are many"])
def test_a_patient_unit_waits_no_longer_than_that(
    others: str, sql: Opened, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "PATIENCE", 60)
    monkeypatch.setattr(batch, "ENOUGH", 3)
    said = sql.storage.archive("said")
    written = [
        said.append(ROMEO, JULIET, NOON, b"", patient=True) for _ in range(1 + 2 * (others == "are many"))
    ]
    if others == "only wait for it":
        pump.wait(said.mark(ROMEO, [], waiting=False))
    elif others == "close the storage":
        pump.wait(sql.storage.close())
    assert outcomes(pump, written) == ["ok"] * len(written)


def test_patience_comes_to_an_end(sql: Opened, pump: Pump) -> None:
    pump.wait(sql.storage.archive("said").append(ROMEO, JULIET, NOON, b"", patient=True))


def test_an_owner_is_loaded_in_one_query(sql: Opened, pump: Pump) -> None:
    nicks, roster = sql.storage.keyed("nicks", str), sql.storage.keyed("roster", dict[str, str])
    pump.wait(nicks.put(ROMEO, "", "love"))
    pump.wait(roster.put(ROMEO, JULIET, {"subscription": "both"}))
    statements = occurrences(sql.reading, "before_cursor_execute")
    pump.wait(sql.storage.load(ROMEO, ["nicks", "roster"]))
    assert len(statements) == 1


# --- failing alone ---------------------------------------------------------------------------------


def test_a_unit_that_is_refused_spares_its_neighbours(sql: Opened, pump: Pump) -> None:
    commits = occurrences(sql.writing, "commit")
    nicks, offline = sql.storage.keyed("nicks", str), sql.storage.archive("offline")
    with sql.writer._changed:
        units: list[Deferred[Any]] = [offline.append(ROMEO, JULIET, NOON, b"1")]
        units.append(offline.append("\udc80@montague.lit", JULIET, NOON, b"cannot be UTF-8"))
        units.append(offline.append(ROMEO, JULIET, NOON, b"2"))
        units.append(nicks.change(ROMEO, {"a": "1", "\udc80": "2"}))
        units.append(nicks.put(ROMEO, "b", "2"))
    first, second, third, fourth, fifth = outcomes(pump, units)
    assert (first, third, fifth) == ("ok", "ok", "ok")
    assert "utf-8" in second
    assert "utf-8" in fourth
    assert [row.stanza for row in pump.wait(offline.rows(ROMEO))] == [b"1", b"2"]
    assert pump.wait(nicks.all(ROMEO)) == {"b": "2"}
    assert len(commits) == 1


def test_a_constraint_that_is_broken_fails_its_unit_alone(
    sql: Opened, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline = sql.storage.archive("offline")
    ids = iter([7, 7, 8])
    monkeypatch.setattr(sql.storage._ids, "next", lambda _: next(ids))
    with sql.writer._changed:
        written = [offline.append(ROMEO, JULIET, NOON, b"secret") for _ in range(3)]
    first, second, third = outcomes(pump, written)
    assert (first, third) == ("ok", "ok")
    assert "constraint" in second.lower()
    assert "secret" not in second


def test_a_locked_database_fails_what_waits_and_the_writer_lives_on(sqlite: Opened, pump: Pump) -> None:
    event.listen(sqlite.writing, "connect", lambda dbapi, _: dbapi.execute("PRAGMA busy_timeout=20"))
    offline = sqlite.storage.archive("offline")
    with closing(sqlite3.connect(path(sqlite), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with sqlite.writer._changed:
            written = [offline.append(ROMEO, JULIET, NOON, b"") for _ in range(2)]
        assert outcomes(pump, written) == ["database is locked"] * 2
        assert pump.wait(offline.count(ROMEO)) == 0  # readers go on
    assert outcomes(pump, [offline.append(ROMEO, JULIET, NOON, b"")]) == ["ok"]
    assert pump.wait(offline.count(ROMEO)) == 1


def test_on_a_full_disk_only_what_is_stored_counts_as_stored(sqlite: Opened, pump: Pump) -> None:
    event.listen(sqlite.writing, "connect", lambda dbapi, _: dbapi.execute("PRAGMA max_page_count=40"))
    offline = sqlite.storage.archive("offline")
    with sqlite.writer._changed:
        written = [offline.append(ROMEO, JULIET, NOON, stanza) for stanza in (b"1", HUGE, b"2")]
    told = outcomes(pump, written)
    assert told[1] == "database or disk is full"
    stored = [row.stanza for row in pump.wait(offline.rows(ROMEO))]
    assert stored == [stanza for stanza, said in zip((b"1", HUGE, b"2"), told, strict=True) if said == "ok"]
    assert outcomes(pump, [offline.append(ROMEO, JULIET, NOON, b"3")]) == ["ok"]


@pytest.mark.foreign
@pytest.mark.parametrize("sql_url", ["postgresql"], indirect=True)
def test_a_restarted_postgresql_is_used_again(sql: Opened, pump: Pump) -> None:
    nicks = sql.storage.keyed("nicks", str)
    pump.wait(nicks.put(ROMEO, "", "1"))
    assert pump.wait(nicks.get(ROMEO)) == "1"
    ours = "FROM pg_stat_activity WHERE application_name = 'jabberd' AND pid <> pg_backend_pid()"
    other = create_engine(sql.url.replace("postgresql:", "postgresql+psycopg:"))
    with other.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) {ours}")
    other.dispose()
    pump.wait(nicks.put(ROMEO, "", "2"))
    assert pump.wait(nicks.get(ROMEO)) == "2"


def test_more_writes_than_can_wait_are_refused(
    sql: Opened, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_WAITING", 3)
    nicks = sql.storage.keyed("nicks", str)
    with sql.writer._changed:
        written = [nicks.put(ROMEO, str(number), "") for number in range(4)]
    told = outcomes(pump, written)
    assert told[:3] == ["ok"] * 3
    assert "too many" in told[3]
    assert outcomes(pump, [nicks.put(ROMEO, "later", "")]) == ["ok"]


def test_more_questions_than_can_wait_are_refused(
    sql: Opened, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MOST_QUESTIONS", 3)
    nicks = sql.storage.keyed("nicks", str)
    told = outcomes(pump, [nicks.get(ROMEO) for _ in range(4)])
    assert told[:3] == ["ok"] * 3
    assert "too many" in told[3]
    assert outcomes(pump, [nicks.get(ROMEO)]) == ["ok"]


def test_questions_one_after_the_other_go_to_the_same_thread(sql: Opened, pump: Pump) -> None:
    asked = [pump.wait(sql.storage._database.read(lambda _: current_thread())) for _ in range(5)]
    assert len(set(asked)) == 1


def test_questions_at_the_same_time_go_to_three_threads_and_the_others_wait(sql: Opened, pump: Pump) -> None:
    together = Barrier(database.READERS)

    def question(_: object) -> Thread:
        together.wait(20)
        return current_thread()

    asked = [sql.storage._database.read(question) for _ in range(2 * database.READERS)]
    assert len({pump.wait(each) for each in asked}) == database.READERS


def test_what_was_asked_is_answered_before_the_storage_closes(sql_url: str, pump: Pump) -> None:
    storage = open_storage(sql_url, pump)
    nicks = storage.keyed("nicks", str)
    pump.wait(nicks.put(ROMEO, "", "1"))
    asked = [nicks.get(ROMEO) for _ in range(20)]
    pump.wait(storage.close())
    assert [pump.wait(each) for each in asked] == ["1"] * 20
    assert outcomes(pump, [nicks.get(ROMEO)]) == ["the storage is closed"]


def test_a_value_that_no_longer_fits_its_type_fails_its_reader_and_is_not_quoted(
    sql: Opened, pump: Pump
) -> None:
    pump.wait(sql.storage.keyed("nicks", str).put(ROMEO, "", "my secret"))
    later = open_storage(sql.url, None)
    nicks = later.keyed("nicks", dict[str, int])
    for told in outcomes(pump, [nicks.get(ROMEO), nicks.all(ROMEO), later.load(ROMEO, ["nicks"])]):
        assert "'nicks' holds no dict" in told
        assert "my secret" not in told
    later.close()


def test_a_cancelled_write_harms_nobody(sql: Opened, pump: Pump) -> None:
    offline = sql.storage.archive("offline")
    with sql.writer._changed:
        given_up = offline.append(ROMEO, JULIET, NOON, b"")
        given_up.addErrback(lambda _: None).cancel()
        written = offline.append(ROMEO, JULIET, NOON, b"")
    assert outcomes(pump, [written]) == ["ok"]


def test_who_only_waits_for_what_came_before_waits_as_long_as_something_is_written(
    sql: Opened, pump: Pump
) -> None:
    offline = sql.storage.archive("offline")
    assert offline.mark(ROMEO, [], waiting=False).called  # nothing came before
    written = offline.append(ROMEO, JULIET, NOON, b"")
    caught_up = offline.mark(ROMEO, [], waiting=False)
    assert not caught_up.called
    pump.wait(caught_up)
    assert written.called


def test_what_is_being_written_is_waited_for_too(sql: Opened, pump: Pump) -> None:
    offline, began, go_on = sql.storage.archive("offline"), Event(), Event()

    def wait(_: object) -> None:
        began.set()
        assert go_on.wait(10)

    event.listen(sql.writing, "begin", wait)
    offline.append(ROMEO, JULIET, NOON, b"")
    assert began.wait(10)
    caught_up = offline.mark(ROMEO, [], waiting=False)
    assert not caught_up.called
    go_on.set()
    pump.wait(caught_up)
    assert pump.wait(offline.count(ROMEO)) == 1
