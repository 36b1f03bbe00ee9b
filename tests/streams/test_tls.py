from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from jabberd.certificates import CLIENT_AUTH, SERVER_AUTH, Issued, issue, make_ca
from jabberd.interfaces import Security
from jabberd.streams import tls
from jabberd.streams.certfiles import ServerCertificate
from jabberd.streams.tls import Contexts, security
from jabberd.streams.vouch import Trust, judge
from jabberd.testing import Pipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

CA = make_ca()
INTERMEDIATE = issue(CA, "Verona CA", authority=True)
MONTAGUE, CAPULET = issue(INTERMEDIATE, "montague.lit"), issue(INTERMEDIATE, "capulet.lit")


def served(*issued: Issued) -> dict[str, ServerCertificate]:
    return {
        each.certificate.subject.rfc4514_string().removeprefix("CN="): ServerCertificate(
            each.certificate, each.chain, each.key, Path("montague.lit.pem"), Path("montague.lit.pem")
        )
        for each in issued
    }


@implementer(IHandshakeListener)
class Peer(Protocol):
    def __init__(self) -> None:
        self.secured = False
        self.heard = b""
        self.ended = ""

    def handshakeCompleted(self) -> None:
        self.secured = True

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = str(reason.value)


@implementer(IOpenSSLClientConnectionCreator)
class Client:
    """A client of TLS as others write it."""

    def __init__(
        self,
        sni: bytes = b"",
        alpn: tuple[bytes, ...] = (),
        ciphers: bytes = b"",
        shows: Issued | None = None,
    ) -> None:
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.newest = SSL.TLS1_3_VERSION
        self.sni, self.alpn = sni, alpn
        self.session: SSL.Session | None = None
        self.connection: SSL.Connection
        if ciphers:
            self.context.set_max_proto_version(SSL.TLS1_2_VERSION)
            self.context.set_cipher_list(ciphers)
        if shows:
            self.context.use_certificate(shows.certificate)
            self.context.use_privatekey(shows.key)
            for each in shows.chain:
                self.context.add_extra_chain_cert(each)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        self.connection = connection = SSL.Connection(self.context, None)
        if self.sni:
            connection.set_tlsext_host_name(self.sni)
        if self.alpn:
            connection.set_alpn_protos(list(self.alpn))
        if self.session:
            connection.set_session(self.session)
        return connection


@implementer(IOpenSSLServerConnectionCreator)
class OldServer:
    """A server that speaks TLS 1.2 and forbids nothing."""

    def __init__(self, shows: Issued) -> None:
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.set_max_proto_version(SSL.TLS1_2_VERSION)
        self.context.use_certificate(shows.certificate)
        self.context.use_privatekey(shows.key)

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self.context, None)


class Encrypted:
    """A connection after its handshake, whether that went well or not."""

    def __init__(
        self,
        client: IOpenSSLClientConnectionCreator,
        server: IOpenSSLServerConnectionCreator,
        *,
        direct: bool = False,
    ) -> None:
        self.clock = Clock()
        self.client, self.server = Peer(), Peer()
        if direct:
            ends = [self.wrap(client, self.client, True), self.wrap(server, self.server, False)]
            self.pipe = Pipe(ends[0], ends[1], self.clock)
        else:
            self.pipe = Pipe(self.client, self.server, self.clock)
            self.pipe.server.startTLS(server)
            self.pipe.client.startTLS(client)
        self.pipe.flush()

    def wrap(self, creator: object, peer: Peer, is_client: bool) -> Protocol:
        factory = TLSMemoryBIOFactory(creator, is_client, Factory.forProtocol(lambda: peer), self.clock)  # type: ignore[arg-type]  # either kind
        return factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))

    @property
    def secured(self) -> bool:
        return self.client.secured and self.server.secured

    @property
    def of_client(self) -> Security:
        assert self.client.transport is not None
        return security(self.client.transport, server=False)

    @property
    def of_server(self) -> Security:
        assert self.server.transport is not None
        return security(self.server.transport, server=True)

    @property
    def shown(self) -> str:
        """Whose certificate the server showed."""
        leaf = x509.load_der_x509_certificate(self.of_client.peer_chain[0])
        return leaf.subject.rfc4514_string().removeprefix("CN=")


