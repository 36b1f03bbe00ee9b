"""Rosters are written once, and anew after each change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jabberd.jsm import roster
from jabberd.jsm.roster import RosterItem, RosterSet
from jabberd.jsm.written import WrittenRosters
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from jabberd.jsm.roster import Changes

ROMEO = "romeo@montague.lit"
LIMITS = roster.Limits()


def friends(count: int = 30) -> dict[str, RosterItem]:
    jids = [f"friend{number}@montague.lit" for number in range(count)]
    return {jid: RosterItem(jid, name="a friend", version=at) for at, jid in enumerate(jids)}


def changed(rows: dict[str, RosterItem], changes: Changes) -> dict[str, RosterItem]:
    kept = {jid: item for jid, item in (rows | changes).items() if item is not None}
    assert kept != rows
    return kept


def renamed(rows: dict[str, RosterItem], contact: str, name: str) -> dict[str, RosterItem]:
    return changed(rows, roster.updated(rows, RosterSet(JID.parse(contact), name), LIMITS))


def test_a_roster_is_written_once() -> None:
    written, rows = WrittenRosters(), friends()
    first = written.result(ROMEO, rows)
    assert first == roster.result(rows)
    assert written.result(ROMEO, dict(rows)) is first


def test_it_is_written_anew_after_each_change_also_when_one_is_undone() -> None:
    written, rows = WrittenRosters(), friends()
    for later in (
        renamed(rows, "friend3@montague.lit", "Mercutio"),  # is not stored: the next has the same version
        rows,
        renamed(rows, "friend3@montague.lit", "Tybalt"),
        changed(rows, roster.removed(rows, "friend29@montague.lit")),
        renamed(rows, "friend30@montague.lit", "Paris"),
    ):
        assert written.result(ROMEO, later) == roster.result(later)


def test_nobody_gets_the_roster_of_somebody_else() -> None:
    written, rows = WrittenRosters(), friends()
    written.result(ROMEO, rows)
    others = {jid: replace(item, name="") for jid, item in rows.items()}
    assert written.result("juliet@capulet.lit", others) == roster.result(others)


def test_the_oldest_give_way() -> None:
    rows = friends()
    written = WrittenRosters(2 * len(roster.result(rows).data))
    first = written.result("0", rows)
    for owner in ("1", "0", "2"):
        written.result(owner, rows)
    assert written.result("0", rows) is first
    second = written.result("2", rows)
    written.result("1", rows)  # it had to go, and comes back for 0
    assert written.result("2", rows) is second
    assert written.result("0", rows) is not first
