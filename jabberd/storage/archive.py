"""Stanzas in the order they came, in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Select, func, select, text

from jabberd.interfaces import ArchiveRow, Span
from jabberd.storage.statements import Insert, Named
from jabberd.storage.tables import archive
from jabberd.storage.values import MICROSECOND, Ids
from jabberd.xmpp.timestamp import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from twisted.internet.defer import Deferred

    from jabberd.storage.database import Database

__all__ = ["SqlArchive"]

ALL: Final = Span()

# Made once, so that SQLAlchemy compiles each once and the writer knows the same when it sees it
APPEND: Final = Insert("archive", "id", "store", "owner", "stamp", "peer", "resource", "waiting", "stanza")
REPLACE: Final = Named("UPDATE archive SET stanza = ? WHERE owner = ? AND store = ? AND id IN")
MARK: Final = Named("UPDATE archive SET waiting = ? WHERE owner = ? AND store = ? AND id IN")
REMOVE: Final = Named("DELETE FROM archive WHERE owner = ? AND store = ? AND id IN")
_SHOWN: Final = (archive.c.id, archive.c.stamp, archive.c.peer, archive.c.stanza, archive.c.waiting)


class SqlArchive:
    """Implements `jabberd.interfaces.Archive`."""

    def __init__(self, database: Database, name: str, ids: Ids) -> None:
        self._database = database
        self._name = name
        self._ids = ids

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
    ) -> Deferred[int]:
        id = self._ids.next(stamp) if id is None else id
        bare, _, resource = peer.partition("/")
        row = (id, self._name, str(owner), self._ids.moment(stamp), bare, resource, int(waiting), stanza)
        return self._database.write([(APPEND, [row])], id)

    # -- questions ----------------------------------------------------------------------------------

    def rows(
        self, owner: str, *, after: int = 0, span: Span | None = None, limit: int | None = None
    ) -> Deferred[list[ArchiveRow]]:
        asked = self._within(select(*_SHOWN), owner, span or Span(after=after))
        return self._read(asked.order_by(archive.c.id).limit(limit))

    def newest(self, owner: str, span: Span, limit: int) -> Deferred[list[ArchiveRow]]:
        asked = self._within(select(*_SHOWN), owner, span)
        found = self._read(asked.order_by(archive.c.id.desc()).limit(limit))
        return found.addCallback(lambda rows: rows[::-1])

    def ids(
        self, owner: str, span: Span, *, limit: int, newest: bool = False, skip: int = 0
    ) -> Deferred[list[int]]:
        order = archive.c.id.desc() if newest else archive.c.id
        asked = self._within(select(archive.c.id), owner, span).order_by(order).limit(limit).offset(skip)
        return self._database.read(lambda connection: list(connection.scalars(asked)))

    def count(self, owner: str, span: Span | None = None) -> Deferred[int]:
        asked = self._within(select(func.count()).select_from(archive), owner, span or ALL)
        return self._database.read(lambda connection: connection.scalar(asked) or 0)

    def size(self, owner: str, span: Span | None = None) -> Deferred[tuple[int, int]]:
        size = func.coalesce(func.sum(func.length(archive.c.stanza)), 0)
        asked = self._within(select(func.count(), size), owner, span or ALL)

        def question(connection: Connection) -> tuple[int, int]:
            count, size = connection.execute(asked).one()
            return int(count), int(size)

        return self._database.read(question)

    def _read(self, asked: Select[Any]) -> Deferred[list[ArchiveRow]]:
        def question(connection: Connection) -> list[ArchiveRow]:
            return [
                ArchiveRow(id, EPOCH + stamp * MICROSECOND, peer, stanza, waiting=bool(waiting))
                for id, stamp, peer, stanza, waiting in connection.execute(asked)
            ]

        return self._database.read(question)

    def _within(self, asked: Select[Any], owner: str, span: Span) -> Select[Any]:
        """Only the rows of that span; every part of it is a column of an index."""
        asked = asked.where(archive.c.owner == str(owner), archive.c.store == self._name)
        asked = asked.where(archive.c.id > span.after, archive.c.id < span.before)
        if span.ids is not None:
            asked = asked.where(archive.c.id.in_(span.ids))
        if span.waiting:
            asked = asked.where(text("archive.waiting = 1"))
        if span.peer:
            bare, full, resource = span.peer.partition("/")
            asked = asked.where(archive.c.peer == bare)
            if full:
                asked = asked.where(archive.c.resource == resource)
        return asked

    # -- changes ------------------------------------------------------------------------------------

    def replace(self, owner: str, id: int, stanza: bytes) -> Deferred[None]:
        return self._database.write([(REPLACE, [(stanza, str(owner), self._name, id)])], None)

    def mark(self, owner: str, ids: Iterable[int], *, waiting: bool) -> Deferred[None]:
        rows = [(int(waiting), str(owner), self._name, id) for id in ids]
        return self._database.write([(MARK, rows)] if rows else [], None)

    def remove(self, owner: str, ids: Iterable[int]) -> Deferred[None]:
        rows = [(str(owner), self._name, id) for id in ids]
        return self._database.write([(REMOVE, rows)] if rows else [], None)
