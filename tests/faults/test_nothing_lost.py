"""No message that was acknowledged is lost, whatever breaks.

``JABBERD_FAULTS_SEED`` chooses another run, ``JABBERD_FAULTS_SECONDS`` and ``JABBERD_FAULTS_USERS`` (of
each server) a longer and a larger one; the figures are printed (``pytest -s``).  A seed fixes what goes
wrong and who says what to whom; what the processes make of it in time is theirs.
"""

from __future__ import annotations

import asyncio
import os
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from tests.faults.world import World

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.process
SEED = int(os.environ.get("JABBERD_FAULTS_SEED", "0")) or int(time.time())
SECONDS = float(os.environ.get("JABBERD_FAULTS_SECONDS", "10"))
USERS = int(os.environ.get("JABBERD_FAULTS_USERS", "12"))


def tracebacks(world: World) -> int:
    """How many errors the servers logged, whatever is broken on purpose apart."""
    lines = [
        line
        for server in world.servers.values()
        for log in server.logs
        for line in log.read_text().splitlines()
        if line.startswith("\tbuiltins.")
    ]
    return len(lines)


def show(world: World, began: float) -> str:
    figures = {
        **world.ledger.figures(),
        **world.mishaps,
        "cut": sum(proxy.cuts for proxy in world.doors.values()),
        "links cut": sum(proxy.cuts for proxy in world.links.values()),
        "killed": sum(server.kills for server in world.servers.values()),
        "sessions": sum(actor.sessions for actor in world.actors),
        "resumptions": sum(actor.resumptions for actor in world.actors),
        "mistakes logged": tracebacks(world),
        "seconds": round(time.monotonic() - began),
    }
    text = f"JABBERD_FAULTS_SEED={SEED}: " + ", ".join(f"{name} {value}" for name, value in figures.items())
    print(text)  # noqa: T201  # for whoever runs this by hand
    return text


def test_what_was_acknowledged_is_received_stored_or_bounced_whatever_breaks(tmp_path: Path) -> None:
    async def play() -> None:
        async with world.running():
            for door in world.doors.values():
                door.mean = 40_000
            for link in world.links.values():
                link.mean = 100_000
            await asyncio.gather(world.chat(SECONDS, pace=6 * USERS), world.trouble(SECONDS, pause=0.7))
            await world.settle(200, rest=min(SECONDS / 2, 30))
            await world.part(60)
            await world.power_cut("montague.lit")  # capulet.lit stops in good order

    print(f"JABBERD_FAULTS_SEED={SEED}")  # noqa: T201  # also if it goes wrong
    bidi = SEED % 3 > 0  # else a connection for each direction
    world, began = World(tmp_path, USERS, Random(SEED), bidi=bidi), time.monotonic()
    asyncio.run(play())
    figures = show(world, began)
    for wrong in (
        world.ledger.lost(remote=False),
        world.ledger.lost(remote=True),
        world.ledger.contradicted(),
        world.ledger.forgotten(),
        world.ledger.unexplained(),
        world.ledger.disordered(delayed=False),
    ):
        assert not wrong, "\n".join([figures, *map(str, wrong)])
