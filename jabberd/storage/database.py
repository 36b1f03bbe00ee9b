"""How work gets to the database and its outcome back: by threads of our own, or directly."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.defer import Deferred, DeferredList, execute, fail, succeed
from twisted.python.failure import Failure

from jabberd.interfaces import StorageError
from jabberd.measure import StorageFigures
from jabberd.storage.batch import FromThreads, Step, Unit, Writer, commit, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

    from jabberd.storage.statements import Insert

R = TypeVar("R")

READERS: Final = 3  #: threads
MOST_QUESTIONS: Final = 5_000  #: that wait for an answer; more are refused


class Database(Protocol):
    """An open database."""

    def write(self, steps: Sequence[Step], result: R) -> Deferred[R]:
        """Execute the steps, all or none, after all that were given before; fires when that is durable."""

    def join(self, written: Deferred[Any], statement: Insert, row: tuple[object, ...]) -> bool:
        """Give one row more to what was given to `write` last, when that gave this Deferred.

        False: it is too late, or it does something else than that statement; the row was not taken.
        """

    def read(self, question: Callable[[Connection], R]) -> Deferred[R]:
        """Ask; the question may run in a thread and sees every write whose Deferred has fired."""

    def figures(self) -> StorageFigures:
        """How it is doing."""

    def close(self) -> Deferred[None]:
        """Write what waits, answer what was asked, and let go."""


def ask(engine: Engine, question: Callable[[Connection], R]) -> R:
    """The answer.

    :raises StorageError: the database has none.
    """
    try:
        with engine.connect() as connection:
            return question(connection)
    except SQLAlchemyError as error:
        raise StorageError(reason(error)) from None


class Direct:
    """A `Database` used in the calling thread: every Deferred has fired when it is returned."""

    def __init__(self, writing: Engine, reading: Engine) -> None:
        self._writing = writing
        self._reading = reading

    def write(self, steps: Sequence[Step], result: R) -> Deferred[R]:
        unit = Unit(steps, result)
        [error] = commit(self._writing, [unit])
        unit.tell(error)
        return unit.done

    def join(self, *_: object) -> bool:
        return False  # it is written already

    def read(self, question: Callable[[Connection], R]) -> Deferred[R]:
        return execute(ask, self._reading, question)

    def figures(self) -> StorageFigures:
        return StorageFigures()

    def close(self) -> Deferred[None]:
        self._reading.dispose()
        self._writing.dispose()
        return succeed(None)


class Threaded:
    """A `Database` used by one writing thread and a few that read; Deferreds fire in the reactor's."""

    def __init__(self, writing: Engine, reading: Engine, reactor: FromThreads) -> None:
        self._writer = Writer(writing, reactor)
        self._readers = Readers(reading, reactor)

    def write(self, steps: Sequence[Step], result: R) -> Deferred[R]:
        unit = Unit(steps, result)
        self._writer.submit(unit)
        return unit.done

    def join(self, written: Deferred[Any], statement: Insert, row: tuple[object, ...]) -> bool:
        return self._writer.join(written, statement, row)

    def read(self, question: Callable[[Connection], R]) -> Deferred[R]:
        return self._readers.ask(question)

    def figures(self) -> StorageFigures:
        writer = self._writer
        return StorageFigures(writer.waiting, self._readers.waiting, writer.seconds, writer.together)

    def close(self) -> Deferred[None]:
        # The writer last: SQLite tidies up when its last connection closes
        return self._readers.close().addCallback(lambda _: self._writer.close())


class Readers:
    """The threads that read.  They start with the first question."""

    def __init__(self, engine: Engine, reactor: FromThreads) -> None:
        self._engine = engine
        self._reactor = reactor
        self._questions: SimpleQueue[tuple[Callable[[Connection], Any], Deferred[Any]] | None] = SimpleQueue()
        self._waiting = 0
        self._closing = False
        self._ends: list[Deferred[None]] = []

    def ask(self, question: Callable[[Connection], R]) -> Deferred[R]:
        """Put the question to a thread."""
        if self._closing:
            return fail(StorageError("the storage is closed"))
        if self._waiting >= MOST_QUESTIONS:
            return fail(StorageError("too many questions are waiting for the database"))
        if not self._ends:
            self._ends = [self._start(number) for number in range(READERS)]
        answer: Deferred[R] = Deferred()
        self._waiting += 1
        self._questions.put((question, answer))
        return answer

    @property
    def waiting(self) -> int:
        """How many questions wait for their answers."""
        return self._waiting

    def _start(self, number: int) -> Deferred[None]:
        ended: Deferred[None] = Deferred()
        Thread(target=self._work, args=[ended], name=f"jabberd reader {number}", daemon=True).start()
        return ended

    def _work(self, ended: Deferred[None]) -> None:
        while asked := self._questions.get():
            question, answer = asked
            try:
                outcome = ask(self._engine, question)
            except Exception:  # noqa: BLE001 - told to whoever asked
                outcome = Failure()
            self._reactor.callFromThread(self._tell, answer, outcome)
        self._reactor.callFromThread(ended.callback, None)

    def _tell(self, answer: Deferred[Any], outcome: object) -> None:
        self._waiting -= 1
        answer.callback(outcome)

    def close(self) -> Deferred[None]:
        """Answer what was asked, then end."""
        self._closing = True
        for _ in self._ends:
            self._questions.put(None)
        return DeferredList(self._ends).addCallback(lambda _: self._engine.dispose())
