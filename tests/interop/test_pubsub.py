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


def written(tmp_path: Path) -> Path:
    """The configuration of a server with a publish-subscribe service, and with accounts."""
    development_certificates(tmp_path / "certs", ("montague.lit", NEWS))
    config = tmp_path / "montague.toml"
    config.write_text(f'{CONFIG}[domains."{NEWS}"]\nfederation = "off"\nservice = "pubsub"\n')
    accounts(config)
    return config


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(written(tmp_path)) as server:
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


def filled(actor: Any, kind: str = "", **values: str) -> Any:
    """A form that is filled in."""
    form = actor.plugin["xep_0004"].make_form("submit")
    if kind:
        form.add_field("FORM_TYPE", "hidden", value=f"http://jabber.org/protocol/pubsub#{kind}")
    for name, value in values.items():
        form.add_field(f"pubsub#{name.replace('_values', '-values')}", value=value)
    return form


@played
async def test_nodes_are_listed_by_pages_and_one_that_moved_says_where_it_is(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    juliet.add_event_handler("pubsub_delete", juliet.heard.put_nowait)
    async with entered(romeo, juliet):
        pubsub, hers = romeo.plugin["xep_0060"], juliet.plugin["xep_0060"]
        for number in range(7):
            await pubsub.create_node(NEWS, f"act {number}")
        pages = await juliet.plugin["xep_0030"].get_items(jid=NEWS, iterator=True)
        pages.amount = 3
        listed = [each["node"] async for page in pages for each in page["disco_items"]]
        assert listed == [f"act {number}" for number in range(7)]
        await hers.subscribe(NEWS, "act 1")
        owner = "http://jabber.org/protocol/pubsub#owner"
        iq = romeo.make_iq_set(ito=NEWS)
        deletion = iq.xml.makeelement(f"{{{owner}}}delete", {"node": "act 1"})
        deletion.append(iq.xml.makeelement(f"{{{owner}}}redirect", {"uri": f"xmpp:{NEWS}?;node=act%202"}))
        iq.xml.append(iq.xml.makeelement(f"{{{owner}}}pubsub", {}))
        iq.xml[-1].append(deletion)
        await iq.send()
        told = (await heard(juliet))["delete"]["redirect"]
        assert told == f"xmpp:{NEWS}?;node=act%202"
        with pytest.raises(IqError) as moved:
            await hers.subscribe(NEWS, "act 1")
        assert moved.value.condition == "gone"
        assert moved.value.iq["error"]["gone"] == f"xmpp:{NEWS}?;node=act%202"


@played
async def test_an_owner_learns_who_waits_and_lets_them_in(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    juliet.add_event_handler("pubsub_publish", juliet.heard.put_nowait)
    juliet.add_event_handler("pubsub_subscription", juliet.heard.put_nowait)
    romeo.register_plugin("xep_0050")
    async with entered(romeo, juliet):
        pubsub, hers = romeo.plugin["xep_0060"], juliet.plugin["xep_0060"]
        config = filled(romeo, "node_config", access_model="authorize")
        await pubsub.create_node(NEWS, "verona", config=config)
        await pubsub.publish(NEWS, "verona", id="n", payload=element("<news xmlns='urn:news'/>"))
        answer = await hers.subscribe(NEWS, "verona")
        assert answer["pubsub"]["subscription"]["subscription"] == "pending"
        question = await romeo.receives("message", from_=NEWS)
        commands = romeo.plugin["xep_0050"]
        pending = "http://jabber.org/protocol/pubsub#get-pending"
        offered = await commands.send_command(NEWS, pending)
        form = filled(romeo, node="verona")
        await commands.send_command(
            NEWS, pending, action="complete", sessionid=offered["command"]["sessionid"], payload=form
        )
        again = await romeo.receives("message", from_=NEWS)
        assert question["form"]["values"] == again["form"]["values"]
        decision = romeo.make_message(NEWS)
        decision["id"] = again["id"]
        values = {**again["form"]["values"], "pubsub#allow": True}
        decided = romeo.plugin["xep_0004"].make_form("submit")
        for name, value in values.items():
            decided.add_field(name, value="1" if value is True else value)
        decision.append(decided)
        decision.send()
        assert (await heard(juliet))["subscription"]["subscription"] == "subscribed"
        assert (await heard(juliet))["items"]["item"]["id"] == "n"


@played
async def test_a_subscriber_shows_when_it_wants_to_be_notified(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    juliet.add_event_handler("pubsub_publish", juliet.heard.put_nowait)
    async with entered(romeo, juliet):
        pubsub, hers = romeo.plugin["xep_0060"], juliet.plugin["xep_0060"]
        await pubsub.create_node(NEWS, "verona")
        options = filled(juliet, "subscribe_options", show_values="chat")
        await hers.subscribe(NEWS, "verona", options=options)
        await juliet.until("the question", lambda: NEWS in juliet.client_roster)  # it agrees by itself
        await juliet.until("the answer", lambda: juliet.client_roster[NEWS]["from"])
        for number, show in enumerate((None, "chat", "away", "chat")):
            juliet.send_presence(pshow=show)
            await juliet.plugin["xep_0199"].ping(NEWS)  # behind the presence
            news = element(f"<news xmlns='urn:news'>{number}</news>")
            await pubsub.publish(NEWS, "verona", id=f"n{number}", payload=news)
        assert [(await heard(juliet))["items"]["item"]["id"] for _ in range(2)] == ["n1", "n3"]


@played
async def test_what_was_said_outlives_a_killed_server(tmp_path: Path) -> None:
    config = written(tmp_path)
    with running(config) as server:
        romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
        async with entered(romeo, juliet):
            pubsub = romeo.plugin["xep_0060"]
            options = filled(romeo, "node_config", max_items="max", publish_model="open", title="News")
            await pubsub.create_node(NEWS, "verona", config=options)
            lease = filled(juliet, "subscribe_options", expire="2999-12-31T00:00:00Z")
            await juliet.plugin["xep_0060"].subscribe(NEWS, "verona", options=lease)
            await pubsub.modify_affiliations(NEWS, "verona", affiliations=[("x@capulet.lit", "outcast")])

            async def publish(actor: Any) -> None:
                name = actor.boundjid.local
                for number in range(20):
                    news = element(f"<news xmlns='urn:news'>{number}</news>")
                    await actor.plugin["xep_0060"].publish(NEWS, "verona", id=f"{name}{number}", payload=news)

            await asyncio.gather(publish(romeo), publish(juliet))
            server.process.kill()
            server.process.wait()
    with running(config) as server:
        romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
        async with entered(romeo, juliet):
            pubsub, hers = romeo.plugin["xep_0060"], juliet.plugin["xep_0060"]
            answer = await hers.get_items(NEWS, "verona")
            kept = sorted(each["id"] for each in answer["pubsub"]["items"])
            assert kept == sorted(f"{name}{number}" for name in ("romeo", "juliet") for number in range(20))
            options = await hers.get_subscription_options(NEWS, "verona", user_jid=JULIET)
            values = options["pubsub"]["options"]["options"]["values"]
            assert values["pubsub#expire"] == "2999-12-31T00:00:00Z"
            answer = await pubsub.get_node_config(NEWS, "verona")
            assert answer["pubsub_owner"]["configure"]["form"]["values"]["pubsub#title"] == "News"
            affiliations = await pubsub.get_node_affiliations(NEWS, "verona")
            known = {str(e["jid"]): e["affiliation"] for e in affiliations["pubsub_owner"]["affiliations"]}
            assert known == {ROMEO: "owner", "x@capulet.lit": "outcast"}
