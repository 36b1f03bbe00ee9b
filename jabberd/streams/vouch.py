"""Whether a certificate vouches for a domain or names accounts: its chain, its purpose and its names.

Judged after the handshake, when the stream header has said for which domain (RFC 6120 §13.7.2.1), so
that a peer without a good certificate can still be verified by dialback.  Purposes are judged here
and not by OpenSSL: public authorities issue for serverAuth alone, and a server is also the *client*
of another server.  Common names are never looked at (RFC 9525 §2).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, SRV_ID, DNSPattern, SRVPattern, verify_service_identity

from jabberd.streams.tls import openssl_reason
from jabberd.xmpp.domain import a_labels
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from service_identity.hazmat import CertificatePattern

__all__ = [
    "SYSTEM",
    "Trust",
    "TrustError",
    "Verdict",
    "alternative_names",
    "judge",
    "named",
    "naming_objection",
]

#: Stands for the platform's authorities where a list of CA files is asked for.
SYSTEM: Final = "system"

#: A certificate with more names than any public authority puts into one is not read any further.
MOST_NAMES: Final = 1000

#: RFC 6120 §13.7.1.4.
XMPP_ADDR: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")

_SERVER_SERVICE: Final = "_xmpp-server"
_PURPOSES: Final = {
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}
#: What cryptography and service-identity raise over content that is not as RFC 5280 says.
_MALFORMED: Final = (
    ValueError,
    IndexError,  # an empty SRVName
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    crypto.Error,
)
#: A client is nobody's server.
_CLIENT_PURPOSES: Final = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_MOST_ACCOUNTS: Final = 20
_CODES: Final = SSL.X509VerificationCodes
_UNKNOWN_ISSUER: Final = {
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT,
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
    _CODES.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
    _CODES.ERR_SELF_SIGNED_CERT_IN_CHAIN,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """True if the certificate vouches for the domain.

    :ivar objection: why it does not, for logs and operators; empty if it does.  Printable, short.
    """

    objection: str = ""

    def __bool__(self) -> bool:
        return not self.objection


class TrustError(Exception):
    """A file that should hold trusted authorities cannot be used; the text names it and says why."""


class Trust:
    """The authorities whose word is taken.

    :param sources: PEM files, and `SYSTEM` for what the platform trusts.
    :raises TrustError: if a file cannot be used.
    """

    def __init__(self, sources: Iterable[Path | str] = (SYSTEM,)) -> None:
        self._sources = tuple(sources)
        self._context = self._load()
        self._system = False  # whether the platform's are in the context: they take a MiB

    def reload(self) -> None:
        """Read the files anew.

        :raises TrustError: if one cannot be used; what was trusted before still is.
        """
        self._context = self._load()
        self._system = False

    def objection(self, leaf: crypto.X509, others: Sequence[crypto.X509]) -> str:
        """Why no chain leads from the leaf to one of these authorities; empty if one does."""
        if SYSTEM in self._sources and not self._system:
            self._context.set_default_verify_paths()
            self._system = True
        store = self._context.get_cert_store()
        assert store is not None
        try:
            crypto.X509StoreContext(store, leaf, others).verify_certificate()
        except crypto.X509StoreContextError as error:
            return _chain_objection(error)
        return ""

    def _load(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)  # only a context can find the platform's authorities
        for source in self._sources:
            if source == SYSTEM:
                continue
            try:
                Path(source).open("rb").close()  # OpenSSL says of any reason that there is no such file
                context.load_verify_locations(str(source))
            except OSError as error:
                raise TrustError(f"{source}: {error.strerror}") from error
            except SSL.Error as error:
                raise TrustError(f"{source}: {openssl_reason(error)}") from error
        return context


def judge(chain: Sequence[bytes], domain: str, trust: Trust) -> Verdict:
    """Whether the peer with this chain (DER, leaf first: `Security.peer_chain`) speaks for the domain.

    The leaf must name it as DNS-ID or as SRV-ID ``_xmpp-server`` (RFC 6120 §13.7.1.2.1); either suffices.
    Takes a bounded time whatever the certificate holds.
    """
    if not chain:
        return Verdict("it sent no certificate")
    try:
        leaf, *others = (crypto.load_certificate(crypto.FILETYPE_ASN1, each) for each in chain)
        objection = trust.objection(leaf, others)
        certificate = leaf.to_cryptography()
        return Verdict(objection or _purpose_objection(certificate) or naming_objection(certificate, domain))
    except _MALFORMED as error:
        return Verdict(_malformed(error))


def named(chain: Sequence[bytes], domain: JID, trust: Trust) -> tuple[Sequence[JID], str]:
    """The accounts of our domain that a client's certificate names (XEP-0178 §2), and why there are none.

    They stand there as xmppAddr (RFC 6120 §13.7.1.4).  Other names, above all the common name, say nothing.

    :param chain: DER, leaf first: `Security.peer_chain`.
    """
    try:
        leaf, *others = (crypto.load_certificate(crypto.FILETYPE_ASN1, each) for each in chain)
        certificate = leaf.to_cryptography()
        objection = trust.objection(leaf, others) or _purpose_objection(certificate, _CLIENT_PURPOSES)
        if objection:
            return (), objection
        names = alternative_names(certificate)
        if len(names) > MOST_NAMES:
            return (), f"it has {len(names)} names"
        accounts = [each for each in map(_account, names) if each is not None and each.domain == domain]
    except _MALFORMED as error:
        return (), _malformed(error)
    if len(accounts) > _MOST_ACCOUNTS:
        return (), f"it names {len(accounts)} accounts"
    return accounts, "" if accounts else f"it names no account of {domain}"


def _account(name: x509.GeneralName) -> JID | None:
    """The bare JID in an xmppAddr, if that is what the name is."""
    if not isinstance(name, x509.OtherName) or name.type_id != XMPP_ADDR:
        return None
    try:
        jid = JID.parse(asn1.decode_der(str, name.value))
    except ValueError:  # it is no UTF8String, or no JID
        return None
    return jid if jid.localpart and jid.is_bare else None


def naming_objection(
    certificate: x509.Certificate, domain: str, services: Sequence[str] = (_SERVER_SERVICE,)
) -> str:
    """Why the certificate does not name the domain, as DNS-ID or as SRV-ID of a service; empty if it does."""
    try:
        name = a_labels(domain)
        identities: list[DNS_ID | SRV_ID] = [DNS_ID(name)]
        identities += [SRV_ID(f"{service}.{name}") for service in services]
    except ValueError:
        return f"certificates do not name {_printable(domain)}"
    try:
        count = len(alternative_names(certificate))
        if not 0 < count <= MOST_NAMES:
            return f"it has {count} names" if count else "it has no names (a common name is none)"
        patterns = extract_patterns(certificate)
    except (CertificateError, *_MALFORMED) as error:
        return _malformed(error)
    if any(_matches(patterns, identity) for identity in identities):
        return ""
    return f"it names only {_listed(patterns)}"


def alternative_names(certificate: x509.Certificate) -> Sequence[x509.GeneralName]:
    """Give the names in its subjectAltName; none without the extension.

    :raises ValueError: if they are malformed; cryptography has other errors for that, too.
    """
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


def _matches(patterns: Sequence[CertificatePattern], identity: DNS_ID | SRV_ID) -> bool:
    try:
        verify_service_identity(patterns, [identity], [])
    except (VerificationError, CertificateError):  # the second one: there are no patterns
        return False
    return True


def _purpose_objection(
    certificate: x509.Certificate, wanted: AbstractSet[x509.ObjectIdentifier] = frozenset(_PURPOSES)
) -> str:
    """RFC 5280 §4.2.1.12: without the extension a key may serve any purpose."""
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ""
    return "" if wanted & set(purposes) else "it is not for TLS servers or clients"


def _chain_objection(error: crypto.X509StoreContextError) -> str:
    code, depth, message = error.errors
    certificate = error.certificate.to_cryptography()
    issuer = _printable(certificate.issuer.rfc4514_string())
    which = "it" if depth == 0 else f"the authority {_printable(certificate.subject.rfc4514_string())}"
    if code == _CODES.ERR_CERT_HAS_EXPIRED:
        return f"{which} expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if code == _CODES.ERR_CERT_NOT_YET_VALID:
        return f"{which} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    if code == _CODES.ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return "it is signed by itself"
    if code in _UNKNOWN_ISSUER:
        return f"it was issued by an unknown authority ({issuer})"
    return f"{which} does not verify: {message}"


def _listed(patterns: Sequence[CertificatePattern], most: int = 5) -> str:
    more = f" and {len(patterns) - most} more" if len(patterns) > most else ""
    return ", ".join(_pattern_text(each) for each in patterns[:most]) + more


def _pattern_text(pattern: CertificatePattern) -> str:
    if isinstance(pattern, DNSPattern):
        return _printable(pattern.pattern.decode("utf-8"))
    if isinstance(pattern, SRVPattern):
        return _printable(f"_{pattern.name_pattern.decode()}.{pattern.dns_pattern.pattern.decode()}")
    return "something that is no domain"


def _printable(text: str, most: int = 100) -> str:
    """What a peer chose, fit for one line of a log."""
    shown = text if text.isascii() and text.isprintable() else ascii(text)
    return shown if len(shown) <= most else shown[:most] + "..."


def _malformed(error: Exception) -> str:
    why = openssl_reason(error) if isinstance(error, crypto.Error) else str(error)
    return f"it cannot be read: {_printable(why)}"
