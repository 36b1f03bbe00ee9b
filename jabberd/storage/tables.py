"""The tables: four generic ones (with Alembic's own) hold every store, so a new store needs no migration."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

metadata: Final = MetaData()

#: Rows of one owner lie together, so that everything an account has is read in one sweep.
keyed: Final = Table(
    "keyed",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("store", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("domain", Text, nullable=False),  # of the owner
    Column("value", Text, nullable=False),  # JSON
    Index("keyed_domain", "store", "domain", "owner"),
    sqlite_with_rowid=False,
)

archive: Final = Table(
    "archive",
    metadata,
    # SQLite's own row number has this very type
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("store", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("stamp", BigInteger, nullable=False),  # microseconds since 1970, UTC
    Column("peer", Text, nullable=False),
    Column("resource", Text, nullable=False, server_default=""),  # of the peer
    Column("waiting", Integer, nullable=False, server_default="0"),  # 1: somebody has to take it
    Column("stanza", LargeBinary, nullable=False),
    # One for all questions, with the peer at its end: every index that a row is in costs four times what
    # the row costs to write, and the rows of one peer among 100,000 are still found in 7 ms
    Index("archive_owner", "owner", "store", "id", "peer"),
    Index(
        "archive_waiting",
        "owner",
        "store",
        "waiting",  # the same in all of its rows: so it always looks better than the other index
        "id",
        # Only of what waits: the migrations say so, for here it would import PostgreSQL's dialect
    ),
)

#: Rows of one list lie together by key; the index has them in order, and what `sizes` counts.
ordered: Final = Table(
    "ordered",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("store", Text, primary_key=True),
    Column("list", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("place", BigInteger, nullable=False),  # in the list: the higher, the later it was put
    Column("size", Integer, nullable=False),  # of the value, in bytes
    Column("value", Text, nullable=False),  # JSON
    Index("ordered_place", "owner", "store", "list", "place", "size"),
    sqlite_with_rowid=False,
)
