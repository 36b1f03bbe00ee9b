"""Group commit: one thread writes, and what waits together is committed together.

A commit costs ten times what a row costs, so under load rows share one.  A *unit* is what must
happen together or not at all; its Deferred fires only after the commit that has it.  A unit that
the database refuses fails alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Condition, RLock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.defer import Deferred, succeed

from jabberd.interfaces import StorageError
from jabberd.measure import SIZES, Histogram
from jabberd.storage.statements import Insert, Named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Connection, Engine, Executable

#: A statement and the rows that it is executed with: parameters by name, of the others in order.
Step = tuple["Executable | Insert | Named", list[Any]]

MOST_WAITING: Final = 20_000  #: units; more are refused
MOST_TOGETHER: Final = 500  #: units in one commit
ENOUGH: Final = 400  #: units for which nobody waits longer
#: Seconds to wait for others, once the pace is brisk: only acknowledgements wait for a commit, and a row
#: among four hundred costs a third of one among fifty.
GATHERING: Final = 0.05
LULL: Final = 0.005  #: seconds in which nobody came: all who would come wait for this commit themselves
PATIENCE: Final = 0.02  #: seconds that units may wait for others which are in no hurry, whatever the pace
BRISK: Final = 300  #: units a second
WINDOW: Final = 0.1  #: seconds over which the pace is taken


class FromThreads(Protocol):
    """What is needed of a reactor."""

    def callFromThread(self, callable: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        """Call this in the reactor's thread."""


@dataclass(slots=True)
class Unit:
    """Steps that take effect together or not at all.

    :ivar result: what ``done`` fires with.
    :ivar patient: it is in no hurry.
    """

    steps: Sequence[Step]
    result: object = None
    patient: bool = False
    done: Deferred[Any] = field(default_factory=Deferred)

    def tell(self, error: StorageError | None) -> None:
        """Fire ``done``."""
        if error is None:
            self.done.callback(self.result)
        else:
            self.done.errback(error)


def reason(error: Exception) -> str:
    """One line that says what a database did not like, without the statement and its values."""
    original = getattr(error, "orig", None) or error
    return (str(original).splitlines() or [type(original).__name__])[0]


def commit(engine: Engine, units: Sequence[Unit]) -> list[StorageError | None]:
    """Write the units; None for each that is durable now, else why it is not.

    :param engine: its transactions begin with the lock for writing.
    """
    begun = False
    try:
        with engine.begin() as connection:
            begun = True
            _execute(connection, _merged(units))
    except Exception as error:  # noqa: BLE001 - whatever it is, the writer lives on
        if begun and len(units) > 1:
            return _commit_apart(engine, units)
        return [StorageError(reason(error))] * len(units)
    return [None] * len(units)


def _commit_apart(engine: Engine, units: Sequence[Unit]) -> list[StorageError | None]:
    """Like `commit`, with a savepoint for each, so that one that fails spares its neighbours."""
    try:
        with engine.begin() as connection:
            return [_attempt(connection, unit) for unit in units]
    except Exception as error:  # noqa: BLE001 - whatever it is, the writer lives on
        return [StorageError(reason(error))] * len(units)


def _attempt(connection: Connection, unit: Unit) -> StorageError | None:
    savepoint = connection.begin_nested()
    try:
        _execute(connection, unit.steps)
    except Exception as error:  # noqa: BLE001 - bad data raises many things
        refusal = StorageError(reason(error))
        try:
            savepoint.rollback()
        except SQLAlchemyError:  # the whole transaction is gone: SQLite drops it on a full disk
            raise refusal from None
        return refusal
    savepoint.commit()
    return None


def _execute(connection: Connection, steps: Iterable[Step]) -> None:
    for statement, rows in steps:
        if isinstance(statement, Insert | Named):
            statement.execute(connection, rows)
        else:
            connection.execute(statement, rows if len(rows) > 1 else rows[0])


def _merged(units: Iterable[Unit]) -> list[Step]:
    """All steps in order; neighbours with the same statement become one, for the driver's `executemany`."""
    steps: list[Step] = []
    for unit in units:
        for statement, rows in unit.steps:
            if steps and steps[-1][0] is statement:
                steps[-1][1].extend(rows)
            else:
                steps.append((statement, list(rows)))
    return steps


