"""Threads with a queue that has an end."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from jabberd.jsm.threads import BoundedThreads, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@implementer(IReactorFromThreads)
class Calls:
    """What threads asked the reactor to call, until the test calls it."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], Any]] = SimpleQueue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        self._waiting.put(lambda: callable(*args, **kwargs))

    def make(self) -> None:
        while not self._waiting.empty():
            self._waiting.get()()


@pytest.fixture
def reactor() -> Calls:
    return Calls()


@pytest.fixture
def threads(reactor: Calls) -> Iterator[BoundedThreads]:
    """One thread, and room for two that wait; stopped, at the latest, by the fixture."""
    threads = BoundedThreads(reactor, threads=1, waiting=2)
    threads.startService()
    yield threads
    if threads.running:
        threads.stopService()


def test_work_is_done_elsewhere_and_its_result_comes_back_to_the_reactor(
    threads: BoundedThreads, reactor: Calls
) -> None:
    results: list[threading.Thread] = []
    threads.run(threading.current_thread).addCallback(results.append)
    threads.stopService()
    assert results == []
    reactor.make()
    assert len(results) == 1
    assert results[0] is not threading.current_thread()


def test_what_the_work_raises_comes_back_too(threads: BoundedThreads, reactor: Calls) -> None:
    failures: list[Any] = []
    threads.run(lambda: int("x")).addErrback(failures.append)
    threads.stopService()
    reactor.make()
    assert failures[0].check(ValueError)


def test_the_queue_has_an_end_and_then_room_again(threads: BoundedThreads, reactor: Calls) -> None:
    may_go_on = threading.Event()
    results: list[bool] = []
    for _ in range(3):
        threads.run(lambda: may_go_on.wait(10)).addCallback(results.append)
    with pytest.raises(Overloaded):
        threads.run(lambda: True)
    may_go_on.set()
    threads.stopService()
    reactor.make()
    assert results == [True] * 3
    threads.run(lambda: True)


def test_work_that_nobody_waits_for_any_more_still_counts(threads: BoundedThreads, reactor: Calls) -> None:
    may_go_on = threading.Event()
    outcomes: list[Any] = []
    for _ in range(3):
        given = threads.run(lambda: may_go_on.wait(10))
        given.addBoth(outcomes.append)
        given.cancel()
    assert len(outcomes) == 3
    with pytest.raises(Overloaded):
        threads.run(lambda: True)
    may_go_on.set()
    threads.stopService()
    reactor.make()
    assert len(outcomes) == 3
