"""What SQLite and PostgreSQL want to be told, and what their errors at start mean."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from jabberd.interfaces import StorageError
from jabberd.storage.batch import reason

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a database says, and what to do about it.
REMEDIES: Final = {
    "password": "check the user and the password in storage.url",
    "does not exist": "make it with createuser and createdb, or correct storage.url",
    "connection": "start PostgreSQL, or correct the host and port in storage.url",
    "resolve": "correct the host in storage.url",
    "not a database": "name another file in storage.url",
    "locked": "end the other program that is using it",
    "readonly": "give the file and its folder to the user that jabberd runs as",
    "unable to open": "give the file and its folder to the user that jabberd runs as",
    "full": "make room on the disk",
}


def engines(url: str) -> tuple[Engine, Engine]:
    """One engine to write with, whose transactions begin with the lock for writing, and one to read with.

    :raises StorageError: the URL is not one of ours, or the driver is missing.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _unknown() from None
    if parsed.drivername == "sqlite" and parsed.database not in {None, "", ":memory:"} and not parsed.query:
        return _sqlite(parsed)
    if parsed.drivername == "postgresql":
        return _postgresql(parsed)
    raise _unknown()


def _unknown() -> StorageError:
    return StorageError(
        'storage.url is not understood; write "sqlite:///var/jabberd.db",'
        ' "postgresql://user:password@host/database" or "memory"'
    )


def _sqlite(url: URL) -> tuple[Engine, Engine]:
    path = Path(url.database or "").absolute()  # twistd may change the directory
    try:
        path.touch(mode=0o600)  # it holds SCRAM keys; its -wal and -shm get the same mode
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; make the folder,"
            " give it to the user that jabberd runs as, or correct storage.url"
        ) from None
    url = url.set(database=str(path))
    writing = create_engine(url, hide_parameters=True)
    reading = create_engine(url, hide_parameters=True, isolation_level="AUTOCOMMIT")
    event.listen(writing, "connect", _prepare)
    event.listen(reading, "connect", _prepare)
    event.listen(reading, "connect", _remember_little)
    event.listen(writing, "begin", _begin_immediate)
    return writing, reading


def _prepare(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin_immediate` does
    for pragma in ("busy_timeout=5000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _remember_little(connection: Any, _: object) -> None:
    """Keep half a MiB of pages, not two: the kernel has them, too, and a login costs the same."""
    connection.execute("PRAGMA cache_size=-500")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgresql(url: URL) -> tuple[Engine, Engine]:
    url = url.set(drivername="postgresql+psycopg")
    ours = {"connect_timeout": "5", "application_name": "jabberd", "client_encoding": "utf8"}
    url = url.set(query={**ours, **url.query})
    try:
        writing = create_engine(url, hide_parameters=True, pool_pre_ping=True)
        reading = create_engine(url, hide_parameters=True, pool_pre_ping=True, isolation_level="AUTOCOMMIT")
    except ImportError as error:
        raise StorageError(
            f"PostgreSQL needs psycopg ({reason(error)}); {sys.executable} -m pip install 'psycopg[binary]'"
        ) from None
    return writing, reading


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Errors of the database, with what to do about them.

    :raises StorageError: instead.
    """
    try:
        yield
    except DBAPIError as error:
        why = reason(error)
        remedy = next((do for said, do in REMEDIES.items() if said in why), "check storage.url")
        raise StorageError(f"{_name(engine)}: {why}; {remedy}") from None


def _name(engine: Engine) -> str:
    """The URL without its password (which may stand in the query too)."""
    return engine.url.set(query={}).render_as_string()


def check_encoding(engine: Engine) -> None:
    """:raises StorageError: the database cannot hold every text (PostgreSQL under ``LANG=C``)."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise StorageError(
                f"{_name(engine)}: the database has the encoding {encoding}, not UTF8;"
                " make one with createdb -E UTF8 -T template0"
            )
