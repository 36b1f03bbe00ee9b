from __future__ import annotations

import time
from collections import Counter
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.names import dns
from twisted.names.error import DNSServerError

from jabberd.streams.lookup import _Record, find_addresses, find_targets, in_order
from jabberd.streams.targets import NotResolvedError, Target
from tests.streams.zone import Zone, srv

if TYPE_CHECKING:
    from collections.abc import Sequence


class Least(Random):
    """A draw that always falls on the smallest number."""

    def randint(self, a: int, b: int) -> int:
        return a


def zone(starttls: Sequence[Any] = (), direct: Sequence[Any] = (), **more: Sequence[Any]) -> Zone:
    services = {"_xmpp-server._tcp.capulet.lit": starttls, "_xmpps-server._tcp.capulet.lit": direct}
    return Zone({**services, **more})


async def test_records_for_both_kinds_of_tls_are_mixed_by_priority() -> None:
    dns_of_capulet = zone(
        starttls=[srv("one.capulet.lit", 5269, 10), srv("three.capulet.lit", 5270, 30)],
        direct=[srv("two.capulet.lit", 5271, 20), srv("four.capulet.lit", 443, 40)],
    )
    assert await find_targets("capulet.lit", dns_of_capulet) == [
        Target("one.capulet.lit", 5269),
        Target("two.capulet.lit", 5271, direct=True),
        Target("three.capulet.lit", 5270),
        Target("four.capulet.lit", 443, direct=True),
    ]


async def test_equal_priorities_are_drawn_by_weight() -> None:
    dns_of_capulet = zone(
        starttls=[srv("a.lit", weight=1), srv("b.lit", weight=9)], direct=[srv("c.lit", weight=90)]
    )
    chance = Random(1595)
    first = Counter(
        [(await find_targets("capulet.lit", dns_of_capulet, chance))[0].host for _ in range(2000)]
    )
    assert 1700 < first["c.lit"] < 1900
    assert 120 < first["b.lit"] < 260
    assert 0 < first["a.lit"] < 60


async def test_a_weight_of_zero_comes_first_only_if_the_draw_is_zero() -> None:
    records = [srv("heavy.lit", weight=10), srv("light.lit", weight=0)]
    targets = await find_targets("capulet.lit", zone(starttls=records), Least())
    assert [each.host for each in targets] == ["light.lit", "heavy.lit"]


async def test_without_records_the_domain_itself_is_the_target() -> None:
    assert await find_targets("capulet.lit", Zone({})) == [Target("capulet.lit", 5269)]
    assert await find_targets("bücher.example", Zone({})) == [Target("xn--bcher-kva.example", 5269)]


@pytest.mark.rfc6120("3.2.1-1")
async def test_a_service_that_is_decidedly_not_there_is_not_looked_for_elsewhere() -> None:
    for no_service in (
        zone(starttls=[srv(".", 0)], direct=[srv(".", 0)]),
        zone(starttls=[srv(".", 0)]),
        zone(direct=[srv(".", 0)]),  # XEP-0368 §5: no fall-back to addresses either
    ):
        with pytest.raises(NotResolvedError, match="no XMPP service"):
            await find_targets("capulet.lit", no_service)


async def test_d10_one_kind_may_be_there_where_the_other_is_not() -> None:
    only_direct = zone(starttls=[srv(".", 0)], direct=[srv("xmpp.capulet.lit", 443)])
    assert await find_targets("capulet.lit", only_direct) == [Target("xmpp.capulet.lit", 443, direct=True)]
    only_starttls = zone(starttls=[srv("xmpp.capulet.lit")], direct=[srv(".", 0)])
    assert await find_targets("capulet.lit", only_starttls) == [Target("xmpp.capulet.lit", 5269)]


async def test_records_that_lead_nowhere_are_left_out() -> None:
    odd = [srv("xmpp.capulet.lit"), srv("."), srv("port.lit", 0), srv("bad\n.lit"), srv("b\xe4d.lit")]
    assert await find_targets("capulet.lit", zone(starttls=odd)) == [Target("xmpp.capulet.lit", 5269)]


