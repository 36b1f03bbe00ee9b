from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.testing import Client, Network
    from jabberd.testing.server import Server


@pytest.fixture
def verona(network: Network) -> Server:
    """One server that hosts both houses, with no more modules than the offline store."""
    return network.serve("montague.lit", "capulet.lit", modules={"offline": {}})


@pytest.fixture
def romeo(verona: Server, network: Network) -> Client:
    return network.client("romeo@montague.lit/orchard")


@pytest.fixture
def juliet(verona: Server, network: Network) -> Client:
    return network.client("juliet@capulet.lit/balcony")


@pytest.fixture
def unharmed(romeo: Client, juliet: Client, verona: Server, log_lines: list[str]) -> Callable[[], None]:
    """The after-checks of an abuse case: romeo and juliet still talk, and nothing was logged or is left."""

    def check() -> None:
        romeo.forget()
        juliet.forget()
        romeo.send("<message to='juliet@capulet.lit/balcony'/>")
        assert juliet.receives("<message from='romeo@montague.lit/orchard' to='juliet@capulet.lit/balcony'/>")
        juliet.send("<message to='romeo@montague.lit/orchard'/>")
        assert romeo.receives("<message from='juliet@capulet.lit/balcony' to='romeo@montague.lit/orchard'/>")
        sessions = [
            str(session.jid)
            for host in verona.hosts.values()
            for account in host.manager.accounts
            for session in account.sessions.values()
        ]
        assert sorted(sessions) == ["juliet@capulet.lit/balcony", "romeo@montague.lit/orchard"]
        assert log_lines == []

    log_lines.clear()
    return check


def befriend(one: Client, other: Client) -> None:
    """Let each subscribe to the other's presence."""
    for asking, asked in ((one, other), (other, one)):
        asking.send(f"<presence type='subscribe' to='{asked.jid.bare}'/>")
        asked.send(f"<presence type='subscribed' to='{asking.jid.bare}'/>")
    one.forget()
    other.forget()
