"""A storage has one owner at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from jabberd.interfaces import StorageError
from jabberd.storage import ownership as ownerships
from jabberd.storage.ownership import InUseError, ownership, take

if TYPE_CHECKING:
    from pathlib import Path

    from tests.storage.postgresql import Server


def test_a_second_owner_is_refused_and_told_the_first_ones_process(sql_url: str) -> None:
    first, second = ownership(sql_url), ownership(sql_url)
    first.acquire()
    with pytest.raises(InUseError, match=rf"is in use by process {os.getpid()}\b.*; end it first"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_server_waits_for_who_has_the_storage_only_for_a_moment(
    sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jabberctl, server, late = ownership(sql_url), ownership(sql_url), ownership(sql_url)
    jabberctl.acquire()
    monkeypatch.setattr(ownerships, "sleep", lambda _: jabberctl.release())
    take(server)
    monkeypatch.setattr(ownerships, "_MOMENT", 0.0)
    monkeypatch.setattr(ownerships, "sleep", lambda _: None)
    with pytest.raises(InUseError):
        take(late)
    server.release()


def test_what_is_held_is_still_held_when_it_is_renewed(sql_url: str) -> None:
    first, second = ownership(sql_url), ownership(sql_url)
    first.acquire()
    first.renew()
    with pytest.raises(InUseError):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def forgotten(postgresql: Server) -> None:
    """The database ends the connection that holds the lock, as it does when it restarts."""
    postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")


@pytest.mark.foreign
def test_a_database_that_forgot_its_owner_is_taken_again(postgresql: Server) -> None:
    first, second = ownership(postgresql.url()), ownership(postgresql.url())
    first.acquire()
    forgotten(postgresql)
    first.renew()
    with pytest.raises(InUseError):
        second.acquire()
    forgotten(postgresql)
    second.acquire()
    for _ in range(2):
        with pytest.raises(InUseError):
            first.renew()
    second.release()
    first.renew()
    first.release()


def test_a_file_is_the_same_by_whatever_way_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "db").touch()
    (tmp_path / "link").symlink_to("db")
    first = ownership(f"sqlite:///{tmp_path}/db")
    first.acquire()
    with pytest.raises(InUseError):
        ownership(f"sqlite:///{tmp_path}/link").acquire()
    first.release()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*/no/db\.lock: No such file or directory; make"):
        ownership(f"sqlite:///{tmp_path}/no/db").acquire()


def test_what_is_in_memory_needs_no_owner() -> None:
    first, second = ownership("memory"), ownership("memory")
    first.acquire()
    second.acquire()
    first.release()
