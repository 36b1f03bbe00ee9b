"""SASL as XMPP uses it (RFC 6120 §6): the server's side of every mechanism, without input or output."""

from __future__ import annotations

import re
import secrets
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jabberd.xmpp.errors import SASLFailure
from jabberd.xmpp.jid import JID, InvalidJID, prepare_localpart
from jabberd.xmpp.scram import BASE64, HASHES, ScramExchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from jabberd.interfaces import Credentials, Security

__all__ = ["Challenge", "Mechanism", "Success", "authorized", "decode_base64", "mechanism", "offered"]

#: RFC 4505 §2: the most characters of a token, in octets of UTF-8.
_TRACE_OCTETS: Final = 1020


@dataclass(frozen=True, slots=True)
class Challenge:
    """The client is asked to go on.

    :ivar data: as it is before base64; may be empty.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class Success:
    """The peer is who it says.

    :ivar username: the prepared localpart, for ANONYMOUS a new one; for another server its domain.
    :ivar data: additional data with success, before base64; None if there is none.
    """

    username: str
    data: bytes | None
    mechanism: str


class Mechanism(ABC):
    """One run of a mechanism.  All of these are client-first (RFC 4422 §5).

    :ivar name: as offered, such as ``SCRAM-SHA-256-PLUS``.
    """

    name: str
    _begun = False
    _next: Callable[[bytes], Awaitable[Challenge | Success]] | None = None

    async def begin(self, initial: bytes | None) -> Challenge | Success:
        """Take ``<auth/>``: without an initial response the client is asked for it.

        :raises SASLFailure: the run is over; also by `respond`.
        """
        if self._begun:
            raise SASLFailure("malformed-request", "this run has begun already")
        self._begun, self._next = True, self._first
        return Challenge(b"") if initial is None else await self.respond(initial)

    async def respond(self, data: bytes) -> Challenge | Success:
        """Take ``<response/>``."""
        step, self._next = self._next, None
        if step is None:
            raise SASLFailure("malformed-request", "there was no challenge")
        return await step(data)

    @abstractmethod
    async def _first(self, data: bytes) -> Challenge | Success:
        """Judge the client's first message."""


class Scram(Mechanism):
    """SCRAM-* and SCRAM-*-PLUS: RFC 5802, RFC 7677, RFC 9266."""

    def __init__(self, name: str, exchange: ScramExchange, credentials: Credentials, domain: str) -> None:
        self.name = name
        self._hash_name = name.removeprefix("SCRAM-").removesuffix("-PLUS")
        self._exchange = exchange
        self._credentials = credentials
        self._domain = domain
        self._username = ""

    async def _first(self, data: bytes) -> Challenge:
        first = self._exchange.receive_first(data)
        self._username = authorized(first.username, first.authzid, self._domain)
        keys = await self._credentials.keys(self._username, self._hash_name)
        self._next = self._final
        return Challenge(self._exchange.challenge(keys))

    async def _final(self, data: bytes) -> Success:
        return Success(self._username, self._exchange.receive_final(data), self.name)


class Plain(Mechanism):
    """PLAIN: RFC 4616."""

    name = "PLAIN"

    def __init__(self, credentials: Credentials, domain: str) -> None:
        self._credentials = credentials
        self._domain = domain

    async def _first(self, data: bytes) -> Success:
        try:
            authzid, authcid, password = data.decode().split("\0")
        except ValueError:  # not UTF-8, or not two NULs
            raise SASLFailure("malformed-request") from None
        if not (authcid and password):
            raise SASLFailure("malformed-request")
        username = authorized(authcid, authzid, self._domain)
        if not await self._credentials.check(username, password):
            raise SASLFailure("not-authorized")
        return Success(username, None, self.name)


class Anonymous(Mechanism):
    """ANONYMOUS: RFC 4505, XEP-0175.  The trace information is not looked at."""

    name = "ANONYMOUS"

    async def _first(self, data: bytes) -> Success:
        if len(data) > _TRACE_OCTETS:
            raise SASLFailure("malformed-request")
        return Success(secrets.token_hex(8), None, self.name)


