"""VCards, avatars, private XML and bookmarks with slixmpp, as old and as new clients have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.actor import entered
from tests.interop.test_pep import (
    BOOKMARKS,
    JULIET,
    PICTURE,
    ROMEO,
    befriended,
    client,
    element,
    played,
    wanting,
)
from tests.interop.test_pep import config as config  # noqa: PLC0414  # the fixture
from tests.interop.test_pep import server as server  # noqa: PLC0414  # the fixture

if TYPE_CHECKING:
    from tests.running import Running

pytestmark = pytest.mark.process
OLD = "storage:bookmarks"
ORCHARD = "orchard@rooms.montague.lit"


def equipped(server: Running, jid: str) -> Any:
    actor = client(server, jid)
    for plugin in ("xep_0048", "xep_0049", "xep_0054", "xep_0153"):
        actor.register_plugin(plugin)
    return actor


@played
async def test_a_vcard_with_a_photo_is_an_avatar_for_new_clients(server: Running) -> None:
    romeo, juliet = equipped(server, f"{ROMEO}/orchard"), equipped(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        await befriended(romeo, juliet)
        cards = romeo.plugin["xep_0054"]
        card = cards.make_vcard()
        card["FN"] = "Romeo Montague"
        await cards.publish_vcard(card)
        await romeo.plugin["xep_0153"].set_avatar(avatar=PICTURE, mtype="image/png")
        id = romeo.plugin["xep_0084"].generate_id(PICTURE)
        got = (await juliet.plugin["xep_0054"].get_vcard(ROMEO, cached=False))["vcard_temp"]
        assert (got["FN"], got["PHOTO"]["BINVAL"]) == ("Romeo Montague", PICTURE)
        answer = await juliet.plugin["xep_0084"].retrieve_avatar(ROMEO, id)
        assert answer["pubsub"]["items"]["item"]["avatar_data"]["value"] == PICTURE
        romeo.send_presence(pstatus="with a face")
        shown = await juliet.receives("presence", from_=f"{ROMEO}/orchard", status="with a face")
        assert shown["vcard_temp_update"]["photo"] == id


@played
async def test_a_published_avatar_is_in_the_vcard_for_old_clients(server: Running) -> None:
    romeo, juliet = equipped(server, f"{ROMEO}/orchard"), equipped(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        await befriended(romeo, juliet)
        avatars = romeo.plugin["xep_0084"]
        await avatars.publish_avatar(PICTURE)
        id = avatars.generate_id(PICTURE)
        await avatars.publish_avatar_metadata([{"id": id, "type": "image/png", "bytes": len(PICTURE)}])
        got = (await juliet.plugin["xep_0054"].get_vcard(ROMEO, cached=False))["vcard_temp"]
        assert got["PHOTO"]["BINVAL"] == PICTURE


@played
async def test_bookmarks_are_one_list_for_old_and_new_clients(server: Running) -> None:
    old, new = equipped(server, f"{ROMEO}/old"), equipped(server, f"{ROMEO}/new")
    async with entered(old, new):
        rooms = old.plugin["xep_0048"].stanza.Bookmarks()
        rooms.add_conference(ORCHARD, "R", name="Orchard", autojoin=True)
        await old.plugin["xep_0048"].set_bookmarks(rooms, method="xep_0049")
        pubsub = new.plugin["xep_0060"]
        kept = (await pubsub.get_items(ROMEO, BOOKMARKS))["pubsub"]["items"]
        assert [each["id"] for each in kept] == [ORCHARD]
        private = {"access_model": "whitelist", "send_last_published_item": "never"}
        options = wanting(new, persist_items="true", max_items="max", **private)
        street = element(f"<conference xmlns='{BOOKMARKS}' name='Street'/>")
        await pubsub.publish(
            ROMEO, BOOKMARKS, id="street@rooms.montague.lit", payload=street, options=options
        )
        for way in ("xep_0049", "xep_0223"):
            answer = await old.plugin["xep_0048"].get_bookmarks(method=way)
            stanza = answer["private"] if way == "xep_0049" else answer["pubsub"]["items"]["item"]
            found = [(each["jid"], each["name"]) for each in stanza["bookmarks"]["conferences"]]
            assert found == [(ORCHARD, "Orchard"), ("street@rooms.montague.lit", "Street")]
