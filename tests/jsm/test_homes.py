"""A stanza has a home when all that was held for it is stored."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred

from jabberd.interfaces import StorageError
from jabberd.jsm.homes import Held

if TYPE_CHECKING:
    from twisted.python.failure import Failure


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_it_has_one_when_all_have_fired_in_whatever_order(order: tuple[int, ...]) -> None:
    held, each = Held(), [Deferred[None]() for _ in range(3)]
    for stored in each[:2]:
        held.add(stored)
    home = held.settled(each[2])
    assert home is not None
    fired: list[object] = []
    home.addCallback(fired.append)
    for number in order:
        assert not fired
        each[number].callback(None)
    assert fired == [None]


def test_without_another_home_what_is_stored_is_one() -> None:
    held, stored = Held(), Deferred[int]()
    held.add(stored)
    home = held.settled(None)
    assert home is not None
    fired: list[object] = []
    home.addCallback(fired.append)
    stored.callback(7)
    assert fired == [None]


def test_where_nothing_is_held_its_home_is_its_home() -> None:
    held, home = Held(), Deferred[None]()
    assert held.settled(home) is home
    assert held.settled(None) is None


def test_what_was_held_for_one_is_not_held_for_the_next() -> None:
    held = Held()
    held.add(Deferred())
    held.settled(None)
    assert held.settled(None) is None


@pytest.mark.parametrize("late", [True, False])
def test_what_cannot_be_stored_is_told_and_the_stanza_goes_its_way(late: bool) -> None:
    held, first, second, other = Held(), Deferred[int](), Deferred[int](), Deferred[None]()
    told: list[Failure] = []
    held.add(first, told.append)
    held.add(second, told.append)
    home = held.settled(other)
    assert home is not None
    fired: list[object] = []
    home.addCallback(fired.append)
    if not late:
        other.callback(None)
    first.errback(StorageError("no room"))
    second.errback(StorageError("no room"))
    if late:
        other.callback(None)
    assert [str(why.value) for why in told] == ["no room"] * 2
    assert fired == [None]


@pytest.mark.parametrize("late", [True, False])
def test_it_fails_as_its_home_does_when_all_is_stored(late: bool) -> None:
    held, stored, other = Held(), Deferred[int](), Deferred[None]()
    held.add(stored)
    home = held.settled(other)
    assert home is not None
    failed: list[Failure] = []
    home.addErrback(failed.append)
    if late:
        stored.callback(7)
    other.errback(StorageError("nowhere"))
    if not late:
        assert not failed
        stored.callback(7)
    assert [str(why.value) for why in failed] == ["nowhere"]
