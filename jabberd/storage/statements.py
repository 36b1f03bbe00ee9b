"""Statements that take many rows at once: what writes most goes to the driver in as few of them as can be.

The driver lets other threads run during every statement.  Under load the reactor takes that chance each time,
and the two threads hand each other the interpreter for every row: that costs more than the row.
"""

from __future__ import annotations

from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

__all__ = ["Insert", "Named", "send"]

_AT_ONCE: Final = (64, 16, 4, 1)  # rows in one statement: few sizes, so that the driver knows them all


class Insert:
    """An INSERT of whole rows."""

    def __init__(self, table: str, *columns: str) -> None:
        self._start = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608  # names of ours
        self._row = f"({', '.join(['?'] * len(columns))})"

    def execute(self, connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert them, in their order."""
        for some in _pieces(rows):
            statement = self._start + ", ".join([self._row] * len(some))
            send(connection, statement, tuple(chain.from_iterable(some)))


class Named:
    """A DELETE or an UPDATE of rows that are named by their ids.

    :param start: the statement up to ``id IN``; a row begins with the parameters that stand in it, which
        neighbours often share, and ends with its id.
    """

    def __init__(self, start: str) -> None:
        self._start = start

    def execute(self, connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        """Do it with them, in their order."""
        for shared, group in groupby(rows, lambda row: row[:-1]):
            for some in _pieces(list(group)):
                marks = ", ".join(["?"] * len(some))
                send(connection, f"{self._start} ({marks})", (*shared, *(row[-1] for row in some)))


def _pieces(rows: Sequence[tuple[object, ...]]) -> Iterator[Sequence[tuple[object, ...]]]:
    at = 0
    for size in _AT_ONCE:
        while len(rows) - at >= size:
            yield rows[at : at + size]
            at += size


def send(connection: Connection, statement: str, parameters: tuple[object, ...]) -> Any:
    """Execute a statement of ours, each parameter a ``?`` in it, past all that composes and compiles.

    :returns: the cursor, whose rows are tuples.
    """
    if connection.dialect.paramstyle != "qmark":
        statement = statement.replace("?", "%s")
    return connection.exec_driver_sql(statement, parameters)
