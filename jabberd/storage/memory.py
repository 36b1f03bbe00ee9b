"""Storage in memory: for trials and tests.  It ends with the process."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, execute, succeed

from jabberd.interfaces import ArchiveRow, Entry, Page, Span, neighbours
from jabberd.measure import StorageFigures
from jabberd.storage.values import Catalogue, Ids, Values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

T = TypeVar("T")


class MemoryStorage:
    """Implements `jabberd.interfaces.Storage`; every Deferred has fired when it is returned.

    Values are kept as JSON, so that types behave as they do in a database.
    """

    def __init__(self) -> None:
        self._catalogue = Catalogue()
        self._texts: defaultdict[str, Texts] = defaultdict(dict)
        self._archives: dict[str, MemoryArchive] = {}
        self._lists: defaultdict[str, Lists] = defaultdict(dict)
        self._ids = Ids()

    def keyed(self, name: str, of: type[T]) -> MemoryKeyed[T]:
        return MemoryKeyed(self._catalogue.declare(name, of), self._texts[name])

    def archive(self, name: str) -> MemoryArchive:
        return self._archives.setdefault(name, MemoryArchive(self._ids))

    def ordered(self, name: str, of: type[T]) -> MemoryOrdered[T]:
        return MemoryOrdered(self._catalogue.declare(name, of), self._lists[name])

    def load(self, owner: str, stores: Iterable[str]) -> Deferred[dict[str, dict[str, object]]]:
        found = {name: MemoryKeyed(self._catalogue[name], self._texts[name]) for name in stores}
        return execute(lambda: {name: keyed.read(owner) for name, keyed in found.items()})

    def save(
        self, owner: str, changes: Mapping[str, Mapping[str, object]], *, anew: bool = False
    ) -> Deferred[None]:
        stores = {name: MemoryKeyed(self._catalogue[name], self._texts[name]) for name in changes}
        return execute(self._save, owner, changes, stores, anew)

    def _save(
        self,
        owner: str,
        changes: Mapping[str, Mapping[str, object]],
        stores: Mapping[str, MemoryKeyed[object]],
        anew: bool,
    ) -> None:
        new = {name: stores[name].written(values) for name, values in changes.items()}  # may fail
        if anew:
            self.forget(owner)
        for name, texts in new.items():
            stores[name].become(owner, texts)

    def forget(self, owner: str) -> Deferred[None]:
        for texts in self._texts.values():
            texts.pop(owner, None)
        for archive in self._archives.values():
            archive.forget(owner)
        for lists in self._lists.values():
            lists.pop(owner, None)
        return succeed(None)

    def figures(self) -> StorageFigures:
        return StorageFigures()

    def close(self) -> Deferred[None]:
        return succeed(None)


#: JSON by owner and key; an owner without a value is not in it.
Texts = dict[str, dict[str, str]]


class MemoryKeyed(Generic[T]):
    """Implements `jabberd.interfaces.Keyed`."""

    def __init__(self, values: Values[T], texts: Texts) -> None:
        self._values = values
        self._texts = texts

    def read(self, owner: str) -> dict[str, T]:
        """What `all` fires with."""
        return {key: self._values.load(key, text) for key, text in self._texts.get(owner, {}).items()}

    def get(self, owner: str, key: str = "") -> Deferred[T | None]:
        text = self._texts.get(owner, {}).get(key)
        return succeed(None) if text is None else execute(self._values.load, key, text)

    def all(self, owner: str) -> Deferred[dict[str, T]]:
        return execute(self.read, owner)

    def put(self, owner: str, key: str, value: T) -> Deferred[None]:
        return execute(self._change, owner, {key: value})

    def change(self, owner: str, changes: Mapping[str, T | None]) -> Deferred[None]:
        return execute(self._change, owner, changes)

    def _change(self, owner: str, changes: Mapping[str, T | None]) -> None:
        self.become(owner, self.written(changes))

    def written(self, changes: Mapping[str, T | None]) -> dict[str, str | None]:
        """The changes as text.

        :raises StorageError: a value is none of this store's.
        """
        return {key: None if value is None else self._values.dump(value) for key, value in changes.items()}

    def become(self, owner: str, changes: Mapping[str, str | None]) -> None:
        """Make changes that are written already."""
        there = {**self._texts.pop(owner, {}), **changes}
        kept = {key: text for key, text in there.items() if text is not None}
        if kept:
            self._texts[owner] = kept

    def owners(self, domain: str) -> Deferred[list[str]]:
        return succeed(sorted(owner for owner in self._texts if owner.rpartition("@")[2] == domain))

    def having(self, domain: str, key: str) -> Deferred[list[str]]:
        there = (owner for owner, texts in self._texts.items() if key in texts)
        return succeed(sorted(owner for owner in there if owner.rpartition("@")[2] == domain))

    def page(
        self, domain: str, after: str = "", limit: int = 1000, *, before: str = "", last: bool = False
    ) -> Deferred[dict[str, T]]:
        there = {
            owner: texts[""]
            for owner, texts in self._texts.items()
            if "" in texts and owner.rpartition("@")[2] == domain
        }
        return execute(self._between, there, after, before, limit, last)

    def some(
        self, owner: str, *, after: str = "", before: str = "", limit: int = 1000, last: bool = False
    ) -> Deferred[dict[str, T]]:
        return execute(self._between, self._texts.get(owner, {}), after, before, limit, last)

    def _between(
        self, texts: Mapping[str, str], after: str, before: str, limit: int, last: bool
    ) -> dict[str, T]:
        found = neighbours(texts, after, before, limit, last=last)
        return {key: self._values.load(key, text) for key, text in found.items()}


class MemoryArchive:
    """Implements `jabberd.interfaces.Archive`."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._rows: defaultdict[str, dict[int, _Kept]] = defaultdict(dict)

    def new_id(self, stamp: datetime) -> int:
        return self._ids.next(stamp)

    def append(
        self,
        owner: str,
        peer: str,
        stamp: datetime,
        stanza: bytes,
        *,
        id: int | None = None,
        waiting: bool = False,
        patient: bool = False,  # noqa: ARG002  # it is stored at once
        beside: Deferred[int] | None = None,  # noqa: ARG002  # is stored already
    ) -> Deferred[int]:
        id = self._ids.next(stamp) if id is None else id
        bare, _, resource = peer.partition("/")
        row = ArchiveRow(id, stamp.astimezone(UTC), bare, stanza, waiting)
        self._rows[owner][id] = _Kept(row, resource)
        return succeed(id)

    def rows(
        self, owner: str, *, after: int = 0, span: Span | None = None, limit: int | None = None
    ) -> Deferred[list[ArchiveRow]]:
        return succeed(self._within(owner, span or Span(after=after))[:limit])

    def newest(self, owner: str, span: Span, limit: int) -> Deferred[list[ArchiveRow]]:
        rows = self._within(owner, span)
        return succeed(rows[max(len(rows) - limit, 0) :])

    def ids(
        self, owner: str, span: Span, *, limit: int, newest: bool = False, skip: int = 0
    ) -> Deferred[list[int]]:
        ids = [row.id for row in self._within(owner, span)]
        return succeed((ids[::-1] if newest else ids)[skip : skip + limit])

    def count(self, owner: str, span: Span | None = None) -> Deferred[int]:
        return succeed(len(self._within(owner, span or Span())))

    def size(self, owner: str, span: Span | None = None) -> Deferred[tuple[int, int]]:
        rows = self._within(owner, span or Span())
        return succeed((len(rows), sum(len(row.stanza) for row in rows)))

    def _within(self, owner: str, span: Span) -> list[ArchiveRow]:
        found = sorted(self._rows.get(owner, {}).items())
        return [kept.row for _, kept in found if kept.belongs_to(span)]

    def replace(self, owner: str, id: int, stanza: bytes) -> Deferred[None]:
        return self._change(owner, [id], lambda row: replace(row, stanza=stanza))

    def mark(self, owner: str, ids: Iterable[int], *, waiting: bool) -> Deferred[None]:
        return self._change(owner, ids, lambda row: replace(row, waiting=waiting))

    def _change(
        self, owner: str, ids: Iterable[int], change: Callable[[ArchiveRow], ArchiveRow]
    ) -> Deferred[None]:
        rows = self._rows.get(owner, {})
        rows.update({id: rows[id]._replace(row=change(rows[id].row)) for id in ids if id in rows})
        return succeed(None)

    def remove(self, owner: str, ids: Iterable[int]) -> Deferred[None]:
        for row in ids:
            self._rows[owner].pop(row, None)
        return succeed(None)

    def forget(self, owner: str) -> None:
        """Drop all rows of the owner."""
        self._rows.pop(owner, None)


