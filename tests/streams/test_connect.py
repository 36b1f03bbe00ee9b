from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.names import dns
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from jabberd.streams.connect import (
    Attempt,
    Connector,
    RemoteServerError,
    RemoteServerNotFoundError,
    RemoteServerTimeoutError,
)
from jabberd.streams.targets import Target
from jabberd.streams.tls import security
from jabberd.testing import Network
from tests.streams.test_tls import CAPULET, MONTAGUE, Peer, s2s
from tests.streams.zone import Zone, srv

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twisted.internet.interfaces import IProtocolFactory

XMPP = "xmpp.capulet.lit"


class Silence(Zone):
    """A name server that never answers."""

    def _lookup(self, *_: object) -> Deferred[Any]:
        return Deferred()


class Verona:
    """A network with a connector in it, and what came of connecting."""

    def __init__(
        self,
        records: Mapping[str, Sequence[Any]] | Zone,
        listening: Iterable[tuple[str, int]] = (),
        hosts: Mapping[str, Target] | None = None,
    ) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        zone = records if isinstance(records, Zone) else Zone(records)
        self.targets: list[Target] = []
        self.outcome: list[Any] = []
        self.connector = Connector(
            self.clock,
            zone,
            hosts=hosts,
            listening=lambda: listening,
            limit=30.0,
            endpoint=self.network.endpoint,
        )

    def listen(self, host: str, port: int = 5269, *, direct: bool = False) -> None:
        factory: IProtocolFactory = Factory.forProtocol(Peer)
        if direct:
            factory = TLSMemoryBIOFactory(s2s(CAPULET).acceptor(), False, factory, self.clock)
        self.network.listen(host, port, factory)

    def connect(self, domain: str = "capulet.lit", *, tls: bool = True, ready: Any = None) -> Deferred[Any]:
        initiator = s2s(MONTAGUE).initiator("montague.lit", domain, direct=True) if tls else None
        connecting = self.connector.connect(domain, self.factory_for, tls=initiator, ready=ready)
        connecting.addBoth(self.outcome.append)
        self.network.flush()
        return connecting

    def factory_for(self, target: Target) -> IProtocolFactory:
        self.targets.append(target)
        return Factory.forProtocol(Ready)

    @property
    def connected(self) -> Ready:
        assert isinstance(self.outcome[0], Ready), self.outcome
        return self.outcome[0]

    @property
    def error(self) -> RemoteServerError:
        assert isinstance(self.outcome[0], Failure)
        assert isinstance(self.outcome[0].value, RemoteServerError)
        return self.outcome[0].value


