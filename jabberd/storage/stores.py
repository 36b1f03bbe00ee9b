"""The stores in a database, written once for SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from sqlalchemy import Connection, bindparam, delete, func, select, text
from twisted.internet.defer import Deferred, maybeDeferred

from jabberd.storage.archive import SqlArchive
from jabberd.storage.database import Database, Direct, Threaded
from jabberd.storage.engine import check_encoding, engines, explained
from jabberd.storage.lists import FORGET as FORGET_ORDERED
from jabberd.storage.lists import SqlOrdered
from jabberd.storage.schema import bring_up_to_date
from jabberd.storage.tables import archive, keyed
from jabberd.storage.values import Catalogue, Ids, Values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Column, Select

    from jabberd.measure import StorageFigures
    from jabberd.storage.batch import FromThreads, Step

T = TypeVar("T")

# Made once, so that SQLAlchemy compiles each once and the writer knows the same when it sees it
PUT: Final = text(
    "INSERT INTO keyed (owner, store, key, domain, value) VALUES (:owner, :store, :key, :domain, :value)"
    " ON CONFLICT (owner, store, key) DO UPDATE SET value = excluded.value"
)
REMOVE: Final = delete(keyed).where(
    keyed.c.owner == bindparam("owner"), keyed.c.store == bindparam("store"), keyed.c.key == bindparam("key")
)
GET: Final = select(keyed.c.value).where(
    keyed.c.owner == bindparam("owner"), keyed.c.store == bindparam("store"), keyed.c.key == bindparam("key")
)
LOAD: Final = select(keyed.c.store, keyed.c.key, keyed.c.value).where(
    keyed.c.owner == bindparam("owner"), keyed.c.store.in_(bindparam("stores", expanding=True))
)
OWNERS: Final = (
    select(keyed.c.owner)
    .where(keyed.c.store == bindparam("store"), keyed.c.domain == bindparam("domain"))
    .distinct()
)
HAVING: Final = (
    select(keyed.c.owner)
    .where(keyed.c.store == bindparam("store"), keyed.c.domain == bindparam("domain"))
    .where(keyed.c.key == bindparam("key"))
)
PAGE: Final = (
    select(keyed.c.owner, keyed.c.value)
    .where(keyed.c.store == bindparam("store"), keyed.c.domain == bindparam("domain"))
    .where(keyed.c.key == "", keyed.c.owner > bindparam("after"))
)
SOME: Final = select(keyed.c.key, keyed.c.value).where(
    keyed.c.owner == bindparam("owner"),
    keyed.c.store == bindparam("store"),
    keyed.c.key > bindparam("after"),
)
FORGET: Final = (
    delete(keyed).where(keyed.c.owner == bindparam("owner")),
    delete(archive).where(archive.c.owner == bindparam("owner")),
    FORGET_ORDERED,
)
LAST: Final = select(func.max(archive.c.id))


def open_sql(url: str, reactor: FromThreads | None) -> SqlStorage:
    """What `jabberd.storage.open_storage` promises, for a database."""
    writing, reading = engines(url)
    try:
        with explained(writing):
            check_encoding(writing)
            bring_up_to_date(writing)
            with writing.connect() as connection:
                last = connection.scalar(LAST) or 0
    finally:
        writing.dispose()
    database = Threaded(writing, reading, reactor) if reactor else Direct(writing, reading)
    return SqlStorage(database, Ids(last))


class SqlStorage:
    """Implements `jabberd.interfaces.Storage`."""

    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids
        self._catalogue = Catalogue()

    def keyed(self, name: str, of: type[T]) -> SqlKeyed[T]:
        return SqlKeyed(self._database, name, self._catalogue.declare(name, of))

    def archive(self, name: str) -> SqlArchive:
        return SqlArchive(self._database, name, self._ids)

    def ordered(self, name: str, of: type[T]) -> SqlOrdered[T]:
        return SqlOrdered(self._database, name, self._catalogue.declare(name, of))

    def load(self, owner: str, stores: Iterable[str]) -> Deferred[dict[str, dict[str, object]]]:
        values = {name: self._catalogue[name] for name in stores}

        def question(connection: Connection) -> dict[str, dict[str, object]]:
            found: dict[str, dict[str, object]] = {name: {} for name in values}
            for store, key, value in connection.execute(LOAD, {"owner": str(owner), "stores": list(values)}):
                found[store][key] = values[store].load(key, value)
            return found

        return self._database.read(question)

    def save(
        self, owner: str, changes: Mapping[str, Mapping[str, object]], *, anew: bool = False
    ) -> Deferred[None]:
        values = {name: self._catalogue[name] for name in changes}

        def write() -> Deferred[None]:
            steps = _forgetting(owner) if anew else []
            for name, some in changes.items():
                steps += _steps(str(owner), name, values[name], some)
            return self._database.write(steps, None)

        return maybeDeferred(write)

    def forget(self, owner: str) -> Deferred[None]:
        return self._database.write(_forgetting(owner), None)

    def figures(self) -> StorageFigures:
        return self._database.figures()

    def close(self) -> Deferred[None]:
        return self._database.close()


def _forgetting(owner: str) -> list[Step]:
    return [(statement, [{"owner": str(owner)}]) for statement in FORGET]


def _steps(owner: str, store: str, values: Values[Any], changes: Mapping[str, object]) -> list[Step]:
    """What puts and, for None, removes values."""
    put: list[dict[str, object]] = []
    removed: list[dict[str, object]] = []
    for key, value in changes.items():
        row: dict[str, object] = {"owner": owner, "store": store, "key": str(key)}
        if value is None:
            removed.append(row)
        else:
            put.append(row | {"domain": owner.rpartition("@")[2], "value": values.dump(value)})
    return [(statement, rows) for statement, rows in ((PUT, put), (REMOVE, removed)) if rows]


class SqlKeyed(Generic[T]):
    """Implements `jabberd.interfaces.Keyed`."""

    def __init__(self, database: Database, name: str, values: Values[T]) -> None:
        self._database = database
        self._name = name
        self._values = values

    def get(self, owner: str, key: str = "") -> Deferred[T | None]:
        def question(connection: Connection) -> T | None:
            value = connection.scalar(GET, {"owner": str(owner), "store": self._name, "key": str(key)})
            return None if value is None else self._values.load(key, value)

        return self._database.read(question)

    def all(self, owner: str) -> Deferred[dict[str, T]]:
        def question(connection: Connection) -> dict[str, T]:
            found = connection.execute(LOAD, {"owner": str(owner), "stores": [self._name]})
            return {key: self._values.load(key, value) for _, key, value in found}

        return self._database.read(question)

    def put(self, owner: str, key: str, value: T) -> Deferred[None]:
        return self.change(owner, {key: value})

    def change(self, owner: str, changes: Mapping[str, T | None]) -> Deferred[None]:
        return maybeDeferred(self._change, str(owner), changes)

    def _change(self, owner: str, changes: Mapping[str, T | None]) -> Deferred[None]:
        return self._database.write(_steps(owner, self._name, self._values, changes), None)

    def owners(self, domain: str) -> Deferred[list[str]]:
        def question(connection: Connection) -> list[str]:
            # Sorted here: every PostgreSQL database has its own idea of the order of letters
            return sorted(connection.scalars(OWNERS, {"store": self._name, "domain": str(domain)}))

        return self._database.read(question)

    def having(self, domain: str, key: str) -> Deferred[list[str]]:
        def question(connection: Connection) -> list[str]:
            wanted = {"store": self._name, "domain": str(domain), "key": str(key)}
            return sorted(connection.scalars(HAVING, wanted))

        return self._database.read(question)

    def page(
        self, domain: str, after: str = "", limit: int = 1000, *, before: str = "", last: bool = False
    ) -> Deferred[dict[str, T]]:
        wanted = {"store": self._name, "domain": str(domain), "after": str(after)}
        rows = self._between(PAGE, keyed.c.owner, wanted, before, limit, last=last)
        return rows.addCallback(lambda rows: {owner: self._values.load("", value) for owner, value in rows})

    def some(
        self, owner: str, *, after: str = "", before: str = "", limit: int = 1000, last: bool = False
    ) -> Deferred[dict[str, T]]:
        wanted = {"store": self._name, "owner": str(owner), "after": str(after)}
        rows = self._between(SOME, keyed.c.key, wanted, before, limit, last=last)
        return rows.addCallback(lambda rows: {key: self._values.load(key, value) for key, value in rows})

    def _between(
        self,
        statement: Select[Any],
        column: Column[str],
        wanted: Mapping[str, str],
        before: str,
        limit: int,
        *,
        last: bool,
    ) -> Deferred[list[Any]]:
        """The rows of a page, in order."""
        if before:
            statement = statement.where(column < bindparam("before"))
            wanted = {**wanted, "before": str(before)}
        statement = statement.order_by(column.desc() if last else column).limit(limit)

        def question(connection: Connection) -> list[Any]:
            rows = list(connection.execute(statement, wanted))
            return rows[::-1] if last else rows

        return self._database.read(question)
