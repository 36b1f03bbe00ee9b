"""Single values that may stand in a configuration file: how long, how much, how often, where, whose."""

from __future__ import annotations

import ipaddress
import re
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from msgspec import Meta

from jabberd import rates
from jabberd.typed import Mistake, beside, checked, reads
from jabberd.xmpp.domain import origin
from jabberd.xmpp.jid import JID, InvalidJID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "IP",
    "AccountName",
    "Address",
    "Authority",
    "Count",
    "DomainName",
    "Duration",
    "FilePath",
    "HostAndPort",
    "IPNetwork",
    "Level",
    "Port",
    "PublicURL",
    "Rate",
    "Scram",
    "Size",
    "Socket",
    "StorageURL",
    "Switch",
    "TimeKept",
]


def _measure(
    units: Mapping[str, float], wrong: str, most: float = inf, beyond: str = ""
) -> Callable[[object, Path | None], object]:
    """Read ``"8 KiB"`` where it comes from a file; a program gives the number itself.

    :param wrong: said of what is none; ``beyond``: of what is more than the ``most``.
    """
    form = re.compile(rf"([1-9][0-9]{{0,8}}) ?({'|'.join(units)})")

    def measure(value: object, folder: Path | None) -> object:
        if folder is None and isinstance(value, int | float) and value > 0:
            return value
        found = form.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise Mistake(wrong)
        value = int(found[1]) * units[found[2]]
        if value > most:
            raise Mistake(beyond)
        return value

    return measure


_SECONDS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}
_CENTURY = 36500 * 86400  # so that every moment that is reckoned has a year of four digits

#: Seconds; in a file a text like ``"500 ms"``, ``"60 s"``, ``"5 min"``, ``"2 h"`` or ``"7 d"``.
Duration = Annotated[
    float,
    reads(
        _measure(
            _SECONDS,
            'is not a duration; write it like "500 ms", "60 s", "5 min" or "7 d"',
            _CENTURY,
            'is too long; use "36500 d" or less',
        )
    ),
]

_NEVER_OR_ALWAYS = {"off": 0.0, "forever": inf}
_time = _measure(
    _SECONDS,
    'is not how long; write it like "60 d", or "off" or "forever"',
    _CENTURY,
    'is too long; use "36500 d" or less, or "forever"',
)


def _time_kept(value: object, folder: Path | None) -> object:
    if isinstance(value, str) and value in _NEVER_OR_ALWAYS:
        return _NEVER_OR_ALWAYS[value]
    return value if folder is None and value == 0 else _time(value, folder)


#: A `Duration`, or ``"off"`` (0), or ``"forever"`` (infinite).
TimeKept = Annotated[float, reads(_time_kept)]

#: Bytes; in a file a text like ``"100 B"``, ``"8 KiB"``, ``"2 MiB"`` or ``"1 GiB"``.
Size = Annotated[
    int,
    reads(
        _measure(
            {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30},
            'is not a size; write it like "100 B", "8 KiB" or "2 MiB"',
        )
    ),
]

_RATE = re.compile(r"([1-9][0-9]{0,8}) per (?:([1-9][0-9]{0,4}) )?(s|min|h|d)")


def _rate(value: object, _: Path | None) -> rates.Rate:
    if isinstance(value, rates.Rate):
        return value
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise Mistake('is not a rate; write it like "60 per min" or "10 per 5 min"')
    return rates.Rate(int(found[1]), int(found[2] or 1) * _SECONDS[found[3]])


#: So many in so long; in a file a text like ``"60 per min"`` or ``"10 per 5 min"``.
Rate = Annotated[rates.Rate, reads(_rate)]

#: A path; in a file it starts from the folder that the file is in.
FilePath = Path


class Address(NamedTuple):
    """An IP address and a port; in a file ``"127.0.0.1:5369"`` or ``"[::1]:5369"``."""

    host: str
    port: int


def _address(value: object, _: Path | None) -> Address:
    if isinstance(value, Address):
        return value
    host, _colon, port = str(value).rpartition(":")
    try:
        return Address(_ip(host.removeprefix("[").removesuffix("]")), int(port))
    except ValueError:
        raise Mistake('is not an address; write it like "127.0.0.1:5369" or "[::1]:5369"') from None


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Mistake('is not an IP address; write it like "127.0.0.1" or "::"') from None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise Mistake('is no address or network; write it like "192.0.2.1" or "2001:db8::/32"') from None


def _authority(value: object, folder: Path | None) -> str:
    if not isinstance(value, str):
        raise Mistake('is not a text; name a PEM file or "system"')
    return value if value == "system" else str(beside(Path(value), folder))


def _domain(text: object, _: Path | None) -> JID:
    try:
        jid = JID.parse(str(text))
    except InvalidJID as error:
        raise Mistake(f"is not a domain; {error}") from None
    if jid != text or jid != jid.domain:
        raise Mistake(f'is not a domain as it is spelt in addresses; write "{jid.domain}"')
    return jid


def _account(text: object, _: Path | None) -> JID:
    try:
        jid = JID.parse(str(text))
    except InvalidJID as error:
        raise Mistake(f"is not an address; {error}") from None
    if not jid.localpart or jid.resourcepart:
        raise Mistake('is not an account; write it like "romeo@montague.lit"')
    return jid


def _storage(url: object, folder: Path | None) -> str:
    if isinstance(url, str):
        if url == "memory" or url.startswith("postgresql://"):
            return url
        path = url.removeprefix("sqlite:").removeprefix("///")
        if url.startswith("sqlite:") and path:
            return f"sqlite:///{beside(Path(path), folder)}"
    raise Mistake('is not a storage; use "memory", "sqlite:FILE" or "postgresql://USER@HOST/NAME"')


def _socket(path: Path) -> Path:
    if len(bytes(path)) > 100:  # sun_path has 108 bytes, and Twisted's lock file has a longer name
        raise Mistake("is too long for a Unix socket; choose one of at most 100 bytes")
    return path


def _switch(value: object, _: Path | None) -> object:
    """A module's table switches it on."""
    return True if isinstance(value, dict) else value


StorageURL = Annotated[str, reads(_storage)]
#: Whether a module is wanted.
Switch = Annotated[bool, reads(_switch)]
IP = Annotated[str, checked(_ip)]
IPNetwork = Annotated[str, checked(_network)]
HostAndPort = Annotated[Address, reads(_address)]
#: ``system``, or the path of a PEM file.
Authority = Annotated[str, reads(_authority)]
DomainName = Annotated[JID, reads(_domain)]
AccountName = Annotated[JID, reads(_account)]
PublicURL = Annotated[str, checked(origin)]
Socket = Annotated[FilePath, checked(_socket)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1)]
Level = Literal["debug", "info", "warn", "error", "critical"]
Scram = Literal["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]
