"""How work gets to the database and its outcome back: by threads of our own, or directly."""

from __future__ import annotations

from collections import deque
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

    _Asked = tuple[Callable[[Connection], Any], Deferred[Any]]

R = TypeVar("R")

READERS: Final = 3  #: threads at most
MOST_QUESTIONS: Final = 5_000  #: that wait for an answer; more are refused


class Database(Protocol):
    """An open database."""

    def write(self, steps: Sequence[Step], result: R, *, patient: bool = False) -> Deferred[R]:
        """Execute the steps, all or none, after all that were given before; fires when that is durable.

        :param patient: see `jabberd.stores.Archive.append`.
        """

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

    def write(self, steps: Sequence[Step], result: R, *, patient: bool = False) -> Deferred[R]:
        unit = Unit(steps, result, patient)  # nobody else is there to be waited for
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

    def write(self, steps: Sequence[Step], result: R, *, patient: bool = False) -> Deferred[R]:
        unit = Unit(steps, result, patient)
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
    """The threads that read; each starts when a question finds no other idle.

    Each has a queue of its own: of several that waited at one, a second would wake each time, in vain.
    """

    def __init__(self, engine: Engine, reactor: FromThreads) -> None:
        self._engine = engine
        self._reactor = reactor
        self._idle: list[SimpleQueue[_Asked | None]] = []  # the one that was busy last is asked next
        self._left: deque[_Asked] = deque()  # what nobody was idle for
        self._waiting = 0
        self._closing = False
        self._ends: list[Deferred[None]] = []

    def ask(self, question: Callable[[Connection], R]) -> Deferred[R]:
        """Put the question to a thread."""
        if self._closing:
            return fail(StorageError("the storage is closed"))
        if self._waiting >= MOST_QUESTIONS:
            return fail(StorageError("too many questions are waiting for the database"))
        answer: Deferred[R] = Deferred()
        self._waiting += 1
        self._left.append((question, answer))
        if self._idle:
            self._occupy(self._idle.pop())
        elif len(self._ends) < READERS:
            self._occupy(self._start())
        return answer

    @property
    def waiting(self) -> int:
        """How many questions wait for their answers."""
        return self._waiting

    def _start(self) -> SimpleQueue[_Asked | None]:
        own: SimpleQueue[_Asked | None] = SimpleQueue()
        self._ends.append(Deferred())
        name = f"jabberd reader {len(self._ends)}"
        Thread(target=self._work, args=[own, self._ends[-1]], name=name, daemon=True).start()
        return own

    def _occupy(self, reader: SimpleQueue[_Asked | None]) -> None:
        """Give an idle reader what is left, if others have not taken it meanwhile."""
        asked = self._next()
        if asked is not None:
            reader.put(asked)
        elif self._closing:
            reader.put(None)
        else:
            self._idle.append(reader)

    def _next(self) -> _Asked | None:
        try:
            return self._left.popleft()
        except IndexError:
            return None

    def _work(self, own: SimpleQueue[_Asked | None], ended: Deferred[None]) -> None:
        while asked := own.get():
            while asked:
                question, answer = asked
                try:
                    outcome = ask(self._engine, question)
                except Exception:  # noqa: BLE001 - told to whoever asked
                    outcome = Failure()
                asked = self._next()
                self._reactor.callFromThread(self._tell, answer, outcome, None if asked else own)
        self._reactor.callFromThread(ended.callback, None)

    def _tell(self, answer: Deferred[Any], outcome: object, idle: SimpleQueue[_Asked | None] | None) -> None:
        self._waiting -= 1
        if idle is not None:
            self._occupy(idle)
        answer.callback(outcome)

    def close(self) -> Deferred[None]:
        """Answer what was asked, then end."""
        self._closing = True
        idle, self._idle = self._idle, []
        for each in idle:
            self._occupy(each)
        return DeferredList(self._ends).addCallback(lambda _: self._engine.dispose())
