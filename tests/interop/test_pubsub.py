"""A publish-subscribe service with slixmpp: nodes, subscribers, owners, pages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0059 import Set
from slixmpp.plugins.xep_0060.stanza import Pubsub
from slixmpp.xmlstream import register_stanza_plugin

from jabberd.certificates import development_certificates
from tests.interop.actor import PATIENCE, entered
from tests.interop.test_pep import CONFIG, JULIET, ROMEO, accounts, client, element, played
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Running

pytestmark = pytest.mark.process
NEWS = "news.montague.lit"
register_stanza_plugin(Pubsub, Set)  # what its own iterator over pages forgets


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    development_certificates(tmp_path / "certs", ("montague.lit", NEWS))
    config = tmp_path / "montague.toml"
    config.write_text(f'{CONFIG}[domains."{NEWS}"]\nfederation = "off"\nservice = "pubsub"\n')
    accounts(config)
    with running(config) as server:
        yield server


async def heard(actor: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return (await actor.heard.get())["pubsub_event"]


@played
async def test_owners_publish_and_subscribers_hear_it(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    for event in ("publish", "retract", "purge", "delete"):
        juliet.add_event_handler(f"pubsub_{event}", juliet.heard.put_nowait)
    async with entered(romeo, juliet):
        pubsub, hers = romeo.plugin["xep_0060"], juliet.plugin["xep_0060"]
        found = await romeo.plugin["xep_0030"].get_items(jid="montague.lit")
        assert [each[0] for each in found["disco_items"]["items"]] == [NEWS]
        await pubsub.create_node(NEWS, "verona")
        config = await pubsub.get_node_config(NEWS, "verona")
        form = config["pubsub_owner"]["configure"]["form"]
        form["type"] = "submit"
        form.set_values({"pubsub#title": "News of Verona", "pubsub#max_items": "50"})
        await pubsub.set_node_config(NEWS, "verona", form)
        await hers.subscribe(NEWS, "verona")
        for number in range(30):
            news = element(f"<news xmlns='urn:news'>{number}</news>")
            await pubsub.publish(NEWS, "verona", id=f"n{number}", payload=news)
            assert (await heard(juliet))["items"]["item"]["id"] == f"n{number}"
        ids = []
        async for page in hers.get_items(NEWS, "verona", iterator=True):
            ids += [each["id"] for each in page["pubsub"]["items"]]
        assert ids == [f"n{number}" for number in range(30)]
        with pytest.raises(IqError) as error:
            await hers.publish(NEWS, "verona", id="forged", payload=element("<news xmlns='urn:news'/>"))
        assert error.value.condition == "forbidden"
        await pubsub.modify_affiliations(NEWS, "verona", affiliations=[(JULIET, "publisher")])
        await hers.publish(NEWS, "verona", id="hers", payload=element("<news xmlns='urn:news'/>"))
        assert (await heard(juliet))["items"]["item"]["id"] == "hers"
        subscriptions = await pubsub.get_node_subscriptions(NEWS, "verona")
        assert [each["jid"] for each in subscriptions["pubsub_owner"]["subscriptions"]] == [JULIET]
        await pubsub.retract(NEWS, "verona", "n3", notify=True)
        assert (await heard(juliet))["items"]["retract"]["id"] == "n3"
        await pubsub.purge(NEWS, "verona")
        assert (await heard(juliet))["purge"]["node"] == "verona"
        await pubsub.delete_node(NEWS, "verona")
        assert (await heard(juliet))["delete"]["node"] == "verona"
