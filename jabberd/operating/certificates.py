"""What stands in the certificates that a server shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from jabberd.streams.vouch import alternative_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jabberd.streams.certfiles import ServerCertificate

__all__ = ["listed"]


def listed(table: Mapping[str, ServerCertificate], now: datetime) -> list[dict[str, object]]:
    """A row for each domain's certificate, those that expire first ahead."""
    return [
        {
            "domain": domain,
            "days": (each.expires - now).days,
            "expires": f"{each.expires:%Y-%m-%d}",
            "names": ", ".join(_names(each.leaf)),
            "file": str(each.path),
        }
        for domain, each in sorted(table.items(), key=lambda pair: (pair[1].expires, pair[0]))
    ]


def _names(leaf: x509.Certificate) -> list[str]:
    """Those that are domains; SRVNames repeat them."""
    return [str(name.value) for name in alternative_names(leaf) if isinstance(name, x509.DNSName)]
