"""SCRAM (RFC 5802, RFC 7677): what is stored instead of a password, and the server's side of the exchange."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from jabberd.xmpp.errors import SASLFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BASE64",
    "HASHES",
    "ITERATIONS",
    "MINIMUM_ITERATIONS",
    "ClientFirst",
    "InvalidPassword",
    "ScramExchange",
    "ScramKeys",
    "derive",
    "prepare_password",
    "stand_in",
    "verify_password",
]

#: The hash functions, strongest first, by the name they have in a mechanism's name.
HASHES: Final = {"SHA-512": "sha512", "SHA-256": "sha256", "SHA-1": "sha1"}
#: For new keys: about 3 ms of one core.
ITERATIONS: Final = 10_000
#: RFC 7677 §4.
MINIMUM_ITERATIONS: Final = 4096
_SALT_OCTETS: Final = 16
_ASCII: Final = re.compile(r"[ -~]+")  # OpaqueString leaves it as it is


class InvalidPassword(ValueError):  # noqa: N818  # reads like InvalidJID
    """The text cannot be a password: it is empty, or has a character that OpaqueString refuses."""


if TYPE_CHECKING:
    Octets = bytes
else:

    class Octets(bytes):
        """Octets that are kept as base64, of either alphabet (RFC 4648 §4 and §5): which says their class."""

        __slots__ = ()


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps of a password for one hash function (RFC 5802 §3).

    :ivar hash_name: a key of `HASHES`.
    :ivar genuine: False for those of `stand_in`, with which nobody can log in.
    """

    hash_name: str
    salt: Octets = field(repr=False)
    iterations: int
    stored_key: Octets = field(repr=False)
    server_key: Octets = field(repr=False)
    genuine: bool = True


def prepare_password(text: str) -> str:
    """Enforce OpaqueString (RFC 8265 §4.2).

    :raises InvalidPassword: if the text cannot be a password; the message does not repeat it.
    """
    if _ASCII.fullmatch(text):
        return text
    from jabberd.xmpp.precis import opaque_string  # noqa: PLC0415 - its tables take half a MiB

    try:
        prepared = opaque_string(text)
        prepared.encode()
    except ValueError:
        raise InvalidPassword("a password is not empty and has no control characters") from None
    return prepared


