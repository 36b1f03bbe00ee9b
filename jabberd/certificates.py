"""A development certificate authority: certificates for trials and tests, never for the public network.

ECDSA on P-256 throughout: the cheapest handshake that every client knows.  `development_certificates`
fills a folder for the demo; tests build odd certificates with `issue`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
XMPP_ADDR = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")  # id-on-xmppAddr, RFC 6120 §13.7.1.4
SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")  # id-on-dnsSRV, RFC 4985 §2

_LONGEST_COMMON_NAME = 64  # ub-common-name, RFC 5280 appendix A.1
_LIFETIME = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its private key.

    :ivar chain: the intermediate authorities that a peer needs beside its trusted root, nearest first.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def certificate_pem(self) -> bytes:
        """The certificate and then its chain, as servers expect them in one file."""
        pem = serialization.Encoding.PEM
        return b"".join(each.public_bytes(pem) for each in (self.certificate, *self.chain))

    def key_pem(self) -> bytes:
        """The private key, not encrypted (PKCS #8)."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, folder: Path, name: str) -> Path:
        """Write ``NAME.crt`` and, readable by the owner only, ``NAME.key``; returns the first's path."""
        folder.mkdir(parents=True, exist_ok=True)
        key = folder / f"{name}.key"
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem())
        certificate = folder / f"{name}.crt"
        certificate.write_bytes(self.certificate_pem())
        return certificate


def make_ca(folder: Path | None = None, name: str = "jabberd development CA") -> Issued:
    """Make a root; with a ``folder``: keep it there as ``ca.crt`` and ``ca.key``, or take the one kept."""
    kept = folder and _read(folder, "ca")
    if kept:
        return kept
    ca = issue(None, name, authority=True, eku=())
    if folder:
        ca.write(folder, "ca")
    return ca


def issue(
    ca: Issued | None,
    *names: str,
    eku: Sequence[x509.ObjectIdentifier] = (SERVER_AUTH,),
    dns: bool = True,
    srv: bool = True,
    accounts: Sequence[str] = (),
    authority: bool = False,
    expired: bool = False,
) -> Issued:
    """Make a certificate for those domains (A-labels; the first is its common name too).

    :param ca: who signs it; None: it signs itself.
    :param eku: its purposes; empty: the extension is left out.
    :param dns: whether it has the names as dNSName.
    :param srv: whether it has them as SRVName, ``_xmpp-server`` and ``_xmpp-client`` (RFC 6120 §13.7.1.2.1).
    :param accounts: bare JIDs that it has as xmppAddr, for a client (RFC 6120 §13.7.1.4).
    :param authority: an authority (an intermediate one if there is a ``ca``), which names no domain.
    :param expired: it was valid until yesterday.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_LONGEST_COMMON_NAME])])
    end = datetime.now(UTC) + (timedelta(days=-1) if expired else _LIFETIME)
    signer = ca.key if ca else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.certificate.subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - _LIFETIME - timedelta(days=2))
        .not_valid_after(end)
    )
    alternatives = [] if authority else _alternatives(names, accounts, dns=dns, srv=srv)
    for extension, critical in _extensions(key, signer, eku, alternatives, authority=authority):
        builder = builder.add_extension(extension, critical=critical)
    above = (ca.certificate, *ca.chain) if ca and ca.certificate.issuer != ca.certificate.subject else ()
    return Issued(builder.sign(signer, hashes.SHA256()), key, above)


def development_certificates(folder: Path, domains: Iterable[str]) -> None:
    """See that the folder has an authority (``ca.crt``) and a certificate for each domain.

    What is there and valid for another week stays: clients that were told to trust it go on.
    """
    ca = make_ca(folder)
    for domain in domains:
        kept = _read(folder, domain)
        if kept is None or not _signed_by(ca, kept):
            issue(ca, domain).write(folder, domain)


def _signed_by(ca: Issued, kept: Issued) -> bool:
    try:
        kept.certificate.verify_directly_issued_by(ca.certificate)
    except (InvalidSignature, ValueError):
        return False
    return True


def _read(folder: Path, name: str) -> Issued | None:
    """What `Issued.write` wrote, unless it is missing or about to expire."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if not (certificate.exists() and key.exists()):
        return None
    leaf, *chain = x509.load_pem_x509_certificates(certificate.read_bytes())
    private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    if leaf.not_valid_after_utc < datetime.now(UTC) + _RENEW_BEFORE:
        return None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{key} was not made by jabberd: take it away")
    return Issued(leaf, private, tuple(chain))


def _alternatives(
    names: Sequence[str], accounts: Sequence[str], *, dns: bool, srv: bool
) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = [x509.DNSName(name) for name in names if dns]
    services = ("_xmpp-server", "_xmpp-client") if srv else ()
    found += [x509.OtherName(SRV_NAME, _ia5(f"{s}.{name}")) for name in names for s in services]
    found += [x509.OtherName(XMPP_ADDR, asn1.encode_der(each)) for each in accounts]
    return found


def _ia5(text: str) -> bytes:
    """The DER encoding of a short IA5String."""
    value = text.encode("ascii")
    if len(value) >= 0x80:  # where DER's long form of the length begins
        raise ValueError(f"too long for a development certificate: {text}")
    return bytes((0x16, len(value))) + value


def _extensions(
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    eku: Sequence[x509.ObjectIdentifier],
    alternatives: Sequence[x509.GeneralName],
    *,
    authority: bool,
) -> Iterable[tuple[x509.ExtensionType, bool]]:
    """What RFC 5280 §4.2.1 asks for, each with whether it is critical (Python 3.13 checks strictly)."""
    yield x509.BasicConstraints(ca=authority, path_length=None), True
    yield (
        x509.KeyUsage(
            digital_signature=not authority,
            key_cert_sign=authority,
            crl_sign=authority,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        ),
        True,
    )
    yield x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
    yield x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
    if eku:
        yield x509.ExtendedKeyUsage(eku), False
    if alternatives:
        yield x509.SubjectAlternativeName(alternatives), False
