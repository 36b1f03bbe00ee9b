"""Who sends much waits until the client has read: a store full of messages is no reason to drop it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.streams.protocol import StreamSettings
from jabberd.testing.wire import HIGH_WATER

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from jabberd.jsm.session import Session
    from jabberd.testing import Client, Network

TEXT = "x" * 20_000
MANY = 100  # together twice what may wait for a client that does not read


def fill(network: Network) -> None:
    """Leave many long messages for Romeo, who is not there."""
    network.client("romeo@montague.lit/orchard").drop()
    juliet = network.client("juliet@capulet.lit/balcony")
    for number in range(MANY):
        juliet.send(f"<message to='romeo@montague.lit' id='{number}'><body>{TEXT}</body></message>")


def session_of(network: Network, client: Client) -> Session:
    account = network.server("montague.lit").hosts["montague.lit"].manager.accounts.get(client.jid.bare)
    assert account is not None
    return account.sessions[client.jid.resourcepart]


def ids(client: Client) -> list[str | None]:
    return [each.get("id") for each in client.heard if str(each.tag).endswith("message")]


def test_more_than_may_wait_for_a_client_reaches_one_that_reads(network: Network) -> None:
    assert len(TEXT) * MANY > StreamSettings().unread
    fill(network)
    romeo = network.client("romeo@montague.lit/orchard", presence="")
    romeo.send("<presence/>")
    assert ids(romeo) == [str(number) for number in range(MANY)]


def test_one_that_does_not_read_is_sent_no_more_than_its_connection_takes(network: Network) -> None:
    fill(network)
    romeo = network.client("romeo@montague.lit/orchard", presence="")
    romeo.transport.pauseProducing()
    romeo.send("<presence/>")
    drained: Deferred[None] = session_of(network, romeo).drained()
    assert not drained.called
    romeo.drop()
    assert drained.called
    again = network.client("romeo@montague.lit/orchard", presence="")
    again.send("<presence/>")
    taken = HIGH_WATER // len(TEXT) + 1
    assert ids(again) == [str(number) for number in range(taken, MANY)]
