"""slixmpp's components at a real server (XEP-0114): an echo, seen by slixmpp's clients."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest
import slixmpp
from slixmpp.componentxmpp import ComponentXMPP

from tests.interop.actor import PATIENCE, Actor, entered
from tests.interop.logins import COMPONENT, COMPONENT_SECRET, DOMAIN, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Running

ROMEO = slixmpp.JID(f"romeo@{DOMAIN}")
HILLS = slixmpp.JID(f"hills@{COMPONENT}")

pytestmark = [pytest.mark.process, pytest.mark.foreign]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("montague")) as server:
        yield server


class Echo(ComponentXMPP):
    """Says to everybody what they say."""

    def __init__(self, server: Running, secret: str = COMPONENT_SECRET, *, domain: str = COMPONENT) -> None:
        super().__init__(domain, secret, "127.0.0.1", server.port("component"))  # type: ignore[no-untyped-call]  # slixmpp's
        self.errors: asyncio.Queue[str] = asyncio.Queue()
        self.began = asyncio.Event()
        for plugin in ("xep_0030", "xep_0199"):
            self.register_plugin(plugin)
        self.plugin["xep_0030"].add_identity(category="component", itype="echo", name="Echo")
        self.add_event_handler("message", lambda said: said.reply(said["body"]).send())
        self.add_event_handler("session_start", lambda _: self.began.set())
        self.add_event_handler("stream_error", lambda error: self.errors.put_nowait(error["condition"]))

    async def begin(self) -> None:
        self.connect("127.0.0.1", self._port())
        await asyncio.wait_for(self.began.wait(), PATIENCE)

    def _port(self) -> int:
        return int(self.server_port)


def romeo(server: Running) -> Actor:
    authority = server.log.with_name("ca.crt")
    return Actor(f"romeo@{DOMAIN}/orchard", server.port("c2s"), authority, register=False)


def test_an_echo_from_a_component(server: Running) -> None:
    async def play() -> None:
        echo, client = Echo(server), romeo(server)
        async with entered(client):
            client.send_message(HILLS, "anybody?", mtype="chat")
            bounced = await client.receives("message", type="error")
            assert bounced["error"]["condition"] == "remote-server-timeout"
            await echo.begin()
            client.send_message(HILLS, "nightingale", mtype="chat")
            await client.receives("message", from_=str(HILLS), body="nightingale")
            disco: Any = client.plugin["xep_0030"]
            items = await disco.get_items(jid=DOMAIN, timeout=PATIENCE)
            assert COMPONENT in [str(jid) for jid, _, _ in items["disco_items"]["items"]]
            info = await disco.get_info(jid=COMPONENT, timeout=PATIENCE)
            assert ("component", "echo", None, "Echo") in info["disco_info"]["identities"]
            ping: Any = echo.plugin["xep_0199"]
            assert await ping.ping(jid=DOMAIN, ifrom=COMPONENT, timeout=PATIENCE) >= 0
            second = Echo(server)
            second.connect("127.0.0.1", server.port("component"))
            assert await asyncio.wait_for(second.errors.get(), PATIENCE) == "conflict"
            await second.disconnect(wait=0.5)
            client.send_message(HILLS, "lark", mtype="chat")
            await client.receives("message", from_=str(HILLS), body="lark")
            await echo.disconnect(wait=0.5)

    asyncio.run(play())


def test_a_hangup_of_the_server_adds_and_removes_one_and_the_other_stays(server: Running) -> None:
    config = server.log.with_suffix(".toml")
    before = config.read_text()
    table = f'[components."choir.{DOMAIN}"]\nsecret = "{COMPONENT_SECRET}"\nfederation = "off"\n'

    def follow(text: str) -> None:
        config.write_text(text)
        server.process.send_signal(signal.SIGHUP)

    async def play() -> None:
        echo, choir, client = Echo(server), Echo(server, domain=f"choir.{DOMAIN}"), romeo(server)
        async with entered(client):
            await echo.begin()
            await asyncio.to_thread(follow, before + table)
            client.send_message(HILLS, "nightingale", mtype="chat")  # while it reads
            await client.receives("message", from_=str(HILLS), body="nightingale")
            await choir.begin()
            client.send_message(choir.boundjid, "amen", mtype="chat")
            await client.receives("message", from_=choir.boundjid.bare, body="amen")
            await asyncio.to_thread(follow, before)
            assert await asyncio.wait_for(choir.errors.get(), PATIENCE) == "host-gone"
            client.send_message(HILLS, "lark", mtype="chat")
            await client.receives("message", from_=str(HILLS), body="lark")
            for each in (echo, choir):
                await each.disconnect(wait=0.5)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("secret", "error"), [("not the right secret", "not-authorized"), (COMPONENT_SECRET, "invalid-from")]
)
def test_a_component_that_does_what_it_may_not_is_sent_away(server: Running, secret: str, error: str) -> None:
    async def play() -> None:
        villain = Echo(server, secret)
        villain.add_event_handler(
            "session_start",
            lambda _: villain.send_message(ROMEO, "hi", mfrom=slixmpp.JID("juliet@capulet.lit")),
        )
        villain.connect("127.0.0.1", server.port("component"))
        assert await asyncio.wait_for(villain.errors.get(), PATIENCE) == error
        await villain.disconnect(wait=0.5)

    asyncio.run(play())
