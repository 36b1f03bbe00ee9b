"""What concerns several client streams: how many from where, who has gone silent, the end of all."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.logger import globalLogBeginner
from twisted.protocols.tls import TLSMemoryBIOFactory

from jabberd import settings
from jabberd.streams.tls import Contexts
from jabberd.testing import Client, Network
from jabberd.testing.server import authority, certificate
from jabberd.xmpp import ns
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.jid import JID
from tests.testing.test_wire import Listener

if TYPE_CHECKING:
    from jabberd.testing.server import Server
    from tests.conftest import LoggedErrors

ROMEO = "romeo@montague.lit/orchard"
PING = f"<iq type='get' id='*' from='montague.lit' to='{ROMEO}'><ping xmlns='urn:xmpp:ping'/></iq>"


# --- how many from where --------------------------------------------------------------------------


@pytest.mark.rfc6120("13.12-2")
def test_an_address_has_so_many_connections_at_a_time_and_others_have_theirs(
    network: Network, log_lines: list[str]
) -> None:
    network.serve("montague.lit", door=settings.Limits(connections=3))
    first, *_ = [network.connected(ROMEO, address="192.0.2.66") for _ in range(3)]
    refused = network.connected(ROMEO, address="192.0.2.66")
    refused.flush()
    assert not refused.connected
    assert len(log_lines) == 1
    assert "192.0.2.66" in log_lines[0]
    assert network.client(ROMEO, address="192.0.2.1").connected
    first.drop()
    assert network.client(ROMEO, address="192.0.2.66").connected


def direct(network: Network, server: Server, address: str) -> Client:
    """A client that speaks TLS from the first byte (XEP-0368)."""
    contexts = Contexts("xmpp-client", {"montague.lit": certificate("montague.lit")})
    factory = TLSMemoryBIOFactory(contexts.acceptor(), False, server.door, network.clock)
    client = Client(JID.parse(ROMEO), "secret", network.flush)
    network.join(client, factory, address)
    root = trustRootFromCertificates([Certificate.loadPEM(authority.certificate_pem())])
    client.transport.startTLS(
        optionsForClientTLS("montague.lit", trustRoot=root, acceptableProtocols=[b"xmpp-client"])
    )
    client.flush()
    return client


@pytest.mark.rfc9325("3.2-1")
def test_a_client_can_begin_with_tls(network: Network) -> None:
    server = network.serve("montague.lit", tls=True)
    server.create(JID.parse("romeo@montague.lit"), "secret")
    client = direct(network, server, "192.0.2.1")
    features = client.open()
    assert features.find(f"{{{ns.TLS}}}starttls") is None
    assert [each.text for each in features.iter(f"{{{ns.SASL}}}mechanism")][:1] == ["SCRAM-SHA-512-PLUS"]
    client.login()
    client.open()
    assert client.bind().get("type") == "result"
    [stream] = server.door.streams
    assert (stream.security.version, stream.security.alpn) == ("TLSv1.3", "xmpp-client")
    assert stream.address == "192.0.2.1"
    client.drop()


def test_connections_of_all_listeners_count_together(network: Network, log_lines: list[str]) -> None:
    server = network.serve("montague.lit", tls=True, door=settings.Limits(connections=2))
    plain = network.connected(ROMEO, address="192.0.2.66")
    encrypted = direct(network, server, "192.0.2.66")
    for refused in (direct(network, server, "192.0.2.66"), network.connected(ROMEO, address="192.0.2.66")):
        refused.flush()
        assert not refused.connected
    assert len(log_lines) == 2
    assert plain.connected
    assert encrypted.connected
    encrypted.drop()


def test_connections_without_an_ip_address_count_as_one(network: Network) -> None:
    server = network.serve("montague.lit", door=settings.Limits(connections=1))
    stream = server.door.buildProtocol(UNIXAddress("/run/proxy"))
    refused = server.door.buildProtocol(UNIXAddress("/run/proxy"))
    assert server.door.streams == {stream}
    assert refused not in server.door.streams
    server.door.closed(stream)  # type: ignore[arg-type]  # it is one of its streams
    assert server.door.addresses.open == 0


def test_who_never_shakes_hands_is_sent_away(network: Network) -> None:
    server = network.serve("montague.lit", tls=True)
    contexts = Contexts("xmpp-client", {"montague.lit": certificate("montague.lit")})
    listener = Listener()
    network.join(listener, TLSMemoryBIOFactory(contexts.acceptor(), False, server.door, network.clock))
    network.advance(66)  # the time limit of the negotiation, and five seconds for the goodbye
    assert listener.ended is not None
    assert server.door.streams == set()


def test_h1_nothing_is_left_of_streams_that_are_gone(network: Network) -> None:
    silent = [network.connected(ROMEO) for _ in range(10)]
    romeo = network.client(ROMEO)
    broken = network.connected(ROMEO)
    streams = [weakref.ref(stream) for stream in network.server("montague.lit").door.streams]
    broken.send("<message></presence>")
    network.advance(61)
    assert not any(client.connected for client in silent)
    romeo.drop()
    network.pipes.clear()
    globalLogBeginner._initialBuffer._buffer.clear()  # where nobody logs, Twisted keeps all events for later
    gc.collect()
    assert [stream() for stream in streams] == [None] * 12


# --- silence --------------------------------------------------------------------------------------


@pytest.fixture
def romeo(network: Network) -> Client:
    network.serve("montague.lit", door=settings.Limits(idle_timeout=300, answer_timeout=60))
    return network.client(ROMEO)


def test_a_silent_client_is_asked_and_dropped_only_if_it_does_not_answer(
    romeo: Client, network: Network, log_lines: list[str]
) -> None:
    network.advance(299)
    assert romeo.hears_nothing()
    network.advance(16)
    assert romeo.receives(PING)
    network.advance(44)
    assert romeo.hears_nothing()  # it is asked once
    network.advance(16)
    assert romeo.is_dismissed_with("connection-timeout")
    assert len(log_lines) == 1


@pytest.mark.parametrize(
    "said",
    [
        "<iq type='result' id='{}' to='montague.lit'/>",
        "<iq type='error' id='{}' to='montague.lit'><error type='cancel'/></iq>",
        " ",
        "<presence/>",
    ],
    ids=["an answer", "an error", "white space", "something else"],
)
def test_anything_that_it_says_shows_that_it_is_there(romeo: Client, network: Network, said: str) -> None:
    for _ in range(3):
        network.advance(330)
        ping = romeo.next()
        romeo.send(said.format(ping.get("id")))
        romeo.forget()
    assert romeo.connected


def test_a_client_that_talks_is_not_asked(romeo: Client, network: Network) -> None:
    for _ in range(10):
        network.advance(200)
        romeo.send(" ")
    assert romeo.hears_nothing()


def test_a_client_that_has_not_bound_is_left_to_the_time_limit_of_the_negotiation(network: Network) -> None:
    network.serve("montague.lit", door=settings.Limits(idle_timeout=10, answer_timeout=10))
    client = network.connected(ROMEO)
    client.open()
    network.advance(59)
    assert client.hears_nothing()
    network.advance(1)
    assert client.is_dismissed_with("connection-timeout")


def test_c11_an_answer_to_our_question_from_elsewhere_is_just_delivered_or_dropped(
    romeo: Client, network: Network
) -> None:
    network.advance(330)
    id = romeo.next().get("id")
    tybalt = network.stranger("tybalt@evil.example/street")
    for type in ("result", "error"):
        tybalt.send(f"<iq type='{type}' id='{id}' to='montague.lit'/>")
    network.advance(60)
    assert romeo.is_dismissed_with("connection-timeout")  # nobody else can answer for him
    assert tybalt.hears_nothing()


def test_one_stream_that_fails_does_not_keep_the_others_from_being_asked(
    romeo: Client, network: Network, monkeypatch: pytest.MonkeyPatch, logged_errors: LoggedErrors
) -> None:
    juliet = network.client("juliet@montague.lit/balcony")
    streams = network.server("montague.lit").door.streams
    [broken] = [each for each in streams if each.session and each.session.jid == ROMEO]
    monkeypatch.setattr(broken, "write", lambda *_: 1 // 0)
    network.advance(330)
    assert juliet.next().get("type") == "get"
    juliet.send(" ")
    network.advance(330)
    assert juliet.next().get("type") == "get"  # the timer has not stopped
    assert logged_errors.take(ZeroDivisionError)
    assert romeo.is_dismissed_with("connection-timeout")


# --- the end of all -------------------------------------------------------------------------------


def test_at_the_end_every_client_is_told(network: Network) -> None:
    server = network.server("montague.lit")
    romeo = network.client(ROMEO)
    waiting = network.connected(ROMEO)
    fresh = network.connected(ROMEO)
    waiting.open()
    server.door.close_all(StreamError("system-shutdown"))
    for client in (romeo, waiting, fresh):
        assert client.is_dismissed_with("system-shutdown")
    assert server.door.streams == set()


def test_the_timer_runs_while_there_is_a_listener(network: Network) -> None:
    door = network.serve("montague.lit", modules={}).door
    assert len(network.clock.getDelayedCalls()) == 1
    door.doStart()  # a second listener
    door.doStop()
    assert len(network.clock.getDelayedCalls()) == 1
    door.doStop()
    assert network.clock.getDelayedCalls() == []
    door.doStart()


def test_the_keys_of_a_streams_attributes_are_shared(network: Network) -> None:
    """CPython does so for at most 30; a dictionary of its own would be another KiB for every session."""
    server = network.serve("montague.lit")
    network.client(ROMEO)
    [stream] = server.door.streams
    assert len(vars(stream)) <= 30
