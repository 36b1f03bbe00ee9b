"""Accounts: made, changed, disabled, removed; and what is stored of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, execute

from jabberd.jsm.credentials import AccountExists, AccountRecord, Accounts, NoSuchAccount
from jabberd.jsm.threads import Overloaded
from jabberd.storage.memory import MemoryStorage
from jabberd.xmpp.errors import SASLFailure
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.scram import HASHES, InvalidPassword, verify_password

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.interfaces import Keyed

DOMAIN = JID.parse("montague.lit")
SECRET = b"secret of montague.lit"
PASSWORD = "wherefore art thou"
NOW = datetime(1597, 1, 1, tzinfo=UTC)


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def store(storage: MemoryStorage) -> Keyed[AccountRecord]:
    return storage.keyed("account", AccountRecord)


@pytest.fixture
def accounts(storage: MemoryStorage) -> Accounts:
    return Accounts(DOMAIN, storage, execute, SECRET, iterations=4096, now=lambda: NOW)


@pytest.mark.rfc6120("C-1")
async def test_an_account_is_made_of_a_name_and_a_password(accounts: Accounts) -> None:
    assert await accounts.create("Romeo", PASSWORD) == "romeo@montague.lit"
    assert await accounts.exists("romeo")
    assert await accounts.exists("ROMEO")
    assert await accounts.check("romeo", PASSWORD)
    assert not await accounts.check("romeo", "wherefore")


async def test_an_account_has_keys_for_every_hash(accounts: Accounts) -> None:
    await accounts.create("romeo", PASSWORD)
    for hash_name in HASHES:
        keys = await accounts.keys("romeo", hash_name)
        assert keys.genuine
        assert (keys.hash_name, keys.iterations) == (hash_name, 4096)
        assert verify_password(keys, PASSWORD)


async def test_keys_are_made_with_ten_thousand_iterations_unless_told_otherwise(
    storage: MemoryStorage,
) -> None:
    accounts = Accounts(DOMAIN, storage, execute, SECRET)
    await accounts.create("romeo", PASSWORD)
    assert (await accounts.keys("romeo", "SHA-256")).iterations == 10_000
    assert (await accounts.keys("tybalt", "SHA-256")).iterations == 10_000


async def test_nothing_of_the_password_is_stored(
    accounts: Accounts, store: Keyed[AccountRecord], storage: MemoryStorage
) -> None:
    await accounts.create("romeo", PASSWORD)
    await accounts.check("romeo", PASSWORD)
    record = await store.get("romeo@montague.lit")
    assert record is not None
    assert record.created == NOW
    stored = repr(vars(storage))
    assert "stored_key" in stored
    assert PASSWORD not in stored + repr(vars(accounts)) + repr(record)
    assert "stored_key" not in repr(record)


async def test_a_name_is_taken_once(accounts: Accounts) -> None:
    await accounts.create("romeo", PASSWORD)
    with pytest.raises(AccountExists, match=r"romeo@montague\.lit"):
        await accounts.create("ROMEO", "another")
    assert await accounts.check("romeo", PASSWORD)


def test_of_two_who_want_one_name_at_once_one_gets_it(storage: MemoryStorage) -> None:
    waiting: list[Callable[[], None]] = []

    def later(work: Callable[[], Any]) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        waiting.append(lambda: result.callback(work()))
        return result

    accounts = Accounts(DOMAIN, storage, later, SECRET, iterations=4096)
    made: list[JID] = []
    refused: list[Any] = []
    for password in ("first", "second"):
        Deferred.fromCoroutine(accounts.create("romeo", password)).addCallbacks(made.append, refused.append)
    while waiting:
        waiting.pop(0)()
    assert made == ["romeo@montague.lit"]
    assert [failure.type for failure in refused] == [AccountExists]


@pytest.mark.rfc6120("C-1")
@pytest.mark.parametrize("localpart", ["", "ro meo", "romeo@montague.lit", "ro/meo", "\x00"])
async def test_a_name_that_is_no_localpart_is_refused(accounts: Accounts, localpart: str) -> None:
    with pytest.raises(InvalidJID):
        await accounts.create(localpart, PASSWORD)
    assert await accounts.list() == []


async def test_what_is_no_password_is_refused(accounts: Accounts) -> None:
    with pytest.raises(InvalidPassword):
        await accounts.create("romeo", "")
    assert not await accounts.exists("romeo")
    await accounts.create("romeo", PASSWORD)
    with pytest.raises(InvalidPassword):
        await accounts.set_password("romeo", "\x00")
    assert await accounts.check("romeo", PASSWORD)
    assert not await accounts.check("romeo", "")


async def test_a_new_password_takes_the_place_of_the_old_one(
    accounts: Accounts, store: Keyed[AccountRecord]
) -> None:
    await accounts.create("romeo", PASSWORD)
    before = await store.get("romeo@montague.lit")
    await accounts.set_password("romeo", "a rose by any other name")
    after = await store.get("romeo@montague.lit")
    assert before is not None
    assert after is not None
    assert after.created == before.created
    assert not await accounts.check("romeo", PASSWORD)
    assert await accounts.check("romeo", "a rose by any other name")


async def test_nobody_logs_in_to_a_disabled_account(accounts: Accounts, store: Keyed[AccountRecord]) -> None:
    await accounts.create("romeo", PASSWORD)
    await accounts.disable("romeo")
    record = await store.get("romeo@montague.lit")
    assert record is not None
    assert record.disabled == NOW
    assert await accounts.exists("romeo")
    assert not await accounts.check("romeo", PASSWORD)
    assert not (await accounts.keys("romeo", "SHA-256")).genuine
    await accounts.set_password("romeo", PASSWORD)
    assert not await accounts.check("romeo", PASSWORD)
    await accounts.enable("romeo")
    assert await accounts.check("romeo", PASSWORD)


async def test_a_removed_account_is_gone(accounts: Accounts) -> None:
    await accounts.create("romeo", PASSWORD)
    await accounts.delete("romeo")
    assert not await accounts.exists("romeo")
    assert not await accounts.check("romeo", PASSWORD)


async def test_what_there_is_not_is_not_changed(accounts: Accounts) -> None:
    for change in (
        accounts.set_password("tybalt", "x"),
        accounts.disable("tybalt"),
        accounts.enable("tybalt"),
        accounts.delete("tybalt"),
    ):
        with pytest.raises(NoSuchAccount, match=r"tybalt@montague\.lit"):
            await change
    assert await accounts.list() == []


async def test_the_accounts_of_a_domain_are_listed(accounts: Accounts, storage: MemoryStorage) -> None:
    other = Accounts(JID.parse("capulet.lit"), storage, execute, SECRET, iterations=4096)
    for localpart in ("romeo", "benvolio", "mercutio"):
        await accounts.create(localpart, PASSWORD)
    await other.create("juliet", PASSWORD)
    assert await accounts.list() == [f"{name}@montague.lit" for name in ("benvolio", "mercutio", "romeo")]
    assert await other.list() == ["juliet@capulet.lit"]
    await accounts.disable("mercutio")
    assert await accounts.disabled() == ["mercutio@montague.lit"]
    assert await other.disabled() == []


async def test_unknown_accounts_have_keys_that_stay_the_same_over_a_restart(
    accounts: Accounts, storage: MemoryStorage
) -> None:
    restarted = Accounts(DOMAIN, storage, execute, SECRET, iterations=4096)
    elsewhere = Accounts(JID.parse("capulet.lit"), storage, execute, SECRET, iterations=4096)
    keys = await accounts.keys("tybalt", "SHA-256")
    assert not keys.genuine
    assert keys == await restarted.keys("tybalt", "SHA-256")
    assert keys.salt != (await elsewhere.keys("tybalt", "SHA-256")).salt


async def test_an_account_without_keys_for_a_hash_looks_unknown_there(
    accounts: Accounts, store: Keyed[AccountRecord]
) -> None:
    await accounts.create("romeo", PASSWORD)
    keys = await accounts.keys("romeo", "SHA-1")
    await store.put("romeo@montague.lit", "", AccountRecord((keys,), NOW))
    assert await accounts.keys("romeo", "SHA-1") == keys
    assert not (await accounts.keys("romeo", "SHA-512")).genuine


async def test_a_check_that_finds_no_room_fails_for_now(storage: MemoryStorage) -> None:
    def full(_work: object) -> Deferred[Any]:
        raise Overloaded

    with pytest.raises(SASLFailure, match="temporary-auth-failure"):
        await Accounts(DOMAIN, storage, full, SECRET).check("romeo", PASSWORD)


def test_a_secret_that_can_be_guessed_is_refused(storage: MemoryStorage) -> None:
    with pytest.raises(ValueError, match="secret"):
        Accounts(DOMAIN, storage, execute, b"")
