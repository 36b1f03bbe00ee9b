"""Two kinds of store, `Keyed` and `Archive`, on SQLite, PostgreSQL or memory.

A module declares a store and gets it; there are no tables, sessions or queries outside this folder.

- ``stores``    the two kinds, written once for all databases: three generic tables hold them all
- ``memory``    the same two kinds in dictionaries, for trials and tests
- ``database``  how work gets to the database and its outcome back: threads of our own, or directly
- ``batch``     the one writer, which commits together what came together
- ``engine``    what SQLite and PostgreSQL want to be told, and what their errors mean
- ``schema``    brings the tables up to date at start;  ``tables``, ``migrations/``
- ``migrate``   the same in a process of its own, so that a server has no memory of it
- ``values``    values to JSON and back; archive ids
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jabberd.interfaces import Storage
    from jabberd.storage.batch import FromThreads

__all__ = ["open_storage"]


def open_storage(url: str, reactor: FromThreads | None) -> Storage:
    """Open the storage and bring its schema up to date.

    Blocks until that is done, so call it before the reactor runs.  No thread is started and no
    connection kept before the first use, so that the process may still fork (``twistd`` does, to
    become a daemon).

    :param url: ``memory``, ``sqlite:///var/jabberd.db`` (absolute with four slashes) or
        ``postgresql://user:password@host/database``.
    :param reactor: where Deferreds fire.  None: everything is done at once, in the calling thread,
        and every Deferred has fired when it is returned (for the shell, while no server runs).
    :raises StorageError: one line that says what is wrong and what to do.
    """
    if url == "memory":
        from jabberd.storage.memory import MemoryStorage  # noqa: PLC0415 - only what is used costs memory

        return MemoryStorage()
    from jabberd.storage.stores import open_sql  # noqa: PLC0415 - SQLAlchemy: 12 MiB, 0.2 s

    return open_sql(url, reactor)
