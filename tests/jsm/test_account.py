"""Accounts in memory: one query each, in order, bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from jabberd.interfaces import StorageError
from jabberd.jsm.account import ACCOUNTS, Account, AccountCache, Residents
from jabberd.jsm.credentials import AccountRecord
from jabberd.storage.memory import MemoryStorage
from jabberd.testing.outcome import done
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ROMEO, JULIET, NURSE, TYBALT = (
    JID.parse(f"{name}@verona.lit") for name in ("romeo", "juliet", "nurse", "tybalt")
)


class Slow(MemoryStorage):
    """Answers when the test wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, tuple[str, ...], Deferred[Any]]] = []

    def load(self, owner: str, stores: Iterable[str]) -> Deferred[dict[str, dict[str, object]]]:
        stores = tuple(stores)
        answer: Deferred[dict[str, dict[str, object]]] = Deferred()
        self.asked.append((owner, stores, answer))
        return answer

    def answer(self) -> None:
        """Answer the oldest question."""
        owner, stores, answer = self.asked.pop(0)
        super().load(owner, stores).chainDeferred(answer)


@pytest.fixture
def storage() -> Slow:
    storage = Slow()
    records = storage.keyed(ACCOUNTS, AccountRecord)
    for jid in (ROMEO, JULIET, NURSE):
        records.put(jid, "", AccountRecord((), datetime.now(UTC)))
    return storage


@pytest.fixture
def cache(storage: Slow) -> AccountCache:
    return AccountCache(storage, most=2)


def load(cache: AccountCache, storage: Slow, *jids: JID) -> list[Account]:
    """Load these, one after the other."""
    loaded = []
    for jid in jids:
        loading = cache.load(jid)
        if storage.asked:
            storage.answer()
        loaded.append(done(loading))
    return loaded


