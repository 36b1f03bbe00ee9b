"""The ordered goodbye: last started first, each in its turn, all of it within five seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from jabberd.services import InOrder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import LoggedErrors


class Part(Service):
    name: str

    def __init__(self, name: str, ends: list[str], stop: Callable[[], Deferred[None]]) -> None:
        self.name = name
        self._ends = ends
        self._stop = stop

    def stopService(self) -> Deferred[None]:
        self._ends.append(self.name)
        return self._stop()


def goodbye(clock: Clock, *stops: Callable[[], Deferred[None]]) -> tuple[list[str], list[None]]:
    """Stop parts with these ends; gives the order in which they were asked, and when all is over, a None."""
    server: MultiService = InOrder(clock)
    ends, over = list[str](), list[None]()
    for number, stop in enumerate(stops):
        server.addService(Part(f"part {number}", ends, stop))
    server.stopService().addCallback(over.append)
    return ends, over


def done() -> Deferred[None]:
    return succeed(None)


def test_what_started_last_stops_first_and_the_others_wait_for_it() -> None:
    slow: Deferred[None] = Deferred()
    ends, over = goodbye(Clock(), done, lambda: slow, done)
    assert (ends, over) == (["part 2", "part 1"], [])
    slow.callback(None)
    assert (ends, over) == (["part 2", "part 1", "part 0"], [None])


def test_a_part_that_fails_does_not_keep_the_others(logged_errors: LoggedErrors) -> None:
    def fail() -> Deferred[None]:
        raise RuntimeError("broken")

    ends, over = goodbye(Clock(), done, fail)
    assert (ends, over) == (["part 1", "part 0"], [None])
    assert len(logged_errors.take(RuntimeError)) == 1


def test_parts_that_never_end_cost_less_than_five_seconds_together() -> None:
    clock = Clock()
    ends, over = goodbye(clock, *[Deferred] * 9)
    for _ in range(49):
        clock.advance(0.1)
    assert len(ends) == 9
    assert over == [None]


def test_a_part_has_a_second_if_the_others_are_quick() -> None:
    clock = Clock()
    ends, _ = goodbye(clock, done, Deferred)
    clock.advance(0.9)
    assert ends == ["part 1"]
    clock.advance(0.2)
    assert ends == ["part 1", "part 0"]
