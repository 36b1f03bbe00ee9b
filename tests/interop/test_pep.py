"""Personal eventing with slixmpp: as OMEMO, bookmarks, avatars, nicknames, moods and tunes use it."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from slixmpp.exceptions import IqError

from jabberd.certificates import development_certificates
from tests.interop.actor import PASSWORD, PATIENCE, Actor, entered
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from tests.running import Running

pytestmark = pytest.mark.process
JABBERCTL = Path(sys.executable).with_name("jabberctl")
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
federation = "off"
[domains."montague.lit".modules]
archive = true
[tls]
certificates = "certs"
[storage]
url = "sqlite:montague.db"
"""
ROMEO, JULIET = "romeo@montague.lit", "juliet@montague.lit"
OMEMO = "eu.siacs.conversations.axolotl"
DEVICES = f"{OMEMO}.devicelist"
BOOKMARKS = "urn:xmpp:bookmarks:1"
MDS = "urn:xmpp:mds:displayed:0"
PLUGINS = tuple(f"xep_{each:04}" for each in (4, 30, 59, 60, 84, 107, 115, 118, 163, 172, 402, 490))
PICTURE = b"\x89PNG\r\n\x1a\n" + b"rose" * 500


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Of a server with accounts for Romeo and Juliet."""
    development_certificates(tmp_path / "certs", ("montague.lit",))
    config = tmp_path / "montague.toml"
    config.write_text(CONFIG)
    accounts(config)
    return config


def accounts(config: Path) -> None:
    """Make accounts for Romeo and Juliet."""
    for account in (ROMEO, JULIET):
        command = [JABBERCTL, "--config", config, "--password-stdin", "accounts", "create", account]
        subprocess.run(
            [*map(str, command)], input=PASSWORD, text=True, check=True, capture_output=True, timeout=90
        )


@pytest.fixture
def server(config: Path) -> Iterator[Running]:
    with running(config) as server:
        yield server


def played(play: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in asyncio's loop, as slixmpp wants it."""

    @functools.wraps(play)
    def test(**given: Any) -> None:
        asyncio.run(play(**given))

    return test


def client(server: Running, jid: str, *nodes: str) -> Any:  # slixmpp's types are its own
    """A client that listens to these nodes."""
    authority = server.log.parent / "certs" / "ca.crt"
    return equipped(Actor(jid, server.port("c2s"), authority, register=False), *nodes)


def equipped(actor: Any, *nodes: str) -> Any:
    """The same client with all that it needs to publish, and to listen to these nodes."""
    for plugin in PLUGINS:
        actor.register_plugin(plugin)
    actor.heard = asyncio.Queue()
    for node in nodes:
        actor.plugin["xep_0163"].add_interest(node)
        actor.plugin["xep_0060"].map_node_event(node, node)
        for kind in ("publish", "retract"):
            actor.add_event_handler(f"{node}_{kind}", actor.heard.put_nowait)
    return actor


async def heard(actor: Any) -> Any:
    """The next notification: the items in it."""
    async with asyncio.timeout(PATIENCE):
        return (await actor.heard.get())["pubsub_event"]["items"]


def element(xml: str) -> Any:
    return ET.fromstring(xml)  # ours


def wanting(actor: Any, **options: str) -> Any:
    form = actor.plugin["xep_0004"].make_form("submit")
    form.add_field("FORM_TYPE", "hidden", value="http://jabber.org/protocol/pubsub#publish-options")
    for name, value in options.items():
        form.add_field(f"pubsub#{name}", value=value)
    return form


async def befriended(one: Any, other: Any) -> None:
    """Slixmpp agrees to every subscription and asks for one itself."""
    one.send_presence_subscription(pto=other.boundjid.bare)
    await one.until(
        "the subscription", lambda: one.client_roster[other.boundjid.bare]["subscription"] == "both"
    )


