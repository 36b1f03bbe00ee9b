"""The names of deleted accounts: nobody gets them for a while, and nobody can tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from lxml import etree
from twisted.internet.defer import CancelledError, Deferred, execute, fail

from jabberd.api import JID, Refused, StorageError
from jabberd.jsm.credentials import AccountExists, Accounts, NoSuchAccount
from jabberd.jsm.names import DeletedName
from jabberd.storage import open_storage
from jabberd.storage.memory import MemoryStorage
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.modules.test_registration import fields, newcomer, refused, said

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jabberd.interfaces import Storage
    from jabberd.testing import Network
    from tests.conftest import LoggedErrors

DOMAIN = JID.parse("montague.lit")
ROMEO = JID.parse("romeo@montague.lit")
PASSWORD = "wherefore art thou"
THEN = datetime(1597, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class Time:
    """A moment that is moved."""

    def __init__(self) -> None:
        self.moment = THEN

    def __call__(self) -> datetime:
        return self.moment


@pytest.fixture
def time() -> Time:
    return Time()


def made(storage: Storage, time: Time, domain: JID = DOMAIN) -> Accounts:
    return Accounts(domain, storage, execute, b"secret of montague.lit", iterations=4096, now=time)


@pytest.fixture
def accounts(time: Time) -> Accounts:
    return made(MemoryStorage(), time)


async def deleted(accounts: Accounts, *names: str) -> None:
    for name in names:
        await accounts.create(name, PASSWORD)
        await accounts.delete(name)


async def is_taken(accounts: Accounts, name: str = "romeo") -> bool:
    try:
        await accounts.create(name, PASSWORD)
    except AccountExists:
        return True
    return False


async def test_nobody_gets_the_name_of_a_deleted_account_for_sixty_days(
    accounts: Accounts, time: Time
) -> None:
    await deleted(accounts, "romeo")
    assert await is_taken(accounts, "ROMEO")
    time.moment += 60 * DAY - timedelta(seconds=1)
    assert await is_taken(accounts)
    assert not await is_taken(accounts, "tybalt")
    time.moment += timedelta(seconds=1)
    assert not await is_taken(accounts)


async def test_forever_is_forever_and_off_is_off(accounts: Accounts, time: Time) -> None:
    accounts.names.span = inf
    await deleted(accounts, "romeo")
    time.moment += 100_000 * DAY
    assert await is_taken(accounts)
    [held] = await accounts.names.list()
    assert (held.jid, held.deleted, held.until) == (ROMEO, THEN, None)
    accounts.names.span = 0
    assert not await is_taken(accounts)
    await accounts.delete("romeo")
    accounts.names.span = inf
    assert await accounts.names.list() == []


async def test_a_name_that_is_released_can_be_had(accounts: Accounts) -> None:
    await deleted(accounts, "romeo", "tybalt")
    released = await accounts.names.release(ROMEO)
    assert released is not None
    assert (released.deleted, released.until) == (THEN, THEN + 60 * DAY)
    assert await accounts.names.release(ROMEO) is None
    assert [held.jid for held in await accounts.names.list()] == ["tybalt@montague.lit"]
    assert not await is_taken(accounts)
    assert await accounts.names.held(ROMEO) is None


async def test_names_whose_time_is_up_are_forgotten_with_a_later_deletion(time: Time) -> None:
    storage = MemoryStorage()
    accounts = made(storage, time)
    await deleted(made(storage, time, JID.parse("capulet.lit")), "juliet")
    await deleted(accounts, "romeo")
    time.moment += 61 * DAY
    await deleted(accounts, "tybalt")
    store = accounts.names._store
    assert done(store.owners("montague.lit")) == ["tybalt@montague.lit"]
    assert done(store.owners("capulet.lit")) == ["juliet@capulet.lit"]  # its own domain sees to it
    time.moment += DAY / 2
    await store.put("paris@montague.lit", "", DeletedName(THEN))
    await deleted(accounts, "mercutio")
    assert "paris@montague.lit" in done(store.owners("montague.lit"))  # not twice within a day


def test_a_name_that_is_kept_back_anew_while_old_ones_are_forgotten_is_kept_back(
    accounts: Accounts, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(deleted(accounts, "romeo"))
    done(accounts.create("tybalt", PASSWORD))
    time.moment += 61 * DAY
    page, waiting = accounts.names._store.page, Deferred[None]()

    def slow(domain: str, after: str = "") -> Any:
        found = done(page(domain, after))
        return waiting.addCallback(lambda _: found)

    monkeypatch.setattr(accounts.names._store, "page", slow)
    first = Deferred.fromCoroutine(accounts.delete("tybalt"))
    second = Deferred.fromCoroutine(deleted(accounts, "romeo"))
    monkeypatch.undo()
    waiting.callback(None)
    done(first)
    done(second)
    assert done(is_taken(accounts))


async def test_old_names_that_cannot_be_forgotten_keep_nobody_from_deleting_an_account(
    accounts: Accounts, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deleted(accounts, "romeo", "paris")
    time.moment += 61 * DAY
    with monkeypatch.context() as broken:
        broken.setattr(accounts.names._store, "change", lambda *_: fail(StorageError("away")))
        await deleted(accounts, "tybalt")
    time.moment += DAY
    await deleted(accounts, "mercutio")
    assert done(accounts.names._store.owners("montague.lit")) == [
        f"{name}@montague.lit" for name in ("mercutio", "tybalt")
    ]


async def test_more_names_than_a_page_has_are_listed(accounts: Accounts) -> None:
    for number in range(1001):
        await accounts.names._store.put(f"{number}@montague.lit", "", DeletedName(THEN))
    assert len(await accounts.names.list()) == 1001


async def test_whoever_gets_the_name_has_nothing_of_what_came_late(time: Time) -> None:
    storage = MemoryStorage()
    accounts = made(storage, time)
    accounts.names.span = 0
    await deleted(accounts, "romeo")
    late = storage.keyed("vcard", str)
    await late.put(ROMEO, "", "of the one before")
    await accounts.create("romeo", PASSWORD)
    assert await late.get(ROMEO) is None


def test_a_name_is_kept_back_over_a_restart(tmp_path: Path, time: Time) -> None:
    url = f"sqlite:///{tmp_path}/jabberd.db"
    storage = open_storage(url, None)
    done(deleted(made(storage, time), "romeo"))
    done(storage.close())
    storage = open_storage(url, None)
    accounts = made(storage, time)
    assert done(is_taken(accounts))
    assert [held.jid for held in done(accounts.names.list())] == [ROMEO]
    done(storage.close())


def test_a_password_that_is_set_too_late_is_not_that_of_the_next_of_that_name(time: Time) -> None:
    storage = MemoryStorage()
    accounts = made(storage, time)
    accounts.names.span = 0
    done(accounts.create("romeo", PASSWORD))
    waiting: list[Callable[[], None]] = []

    def later(work: Callable[[], Any]) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        waiting.append(lambda: result.callback(work()))
        return result

    slow = Accounts(DOMAIN, storage, later, b"secret of montague.lit", iterations=4096, now=time)
    failed: list[Any] = []
    Deferred.fromCoroutine(slow.set_password("romeo", "of the one before")).addErrback(failed.append)
    time.moment += DAY
    done(accounts.delete("romeo"))
    done(accounts.create("romeo", PASSWORD))
    waiting.pop()()
    assert [failure.type for failure in failed] == [NoSuchAccount]
    assert done(accounts.check("romeo", PASSWORD))
    done(accounts.delete("romeo"))
    Deferred.fromCoroutine(slow.set_password("romeo", "of the one before")).addErrback(failed.append)
    done(accounts.create("romeo", PASSWORD))
    waiting.pop()()
    assert [failure.type for failure in failed] == [NoSuchAccount] * 2
    assert done(accounts.check("romeo", PASSWORD))


# --- what others see of it --------------------------------------------------------------------------


def answers(network: Network, name: str) -> str:
    """All that a newcomer is told who wants that name, but for the name."""
    client, _ = newcomer(network, address=f"192.0.2.{len(name)}")
    answer = client.ask(said(fields(name)))
    return etree.tostring(answer[-1], encoding="unicode").replace(name, "")


def test_a_newcomer_cannot_tell_a_name_that_is_kept_back_from_one_that_is_taken(network: Network) -> None:
    modules: dict[str, Any] = {"registration": {"open": True}}
    modules |= {key: {} for key in ("disco", "commands", "last", "administration", "invitations")}
    server = network.serve("montague.lit", tls=True, modules=modules)
    client, _ = newcomer(network)
    promised = JID.parse("benvolio@montague.lit")
    done(server.hosts["montague.lit"].manager.module("invitations").create(promised))  # type: ignore[attr-defined]
    for name in ("romeo", "mercutio"):
        assert refused(client, said(fields(name))) == ""
    done(server.hosts["montague.lit"].manager.registrar.delete(ROMEO))
    assert "conflict" in answers(network, "romeo")
    assert len({answers(network, name) for name in ("romeo", "mercutio", "benvolio", "root")}) == 1


def test_nor_can_who_writes_to_it_tell_it_from_one_that_never_was(network: Network) -> None:
    server = network.serve("montague.lit")
    juliet = network.stranger("juliet@capulet.lit/balcony")
    network.client("romeo@montague.lit/orchard").close()
    done(server.hosts["montague.lit"].manager.registrar.delete(ROMEO))

    def told(name: str) -> list[str]:
        juliet.forget()
        for stanza in (
            "<message from='juliet@capulet.lit/balcony' to='{}' type='chat'><body>hi</body></message>",
            "<iq type='get' id='q1' to='{}'><query xmlns='jabber:iq:version'/></iq>",
            "<presence from='juliet@capulet.lit' type='probe' to='{}'/>",
            "<presence from='juliet@capulet.lit' type='subscribe' to='{}'/>",
        ):
            juliet.send(stanza.format(f"{name}@montague.lit").replace(" ", " xmlns='jabber:client' ", 1))
        network.flush()
        heard = [etree.tostring(each, encoding="unicode") for each in juliet.heard]
        return [each.replace(name, "") for each in heard]

    heard = told("romeo")
    assert heard == told("abraham")
    assert ["service-unavailable" in each or "unsubscribed" in each for each in heard] == [True] * 3


def test_operators_are_told_and_release_it_first(network: Network) -> None:
    server = network.serve("montague.lit")
    host = server.hosts["montague.lit"]
    registrar = host.manager.registrar
    done(registrar.create(ROMEO, PASSWORD))
    done(registrar.delete(ROMEO))
    with pytest.raises(
        Refused, match=r"was deleted at 20.+ kept back until 20.+: accounts release romeo@"
    ) as why:
        done(registrar.see_that_it_is_free(ROMEO))
    assert why.value.condition == "conflict"
    done(host.accounts.names.release(ROMEO))
    done(registrar.see_that_it_is_free(ROMEO))
    done(registrar.create(ROMEO, PASSWORD))
    with pytest.raises(Refused, match=r"^romeo@montague\.lit exists already$"):
        done(registrar.see_that_it_is_free(ROMEO))


def test_nobody_pre_approves_any_more_whose_account_was_deleted(network: Network) -> None:
    server = network.serve("montague.lit", "capulet.lit")
    juliet = network.client("juliet@capulet.lit/balcony")
    nurse = network.client("nurse@capulet.lit/hall")
    network.client("romeo@montague.lit/orchard").close()
    for who in ("romeo@montague.lit", "paris@montague.lit"):
        juliet.send(f"<presence type='subscribed' to='{who}'/>")
    nurse.ask(f"<iq type='set'><query xmlns='jabber:iq:roster'><item jid='{ROMEO}'/></query></iq>")

    def approved() -> list[str]:
        roster = juliet.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")[0]
        return sorted(item.get("jid", "") for item in roster if item.get("approved") == "true")

    assert approved() == ["paris@montague.lit", ROMEO]
    juliet.forget()
    done(server.hosts["montague.lit"].manager.registrar.delete(ROMEO))
    pushed = juliet.next()
    assert [(item.get("jid"), item.get("approved")) for item in pushed[0]] == [(ROMEO, None)]
    assert approved() == ["paris@montague.lit"]
    assert nurse.hears_nothing()
    another = network.client("romeo@montague.lit/orchard")
    another.send("<presence type='subscribe' to='juliet@capulet.lit'/>")
    assert condition(juliet.next()) == ""
    assert another.hears_nothing()


def test_a_storage_that_goes_away_behind_a_deletion_does_not_undo_it(
    network: Network, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    manager = network.serve("montague.lit").hosts["montague.lit"].manager
    romeo = network.client("romeo@montague.lit/orchard")
    monkeypatch.setattr(manager.contacts._store, "having", lambda *_: fail(StorageError("away")))
    assert condition(romeo.ask(said("<remove/>"))) == ""
    assert romeo.is_dismissed_with("not-authorized")
    assert len(logged_errors.take(StorageError)) == 1
    assert not done(manager.account(ROMEO)).exists


@pytest.mark.parametrize("read_again", [False, True], ids=["one account", "read again meanwhile"])
def test_of_two_who_delete_an_account_at_once_one_is_told_that_there_is_none(
    network: Network, monkeypatch: pytest.MonkeyPatch, *, read_again: bool
) -> None:
    server = network.serve("montague.lit")
    registrar = server.hosts["montague.lit"].manager.registrar
    done(registrar.create(ROMEO, PASSWORD))
    save, waiting = server.storage.save, Deferred[None]()
    monkeypatch.setattr(
        server.storage, "save", lambda *args, **how: waiting.addCallback(lambda _: save(*args, **how))
    )
    first = Deferred.fromCoroutine(registrar.delete(ROMEO))
    if read_again:
        server.hosts["montague.lit"].manager.accounts.drop(ROMEO)  # as if it had made room for others
    second = Deferred.fromCoroutine(registrar.delete(ROMEO))
    waiting.callback(None)
    done(first)
    with pytest.raises(Refused, match="there is no account"):
        done(second)


@pytest.mark.parametrize("verb", ["create", "delete"])
def test_an_operator_who_does_not_wait_for_the_storage_leaves_no_account_half_made_or_half_deleted(
    network: Network, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    server = network.serve("montague.lit")
    manager = server.hosts["montague.lit"].manager
    registrar = manager.registrar
    if verb == "delete":
        done(registrar.create(ROMEO, PASSWORD))
    assert done(manager.account(ROMEO)).exists is (verb == "delete")
    told: list[object] = []
    monkeypatch.setattr(manager, "fire", told.append)
    monkeypatch.setattr(manager, "fire_everywhere", told.append)
    save, waiting = server.storage.save, Deferred[None]()

    def slow(*args: Any, **how: Any) -> Deferred[None]:
        written: Deferred[None] = Deferred()  # what is on its way to the disk cannot be called back
        waiting.addCallback(lambda _: save(*args, **how)).addCallback(written.callback)
        return written

    monkeypatch.setattr(server.storage, "save", slow)
    work = registrar.create(ROMEO, PASSWORD) if verb == "create" else registrar.delete(ROMEO)
    asked = Deferred.fromCoroutine(work)
    asked.cancel()
    with pytest.raises(CancelledError):
        done(asked)
    waiting.callback(None)
    exists = server.hosts["montague.lit"].accounts.exists("romeo")
    assert done(manager.account(ROMEO)).exists is done(exists) is (verb == "create")
    assert len(told) == 1
