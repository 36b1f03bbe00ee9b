"""XEP-0198: what was acknowledged has a home, also when the storage fails or others leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, fail

from jabberd import settings
from jabberd.api import Account, Archive, Module, Stanza, undelivered
from jabberd.interfaces import StorageError
from jabberd.jsm.unstored import PATIENCE
from jabberd.storage.memory import MemoryArchive, MemoryStorage
from jabberd.testing import Network
from tests.modules.test_sm import NS, enabled, message, resuming, waiting

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from jabberd.testing import Client
    from tests.conftest import LoggedErrors


class FragileArchive(MemoryArchive):
    """An archive on a disk that may be full."""

    full = False

    def append(self, owner: str, peer: str, stamp: datetime, stanza: bytes, **how: Any) -> Deferred[int]:
        return fail(StorageError("full")) if self.full else super().append(owner, peer, stamp, stanza, **how)

    def remove(self, owner: str, ids: Iterable[int]) -> Deferred[None]:
        return fail(StorageError("full")) if self.full else super().remove(owner, ids)


class FragileStorage(MemoryStorage):
    """A storage whose archives are `FragileArchive`."""

    def archive(self, name: str) -> FragileArchive:
        found = self._archives.setdefault(name, FragileArchive(self._ids))
        assert isinstance(found, FragileArchive)
        return found

    def fill(self, *names: str, full: bool = True) -> None:
        """Let these archives be full, or not any more."""
        for name in names:
            self.archive(name).full = full

    def rows(self, name: str, owner: str) -> int:
        """How many rows the owner has there."""
        counts: list[int] = []
        self.archive(name).count(owner).addCallback(counts.append)
        return counts[0]


@pytest.fixture
def storage(network: Network) -> FragileStorage:
    storage = FragileStorage()
    network.serve("montague.lit", storage=storage, modules={"sm": {}, "offline": {}})
    return storage


@pytest.fixture
def romeo(network: Network, storage: FragileStorage) -> Client:
    romeo = network.client("romeo@montague.lit/orchard")
    enabled(romeo, " resume='true'")
    return romeo


def handled(client: Client) -> str:
    """What the server has taken from the client so far."""
    client.forget()
    client.send(f"<r xmlns='{NS}'/>")
    return client.next().get("h") or ""


def away(network: Network) -> str:
    """Juliet's connection is lost; gives the id by which she may resume."""
    juliet = network.client("juliet@montague.lit/balcony")
    id = enabled(juliet, " resume='true'")
    juliet.drop()
    return id


# -- the storage fails ------------------------------------------------------------------------------


def test_a_message_that_cannot_be_stored_is_not_acknowledged_until_it_is(
    romeo: Client, network: Network, storage: FragileStorage, logged_errors: LoggedErrors
) -> None:
    network.client("juliet@montague.lit/balcony").close()
    storage.fill("offline")
    romeo.send(message("hi") + f"<r xmlns='{NS}'/>")
    assert romeo.next().get("h") == "0"
    network.advance(5)
    assert handled(romeo) == "0"
    storage.fill("offline", full=False)
    network.advance(1)
    assert handled(romeo) == "1"
    assert waiting(network) == ["hi"]
    assert len(logged_errors.take(StorageError)) == 1


def test_a_message_that_cannot_be_stored_for_long_comes_back_before_it_is_acknowledged(
    romeo: Client, network: Network, storage: FragileStorage, logged_errors: LoggedErrors
) -> None:
    network.client("juliet@montague.lit/balcony").close()
    storage.fill("offline")
    romeo.send(message("hi"))
    network.advance(PATIENCE + 0.6)
    assert romeo.next().get("type") == "error"
    romeo.forget()
    assert handled(romeo) == "0"
    network.advance(1)  # now the error is in the spool: the sender will hear of it
    assert handled(romeo) == "1"
    assert len(logged_errors.take(StorageError)) == 1


def test_what_cannot_be_spooled_is_not_acknowledged_until_it_can(
    romeo: Client, network: Network, storage: FragileStorage, logged_errors: LoggedErrors
) -> None:
    away(network)
    storage.fill("spool")
    romeo.send(message("hi"))
    network.advance(3)
    assert handled(romeo) == "0"
    storage.fill("spool", full=False)
    network.advance(1)
    assert handled(romeo) == "1"
    assert logged_errors.take(StorageError)


def test_what_was_acknowledged_and_cannot_be_stored_stays_in_the_spool_until_it_can(
    romeo: Client, network: Network, storage: FragileStorage
) -> None:
    away(network)
    romeo.send(message("hi"))
    network.advance(2)
    assert handled(romeo) == "1"
    storage.fill("offline")
    network.advance(700)
    romeo.forget()
    assert storage.rows("spool", "montague.lit") == 1
    storage.fill("offline", full=False)
    network.advance(1)
    assert waiting(network) == ["hi"]
    assert storage.rows("spool", "montague.lit") == 0
    assert romeo.hears_nothing()


