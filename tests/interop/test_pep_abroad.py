"""Personal events and a publish-subscribe service of ours, with people at a Prosody."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from slixmpp.exceptions import IqError

from tests.interop.actor import Actor, entered
from tests.interop.peers import PROSODY
from tests.interop.story import subscription
from tests.interop.test_pep import OMEMO, element, equipped, heard, played, wanting
from tests.interop.test_prosody import Verona
from tests.interop.test_pubsub import filled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.process,
    pytest.mark.skipif(PROSODY is None, reason="no Prosody here: apt install prosody"),
]

ROMEO, JULIET = "romeo@montague.lit", "juliet@capulet.lit"
NEWS = "urn:news"


@pytest.fixture
def verona(tmp_path: Path) -> Iterator[Verona]:
    with ExitStack() as stack:
        yield Verona(tmp_path, stack)


def news(text: str) -> Any:
    return element(f"<news xmlns='{NEWS}'>{text}</news>")


async def publish(actor: Any, text: str, node: str = NEWS, **options: str) -> None:
    wanted = wanting(actor, **options) if options else None
    await actor.plugin["xep_0060"].publish(
        actor.boundjid.bare, node, id="current", payload=news(text), options=wanted
    )


@played
async def test_contacts_at_the_other_server_hear_it_and_may_read_it(verona: Verona) -> None:
    montague = verona.serve("certificate", modules=["pep"])
    authority = verona.authority.file
    romeo = equipped(Actor(f"{ROMEO}/orchard", montague.port, authority, register=False), NEWS)
    juliet = equipped(Actor(f"{JULIET}/balcony", verona.c2s, authority, register=True), NEWS)
    async with entered(romeo, juliet):
        await subscription(romeo, juliet)
        for publisher, hearer in ((romeo, juliet), (juliet, romeo)):
            await publish(publisher, "of love")
            items = await heard(hearer)
            while items["item"]["payload"].text != "of love":  # what was heard before, of the other
                items = await heard(hearer)
        answer = await juliet.plugin["xep_0060"].get_items(ROMEO, NEWS)
        assert answer["pubsub"]["items"]["item"]["payload"].text == "of love"
        await publish(romeo, "keys", f"{OMEMO}.bundles:7", access_model="open")
        await publish(romeo, "mine", "closed", access_model="whitelist")
        answer = await juliet.plugin["xep_0060"].get_items(ROMEO, f"{OMEMO}.bundles:7")
        assert answer["pubsub"]["items"]["item"]["payload"].text == "keys"
        with pytest.raises(IqError) as error:
            await juliet.plugin["xep_0060"].get_items(ROMEO, "closed")
        assert error.value.condition == "not-allowed"
    later = equipped(Actor(f"{JULIET}/garden", verona.c2s, authority, register=False), NEWS)
    async with entered(later):  # Romeo is not there any more: his server tells it
        async with asyncio.timeout(20):
            while (message := await later.heard.get())["from"].bare != ROMEO:
                pass
        assert message["pubsub_event"]["items"]["item"]["payload"].text == "of love"


@played
async def test_people_elsewhere_subscribe_to_a_service_of_ours(verona: Verona) -> None:
    service = "news.montague.lit"
    montague = verona.serve("certificate", services={service: "pubsub"})
    authority = verona.authority.file
    romeo = equipped(Actor(f"{ROMEO}/orchard", montague.port, authority, register=False))
    juliet = equipped(Actor(f"{JULIET}/balcony", verona.c2s, authority, register=True))
    juliet.add_event_handler("pubsub_publish", juliet.heard.put_nowait)
    async with entered(romeo, juliet):
        ours, theirs = romeo.plugin["xep_0060"], juliet.plugin["xep_0060"]
        await ours.create_node(service, "verona")
        await theirs.subscribe(service, "verona")
        for number in range(5):
            await ours.publish(service, "verona", id=str(number), payload=news(f"news {number}"))
            assert (await heard(juliet))["item"]["payload"].text == f"news {number}"
        with pytest.raises(IqError) as error:
            await theirs.create_node(service, "capulet")
        assert error.value.condition == "forbidden"
        answer = await theirs.get_items(service, "verona", max_items=2)
        assert [each["id"] for each in answer["pubsub"]["items"]] == ["3", "4"]
        options = filled(juliet, "subscribe_options", show_values="dnd")
        await theirs.subscribe(service, "verona", options=options)
        await juliet.until("her answer", lambda: juliet.client_roster[service]["from"])
        for number, show in enumerate((None, "dnd")):
            juliet.send_presence(pshow=show)
            await juliet.plugin["xep_0199"].ping(service)  # behind the presence
            await ours.publish(service, "verona", id=f"show {number}", payload=news(f"{show}"))
        assert (await heard(juliet))["item"]["id"] == "show 1"