class Ready(Peer):
    """A protocol that says when its handshake is complete, or was not to be."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: Deferred[None] = Deferred()

    def handshakeCompleted(self) -> None:
        super().handshakeCompleted()
        self.ready.callback(None)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted always gives one
        super().connectionLost(reason)
        if not self.ready.called:
            self.ready.errback(reason)


def a(*addresses: str) -> list[Any]:
    return [dns.Record_AAAA(each) if ":" in each else dns.Record_A(each) for each in addresses]


SERVED = {"_xmpp-server._tcp.capulet.lit": [srv(XMPP)], XMPP: a("192.0.2.1")}


@pytest.mark.rfc6120("3.1-1")
def test_the_server_of_a_domain_is_found_by_its_srv_record() -> None:
    verona = Verona(SERVED)
    verona.listen("192.0.2.1")
    verona.connect()
    assert verona.connected.transport is not None
    assert verona.targets == [Target(XMPP, 5269)]
    assert verona.network.pipes[0].client.connected


def test_a_host_in_the_config_comes_before_dns() -> None:
    verona = Verona(SERVED, hosts={"capulet.lit": Target("127.0.0.1", 5369)})
    verona.listen("127.0.0.1", 5369)
    verona.connect()
    assert verona.targets == [Target("127.0.0.1", 5369)]
    assert verona.connected


def test_every_address_and_then_every_target_is_tried_until_one_answers() -> None:
    verona = Verona(
        {
            "_xmpp-server._tcp.capulet.lit": [
                srv("one.lit", 5269, 1),
                srv("two.lit", 5270, 2),
                srv("three.lit", 1, 3),
            ],
            "one.lit": a("192.0.2.1", "2001:db8::1"),
            "three.lit": a("192.0.2.3"),
        }
    )
    verona.listen("192.0.2.3", 1)
    verona.connect()
    assert verona.targets == [Target("one.lit", 5269), Target("one.lit", 5269), Target("three.lit", 1)]
    assert verona.connected


@pytest.mark.rfc6120("10.4.3-3")
def test_d10_all_attempts_are_told_when_nobody_answers() -> None:
    verona = Verona(
        {
            "_xmpp-server._tcp.capulet.lit": [srv("one.lit", 5269, 1), srv("two.lit", 5270, 2)],
            "one.lit": a("192.0.2.1", "2001:db8::1"),
        }
    )
    verona.connect()
    error = verona.error
    assert isinstance(error, RemoteServerTimeoutError)
    assert error.condition == "remote-server-timeout"
    one, two = Target("one.lit", 5269), Target("two.lit", 5270)
    assert error.attempts == (
        Attempt(one, "2001:db8::1", "Connection was refused by other side"),
        Attempt(one, "192.0.2.1", "Connection was refused by other side"),
        Attempt(two, "", "the host has no address"),
    )
    assert str(error).startswith("capulet.lit: one.lit:5269 (2001:db8::1): Connection was refused")


@pytest.mark.rfc6120("3.2.1-1", "10.4.3-2", "13.9.2-1")
@pytest.mark.parametrize(
    ("records", "why"),
    [
        ({}, "capulet.lit:5269: the host has no address"),
        ({"_xmpp-server._tcp.capulet.lit": [srv(".", 0)]}, "the domain says that it has no XMPP service"),
        (
            {"_xmpp-server._tcp.capulet.lit": [srv("nowhere.lit")]},
            "nowhere.lit:5269: the host has no address",
        ),
    ],
    ids=["NXDOMAIN", "the root as target", "a target that does not exist"],
)
def test_d10_a_domain_that_cannot_be_resolved_is_not_found(
    records: dict[str, Sequence[Any]], why: str
) -> None:
    verona = Verona(records)
    verona.connect()
    assert isinstance(verona.error, RemoteServerNotFoundError)
    assert verona.error.condition == "remote-server-not-found"
    assert str(verona.error) == f"capulet.lit: {why}"
    assert verona.network.pipes == []


@pytest.mark.parametrize(
    ("listening", "address"),
    [
        (("192.0.2.1", 5269), "192.0.2.1"),
        (("0.0.0.0", 5269), "127.0.0.1"),
        (("0.0.0.0", 5269), "127.8.9.10"),
        (("::", 5269), "127.0.0.1"),
        (("::", 5269), "::1"),
        (("127.0.0.1", 5269), "0.0.0.0"),
        (("127.0.0.1", 5269), "::"),
        (("127.0.0.1", 5269), "::ffff:127.0.0.1"),
    ],
)
def test_d10_a_record_that_points_back_to_ourselves_makes_no_loop(
    listening: tuple[str, int], address: str
) -> None:
    verona = Verona({**SERVED, XMPP: a(address)}, listening=[listening])
    verona.listen("127.0.0.1")
    verona.listen(address)
    verona.connect()
    assert isinstance(verona.error, RemoteServerNotFoundError)
    assert "that is this server itself" in str(verona.error)
    assert verona.network.pipes == []


@pytest.mark.parametrize(
    ("listening", "address"),
    [
        (("127.0.0.1", 5369), "127.0.0.1"),
        (("0.0.0.0", 5269), "192.0.2.1"),
        (("::", 5269), "2001:db8::1"),
        (("127.0.0.1", 5269), "192.0.2.1"),
    ],
    ids=["another port", "another machine", "another machine's IPv6", "another address"],
)
def test_what_is_not_ours_is_connected_to(listening: tuple[str, int], address: str) -> None:
    verona = Verona({**SERVED, XMPP: a(address)}, listening=[listening])
    verona.listen(address)
    verona.connect()
    assert verona.connected


# --- direct TLS ----------------------------------------------------------------------------------

BOTH = {
    "_xmpps-server._tcp.capulet.lit": [srv(XMPP, 443, 1)],
    "_xmpp-server._tcp.capulet.lit": [srv(XMPP, 5269, 2)],
    XMPP: a("192.0.2.1"),
}


@pytest.mark.rfc9325("3.2-1")
def test_a_direct_target_speaks_tls_from_the_first_byte() -> None:
    verona = Verona(BOTH)
    verona.listen("192.0.2.1", 443, direct=True)
    verona.connect(ready=lambda protocol: protocol.ready)
    known = security(verona.connected.transport, server=False)
    assert (known.version, known.alpn) == ("TLSv1.3", "xmpp-server")
    assert verona.targets == [Target(XMPP, 443, direct=True)]


def test_where_direct_tls_fails_starttls_is_tried() -> None:
    verona = Verona(BOTH)
    verona.listen("192.0.2.1", 443)  # speaks no TLS: whatever it says is no handshake
    verona.listen("192.0.2.1", 5269)

    def ready(protocol: Ready) -> Deferred[None]:
        if len(verona.network.pipes) == 1:
            verona.network.pipes[0].server.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return protocol.ready
        protocol.ready.callback(None)
        return protocol.ready

    verona.connect(ready=ready)
    assert verona.targets == [Target(XMPP, 443, direct=True), Target(XMPP, 5269)]
    assert verona.connected
    assert [pipe.client.connected for pipe in verona.network.pipes] == [False, True]


def test_why_tls_failed_is_told() -> None:
    verona = Verona({name: found for name, found in BOTH.items() if name != "_xmpp-server._tcp.capulet.lit"})
    verona.listen("192.0.2.1", 443)

    def ready(protocol: Ready) -> Deferred[None]:
        verona.network.pipes[0].server.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        return protocol.ready

    verona.connect(ready=ready)
    assert verona.error.attempts == (
        Attempt(Target(XMPP, 443, direct=True), "192.0.2.1", "TLS failed: wrong version number"),
    )


def test_without_tls_of_our_own_direct_targets_are_left_out() -> None:
    verona = Verona(BOTH)
    verona.listen("192.0.2.1", 443, direct=True)
    verona.connect(tls=False)
    assert [attempt.why for attempt in verona.error.attempts] == [
        "it wants TLS at once, which is off here",
        "Connection was refused by other side",
    ]


# --- time ----------------------------------------------------------------------------------------


def test_a_silent_address_gets_a_third_of_the_time() -> None:
    verona = Verona({**SERVED, XMPP: a("2001:db8::1", "192.0.2.1")})
    verona.network.silent.add(("2001:db8::1", 5269))
    verona.listen("192.0.2.1")
    verona.connect()
    verona.clock.advance(9.9)
    assert not verona.outcome
    verona.clock.advance(0.1)
    assert verona.connected


def test_d10_a_remote_that_accepts_and_says_nothing_times_out() -> None:
    verona = Verona(SERVED)
    verona.listen("192.0.2.1")
    verona.connect(ready=lambda protocol: protocol.ready)
    assert verona.network.pipes[0].client.connected
    verona.clock.advance(10)
    verona.network.flush()
    assert isinstance(verona.error, RemoteServerTimeoutError)
    assert verona.error.attempts == (Attempt(Target(XMPP, 5269), "192.0.2.1", "no answer in 10 s"),)
    assert not verona.network.pipes[0].client.connected
    assert verona.clock.getDelayedCalls() == []


def test_all_together_take_no_longer_than_the_limit() -> None:
    addresses = [f"192.0.2.{number}" for number in range(1, 6)]
    verona = Verona({**SERVED, XMPP: a(*addresses)})
    verona.network.silent |= {(each, 5269) for each in addresses}
    verona.connect()
    verona.clock.pump([1.0] * 29 + [0.5])
    assert not verona.outcome
    verona.clock.advance(0.5)
    assert isinstance(verona.error, RemoteServerTimeoutError)
    assert len(verona.error.attempts) == 3
    assert verona.clock.getDelayedCalls() == []


def test_d10_a_name_server_that_never_answers_times_out() -> None:
    verona = Verona(Silence({}))
    verona.connect()
    verona.clock.advance(30)
    assert isinstance(verona.error, RemoteServerTimeoutError)
    assert str(verona.error) == "capulet.lit: no answer in 30 s"


def test_whoever_gives_up_leaves_nothing_behind() -> None:
    verona = Verona(SERVED)
    verona.listen("192.0.2.1")
    connecting = verona.connect(ready=lambda protocol: protocol.ready)
    connecting.cancel()
    verona.network.flush()
    assert verona.outcome[0].check(CancelledError)
    assert not verona.network.pipes[0].client.connected
    assert verona.clock.getDelayedCalls() == []


def test_an_error_that_is_no_matter_of_the_connection_is_the_callers() -> None:
    verona = Verona({**SERVED, XMPP: a("192.0.2.1", "192.0.2.2")})
    verona.listen("192.0.2.1")
    verona.listen("192.0.2.2")

    def ready(protocol: Ready) -> Deferred[None]:
        protocol.ready.errback(LookupError("the peer does not host capulet.lit"))
        return protocol.ready

    verona.connect(ready=ready)
    verona.network.flush()
    assert verona.outcome[0].check(LookupError)
    assert [pipe.client.connected for pipe in verona.network.pipes] == [False]


# --- on a reactor --------------------------------------------------------------------------------


@pytest.mark.rfc6120("3.1-1")
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_reactor_connects_by_tcp(address: str) -> None:
    reactor = MemoryReactorClock()
    connector = Connector(reactor, Zone({**SERVED, XMPP: a(address)}))
    outcome: list[Any] = []
    connector.connect("capulet.lit", lambda _: Factory.forProtocol(Protocol), tls=None).addErrback(
        outcome.append
    )
    host, port, factory, timeout, _ = reactor.tcpClients[0]
    assert (host, port, timeout) == (address, 5269, 30.0)
    factory.clientConnectionFailed(reactor.connectors[0], Failure(RefusedError()))
    assert outcome[0].check(RemoteServerTimeoutError)
    assert reactor.getDelayedCalls() == []


@pytest.mark.process
def test_a_real_name_server_is_asked_on_the_port_of_the_config() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.streams.play_dns"]
    played = subprocess.run(command, cwd=root, capture_output=True, timeout=30, check=False)
    assert played.returncode == 0, played.stderr.decode()
    assert json.loads(played.stdout) == {
        "capulet.lit": "xmpp.capulet.lit",
        "none.lit": "remote-server-not-found",
        "no.lit": "remote-server-not-found",
        "large.lit": "0.a-name-too-long-for-one-datagram.large.lit",  # by TCP, after a truncated answer
        "deaf": "remote-server-timeout",
    }


class Slow(Zone):
    """A name server that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__({})
        self.asked: dict[str, Deferred[Any]] = {}

    def _lookup(self, name: bytes, *_: object) -> Deferred[Any]:
        return self.asked.setdefault(name.decode(), Deferred())

    @property
    def domains(self) -> set[str]:
        return {name.partition("_tcp.")[2] for name in self.asked}


