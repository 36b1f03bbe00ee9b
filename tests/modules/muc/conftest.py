"""The stage: a domain with a service for rooms, and people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing import Network
from tests.modules.muc.play import ROOMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.testing.client import Client


@pytest.fixture
def modules() -> dict[str, dict[str, object]]:
    """What the service has beside rooms."""
    return {}


@pytest.fixture
def network(modules: dict[str, dict[str, object]]) -> Iterator[Network]:
    network = Network()
    network.clock.rightNow = 1_000
    service = {"disco": {}, "ping": {}, "muc": {"creators": ["montague.lit", "capulet.lit"]}, **modules}
    network.serve("montague.lit", "capulet.lit", services={ROOMS: service}, admins=["friar@montague.lit"])
    yield network
    network.close()


@pytest.fixture
def romeo(network: Network) -> Client:
    return network.client("romeo@montague.lit/orchard")


@pytest.fixture
def juliet(network: Network) -> Client:
    return network.client("juliet@capulet.lit/balcony")


@pytest.fixture
def nurse(network: Network) -> Client:
    return network.client("nurse@capulet.lit/chamber")