class Late(MemoryStorage):
    """Reads at once, and answers when the test wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.late: list[Callable[[], None]] = []

    def load(self, owner: str, stores: Iterable[str]) -> Deferred[dict[str, dict[str, object]]]:
        read, answer = done(super().load(owner, stores)), Deferred[dict[str, dict[str, object]]]()
        self.late.append(lambda: answer.callback(read))
        return answer


def test_an_account_that_is_made_or_deleted_while_it_is_read_is_read_again() -> None:
    storage = Late()
    records = storage.keyed(ACCOUNTS, AccountRecord)
    cache = AccountCache(storage)
    for record in (AccountRecord((), datetime.now(UTC)), None):
        reading = [cache.load(TYBALT), cache.load(TYBALT)]
        records.change(TYBALT, {"": record})
        cache.drop(TYBALT)
        while storage.late:
            storage.late.pop(0)()
        assert [done(each).exists for each in reading] == [record is not None] * 2
        cache.drop(TYBALT)


def test_one_query_serves_all_who_ask_and_the_first_is_answered_first(
    cache: AccountCache, storage: Slow
) -> None:
    order: list[int] = []

    def answered(account: Account, number: int) -> Account:
        order.append(number)
        return account

    loading = [cache.load(ROMEO).addCallback(answered, number) for number in range(3)]
    assert [owner for owner, _, _ in storage.asked] == [ROMEO]
    assert cache.get(ROMEO) is None
    storage.answer()
    assert order == [0, 1, 2]
    accounts = [done(each) for each in loading]
    assert all(account is cache.get(ROMEO) for account in accounts)
    assert done(cache.load(ROMEO)) is accounts[0]
    assert storage.asked == []


def test_the_query_is_for_everything_that_is_resident(cache: AccountCache, storage: Slow) -> None:
    cache.make_resident("roster")
    cache.make_resident("blocklist")
    cache.make_resident("roster")
    storage.keyed("roster", str)
    storage.keyed("blocklist", str)
    storage.keyed("roster", str).put(ROMEO, "juliet", "both")
    [romeo] = load(cache, storage, ROMEO)
    assert romeo.stored == {"roster": {"juliet": "both"}}


def test_an_account_exists_if_it_has_a_record(cache: AccountCache, storage: Slow) -> None:
    romeo, tybalt = load(cache, storage, ROMEO, TYBALT)
    assert (romeo.exists, romeo.disabled, romeo.anonymous) == (True, False, False)
    assert (tybalt.exists, tybalt.disabled) == (False, False)
    record = AccountRecord((), datetime.now(UTC), disabled=datetime.now(UTC))
    storage.keyed(ACCOUNTS, AccountRecord).put(ROMEO, "", record)
    cache.drop(ROMEO)
    [romeo] = load(cache, storage, ROMEO)
    assert (romeo.exists, romeo.disabled) == (True, True)


def test_the_one_that_nobody_asked_for_the_longest_makes_room(cache: AccountCache, storage: Slow) -> None:
    load(cache, storage, ROMEO, JULIET, ROMEO)
    load(cache, storage, NURSE)
    assert {account.jid for account in cache} == {ROMEO, NURSE}
    cache.get(ROMEO)
    load(cache, storage, TYBALT)
    assert {account.jid for account in cache} == {ROMEO, TYBALT}


def test_who_is_online_stays_whatever_comes(cache: AccountCache, storage: Slow) -> None:
    for account in load(cache, storage, ROMEO, JULIET):
        account.sessions["orchard"] = object()  # type: ignore[assignment]  # only its presence counts
    load(cache, storage, NURSE, TYBALT, NURSE)
    assert {account.jid for account in cache} >= {ROMEO, JULIET}
    assert len(cache) <= 3


def test_a_load_that_fails_fails_for_all_who_wait_and_is_tried_again(
    cache: AccountCache, storage: Slow
) -> None:
    loading = [cache.load(ROMEO), cache.load(ROMEO)]
    storage.asked.pop()[2].errback(StorageError("the disk is gone"))
    for each in loading:
        with pytest.raises(StorageError):
            done(each)
    [romeo] = load(cache, storage, ROMEO)
    assert romeo.exists


# --- values that are in memory --------------------------------------------------------------------


@pytest.fixture
def moods(cache: AccountCache, storage: Slow) -> Residents[str]:
    return Residents(cache, storage.keyed("mood", str), "mood")


def test_values_are_read_from_memory_if_the_account_is_there_and_else_from_the_storage(
    moods: Residents[str], cache: AccountCache, storage: Slow
) -> None:
    done(moods.put(ROMEO, "now", "in love"))
    assert done(moods.get(ROMEO, "now")) == "in love"
    assert done(moods.all(ROMEO)) == {"now": "in love"}
    [romeo] = load(cache, storage, ROMEO)
    assert moods.of(romeo) == {"now": "in love"}
    done(moods.change(ROMEO, {"now": None, "then": "sad"}))
    assert moods.of(romeo) == done(moods.all(ROMEO)) == {"then": "sad"}
    assert done(moods.get(ROMEO, "now")) is None
    cache.drop(ROMEO)
    assert done(moods.all(ROMEO)) == {"then": "sad"}
    assert done(moods.owners("verona.lit")) == [ROMEO]


def test_a_change_is_seen_at_once_and_taken_back_if_it_cannot_be_stored(
    moods: Residents[str], cache: AccountCache, storage: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    [romeo] = load(cache, storage, ROMEO)
    done(moods.put(ROMEO, "now", "sad"))
    stored: list[Deferred[None]] = []

    def change(_: object, owner: str, changes: Mapping[str, str | None]) -> Deferred[None]:
        stored.append(Deferred())
        return stored[-1]

    monkeypatch.setattr(type(storage.keyed("mood", str)), "change", change)
    changing = moods.change(ROMEO, {"now": "in love", "then": "sad"})
    assert moods.of(romeo) == {"now": "in love", "then": "sad"}
    stored[0].errback(StorageError("the disk is full"))
    assert moods.of(romeo) == {"now": "sad"}
    with pytest.raises(StorageError):
        done(changing)


def test_nothing_of_an_anonymous_account_is_stored(
    moods: Residents[str], cache: AccountCache, storage: Slow
) -> None:
    nobody = Account(TYBALT, exists=True, anonymous=True)
    cache.add(nobody)
    done(moods.put(TYBALT, "now", "angry"))
    assert moods.of(nobody) == {"now": "angry"}
    assert done(storage.keyed("mood", str).all(TYBALT)) == {}
