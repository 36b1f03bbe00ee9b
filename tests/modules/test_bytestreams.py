"""XEP-0065: who may use the proxy, where it is, and when two are connected through it."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from jabberd.settings import Limits
from jabberd.streams.addresses import Addresses
from jabberd.streams.relay import Relay, Side
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.streams.test_socks5 import GREETING, request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.modules.bytestreams import Bytestreams
    from jabberd.testing import Client

NS = "http://jabber.org/protocol/bytestreams"
PROXY = "proxy.montague.lit"
ROMEO = "romeo@montague.lit/orchard"
JULIET = "juliet@capulet.lit/balcony"
WHERE = f"<iq type='get' id='q1' to='{PROXY}'><query xmlns='{NS}'/></iq>"


@pytest.fixture
def network() -> Iterator[Network]:
    """A network whose relays let go of everybody in the end."""
    network = Network()
    yield network
    for host in (host for server in network.servers for host in server.hosts.values()):
        relay = cast("Relay | None", host.manager.relay)
        for side in list(relay.streams) if relay else ():
            side.connectionLost()
    network.close()


def serve(network: Network, address: str | None = "127.0.0.1", **config: Any) -> Relay:
    """A proxy that listens there."""
    services = {PROXY: {"disco": {}, "bytestreams": config}}
    network.serve("montague.lit", modules={"disco": {}}, services=services)
    bound = [] if address is None else [("bytestreams", address, 5000)]
    relay = Relay(network.clock, Addresses(network.clock, Limits()), 60, lambda: bound)
    network.server("montague.lit").hosts[PROXY].manager.relay = relay
    return relay


def module(network: Network) -> Bytestreams:
    return cast("Bytestreams", network.server("montague.lit").hosts[PROXY].manager.module("bytestreams"))


def connected(relay: Relay, sid: str, requester: str = ROMEO, target: str = JULIET) -> Side:
    side = relay.buildProtocol(IPv4Address("TCP", "192.0.2.1", 50000))
    assert isinstance(side, Side)
    cast("Any", side).makeConnection(StringTransport())
    side.dataReceived(GREETING + request(sha1(f"{sid}{requester}{target}".encode()).hexdigest()))
    cast("Any", side.transport).clear()
    return side


def activation(sid: str, target: str = JULIET) -> str:
    inside = f"<activate>{target}</activate>" if target else ""
    return f"<iq type='set' id='q1' to='{PROXY}'><query xmlns='{NS}' sid='{sid}'>{inside}</query></iq>"


def activate(client: Client, sid: str, target: str = JULIET) -> str:
    return condition(client.ask(activation(sid, target)))


def test_a_client_finds_the_proxy_and_where_to_connect(network: Network) -> None:
    serve(network)
    romeo = network.client(ROMEO)
    items = romeo.ask(
        "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"
    )
    assert PROXY in items.xpath(".//@jid")
    info = romeo.ask(
        f"<iq type='get' to='{PROXY}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    assert [(each.get("category"), each.get("type")) for each in info.iter("{*}identity")] == [
        ("proxy", "bytestreams")
    ]
    assert NS in info.xpath(".//@var")
    streamhost = romeo.ask(WHERE)[0][0]
    assert dict(streamhost.attrib) == {"host": "127.0.0.1", "jid": PROXY, "port": "5000"}


@pytest.mark.parametrize(
    ("address", "config", "host", "port"),
    [
        ("::", {}, PROXY, "5000"),
        ("0.0.0.0", {}, PROXY, "5000"),  # as it stands in a configuration
        ("::1", {}, "::1", "5000"),
        ("127.0.0.1", {"host": "203.0.113.7", "port": 7777}, "203.0.113.7", "7777"),
    ],
)
def test_what_clients_are_told_is_what_they_can_reach(
    network: Network, address: str, config: dict[str, Any], host: str, port: str
) -> None:
    serve(network, address, **config)
    streamhost = network.client(ROMEO).ask(WHERE)[0][0]
    assert (streamhost.get("host"), streamhost.get("port")) == (host, port)


def test_a_proxy_without_a_listener_says_so(network: Network) -> None:
    serve(network, None)
    assert condition(network.client(ROMEO).ask(WHERE)) == "not-allowed"


def test_two_are_connected_when_a_user_asks_for_it(network: Network) -> None:
    relay = serve(network)
    romeo = network.client(ROMEO)
    one, other = connected(relay, "vxf9n471bn46"), connected(relay, "vxf9n471bn46")
    assert activate(romeo, "vxf9n471bn46") == ""
    one.dataReceived(b"a file")
    assert cast("Any", other.transport).value() == b"a file"
    [row] = module(network).list()
    assert row == {"requester": ROMEO, "target": JULIET, "octets": 6, "seconds": 0}
    for each in (one, other):
        each.connectionLost()
    assert module(network).list() == []


@pytest.mark.parametrize("ask", [WHERE, activation("s1")])
def test_f15_an_outsider_uses_no_proxy(network: Network, ask: str) -> None:
    relay = serve(network)
    connected(relay, "s1", JULIET, ROMEO)
    connected(relay, "s1", JULIET, ROMEO)
    juliet = network.stranger(JULIET)
    juliet.send(ask.replace(f"<activate>{JULIET}", f"<activate>{ROMEO}"))
    assert condition(juliet.next()) == "forbidden"
    assert relay.waiting(sha1(f"s1{JULIET}{ROMEO}".encode()).hexdigest()) == 2


def test_whom_the_operator_lets_may_use_it(network: Network) -> None:
    serve(network, users=["capulet.lit"])
    juliet = network.stranger(JULIET)
    juliet.send(WHERE)
    assert juliet.next().get("type") == "result"
    assert condition(network.client(ROMEO).ask(WHERE)) == "forbidden"


def test_f15_nobody_is_connected_but_the_two_for_whom_the_digest_is(network: Network) -> None:
    relay = serve(network)
    romeo = network.client(ROMEO)
    assert activate(romeo, "s1") == "not-authorized"
    one = connected(relay, "s1")
    assert activate(romeo, "s1") == "not-allowed"
    connected(relay, "s1")
    assert activate(romeo, "s2") == "not-authorized"
    assert activate(romeo, "s1", "tybalt@capulet.lit/street") == "not-authorized"
    assert activate(network.client("benvolio@montague.lit/street"), "s1") == "not-authorized"
    assert one.stream is None


@pytest.mark.parametrize(
    ("sid", "target", "why"),
    [("", JULIET, "bad-request"), ("s1", "", "bad-request"), ("s1", "@capulet.lit", "jid-malformed")],
)
def test_what_makes_no_sense_is_refused(network: Network, sid: str, target: str, why: str) -> None:
    serve(network)
    assert activate(network.client(ROMEO), sid, target) == why


def test_a_bytestream_is_activated_once(network: Network) -> None:
    relay = serve(network)
    romeo = network.client(ROMEO)
    for _ in range(2):
        connected(relay, "s1")
    assert activate(romeo, "s1") == ""
    for _ in range(2):
        connected(relay, "s1")
    assert activate(romeo, "s1") == "bad-request"


def test_a_user_has_so_many_at_a_time(network: Network) -> None:
    relay = serve(network, each=1)
    romeo = network.client(ROMEO)
    sides = [connected(relay, sid) for sid in ("s1", "s1", "s2", "s2")]
    assert [activate(romeo, sid) for sid in ("s1", "s2")] == ["", "resource-constraint"]
    for each in sides[:2]:
        each.connectionLost()
    assert activate(romeo, "s2") == ""


def test_jids_count_as_they_are_prepared(network: Network) -> None:
    relay = serve(network)
    romeo = network.client(ROMEO)
    for _ in range(2):
        connected(relay, "s1")
    assert activate(romeo, "s1", " Juliet@CAPULET.lit/balcony ") == ""


def test_when_the_module_stops_its_bytestreams_end(network: Network) -> None:
    relay = serve(network)
    romeo = network.client(ROMEO)
    one, other = connected(relay, "s1"), connected(relay, "s1")
    assert activate(romeo, "s1") == ""
    done(module(network).stop())
    assert all(cast("Any", each.transport).disconnecting for each in (one, other))


def test_nobody_lives_there(network: Network) -> None:
    serve(network)
    romeo = network.client(ROMEO)
    romeo.send(f"<message id='m1' to='somebody@{PROXY}'><body>hi</body></message>")
    assert condition(romeo.next()) == "service-unavailable"
    romeo.send(f"<presence to='{PROXY}'/>")
    romeo.send(f"<presence to='somebody@{PROXY}'/>")
    assert romeo.hears_nothing()