def c2s(*issued: Issued, minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2") -> Contexts:
    return Contexts("xmpp-client", served(*issued or (MONTAGUE, CAPULET)), minimum)


def s2s(*issued: Issued) -> Contexts:
    return Contexts("xmpp-server", served(*issued))


# --- which certificate ---------------------------------------------------------------------------


@pytest.mark.rfc9325("3.7-1")
@pytest.mark.rfc6120("5.4.3.1-2")
@pytest.mark.parametrize("direct", [True, False])
def test_the_server_name_chooses_the_certificate(direct: bool) -> None:
    for name in ("montague.lit", "capulet.lit", "CAPULET.lit"):
        link = Encrypted(Client(name.encode()), c2s().acceptor(), direct=direct)
        assert link.secured
        assert link.shown == name.lower()
        assert len(link.of_client.peer_chain) == 2


@pytest.mark.parametrize("name", [b"", b"evil.example", b"\xff\xfe", b"xn--a"])
def test_without_a_name_of_ours_the_streams_domain_does_and_else_the_first(name: bytes) -> None:
    assert Encrypted(Client(name), c2s().acceptor("capulet.lit")).shown == "capulet.lit"
    assert Encrypted(Client(name), c2s().acceptor("verona.lit")).shown == "montague.lit"
    assert Encrypted(Client(name), c2s().acceptor()).shown == "montague.lit"


def test_a_domain_of_u_labels_is_asked_for_in_a_labels() -> None:
    books = issue(CA, "xn--bcher-kva.example")
    server = Contexts("xmpp-client", {"montague.lit": served(MONTAGUE)["montague.lit"]})
    server.replace({**served(MONTAGUE), "bücher.example": served(books)["xn--bcher-kva.example"]})
    assert Encrypted(Client(b"xn--bcher-kva.example"), server.acceptor()).shown == "xn--bcher-kva.example"
    assert Encrypted(Client(), server.acceptor("bücher.example")).shown == "xn--bcher-kva.example"


def test_new_certificates_serve_new_connections_and_leave_the_old_ones_alone() -> None:
    contexts = c2s(MONTAGUE)
    acceptor = contexts.acceptor()
    before = Encrypted(Client(), acceptor)
    contexts.replace(served(CAPULET))
    assert Encrypted(Client(), acceptor).shown == "capulet.lit"
    before.pipe.client.write(b"still here")
    before.pipe.flush()
    assert before.server.heard == b"still here"


# --- what is spoken ------------------------------------------------------------------------------


@pytest.mark.rfc9325("3.1.1-2", "3.1.1-3", "4.1-1")
@pytest.mark.rfc7590("1-1")
def test_tls_1_3_is_spoken_and_1_2_only_with_forward_secrecy() -> None:
    assert Encrypted(Client(), c2s().acceptor()).of_server.version == "TLSv1.3"
    link = Encrypted(Client(ciphers=b"ECDHE-ECDSA-AES128-GCM-SHA256"), c2s().acceptor())
    assert (link.of_server.version, link.of_server.cipher) == ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")
    for weak in (b"ECDHE-ECDSA-AES128-SHA256", b"ECDHE-ECDSA-AES256-SHA", b"AES128-GCM-SHA256"):
        refused = Encrypted(Client(ciphers=weak), c2s().acceptor())
        assert not refused.secured
        assert "handshake failure" in refused.client.ended


@pytest.mark.rfc9325("3.1.1-2")
def test_tls_1_2_may_be_refused() -> None:
    contexts = c2s(minimum="TLSv1.3")
    assert Encrypted(Client(), contexts.acceptor()).secured
    old = Encrypted(Client(ciphers=b"ECDHE+AESGCM"), contexts.acceptor())
    assert not old.secured
    assert "protocol version" in old.client.ended


@pytest.mark.rfc9325("3.1.1-1")
@pytest.mark.rfc7590("1-1")
@pytest.mark.rfc6120("13.9.5-1")
def test_tls_1_1_is_not_spoken() -> None:
    client = Client()
    client.context.set_cipher_list(b"ALL:@SECLEVEL=0")
    client.context.set_max_proto_version(SSL.TLS1_1_VERSION)
    assert not Encrypted(client, c2s().acceptor()).secured


@pytest.mark.rfc9325("3.1.3-1")
def test_an_older_server_than_tls_1_2_is_not_spoken_to() -> None:
    initiator = s2s(CAPULET).initiator("capulet.lit", "montague.lit", direct=False)
    spoken = {}
    for version in (SSL.TLS1_1_VERSION, SSL.TLS1_2_VERSION):
        server = OldServer(MONTAGUE)
        server.context.set_cipher_list(b"ALL:@SECLEVEL=0")
        server.context.set_min_proto_version(SSL.TLS1_VERSION)
        server.context.set_max_proto_version(version)
        spoken[version] = Encrypted(initiator, server).secured
    assert spoken == {SSL.TLS1_1_VERSION: False, SSL.TLS1_2_VERSION: True}


def hello() -> dict[int, bytes]:
    """The extensions of a ClientHello of ours (RFC 8446 §4.1.2)."""
    connection = s2s(MONTAGUE).initiator("montague.lit", "capulet.lit", direct=True).on(None)
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    left = connection.bio_read(65536)[5 + 4 + 2 + 32 :]  # behind record, message, version and random
    for octets in (1, 2, 1):  # session id, cipher suites, compression methods
        left = left[octets + int.from_bytes(left[:octets], "big") :]
    found, left = {}, left[2:]
    while left:
        kind, size = int.from_bytes(left[:2], "big"), int.from_bytes(left[2:4], "big")
        found[kind], left = left[4 : 4 + size], left[4 + size :]
    return found


def pairs(data: bytes) -> set[int]:
    """A list of numbers of two octets, behind its length."""
    return {int.from_bytes(data[at : at + 2], "big") for at in range(2, len(data), 2)}


@pytest.mark.rfc9325("3.5-1", "3.7-1", "3.8-1", "4.2.1-1")
def test_what_is_said_of_oneself_before_a_handshake() -> None:
    said = hello()
    assert said[0xFF01] == b"\0"  # renegotiation_info
    assert said[0x17] == b""  # extended_master_secret
    assert b"capulet.lit" in said[0]  # server_name
    assert said[0x10] == b"\0\x0c\x0bxmpp-server"  # ALPN
    assert {0x17, 0x1D} <= pairs(said[0x0A])  # secp256r1, x25519
    assert {0x0403, 0x0804} <= pairs(said[0x0D])  # ECDSA and RSA with SHA-256


@pytest.mark.rfc7590("1-1")
@pytest.mark.rfc6120("5.3.5-1")
def test_a_peer_cannot_have_the_keys_renegotiated() -> None:
    contexts = s2s(CAPULET)
    link = Encrypted(contexts.initiator("capulet.lit", "montague.lit", direct=False), OldServer(MONTAGUE))
    ours, theirs = link.pipe.client.getHandle(), link.pipe.server.getHandle()
    assert ours is not None
    assert theirs is not None
    theirs.renegotiate()
    link.pipe.server.write(b"anew")
    link.pipe.flush()
    assert ours.total_renegotiations() == 0
    assert not link.pipe.client.connected
    assert "no renegotiation" in link.server.ended


@pytest.mark.rfc7590("3.3-1")
@pytest.mark.parametrize("versions", ["TLSv1.2", "TLSv1.3"])
def test_between_servers_no_session_is_resumed_so_that_the_chain_is_always_there(versions: str) -> None:
    client = Client(ciphers=b"ECDHE+AESGCM" if versions == "TLSv1.2" else b"", shows=CAPULET)
    contexts = s2s(MONTAGUE)
    for _ in range(2):
        link = Encrypted(client, contexts.acceptor())
        link.pipe.server.write(b"what follows a handshake")
        link.pipe.flush()
        assert link.of_server.version == versions
        assert len(link.of_server.peer_chain) == 2
        client.session = client.connection.get_session()


@pytest.mark.rfc9325("3.10-1")
@pytest.mark.rfc7590("1-1")
def test_nothing_is_compressed_and_idle_buffers_are_released() -> None:
    context = c2s()._table["montague.lit"].context
    assert context.set_options(0) & SSL.OP_NO_COMPRESSION
    assert context.set_options(0) & SSL.OP_NO_TICKET
    assert context.set_mode(0) & SSL.MODE_RELEASE_BUFFERS


# --- ALPN ----------------------------------------------------------------------------------------


@pytest.mark.rfc9325("3.8-1")
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [((b"xmpp-client",), "xmpp-client"), ((b"h2", b"xmpp-client"), "xmpp-client"), ((), "")],
)
@pytest.mark.parametrize("sni", [b"", b"capulet.lit"])
def test_the_protocol_is_agreed_on_and_need_not_be_named(
    offered: tuple[bytes, ...], chosen: str, sni: bytes
) -> None:
    link = Encrypted(Client(sni, offered), c2s().acceptor(), direct=True)
    assert link.secured
    assert (link.of_server.alpn, link.of_client.alpn) == (chosen, chosen)