@played
async def test_contacts_hear_moods_tunes_nicknames_and_avatars(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    for plugin in ("xep_0107", "xep_0118", "xep_0172", "xep_0084"):
        juliet.plugin[plugin]
    got: asyncio.Queue[Any] = asyncio.Queue()
    for event in ("user_mood_publish", "user_tune_publish", "user_nick_publish", "avatar_metadata_publish"):
        juliet.add_event_handler(event, got.put_nowait)

    async def told(name: str) -> Any:
        async with asyncio.timeout(PATIENCE):
            message = await got.get()
        assert message["from"].bare == ROMEO
        return message["pubsub_event"]["items"]["item"][name]

    async with entered(romeo, juliet):
        await befriended(romeo, juliet)
        await romeo.plugin["xep_0107"].publish_mood("in_love", "with Juliet")
        assert (await told("mood"))["text"] == "with Juliet"
        await romeo.plugin["xep_0118"].publish_tune(title="Heart's Ease", artist="Peter")
        assert (await told("tune"))["title"] == "Heart's Ease"
        await romeo.plugin["xep_0172"].publish_nick("Romeo")
        assert (await told("nick"))["nick"] == "Romeo"
        avatars = romeo.plugin["xep_0084"]
        await avatars.publish_avatar(PICTURE)
        id = avatars.generate_id(PICTURE)
        await avatars.publish_avatar_metadata([{"id": id, "type": "image/png", "bytes": len(PICTURE)}])
        info = (await told("avatar_metadata"))["items"]
        assert [each["id"] for each in info] == [id]
        answer = await juliet.plugin["xep_0084"].retrieve_avatar(ROMEO, id)
        assert answer["pubsub"]["items"]["item"]["avatar_data"]["value"] == PICTURE


@played
async def test_who_logs_in_later_hears_the_last_of_each(server: Running) -> None:
    romeo = client(server, f"{ROMEO}/orchard")
    async with entered(romeo):
        await romeo.plugin["xep_0060"].publish(
            ROMEO, "urn:news", id="1", payload=element("<n xmlns='urn:n'/>")
        )
    later = client(server, f"{ROMEO}/street", "urn:news")
    async with entered(later):
        items = await heard(later)
        assert (items["node"], items["item"]["id"]) == ("urn:news", "1")


@played
async def test_who_has_subscribed_hears_it_unasked_as_long_as_it_may(server: Running) -> None:
    """Juliet's client does not say that it listens: she has subscribed (XEP-0163 §4.3, §7.1)."""
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    juliet.plugin["xep_0060"].map_node_event("urn:news", "news")
    juliet.add_event_handler("news_publish", juliet.heard.put_nowait)
    pubsub = romeo.plugin["xep_0060"]
    async with entered(romeo, juliet):
        await befriended(romeo, juliet)
        await pubsub.publish(ROMEO, "urn:news", id="1", payload=element("<n xmlns='urn:n'/>"))
        await juliet.plugin["xep_0060"].subscribe(ROMEO, "urn:news")
        assert (await heard(juliet))["item"]["id"] == "1"
        await pubsub.publish(ROMEO, "urn:news", id="2", payload=element("<n xmlns='urn:n'/>"))
        assert (await heard(juliet))["item"]["id"] == "2"
        found = await pubsub.get_node_subscriptions(ROMEO, "urn:news")
        assert [each["jid"] for each in found["pubsub_owner"]["subscriptions"]] == [JULIET]
        await romeo.del_roster_item(JULIET)
        found = await pubsub.get_node_subscriptions(ROMEO, "urn:news")
        assert [*found["pubsub_owner"]["subscriptions"]] == []


@played
async def test_who_becomes_a_contact_hears_the_last_then(server: Running) -> None:
    """Romeo sees Juliet first, and what her client listens to; she sees him later."""
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony", "urn:news")
    juliet.client_roster.auto_subscribe = False
    async with entered(romeo, juliet):
        await romeo.plugin["xep_0060"].publish(
            ROMEO, "urn:news", id="1", payload=element("<n xmlns='urn:n'/>")
        )
        romeo.send_presence_subscription(pto=JULIET)
        await romeo.receives("presence", from_=f"{JULIET}/balcony")
        assert juliet.heard.empty()
        juliet.send_presence_subscription(pto=ROMEO)
        items = await heard(juliet)
        assert (items["node"], items["item"]["id"]) == ("urn:news", "1")


@played
async def test_a_device_list_is_open_and_its_bundles_can_be_fetched_by_strangers(server: Running) -> None:
    """OMEMO (XEP-0384) as Conversations and Dino publish it."""
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    bundle = element(
        "<bundle xmlns='eu.siacs.conversations.axolotl'><identityKey>AAAA</identityKey></bundle>"
    )
    devices = element("<list xmlns='eu.siacs.conversations.axolotl'><device id='7'/></list>")
    async with entered(romeo, juliet):
        options = wanting(romeo, access_model="open", persist_items="true", max_items="max")
        for node, payload in ((DEVICES, devices), (f"{OMEMO}.bundles:7", bundle)):
            await romeo.plugin["xep_0060"].publish(
                romeo.boundjid.bare, node, id="current", payload=payload, options=options
            )
            answer = await juliet.plugin["xep_0060"].get_items(ROMEO, node)
            assert answer["pubsub"]["items"]["item"]["payload"].tag == payload.tag
        closed = wanting(romeo, access_model="whitelist")
        with pytest.raises(IqError) as error:
            await romeo.plugin["xep_0060"].publish(
                romeo.boundjid.bare, DEVICES, id="current", payload=devices, options=closed
            )
        assert error.value.condition == "conflict"


@played
async def test_bookmarks_and_displayed_marks_reach_all_own_clients_and_nobody_else(server: Running) -> None:
    """XEP-0402 and XEP-0490: many items, for the owner alone."""
    phone = client(server, f"{ROMEO}/phone")
    desk = client(server, f"{ROMEO}/desk", BOOKMARKS, MDS)
    juliet = client(server, f"{JULIET}/balcony", BOOKMARKS, MDS)
    async with entered(phone, desk, juliet):
        await befriended(phone, juliet)
        pubsub = phone.plugin["xep_0060"]
        options = wanting(
            phone,
            persist_items="true",
            max_items="max",
            send_last_published_item="never",
            access_model="whitelist",
        )
        room = element(f"<conference xmlns='{BOOKMARKS}' autojoin='true'><nick>R</nick></conference>")
        for name in ("orchard", "street"):
            await pubsub.publish(
                ROMEO, BOOKMARKS, id=f"{name}@rooms.montague.lit", payload=room, options=options
            )
            assert (await heard(desk))["item"]["id"] == f"{name}@rooms.montague.lit"
        await pubsub.retract(ROMEO, BOOKMARKS, "street@rooms.montague.lit", notify=True)
        assert (await heard(desk))["retract"]["id"] == "street@rooms.montague.lit"
        kept = await desk.plugin["xep_0060"].get_items(ROMEO, BOOKMARKS)
        assert [each["id"] for each in kept["pubsub"]["items"]] == ["orchard@rooms.montague.lit"]
        seen = element(
            f"<displayed xmlns='{MDS}'><stanza-id xmlns='urn:xmpp:sid:0' id='1' by='{ROMEO}'/></displayed>"
        )
        await pubsub.publish(ROMEO, MDS, id=JULIET, payload=seen, options=options)
        assert (await heard(desk))["node"] == MDS
        with pytest.raises(IqError) as error:
            await juliet.plugin["xep_0060"].get_items(ROMEO, BOOKMARKS)
        assert error.value.condition == "not-allowed"
        assert juliet.heard.empty()


@played
async def test_what_was_published_outlives_a_killed_server(config: Path) -> None:
    with running(config) as server:
        romeo = client(server, f"{ROMEO}/orchard")
        async with entered(romeo):
            for number in range(20):
                options = wanting(romeo, max_items="max", access_model="open")
                payload = element(f"<n xmlns='urn:n'>{number}</n>")
                await romeo.plugin["xep_0060"].publish(
                    ROMEO, "n", id=str(number), payload=payload, options=options
                )
            server.process.kill()
            server.process.wait()
    with running(config) as server:
        juliet = client(server, f"{JULIET}/balcony")
        async with entered(juliet):
            answer = await juliet.plugin["xep_0060"].get_items(ROMEO, "n")
            assert [each["id"] for each in answer["pubsub"]["items"]] == [str(n) for n in range(20)]
