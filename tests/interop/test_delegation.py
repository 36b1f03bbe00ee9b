"""A component of slixmpp's to which publish-subscribe is delegated (XEP-0355), seen by slixmpp's clients."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from slixmpp.componentxmpp import ComponentXMPP
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.interop.actor import PATIENCE, entered
from tests.interop.gateway import DOMAIN, PUBSUB, SECRET, configured, served
from tests.interop.test_privilege import client
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign]

PEP = "pep.montague.lit"
NS, FORWARD = "urn:xmpp:delegation:2", "urn:xmpp:forward:0"
DELEGATED = f"""
[domains."{DOMAIN}".modules.delegation]
timeout = "3 s"
[domains."{DOMAIN}".modules.delegation.namespaces]
"{PUBSUB}" = {{entity = "{PEP}"}}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(served(tmp_path, configured(PEP, more=DELEGATED))) as server:
        yield server


class Pep(ComponentXMPP):
    """Takes all that is published, and says that it can do that.

    :ivar delegated: the namespaces that were delegated to it.
    :ivar mute: whether it keeps its answers.
    """

    def __init__(self, server: Running) -> None:
        super().__init__(PEP, SECRET, "127.0.0.1", server.port("component"))  # type: ignore[no-untyped-call]  # slixmpp's
        self.delegated: asyncio.Queue[list[str]] = asyncio.Queue()
        self.published: list[str] = []
        self.mute = False
        self.register_plugin("xep_0030")
        accept = "{jabber:component:accept}"
        self.register_handler(Callback("told", MatchXPath(f"{accept}message/{{{NS}}}delegation"), self._told))
        self.register_handler(Callback("asked", MatchXPath(f"{accept}iq/{{{NS}}}delegation"), self._asked))
        disco: Any = self.plugin["xep_0030"]
        disco.add_feature(f"{PUBSUB}#publish", node=f"{NS}:bare:{PUBSUB}")
        disco.add_identity("pubsub", "pep", "theirs", node=f"{NS}:bare:{PUBSUB}")
        disco.add_feature("urn:example:theirs", node=f"{NS}::{PUBSUB}")

    async def begin(self) -> list[str]:
        """Connect; what is delegated to it."""
        self.connect("127.0.0.1", int(self.server_port))
        return await asyncio.wait_for(self.delegated.get(), PATIENCE)

    def _told(self, message: Any) -> None:
        each = message.xml.iter(f"{{{NS}}}delegated")
        self.delegated.put_nowait([delegated.get("namespace") for delegated in each])

    def _asked(self, iq: Any) -> None:
        [question] = iq.xml.iter("{jabber:client}iq")
        [publish] = question.iter(f"{{{PUBSUB}}}publish")
        self.published.append(f"{question.get('from')} {publish.get('node')}")
        if self.mute:
            return
        attrs = {"to": question.get("from"), "id": question.get("id"), "type": "result"}
        answer = ET.Element("{jabber:client}iq", attrs)
        answer.append(deepcopy(question[0]))
        around = ET.Element(f"{{{NS}}}delegation")
        ET.SubElement(around, f"{{{FORWARD}}}forwarded").append(answer)
        reply = iq.reply()
        reply.append(around)
        reply.send()


def test_a_component_answers_in_the_place_of_the_server(server: Running) -> None:
    async def play() -> None:
        pep, romeo = Pep(server), client(server, "romeo")
        async with entered(romeo):
            assert await pep.begin() == [PUBSUB]
            pubsub: Any = romeo.plugin["xep_0060"]
            disco: Any = romeo.plugin["xep_0030"]
            payload = ET.Element("{urn:example}here")
            for to in (f"romeo@{DOMAIN}", DOMAIN):
                done = await pubsub.publish(
                    to, "urn:example", id="current", payload=payload, timeout=PATIENCE
                )
                assert done["pubsub"]["publish"]["node"] == "urn:example"
            assert pep.published == [f"romeo@{DOMAIN}/orchard urn:example"] * 2
            found = (await disco.get_info(jid=f"romeo@{DOMAIN}", timeout=PATIENCE))["disco_info"]
            assert ("pubsub", "pep", None, "theirs") in found["identities"]
            assert [each for each in found["features"] if each.startswith(PUBSUB)] == [f"{PUBSUB}#publish"]
            found = (await disco.get_info(jid=DOMAIN, timeout=PATIENCE))["disco_info"]
            assert {NS, "urn:example:theirs"} <= {*found["features"]}
            pep.mute = True
            with pytest.raises(IqError) as silence:
                await pubsub.publish(f"romeo@{DOMAIN}", "urn:example", payload=payload, timeout=PATIENCE)
            assert silence.value.condition == "service-unavailable"
            await pep.disconnect(wait=0.5)
            with pytest.raises(IqError) as nobody:
                await pubsub.publish(f"romeo@{DOMAIN}", "urn:example", payload=payload, timeout=PATIENCE)
            assert nobody.value.condition == "service-unavailable"

    asyncio.run(play())