@pytest.mark.parametrize("odd", [[srv("port.lit", 0)], [srv("bad\n.lit"), srv(".")]])
async def test_records_of_which_none_can_be_used_are_an_answer_all_the_same(odd: list[Any]) -> None:
    there = {"capulet.lit": [dns.Record_A("192.0.2.1")]}
    with pytest.raises(NotResolvedError, match="no XMPP service"):
        await find_targets("capulet.lit", zone(starttls=odd, **there))
    direct = zone(starttls=odd, direct=[srv("tls.lit", 5270)])
    assert await find_targets("capulet.lit", direct) == [Target("tls.lit", 5270, direct=True)]


async def test_nobody_makes_us_try_a_hundred_hosts_or_addresses() -> None:
    many = zone(
        starttls=[srv(f"{number}.capulet.lit") for number in range(100)],
        **{"capulet.lit": [dns.Record_A(f"192.0.2.{number}") for number in range(100)]},
    )
    assert len(await find_targets("capulet.lit", many)) == 16
    assert len(await find_addresses("capulet.lit", many)) == 8


@pytest.mark.parametrize(("domain", "host"), [("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1")])
async def test_an_address_needs_no_dns(domain: str, host: str) -> None:
    assert await find_targets(domain, Zone({})) == [Target(host, 5269)]
    assert await find_addresses(host, Zone({})) == [ip_address(host)]


async def test_a_name_that_dns_cannot_hold_leads_nowhere() -> None:
    with pytest.raises(NotResolvedError, match="DNS has no such names"):
        await find_targets("ü" * 64 + ".lit", Zone({}))


async def test_addresses_of_both_kinds_take_turns() -> None:
    both = Zone(
        {
            "capulet.lit": [
                dns.Record_A("192.0.2.1"),
                dns.Record_A("192.0.2.2"),
                dns.Record_A("192.0.2.3"),
                dns.Record_AAAA("2001:db8::1"),
                dns.Record_AAAA("2001:db8::2"),
            ]
        }
    )
    assert [str(each) for each in await find_addresses("capulet.lit", both)] == [
        "2001:db8::1",
        "192.0.2.1",
        "2001:db8::2",
        "192.0.2.2",
        "192.0.2.3",
    ]


async def test_a_mapped_address_is_the_one_it_maps_and_is_tried_once() -> None:
    mapped = Zone({"capulet.lit": [dns.Record_AAAA("::ffff:192.0.2.1"), dns.Record_A("192.0.2.1")]})
    assert await find_addresses("capulet.lit", mapped) == [ip_address("192.0.2.1")]


async def test_an_alias_is_followed_as_the_name_server_tells_it() -> None:
    alias = Zone({"capulet.lit": [dns.Record_CNAME("host.lit")], "host.lit": [dns.Record_A("192.0.2.1")]})
    assert await find_addresses("capulet.lit", alias) == [ip_address("192.0.2.1")]


async def test_a_host_without_addresses_leads_nowhere() -> None:
    with pytest.raises(NotResolvedError, match="no address"):
        await find_addresses("capulet.lit", Zone({}))


async def test_a_name_server_in_trouble_counts_as_no_record() -> None:
    class Broken(Zone):
        def _lookup(self, name: bytes, cls: int, type: int, timeout: object = None) -> Deferred[Any]:
            if type == dns.SRV:
                return fail(DNSServerError())
            answer: Deferred[Any] = super()._lookup(name, cls, type)  # type: ignore[no-untyped-call]  # see Zone
            return answer

    broken = Broken({"capulet.lit": [dns.Record_A("192.0.2.1")]})
    assert await find_targets("capulet.lit", broken) == [Target("capulet.lit", 5269)]


async def test_a_name_server_gets_seconds_to_answer_not_a_minute() -> None:
    waits: list[Sequence[int]] = []

    class Slow(Zone):
        def _lookup(self, name: bytes, cls: int, type: int, timeout: Sequence[int] = ()) -> Deferred[Any]:
            waits.append(timeout)
            return fail(DNSServerError())

    await find_targets("capulet.lit", Slow({}))
    with pytest.raises(NotResolvedError):
        await find_addresses("capulet.lit", Slow({}))
    assert len(waits) == 4
    assert all(0 < sum(each) < 10 for each in waits)


def test_ten_thousand_records_are_ordered_in_no_time() -> None:
    records = [_Record(0, 1, Target(f"{number}.lit", 5269)) for number in range(10_000)]
    before = time.process_time()
    assert len(in_order(records, Random(1595))) == 16
    assert time.process_time() - before < 0.5
