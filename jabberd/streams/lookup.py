"""From a domain to the places where its server may be: SRV records, and the addresses of their hosts.

Imported with the first question: twisted.names is nothing that a server without links needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain, zip_longest
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final, Literal

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.names.client import Resolver
from twisted.names.dns import AAAA, SRV, A
from twisted.names.error import AuthoritativeDomainError, DNSQueryTimeoutError, DomainError, ResolverError
from twisted.names.hosts import Resolver as HostsFile
from twisted.names.resolve import ResolverChain

from jabberd.streams.targets import NotResolvedError, Target
from jabberd.xmpp.domain import a_labels, ip_literal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from random import Random

    from twisted.internet.interfaces import IResolver

    from jabberd.streams import targets

__all__ = ["find_addresses", "find_targets", "resolver_chain"]

PORT: Final = {"server": 5269, "client": 5222}  # RFC 6120 §14.7

#: No domain makes us try more hosts than this, nor a host more addresses.
MOST_TARGETS: Final = 16
MOST_ADDRESSES: Final = 8

#: Seconds until a query is sent again: Twisted's own take a minute to give up.
_PATIENCE: Final = (1, 2, 4)
_HOST_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
#: A name server says that there is no such name or record, or says nothing that helps.
_NO_ANSWER: Final = (
    DomainError,
    AuthoritativeDomainError,
    DNSQueryTimeoutError,
    DeferredTimeoutError,
    ResolverError,
    ConnectError,  # it wanted to be asked by TCP
    ConnectionClosed,
    OSError,
)


@dataclass(frozen=True, slots=True)
class _Record:
    priority: int
    weight: int
    target: Target


def resolver_chain(reactor: Any, server: tuple[str, int] | None) -> IResolver:
    """Twisted's own: the hosts file, then a name server, which it looks after for ever."""
    if server:
        asked = Resolver(servers=[server], timeout=_PATIENCE, reactor=reactor)
    else:
        asked = Resolver(resolv="/etc/resolv.conf", timeout=_PATIENCE, reactor=reactor)
    return ResolverChain([HostsFile(), asked])


async def find_targets(
    domain: str,
    resolver: targets.Resolver,
    chance: Random | None = None,
    *,
    service: Literal["server", "client"] = "server",
) -> list[Target]:
    """Where the server for a domain may be, in the order in which to try (RFC 6120 §3.2, XEP-0368).

    Records for direct TLS and for STARTTLS are mixed by priority and weight.  Without any record the
    domain itself is the target; not if there are some and none leads anywhere.

    :param service: for whom: other servers, or the domain's clients.

    :raises NotResolvedError: if the domain has no XMPP service.
    """
    address = ip_literal(domain)
    if address:
        return [Target(str(address), PORT[service])]
    try:
        name = a_labels(domain)
    except ValueError as error:
        raise NotResolvedError(f"DNS has no such names: {error}") from error
    found = await _both(
        _records(resolver, f"_xmpps-{service}._tcp.{name}", direct=True),
        _records(resolver, f"_xmpp-{service}._tcp.{name}", direct=False),
    )
    records = [record for service in found for record in service or ()]
    if records:
        return in_order(records, chance or SystemRandom())
    if None in found:
        raise NotResolvedError("the domain says that it has no XMPP service")
    return [Target(name, PORT[service])]


async def find_addresses(host: str, resolver: targets.Resolver) -> list[IPv4Address | IPv6Address]:
    """A host's addresses in the order in which to try: IPv6 and IPv4 by turns (RFC 8305 §4).

    :raises NotResolvedError: if it has none.
    """
    literal = ip_literal(host)
    if literal:
        return [literal]
    six, four = await _both(
        _ask(resolver.lookupIPV6Address, host, AAAA), _ask(resolver.lookupAddress, host, A)
    )
    found = [_unmapped(each.address) for each in chain.from_iterable(zip_longest(six, four)) if each]
    if not found:
        raise NotResolvedError("the host has no address")
    return list(dict.fromkeys(found))[:MOST_ADDRESSES]


def in_order(records: Iterable[_Record], chance: Random) -> list[Target]:
    """Sort by priority, and among equals draw by weight (RFC 2782, "Weight"): the first `MOST_TARGETS`."""
    left = sorted(records, key=lambda record: (record.priority, record.weight))
    targets: list[Target] = []
    while left and len(targets) < MOST_TARGETS:
        equals = [record for record in left if record.priority == left[0].priority]
        drawn = chance.randint(0, sum(record.weight for record in equals))
        for record in equals:
            drawn -= record.weight
            if drawn <= 0:
                break
        left.remove(record)
        targets.append(record.target)
    return targets


async def _records(resolver: targets.Resolver, service: str, *, direct: bool) -> list[_Record] | None:
    """The SRV records; None if there are some and none leads anywhere (RFC 6120 §3.2.1 items 3 and 8).

    As where the only one says that there is no such service.
    """
    found = await _ask(resolver.lookupService, service, SRV)
    usable = [
        _Record(each.priority, each.weight, Target(_name(each), each.port, direct))
        for each in found
        if each.port and _HOST_NAME.fullmatch(_name(each))
    ]
    return None if found and not usable else usable


async def _ask(lookup: Callable[[str, Sequence[int]], Any], name: str, type_: int) -> list[Any]:
    """The records of that type; none if there is no answer (RFC 6120 §3.2.1 item 9)."""
    try:
        answers, _, _ = await lookup(name, _PATIENCE)
    except _NO_ANSWER:
        return []
    return [each.payload for each in answers if each.type == type_]


def _name(record: Any) -> str:
    return str(record.target.name.decode("ascii", "replace")).rstrip(".").lower()


def _unmapped(packed: bytes) -> IPv4Address | IPv6Address:
    address = ip_address(packed)
    return getattr(address, "ipv4_mapped", None) or address


async def _both(*coroutines: Coroutine[Any, Any, Any]) -> Any:
    """Wait for all of them at once."""
    return await gatherResults([Deferred.fromCoroutine(each) for each in coroutines], consumeErrors=True)
