"""DNS in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.names import dns
from twisted.names.authority import FileAuthority

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Zone(FileAuthority):
    """The whole of DNS: what is not in it does not exist."""

    soa: Any
    records: Any

    def __init__(self, records: Mapping[str, Sequence[Any]]) -> None:
        super().__init__(records)  # type: ignore[no-untyped-call]  # Twisted has no types for it

    def loadFile(self, filename: Mapping[str, Sequence[Any]]) -> None:
        self.soa = (b"", dns.Record_SOA(b"ns.lit"))
        self.records = {name.encode(): list(found) for name, found in filename.items() if found}


def srv(target: str, port: int = 5269, priority: int = 0, weight: int = 0) -> dns.Record_SRV:
    name = target.encode("latin-1").rstrip(b".")  # the root, "." in zone files, is an empty name
    return dns.Record_SRV(priority, weight, port, name)
