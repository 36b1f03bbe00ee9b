"""Stands in for the reactor: runs what threads hand over, in the thread that waits."""

from __future__ import annotations

from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

T = TypeVar("T")


class Pump:
    """What `jabberd.storage` needs of a reactor.

    :ivar handed_over: how many calls came from threads.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self.handed_over = 0

    def callFromThread(self, callable: Callable[..., object], /, *args: object, **kwargs: object) -> None:
        self._calls.put(partial(callable, *args, **kwargs))

    def turn(self, seconds: float) -> None:
        """Run the next call, at most so many seconds away."""
        self._calls.get(timeout=max(seconds, 0))()
        self.handed_over += 1

    def wait(self, deferred: Deferred[T], seconds: float = 20) -> T:
        """What the Deferred fires with; raises what it fails with."""
        end = monotonic() + seconds
        outcome: list[T | Failure] = []
        deferred.addBoth(outcome.append)
        while not outcome:
            self.turn(end - monotonic())
        [result] = outcome
        if isinstance(result, Failure):
            result.raiseException()
        return result
