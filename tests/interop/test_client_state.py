"""Client state (XEP-0352) on links that break, with stream management (XEP-0198), by slixmpp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.actor import Actor, entered
from tests.interop.test_flaky import Persistent
from tests.interop.test_pep import JULIET, ROMEO, played
from tests.interop.test_pep import config as config  # noqa: PLC0414  # the fixture
from tests.interop.test_pep import server as server  # noqa: PLC0414  # the fixture

if TYPE_CHECKING:
    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign]
STATES = "http://jabber.org/protocol/chatstates"


class Mobile(Persistent):
    """A client that its owner puts away, and whose link breaks when the test says so."""

    def __init__(self, server: Running, jid: str) -> None:
        super().__init__(jid, server.port("c2s"), server.log.parent / "certs" / "ca.crt")
        self.register_plugin("xep_0352")
        self.add_event_handler("csi_enabled", lambda _: self._news.set())

    async def rest(self) -> None:
        """Say that nobody looks; what was seen before is forgotten."""
        state: Any = self.plugin["xep_0352"]
        await self.until("the feature", lambda: state.enabled)  # slixmpp says nothing before
        state.send_inactive()
        await done(self)
        self._seen.clear()

    async def break_link(self) -> None:
        """In the middle of anything, and stay away."""
        self._may_go = True
        gone = self.wait_until("disconnected")
        self.abort()
        await gone

    async def come_back(self) -> None:
        self._may_go = False
        self.connect("127.0.0.1", self._port)
        await self._there.wait()

    def told(self) -> list[str]:
        """What was heard of others, in order: statuses, texts, receipts and chat states."""
        names = [_told(each) for each in self._seen]
        return [name for name in names if name]


def _told(stanza: Any) -> str:
    if stanza.name == "presence":
        return str(stanza["status"])
    receipt, state = (stanza.xml.find(name) for name in ("{urn:xmpp:receipts}received", f"{{{STATES}}}*"))
    if receipt is not None:
        return str(receipt.get("id"))
    return state.tag.partition("}")[2] if state is not None else str(stanza["body"])


def client(server: Running, jid: str) -> Any:  # slixmpp's types are its own
    return Actor(jid, server.port("c2s"), server.log.parent / "certs" / "ca.crt", register=False)


def say(actor: Any, inside: str) -> None:
    hint = "<no-store xmlns='urn:xmpp:hints'/>" if STATES in inside else ""
    actor.send_raw(f"<message type='chat' to='{ROMEO}/orchard'>{inside}{hint}</message>")


def receipt(id: str) -> str:
    return f"<received xmlns='urn:xmpp:receipts' id='{id}'/>"


def state(name: str) -> str:
    return f"<{name} xmlns='{STATES}'/>"


async def done(*actors: Any) -> None:
    """Wait until the server has done what these have said."""
    for actor in actors:
        await actor.plugin["xep_0199"].send_ping("montague.lit")


@played
async def test_what_waits_while_nobody_looks_outlives_the_link_in_order(server: Running) -> None:
    romeo = Mobile(server, f"{ROMEO}/orchard")
    garden, juliet = client(server, f"{ROMEO}/garden"), client(server, f"{JULIET}/balcony")
    async with entered(garden, juliet):
        try:
            await romeo.enter()
            await romeo.rest()
            garden.send_presence(pstatus="sad")
            say(juliet, state("composing"))
            say(juliet, receipt("first"))
            await done(garden, juliet)
            assert romeo.told() == []
            await romeo.break_link()
            garden.send_presence(pstatus="in love")
            await done(garden)
            say(juliet, state("paused"))
            say(juliet, receipt("second"))
            await done(juliet)
            await romeo.come_back()
            await romeo.until("the second receipt", lambda: "second" in romeo.told())
            assert romeo.resumed == 1
            assert romeo.told() == ["first", "in love", "paused", "second"]
            say(juliet, state("gone"))
            await romeo.until("what comes at once again", lambda: romeo.told()[4:] == ["gone"])
        finally:
            await romeo.go()


@played
async def test_a_message_on_a_broken_link_comes_behind_what_waited(server: Running) -> None:
    romeo, juliet = Mobile(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    async with entered(juliet):
        try:
            await romeo.enter()
            await romeo.rest()
            say(juliet, receipt("first"))
            await done(juliet)
            await romeo.break_link()
            for inside in ("<body>hi</body>", receipt("second"), "<body>there?</body>", receipt("third")):
                say(juliet, inside)
            await done(juliet)
            await romeo.come_back()
            await romeo.until("the last receipt", lambda: "third" in romeo.told())
            assert romeo.told() == ["first", "hi", "second", "there?", "third"]
        finally:
            await romeo.go()
        assert romeo.resumed == 1


@played
async def test_who_does_not_come_back_finds_what_waited_with_the_next_login(server: Running) -> None:
    romeo, juliet = Mobile(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    async with entered(juliet):
        await romeo.enter()
        await romeo.rest()
        for inside in (receipt("first"), receipt("second")):
            say(juliet, inside)
        await done(juliet)
        assert romeo.told() == []
        await romeo.go()  # a goodbye ends the session
        again = Mobile(server, f"{ROMEO}/chamber")
        try:
            await again.enter()
            await again.until("both", lambda: again.told()[-2:] == ["first", "second"])
        finally:
            await again.go()
