"""slixmpp's privileged components (XEP-0356) at a real server, seen by slixmpp's clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import slixmpp
from slixmpp.componentxmpp import ComponentXMPP
from slixmpp.exceptions import IqError
from slixmpp.plugins import xep_0060

from tests.interop.actor import PATIENCE, Actor, entered
from tests.interop.gateway import DOMAIN, PUBSUB, SECRET, configured, jabberctl, served
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign]

MATRIX, SMS = f"matrix.{DOMAIN}", f"sms.{DOMAIN}"
GRANTED = f"""
[domains."{DOMAIN}".modules.privilege.entities."{MATRIX}"]
roster = "both"
message = "outgoing"
presence = "managed_entity"
iq = {{"{PUBSUB}" = "both"}}
[control]
socket = "jabberd.sock"
"""


def grant(config: Path) -> None:
    """Let sms.montague.lit read rosters."""
    table = f'[domains."{DOMAIN}".modules.privilege.entities."{SMS}"]\nroster = "get"\n'
    config.write_text(config.read_text() + table)
    jabberctl(config, "config", "reload")


def condition(error: IqError) -> str:
    """What was said; slixmpp looks for it in the clients' namespace."""
    [said] = error.iq.xml.findall("{jabber:component:accept}error")
    return str(said[0].tag.rpartition("}")[2])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return served(tmp_path, configured(MATRIX, SMS, more=GRANTED))


@pytest.fixture
def server(config: Path) -> Iterator[Running]:
    with running(config) as server:
        yield server


class Gateway(ComponentXMPP):
    """A component that learns what it may do."""

    def __init__(self, server: Running, domain: str) -> None:
        super().__init__(domain, SECRET, "127.0.0.1", server.port("component"))  # type: ignore[no-untyped-call]  # slixmpp's
        self._heard: list[Any] = []
        self._news = asyncio.Event()
        self.began = asyncio.Event()
        self.advertised = asyncio.Event()
        for plugin in ("xep_0030", "xep_0060", "xep_0297", "xep_0356"):
            self.register_plugin(plugin)
        self.add_event_handler("session_start", lambda _: self.began.set())
        self.add_event_handler("privileges_advertised", lambda _: self.advertised.set())
        self.add_filter("in", self._see)

    def _see(self, stanza: Any) -> Any:
        self._heard.append(stanza)
        self._news.set()
        return stanza

    @property
    def privileges(self) -> Any:
        return self.plugin["xep_0356"]

    async def begin(self) -> None:
        self.connect("127.0.0.1", int(self.server_port))
        await asyncio.wait_for(self.began.wait(), PATIENCE)

    async def hears(self, true: Any) -> Any:
        """Wait for a stanza of which that is true."""
        async with asyncio.timeout(PATIENCE):
            while not (found := [each for each in self._heard if true(each)]):
                self._news.clear()
                await self._news.wait()
        return found[0]


def client(server: Running, name: str) -> Actor:
    authority = server.log.with_name("ca.crt")
    actor = Actor(f"{name}@{DOMAIN}/orchard", server.port("c2s"), authority, register=False)
    actor.register_plugin("xep_0060")
    return actor


def test_a_gateway_keeps_a_roster_speaks_asks_and_sees_who_is_there(server: Running) -> None:
    async def play() -> None:
        gateway, romeo, juliet = Gateway(server, MATRIX), client(server, "romeo"), client(server, "juliet")
        await gateway.begin()
        await asyncio.wait_for(gateway.advertised.wait(), PATIENCE)
        async with entered(romeo, juliet):
            came = await gateway.hears(lambda each: str(each["from"]) == f"romeo@{DOMAIN}/orchard")
            assert (came.name, came["type"]) == ("presence", "available")
            contact = f"mercutio@{MATRIX}"
            await gateway.privileges.set_roster(
                f"romeo@{DOMAIN}",
                {contact: {"name": "Mercutio", "subscription": "none", "groups": ["Matrix"]}},
            )
            await romeo.until("the new contact", lambda: contact in romeo.client_roster)
            got = await gateway.privileges.get_roster(f"romeo@{DOMAIN}")
            assert got["roster"]["items"][slixmpp.JID(contact)]["groups"] == ["Matrix"]
            await gateway.hears(lambda each: each.name == "iq" and each["type"] == "set")  # the push
            said = gateway.make_message(
                mto=slixmpp.JID(f"juliet@{DOMAIN}"),
                mfrom=slixmpp.JID(f"romeo@{DOMAIN}"),
                mbody="from my telephone",
            )
            said.namespace = "jabber:client"
            said.xml.tag = "{jabber:client}message"
            for child in said.xml:
                child.tag = child.tag.replace("jabber:component:accept", "jabber:client")
            gateway.privileges.send_privileged_message(said)
            await juliet.receives("message", from_=f"romeo@{DOMAIN}", body="from my telephone")
            iq: Any = gateway.make_iq_set(
                ifrom=slixmpp.JID(f"romeo@{DOMAIN}"), ito=slixmpp.JID(f"romeo@{DOMAIN}")
            )
            iq["pubsub"]["publish"]["node"] = "urn:example:matrix"
            item = xep_0060.stanza.Item()
            item["id"], item["payload"] = "current", ET.Element("{urn:example:matrix}here")
            iq["pubsub"]["publish"].append(item)
            answer = await gateway.privileges.send_privileged_iq(iq)
            assert answer["type"] == "result"
            assert answer["pubsub"]["publish"]["node"] == "urn:example:matrix"
            reader: Any = romeo.plugin["xep_0060"]
            found = await reader.get_items(f"romeo@{DOMAIN}", "urn:example:matrix")
            assert [item["id"] for item in found["pubsub"]["items"]] == ["current"]
        await gateway.disconnect(wait=0.5)

    asyncio.run(play())


def test_what_was_not_granted_is_forbidden_until_a_reload_grants_it(server: Running, config: Path) -> None:
    async def play() -> None:
        sms = Gateway(server, SMS)
        await sms.begin()
        query: Any = sms.make_iq_get("jabber:iq:roster", ito=f"romeo@{DOMAIN}", ifrom=SMS)
        with pytest.raises(IqError) as refused:
            await query.send(timeout=PATIENCE)
        assert condition(refused.value) == "forbidden"
        await asyncio.to_thread(grant, config)
        await asyncio.wait_for(sms.advertised.wait(), PATIENCE)
        assert (await sms.privileges.get_roster(f"romeo@{DOMAIN}"))["type"] == "result"
        with pytest.raises(IqError) as refused:
            await sms.privileges.set_roster(f"romeo@{DOMAIN}", {f"x@{SMS}": {"subscription": "remove"}})
        assert condition(refused.value) == "forbidden"
        await sms.disconnect(wait=0.5)

    asyncio.run(play())
