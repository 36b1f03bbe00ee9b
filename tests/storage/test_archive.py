"""Pages of an archive, each kind of storage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from jabberd.interfaces import Span, StorageError

if TYPE_CHECKING:
    from jabberd.interfaces import Archive, ArchiveRow, Storage
    from tests.storage.conftest import Opened
    from tests.storage.pump import Pump

ROMEO = "romeo@montague.lit"
JULIET = "juliet@capulet.lit"
NURSE = "nurse@capulet.lit"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def archive(storage: Storage) -> Archive:
    return storage.archive("archive")


@pytest.fixture
def ids(archive: Archive, pump: Pump) -> list[int]:
    """Seven of Romeo's rows, a second apart; 0, 2 and 4 are Juliet's, 6 is of her other resource."""
    peers = [f"{JULIET}/balcony", NURSE] * 3 + [f"{JULIET}/chamber"]
    return [
        pump.wait(archive.append(ROMEO, peer, NOON + number * SECOND, b"%d" % number))
        for number, peer in enumerate(peers)
    ]


def said(rows: list[ArchiveRow]) -> str:
    return b"".join(row.stanza for row in rows).decode()


def test_an_id_is_the_moment_of_its_row(ids: list[int]) -> None:
    moments = [datetime.fromtimestamp(id / 1e6, UTC) for id in ids]
    assert moments == [NOON + number * SECOND for number in range(7)]


def test_ids_increase_when_the_clock_is_set_back(archive: Archive) -> None:
    later = archive.new_id(NOON)
    assert [archive.new_id(NOON - SECOND), archive.new_id(NOON)] == [later + 1, later + 2]


def test_a_row_may_have_an_id_that_was_given_before(archive: Archive, pump: Pump) -> None:
    id = archive.new_id(NOON)
    assert pump.wait(archive.append(ROMEO, JULIET, NOON, b"", id=id)) == id
    assert [row.id for row in pump.wait(archive.rows(ROMEO))] == [id]


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ({}, "0123456"),
        ({"after": 1}, "23456"),
        ({"before": 3}, "012"),
        ({"after": 1, "before": 3}, "2"),
        ({"after": 3, "before": 3}, ""),
        ({"peer": JULIET}, "0246"),
        ({"peer": f"{JULIET}/balcony"}, "024"),
        ({"peer": "capulet.lit"}, ""),
        ({"peer": JULIET, "after": 0, "before": 5}, "24"),
        ({"ids": (5, 1)}, "15"),
        ({"ids": ()}, ""),
    ],
)
def test_a_span_has_the_rows_that_fit(
    archive: Archive, ids: list[int], pump: Pump, bounds: dict[str, Any], found: str
) -> None:
    real = {key: ids[value] for key, value in bounds.items() if isinstance(value, int)}
    if "ids" in bounds:
        real["ids"] = tuple(ids[number] for number in bounds["ids"])  # type: ignore[assignment]  # of any kind
    span = Span(**{**bounds, **real})
    assert said(pump.wait(archive.rows(ROMEO, span=span))) == found
    assert said(pump.wait(archive.newest(ROMEO, span, 100))) == found
    assert pump.wait(archive.count(ROMEO, span)) == len(found)


def test_pages_are_in_order_from_either_end(archive: Archive, ids: list[int], pump: Pump) -> None:
    assert said(pump.wait(archive.rows(ROMEO, span=Span(after=ids[1]), limit=2))) == "23"
    assert said(pump.wait(archive.newest(ROMEO, Span(before=ids[5]), 2))) == "34"


def test_ids_alone_can_be_asked_for(archive: Archive, ids: list[int], pump: Pump) -> None:
    assert pump.wait(archive.ids(ROMEO, Span(), limit=2)) == ids[:2]
    assert pump.wait(archive.ids(ROMEO, Span(), limit=1, newest=True, skip=2)) == [ids[4]]
    assert pump.wait(archive.ids(ROMEO, Span(), limit=1, skip=7)) == []


def test_rows_wait_until_somebody_has_taken_them(archive: Archive, ids: list[int], pump: Pump) -> None:
    new = pump.wait(archive.append(ROMEO, JULIET, NOON, b"x", waiting=True))
    assert pump.wait(archive.ids(ROMEO, Span(waiting=True), limit=9)) == [new]
    pump.wait(archive.mark(ROMEO, [ids[3]], waiting=True))
    pump.wait(archive.mark(ROMEO, [new, 1], waiting=False))
    assert said(pump.wait(archive.rows(ROMEO, span=Span(waiting=True)))) == "3"
    assert pump.wait(archive.count(ROMEO)) == 8
    rows = pump.wait(archive.rows(ROMEO))
    assert pump.wait(archive.size(ROMEO)) == (8, sum(len(row.stanza) for row in rows))
    assert pump.wait(archive.size("nobody@montague.lit")) == (0, 0)


def test_nobody_marks_or_replaces_the_rows_of_another_owner(
    archive: Archive, ids: list[int], pump: Pump
) -> None:
    pump.wait(archive.mark(NURSE, ids, waiting=True))
    pump.wait(archive.replace(NURSE, ids[0], b"forged"))
    assert pump.wait(archive.count(ROMEO, Span(waiting=True))) == 0
    assert said(pump.wait(archive.rows(ROMEO, limit=1))) == "0"


def test_a_row_can_be_replaced_in_its_place(archive: Archive, ids: list[int], pump: Pump) -> None:
    pump.wait(archive.replace(ROMEO, ids[2], b"-"))
    assert said(pump.wait(archive.rows(ROMEO))) == "01-3456"


@pytest.mark.parametrize(
    "span", [Span(), Span(after=5), Span(peer=JULIET, before=9), Span(waiting=True), Span(ids=(1, 2))]
)
def test_a_page_is_found_by_an_index(sqlite: Opened, pump: Pump, span: Span) -> None:
    archive = sqlite.storage.archive("archive")
    asked: list[tuple[str, Any]] = []
    event.listen(sqlite.reading, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
    pump.wait(archive.rows(ROMEO, span=span, limit=10))
    pump.wait(archive.newest(ROMEO, span, 10))
    with sqlite.reading.connect() as connection:
        for statement, parameters in asked:
            plan = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = " ".join(row[3] for row in plan.fetchall())
            assert "USING INDEX archive_" in steps or "PRIMARY KEY" in steps, steps
            assert "archive_waiting" in steps or not span.waiting
            assert "TEMP B-TREE" not in steps, steps


@pytest.mark.parametrize("count", [1, 3, 4, 15, 64, 150])
def test_rows_that_are_written_together_are_all_there_in_their_order(
    sql: Opened, pump: Pump, count: int
) -> None:
    archive = sql.storage.archive("archive")
    with sql.writer._changed:
        written = [archive.append(ROMEO, JULIET, NOON, b"%d" % number) for number in range(count)]
    for each in written:
        pump.wait(each)
    assert [row.stanza for row in pump.wait(archive.rows(ROMEO))] == [
        b"%d" % number for number in range(count)
    ]


def test_rows_are_named_in_few_statements_whoever_owns_them(sql: Opened, pump: Pump) -> None:
    archive, other = sql.storage.archive("archive"), sql.storage.archive("offline")
    mine = [pump.wait(archive.append(ROMEO, JULIET, NOON, b"1")) for _ in range(21)]
    hers = [pump.wait(archive.append(NURSE, JULIET, NOON, b"2")) for _ in range(3)]
    spare = pump.wait(other.append(ROMEO, JULIET, NOON, b"3"))
    statements: list[str] = []
    event.listen(sql.writing, "before_cursor_execute", lambda *a: statements.append(a[2]))
    with sql.writer._changed:  # all in one commit
        archive.remove(NURSE, [hers[0], mine[0]])
        archive.remove(ROMEO, [*mine[1:], spare])
        last = archive.mark(NURSE, hers, waiting=True)
    pump.wait(last)
    assert pump.wait(archive.ids(ROMEO, Span(), limit=99)) == mine[:1]
    assert pump.wait(archive.ids(NURSE, Span(waiting=True), limit=99)) == hers[1:]
    assert pump.wait(other.count(ROMEO)) == 1
    assert len([each for each in statements if each.startswith(("DELETE", "UPDATE"))]) == 2 + 3 + 3


# --- beside one another ----------------------------------------------------------------------------


def test_a_row_beside_another_is_there(archive: Archive, pump: Pump) -> None:
    first = archive.append(ROMEO, JULIET, NOON, b"hi")
    second = archive.append(JULIET, ROMEO, NOON, b"hi", beside=first)
    pump.wait(second)
    if second is not first:
        pump.wait(first)
    assert [pump.wait(archive.count(owner)) for owner in (ROMEO, JULIET)] == [1, 1]


def test_what_is_stored_together_is_stored_together_or_not_at_all(sql: Opened, pump: Pump) -> None:
    archive = sql.storage.archive("archive")
    with sql.writer._changed:
        first = archive.append(ROMEO, JULIET, NOON, b"hi")
        assert archive.append("\udc80@montague.lit", ROMEO, NOON, b"cannot be UTF-8", beside=first) is first
        spared = archive.append(ROMEO, JULIET, NOON, b"spared")
    with pytest.raises(StorageError, match="utf-8"):
        pump.wait(first)
    pump.wait(spared)
    assert [row.stanza for row in pump.wait(archive.rows(ROMEO))] == [b"spared"]


def test_a_row_is_stored_for_itself_where_it_is_too_late_or_something_else_came_between(
    sql: Opened, pump: Pump
) -> None:
    archive = sql.storage.archive("archive")
    early = archive.append(ROMEO, JULIET, NOON, b"1")
    pump.wait(early)
    with sql.writer._changed:
        late = archive.append(ROMEO, JULIET, NOON, b"2", beside=early)
        marked = archive.mark(ROMEO, [late_id := archive.new_id(NOON)], waiting=True)
        behind = archive.append(ROMEO, JULIET, NOON, b"3", id=late_id, beside=late)
        beside = archive.append(ROMEO, JULIET, NOON, b"4", beside=marked)  # type: ignore[arg-type]  # another kind
    assert len({id(each) for each in (early, late, marked, behind, beside)}) == 5
    pump.wait(marked)
    for each in (late, behind, beside):
        pump.wait(each)
    rows = pump.wait(archive.rows(ROMEO))
    assert [(row.stanza, row.waiting) for row in rows] == [(b"%d" % n, False) for n in (1, 2, 3, 4)]
