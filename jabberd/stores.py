"""The seam of storage: three kinds of store, and what is kept in them.

`jabberd.interfaces` has these names, too, beside all other seams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from twisted.internet.defer import Deferred

    from jabberd.measure import StorageFigures

T = TypeVar("T")

__all__ = [
    "Archive",
    "ArchiveRow",
    "Entry",
    "Keyed",
    "Ordered",
    "Page",
    "Span",
    "Storage",
    "StorageError",
    "neighbours",
]


class StorageError(Exception):
    """Something could not be stored or read; one line says why and, at start, what to do about it.

    It never quotes what was to be stored.
    """


class Keyed(Protocol[T]):
    """A store of values by owner and key: roster items, block lists, vCards, accounts.

    ``owner`` is a bare JID (or a domain), ``key`` any string; the two together at most 2,600 bytes.
    A change has been committed durably when its Deferred fires, and every read asked for after that
    sees it.  Changes are made in the order they were asked for.  Every Deferred here may fail with
    `StorageError`; the change was not made then (or, if the database went away just while
    committing, perhaps was).
    """

    def get(self, owner: str, key: str = "") -> Deferred[T | None]:
        """The value, or None."""

    def all(self, owner: str) -> Deferred[dict[str, T]]:
        """All values of the owner by key, in no order."""

    def put(self, owner: str, key: str, value: T) -> Deferred[None]:
        """Store the value in place of what was there."""

    def change(self, owner: str, changes: Mapping[str, T | None]) -> Deferred[None]:
        """Put and (for None) remove several keys at once: all of it or nothing."""

    def owners(self, domain: str) -> Deferred[list[str]]:
        """Everybody at that domain who has at least one value here, sorted."""

    def having(self, domain: str, key: str) -> Deferred[list[str]]:
        """Everybody at that domain who has a value under that key, sorted."""

    def page(
        self, domain: str, after: str = "", limit: int = 1000, *, before: str = "", last: bool = False
    ) -> Deferred[dict[str, T]]:
        """By owner, the values under the empty key of the next owners at that domain.

        It costs as much as is answered, however many there are.

        :param after: the last owner of the page before; the order is the storage's own, and always the same.
        :param before: only owners that come before this one.
        :param last: the end of what is left, and not its beginning; still in order.
        """

    def some(
        self, owner: str, *, after: str = "", before: str = "", limit: int = 1000, last: bool = False
    ) -> Deferred[dict[str, T]]:
        """By key, the owner's next values, of those whose key is not empty.

        Order, costs and parameters are those of `page`, of keys.
        """


def neighbours(values: Mapping[str, T], after: str, before: str, limit: int, *, last: bool) -> dict[str, T]:
    """What `Keyed.some` answers, of values in memory, whose keys need not be in order."""
    keys = sorted(key for key in values if key > after and (not before or key < before))
    wanted = keys[max(len(keys) - limit, 0) :] if last else keys[:limit]
    return {key: values[key] for key in wanted}


@dataclass(frozen=True, slots=True)
class ArchiveRow:
    """One archived stanza: its id, when it was taken, and its bytes.

    :ivar id: increasing, never given twice (microseconds since 1970, below 2**53).
    :ivar stamp: aware, in UTC.
    :ivar peer: the other side's bare JID.
    :ivar stanza: a whole stanza in ``jabber:client``, as `Stanza.to_standalone` gives it.
    :ivar waiting: whether somebody has to take it.
    """

    id: int
    stamp: datetime
    peer: str
    stanza: bytes
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """Which of an owner's rows in an archive: those between two ids that fit the rest.

    :ivar after: an id; neither it nor ``before`` belongs to the span.
    :ivar peer: the other side: a bare JID with any resource, a full JID exactly; empty: anybody.
    :ivar ids: these and no others.
    :ivar waiting: only those that wait for somebody to take them.
    """

    after: int = 0
    before: int = 1 << 53
    peer: str = ""
    ids: tuple[int, ...] | None = None
    waiting: bool = False


class Archive(Protocol):
    """A store of stanzas in the order they came, by owner: offline messages, message archives.

    Durability, order and errors are those of `Keyed`.  What is asked of a `Span` costs as much as is
    answered, however long the archive is.
    """

    def new_id(self, stamp: datetime) -> int:
        """An id for `append`: above all that were given, and that moment if it can be."""

    def append(
        self,
        owner: str,
        peer: str,
        stamp: datetime,
        stanza: bytes,
        *,
        id: int | None = None,
        waiting: bool = False,
        patient: bool = False,
        beside: Deferred[int] | None = None,
    ) -> Deferred[int]:
        """Add a row; fires with its id when it is durable.

        :param peer: bare or full.
        :param stamp: aware (of any zone).
        :param id: a `new_id`; a row without one gets its own.
        :param waiting: mark it as one that somebody has to take, until `mark` says otherwise.
        :param patient: it may be durable a little later, together with what comes meanwhile; whatever is
            asked for behind it waits no longer for that.
        :param beside: what this gave for the change that was asked for last: if that is not being written
            yet, both rows are stored or neither is, and this very Deferred is given again.
        """

    def rows(
        self, owner: str, *, after: int = 0, span: Span | None = None, limit: int | None = None
    ) -> Deferred[list[ArchiveRow]]:
        """The oldest rows of a span, or of all above ``after``, in order."""

    def newest(self, owner: str, span: Span, limit: int) -> Deferred[list[ArchiveRow]]:
        """The newest rows of a span, still in order."""

    def ids(
        self, owner: str, span: Span, *, limit: int, newest: bool = False, skip: int = 0
    ) -> Deferred[list[int]]:
        """The ids of a span's oldest rows, or of its newest (these first), behind the first ``skip``."""

    def count(self, owner: str, span: Span | None = None) -> Deferred[int]:
        """How many rows the owner has in that span, or at all; this costs as much as there are."""

    def size(self, owner: str, span: Span | None = None) -> Deferred[tuple[int, int]]:
        """What `count` says, and how many bytes the stanzas of those rows take."""

    def replace(self, owner: str, id: int, stanza: bytes) -> Deferred[None]:
        """Put another stanza into a row, if it is there."""

    def mark(self, owner: str, ids: Iterable[int], *, waiting: bool) -> Deferred[None]:
        """Say of these rows of the owner whether they wait; ids that are not there are passed over."""

    def remove(self, owner: str, ids: Iterable[int]) -> Deferred[None]:
        """Remove these rows of the owner, all or none; ids that are not there are passed over."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A value in an `Ordered` list.

    :ivar place: in its list: the higher, the later it was put.
    """

    key: str
    place: int
    value: T


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list.

    :ivar entries: neighbours, oldest first.
    :ivar below: how many are older than the first of them.
    :ivar count: how many the list has.
    """

    entries: tuple[Entry[T], ...]
    below: int
    count: int


class Ordered(Protocol[T]):
    """A store of values by owner, list and key, in the order in which they were put: published items.

    Durability, order and errors are those of `Keyed`; owner, list and key together have at most 2,600
    bytes, and a key is not empty.
    """

    def get(self, owner: str, list: str, keys: Iterable[str]) -> Deferred[tuple[Entry[T], ...]]:
        """Those of these that are there, oldest first."""

    def page(
        self, owner: str, list: str, *, after: str = "", before: str = "", limit: int, last: bool = False
    ) -> Deferred[Page[T] | None]:
        """The oldest (or ``last``: the newest) of those that were put after one key and before another.

        None: what was named by ``after`` or ``before`` is not there.
        """

    def change(
        self, owner: str, list: str, put: Mapping[str, T], remove: Iterable[str] = ()
    ) -> Deferred[None]:
        """Remove some and put others at the end, also what was there before: all of it or nothing."""

    def clear(self, owner: str, list: str) -> Deferred[None]:
        """Remove the whole list."""

    def sizes(self, owner: str, list: str = "") -> Deferred[dict[str, tuple[int, int]]]:
        """Of every list of the owner (or of that one) that is not empty: how many values, how many bytes."""


class Storage(Protocol):
    """Where everything durable lives; one per process."""

    def keyed(self, name: str, of: type[T]) -> Keyed[T]:
        """The keyed store of that name; all who ask for it share it.

        :param of: a type that msgspec can write as JSON and read back, with `JID` for an address.
        :raises ValueError: the store holds another type already.
        """

    def archive(self, name: str) -> Archive:
        """The archive of that name; all who ask for it share it."""

    def ordered(self, name: str, of: type[T]) -> Ordered[T]:
        """The ordered store of that name; ``of`` and errors as for `keyed`."""

    def load(self, owner: str, stores: Iterable[str]) -> Deferred[dict[str, dict[str, object]]]:
        """Everything an owner has in those keyed stores, ``{store: {key: value}}``, in *one* query.

        Every name asked for is in the result.

        :raises KeyError: nobody asked for that `keyed` store yet.
        """

    def save(
        self, owner: str, changes: Mapping[str, Mapping[str, object]], *, anew: bool = False
    ) -> Deferred[None]:
        """Change several keyed stores of an owner in *one* transaction: what `load` reads, and None removes.

        :param anew: everything else that the owner has is removed, as by `forget`.
        :raises KeyError: nobody asked for that `keyed` store yet.
        """

    def forget(self, owner: str) -> Deferred[None]:
        """Remove every value and every archived row of that owner, in one transaction."""

    def figures(self) -> StorageFigures:
        """How it is doing, for operators."""

    def close(self) -> Deferred[None]:
        """Commit what is waiting, answer what was asked, let go of the database.  Ask nothing afterwards."""
