"""What became of work that had nothing to wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

__all__ = ["done"]


def done(work: Deferred[T] | Coroutine[Any, Any, T]) -> T:
    """The result of the work; an error that it ended with is raised.

    :raises AssertionError: it waits for something.
    """
    outcome: list[object] = []
    ensureDeferred(work).addBoth(outcome.append)
    assert outcome, "it still waits for something"
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return cast("T", outcome[0])
