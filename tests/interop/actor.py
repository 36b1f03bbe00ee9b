"""Clients of either server: slixmpp, with everything remembered that it received."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import slixmpp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PATIENCE = 20.0  # seconds that anything may take
PASSWORD = "wherefore art thou"


class Actor(slixmpp.ClientXMPP):
    """A client on this machine.

    :param register: make the account first, in band (XEP-0077).
    """

    def __init__(self, jid: str, port: int, authority: Path, *, register: bool) -> None:
        super().__init__(jid, PASSWORD)
        self._port = port
        self._seen: list[Any] = []
        self._news = asyncio.Event()
        self.ca_certs = authority
        self.enable_direct_tls = False
        self.whitespace_keepalive = False
        self.roster.auto_authorize = True
        self.roster.auto_subscribe = True
        for plugin in ("xep_0030", "xep_0092", "xep_0199"):
            self.register_plugin(plugin)
        if register:
            self.register_plugin("xep_0077")
            self.add_event_handler("register", self._register)
        self.add_filter("in", self._see)
        self.add_event_handler("session_start", lambda _: self._news.set())

    async def enter(self) -> None:
        self.connect("127.0.0.1", self._port)
        await self.until("the start of its session", lambda: self.sessionstarted)
        await self.get_roster()
        self.send_presence()

    async def receives(self, name: str, **wanted: str) -> Any:
        """Wait for a stanza with these values, such as ``from_=...`` and ``body=...``; it is taken."""
        values = {key.rstrip("_"): value for key, value in wanted.items()}

        def found() -> Any:
            for stanza in self._seen:
                if stanza.name == name and all(str(stanza[key]) == value for key, value in values.items()):
                    self._seen.remove(stanza)
                    return stanza
            return None

        return await self.until(f"a {name} with {values}", found)

    async def until(self, what: str, true: Callable[[], Any]) -> Any:
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := true()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.boundjid} did not see {what}; it saw {self._seen}") from None
        return found

    def _see(self, stanza: Any) -> Any:
        self._seen.append(stanza)
        self._news.set()
        return stanza

    async def _register(self, _: object) -> None:
        iq = self.Iq(stype="set")
        iq["register"]["username"] = self.boundjid.user
        iq["register"]["password"] = PASSWORD
        await iq.send()  # type: ignore[no-untyped-call]  # slixmpp's


@asynccontextmanager
async def entered(*actors: Actor) -> AsyncIterator[None]:
    """Let them log in, and leave in the end."""
    try:
        for actor in actors:
            await actor.enter()
        yield
    finally:
        for actor in actors:
            await actor.disconnect(wait=1.0)
