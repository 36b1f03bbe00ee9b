"""One server for each storage: two that write to one would not see what the other does."""

from __future__ import annotations

import os
from pathlib import Path
from socket import gethostname
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, Protocol

from jabberd.interfaces import StorageError
from jabberd.lock import FileLock, HeldError

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["InUseError", "Ownership", "ownership", "take"]

_KEY: Final = 0x6A61_6262_6572_6400  # "jabberd" in ASCII: PostgreSQL's locks have numbers for names
_PREFIX: Final = "jabberd "
_MOMENT: Final = 3.0  # seconds that `jabberctl` works on a storage without a server, and more
_PAUSE: Final = 0.1

_HOLDER: Final = """
    SELECT activity.application_name FROM pg_locks AS held
    JOIN pg_stat_activity AS activity ON activity.pid = held.pid
    WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
    AND (held.classid::bigint << 32) + held.objid::bigint = :key
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class InUseError(StorageError):
    """Another process works with this storage; the text names it."""


class Ownership(Protocol):
    """The right to work with a storage.

    :cvar perishable: whether it can be lost while the process runs; `renew` then finds out.
    """

    perishable: bool

    def acquire(self) -> None:
        """Take it.  It ends with the process, and does not outlive a fork.

        :raises InUseError: another process has it.
        :raises StorageError: nobody can tell.
        """

    def renew(self) -> None:
        """See that it is still held, and take it again if it was lost: a database that restarts forgets it.

        It may take seconds: run it in a thread.

        :raises InUseError: another process has it meanwhile.
        :raises StorageError: nobody can tell just now; try again.
        """

    def release(self) -> None:
        """Let others take it; nothing happens if it is not held."""


def ownership(url: str) -> Ownership:
    """The right to work with the storage of that URL (see `jabberd.storage.open_storage`); not yet taken."""
    if url == "memory":
        return _Unshared()
    from sqlalchemy import make_url  # noqa: PLC0415 - only what is used costs memory

    parsed = make_url(url)
    if parsed.drivername == "sqlite":
        return _OfFile(Path(parsed.database or "").absolute())
    return _OfDatabase(url)


def take(ours: Ownership) -> None:
    """Acquire it for a server, which ends otherwise: who has it for a moment only is waited for.

    Whoever types ``jabberctl`` while a server is started anew would keep it from starting.

    :raises InUseError: another process has it for longer.
    :raises StorageError: nobody can tell.
    """
    until = monotonic() + _MOMENT
    while True:
        try:
            ours.acquire()
        except InUseError:
            if monotonic() > until:
                raise
            sleep(_PAUSE)
        else:
            return


class _Unshared:
    """Of what is in this process alone."""

    perishable = False

    def acquire(self) -> None:
        """See `Ownership`."""

    def renew(self) -> None:
        """See `Ownership`."""

    def release(self) -> None:
        """See `Ownership`."""


class _OfFile:
    """A lock beside the file; SQLite's own locks on the file itself come and go with every write."""

    perishable = False

    def __init__(self, path: Path) -> None:
        real = path.resolve()
        self._path = path
        self._lock = FileLock(real.with_name(f"{real.name}.lock"))

    def acquire(self) -> None:
        """See `Ownership`."""
        try:
            self._lock.acquire()
        except HeldError as held:
            raise InUseError(
                f"{self._path} is in use by process {held.pid}; end it first, or name another storage"
            ) from None
        except OSError as error:
            raise StorageError(
                f"cannot write {error.filename}: {error.strerror}; make the folder,"
                " give it to the user that jabberd runs as, or correct storage.url"
            ) from None

    def renew(self) -> None:
        """The system takes it from nobody."""

    def release(self) -> None:
        """See `Ownership`."""
        self._lock.release()


class _OfDatabase:
    """An advisory lock, held by a connection whose name tells the process."""

    perishable = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._held: tuple[Engine, Any] | None = None

    def acquire(self) -> None:
        """See `Ownership`."""
        from sqlalchemy import text  # noqa: PLC0415 - only what is used costs memory

        from jabberd.storage.engine import engines, explained  # noqa: PLC0415 - the same

        _, engine = engines(self._url)
        with explained(engine):
            connection = engine.connect()
            name = f"{_PREFIX}{os.getpid()} on {gethostname()}"
            connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": name})
            if connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _KEY}):
                self._held = engine, connection
                return
            holder = connection.scalar(text(_HOLDER), {"key": _KEY}) or f"{_PREFIX}of unknown number"
            connection.close()
            engine.dispose()
        who = f"process {holder.removeprefix(_PREFIX)}"
        raise InUseError(f"the database is in use by {who}; end it first, or name another storage")

    def renew(self) -> None:
        """See `Ownership`."""
        from sqlalchemy import text  # noqa: PLC0415 - only what is used costs memory
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - the same

        if self._held is not None:
            try:
                self._held[1].scalar(text("SELECT 1"))
            except DBAPIError:
                self.release()
            else:
                return
        self.acquire()

    def release(self) -> None:
        """See `Ownership`."""
        if self._held is not None:
            engine, connection = self._held
            self._held = None
            connection.invalidate()  # the lock ends with the connection, which the pool would keep
            engine.dispose()
