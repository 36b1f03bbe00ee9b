"""A component of slixmpp's at our server, with people at a Prosody."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import slixmpp

from tests.interop.actor import Actor, entered
from tests.interop.logins import COMPONENT, COMPONENT_SECRET
from tests.interop.peers import PROSODY, Authority
from tests.interop.test_components import Echo
from tests.interop.test_prosody import Verona

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.process,
    pytest.mark.skipif(PROSODY is None, reason="no Prosody here: apt install prosody"),
]

HILLS = slixmpp.JID(f"hills@{COMPONENT}")


@pytest.fixture
def verona(tmp_path: Path) -> Iterator[Verona]:
    with ExitStack() as stack:
        yield Verona(tmp_path, stack)


@pytest.mark.parametrize("policy", ["certificate", "dialback"])
def test_people_at_another_server_hear_the_echo(verona: Verona, tmp_path: Path, policy: str) -> None:
    authority = verona.authority.file
    options: dict[str, Any] = {}
    if policy == "dialback":
        other = Authority(tmp_path / "other")
        verona.authority.certify("capulet.lit", by=other)
        authority, options = other.file, {"trusted": other.file, "secure": False}
    montague = verona.serve(policy, components={COMPONENT: COMPONENT_SECRET}, **options)

    async def play() -> None:
        echo = Echo(montague.server)
        juliet = Actor("juliet@capulet.lit/balcony", verona.c2s, authority, register=True)
        async with entered(juliet):
            await echo.begin()
            juliet.send_message(HILLS, "nightingale", mtype="chat")
            await juliet.receives("message", from_=str(HILLS), body="nightingale")
            here, there = slixmpp.JID(COMPONENT), slixmpp.JID("capulet.lit")
            assert await juliet.plugin["xep_0199"].ping(here) >= 0
            assert await echo.plugin["xep_0199"].ping(there, ifrom=here) >= 0
            await echo.disconnect(wait=0.5)

    asyncio.run(play())
    said = montague.server.log.read_text()
    assert f"'capulet.lit' writes to '{COMPONENT}', proved by {policy}" in said
    assert f"link from {COMPONENT} to capulet.lit: up, by {policy}" in said