def derive(
    password: str, hash_name: str, salt: bytes | None = None, iterations: int = ITERATIONS
) -> ScramKeys:
    """Make the keys of a password: milliseconds of CPU, so in a thread.

    :param salt: random unless given.
    :raises InvalidPassword: if the text cannot be a password.
    :raises ValueError: if there are fewer iterations than `MINIMUM_ITERATIONS`.
    """
    if iterations < MINIMUM_ITERATIONS:
        raise ValueError(f"SCRAM asks for at least {MINIMUM_ITERATIONS} iterations, not {iterations}")
    digest = HASHES[hash_name]
    salt = salt or secrets.token_bytes(_SALT_OCTETS)
    salted = hashlib.pbkdf2_hmac(digest, prepare_password(password).encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", digest)
    server_key = hmac.digest(salted, b"Server Key", digest)
    return ScramKeys(hash_name, salt, iterations, hashlib.new(digest, client_key).digest(), server_key)


def verify_password(keys: ScramKeys, password: str) -> bool:
    """Whether the keys are those of this password: as costly as `derive`, also where they are a stand-in."""
    try:
        derived = derive(password, keys.hash_name, keys.salt, keys.iterations)
    except InvalidPassword:
        return False
    return hmac.compare_digest(derived.stored_key, keys.stored_key) and keys.genuine


def stand_in(secret: bytes, username: str, hash_name: str, iterations: int = ITERATIONS) -> ScramKeys:
    """Keys for an account that there is not: the same from call to call, and nobody's (RFC 5802 §9).

    Without them a different answer would tell a stranger which accounts exist.

    :param secret: known to this server alone and kept over restarts.
    """
    digest = HASHES[hash_name]
    salt, stored_key, server_key = (
        hmac.digest(secret, f"{use}\0{hash_name}\0{username}".encode(), digest)
        for use in ("salt", "stored key", "server key")
    )
    return ScramKeys(hash_name, salt[:_SALT_OCTETS], iterations, stored_key, server_key, genuine=False)


# --- the exchange (RFC 5802 §5, §7) ---------------------------------------------------------------

#: A pattern for base64 with its padding and nothing else (RFC 4648 §4); also matches nothing at all.
BASE64: Final = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_SASLNAME: Final = r"(?:[^\0,=]|=2C|=3D)+"
_NONCE: Final = r"r=(?P<nonce>[!-+\--~]+)"
_EXTENSIONS: Final = r"(?:,[A-Za-ln-z]=[^\0,]+)*"  # without m=, which must make it fail
_FIRST: Final = re.compile(
    rf"(?P<gs2>(?P<flag>n|y|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>{_SASLNAME}))?,)"
    rf"(?P<bare>n=(?P<username>{_SASLNAME}),{_NONCE}{_EXTENSIONS})"
)
_FINAL: Final = re.compile(rf"(?P<bare>c=(?P<channel>{BASE64}),{_NONCE}{_EXTENSIONS}),p=(?P<proof>{BASE64})")


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """What a client-first-message says of who is there, as sent: neither prepared nor believed yet."""

    username: str
    authzid: str  #: empty if absent


class ScramExchange:
    """The server's side of one exchange: `receive_first`, `challenge`, `receive_final`, each once.

    :param bindings: the connection's channel-binding data by type.
    :param plus: whether this is a -PLUS mechanism.
    :param plus_offered: whether the client could have taken a -PLUS mechanism.
    :param advertised: what the client must have been offered, as XEP-0474 writes it; empty: nothing is said
        of that.
    :param nonce: the server's part of the nonce; random unless given.
    """

    def __init__(
        self,
        *,
        bindings: Mapping[str, bytes],
        plus: bool,
        plus_offered: bool,
        advertised: bytes = b"",
        nonce: str | None = None,
    ) -> None:
        self._bindings = bindings
        self._plus = plus
        self._plus_offered = plus_offered
        self._advertised = advertised
        self._nonce = nonce or secrets.token_urlsafe(18)
        self._keys: ScramKeys | None = None

    def receive_first(self, data: bytes) -> ClientFirst:
        """Read the client-first-message.

        :raises SASLFailure: ``malformed-request``; ``not-authorized`` for a channel binding that we do
            not have and for a downgrade (§6).
        """
        parts = _match(_FIRST, data)
        self._channel = b64encode(parts["gs2"].encode() + self._binding_data(parts)).decode()
        self._nonce = parts["nonce"] + self._nonce
        self._first_bare = parts["bare"]
        return ClientFirst(_unescape(parts["username"]), _unescape(parts["authzid"] or ""))

    def _binding_data(self, parts: re.Match[str]) -> bytes:
        """What the client must have bound to, empty if to nothing (§6)."""
        if self._plus:
            data = self._bindings.get(parts["binding"] or "")
            if not data:
                raise SASLFailure("not-authorized", "this channel binding is not available")
            return data
        if parts["flag"] == "y" and self._plus_offered:
            raise SASLFailure("not-authorized", "somebody removed the -PLUS mechanisms on the way")
        if parts["binding"]:
            raise SASLFailure("not-authorized", "channel binding needs a -PLUS mechanism")
        return b""

    def challenge(self, keys: ScramKeys) -> bytes:
        """Say the server-first-message."""
        self._keys = keys
        salt = b64encode(keys.salt).decode()
        self._server_first = f"r={self._nonce},s={salt},i={keys.iterations}"
        if self._advertised:
            digest = hashlib.new(HASHES[keys.hash_name], self._advertised).digest()
            self._server_first += f",h={b64encode(digest).decode()}"
        return self._server_first.encode()

    def receive_final(self, data: bytes) -> bytes:
        """Judge the client-final-message and give the server-final-message.

        :raises SASLFailure: ``malformed-request`` or ``not-authorized``.
        """
        keys, self._keys = self._keys, None
        if keys is None:
            raise SASLFailure("malformed-request")
        parts = _match(_FINAL, data)
        message = f"{self._first_bare},{self._server_first},{parts['bare']}".encode()
        agreed = hmac.compare_digest(
            f"{parts['channel']},{parts['nonce']}".encode(), f"{self._channel},{self._nonce}".encode()
        )
        proved = _proves(keys, message, parts["proof"])
        if not (agreed and proved and keys.genuine):
            raise SASLFailure("not-authorized")
        return b"v=" + b64encode(hmac.digest(keys.server_key, message, HASHES[keys.hash_name]))


def _match(grammar: re.Pattern[str], data: bytes) -> re.Match[str]:
    try:
        parts = grammar.fullmatch(data.decode())
    except UnicodeDecodeError:
        parts = None
    if parts is None:
        raise SASLFailure("malformed-request")
    return parts


def _unescape(saslname: str) -> str:
    return saslname.replace("=2C", ",").replace("=3D", "=")


def _proves(keys: ScramKeys, message: bytes, proof: str) -> bool:
    """Whether the proof could only be made by somebody who knows the password (RFC 5802 §3)."""
    digest = HASHES[keys.hash_name]
    signature = hmac.digest(keys.stored_key, message, digest)
    masked = b64decode(proof)
    if len(masked) != len(signature):
        return False
    unmasked = int.from_bytes(masked, "big") ^ int.from_bytes(signature, "big")
    client_key = unmasked.to_bytes(len(masked), "big")
    return hmac.compare_digest(hashlib.new(digest, client_key).digest(), keys.stored_key)
