"""Fixtures for pytest: ``pytest_plugins = ["jabberd.testing.fixtures"]`` in your ``conftest.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.local import local_server as started
from jabberd.testing.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.testing.local import LocalServer


@pytest.fixture
def network() -> Iterator[Network]:
    """A `Network`; a test fails that leaves a stream, a session or a timer behind."""
    network = Network()
    yield network
    network.close()


@pytest.fixture
def local_server() -> Iterator[LocalServer]:
    """A `LocalServer` for montague.lit: a process, to which any client can connect."""
    with started() as server:
        yield server
