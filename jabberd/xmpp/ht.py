"""HT: tokens instead of passwords (draft-schmaus-kitten-sasl-ht-09), the server's side."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from jabberd.xmpp.errors import SASLFailure
from jabberd.xmpp.sasl import Mechanism, Success, authorized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

__all__ = ["BINDINGS", "HashedToken", "TokenKeys", "made", "offered"]

#: Each mechanism with the channel binding that it needs, the strongest first.  There is no ``-UNIQ``:
#: tls-unique is for TLS 1.2 alone, and the others are there, too.
BINDINGS: Final = {
    "HT-SHA-256-EXPR": "tls-exporter",
    "HT-SHA-256-ENDP": "tls-server-end-point",
    "HT-SHA-256-NONE": "",
}
_OCTETS: Final = 66  # more than a block of SHA-256: HMAC hashes such keys first (RFC 2104 §2)
_SALT_OCTETS: Final = 16


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """What is kept of a token, from which the token cannot be told.

    Without channel binding what a client sends is always the same, so that its hash is enough.  With it
    HMAC needs a key, the token's hash, with which one could log in: it is sealed with something that the
    client sends with each login and that is not kept.

    :ivar verifier: the hash of the client's message; or of the token, sealed.
    :ivar other: the server's message where it is always the same; or the salt of the seal.
    """

    mechanism: str
    verifier: bytes = field(repr=False)
    other: bytes = field(repr=False)

    def answer(self, proof: bytes, binding: bytes, seal: bytes) -> bytes | None:
        """The server's message to a client that has proved to have the token; None to others."""
        if not BINDINGS[self.mechanism]:
            return self.other if hmac.compare_digest(_hash(proof), self.verifier) else None
        key = _sealed(self.verifier, self.other, seal)
        if not hmac.compare_digest(proof, _mac(key, b"Initiator" + binding)):
            return None
        return _mac(key, b"Responder" + binding)


def made(mechanism: str, seal: bytes) -> tuple[str, TokenKeys]:
    """A new token for one of `BINDINGS`, and what is kept of it.

    :param seal: what the client sends with each login: at least 16 octets that nobody can guess.
    """
    token = secrets.token_urlsafe(_OCTETS)
    key = token.encode()
    if BINDINGS[mechanism]:
        salt = secrets.token_bytes(_SALT_OCTETS)
        return token, TokenKeys(mechanism, _sealed(_hash(key), salt, seal), salt)
    return token, TokenKeys(mechanism, _hash(_mac(key, b"Initiator")), _mac(key, b"Responder"))


def offered(bindings: Collection[str]) -> list[str]:
    """The mechanisms for a connection with these channel bindings."""
    return [name for name, binding in BINDINGS.items() if not binding or binding in bindings]


class HashedToken(Mechanism):
    """One run of HT.

    :param bindings: the connection's channel-binding data by type.
    :param check: given the localpart, the client's proof and the binding's data: the server's message.
        Raises `SASLFailure` if there is no such token.
    """

    def __init__(
        self,
        name: str,
        domain: str,
        bindings: Mapping[str, bytes],
        check: Callable[[str, bytes, bytes], Awaitable[bytes]],
    ) -> None:
        self.name = name
        self._domain = domain
        self._binding = bindings.get(BINDINGS[name], b"")
        self._check = check

    async def _first(self, data: bytes) -> Success:
        authcid, separator, proof = data.partition(b"\0")
        try:
            name = authcid.decode()
        except UnicodeDecodeError:
            raise SASLFailure("malformed-request") from None
        if not (separator and name):
            raise SASLFailure("malformed-request")
        username = authorized(name, "", self._domain)
        return Success(username, await self._check(username, proof, self._binding), self.name)


def _sealed(key: bytes, salt: bytes, seal: bytes) -> bytes:
    """A key made unreadable, or readable again: each salt is used once."""
    return bytes(a ^ b for a, b in zip(key, _mac(seal, salt), strict=True))


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")
