"""Two servers that federate, the users of both, and everything that goes wrong for them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Any, Final

from jabberd.certificates import development_certificates
from tests.faults.client import Actor
from tests.faults.ledger import Ledger
from tests.faults.proxy import Proxy
from tests.faults.server import Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

DOMAINS: Final = ("montague.lit", "capulet.lit")
_QUIET: Final = 1.5  # seconds without an arrival


class World:
    """See above.

    :param users: of each server; every fourth has two resources.
    :param queue_age: seconds that stanzas wait for the other server.
    :param bidi: one connection serves both directions.
    """

    def __init__(
        self, folder: Path, users: int, random: Random, *, queue_age: int = 120, bidi: bool = True
    ) -> None:
        self.ledger = Ledger()
        self.random = random
        self.users = [f"user{number}@{domain}" for domain in DOMAINS for number in range(users)]
        self.servers = {domain: Server(folder, domain) for domain in DOMAINS}
        self.doors: dict[str, Proxy] = {}  # for clients
        self.links: dict[str, Proxy] = {}  # for the other server
        self.actors: list[Actor] = []
        self.mishaps: dict[str, int] = {}
        self._folder = folder
        self._terms = {"queue_age": queue_age, "bidi": str(bidi).lower()}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Servers and users, until the block ends; then the servers stop in good order.

        What is in their databases by then counts as stored.
        """
        await self._prepare()
        lives = [asyncio.ensure_future(actor.live()) for actor in self.actors]
        try:
            await asyncio.gather(*(server.start() for server in self.servers.values()))
            await self._until("everybody is online", lambda: all(actor.online for actor in self.actors))
            yield
            for actor, life in zip(self.actors, lives, strict=True):
                assert actor.gone or not life.done(), life.result()
        finally:
            for life in lives:
                life.cancel()
            await asyncio.gather(*lives, return_exceptions=True)
            for actor in self.actors:
                actor.drop()
            for proxy in (*self.doors.values(), *self.links.values()):
                await proxy.stop()
            await asyncio.gather(*(server.stop() for server in self.servers.values()))
        for server in self.servers.values():
            for id in server.kept():
                self.ledger.stored(id)

    async def _prepare(self) -> None:
        development_certificates(self._folder / "certs", DOMAINS)
        context = ssl.create_default_context(cafile=self._folder / "certs" / "ca.crt")
        chance = Random()  # not of the seed: another run may be going on
        ports = {domain: (_free_port(chance), _free_port(chance)) for domain in DOMAINS}
        for domain, (c2s, s2s) in ports.items():
            self.doors[domain] = Proxy(c2s, self.random)
            self.links[domain] = Proxy(s2s, self.random)
            await self.doors[domain].start()
            await self.links[domain].start()
        for domain, peer in (DOMAINS, DOMAINS[::-1]):
            server, (c2s, s2s) = self.servers[domain], ports[domain]
            to_peer = self.links[peer].port
            server.configure(c2s=c2s, s2s=s2s, peer=peer, peer_port=to_peer, **self._terms)
            server.create(user for user in self.users if user.endswith(domain))
        for number, user in enumerate(self.users):
            for resource in ("place1", "place2")[: 2 if number % 4 == 0 else 1]:
                port = self.doors[user.partition("@")[2]].port
                self.actors.append(Actor(f"{user}/{resource}", port, context, self.ledger, self.random))

    # -- everyday life --------------------------------------------------------------------------------

    async def chat(self, seconds: float, pace: float) -> None:
        """Let users talk, edit their rosters and come and go; ``pace``: messages a second, all together."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(self.random.expovariate(pace))
            actor = self.random.choice(self.actors)
            what = self.random.random()
            if what < 0.05:
                actor.edit(self.random.choice(self.users))
            elif what < 0.06:
                actor.leave()
            elif what < 0.08:
                actor.vanish()
                self._count("vanished")
            else:
                actor.chat(self.random.choice(self.users))

    async def settle(self, limit: float, rest: float = 0) -> None:
        """Let everything that was said be taken, and all that waits arrive.

        :param rest: the most seconds to wait for links that rest after many failures.
        """
        for actor in self.actors:
            actor.calm = True
        for proxy in (*self.doors.values(), *self.links.values()):
            proxy.mean = 0
            proxy.refusing = False
            proxy.flowing.set()
        async with asyncio.timeout(limit):
            await self.taken()
            await self.quiet()
            await self.homes(rest)
            for actor in self.actors:
                actor.leave()
            await asyncio.sleep(1)
            await self._until("everybody is back", lambda: all(actor.settled for actor in self.actors))
            await self.quiet()
            await self._read_rosters()

    async def part(self, limit: float) -> None:
        """A third of the users go for good, some of them without a word; the others write to them."""
        for number, actor in enumerate(self.actors[::3]):
            actor.gone = True
            if number % 2:
                actor.leave()
            else:
                actor.vanish()
        for actor in (each for each in self.actors if not each.gone):
            for other in self.random.sample(self.actors[::3], 3):
                actor.chat(other.bare)
        async with asyncio.timeout(limit):
            await self._until("all is taken", lambda: all(actor.settled for actor in self.actors))

    async def _read_rosters(self) -> None:
        for actor in self.actors:
            actor.ask_roster()
        await self._until("the rosters are read", lambda: len(self.ledger.rosters) == len(self.users))

    async def taken(self) -> None:
        """Wait until the servers have taken all that was said."""
        await self._until("all is taken", lambda: all(actor.settled for actor in self.actors))

    async def homes(self, limit: float) -> None:
        """Wait until all that was taken for the other server has a home, but no longer than that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while self.ledger.lost(remote=True):  # noqa: ASYNC110  # more arrive by themselves
                    await asyncio.sleep(0.2)

    async def quiet(self) -> None:
        """Wait until nothing has arrived for a while."""
        before = -1
        while before != self.ledger.arrivals:
            before = self.ledger.arrivals
            await asyncio.sleep(_QUIET)

    async def _until(self, what: str, true: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(60):
                while not true():  # noqa: ASYNC110  # of all actors together
                    await asyncio.sleep(0.05)
        except TimeoutError:
            behind = [repr(each) for each in self.actors if not each.settled]
            raise AssertionError(f"not in time: {what}; waiting for {behind}") from None

    # -- what goes wrong ------------------------------------------------------------------------------

    def _count(self, mishap: str) -> None:
        self.mishaps[mishap] = self.mishaps.get(mishap, 0) + 1

    async def trouble(self, seconds: float, pause: float) -> None:
        """One mishap after the other, ``pause`` seconds apart on average; every other one is a power cut."""
        mishaps = (self.locked, self.full, self.cut_links, self.stall_door, self.stall_link)
        end = asyncio.get_running_loop().time() + seconds
        bag: list[Callable[[str], Coroutine[Any, Any, None]]] = []
        while asyncio.get_running_loop().time() < end:
            bag = bag or [
                each for one in self.random.sample(mishaps, len(mishaps)) for each in (one, self.power_cut)
            ]
            mishap = bag.pop()
            self._count(str(getattr(mishap, "__name__", "")))
            await mishap(self.random.choice(DOMAINS))
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * pause)

    async def power_cut(self, domain: str) -> None:
        """A server is killed, and comes back."""
        self.ledger.killed(domain)
        await self.servers[domain].kill()
        await asyncio.sleep(self.random.uniform(0, 1))
        await self.servers[domain].start()

    async def locked(self, domain: str) -> None:
        """Somebody else holds the database: longer than SQLite waits, sometimes."""
        await self.servers[domain].lock(self.random.choice((1, 3, 7)))

    async def full(self, domain: str) -> None:
        """There is no room on the disk."""
        await self.servers[domain].fill_disk(self.random.uniform(1, 4))

    async def cut_links(self, domain: str) -> None:
        """The connections to a server from the other one break."""
        self.links[domain].cut()

    async def stall_door(self, domain: str) -> None:
        """Nothing passes between a server and its clients."""
        self.doors[domain].flowing.clear()
        await asyncio.sleep(self.random.uniform(0.5, 3))
        self.doors[domain].flowing.set()

    async def stall_link(self, domain: str) -> None:
        """Nothing passes on the connections to a server from the other one."""
        self.links[domain].flowing.clear()
        await asyncio.sleep(self.random.uniform(0.5, 3))
        self.links[domain].flowing.set()


def _free_port(random: Random) -> int:
    """A port that is free, and below those that connections of this machine get by chance."""
    for port in random.sample(range(15_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