@pytest.mark.rfc9325("3.8-2")
@pytest.mark.rfc7590("1-1")
@pytest.mark.parametrize("sni", [b"", b"capulet.lit"])
def test_another_protocol_ends_in_an_alert(sni: bytes) -> None:
    link = Encrypted(Client(sni, (b"xmpp-server", b"h2")), c2s().acceptor(), direct=True)
    assert not link.secured
    assert "no application protocol" in link.client.ended
    assert "the client speaks another protocol" in link.server.ended


def test_a_server_that_starts_with_tls_says_what_it_will_speak_and_after_starttls_does_not() -> None:
    ours, theirs = s2s(MONTAGUE), s2s(CAPULET)
    for direct, protocol in ((True, "xmpp-server"), (False, "")):
        initiator = ours.initiator("montague.lit", "capulet.lit", direct=direct)
        assert Encrypted(initiator, theirs.acceptor(), direct=direct).of_server.alpn == protocol


# --- between servers -----------------------------------------------------------------------------


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("eku", [(SERVER_AUTH,), (SERVER_AUTH, CLIENT_AUTH)], ids=["server", "both"])
def test_two_servers_see_each_others_chains_and_vouch_for_each_other(
    direct: bool, eku: tuple[x509.ObjectIdentifier, ...], tmp_path: Path
) -> None:
    intermediate = issue(CA, "Padua CA", authority=True, eku=eku)
    montague, capulet = (issue(intermediate, each, eku=eku) for each in ("montague.lit", "capulet.lit"))
    initiator = s2s(montague).initiator("montague.lit", "capulet.lit", direct=direct)
    link = Encrypted(initiator, s2s(issue(CA, "verona.lit"), capulet).acceptor(), direct=direct)
    assert link.secured
    trust = Trust([CA.write(tmp_path, "ca")])
    for known, domain in ((link.of_client, "capulet.lit"), (link.of_server, "montague.lit")):
        assert len(known.peer_chain) == 2
        assert judge(known.peer_chain, domain, trust)
        assert not judge(known.peer_chain, "evil.example", trust)