class External(Mechanism):
    """EXTERNAL with a certificate: RFC 4422 appendix A, XEP-0178.

    :param identities: what the certificate vouches for: bare JIDs, or the domain of the stream's ``from``.
    """

    name = "EXTERNAL"

    def __init__(self, identities: Iterable[JID]) -> None:
        self._identities = frozenset(identities)

    async def _first(self, data: bytes) -> Success:
        if not self._identities:
            raise SASLFailure("not-authorized")
        if not data and len(self._identities) == 1:
            (identity,) = self._identities
            return Success(identity.localpart or identity, None, self.name)
        try:
            authzid = JID.parse(data.decode())
        except ValueError:  # not UTF-8, not a JID, or empty where the certificate leaves a choice
            raise SASLFailure("invalid-authzid") from None
        if authzid not in self._identities:
            raise SASLFailure("invalid-authzid")
        return Success(authzid.localpart or authzid, None, self.name)


#: By hash function: every stream keeps what it offered, so there is one text for all streams.
_SCRAM: Final = {name: f"SCRAM-{name}" for name in HASHES}
_PLUS: Final = {name: f"SCRAM-{name}-PLUS" for name in HASHES}


def offered(
    security: Security,
    *,
    plain: bool = True,
    anonymous: bool = False,
    external: bool = False,
    hashes: Collection[str] = tuple(HASHES),
) -> tuple[str, ...]:
    """What to advertise on this stream, the strongest first.

    :param plain: offer PLAIN on an encrypted stream.
    :param external: the peer's certificate vouches for somebody.
    :param hashes: for SCRAM; -PLUS needs the connection's channel bindings.
    """
    names = ["EXTERNAL"] if external else []
    if security.bindings:
        names += [_PLUS[name] for name in HASHES if name in hashes]
    names += [_SCRAM[name] for name in HASHES if name in hashes]
    if plain and security.encrypted:
        names.append("PLAIN")
    if anonymous:
        names.append("ANONYMOUS")
    return tuple(names)


def mechanism(
    name: str,
    offered: Collection[str],
    *,
    security: Security,
    domain: str = "",
    credentials: Credentials | None = None,
    identities: Iterable[JID] = (),
    protected: bool = True,
) -> Mechanism:
    """Start the mechanism that the peer asked for.

    :param offered: what was advertised on this very stream.
    :param domain: where the accounts are; with ``credentials`` needed by SCRAM and PLAIN.
    :param identities: see `External`.
    :param protected: whether SCRAM says what was advertised (XEP-0474).
    :raises SASLFailure: ``invalid-mechanism`` for anything that was not offered here.
    """
    if name not in offered:
        raise SASLFailure("invalid-mechanism")
    if name == External.name:
        return External(identities)
    if name == Anonymous.name:
        return Anonymous()
    assert credentials is not None, "whoever offers passwords can check them"
    if name == Plain.name:
        return Plain(credentials, domain)
    exchange = ScramExchange(
        bindings=security.bindings,
        plus=name.endswith("-PLUS"),
        plus_offered=any(other.endswith("-PLUS") for other in offered),
        advertised=_advertised(offered, security.bindings) if protected else b"",
    )
    return Scram(name, exchange, credentials, domain)


def _advertised(mechanisms: Iterable[str], bindings: Iterable[str]) -> bytes:
    """What SCRAM protects against being taken away on its way to the client (XEP-0474 §5.1)."""
    lists = [sorted(mechanisms), sorted(bindings)]
    return "\x1f".join("\x1e".join(each) for each in lists if each).encode()


def decode_base64(text: str) -> bytes | None:
    """The data of ``<auth/>`` or ``<response/>``: None without text, empty for ``=`` (RFC 6120 §6.4.2).

    :raises SASLFailure: ``incorrect-encoding``.
    """
    if not text:
        return None
    if text == "=":
        return b""
    if not re.fullmatch(BASE64, text):
        raise SASLFailure("incorrect-encoding")
    data = b64decode(text)
    if b64encode(data).decode() != text:  # §13.9.1: what would be left of the last character is zero
        raise SASLFailure("incorrect-encoding")
    return data


def authorized(authcid: str, authzid: str, domain: str) -> str:
    """The account to act as, as a localpart: the authenticated one, and no other (RFC 6120 §6.3.8).

    :raises SASLFailure: ``not-authorized``, ``invalid-authzid``.
    """
    try:
        username = prepare_localpart(authcid)
    except InvalidJID:
        raise SASLFailure("not-authorized") from None
    if not authzid:
        return username
    try:
        same = JID.parse(authzid) == JID.of(username, domain)
    except InvalidJID:
        same = False
    if not same:
        raise SASLFailure("invalid-authzid")
    return username
