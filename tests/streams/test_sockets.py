"""Real sockets, driven by a reactor of the test's own: TLS on the socket, and Twisted's own beside it."""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from OpenSSL import SSL
from twisted.internet import epollreactor, error
from twisted.internet.interfaces import IHandshakeListener, IPushProducer, ISSLTransport
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols import tls as twisted_tls
from zope.interface import implementer

from jabberd.certificates import issue, make_ca
from jabberd.streams import sockets
from jabberd.streams.certfiles import ServerCertificate
from jabberd.streams.sockets import tcp
from jabberd.streams.tls import Contexts, DirectTLS, security

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.python.failure import Failure

    from tests.conftest import LoggedErrors

SHOWN = issue(make_ca(), "montague.lit")
CONTEXTS = Contexts(
    "xmpp-client",
    {"montague.lit": ServerCertificate(SHOWN.certificate, SHOWN.chain, SHOWN.key, Path("x"), Path("x"))},
)
APPLICATION_DATA = 23  # a type of records (RFC 8446 §5.1)


def ignore(_: bytes) -> None:
    """What was heard is of no use."""


@implementer(IHandshakeListener, IPushProducer)
class Peer(Protocol):
    """One end of a connection."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.handshakes = 0
        self.ended: Failure | None = None
        self.told: list[str] = []
        self.on_data: Callable[[bytes], None] = ignore

    def handshakeCompleted(self) -> None:
        self.handshakes += 1

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self.on_data(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.ended is None, "told twice"
        self.ended = reason

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Stage:
    """A reactor that turns when it is told to, and what listens and connects on it.

    :ivar network: the `IReactorTCP` that is tested.
    """

    def __init__(self, *, ours: bool) -> None:
        self.reactor: Any = epollreactor.EPollReactor()
        self.network = tcp(self.reactor) if ours else self.reactor
        self.raws: list[Raw] = []
        self.peers: list[Peer] = []

    def peer(self) -> Peer:
        self.peers.append(Peer())
        return self.peers[-1]

    def until(self, happened: Callable[[], object], turns: int = 3000) -> None:
        for _ in range(turns):
            if happened():
                return
            self.reactor.iterate(0.002)
        raise AssertionError("it did not happen")

    def turn(self, turns: int = 20) -> None:
        for _ in range(turns):
            self.reactor.iterate(0.001)

    def listen(self, *, direct: bool = False) -> tuple[Peer, int]:
        """Give what the next one who connects to that port will talk to."""
        peer = self.peer()
        factory: Any = Factory.forProtocol(lambda: peer)
        factory.noisy = False
        if direct:
            factory = DirectTLS(CONTEXTS.acceptor(), factory)
        port = self.network.listenTCP(0, factory, interface="127.0.0.1")
        return peer, port.getHost().port

    def connect(self, port: int, *, direct: bool = False) -> Peer:
        peer = self.peer()
        factory: Any = ClientFactory.forProtocol(lambda: peer)
        factory.noisy = False
        if direct:
            factory = DirectTLS(CONTEXTS.initiator("montague.lit", "montague.lit", direct=True), factory)
        factory.startedConnecting = factory.clientConnectionFailed = lambda *_: None
        factory.clientConnectionLost = lambda *_: None
        self.network.connectTCP("127.0.0.1", port, factory)
        self.until(lambda: peer.transport)
        return peer

    def pair(self, *, encrypted: bool = True) -> tuple[Peer, Peer]:
        """Give client and server."""
        server, port = self.listen(direct=encrypted)
        client = self.connect(port, direct=encrypted)
        self.until(lambda: server.transport)
        if encrypted:
            self.until(lambda: client.handshakes and server.handshakes)
        return client, server

    def raw(self, port: int) -> Raw:
        self.raws.append(Raw(self, port))
        return self.raws[-1]


class Raw:
    """A client of TLS made of the standard library's, that sees each record.

    :ivar records: their types as they came.
    """

    def __init__(self, stage: Stage, port: int) -> None:
        self.stage = stage
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setblocking(False)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="montague.lit")
        self.records: list[int] = []
        self.ended = False
        self._left = b""

    def move(self) -> None:
        """Send what there is to send, and read what has come."""
        if self.outgoing.pending:
            self.sock.sendall(self.outgoing.read())
        self.stage.reactor.iterate(0.001)
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self.ended = not data
        self.incoming.write(data)
        self._left += data
        while len(self._left) >= 5 and len(self._left) >= 5 + int.from_bytes(self._left[3:5], "big"):
            self.records.append(self._left[0])
            self._left = self._left[5 + int.from_bytes(self._left[3:5], "big") :]

    def shake_hands(self) -> None:
        for _ in range(3000):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.move()
            else:
                return self.move()
        raise AssertionError("no handshake")

    def say(self, data: bytes) -> None:
        self.tls.write(data)
        self.move()

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        data = b""
        for _ in range(6000):
            try:
                data += self.tls.read(65536)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                if len(data) >= size:
                    return data
                self.move()
        raise AssertionError(f"{len(data)} of {size} bytes came")


def little_room(peer: Peer) -> None:
    """Have the kernel take little of what it writes."""
    peer.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 30_000)


def is_full(peer: Peer) -> bool:
    """Whether the kernel takes no more of what it writes, and goes on so."""
    return not select.select([], [peer.transport.socket], [], 0.05)[1]


@contextmanager
def staged(monkeypatch: pytest.MonkeyPatch, *, ours: bool) -> Iterator[Stage]:
    made = Stage(ours=ours)
    monkeypatch.setattr(twisted_tls, "_get_default_clock", lambda: made.reactor)  # as it is there for
    yield made
    for raw in made.raws:
        raw.sock.close()
    for peer in made.peers:
        if peer.transport and not peer.ended:
            peer.transport.abortConnection()
    made.turn(5)
    for port in made.reactor.removeAll():
        port.connectionLost(connectionDone)
    made.reactor._poller.close()


@pytest.fixture(params=[True, False], ids=["on the socket", "in memory"])
def stage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with staged(monkeypatch, ours=request.param) as made:
        yield made


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with staged(monkeypatch, ours=True) as made:
        yield made


# --- what both do ----------------------------------------------------------------------------------------


def test_without_tls_all_bytes_arrive_in_order(stage: Stage) -> None:
    client, server = stage.pair(encrypted=False)
    client.transport.write(b"art thou not Romeo, ")
    client.transport.writeSequence([b"and a ", b"Montague?"])
    server.transport.write(b"neither, fair maid")
    stage.until(lambda: server.heard.endswith(b"Montague?") and client.heard == b"neither, fair maid")
    assert server.heard == b"art thou not Romeo, and a Montague?"
    client.transport.loseConnection()
    stage.until(lambda: server.ended and client.ended)
    assert server.ended is not None
    assert server.ended.check(error.ConnectionDone)


def test_tls_starts_in_the_middle_behind_what_was_said_in_the_clear(stage: Stage) -> None:
    client, server = stage.pair(encrypted=False)

    def proceed(_: bytes) -> None:
        server.on_data = ignore
        server.transport.write(b"proceed")
        server.transport.startTLS(CONTEXTS.acceptor())
        server.transport.write(b"secret of the server")  # before the handshake: it waits

    def go(_: bytes) -> None:
        client.on_data = ignore
        client.transport.startTLS(CONTEXTS.initiator("montague.lit", "montague.lit", direct=False))
        client.transport.write(b"secret of the client")

    server.on_data, client.on_data = proceed, go
    client.transport.write(b"starttls")
    stage.until(lambda: b"client" in server.heard and b"server" in client.heard)
    assert (client.heard, server.heard) == (
        b"proceedsecret of the server",
        b"starttlssecret of the client",
    )
    assert (client.handshakes, server.handshakes) == (1, 1)
    assert ISSLTransport.providedBy(server.transport)


def test_both_ends_know_the_same_of_the_connection(stage: Stage) -> None:
    client, server = stage.pair()
    theirs, ours = security(client.transport, server=False), security(server.transport, server=True)
    assert ours.version == theirs.version == "TLSv1.3"
    assert ours.alpn == theirs.alpn == "xmpp-client"
    assert ours.bindings == theirs.bindings
    assert set(ours.bindings) == {"tls-exporter", "tls-server-end-point"}
    assert client.transport.getPeerCertificate() is not None
    assert server.transport.getPeerCertificate() is None


def test_much_for_a_slow_reader_pauses_whoever_writes_it_and_arrives_whole(stage: Stage) -> None:
    client, server = stage.pair()
    little_room(server)
    client.transport.pauseProducing()
    server.transport.registerProducer(server, True)
    sent = b"".join(b"%07d" % number for number in range(200_000))
    for at in range(0, len(sent), 100_000):
        server.transport.write(sent[at : at + 100_000])
    stage.turn()
    assert server.told[-1] == "pause"
    assert client.heard == b""
    client.transport.resumeProducing()
    stage.until(lambda: len(client.heard) == len(sent))
    assert client.heard == sent
    stage.until(lambda: server.told[-1] == "resume")


def test_who_pauses_reads_nothing_until_it_resumes(stage: Stage) -> None:
    client, server = stage.pair()
    server.transport.pauseProducing()
    client.transport.write(b"one")
    stage.turn()
    assert server.heard == b""
    server.transport.resumeProducing()
    stage.until(lambda: server.heard == b"one")


def test_closing_delivers_all_that_was_written_and_both_agree(stage: Stage) -> None:
    client, server = stage.pair()
    sent = b"parting is such sweet sorrow" * 40_000
    server.transport.write(sent)
    server.transport.loseConnection()
    server.transport.write(b"too late")
    stage.until(lambda: server.ended and client.ended)
    assert client.heard == sent
    for peer in (client, server):
        assert peer.ended is not None
        assert peer.ended.check(error.ConnectionDone)


def test_who_closes_waits_for_the_peers_goodbye_and_reads_up_to_it(stage: Stage) -> None:
    server, port = stage.listen(direct=True)
    raw = stage.raw(port)
    raw.shake_hands()
    stage.until(lambda: server.handshakes)
    server.transport.pauseProducing()
    server.transport.loseConnection()
    server.transport.resumeProducing()
    raw.say(b"one more thing")
    stage.until(lambda: server.heard == b"one more thing")
    assert server.ended is None
    with suppress(ssl.SSLWantReadError):  # the server's has not come yet
        raw.tls.unwrap()
    raw.move()
    stage.until(lambda: server.ended)
    assert server.ended is not None
    assert server.ended.check(error.ConnectionDone)


def test_an_end_without_a_goodbye_is_no_clean_end(stage: Stage) -> None:
    server, port = stage.listen(direct=True)
    raw = stage.raw(port)
    raw.shake_hands()
    stage.until(lambda: server.handshakes)
    raw.sock.close()
    stage.until(lambda: server.ended)
    assert server.ended is not None
    assert server.ended.check(error.ConnectionLost)


def test_aborting_throws_away_what_was_written(stage: Stage) -> None:
    client, server = stage.pair()
    client.transport.pauseProducing()
    server.transport.write(bytes(8_000_000))
    stage.turn(3)
    server.transport.abortConnection()
    server.transport.abortConnection()
    stage.until(lambda: server.ended)
    assert server.ended is not None
    assert server.ended.check(error.ConnectionAborted, error.ConnectionLost)
    client.transport.resumeProducing()
    stage.until(lambda: client.ended)
    assert client.ended is not None
    assert client.ended.check(error.ConnectionLost)
    server.transport.write(b"into the void")
    server.transport.loseConnection()


def test_what_is_no_tls_ends_the_handshake_with_openssls_reason(stage: Stage) -> None:
    server, port = stage.listen(direct=True)
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"<stream:stream xmlns='jabber:client'>")
        stage.until(lambda: server.ended)
    assert server.ended is not None
    assert server.ended.check(SSL.Error)
    assert server.handshakes == 0
    assert server.heard == b""


def test_who_leaves_in_the_handshake_is_lost(stage: Stage) -> None:
    server, port = stage.listen(direct=True)
    raw = stage.raw(port)
    with pytest.raises(ssl.SSLWantReadError):
        raw.tls.do_handshake()
    raw.move()
    raw.sock.close()
    stage.until(lambda: server.ended)
    assert server.ended is not None
    assert server.ended.check(error.ConnectionLost)


def test_closing_in_the_handshake_waits_for_nobody(stage: Stage) -> None:
    server, port = stage.listen(direct=True)
    with socket.create_connection(("127.0.0.1", port)):
        stage.until(lambda: server.transport)
        server.transport.loseConnection()
        stage.until(lambda: server.ended)


def test_a_tampered_record_ends_the_connection_with_openssls_reason(stage: Stage) -> None:
    server, port = stage.listen(direct=True)
    raw = stage.raw(port)
    raw.shake_hands()
    stage.until(lambda: server.handshakes)
    raw.tls.write(b"wherefore art thou")
    record = bytearray(raw.outgoing.read())
    record[-1] ^= 1
    raw.sock.sendall(record)
    stage.until(lambda: server.ended)
    assert server.ended is not None
    assert server.ended.check(SSL.Error)
    assert server.heard == b""


def test_what_is_said_in_one_turn_leaves_in_one_record(stage: Stage) -> None:
    server, port = stage.listen(direct=True)
    raw = stage.raw(port)
    raw.shake_hands()
    stage.until(lambda: server.handshakes)
    server.transport.write(b"zero")
    raw.read(4)  # and what belonged to the handshake
    before = len(raw.records)
    for word in (b"one ", b"two ", b"three"):
        server.transport.write(word)
    assert raw.read(13) == b"one two three"
    assert raw.records[before:] == [APPLICATION_DATA]


def test_a_record_in_pieces_is_put_together(stage: Stage) -> None:
    server, port = stage.listen(direct=True)
    raw = stage.raw(port)
    raw.shake_hands()
    stage.until(lambda: server.handshakes)
    raw.tls.write(b"a rose " * 100)
    for byte in raw.outgoing.read():
        raw.sock.sendall(bytes([byte]))
        stage.reactor.iterate(0)
    stage.until(lambda: server.heard == b"a rose " * 100)


def test_many_records_at_once_are_all_read(stage: Stage) -> None:
    server, port = stage.listen(direct=True)
    raw = stage.raw(port)
    raw.shake_hands()
    stage.until(lambda: server.handshakes)
    for number in range(200):
        raw.tls.write(b"%03d" % number)
    raw.move()
    stage.until(lambda: len(server.heard) == 600)
    assert server.heard == b"".join(b"%03d" % number for number in range(200))


# --- what only ours has to get right ---------------------------------------------------------------------


def test_turn_after_turn_of_little_for_who_does_not_read_arrives_whole_and_in_order(stage: Stage) -> None:
    client, server = stage.pair()
    little_room(server)
    client.transport.pauseProducing()
    sent = [b"%07d" % number * 300 for number in range(400)]
    for each in sent:
        server.transport.write(each)
        stage.reactor.iterate(0)
    assert client.heard == b""
    client.transport.resumeProducing()
    stage.until(lambda: len(client.heard) == sum(map(len, sent)))
    assert client.heard == b"".join(sent)


def test_who_writes_to_somebody_who_is_gone_is_told_once(stage: Stage) -> None:
    client, server = stage.pair()
    server.transport.pauseProducing()  # so that it is writing that finds out
    client.transport.abortConnection()
    stage.until(lambda: client.ended)
    for _ in range(10):
        server.transport.write(b"art thou gone so?")
        stage.turn(2)
    assert server.ended is not None
    assert server.ended.check(error.ConnectionLost)


def test_where_there_are_no_sockets_the_reactors_own_tcp_is_taken() -> None:
    clock = Clock()
    assert tcp(clock) is clock


def test_one_that_cannot_write_does_not_keep_others_from_it(ours: Stage, logged_errors: LoggedErrors) -> None:
    client, server = ours.pair()
    other_client, other = ours.pair()

    def fail() -> None:
        raise ZeroDivisionError

    server.transport.write_out = fail
    server.transport.write(b"lost")
    other.transport.write(b"found")
    ours.until(lambda: other_client.heard == b"found" and server.ended)
    assert len(logged_errors.take(ZeroDivisionError)) == 1
    assert client.heard == b""


def test_who_takes_small_records_only_gets_everything(ours: Stage) -> None:
    client, server = ours.pair()
    tls, records = server.transport._tls, list[int]()

    class Small:
        """As when the peer has asked for records of at most 512 bytes (RFC 6066 §4)."""

        def __getattr__(self, name: str) -> Any:
            return getattr(tls, name)

        def send(self, data: bytes) -> int:
            written: int = tls.send(data[:512])
            records.append(written)
            return written

    server.transport._tls = Small()
    said = b"".join(b"%04d" % number for number in range(400))
    server.transport.write(said[:1000])
    server.transport.write(said[1000:])
    ours.until(lambda: len(client.heard) == len(said))
    assert client.heard == said
    assert records == [512, 512, 512, 64]


def test_while_openssl_has_to_write_first_nothing_is_read_and_no_turn_is_wasted(ours: Stage) -> None:
    client, server = ours.pair()
    client.transport.pauseProducing()
    little_room(server)
    server.transport.write(bytes(2_000_000))
    ours.until(lambda: is_full(server))
    tls = server.transport._tls
    reads = []

    class Blocked:
        """As when the peer wants keys updated (RFC 8446 §4.6.3), and takes nothing."""

        def recv(self, size: int) -> bytes:
            reads.append(size)
            raise SSL.WantWriteError

    server.transport._tls = Blocked()
    client.transport.write(b"at last")
    ours.until(lambda: reads)
    ours.turn()
    assert len(reads) == 1
    server.transport._tls = tls
    client.transport.resumeProducing()
    ours.until(lambda: server.heard == b"at last")


def test_who_pauses_meanwhile_reads_nothing_behind_it(ours: Stage) -> None:
    client, server = ours.pair()
    server.transport.pauseProducing()
    server.transport._not_read(server.transport._tls, SSL.WantWriteError())
    server.transport.resumeProducing()  # has to wait, too
    server.transport.pauseProducing()
    client.transport.write(b"one")
    ours.turn()
    client.transport.write(b"two")
    ours.turn()
    assert server.heard in (b"", b"one")  # what OpenSSL had to read on, it gave
    server.transport.resumeProducing()
    ours.until(lambda: server.heard == b"onetwo")


def test_what_is_written_meanwhile_leaves_behind_it(ours: Stage) -> None:
    client, server = ours.pair()
    server.transport._not_read(server.transport._tls, SSL.WantWriteError())
    server.transport.write(b"meanwhile")
    ours.until(lambda: client.heard == b"meanwhile")
    client.transport.write(b"and on")
    ours.until(lambda: server.heard == b"and on")


def test_who_has_not_taken_what_was_said_in_the_clear_is_not_encrypted_for(ours: Stage) -> None:
    server, port = ours.listen()
    with socket.create_connection(("127.0.0.1", port)):
        ours.until(lambda: server.transport)
        server.transport.write(bytes(16_000_000))
        server.transport.startTLS(CONTEXTS.acceptor())
        ours.until(lambda: server.ended)
    assert server.ended is not None
    assert server.ended.check(error.ConnectionAborted)


def test_a_goodbye_that_the_kernel_does_not_take_is_said_later(ours: Stage) -> None:
    client, server = ours.pair()
    shutdown = server.transport._tls.shutdown

    def later() -> bool:
        server.transport._tls.shutdown = shutdown
        raise SSL.WantWriteError

    server.transport._tls.shutdown = later
    server.transport.loseConnection()
    ours.until(lambda: client.ended and server.ended)
    assert client.ended is not None
    assert client.ended.check(error.ConnectionDone)


def test_goodbye_is_said_once(ours: Stage) -> None:
    server, port = ours.listen(direct=True)
    raw = ours.raw(port)
    raw.shake_hands()
    ours.until(lambda: server.handshakes)
    server.transport.registerProducer(server, True)
    server.transport.loseConnection()
    ours.turn()
    server.transport.unregisterProducer()  # which has it write once more
    ours.turn()
    assert server.ended is None


def test_what_was_said_in_the_turn_of_the_peers_goodbye_still_leaves(ours: Stage) -> None:
    server, port = ours.listen(direct=True)
    raw = ours.raw(port)
    raw.shake_hands()
    ours.until(lambda: server.handshakes)
    other_client, other = ours.pair(encrypted=False)
    other.on_data = lambda _: server.transport.write(b"last words")
    with suppress(ssl.SSLWantReadError):
        raw.tls.unwrap()
    other_client.transport.socket.send(b"now")
    raw.sock.sendall(raw.outgoing.read())
    ours.until(lambda: server.ended)
    assert raw.read(10) == b"last words"


@pytest.mark.parametrize(
    "told", [SSL.SysCallError(-1, "Unexpected EOF"), SSL.Error([]), SSL.Error([("", "", "unexpected eof")])]
)
def test_an_end_without_a_goodbye_is_known_however_openssl_words_it(told: SSL.Error) -> None:
    assert sockets._why(told) is CONNECTION_LOST
    other = SSL.Error([("SSL routines", "", "wrong version number")])
    assert sockets._why(other) is other


def test_tls_knows_the_socket_no_longer_than_the_socket_lives(ours: Stage) -> None:
    client, server = ours.pair()
    server.transport.abortConnection()
    ours.until(lambda: client.ended and server.ended)
    assert client.transport._tls is server.transport._tls is None
