"""How every test runs: no reactor, no clock, and an error that nobody expected fails it."""

from __future__ import annotations

import gc
import inspect
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogLevel, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from twisted.logger import LogEvent

# What is tried at random: as before a merge with --hypothesis-profile=thorough
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=100, deadline=None)
settings.load_profile("quick")

pytest_plugins = ["jabberd.testing.fixtures"]

UNHANDLED = (
    "Unhandled error in Deferred:"  # Twisted's heading: an event of its own before the one with the failure
)


@implementer(ILogObserver)
class LoggedErrors:
    """The errors logged during one test; those a test does not take fail it at its end."""

    def __init__(self) -> None:
        self._events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        """Observe one log event (`twisted.logger.ILogObserver`)."""
        serious = event.get("log_level") in (LogLevel.error, LogLevel.critical)
        if serious and event.get("log_format") != UNHANDLED:
            self._events.append(event)

    def take(self, kind: type[BaseException] | None = None) -> list[str]:
        """Remove the errors logged so far and return their texts: all, or those with a failure of that kind.

        Unhandled errors of dropped Deferreds are found too.
        """
        gc.collect(1)
        events, self._events = self._events, []
        taken: list[LogEvent] = []
        for event in events:
            (taken if kind is None or _has_failure(event, kind) else self._events).append(event)
        return [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in taken]


def _has_failure(event: LogEvent, kind: type[BaseException]) -> bool:
    failure = event.get("log_failure")
    return failure is not None and failure.check(kind) is not None


@pytest.fixture(autouse=True)
def logged_errors() -> Iterator[LoggedErrors]:
    """Take the errors that a test expects: ``assert len(logged_errors.take(ValueError)) == 1``."""
    errors = LoggedErrors()
    globalLogPublisher.addObserver(errors)
    yield errors
    left = errors.take()
    globalLogPublisher.removeObserver(errors)
    if left:
        pytest.fail("errors were logged that the test did not take:\n" + "\n".join(left), pytrace=False)


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """What an operator reads in the log, level "info" and above, while the test runs."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.info:
            lines.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an ``async def`` test by driving its coroutine, without a reactor: one that would wait fails."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs}
    running: Deferred[object] = Deferred.fromCoroutine(pyfuncitem.obj(**arguments))
    outcome: list[object] = []
    running.addBoth(outcome.append)
    if not outcome:
        running.cancel()
        pytest.fail("still waiting: advance the clock, flush the network", pytrace=False)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under ``JABBERD_REQUIRE_PEERS=1`` a test that is skipped has failed: a missing peer proves nothing."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("JABBERD_REQUIRE_PEERS") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, but JABBERD_REQUIRE_PEERS=1: {call.excinfo and call.excinfo.value}"
    return report
