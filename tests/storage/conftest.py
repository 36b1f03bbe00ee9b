from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.storage import open_storage
from jabberd.storage.database import Threaded
from jabberd.storage.stores import SqlStorage
from tests.storage.postgresql import Server, serve
from tests.storage.pump import Pump

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jabberd.interfaces import Storage

POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.foreign)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    yield from serve()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jabberd.db"


@pytest.fixture(params=["sqlite", POSTGRESQL])
def sql_url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return sqlite_url
    server: Server = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def pump() -> Pump:
    return Pump()


@pytest.fixture(params=["memory", "sqlite", POSTGRESQL])
def storage(request: pytest.FixtureRequest, pump: Pump, sqlite_url: str) -> Iterator[Storage]:
    """A storage of each kind, empty."""
    url = {"memory": "memory", "sqlite": sqlite_url}.get(request.param)
    opened = open_storage(url or request.getfixturevalue("postgresql").new_database(), pump)
    yield opened
    pump.wait(opened.close())


class Opened:
    """A storage in a database, with a view of the parts behind it."""

    def __init__(self, url: str, pump: Pump) -> None:
        storage = open_storage(url, pump)
        assert isinstance(storage, SqlStorage)
        assert isinstance(storage._database, Threaded)
        self.url = url
        self.storage = storage
        self.writer = storage._database._writer
        self.writing = self.writer._engine
        self.reading = storage._database._readers._engine


@pytest.fixture
def sql(sql_url: str, pump: Pump) -> Iterator[Opened]:
    """A storage in each kind of database, empty."""
    opened = Opened(sql_url, pump)
    yield opened
    pump.wait(opened.storage.close())


@pytest.fixture
def sqlite(sqlite_url: str, pump: Pump) -> Iterator[Opened]:
    """A storage in SQLite, empty."""
    opened = Opened(sqlite_url, pump)
    yield opened
    pump.wait(opened.storage.close())