def test_what_was_not_acknowledged_and_cannot_be_stored_waits_for_the_storage(
    romeo: Client, network: Network, storage: FragileStorage, logged_errors: LoggedErrors
) -> None:
    juliet = network.client("juliet@montague.lit/balcony")
    enabled(juliet)
    storage.fill("offline", "spool")
    romeo.send(message("hi"))
    juliet.drop()
    network.advance(5)
    assert handled(romeo) == "0"
    storage.fill("offline", full=False)
    network.advance(1)
    assert handled(romeo) == "1"
    assert waiting(network) == ["hi"]
    assert not logged_errors.take(StorageError)


def test_what_was_not_acknowledged_and_cannot_be_stored_for_long_comes_back(
    romeo: Client, network: Network, storage: FragileStorage, logged_errors: LoggedErrors
) -> None:
    juliet = network.client("juliet@montague.lit/balcony")
    enabled(juliet)
    storage.fill("offline", "spool")
    romeo.send(message("hi"))
    juliet.drop()
    network.advance(PATIENCE + 1)
    assert romeo.next().get("type") == "error"
    assert handled(romeo) == "1"
    assert logged_errors.take(StorageError)


def test_a_spool_that_could_not_be_emptied_is_emptied_later(
    romeo: Client, network: Network, storage: FragileStorage, logged_errors: LoggedErrors
) -> None:
    juliet = network.client("juliet@montague.lit/balcony")
    enabled(juliet)
    romeo.send(message("hi"))
    network.advance(2)
    storage.fill("spool")
    juliet.send(f"<a xmlns='{NS}' h='1'/>")
    assert storage.rows("spool", "montague.lit") == 1
    storage.fill("spool", full=False)
    network.advance(1)
    assert storage.rows("spool", "montague.lit") == 0
    assert logged_errors.take(StorageError)


# -- after the next start ---------------------------------------------------------------------------


def test_what_had_waited_is_not_in_the_spool_as_well_whether_its_client_is_there_or_not(
    romeo: Client, network: Network, storage: FragileStorage
) -> None:
    network.client("juliet@montague.lit/balcony").close()
    romeo.send(message("hi"))
    juliet = network.client("juliet@montague.lit/balcony", presence="")
    enabled(juliet, " resume='true'")
    juliet.send("<presence/>")
    for _ in range(2):
        network.advance(8)
        assert storage.rows("offline", "juliet@montague.lit") == 1
        assert storage.rows("spool", "montague.lit") == 0
        juliet.drop()


class Shelf(Module):
    """Takes undelivered messages, once it has started."""

    messages = Archive("shelf")

    async def start(self) -> None:
        self.owner = self.domain.jid

    @undelivered
    def keep(self, stanza: Stanza, account: Account) -> Deferred[None]:
        kept = self.messages.append(self.owner, account.jid, self.now(), stanza.to_standalone())
        return kept.addCallback(lambda _: None)


def test_what_is_in_the_spool_is_delivered_when_all_modules_have_started(
    romeo: Client, network: Network, storage: FragileStorage
) -> None:
    away(network)
    romeo.send(message("hi"))
    network.advance(2)
    assert handled(romeo) == "1"
    modules: dict[str, dict[str, object]] = {"sm": {}, "shelf": {}}
    Network().serve("montague.lit", storage=storage, modules=modules, classes={"shelf": Shelf})
    assert storage.rows("shelf", "montague.lit") == 1
    assert storage.rows("spool", "montague.lit") == 0


@pytest.mark.parametrize("times", [1, 2])
def test_what_was_delivered_from_the_spool_and_not_removed_there_comes_once(
    romeo: Client, network: Network, storage: FragileStorage, logged_errors: LoggedErrors, times: int
) -> None:
    away(network)
    for body in ("one", "two", "two"):
        romeo.send(message(body).replace("'*'", f"'{body}'"))
        network.advance(1)
    assert handled(romeo) == "3"
    storage.fill("spool")
    again = network
    for _ in range(times):  # each is killed before the spool is emptied
        again = Network()
        again.clock.rightNow = network.clock.seconds() + 60
        again.serve("montague.lit", storage=storage, modules={"sm": {}, "offline": {}})
    storage.fill("spool", full=False)
    again = Network()
    again.serve("montague.lit", storage=storage, modules={"sm": {}, "offline": {}})
    assert storage.rows("offline", "juliet@montague.lit") == 3 * (times + 1)
    assert waiting(again) == ["one", "two", "two"]
    assert storage.rows("offline", "juliet@montague.lit") == 0
    assert logged_errors.take(StorageError)


def test_what_is_in_the_spool_and_what_comes_later_waits_for_somebody_absent(
    romeo: Client, network: Network, storage: FragileStorage
) -> None:
    away(network)
    romeo.send(message("hi"))
    network.advance(2)
    assert handled(romeo) == "1"
    again = Network()
    again.serve("montague.lit", storage=storage, modules={"sm": {}, "offline": {}})
    assert storage.rows("offline", "juliet@montague.lit") == 1
    nurse = again.client("nurse@montague.lit/orchard")
    nurse.send("<message to='juliet@montague.lit' type='chat'><body>later</body></message>")
    nurse.flush()
    assert storage.rows("offline", "juliet@montague.lit") == 2


