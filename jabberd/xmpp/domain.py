"""Domainparts as the rest of the Internet writes them: A-labels for DNS, TLS and certificates."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import idna

__all__ = ["a_labels", "ip_literal", "origin"]


def ip_literal(domainpart: str) -> IPv4Address | IPv6Address | None:
    """The address that a domainpart is, if it is one: ``192.0.2.1`` or ``[2001:db8::1]`` (RFC 7622 §3.2)."""
    try:
        return ip_address(domainpart.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


@lru_cache(maxsize=1024)  # every handshake asks
def a_labels(domainpart: str) -> str:
    """The name in lower-case ASCII, as DNS and certificates have it (RFC 5890 §2.3.2.1); no trailing dot.

    :raises ValueError: if DNS could not hold it, or it is an IP address.
    """
    if ip_literal(domainpart):
        raise ValueError(f"{domainpart} is an address, not a name")
    if domainpart.isascii():
        return domainpart.rstrip(".").lower()
    return idna.encode(domainpart.rstrip(".")).decode("ascii").lower()


def origin(text: str) -> str:
    """An origin over HTTPS (RFC 6454 §6.2): a host, and a port if it is not 443; nothing stays nothing.

    :raises ValueError: it is anything else; with what to do.
    """
    said = 'is no place for pages; write it like "https://example.org" or "https://example.org:5443"'
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        written = f"[{host}]" if ":" in host else host
        whole = f"https://{written}" + (f":{parts.port}" if parts.port is not None else "")
    except ValueError:
        raise ValueError(said) from None
    if text and (not host or whole != text):
        raise ValueError(said)
    return text
