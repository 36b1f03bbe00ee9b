from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from jabberd.testing import Pipe

if TYPE_CHECKING:
    from twisted.python.failure import Failure


@implementer(IHandshakeListener)
class Listener(Protocol):
    """Remembers what it was given, and why the connection ended."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended: BaseException | None = None
        self.handshakes = 0

    @property
    def heard(self) -> bytes:
        return b"".join(self.pieces)

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)

    def handshakeCompleted(self) -> None:
        self.handshakes += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = reason.value


@implementer(IPushProducer)
class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


@implementer(IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator)
class SelfSigned:
    """TLS without any judgement, to see bytes encrypted."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name, now = x509.Name([]), datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        self.context = SSL.Context(SSL.TLS_METHOD)
        self.context.use_certificate(builder.sign(key, hashes.SHA256()))
        self.context.use_privatekey(key)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self.context, None)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self.context, None)


class Pair:
    def __init__(self, chunk: int | None = None) -> None:
        self.clock = Clock()
        self.romeo, self.juliet = Listener(), Listener()
        self.pipe = Pipe(self.romeo, self.juliet, self.clock, chunk=chunk)

    def start_tls(self, *, normal: bool = True) -> None:
        creator = SelfSigned()
        for wire in (self.pipe.server, self.pipe.client):
            wire.startTLS(creator, normal=normal)
        self.pipe.flush()


def test_nothing_moves_until_the_pipe_is_told_to() -> None:
    pair = Pair()
    pair.pipe.client.write(b"good morrow")
    assert (pair.juliet.heard, pair.pipe.client.waiting) == (b"", b"good morrow")
    pair.pipe.flush()
    assert (pair.juliet.heard, pair.pipe.client.waiting) == (b"good morrow", b"")


def test_a_chunk_is_the_most_that_is_delivered_at_once() -> None:
    pair = Pair(chunk=4)
    pair.pipe.server.writeSequence([b"good ", b"morrow"])
    pair.pipe.flush()
    assert pair.romeo.pieces == [b"good", b" mor", b"row"]


@pytest.mark.parametrize("normal", [True, False])
@pytest.mark.parametrize("chunk", [None, 1])
def test_after_starttls_bytes_are_encrypted_under_way_and_clear_at_both_ends(
    normal: bool, chunk: int | None
) -> None:
    pair = Pair(chunk)
    pair.start_tls(normal=normal)
    assert (pair.romeo.handshakes, pair.juliet.handshakes) == (1, 1)
    pair.pipe.client.write(b"soft")
    pair.pipe.server.write(b"who's there")
    pair.clock.advance(0)
    assert pair.pipe.client.waiting
    assert b"soft" not in pair.pipe.client.waiting
    pair.pipe.flush()
    assert (pair.juliet.heard, pair.romeo.heard) == (b"soft", b"who's there")


def test_tls_plays_the_client_at_the_client_end_unless_told_otherwise() -> None:
    for normal, hello in ((True, "client"), (False, "server")):
        pair = Pair()
        end = getattr(pair.pipe, hello)
        end.startTLS(SelfSigned(), normal=normal)
        assert end.waiting[:1] == b"\x16"  # a handshake record: whoever is the client speaks first


def test_a_factory_wrapped_in_tls_speaks_it_from_the_first_byte() -> None:
    clock, creator = Clock(), SelfSigned()
    romeo, juliet = Listener(), Listener()

    def encrypted(listener: Listener, *, client: bool) -> TLSMemoryBIOProtocol:
        factory = TLSMemoryBIOFactory(creator, client, Factory.forProtocol(lambda: listener), clock)
        return factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))

    pipe = Pipe(encrypted(romeo, client=True), encrypted(juliet, client=False), clock)
    assert romeo.transport is not None
    romeo.transport.write(b"good morrow")
    pipe.flush()
    assert juliet.heard == b"good morrow"


@pytest.mark.parametrize("tls", [False, True])
def test_closing_delivers_what_was_written_and_tells_both_ends(tls: bool) -> None:
    pair = Pair(chunk=3)
    if tls:
        pair.start_tls()
    pair.pipe.client.write(b"parting is such sweet sorrow")
    pair.pipe.client.loseConnection()
    assert pair.pipe.client.disconnecting
    pair.pipe.flush()
    assert pair.juliet.heard == b"parting is such sweet sorrow"
    assert isinstance(pair.romeo.ended, ConnectionDone)
    assert isinstance(pair.juliet.ended, ConnectionDone)
    assert not pair.pipe.client.connected
    assert not pair.pipe.server.connected


@pytest.mark.parametrize("tls", [False, True])
def test_aborting_throws_away_what_is_under_way(tls: bool) -> None:
    pair = Pair()
    if tls:
        pair.start_tls()
    pair.pipe.client.write(b"never heard")
    pair.pipe.client.abortConnection()
    assert pair.romeo.ended is None, "connectionLost never comes from within abortConnection"
    pair.pipe.flush()
    assert pair.juliet.heard == b""
    assert isinstance(pair.romeo.ended, ConnectionLost if tls else ConnectionAborted)  # TLS saw no goodbye
    assert isinstance(pair.juliet.ended, ConnectionLost)


def test_what_is_written_after_the_end_goes_nowhere() -> None:
    pair = Pair()
    pair.pipe.client.loseConnection()
    pair.pipe.flush()
    pair.pipe.client.write(b"a ghost")
    pair.pipe.flush()
    assert (pair.pipe.client.waiting, pair.juliet.heard) == (b"", b"")


def test_an_end_that_pauses_reads_nothing_until_it_resumes() -> None:
    pair = Pair()
    pair.pipe.server.pauseProducing()
    pair.pipe.client.write(b"wherefore")
    pair.pipe.flush()
    assert pair.juliet.heard == b""
    pair.pipe.server.resumeProducing()
    pair.pipe.flush()
    assert pair.juliet.heard == b"wherefore"


@pytest.mark.parametrize("tls", [False, True])
def test_a_producer_is_paused_while_the_peer_does_not_read(tls: bool) -> None:
    pair, producer = Pair(), Producer()
    pair.pipe.server.registerProducer(producer, streaming=True)
    if tls:
        pair.start_tls()
    pair.pipe.client.pauseProducing()
    pair.pipe.server.write(b"x" * 70_000)
    pair.pipe.flush()
    assert producer.calls == ["pause"]
    pair.pipe.client.resumeProducing()
    pair.pipe.flush()
    assert producer.calls == ["pause", "resume"]
    pair.pipe.client.abortConnection()
    pair.pipe.flush()
    assert producer.calls == ["pause", "resume", "stop"]


def test_two_that_never_stop_talking_fail_the_test() -> None:
    class Echo(Listener):
        def dataReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.write(data)

    pipe = Pipe(Echo(), Echo(), Clock())
    pipe.client.write(b"ay me")
    with pytest.raises(AssertionError, match="still talk"):
        pipe.flush(turns=100)


def test_each_end_knows_the_addresses() -> None:
    pipe = Pipe(Listener(), Listener(), Clock(), client_address="2001:db8::7", server_port=5269)
    assert pipe.server.getPeer().host == "2001:db8::7"
    assert pipe.client.getPeer().port == 5269
    assert (pipe.server.getHost(), pipe.client.getHost()) == (pipe.client.getPeer(), pipe.server.getPeer())
