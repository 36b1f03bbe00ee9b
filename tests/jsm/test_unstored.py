"""What the storage refuses just now waits for it, in order and bounded, and goes back when that lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.interfaces import StorageError
from jabberd.jsm import unstored
from jabberd.jsm.unstored import PATIENCE
from jabberd.testing.client import condition
from jabberd.xmpp.errors import StreamError
from tests.jsm.said import Counting

if TYPE_CHECKING:
    from jabberd.testing import Client, Network
    from tests.conftest import LoggedErrors

BENVOLIO = "benvolio@montague.lit"


@pytest.fixture
def storage(network: Network) -> Counting:
    counting = Counting()
    network.serve("montague.lit", storage=counting, modules={"offline": {}, "blocking": {}})
    network.client(BENVOLIO + "/street").close()
    return counting


@pytest.fixture
def romeo(network: Network, storage: Counting) -> Client:
    return network.client("romeo@montague.lit/orchard")


def fail(storage: Counting, network: Network) -> None:
    """Let the storage fail, with Benvolio not in memory."""
    network.server("montague.lit").hosts["montague.lit"].manager.accounts.drop(f"{BENVOLIO}")
    storage.broken = True


def say(client: Client, *bodies: str) -> None:
    for body in bodies:
        client.send(f"<message to='{BENVOLIO}' type='chat' id='{body}'><body>{body}</body></message>")


def waits(network: Network) -> list[str]:
    """What Benvolio gets when he comes back."""
    client = network.client(BENVOLIO + "/street", presence="")
    client.send("<presence/>")
    return [each.findtext("{*}body") or "" for each in client.heard if each.findtext("{*}body")]


def test_what_cannot_be_stored_is_delivered_in_order_once_it_can(
    romeo: Client, network: Network, storage: Counting, logged_errors: LoggedErrors
) -> None:
    fail(storage, network)
    say(romeo, "one", "two")
    network.advance(PATIENCE / 2)
    say(romeo, "three")
    storage.broken = False
    say(romeo, "four")
    network.advance(1)
    assert romeo.hears_nothing()
    assert waits(network) == ["one", "two", "three", "four"]
    assert len(logged_errors.take(StorageError)) == 1  # of the first; the others waited behind it


def test_who_comes_while_the_storage_fails_is_told_that_a_message_has_waited_for_it(
    romeo: Client, network: Network, storage: Counting, logged_errors: LoggedErrors
) -> None:
    fail(storage, network)
    say(romeo, "one")
    network.advance(0.1)
    storage.broken = False
    benvolio = network.client(BENVOLIO + "/street")
    assert benvolio.hears_nothing()
    say(romeo, "two")
    network.advance(1)
    one, two = benvolio.next(), benvolio.next()
    assert [one.get("id"), two.get("id")] == ["one", "two"]  # the second had to wait behind the first
    for each in one, two:
        note = each.find("{urn:xmpp:delay}delay")
        assert note is not None
        assert note.get("from") == "montague.lit"
    assert len(logged_errors.take(StorageError)) == 1


def test_a_storage_that_fails_for_long_puts_senders_off_at_once_until_it_recovers(
    romeo: Client, network: Network, storage: Counting, logged_errors: LoggedErrors
) -> None:
    fail(storage, network)
    say(romeo, "one", "two")
    network.advance(PATIENCE + 1)
    assert [condition(romeo.next()) for _ in range(2)] == ["resource-constraint"] * 2
    say(romeo, "three")
    assert condition(romeo.next()) == "resource-constraint"
    storage.broken = False
    say(romeo, "four")
    assert waits(network) == ["four"]
    assert len(logged_errors.take(StorageError)) == 2


def test_what_waits_for_the_storage_is_bounded(
    romeo: Client,
    network: Network,
    storage: Counting,
    logged_errors: LoggedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unstored, "MOST", 2)
    fail(storage, network)
    say(romeo, "one", "two", "three")
    refused = romeo.next()
    assert (refused.get("id"), condition(refused)) == ("three", "resource-constraint")
    assert romeo.hears_nothing()
    assert len(logged_errors.take(StorageError)) == 1
    storage.broken = False
    network.advance(1)
    assert waits(network) == ["one", "two"]


def test_what_waited_for_the_storage_is_refused_by_whoever_blocks_its_sender(
    romeo: Client, network: Network, storage: Counting, logged_errors: LoggedErrors
) -> None:
    benvolio = network.client(BENVOLIO + "/street")
    item = "<item jid='romeo@montague.lit'/>"
    benvolio.ask(f"<iq type='set'><block xmlns='urn:xmpp:blocking'>{item}</block></iq>")
    benvolio.close()
    fail(storage, network)
    say(romeo, "one")
    storage.broken = False
    network.advance(1)
    assert condition(romeo.next()) == "service-unavailable"
    assert len(logged_errors.take(StorageError)) == 1


def test_a_server_that_stops_leaves_to_the_senders_what_still_waits(
    romeo: Client, network: Network, storage: Counting, logged_errors: LoggedErrors
) -> None:
    fail(storage, network)
    say(romeo, "one")
    network.server("montague.lit").hosts["montague.lit"].manager.close_all(StreamError("system-shutdown"))
    network.advance(PATIENCE + 1)
    assert not [each for each in romeo.heard if each.get("type") == "error"]
    assert len(logged_errors.take(StorageError)) == 1  # it was not tried again