@pytest.mark.rfc6120("13.7.2-1")
@pytest.mark.parametrize(
    "shows",
    [
        issue(None, "evil.example"),
        issue(CA, "evil.example", expired=True),
        issue(issue(None, "Evil CA", authority=True, eku=()), "evil.example"),
        issue(CA, "evil.example", dns=False, srv=False),
        issue(CA, "evil.example", eku=(x509.oid.ExtendedKeyUsageOID.CODE_SIGNING,)),
    ],
    ids=["self-signed", "expired", "unknown authority", "nameless", "for code"],
)
def test_d8_any_certificate_passes_the_handshake_in_either_role_to_be_judged_later(
    shows: Issued, tmp_path: Path
) -> None:
    trust = Trust([CA.write(tmp_path, "ca")])
    as_client = Encrypted(Client(shows=shows), s2s(MONTAGUE).acceptor())
    initiator = s2s(MONTAGUE).initiator("montague.lit", "evil.example", direct=False)
    as_server = Encrypted(initiator, s2s(shows).acceptor())
    for link, known in ((as_client, as_client.of_server), (as_server, as_server.of_client)):
        assert link.secured
        assert known.peer_chain
        assert not judge(known.peer_chain, "evil.example", trust)


def test_a_server_without_a_certificate_may_still_connect() -> None:
    link = Encrypted(Client(), s2s(MONTAGUE).acceptor())
    assert link.secured
    assert link.of_server.peer_chain == ()


def test_clients_are_not_asked_for_certificates() -> None:
    assert Encrypted(Client(shows=CAPULET), c2s().acceptor()).of_server.peer_chain == ()


def test_b16_a_certificate_message_beyond_all_measure_ends_the_handshake() -> None:
    shows = issue(CA, *(f"{number}.evil.example" for number in range(10_000)), srv=False)
    link = Encrypted(Client(shows=shows), s2s(MONTAGUE).acceptor())
    assert not link.server.secured
    assert "excessive message size" in link.server.ended


