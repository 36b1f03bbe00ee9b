"""TLS for streams of both kinds: what we show, what we ask for, and what is known afterwards.

The creators made here work with ``transport.startTLS(creator)``; `DirectTLS` calls it with the first byte
(XEP-0368).  A peer's certificate is asked for between servers,
and from clients of domains that want one; *any* is accepted during the handshake, and
`jabberd.streams.vouch` judges it afterwards.
Nothing outside this file touches a connection's handle.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion
from zope.interface import implementer

from jabberd.interfaces import Security
from jabberd.xmpp.domain import a_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from socket import socket

    from cryptography.x509 import Certificate
    from twisted.internet.interfaces import IAddress, IProtocolFactory
    from twisted.protocols.tls import TLSMemoryBIOProtocol

    from jabberd.streams.certfiles import ServerCertificate

__all__ = ["Acceptor", "Contexts", "DirectTLS", "Initiator", "openssl_reason", "security"]

#: RFC 9325 §4.2, and ChaCha20 for peers without AES in hardware: forward secrecy and AEAD only.
_CIPHERS: Final = AcceptableCiphers.fromOpenSSLCipherString("ECDHE+AESGCM:ECDHE+CHACHA20")
_VERSIONS: Final = {"TLSv1.2": TLSVersion.TLSv1_2, "TLSv1.3": TLSVersion.TLSv1_3}


class _Shown(NamedTuple):
    domain: str
    context: SSL.Context


class Contexts:
    """The TLS contexts of one kind of stream, one for each domain.

    They are made once and shared by all connections.  Neither sessions nor tickets are kept: a
    resumed session would bring no certificate chain, and a client of ours stays connected anyway.

    :param service: ``xmpp-client``, ``xmpp-server`` or ``http/1.1``, which is also the ALPN name (XEP-0368
        §3); between servers each side asks for the other's certificate.
    :param certificates: by domain, one at least; the first one serves peers that name none of them.
    :param minimum: the oldest version of TLS that is spoken.
    :ivar asks: whether clients of a domain are asked for their certificate.
    """

    def __init__(
        self,
        service: Literal["xmpp-client", "xmpp-server", "http/1.1"],
        certificates: Mapping[str, ServerCertificate],
        minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2",
    ) -> None:
        self.protocol: Final = service.encode()
        self._minimum = _VERSIONS[minimum]
        self.asks: Callable[[str], bool] = lambda _: False
        self._table: dict[str, _Shown] = {}
        self.replace(certificates)

    def replace(
        self,
        certificates: Mapping[str, ServerCertificate],
        minimum: Literal["TLSv1.2", "TLSv1.3"] | None = None,
    ) -> None:
        """Use these certificates from now on; connections that exist go on with theirs.

        :param minimum: None: as before.
        """
        if minimum is not None:
            self._minimum = _VERSIONS[minimum]
        self._table = {
            a_labels(domain): _Shown(domain, self._context(each)) for domain, each in certificates.items()
        }

    def acceptor(self, domain: str = "") -> Acceptor:
        """Make the server's side of connections.

        :param domain: whose certificate to show to a client that sends no server name, or an unknown one:
            where its stream header went (for STARTTLS); empty: the first.
        """
        return Acceptor(self, domain)

    def initiator(self, domain: str, server: str, *, direct: bool) -> Initiator:
        """Make the client's side of connections.

        :param domain: whose certificate to show when asked, one of ours.
        :param server: the domain to ask for by SNI.
        :param direct: TLS starts with the connection: say by ALPN what will be spoken (XEP-0368 §3).
        """
        return Initiator(self, domain, server, direct=direct)

    def connection(self, domain: str, on: socket | None = None) -> SSL.Connection:
        """Make a connection in the domain's context, or in the first if there is none for it.

        :param on: the socket; None: it works in memory.
        """
        shown = self._named(domain) or next(iter(self._table.values()))
        connection = SSL.Connection(shown.context, on)
        self._ask(connection, shown.domain)
        return connection

    def _ask(self, connection: SSL.Connection, domain: str) -> None:
        """A context that is chosen later would not change this (SSL_set_SSL_CTX)."""
        if self.protocol == b"xmpp-server" or self.asks(domain):
            connection.set_verify(SSL.VERIFY_PEER, _accept_any)
        else:
            connection.set_verify(SSL.VERIFY_NONE)  # a callback would cost half a KiB

    def _named(self, domain: str) -> _Shown | None:
        try:
            return self._table.get(a_labels(domain))
        except ValueError:
            return None

    def _context(self, certificate: ServerCertificate) -> SSL.Context:
        options = CertificateOptions(
            privateKey=certificate.key,  # type: ignore[arg-type]  # pyOpenSSL's own types are deprecated
            certificate=certificate.leaf,  # type: ignore[arg-type]  # the same
            extraCertChain=list(certificate.chain),  # type: ignore[arg-type]  # the same
            acceptableCiphers=_CIPHERS,
            raiseMinimumTo=self._minimum,
        )
        context = options.getContext()
        context.set_options(SSL.OP_NO_RENEGOTIATION)
        context.set_app_data(_end_point(certificate.leaf))  # for `_bindings`
        context.set_tlsext_servername_callback(self._choose_certificate)
        context.set_alpn_select_callback(self._choose_protocol)
        return context

    def _choose_certificate(self, connection: SSL.Connection) -> None:
        """RFC 6066 §3; a name that is not ours leaves the context as it is."""
        name = connection.get_servername()
        shown = self._named(name.decode("ascii", "replace")) if name else None
        if shown:
            connection.set_context(shown.context)
            self._ask(connection, shown.domain)

    def _choose_protocol(self, _connection: SSL.Connection, offered: list[bytes]) -> bytes:
        """RFC 7301 §3.2: the handshake fails if what is spoken here is not among those offered."""
        if self.protocol in offered:
            return self.protocol
        raise SSL.Error([("SSL routines", "", "the client speaks another protocol")])


@implementer(IOpenSSLServerConnectionCreator)
class Acceptor:
    """Makes the server's side of TLS connections: see `Contexts.acceptor`."""

    def __init__(self, contexts: Contexts, domain: str) -> None:
        self._contexts = contexts
        self._domain = domain

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002 # Twisted's
        """Called by Twisted for each connection."""
        return self.on(None)

    def on(self, sock: socket | None) -> SSL.Connection:
        """Make a connection on that socket, or in memory."""
        connection = self._contexts.connection(self._domain, sock)
        connection.set_accept_state()
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class Initiator:
    """Makes the client's side of TLS connections: see `Contexts.initiator`."""

    def __init__(self, contexts: Contexts, domain: str, server: str, *, direct: bool) -> None:
        self._contexts = contexts
        self._domain = domain
        self._server = server
        self._direct = direct

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002 # Twisted's
        """Called by Twisted for each connection."""
        return self.on(None)

    def on(self, sock: socket | None) -> SSL.Connection:
        """Make a connection on that socket, or in memory."""
        connection = self._contexts.connection(self._domain, sock)
        connection.set_connect_state()
        with suppress(ValueError):  # RFC 6066 §3: an address is no server name
            connection.set_tlsext_host_name(a_labels(self._server).encode("ascii"))
        if self._direct:
            connection.set_alpn_protos([self._contexts.protocol])
        return connection


