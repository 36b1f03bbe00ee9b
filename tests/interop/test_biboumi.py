"""Debian's biboumi as a component: a channel of an IRC server is a room, for clients of ours."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import slixmpp
from slixmpp.exceptions import IqError

from tests.interop.actor import PATIENCE, Actor, entered
from tests.interop.gateway import DOMAIN, SECRET, configured, served
from tests.interop.irc import BIBOUMI, NGIRCD, Person, biboumi, ngircd
from tests.running import free_ports, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Running

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.process,
    pytest.mark.skipif(BIBOUMI is None or NGIRCD is None, reason="apt install biboumi ngircd"),
]

IRC = f"irc.{DOMAIN}"
ROOM = f"#verona%127.0.0.1@{IRC}"
MUC_USER = "{http://jabber.org/protocol/muc#user}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(served(tmp_path, configured(IRC))) as server:
        yield server


async def connected(romeo: Actor) -> None:
    """Wait until biboumi is there."""
    disco: Any = romeo.plugin["xep_0030"]
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(IqError):
                info = await disco.get_info(jid=IRC, timeout=PATIENCE)
                assert ("conference", "irc") in [each[:2] for each in info["disco_info"]["identities"]]
                return
            await asyncio.sleep(0.1)


async def configure(romeo: Actor, port: int) -> None:
    """Tell biboumi the port of the IRC server, by its ad-hoc command (XEP-0050)."""
    commands: Any = romeo.plugin["xep_0050"]
    to = slixmpp.JID(f"127.0.0.1@{IRC}")
    form = await commands.send_command(to, "configure", timeout=PATIENCE)
    assert "ports" in [field["var"] for field in form["command"]["form"]["fields"]]
    forms: Any = romeo.plugin["xep_0004"]
    answer = forms.make_form(ftype="submit")
    answer.add_field(var="ports", ftype="text-multi", value=[str(port)])
    answer.add_field(var="tls_ports", ftype="text-multi", value=[])
    done = await commands.send_command(
        to,
        "configure",
        sessionid=form["command"]["sessionid"],
        action="complete",
        payload=answer,
        timeout=PATIENCE,
    )
    assert done["command"]["status"] == "completed"


def statuses(presence: Any) -> list[str]:
    """The codes that a room puts into presence (XEP-0045 §15.6.2)."""
    return [each.get("code") for each in presence.xml.iter(f"{MUC_USER}status")]


async def enter(romeo: Actor) -> None:
    """Join, and see oneself there (XEP-0045 §7.2.2)."""
    presence: Any = romeo.make_presence(pto=slixmpp.JID(f"{ROOM}/romeo"))
    presence.append(ET.Element("{http://jabber.org/protocol/muc}x"))
    presence.send()
    await romeo.receives("presence", from_=f"{ROOM}/mercutio")
    own = await romeo.receives("presence", from_=f"{ROOM}/romeo")
    assert "110" in statuses(own)


def test_a_channel_is_a_room(server: Running, tmp_path: Path) -> None:
    [port] = free_ports(1)

    async def play() -> None:
        romeo = Actor(f"romeo@{DOMAIN}/orchard", server.port("c2s"), tmp_path / "ca.crt", register=False)
        for plugin in ("xep_0004", "xep_0050"):
            romeo.register_plugin(plugin)
        mercutio = await Person.joined(port, "mercutio", "#verona")
        async with entered(romeo):
            await connected(romeo)
            await configure(romeo, port)
            await enter(romeo)
            await mercutio.hears("JOIN")
            romeo.send_message(slixmpp.JID(ROOM), "what light is <this> & \N{ROSE}", mtype="groupchat")
            assert (await mercutio.hears("PRIVMSG #verona")).endswith(":what light is <this> & \N{ROSE}")
            mercutio.say("PRIVMSG #verona :nay, gentle Romeo, <b>we</b> & \N{ROSE}")
            said = await romeo.receives("message", from_=f"{ROOM}/mercutio", type="groupchat")
            assert said["body"] == "nay, gentle Romeo, <b>we</b> & \N{ROSE}"
            mercutio.say("PRIVMSG romeo :in private")
            await romeo.receives("message", body="in private", type="chat")
            romeo.send_presence(pto=slixmpp.JID(f"{ROOM}/romeo"), ptype="unavailable")
            await mercutio.hears("PART")
            await mercutio.leave()

    with ngircd(tmp_path, port), biboumi(tmp_path, IRC, SECRET, server.port("component")):
        asyncio.run(play())
