"""Threads for what costs milliseconds of CPU, so that the reactor goes on meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFromThreads

T = TypeVar("T")

__all__ = ["BoundedThreads", "Overloaded"]


class Overloaded(Exception):  # noqa: N818  # a state of ours, nobody's mistake
    """Too much is waiting already; later it may be otherwise."""


class BoundedThreads(Service):
    """A few threads of their own, with a queue that has an end.

    Work may be given before the start; it is done then.  The stop waits for what was given.

    :param threads: how many work at once.
    :param waiting: how much may wait for them.
    """

    name = "threads"

    def __init__(self, reactor: IReactorFromThreads, threads: int = 2, waiting: int = 64) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, self.name)
        self._limit = threads + waiting
        self._unfinished = 0

    def startService(self) -> None:
        """Start the threads (`twisted.application.service.IService`)."""
        Service.startService(self)
        self._pool.start()

    def stopService(self) -> None:
        """Finish what was given, then stop the threads."""
        Service.stopService(self)
        self._pool.stop()

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Do the work in a thread; the Deferred fires in the reactor's.

        Whoever cancels it stops waiting for it; the work goes on, and counts, to its end.

        :raises Overloaded: at once, if the queue is full.
        """
        if self._unfinished >= self._limit:
            raise Overloaded(f"{self._unfinished} calls are waiting")
        self._unfinished += 1
        result: Deferred[T] = Deferred()
        working = deferToThreadPool(self._reactor, self._pool, work)
        working.addBoth(self._finished)
        working.chainDeferred(result)
        return result

    def _finished(self, outcome: T) -> T:
        self._unfinished -= 1
        return outcome
