"""slixmpp makes an account in band, changes its password and removes it (XEP-0077)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import slixmpp

from tests.interop.actor import PATIENCE, Actor, entered
from tests.interop.logins import DOMAIN, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("montague")) as server:
        yield server


def somebody(server: Running, name: str, *, register: bool = True) -> Actor:
    authority = server.log.with_name("ca.crt")
    actor = Actor(f"{name}@{DOMAIN}/piazza", server.port("c2s"), authority, register=register)
    actor.register_plugin("xep_0077")
    return actor


async def outcome(actor: Actor) -> str:
    """What becomes of a login."""
    came: asyncio.Queue[str] = asyncio.Queue()
    for event in ("session_start", "failed_auth"):
        actor.add_event_handler(event, lambda _, event=event: came.put_nowait(event))
    actor.connect("127.0.0.1", server_port(actor))
    async with asyncio.timeout(PATIENCE):
        result = await came.get()
    await actor.disconnect(wait=1.0)
    return result


def server_port(actor: Actor) -> int:
    return actor._port  # it was told


async def refusal(server: Running, name: str) -> str:
    """Why somebody else does not get that name."""
    impostor = somebody(server, name, register=False)
    refusals: asyncio.Queue[str] = asyncio.Queue()

    async def register(_: object) -> None:
        iq = impostor.Iq(stype="set")
        iq["register"]["username"], iq["register"]["password"] = name, "rosaline"
        try:
            await iq.send(timeout=PATIENCE)  # type: ignore[no-untyped-call]  # slixmpp's
        except slixmpp.exceptions.IqError as error:
            refusals.put_nowait(error.condition)

    impostor.add_event_handler("register", register)
    impostor.connect("127.0.0.1", server.port("c2s"))
    async with asyncio.timeout(PATIENCE):
        condition = await refusals.get()
    await impostor.disconnect(wait=1.0)
    return condition


def test_an_account_from_its_first_day_to_its_last(server: Running) -> None:
    async def play() -> None:
        escalus = somebody(server, "escalus")
        async with entered(escalus):
            assert escalus.boundjid.bare == f"escalus@{DOMAIN}"
            change: Any = escalus.plugin["xep_0077"].change_password
            await change("peace in verona", timeout=PATIENCE)
        assert await outcome(somebody(server, "escalus", register=False)) == "failed_auth"
        again = somebody(server, "escalus", register=False)
        again.password = "peace in verona"
        errors: asyncio.Queue[str] = asyncio.Queue()
        again.add_event_handler("stream_error", lambda error: errors.put_nowait(error["condition"]))
        async with entered(again):
            plugin: Any = again.plugin["xep_0077"]
            form = await plugin.get_registration(timeout=PATIENCE)
            assert form["register"]["registered"]
            assert form["register"]["username"] == "escalus"
            removed = await plugin.cancel_registration(timeout=PATIENCE)
            assert removed["type"] == "result"
            async with asyncio.timeout(PATIENCE):
                assert await errors.get() == "not-authorized"
        gone = somebody(server, "escalus", register=False)
        gone.password = "peace in verona"
        assert await outcome(gone) == "failed_auth"
        assert await refusal(server, "escalus") == "conflict"  # the name is kept back

    asyncio.run(play())


def test_a_name_that_is_taken_is_refused(server: Running) -> None:
    assert asyncio.run(refusal(server, "romeo")) == "conflict"
