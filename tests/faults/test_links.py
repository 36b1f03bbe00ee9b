"""Between two servers: what waits for a link that dies arrives or comes back, and is never silently gone."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.faults.world import World

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process
OURS, THEIRS = "montague.lit", "capulet.lit"
AGE = 6  # seconds that stanzas wait


async def chat(world: World, messages: int) -> None:
    """Let ours write to theirs, over a few turns."""
    writers = [actor for actor in world.actors if actor.bare.endswith(OURS)]
    readers = [user for user in world.users if user.endswith(THEIRS)]
    for _ in range(messages):
        world.random.choice(writers).chat(world.random.choice(readers))
        await asyncio.sleep(0.01)


def test_what_waits_for_a_link_arrives_if_it_comes_back_soon_and_bounces_if_not(tmp_path: Path) -> None:
    world = World(tmp_path, 4, Random(1), queue_age=AGE)
    ledger = world.ledger

    async def play() -> None:
        async with world.running():
            link = world.links[THEIRS]
            for actor in world.actors:
                actor.calm = True
            await chat(world, 20)
            await world.quiet()
            for seconds in (0.5, AGE + 1):
                link.refusing = True
                link.cut()
                await chat(world, 40)
                await asyncio.sleep(seconds)
                link.refusing = False
                await world.taken()
                await world.homes(AGE)
                await world.quiet()  # what has arrived is acknowledged, or it would come back as well
            await world.settle(60)

    asyncio.run(play())
    figures = ledger.figures()
    assert figures["acknowledged"] == 100
    assert not ledger.lost(remote=True), figures
    bounced = [each for each in ledger.messages.values() if each.refusal]
    assert len(bounced) == 40, figures
    assert {each.refusal for each in bounced} == {"remote-server-timeout"}
    assert not ledger.disordered(delayed=False), figures


def test_connections_that_break_at_any_byte_lose_and_repeat_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, 4, Random(2))
    ledger, link = world.ledger, world.links

    async def play() -> None:
        async with world.running():
            for actor in world.actors:
                actor.calm = True
            link[THEIRS].mean = 20_000  # a handshake takes a quarter of that
            for _ in range(20):  # how much a message needs depends on how many go together
                await chat(world, 100)
                if link[THEIRS].cuts > 2:
                    break
            await world.taken()
            await world.homes(30)
            await world.settle(60, rest=30)

    asyncio.run(play())
    figures = ledger.figures()
    assert link[THEIRS].cuts > 2
    assert figures["acknowledged"] == figures["received"] == len(ledger.messages), figures
    assert figures["bounced"] == 0, figures
    assert not [each for each in ledger.messages.values() if each.repeated()[0]], figures
    assert not ledger.disordered(delayed=True), figures


def test_what_the_other_servers_storage_refuses_for_a_while_is_stored_though_its_sender_has_left(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, 4, Random(3))
    ledger = world.ledger

    async def play() -> None:
        async with world.running():
            for actor in world.actors:
                actor.calm = True
                if actor.bare.endswith(THEIRS):
                    actor.gone = True
                    actor.leave()
            await world.quiet()
            locking = asyncio.ensure_future(world.servers[THEIRS].lock(8))  # it waits for five, then refuses
            await asyncio.sleep(0.2)
            await chat(world, 20)
            await world.taken()  # it is in our spool
            for actor in world.actors:
                if not actor.gone:
                    actor.gone = True
                    actor.leave()
            await locking
            await asyncio.sleep(3)

    asyncio.run(play())
    figures = ledger.figures()
    assert figures["acknowledged"] == figures["stored"] == 20, figures
    assert figures["bounced"] == 0, figures
