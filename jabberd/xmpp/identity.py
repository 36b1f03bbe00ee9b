"""Who somebody is, how they prove it, and what protects the connection that they do it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.scram import ScramKeys

__all__ = ["Credentials", "Identity", "LoginPolicy", "Security", "UserAgent"]


@dataclass(frozen=True, slots=True)
class Security:
    """What is known of a connection's security: filled by ``streams/tls`` alone, read by anybody.

    :ivar version: ``TLSv1.3``, ``TLSv1.2``, or empty when the connection is not encrypted.
    :ivar bindings: channel-binding data by type (``tls-exporter``, ``tls-server-end-point``).
    :ivar peer_chain: the peer's certificates in DER, leaf first; empty if it sent none.
    """

    version: str = ""
    cipher: str = ""
    alpn: str = ""
    bindings: Mapping[str, bytes] = field(default_factory=dict)
    peer_chain: tuple[bytes, ...] = ()

    @property
    def encrypted(self) -> bool:
        """Whether TLS protects this connection."""
        return bool(self.version)


@dataclass(frozen=True, slots=True)
class UserAgent:
    """What a client says of itself when it logs in (XEP-0388 §2.3): for its own account's eyes alone.

    :ivar id: a UUID that stays the same for this installation; empty if it did not tell.
    """

    id: str = ""
    software: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client has proved to be.

    :ivar username: the localpart of its account.
    :ivar mechanism: of SASL, with which it did so.
    """

    username: str
    mechanism: str = ""
    agent: UserAgent = UserAgent()

    @property
    def anonymous(self) -> bool:
        """Whether it has no account, but one that ends with its session (XEP-0175)."""
        return self.mechanism == "ANONYMOUS"


class Credentials(Protocol):
    """What a SASL mechanism may ask about the accounts of one domain (``username`` is a localpart)."""

    async def keys(self, username: str, hash_name: str) -> ScramKeys:
        """The account's SCRAM keys for ``SHA-1``, ``SHA-256`` or ``SHA-512``.

        For an unknown or disabled account: keys with ``genuine=False`` and a salt that stays the same
        from call to call, after the same look-ups (RFC 5802 §9; abuse row B9).
        """

    async def check(self, username: str, password: str) -> bool:
        """Whether this is the password; costs the same for an unknown account."""


@dataclass(frozen=True, slots=True)
class LoginPolicy:
    """How a domain lets clients in.

    :ivar require_tls: nothing but STARTTLS is offered before the connection is encrypted.
    :ivar plain: offer SASL PLAIN on encrypted connections.
    :ivar anonymous: offer SASL ANONYMOUS (XEP-0175).
    :ivar hashes: for SCRAM, strongest first.
    :ivar downgrade_protection: SCRAM says what was offered (XEP-0474).
    :ivar named: the accounts that a certificate names, given its chain in DER, and why there are none;
        None: clients are not asked for certificates.
    """

    require_tls: bool = True
    plain: bool = True
    anonymous: bool = False
    hashes: tuple[str, ...] = ("SHA-512", "SHA-256", "SHA-1")
    downgrade_protection: bool = True
    named: Callable[[Sequence[bytes]], tuple[Sequence[JID], str]] | None = None
