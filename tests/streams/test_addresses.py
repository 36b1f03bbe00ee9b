"""What one IP address may do, on all listeners together."""

from __future__ import annotations

import resource

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock

from jabberd.rates import HeldBack, Rate
from jabberd.settings import Limits
from jabberd.streams.addresses import Addresses, ip, most_connections, network

EVIL = "192.0.2.66"
ROMEO = "romeo@montague.lit"


def addresses(most: int | None = None, **limits: object) -> tuple[Addresses, Clock]:
    clock = Clock()
    return Addresses(clock, Limits(**limits), most), clock  # type: ignore[arg-type]  # as they are named


# --- who is one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (IPv4Address("TCP", "192.0.2.1", 49152), "192.0.2.1"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 49152), "192.0.2.1"),
        (IPv6Address("TCP", "2001:db8::1", 49152), "2001:db8::1"),
        (UNIXAddress("/run/proxy"), ""),
        (None, ""),
    ],
)
def test_an_address_is_the_same_however_it_is_written(peer: IPv4Address | None, address: str) -> None:
    assert ip(peer) == address


@pytest.mark.parametrize(
    ("address", "held"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_address_stands_for_its_network(address: str, held: str) -> None:
    assert network(address) == held


def test_another_address_of_the_same_ipv6_network_is_no_way_around_a_limit() -> None:
    door, _ = addresses(connections=2)
    assert [door.admit(f"2001:db8::{number:x}") for number in range(1, 4)] == [True, True, False]
    assert door.admit("2001:db8:0:1::1")


# --- connections ---------------------------------------------------------------------------------


@pytest.mark.rfc6120("13.12-2")
def test_only_so_many_connections_are_open_at_a_time(log_lines: list[str]) -> None:
    door, _ = addresses(connections=2)
    assert [door.admit(EVIL) for _ in range(3)] == [True, True, False]
    assert door.admit("192.0.2.1")
    assert len(log_lines) == 1
    assert EVIL in log_lines[0]
    door.leave(EVIL)
    assert door.admit(EVIL)
    assert door.open == 3


@pytest.mark.rfc6120("13.12-6")
def test_only_so_many_connections_are_made_in_a_time() -> None:
    door, clock = addresses(connection_attempts=Rate(3, 60))
    for _ in range(3):
        assert door.admit(EVIL)
        door.leave(EVIL)
    assert not door.admit(EVIL)
    assert door.admit("192.0.2.1")
    clock.advance(20)
    assert door.admit(EVIL)
    assert door.refused == {"connection_attempts": 1}


def test_who_has_too_many_connections_open_does_not_use_up_its_attempts() -> None:
    door, _ = addresses(connections=1, connection_attempts=Rate(3, 60))
    door.admit(EVIL)
    for _ in range(100):
        door.admit(EVIL)
    door.leave(EVIL)
    assert door.admit(EVIL)


def test_files_are_left_for_other_things_than_connections() -> None:
    door, _ = addresses(most=2)
    assert [door.admit(f"192.0.2.{number}") for number in range(3)] == [True, True, False]
    door.leave("192.0.2.0")
    assert door.admit("192.0.2.2")
    assert door.refused == {"files": 1}
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = most_connections()
    assert most is not None
    assert files - 256 <= most < files


def test_nothing_is_remembered_of_those_who_left() -> None:
    door, _ = addresses()
    for number in range(100):
        door.admit(f"192.0.2.{number}")
    for number in range(100):
        door.leave(f"192.0.2.{number}")
    assert (door.open, door._connections) == (0, {})


@pytest.mark.parametrize(
    ("exempt", "address"),
    [("192.0.2.66", EVIL), ("192.0.2.0/24", EVIL), ("2001:db8::/32", "2001:db8::66")],
)
def test_an_address_that_many_share_may_be_exempt_but_for_one_password(exempt: str, address: str) -> None:
    door, _ = addresses(
        connections=1,
        connection_attempts=Rate(1, 60),
        login_failures=Rate(2, 60),
        address_failures=Rate(2, 60),
        exempt=(exempt,),
    )
    assert [door.admit(address) for _ in range(5)] == [True] * 5
    assert [door.admit("198.51.100.1") for _ in range(2)] == [True, False]
    for number in range(5):
        door.failed(address, f"user{number}@montague.lit")
    door.failed(address, ROMEO)
    assert door.may_try(address, ROMEO)
    door.failed(address, ROMEO)
    assert not door.may_try(address, ROMEO)
    assert address not in [each.who for each in door.held()]
    assert door.admit("")  # a Unix socket's is none


# --- wrong passwords -----------------------------------------------------------------------------


def test_who_guesses_one_password_too_often_waits_and_nobody_else() -> None:
    door, clock = addresses(login_failures=Rate(2, 60))
    for _ in range(2):
        assert door.may_try(EVIL, ROMEO)
        door.failed(EVIL, ROMEO)
    assert not door.may_try(EVIL, ROMEO)
    assert door.may_try("192.0.2.1", ROMEO)  # the owner elsewhere
    assert door.may_try(EVIL, "juliet@capulet.lit")
    clock.advance(30)
    assert door.may_try(EVIL, ROMEO)


def test_who_guesses_a_password_of_everybody_waits_before_the_next_account() -> None:
    door, clock = addresses(address_failures=Rate(5, 50))
    for number in range(5):
        assert door.may_try(EVIL, f"user{number}@montague.lit")
        door.failed(EVIL, f"user{number}@montague.lit")
    assert not door.may_try(EVIL, ROMEO)
    assert door.may_try("192.0.2.1", ROMEO)
    clock.advance(10)
    assert door.may_try(EVIL, ROMEO)


def test_a_successful_login_costs_nothing() -> None:
    door, _ = addresses(login_failures=Rate(2, 60))
    assert all(door.may_try(EVIL, ROMEO) for _ in range(100))


# --- what operators see --------------------------------------------------------------------------


def test_operators_see_who_is_held_back() -> None:
    door, clock = addresses(connections=1, login_failures=Rate(1, 60))
    door.admit(EVIL)
    door.failed(EVIL, ROMEO)
    clock.advance(15)
    assert list(door.held()) == [
        HeldBack("connections", EVIL, "1 of 1"),
        HeldBack("login_failures", f"{ROMEO} from {EVIL}", "for 45 s"),
    ]


def test_other_limits_hold_from_now_on() -> None:
    door, _ = addresses(connections=1)
    door.admit(EVIL)
    door.use(Limits(connections=2))
    assert [door.admit(EVIL) for _ in range(2)] == [True, False]
