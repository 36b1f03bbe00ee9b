"""Values in the order in which they were put: what every storage promises of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from jabberd.interfaces import Entry, Ordered, Storage, StorageError

if TYPE_CHECKING:
    from tests.storage.pump import Pump

ROMEO = "romeo@montague.lit"
JULIET = "juliet@capulet.lit"


@dataclass(frozen=True)
class Verse:
    text: str


@pytest.fixture
def verses(storage: Storage, pump: Pump) -> Ordered[Verse]:
    """Three verses of a sonnet, in Romeo's store, and one of something else."""
    verses = storage.ordered("verses", Verse)
    for key in ("a", "b", "c"):
        pump.wait(verses.change(ROMEO, "sonnet", {key: Verse(key)}))
    pump.wait(verses.change(ROMEO, "song", {"a": Verse("hey")}))
    return verses


def keys(found: object) -> list[str]:
    entries = getattr(found, "entries", found)
    return [entry.key for entry in entries]  # type: ignore[attr-defined]  # a page, or what is on one


def test_a_list_is_in_the_order_in_which_it_was_made(verses: Ordered[Verse], pump: Pump) -> None:
    page = pump.wait(verses.page(ROMEO, "sonnet", limit=10))
    assert page is not None
    assert (keys(page), page.below, page.count) == (["a", "b", "c"], 0, 3)
    assert page.entries[0].value == Verse("a")


def test_what_is_put_again_goes_to_the_end(verses: Ordered[Verse], pump: Pump) -> None:
    pump.wait(verses.change(ROMEO, "sonnet", {"a": Verse("anew")}))
    page = pump.wait(verses.page(ROMEO, "sonnet", limit=10))
    assert keys(page) == ["b", "c", "a"]
    assert page is not None
    assert page.entries[-1].value == Verse("anew")


def test_pages_go_forwards_and_backwards(verses: Ordered[Verse], pump: Pump) -> None:
    def page(limit: int = 10, *, after: str = "", before: str = "", last: bool = False) -> object:
        found = pump.wait(verses.page(ROMEO, "sonnet", after=after, before=before, limit=limit, last=last))
        return found and (keys(found), found.below, found.count)

    assert page(2) == (["a", "b"], 0, 3)
    assert page(2, last=True) == (["b", "c"], 1, 3)
    assert page(after="a") == (["b", "c"], 1, 3)
    assert page(1, after="a") == (["b"], 1, 3)
    assert page(before="c") == (["a", "b"], 0, 3)
    assert page(1, before="c", last=True) == (["b"], 1, 3)
    assert page(after="c") == ([], 0, 3)
    assert page(0) == ([], 0, 3)
    assert page(after="z") is None
    assert page(before="z") is None


def test_some_may_be_asked_for_by_their_keys(verses: Ordered[Verse], pump: Pump) -> None:
    assert keys(pump.wait(verses.get(ROMEO, "sonnet", ["c", "z", "a"]))) == ["a", "c"]
    assert pump.wait(verses.get(JULIET, "sonnet", ["a"])) == ()
    assert pump.wait(verses.get(ROMEO, "song", ["a"])) == (Entry("a", 1, Verse("hey")),)


def test_one_change_removes_and_adds(verses: Ordered[Verse], pump: Pump) -> None:
    pump.wait(verses.change(ROMEO, "sonnet", {"d": Verse("d")}, ["a", "b", "z"]))
    assert keys(pump.wait(verses.page(ROMEO, "sonnet", limit=10))) == ["c", "d"]
    pump.wait(verses.change(ROMEO, "sonnet", {}, ["c", "d"]))
    assert keys(pump.wait(verses.page(ROMEO, "sonnet", limit=10))) == []


def test_sizes_are_counted_by_list(verses: Ordered[Verse], pump: Pump) -> None:
    pump.wait(verses.change(ROMEO, "song", {"ü": Verse("ü")}))
    sizes = pump.wait(verses.sizes(ROMEO))
    assert sizes["sonnet"][0] == 3
    assert sizes["song"] == (2, len('{"text":"hey"}') + len('{"text":"ü"}'.encode()))
    assert pump.wait(verses.sizes(ROMEO, "song")) == {"song": sizes["song"]}
    assert pump.wait(verses.sizes(JULIET)) == {}


def test_a_list_that_was_cleared_is_empty_and_the_others_are_not(verses: Ordered[Verse], pump: Pump) -> None:
    pump.wait(verses.clear(ROMEO, "sonnet"))
    sizes = pump.wait(verses.sizes(ROMEO))
    assert [*sizes] == ["song"]


def test_who_is_forgotten_has_no_lists(storage: Storage, verses: Ordered[Verse], pump: Pump) -> None:
    pump.wait(verses.change(JULIET, "sonnet", {"a": Verse("mine")}))
    pump.wait(storage.forget(ROMEO))
    assert pump.wait(verses.sizes(ROMEO)) == {}
    assert keys(pump.wait(verses.page(JULIET, "sonnet", limit=1))) == ["a"]


def test_keys_are_stored_literally(verses: Ordered[Verse], pump: Pump) -> None:
    odd = "'; DROP TABLE ordered; --"
    pump.wait(verses.change(ROMEO, odd, {odd: Verse(odd)}))
    assert keys(pump.wait(verses.page(ROMEO, odd, limit=1))) == [odd]


def test_what_is_no_value_changes_nothing(verses: Ordered[Verse], pump: Pump) -> None:
    with pytest.raises(StorageError):
        pump.wait(verses.change(ROMEO, "sonnet", {"d": 5}, ["a"]))  # type: ignore[dict-item]  # on purpose
    assert keys(pump.wait(verses.page(ROMEO, "sonnet", limit=10))) == ["a", "b", "c"]