def test_only_so_many_domains_are_looked_for_at_a_time() -> None:
    verona = Verona(slow := Slow())
    looking = [verona.connect(f"d{n}.example") for n in range(1000)]
    assert slow.domains == {f"d{n}.example" for n in range(100)}
    looking[7].cancel()
    verona.clock.advance(0)
    assert slow.domains == {f"d{n}.example" for n in range(101)}


def test_who_waits_for_a_turn_waits_no_longer_than_for_an_answer() -> None:
    verona = Verona(Silence({}))
    for n in range(1000):
        verona.connect(f"d{n}.example")
    verona.clock.advance(30)
    assert len(verona.outcome) == 1000
    assert all(isinstance(each.value, RemoteServerTimeoutError) for each in verona.outcome)


def test_a_thousand_that_lead_nowhere_at_once_are_told_so_one_by_one() -> None:
    verona = Verona(slow := Slow())
    stuck = [verona.connect(f"d{n}.example") for n in range(100)]
    for _ in range(1000):
        verona.connect("\u0378.example")
    assert verona.outcome == []
    stuck[0].cancel()
    for _ in range(1001):
        verona.clock.advance(0)
    assert len(verona.outcome) == 1001
    assert slow.domains == {f"d{n}.example" for n in range(100)}


def test_a_domain_that_the_config_places_waits_for_no_turn() -> None:
    verona = Verona(Silence({}), hosts={"capulet.lit": Target("192.0.2.1", 5269)})
    verona.listen("192.0.2.1")
    for n in range(1000):
        verona.connect(f"d{n}.example")
    verona.connect("capulet.lit")
    assert verona.connected
