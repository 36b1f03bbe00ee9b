"""A copy of the storage from a running server, and a storage from a copy."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from jabberd.api import Refused, operator

if TYPE_CHECKING:
    from jabberd.jsm.credentials import Run

__all__ = ["Backup", "Restore"]


class Backup:
    """``backup``, also from a running server.

    :param url: of the storage.
    :param run: where the copy is made; it takes long.
    """

    def __init__(self, url: str, run: Run) -> None:
        self._url = url
        self._run = run

    @operator("copy the storage into a new file, as it is at this moment")
    async def backup(self, file: str) -> dict[str, object]:
        """The copy is whole, and examined; nobody waits meanwhile.

        :raises Refused: it cannot be made; nothing is left of it.
        """
        source, copy = _database(self._url), Path(file)
        if not copy.is_absolute():
            raise Refused(f"write the whole path of {file}, from / on")
        return await self._run(lambda: _copied(source, copy))


class Restore:
    """``restore``, while no server runs.

    :param url: of the storage; it is this process's own.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @operator("put a backup in place of the storage, while no server runs")
    def restore(self, file: str, overwrite: Literal["", "overwrite"] = "") -> str:
        """The backup is examined first; it stays.

        :param overwrite: must be said when there is a storage already, which is lost.
        """
        target, source = _database(self._url), Path(file)
        if not source.is_file():
            raise Refused(f"{source} is not there")
        if target.exists() and not overwrite:
            raise Refused(f"{target} exists; say `restore {file} overwrite` to lose what is in it")
        _examine(source)
        fresh = target.with_name(f"{target.name}.restored")
        fresh.unlink(missing_ok=True)  # of an attempt that was cut short
        _copied(source, fresh)
        for suffix in ("-wal", "-shm"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        fresh.replace(target)
        return f"{target} is what {source} was"


def _database(url: str) -> Path:
    """The file of the storage."""
    if url.startswith("postgresql"):
        raise Refused("PostgreSQL has its own tools: pg_dump -Fc, pg_restore")
    if not url.startswith("sqlite"):
        raise Refused("what is kept in memory cannot be copied")
    return Path(unquote(url.removeprefix("sqlite:///"))).absolute()


def _copied(source: Path, target: Path) -> dict[str, object]:
    """Copy a database that others may be writing to; returns what became of it.

    :raises Refused: it cannot be.
    """
    began = time.monotonic()
    if target.exists():
        raise Refused(f"{target} exists already; name another file")
    part = target.with_name(f"{target.name}.part")
    try:
        part.touch(mode=0o600)  # it holds SCRAM keys
        with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(part)) as copy:
            original.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file
        _examine(part)
        _synced(part)
        part.replace(target)
        _synced(target.parent)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        why = error.strerror if isinstance(error, OSError) else error
        raise Refused(f"{target} cannot be made: {why}; name a file in a folder with room for it") from None
    seconds = round(time.monotonic() - began, 2)
    return {"file": str(target), "bytes": target.stat().st_size, "seconds": seconds, "integrity": "ok"}


def _examine(path: Path) -> None:
    """See that this is a whole database of ours.

    :raises Refused: it is not.
    """
    from jabberd.storage.schema import MIGRATIONS, revisions  # noqa: PLC0415 - SQLAlchemy: not for "memory"

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            [(said,)] = database.execute("PRAGMA integrity_check(1)")
            [(found,)] = database.execute("SELECT version_num FROM alembic_version")
    except (sqlite3.Error, ValueError) as error:
        raise Refused(f"{path} is not a backup of jabberd's: {error}") from None
    if said != "ok":
        raise Refused(f"{path} is damaged: {said}")
    if found not in revisions(MIGRATIONS):
        raise Refused(f"{path} has schema {found}, which this jabberd does not know; use a newer one")


def _synced(path: Path) -> None:
    """Have the system write it down."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