class Pace:
    """Whether it pays to wait for more units: more than `BRISK` a second came in the last `WINDOW`."""

    def __init__(self) -> None:
        self._since = monotonic()
        self._units = 0
        self._was_brisk = False

    def count(self, units: int) -> None:
        """So many were written just now."""
        self._units += units
        span = monotonic() - self._since
        if span >= WINDOW:
            self._was_brisk = self._units > BRISK * span
            self._since += span
            self._units = 0
        elif units == 1:  # nobody came: somebody writes one after the other, and waits for each
            self._was_brisk = False

    @property
    def brisk(self) -> bool:
        """Whether to wait."""
        return self._was_brisk and monotonic() - self._since < 2 * WINDOW


class Writer:
    """The one thread that writes.  It starts with the first unit.

    :param engine: nobody else's; disposed of in the end.
    :ivar seconds: that each commit took.
    :ivar together: units in each commit.
    """

    def __init__(self, engine: Engine, reactor: FromThreads) -> None:
        self.seconds = Histogram()
        self.together = Histogram(SIZES)
        self._engine = engine
        self._reactor = reactor
        self._lock = RLock()
        self._changed = Condition(self._lock)
        self._waiting: list[Unit] = []
        self._closing = False
        self._busy = False  # something is being written
        self._patient = False  # nothing is written, though some wait: all of them are patient
        self._ended: Deferred[None] = Deferred()
        self._thread = Thread(target=self._work, name="jabberd writer", daemon=True)
        self._pace = Pace()

    @property
    def waiting(self) -> int:
        """How many units wait."""
        return len(self._waiting)

    def submit(self, unit: Unit) -> None:
        """Write the unit, after all that were submitted before it."""
        if self._closing:
            unit.tell(StorageError("the storage is closed"))
        elif not unit.steps and not self._waiting and not self._busy:
            unit.tell(None)  # it only waits for what came before, and there is nothing
        elif len(self._waiting) >= MOST_WAITING:
            unit.tell(StorageError("too many writes are waiting for the database"))
        else:
            self._queue(unit)

    def join(self, done: Deferred[Any], statement: Insert, row: tuple[object, ...]) -> bool:
        """See `jabberd.storage.database.Database`."""
        with self._lock:
            last = self._waiting[-1] if self._waiting else None
            if last is None or last.done is not done or last.steps[-1][0] is not statement:
                return False
            last.steps[-1][1].append(row)
            return True

    def _queue(self, unit: Unit) -> None:
        with self._lock:  # directly: most of what the condition would do for that is Python
            self._waiting.append(unit)
            if len(self._waiting) in (1, ENOUGH) or (self._patient and not unit.patient):
                self._changed.notify()
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> Deferred[None]:
        """Write what waits, then end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is None:
            self._engine.dispose()
            return succeed(None)
        return self._ended

    def _work(self) -> None:
        while units := self._gather():
            began = monotonic()
            errors = commit(self._engine, units)
            self.seconds.observe(monotonic() - began)
            self.together.observe(len(units))
            self._pace.count(len(units))
            self._reactor.callFromThread(_tell, units, errors)
        self._engine.dispose()
        self._reactor.callFromThread(self._ended.callback, None)

    def _gather(self) -> list[Unit]:
        """The next units to write together, as soon as there are any; none when it is time to end."""
        with self._changed:
            self._busy = False
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._busy = True
            if self._pace.brisk:
                self._let_others_come()
            else:
                self._be_patient()
            units = self._waiting[:MOST_TOGETHER]
            del self._waiting[:MOST_TOGETHER]
            return units

    def _be_patient(self) -> None:
        """Wait as long as there are none but patient ones, and they are not too many."""
        self._patient = True
        self._changed.wait_for(self._is_urgent, PATIENCE)
        self._patient = False

    def _is_urgent(self) -> bool:
        waiting = self._waiting
        return self._closing or len(waiting) >= ENOUGH or not all(unit.patient for unit in waiting)

    def _let_others_come(self) -> None:
        """Wait until there are enough, or no others come."""
        end, before = monotonic() + GATHERING, 0
        while before < len(self._waiting) < ENOUGH and not self._closing and monotonic() < end:
            before = len(self._waiting)
            self._changed.wait(LULL)


def _tell(units: Sequence[Unit], errors: Sequence[StorageError | None]) -> None:
    for unit, error in zip(units, errors, strict=True):
        unit.tell(error)
