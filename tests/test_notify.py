"""sd_notify(3): one datagram for each thing told, and a watchdog in time."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from twisted.internet.task import Clock

from jabberd.notify import Watchdog, notify, ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """A service manager's end of the socket, as what it has been told since it was last asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def received() -> list[str]:
            texts: list[str] = []
            while True:
                try:
                    texts.append(manager.recv(4096).decode())
                except BlockingIOError:
                    return texts

        yield received


def test_fields_are_told_in_one_datagram(told: Callable[[], list[str]]) -> None:
    notify(READY="1", STATUS="hällo")
    assert told() == ["READY=1\nSTATUS=hällo"]


def test_an_abstract_socket_is_reached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0jabberd-test-{os.getpid()}")
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@jabberd-test-{os.getpid()}")
        notify(STOPPING="1")
        assert manager.recv(100) == b"STOPPING=1"


def test_without_a_manager_or_with_one_that_is_gone_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify(READY="1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify(READY="1")


def test_a_manager_that_does_not_read_holds_nobody_up(told: Callable[[], list[str]]) -> None:
    for _ in range(1000):
        notify(WATCHDOG="1")
    assert 0 < len(told()) < 1000


def test_ready_names_each_listener(told: Callable[[], list[str]]) -> None:
    ready([("c2s", "127.0.0.1", 5222), ("s2s", "::1", 5269)])
    assert told() == ["READY=1\nSTATUS=c2s 127.0.0.1:5222, s2s [::1]:5269"]


def test_the_watchdog_is_fed_twice_as_often_as_asked(
    told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    clock = Clock()
    watchdog = Watchdog(clock)
    watchdog.startService()
    clock.pump([5] * 3)
    assert told() == ["WATCHDOG=1"] * 4
    watchdog.stopService()
    clock.advance(60)
    assert told() == []


@pytest.mark.parametrize("asked", [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}])
def test_no_watchdog_runs_where_none_or_another_process_was_asked(
    told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    clock = Clock()
    watchdog = Watchdog(clock)
    watchdog.startService()
    clock.advance(60)
    watchdog.stopService()
    assert told() == []
