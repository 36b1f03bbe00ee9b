"""Rates, and the meters that hold many to one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.rates import HeldBack, Meter, Rate

NOW = 1000.0


def test_so_many_may_happen_at_once_and_then_one_whenever_there_is_room_again() -> None:
    meter = Meter("login_failures", Rate(3, 60))
    assert [meter.take("tybalt", NOW) for _ in range(4)] == [True, True, True, False]
    assert not meter.take("tybalt", NOW + 19)
    assert meter.take("tybalt", NOW + 20)
    assert not meter.take("tybalt", NOW + 20)
    assert [meter.take("tybalt", NOW + 1000) for _ in range(4)] == [True, True, True, False]


def test_everybody_has_a_bucket_of_their_own() -> None:
    meter = Meter("presence", Rate(1, 60))
    assert meter.take("tybalt", NOW)
    assert not meter.take("tybalt", NOW)
    assert meter.take("romeo", NOW)
    assert meter.refused == 1


def test_who_is_refused_does_not_have_to_wait_longer_for_it() -> None:
    meter = Meter("presence", Rate(1, 60))
    assert meter.take("tybalt", NOW)
    for _ in range(100):
        meter.take("tybalt", NOW + 30)
    assert meter.take("tybalt", NOW + 60)


def test_a_meter_tells_who_has_to_wait_and_how_long() -> None:
    meter = Meter("presence", Rate(2, 60))
    for key in ("tybalt", "tybalt", "romeo"):
        meter.take(key, NOW)
    assert list(meter.held(NOW + 10)) == [HeldBack("presence", "tybalt", "for 20 s")]
    assert list(meter.held(NOW + 31)) == []


def test_what_is_counted_without_being_asked_for_has_to_be_waited_out() -> None:
    meter = Meter("login_failures", Rate(2, 60))
    for _ in range(4):
        meter.count("tybalt", NOW)
    assert meter.wait("tybalt", NOW) == 90


def test_only_so_many_are_remembered_and_the_quiet_are_forgotten_first() -> None:
    meter = Meter("login_failures", Rate(1, 60), most=3)
    for key in ("a", "b", "c", "a", "d"):  # the second time, "a" is no longer the oldest
        meter.count(key, NOW)
    assert [bool(meter.wait(key, NOW)) for key in "abcd"] == [True, False, True, True]


@pytest.mark.parametrize(("rate", "shown"), [(Rate(60, 60), "60 per 60 s"), (Rate(10, 0.5), "10 per 0.5 s")])
def test_a_rate_can_be_read(rate: Rate, shown: str) -> None:
    assert str(rate) == shown


@given(
    st.integers(1, 1000),
    st.floats(0.1, 1e5),
    st.lists(st.floats(0, 100), min_size=1, max_size=200),
)
def test_no_more_happens_than_the_rate_allows_over_any_time(
    count: int, seconds: float, pauses: list[float]
) -> None:
    meter = Meter("any", Rate(count, seconds))
    now, times = NOW, []
    for pause in pauses:
        now += pause
        times += [now] * sum(meter.take("one", now) for _ in range(5))
    for at, first in enumerate(times):
        took = times[-1] - first
        assert len(times) - at <= count * (1 + took / seconds) + 1e-3
