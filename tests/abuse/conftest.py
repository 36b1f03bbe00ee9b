"""One server for all rows; around each of them it is seen that nobody else noticed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.abuse.scene import Scene, prepare
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("abuse")
    with socket.create_server(("127.0.0.1", 0)) as evil:
        evil.settimeout(20)
        with running(prepare(folder, evil.getsockname()[1])) as server:
            scene = Scene(server, folder, evil)
            yield scene
            scene.benvolio.drop()
            scene.mercutio.drop()


@pytest.fixture
def scene(stage: Scene) -> Iterator[Scene]:
    """The server; at the end of each test the three checks are made."""
    stage.begin()
    yield stage
    stage.end()
