"""Stanzas in the order they came, in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.interfaces import ArchiveRow, Span
from jabberd.storage.statements import Insert, Named, send
from jabberd.storage.values import MICROSECOND, Ids
from jabberd.xmpp.timestamp import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Connection
    from twisted.internet.defer import Deferred

    from jabberd.storage.database import Database

__all__ = ["SqlArchive"]

ALL: Final = Span()

# Made once, so that the writer knows the same when it sees it
APPEND: Final = Insert("archive", "id", "store", "owner", "stamp", "peer", "resource", "waiting", "stanza")
REPLACE: Final = Named("UPDATE archive SET stanza = ? WHERE owner = ? AND store = ? AND id IN")
MARK: Final = Named("UPDATE archive SET waiting = ? WHERE owner = ? AND store = ? AND id IN")
REMOVE: Final = Named("DELETE FROM archive WHERE owner = ? AND store = ? AND id IN")
_SHOWN: Final = "SELECT id, stamp, peer, stanza, waiting"
_SIZE: Final = "SELECT COUNT(*), COALESCE(SUM(LENGTH(stanza)), 0)"


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
        patient: bool = False,
        beside: Deferred[int] | None = None,
    ) -> Deferred[int]:
        id = self._ids.next(stamp) if id is None else id
        bare, _, resource = peer.partition("/")
        row = (id, self._name, str(owner), self._ids.moment(stamp), bare, resource, int(waiting), stanza)
        if beside is not None and self._database.join(beside, APPEND, row):
            return beside
        return self._database.write([(APPEND, [row])], id, patient=patient)

    # -- questions ----------------------------------------------------------------------------------

    def rows(
        self, owner: str, *, after: int = 0, span: Span | None = None, limit: int | None = None
    ) -> Deferred[list[ArchiveRow]]:
        return self._read(owner, span or Span(after=after), "ORDER BY id", limit)

    def newest(self, owner: str, span: Span, limit: int) -> Deferred[list[ArchiveRow]]:
        found = self._read(owner, span, "ORDER BY id DESC", limit)
        return found.addCallback(lambda rows: rows[::-1])

    def ids(
        self, owner: str, span: Span, *, limit: int, newest: bool = False, skip: int = 0
    ) -> Deferred[list[int]]:
        order = f"ORDER BY id{' DESC' if newest else ''} LIMIT ? OFFSET ?"
        asked, values = self._within("SELECT id", owner, span, order, limit, skip)
        return self._database.read(lambda connection: [id for (id,) in send(connection, asked, values)])

    def count(self, owner: str, span: Span | None = None) -> Deferred[int]:
        asked, values = self._within("SELECT COUNT(*)", owner, span or ALL)
        return self._database.read(lambda connection: send(connection, asked, values).scalar_one())

    def size(self, owner: str, span: Span | None = None) -> Deferred[tuple[int, int]]:
        asked, values = self._within(_SIZE, owner, span or ALL)

        def question(connection: Connection) -> tuple[int, int]:
            count, size = send(connection, asked, values).one()
            return int(count), int(size)

        return self._database.read(question)

    def _read(self, owner: str, span: Span, order: str, limit: int | None) -> Deferred[list[ArchiveRow]]:
        limited = () if limit is None else (limit,)
        asked, values = self._within(_SHOWN, owner, span, order + " LIMIT ?" * len(limited), *limited)

        def question(connection: Connection) -> list[ArchiveRow]:
            return [
                ArchiveRow(id, EPOCH + stamp * MICROSECOND, peer, stanza, waiting=bool(waiting))
                for id, stamp, peer, stanza, waiting in send(connection, asked, values)
            ]

        return self._database.read(question)

    def _within(
        self, start: str, owner: str, span: Span, end: str = "", *values: int
    ) -> tuple[str, tuple[object, ...]]:
        """A question about the rows of that span, and its parameters.

        Every part of a span is a column of an index.  It is text at once: to have it composed and compiled
        cost as much as the answer.
        """
        where = ["owner = ? AND store = ? AND id > ? AND id < ?"]
        given: list[object] = [str(owner), self._name, span.after, span.before]
        if span.ids is not None:
            where.append(f"id IN ({', '.join('?' * len(span.ids)) or 'NULL'})")
            given += span.ids
        if span.waiting:
            where.append("waiting = 1")
        if span.peer:
            bare, full, resource = span.peer.partition("/")
            where.append("peer = ? AND resource = ?" if full else "peer = ?")
            given += (bare, resource) if full else (bare,)
        return f"{start} FROM archive WHERE {' AND '.join(where)} {end}", (*given, *values)

    # -- changes ------------------------------------------------------------------------------------

    def replace(self, owner: str, id: int, stanza: bytes) -> Deferred[None]:
        return self._database.write([(REPLACE, [(stanza, str(owner), self._name, id)])], None)

    def mark(self, owner: str, ids: Iterable[int], *, waiting: bool) -> Deferred[None]:
        rows = [(int(waiting), str(owner), self._name, id) for id in ids]
        return self._database.write([(MARK, rows)] if rows else [], None)

    def remove(self, owner: str, ids: Iterable[int]) -> Deferred[None]:
        rows = [(str(owner), self._name, id) for id in ids]
        return self._database.write([(REMOVE, rows)] if rows else [], None)