def test_an_address_is_not_sent_as_server_name() -> None:
    for domain in ("192.0.2.1", "[2001:db8::1]"):
        initiator = s2s(MONTAGUE).initiator("montague.lit", domain, direct=True)
        link = Encrypted(initiator, s2s(CAPULET, MONTAGUE).acceptor(), direct=True)
        assert link.shown == "capulet.lit"


# --- what is known afterwards --------------------------------------------------------------------


@pytest.mark.parametrize("direct", [True, False])
def test_both_sides_bind_to_the_same_channel(direct: bool) -> None:
    link = Encrypted(Client(b"capulet.lit"), c2s().acceptor(), direct=direct)
    assert link.of_client.bindings == link.of_server.bindings
    assert set(link.of_server.bindings) == {"tls-exporter", "tls-server-end-point"}
    assert len(link.of_server.bindings["tls-exporter"]) == 32
    end_point = hashlib.sha256(CAPULET.certificate.public_bytes(Encoding.DER)).digest()
    assert link.of_server.bindings["tls-server-end-point"] == end_point


def test_each_connection_has_an_exporter_of_its_own() -> None:
    first, second = (Encrypted(Client(), c2s().acceptor()).of_server.bindings for _ in range(2))
    assert first["tls-exporter"] != second["tls-exporter"]
    assert first["tls-server-end-point"] == second["tls-server-end-point"]


def test_tls_1_2_binds_to_the_certificate_alone() -> None:
    link = Encrypted(Client(ciphers=b"ECDHE+AESGCM"), c2s().acceptor())
    assert set(link.of_server.bindings) == {"tls-server-end-point"}
    assert link.of_client.bindings == link.of_server.bindings


def signed(by: Callable[[x509.CertificateBuilder], x509.Certificate]) -> crypto.X509:
    name = x509.Name([])
    certificate = MONTAGUE.certificate
    return crypto.X509.from_cryptography(
        by(
            x509.CertificateBuilder(
                name,
                name,
                certificate.public_key(),
                1,
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
            )
        )
    )


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")],
)
def test_the_end_point_is_hashed_as_the_certificate_was_signed(
    algorithm: hashes.SHA256 | hashes.SHA384 | hashes.SHA512, digest: str
) -> None:
    shown = signed(lambda builder: builder.sign(MONTAGUE.key, algorithm))
    der = crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)
    assert tls._end_point(shown.to_cryptography()) == hashlib.new(digest, der).digest()


def test_a_weak_signature_hash_is_replaced_and_none_leaves_the_end_point_undefined() -> None:
    old = weakened(MONTAGUE.certificate.public_bytes(Encoding.DER))
    shown = x509.load_der_x509_certificate(old)
    assert isinstance(shown.signature_hash_algorithm, hashes.SHA1)
    assert tls._end_point(shown) == hashlib.sha256(old).digest()
    key = ed25519.Ed25519PrivateKey.generate()
    signed_by_it = signed(lambda builder: builder.sign(key, None)).to_cryptography()
    assert tls._end_point(signed_by_it) is None


def test_a_certificate_that_nobody_can_read_has_no_end_point() -> None:
    class Unreadable:
        def get_peer_certificate(self) -> Unreadable:
            return self

        def to_cryptography(self) -> None:
            raise ValueError("no version of certificates that there is")

    assert tls._their_end_point(Unreadable()) is None  # type: ignore[arg-type]  # so much of a connection


def weakened(der: bytes) -> bytes:
    """The certificate as if signed with ecdsa-with-SHA1, whose name is one octet shorter than -SHA256."""
    sha256, sha1 = bytes.fromhex("300a06082a8648ce3d040302"), bytes.fromhex("300906072a8648ce3d0401")
    assert der.count(sha256) == 2
    assert der[:2] == der[4:6] == b"\x30\x82"
    lengths = int.from_bytes(der[2:4], "big") - 2, int.from_bytes(der[6:8], "big") - 1
    outer, inner = (b"\x30\x82" + length.to_bytes(2, "big") for length in lengths)
    return outer + inner + der[8:].replace(sha256, sha1)


def test_a_connection_without_tls_has_no_security() -> None:
    pipe = Pipe(Peer(), Peer(), Clock())
    assert security(pipe.server, server=True) == Security()
    assert not security(pipe.server, server=True).encrypted
