"""A folder of certificates, from which each hosted domain takes the one that names it.

Any layout will do: certificates and keys are told apart by what is in the files and belong together
by the public key, whether they are one file, ``montague.lit.crt`` beside ``montague.lit.key``, or
certbot's ``montague.lit/fullchain.pem`` beside ``privkey.pem``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

from jabberd.streams.tls import openssl_reason
from jabberd.streams.vouch import XMPP_ADDR, alternative_names, naming_objection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

__all__ = ["CertificateFolder", "NoCertificateError", "ServerCertificate"]

_SUFFIXES: Final = frozenset({".pem", ".crt", ".cer", ".key"})
_SHORT_FORM: Final = 0x7F  # the longest value whose length is one octet in DER
_MOST_TOLD: Final = 5
_LEAST_RSA: Final = 2048  # bits (RFC 9325 §4.5)
_LEAST_CURVE: Final = 224


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """What a server shows for a domain, and the key that proves it.

    :ivar chain: the intermediate authorities after the leaf, as they stand in the file.
    :ivar path: the file that the certificate was read from; ``key_path``: and the key.
    """

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes
    path: Path
    key_path: Path

    @property
    def expires(self) -> datetime:
        """When the leaf ends to be valid, in UTC."""
        return self.leaf.not_valid_after_utc


class NoCertificateError(Exception):
    """A hosted domain finds no certificate that it can use.

    :ivar found: what there was instead, one line for each file that comes near.
    """

    def __init__(self, folder: Path, domain: str, found: tuple[str, ...]) -> None:
        why = "; ".join(found) or "there is no certificate at all"
        super().__init__(f"{folder}: no certificate for {domain}: {why}")
        self.folder = folder
        self.domain = domain
        self.found = found


@dataclass(frozen=True, slots=True)
class _Found:
    """A certificate file: its leaf and chain, and the key beside it if one fits."""

    path: Path
    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: tuple[PrivateKeyTypes, Path] | None


class CertificateFolder:
    """The certificates in a folder and in the folders directly below it, read once, when this is made.

    To notice new files make another.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.folder = folder
        self._now = now
        self._problems: list[str] = []
        self._found = list(self._scan())

    def choose(self, domain: str) -> ServerCertificate:
        """Give the certificate that names the domain: of several the one that expires last.

        It names it as dNSName (also by a wildcard for the left-most label), as SRVName or as xmppAddr,
        never as common name (RFC 6120 §13.7.1.2.1).

        :raises NoCertificateError: if none does, or all that do have expired or have no key.
        """
        named = [each for each in self._found if not _naming_objection(each.leaf, domain)]
        usable = [each for each in named if not self._objection(each)]
        if not usable:
            raise NoCertificateError(self.folder, domain, tuple(self._explain(domain, named)))
        best = max(usable, key=lambda each: (each.leaf.not_valid_after_utc, len(each.chain)))
        assert best.key is not None
        return ServerCertificate(best.leaf, best.chain, best.key[0], best.path, best.key[1])

    def _objection(self, found: _Found) -> str:
        if found.leaf.not_valid_after_utc < self._now():
            return f"it expired on {found.leaf.not_valid_after_utc:%Y-%m-%d}"
        if found.leaf.not_valid_before_utc > self._now():
            return f"it is not valid before {found.leaf.not_valid_before_utc:%Y-%m-%d}"
        weak = _weakness(found.leaf)
        if weak:
            return weak
        return _refusal(found.leaf) if found.key else "no private key that fits it stands beside it"

    def _explain(self, domain: str, named: list[_Found]) -> Iterator[str]:
        for each in named:
            yield f"{self._short(each.path)}: {self._objection(each)}"
        for each in () if named else self._found[:_MOST_TOLD]:
            yield f"{self._short(each.path)}: {_naming_objection(each.leaf, domain)}"
        yield from self._problems[:_MOST_TOLD]

    def _scan(self) -> Iterator[_Found]:
        for folder in (self.folder, *sorted(self.folder.glob("*/"))):
            files = dict(self._read(folder))
            keys = dict(self._keys(files))
            for path, data in files.items():
                if b"-----BEGIN CERTIFICATE-----" in data:
                    yield from self._certificates(path, data, keys)

    def _read(self, folder: Path) -> Iterator[tuple[Path, bytes]]:
        try:
            paths = sorted(folder.iterdir())
        except OSError as error:
            self._problems.append(f"{folder}: {error.strerror}")
            return
        for path in paths:
            try:
                if path.suffix in _SUFFIXES and path.is_file():
                    yield path, path.read_bytes()
            except OSError as error:
                self._problems.append(f"{self._short(path)}: {error.strerror}")

    def _keys(self, files: dict[Path, bytes]) -> Iterator[tuple[bytes, tuple[PrivateKeyTypes, Path]]]:
        """The private keys of one folder and their files, by their public keys."""
        for path, data in files.items():
            if b" PRIVATE KEY-----" not in data:
                continue
            try:
                key = serialization.load_pem_private_key(data, password=None)
                yield _der(key.public_key()), (key, path)
            except TypeError:
                self._problems.append(f"{self._short(path)}: the key is encrypted, and nobody can be asked")
            except (ValueError, UnsupportedAlgorithm):
                self._problems.append(f"{self._short(path)}: the key cannot be read")

    def _certificates(
        self, path: Path, data: bytes, keys: dict[bytes, tuple[PrivateKeyTypes, Path]]
    ) -> Iterator[_Found]:
        try:
            leaf, *chain = x509.load_pem_x509_certificates(data)
            yield _Found(path, leaf, tuple(chain), keys.get(_der(leaf.public_key())))
        except (ValueError, UnsupportedAlgorithm):
            self._problems.append(f"{self._short(path)}: the certificate cannot be read")

    def _short(self, path: Path) -> str:
        return str(path.relative_to(self.folder))


def _weakness(leaf: x509.Certificate) -> str:
    """Why nobody should show it (RFC 9325 §4.5); empty if it is strong enough."""
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA:
        return f"its RSA key has {key.key_size} bits; {_LEAST_RSA} are the least"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < _LEAST_CURVE:
        return f"its key is on a curve of {key.key_size} bits; {_LEAST_CURVE} are the least"
    try:
        weak = isinstance(leaf.signature_hash_algorithm, hashes.SHA1 | hashes.MD5)
    except UnsupportedAlgorithm:
        weak = False
    return "it is signed with SHA-1 or MD5, which nobody trusts any more" if weak else ""


def _refusal(leaf: x509.Certificate) -> str:
    """What OpenSSL has against showing it, such as a key of a weak kind; empty if nothing."""
    try:
        SSL.Context(SSL.TLS_METHOD).use_certificate(leaf)
    except SSL.Error as error:
        return f"TLS refuses it: {openssl_reason(error)}"
    return ""


def _naming_objection(leaf: x509.Certificate, domain: str) -> str:
    objection = naming_objection(leaf, domain, ("_xmpp-client", "_xmpp-server"))
    return "" if objection and _has_address(leaf, domain) else objection


def _has_address(leaf: x509.Certificate, domain: str) -> bool:
    """Whether the domain stands there as XmppAddr, a UTF8String (RFC 6120 §13.7.1.4)."""
    text = domain.encode()
    address = bytes((0x0C, len(text))) + text if len(text) <= _SHORT_FORM else b""
    return any(
        isinstance(name, x509.OtherName) and (name.type_id, name.value) == (XMPP_ADDR, address)
        for name in alternative_names(leaf)
    )


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
