"""What operators see of memory and queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.admin import Admin
from jabberd.holdings import Holdings
from jabberd.testing import Network
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from collections.abc import Iterator

ROMEO, JULIET = "romeo@montague.lit", "juliet@capulet.lit"
SM = "urn:xmpp:sm:3"


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.serve("montague.lit", federate=True)
    network.serve("capulet.lit", federate=True)
    yield network
    network.close()


DOMAINS = ["montague.lit", "capulet.lit"]


def operate(network: Network, *words: str, domain: str = "montague.lit") -> Any:
    server, federated = network.server(domain), network.federated[DOMAINS.index(domain)]
    holdings = Holdings(server.hosts, server.door, federated.door, federated.route, server.storage)
    return done(Admin(lambda: [("", "", holdings)]).run([*words], {}))


def memory(network: Network, what: str, domain: str = "montague.lit") -> tuple[int, int]:
    [row] = [row for row in operate(network, "memory", domain=domain) if row["what"].startswith(what)]
    return row["count"], row["bytes"]


def test_memory_counts_streams_sessions_accounts_and_what_they_hold(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    juliet = network.client(f"{JULIET}/balcony")
    romeo.ask("<iq type='set'><query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit'/></query></iq>")
    romeo.send(f"<message to='{JULIET}'><body>hi!</body></message>")
    juliet.send(f"<message to='{ROMEO}'><body>hi!</body></message>")
    assert memory(network, "streams of clients") == (1, 0)
    assert memory(network, "streams of servers") == (0, 0)  # one goes both ways
    assert memory(network, "streams to servers") == (1, 0)
    assert memory(network, "streams of servers", "capulet.lit") == (1, 0)
    assert memory(network, "streams to servers", "capulet.lit") == (0, 0)
    assert memory(network, "sessions")[0] == 1
    assert memory(network, "accounts loaded")[0] == 1
    assert memory(network, "roster items")[0] == 1
    assert memory(network, "addresses in the cache")[0] > 2
    assert memory(network, "writes waiting")[0] == 0
    assert memory(network, "the whole process")[1] > 10_000_000


def test_memory_counts_what_is_not_a_whole_stanza_yet(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    romeo.send("<message to='juliet@capulet.lit'><body>half a")
    assert memory(network, "streams of clients")[1] > 30


def test_queues_show_where_something_waits_longest_first(network: Network) -> None:
    assert operate(network, "queues") == []
    romeo, benvolio = (network.client(jid) for jid in (f"{ROMEO}/orchard", "benvolio@montague.lit/street"))
    for client in (romeo, benvolio):
        client.send(f"<enable xmlns='{SM}' resume='true'/>")
        client.drop()
    mercutio = network.client("mercutio@montague.lit/street")
    inside = "<body>hi!</body><no-store xmlns='urn:xmpp:hints'/>"  # so that no id is added
    for to in (ROMEO, ROMEO, "benvolio@montague.lit"):
        mercutio.send(f"<message to='{to}'>{inside}</message>")
    payload = len(inside)
    assert operate(network, "queues") == [
        {"queue": f"to {ROMEO}/orchard", "waiting": 2, "bytes": 2 * payload},
        {"queue": "to benvolio@montague.lit/street", "waiting": 1, "bytes": payload},
    ]
    assert len(operate(network, "queues", "1")) == 1
    assert memory(network, "stanzas unsent or unacknowledged") == (3, 3 * payload)


def test_queues_show_what_waits_for_a_link(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    network.silent.add(("192.0.2.2", 5269))
    romeo.send(f"<message to='{JULIET}'><body>hi!</body></message>")
    [row] = operate(network, "queues")
    assert (row["queue"], row["waiting"]) == ("link from montague.lit to capulet.lit", 1)
    assert memory(network, "stanzas waiting for links") == (1, row["bytes"])
    network.advance(600)