class _Kept(NamedTuple):
    row: ArchiveRow
    resource: str

    def belongs_to(self, span: Span) -> bool:
        row = self.row
        peer = f"{row.peer}/{self.resource}" if "/" in span.peer else row.peer
        return (
            span.after < row.id < span.before
            and (not span.peer or peer == span.peer)
            and (span.ids is None or row.id in span.ids)
            and (row.waiting or not span.waiting)
        )


#: Place and JSON by owner, list and key, in the order in which they were put.
Lists = dict[str, dict[str, dict[str, tuple[int, str]]]]


class MemoryOrdered(Generic[T]):
    """Implements `jabberd.interfaces.Ordered`."""

    def __init__(self, values: Values[T], lists: Lists) -> None:
        self._values = values
        self._lists = lists

    def _of(self, owner: str, list: str) -> dict[str, tuple[int, str]]:
        return self._lists.get(owner, {}).get(list, {})

    def _entry(self, key: str, place: int, text: str) -> Entry[T]:
        return Entry(key, place, self._values.load(key, text))

    def get(self, owner: str, list: str, keys: Iterable[str]) -> Deferred[tuple[Entry[T], ...]]:
        wanted = set(keys)
        found = [(key, *kept) for key, kept in self._of(owner, list).items() if key in wanted]
        return execute(lambda: tuple(self._entry(*each) for each in found))

    def page(
        self, owner: str, list: str, *, after: str = "", before: str = "", limit: int, last: bool = False
    ) -> Deferred[Page[T] | None]:
        there = self._of(owner, list)
        if (after and after not in there) or (before and before not in there):
            return succeed(None)
        keys = [*there]
        first = keys.index(after) + 1 if after else 0
        end = keys.index(before) if before else len(keys)
        first = max(first, end - limit) if last else first
        wanted = keys[first : min(end, first + limit)]
        entries = tuple(self._entry(key, *there[key]) for key in wanted)
        return succeed(Page(entries, first if entries else 0, len(keys)))

    def change(
        self, owner: str, list: str, put: Mapping[str, T], remove: Iterable[str] = ()
    ) -> Deferred[None]:
        return execute(self._change, owner, list, put, remove)

    def _change(self, owner: str, list: str, put: Mapping[str, T], remove: Iterable[str]) -> None:
        new = {key: self._values.dump(value) for key, value in put.items()}
        there = self._lists.setdefault(owner, {}).setdefault(list, {})
        for key in remove:
            there.pop(key, None)
        for key, text in new.items():
            last = next(reversed(there.values()), (0, ""))[0]
            there.pop(key, None)
            there[key] = (last + 1, text)

    def clear(self, owner: str, list: str) -> Deferred[None]:
        self._lists.get(owner, {}).pop(list, None)
        return succeed(None)

    def sizes(self, owner: str, list: str = "") -> Deferred[dict[str, tuple[int, int]]]:
        lists = self._lists.get(owner, {}).items()
        return succeed(
            {
                name: (len(there), sum(len(text.encode()) for _, text in there.values()))
                for name, there in lists
                if there and list in ("", name)
            }
        )
