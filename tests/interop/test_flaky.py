"""Two libraries talk over links that break all the time; stream management (XEP-0198) makes up for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import slixmpp

from tests.interop.actor import PATIENCE, Actor
from tests.interop.aio import aioxmpp, needs_aioxmpp
from tests.interop.flaky import flaky_link
from tests.interop.test_pep import JULIET, ROMEO, played
from tests.interop.test_pep import config as config  # noqa: PLC0414  # the fixture
from tests.interop.test_pep import server as server  # noqa: PLC0414  # the fixture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign, needs_aioxmpp]
LINES = [f"line {number}: parting is such sweet sorrow" for number in range(80)]
PACE = 0.1  # seconds from one line to the next


class Persistent(Actor):
    """Comes back whenever its connection breaks, until it may go.

    :ivar resumed: how often it went on where it was.
    """

    def __init__(self, jid: str, port: int, authority: Path) -> None:
        super().__init__(jid, port, authority, register=False)
        self.register_plugin("xep_0198")
        self.resumed = 0
        self._may_go = False
        self._there = asyncio.Event()
        self.add_event_handler("session_start", lambda _: self._there.set())
        self.add_event_handler("session_resumed", self._count)
        self.add_event_handler("disconnected", self._return)

    def _count(self, _: object) -> None:
        self.resumed += 1
        self._there.set()

    def _return(self, _: object) -> None:
        self._there.clear()
        if not self._may_go:
            self.connect("127.0.0.1", self._port)

    async def say(self, to: str, line: str) -> None:
        """Not before it is there: what waits for a connection slixmpp counts in another order."""
        await self._there.wait()
        self.send_message(slixmpp.JID(to), line, mtype="chat")

    def bodies(self) -> list[str]:
        return [each["body"] for each in self._seen if each.name == "message" and each["body"]]

    async def go(self) -> None:
        self._may_go = True
        await self.disconnect(wait=1.0)


async def all_of(heard: Callable[[], list[str]]) -> list[str]:
    """Wait until all has come, and for what may still come twice."""
    with suppress(TimeoutError):
        async with asyncio.timeout(2 * PATIENCE):
            while len(heard()) < len(LINES):  # noqa: ASYNC110  # it is asked of two libraries
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)
    return heard()


@played
async def test_nothing_is_lost_or_doubled_on_links_that_break(server: Running) -> None:
    authority = server.log.parent / "certs" / "ca.crt"
    port = server.port("c2s")
    async with (
        flaky_link(port, seed=1, lasting=3_000) as romeos,  # also while he logs in again
        flaky_link(port, seed=2, lasting=9_000) as juliets,  # aioxmpp gives up if it breaks during a login
        aioxmpp(juliets.port, authority, f"{JULIET}/balcony") as juliet,
    ):
        romeo = Persistent(f"{ROMEO}/orchard", romeos.port, authority)
        try:
            await romeo.enter()
            await juliet.do("enter")
            said: list[asyncio.Future[None]] = []
            romeos.worsen()
            juliets.worsen()
            for line in LINES:
                await romeo.say(f"{JULIET}/balcony", line)
                said.append(juliet.asked("say", to=f"{ROMEO}/orchard", body=line))
                await asyncio.sleep(PACE)
            romeos.mend()
            juliets.mend()
            assert await all_of(lambda: juliet.heard("chat")) == LINES
            # aioxmpp says again what was not acknowledged with the last line first
            assert sorted(await all_of(romeo.bodies)) == sorted(LINES)
            await asyncio.gather(*said, return_exceptions=True)  # aioxmpp may tell that a link broke
        finally:
            await romeo.go()
        assert romeos.cut > 3
        assert juliets.cut > 3
        assert romeo.resumed > 2
        assert len(juliet.heard("resumed")) > 2
        assert juliet.heard("lost") == []