def _accept_any(*_: Any) -> bool:
    return True


class DirectTLS(Factory):
    """Makes that factory's protocols, whose connections are encrypted from the first byte (XEP-0368)."""

    noisy = False

    def __init__(self, creator: Acceptor | Initiator, factory: IProtocolFactory) -> None:
        self._creator = creator
        self._factory: Any = factory

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _TLSFirst(self._creator, self._factory.buildProtocol(addr))


class _TLSFirst(Protocol):
    """Starts TLS, and is not there any more."""

    def __init__(self, creator: Acceptor | Initiator, protocol: Any) -> None:
        self._creator = creator
        self.wrappedProtocol: Final = protocol

    def makeConnection(self, transport: Any) -> None:
        transport.protocol = self.wrappedProtocol
        transport.startTLS(self._creator)
        self.wrappedProtocol.makeConnection(transport)


# --- afterwards ----------------------------------------------------------------------------------


def security(transport: object, *, server: bool) -> Security:
    """What is known of a connection's security once its handshake is complete.

    :param server: whether we were the server in that handshake.
    """
    connection = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(connection, SSL.Connection):
        return Security()
    version = connection.get_protocol_version_name()
    return Security(
        version=version,
        cipher=connection.get_cipher_name() or "",
        alpn=connection.get_alpn_proto_negotiated().decode("ascii"),
        bindings=dict(_bindings(connection, version, server=server)),
        peer_chain=tuple(_peer_chain(connection)),
    )


def _bindings(connection: SSL.Connection, version: str, *, server: bool) -> Iterator[tuple[str, bytes]]:
    """RFC 9266 §2 (on TLS 1.3 only: before it the exporter needs extended master secrets) and RFC 5929 §4."""
    if version == "TLSv1.3":
        yield "tls-exporter", connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    digest = connection.get_context().get_app_data() if server else _their_end_point(connection)
    if digest:
        yield "tls-server-end-point", digest


def _their_end_point(connection: SSL.Connection) -> bytes | None:
    shown = connection.get_peer_certificate()
    try:
        return _end_point(shown.to_cryptography()) if shown else None
    except ValueError:  # OpenSSL took it; nobody can read it
        return None


def _end_point(certificate: Certificate) -> bytes | None:
    """RFC 5929 §4.1; None where it does not define the hash, as for Ed25519."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    return certificate.fingerprint(algorithm) if algorithm else None


def _peer_chain(connection: SSL.Connection) -> Iterator[bytes]:
    """The peer's certificates in DER; the server's side of OpenSSL leaves the leaf out of the chain."""
    leaf = connection.get_peer_certificate()
    if leaf is None:
        return
    first = crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf)
    yield first
    for each in connection.get_peer_cert_chain() or ():
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, each)
        if der != first:
            yield der


def openssl_reason(error: SSL.Error | crypto.Error) -> str:
    """What went wrong, in OpenSSL's words, without its punctuation."""
    queue = error.args[0] if error.args else ()
    reasons = [str(reason) for _, _, reason in queue if reason] if isinstance(queue, list) else []
    return "; ".join(reasons) or str(error) or type(error).__name__