def test_what_comes_from_the_spool_and_cannot_go_there_again_is_tried_again(
    romeo: Client,
    network: Network,
    storage: FragileStorage,
    logged_errors: LoggedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away(network)
    note = "<delay xmlns='urn:xmpp:delay' from='mantua.lit' stamp='2002-09-10T23:08:25Z'/>"
    romeo.send(message("hi").replace("</body>", f"</body>{note}"))
    network.advance(1)
    storage.fill("offline")
    again = Network()
    again.clock.rightNow = network.clock.seconds() + 60
    again.serve("montague.lit", storage=storage, modules={"sm": {}, "offline": {}})
    balcony, tomb = (again.client(f"juliet@montague.lit/{place}") for place in ("balcony", "tomb"))
    for each in (balcony, tomb):
        enabled(each)
    writing: list[Deferred[int]] = []

    def slowly(*_: object) -> Deferred[int]:
        writing.append(Deferred())
        return writing[-1]

    monkeypatch.setattr(storage.archive("spool"), "append", slowly)
    again.advance(1)
    assert len(writing) == 1
    balcony.send(f"<a xmlns='{NS}' h='1'/>")
    assert storage.rows("spool", "montague.lit") == 0
    writing[0].errback(StorageError("full"))
    assert logged_errors.take(StorageError)
    again.advance(1)
    assert len(writing) == 2  # the other one may never get it


# -- counting ---------------------------------------------------------------------------------------


def test_a_client_that_resumes_need_not_say_again_what_was_under_way(romeo: Client, network: Network) -> None:
    away(network)
    id = enabled(network.client("nurse@montague.lit/kitchen"), " resume='true'")
    nurse = resuming(network, "nurse@montague.lit/kitchen", id, 0)
    nurse.receives(f"<resumed xmlns='{NS}' previd='{id}' h='0'/>")
    nurse.send(message("hi"))  # has no home yet
    back = resuming(network, "nurse@montague.lit/kitchen", id, 0)
    assert nurse.is_dismissed_with("conflict")
    assert back.hears_nothing()
    network.advance(2)
    assert back.receives(f"<resumed xmlns='{NS}' previd='{id}' h='1'/>")


def test_what_finds_no_home_while_the_client_resumes_is_said_again_and_counts_once(
    romeo: Client, network: Network, storage: FragileStorage, logged_errors: LoggedErrors
) -> None:
    away(network)
    id = enabled(network.client("nurse@montague.lit/kitchen"), " resume='true'")
    nurse = resuming(network, "nurse@montague.lit/kitchen", id, 0)
    storage.fill("spool")
    nurse.send(message("hi"))
    back = resuming(network, "nurse@montague.lit/kitchen", id, 0)
    network.advance(6)
    assert back.receives(f"<resumed xmlns='{NS}' previd='{id}' h='0'/>")
    back.send(message("hi"))
    storage.fill("spool", full=False)
    network.advance(2)
    assert handled(back) == "1"
    assert romeo.hears_nothing()
    assert logged_errors.take(StorageError)


def test_a_client_that_leaves_while_it_resumes_may_resume_again(romeo: Client, network: Network) -> None:
    away(network)
    id = enabled(network.client("nurse@montague.lit/kitchen"), " resume='true'")
    nurse = resuming(network, "nurse@montague.lit/kitchen", id, 0)
    nurse.send(message("hi"))
    resuming(network, "nurse@montague.lit/kitchen", id, 0).drop()
    network.advance(2)
    back = resuming(network, "nurse@montague.lit/kitchen", id, 0)
    assert back.receives(f"<resumed xmlns='{NS}' previd='{id}' h='1'/>")


def test_a_session_that_was_resumed_with_a_wrong_count_ends_in_its_time(
    romeo: Client, network: Network
) -> None:
    id = away(network)
    romeo.send(message("hi"))
    wrong = resuming(network, "juliet@montague.lit/balcony", id, 7)
    assert wrong.is_dismissed_with("undefined-condition")
    network.advance(700)
    assert waiting(network) == ["hi"]


def test_the_question_whether_a_silent_client_is_there_is_counted(network: Network) -> None:
    network.serve("montague.lit", door=settings.Limits(idle_timeout=10, answer_timeout=10))
    juliet = network.client("juliet@montague.lit/balcony")
    enabled(juliet)
    network.advance(12)
    assert juliet.next().tag == "{jabber:client}iq"
    juliet.forget()
    juliet.send(f"<a xmlns='{NS}' h='1'/>")
    assert juliet.connected
    assert juliet.hears_nothing()


# -- the sender leaves ------------------------------------------------------------------------------


def test_what_was_said_before_a_connection_was_lost_is_delivered_also_what_had_to_wait_for_its_turn(
    network: Network,
    storage: FragileStorage,  # it is served by then
) -> None:
    away(network)
    nurse = network.client("nurse@montague.lit/kitchen")
    nurse.send("".join(message(str(number)) for number in range(80)))
    nurse.drop()
    network.advance(700)
    assert waiting(network) == [str(number) for number in range(80)]
