"""Values in the order in which they were put, in a database: written once for SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from sqlalchemy import Connection, bindparam, delete, func, select, text
from twisted.internet.defer import Deferred, maybeDeferred

from jabberd.interfaces import Entry, Page
from jabberd.storage.tables import ordered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jabberd.storage.database import Database
    from jabberd.storage.values import Values

T = TypeVar("T")

_LIST: Final = (
    ordered.c.owner == bindparam("owner"),
    ordered.c.store == bindparam("store"),
    ordered.c.list == bindparam("list"),
)
#: The place is counted here: one thread writes, and the clock need not be right.
PUT: Final = text(
    "INSERT INTO ordered (owner, store, list, key, place, size, value)"
    " VALUES (:owner, :store, :list, :key,"
    " (SELECT COALESCE(MAX(place), 0) + 1 FROM ordered"
    " WHERE owner = :owner AND store = :store AND list = :list), :size, :value)"
    " ON CONFLICT (owner, store, list, key) DO UPDATE"
    " SET place = excluded.place, size = excluded.size, value = excluded.value"
)
REMOVE: Final = delete(ordered).where(*_LIST, ordered.c.key == bindparam("key"))
CLEAR: Final = delete(ordered).where(*_LIST)
FORGET: Final = delete(ordered).where(ordered.c.owner == bindparam("owner"))
PLACE: Final = select(ordered.c.place).where(*_LIST, ordered.c.key == bindparam("key"))
COUNT: Final = select(func.count()).select_from(ordered).where(*_LIST)
BELOW: Final = COUNT.where(ordered.c.place < bindparam("below"))
ENTRIES: Final = select(ordered.c.key, ordered.c.place, ordered.c.value).where(*_LIST)
NAMED: Final = ENTRIES.where(ordered.c.key.in_(bindparam("keys", expanding=True))).order_by(ordered.c.place)
BETWEEN: Final = ENTRIES.where(ordered.c.place > bindparam("after"), ordered.c.place < bindparam("before"))
OLDEST: Final = BETWEEN.order_by(ordered.c.place)
NEWEST: Final = BETWEEN.order_by(ordered.c.place.desc())
SIZES: Final = (
    select(ordered.c.list, func.count(), func.sum(ordered.c.size))
    .where(ordered.c.owner == bindparam("owner"), ordered.c.store == bindparam("store"))
    .group_by(ordered.c.list)
)
SIZE: Final = SIZES.where(ordered.c.list == bindparam("list"))
_END: Final = 1 << 62


class SqlOrdered(Generic[T]):
    """Implements `jabberd.interfaces.Ordered`."""

    def __init__(self, database: Database, name: str, values: Values[T]) -> None:
        self._database = database
        self._name = name
        self._values = values

    def _of(self, owner: str, list: str) -> dict[str, object]:
        return {"owner": str(owner), "store": self._name, "list": str(list)}

    def get(self, owner: str, list: str, keys: Iterable[str]) -> Deferred[tuple[Entry[T], ...]]:
        wanted = self._of(owner, list) | {"keys": [str(key) for key in keys]}
        return self._database.read(lambda connection: self._entries(connection.execute(NAMED, wanted)))

    def page(
        self, owner: str, list: str, *, after: str = "", before: str = "", limit: int, last: bool = False
    ) -> Deferred[Page[T] | None]:
        place = self._of(owner, list)

        def question(connection: Connection) -> Page[T] | None:
            bounds = {"after": 0, "before": _END}
            for name, key in (("after", after), ("before", before)):
                if key:
                    found = connection.scalar(PLACE, place | {"key": str(key)})
                    if found is None:
                        return None
                    bounds[name] = found
            statement = (NEWEST if last else OLDEST).limit(limit)
            entries = self._entries(connection.execute(statement, place | bounds))
            if last:
                entries = entries[::-1]
            below = connection.scalar(BELOW, place | {"below": entries[0].place}) if entries else 0
            return Page(entries, below or 0, connection.scalar(COUNT, place) or 0)

        return self._database.read(question)

    def change(
        self, owner: str, list: str, put: Mapping[str, T], remove: Iterable[str] = ()
    ) -> Deferred[None]:
        return maybeDeferred(self._change, self._of(owner, list), put, remove)

    def _change(
        self, place: dict[str, object], put: Mapping[str, T], remove: Iterable[str]
    ) -> Deferred[None]:
        removed = [place | {"key": str(key)} for key in remove]
        added = [place | {"key": str(key)} | self._written(value) for key, value in put.items()]
        steps = [(statement, rows) for statement, rows in ((REMOVE, removed), (PUT, added)) if rows]
        return self._database.write(steps, None)

    def _written(self, value: T) -> dict[str, object]:
        written = self._values.dump(value)
        return {"value": written, "size": len(written.encode())}

    def clear(self, owner: str, list: str) -> Deferred[None]:
        return self._database.write([(CLEAR, [self._of(owner, list)])], None)

    def sizes(self, owner: str, list: str = "") -> Deferred[dict[str, tuple[int, int]]]:
        def question(connection: Connection) -> dict[str, tuple[int, int]]:
            found = connection.execute(SIZE if list else SIZES, self._of(owner, list))
            return {list: (count, int(size)) for list, count, size in found}

        return self._database.read(question)

    def _entries(self, rows: Iterable[Any]) -> tuple[Entry[T], ...]:
        return tuple(Entry(key, place, self._values.load(key, value)) for key, place, value in rows)
