"""What rooms have beside XEP-0045, with slixmpp: retraction, moderation, avatars, hats and the search."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ET

from tests.interop.actor import entered
from tests.interop.test_pep import JULIET, ROMEO, played
from tests.interop.test_rooms import ROOM, ROOMS, client, config, create, enter, hears, say, server
from tests.running import running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.running import Running

__all__ = ["config", "server"]  # fixtures
pytestmark = pytest.mark.process
PLUGINS = ("xep_0050", "xep_0054", "xep_0153", "xep_0317", "xep_0334", "xep_0424", "xep_0425")
HATS = "urn:xmpp:hats:commands"
HAT = "{urn:xmpp:hats:0}hat"
SCRIBE = "urn:example:hats#scribe"
SEARCH = "urn:xmpp:channel-search:0:search"
PNG = b"\x89PNG rose"


def pair(server: Running) -> tuple[Any, Any]:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    for actor in (romeo, juliet):
        for plugin in PLUGINS:
            actor.register_plugin(plugin)
    return romeo, juliet


async def archived(actor: Any) -> list[Any]:
    page = await actor.plugin["xep_0313"].retrieve(jid=ROOM)
    return [each["mam_result"]["forwarded"]["stanza"] for each in page["mam"]["results"]]


@played
async def test_moderators_and_authors_take_messages_back(server: Running) -> None:
    romeo, juliet = pair(server)
    async with entered(romeo, juliet):
        await create(romeo, "Romeo")
        await enter(juliet, "Juliet")
        moderation = romeo.plugin["xep_0425"]
        say(juliet, "Buy magic potions!")
        spam = (await hears(romeo, "Buy magic potions!", "Juliet"))["stanza_id"]["id"]
        await moderation.moderate(JID(ROOM), spam, "Not here")
        told = await juliet.until(
            "moderation", lambda: next((each for each in juliet._seen if _moderated(each)), None)
        )
        assert (told["from"], told["retract"]["id"]) == (ROOM, spam)
        assert told["retract"]["moderated"]["by"] == f"{ROOM}/Romeo"
        say(juliet, "Ay me!")
        sigh = (await hears(juliet, "Ay me!", "Juliet"))["stanza_id"]["id"]
        with pytest.raises(IqError) as error:
            await juliet.plugin["xep_0425"].moderate(JID(ROOM), sigh)
        assert error.value.condition == "forbidden"
        with pytest.raises(IqError) as error:
            await moderation.moderate(JID(ROOM), "1")
        assert error.value.condition == "item-not-found"
        juliet.plugin["xep_0424"].send_retraction(JID(ROOM), sigh, mtype="groupchat")
        await romeo.until("the retraction", lambda: any(_takes_back(each, sigh) for each in romeo._seen))
        first, _, second, _ = await archived(romeo)
        assert [each["body"] for each in (first, second)] == ["", ""]
        assert first["retracted"]["moderated"]["by"] == f"{ROOM}/Romeo"
        assert second["retracted"]["id"]
        unkept = juliet.make_message(ROOM, "Buy them quickly!", mtype="groupchat")
        unkept.enable("no-store")
        unkept.send()
        spam = (await hears(romeo, "Buy them quickly!", "Juliet"))["stanza_id"]["id"]
        await moderation.moderate(JID(ROOM), spam)
        await juliet.until("the second one", lambda: any(_takes_back(each, spam) for each in juliet._seen))


def _moderated(stanza: Any) -> bool:
    return stanza.name == "message" and bool(stanza.xml.findall(".//{urn:xmpp:message-moderate:1}moderated"))


def _takes_back(stanza: Any, id: str) -> bool:
    return bool(stanza.name == "message" and stanza["retract"]["id"] == id)


@played
async def test_a_room_has_an_avatar(server: Running) -> None:
    romeo, juliet = pair(server)
    async with entered(romeo, juliet):
        await create(romeo, "Romeo")
        await enter(juliet, "Juliet")
        await set_avatar(romeo)
        hash = sha1(PNG)

        def shown() -> bool:
            return any(
                each.name == "presence"
                and each["from"] == ROOM
                and each["vcard_temp_update"]["photo"] == hash
                for each in juliet._seen
            )

        await juliet.until("the avatar", shown)
        info = await juliet.plugin["xep_0030"].get_info(jid=ROOM)
        assert hash in str(info)
        card = await juliet.plugin["xep_0054"].get_vcard(JID(ROOM))
        assert card["vcard_temp"]["PHOTO"]["BINVAL"] == PNG
        juliet.plugin["xep_0045"].leave_muc(ROOM, "Juliet")
        again = await enter(juliet, "Juliet")
        assert again[0]["from"] == f"{ROOM}/Juliet"


async def set_avatar(actor: Any) -> None:
    iq = actor.make_iq_set(ito=ROOM)
    iq["vcard_temp"]["PHOTO"]["TYPE"] = "image/png"
    iq["vcard_temp"]["PHOTO"]["BINVAL"] = PNG
    await iq.send()


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@played
async def test_hats_are_made_and_worn(server: Running) -> None:
    romeo, juliet = pair(server)
    async with entered(romeo, juliet):
        await create(romeo, "Romeo")
        await enter(juliet, "Juliet")
        await command(romeo, "create", title="Scribe", uri=SCRIBE, hue="120")
        await command(romeo, "assign", jid=JULIET, uri=SCRIBE)

        def worn() -> Any:
            return [
                each
                for each in romeo._seen
                if each.name == "presence" and each.xml.find(f".//{HAT}") is not None
            ]

        [presence] = await romeo.until("the hat", worn)
        assert [each["uri"] for each in presence["hats"]["hats"]] == [SCRIBE]
        found = await romeo.plugin["xep_0050"].get_commands(ROOM)
        assert len(found["disco_items"]["items"]) == 6
        with pytest.raises(IqError) as error:
            await command(juliet, "destroy", uri=SCRIBE)
        assert error.value.condition == "forbidden"


async def command(actor: Any, name: str, **fields: str) -> None:
    """Ask for a command's form, and send it back."""
    adhoc, node = actor.plugin["xep_0050"], f"{HATS}:{name}"
    asked = await adhoc.send_command(ROOM, node)
    form = asked["command"]["form"]
    form["type"] = "submit"
    form.set_values({f"hats#{var}": text for var, text in fields.items()})
    session = asked["command"]["sessionid"]
    done = await adhoc.send_command(ROOM, node, action="complete", payload=form, sessionid=session)
    assert done["command"]["status"] == "completed"


def test_hats_avatars_and_tombstones_survive_kill_9(config: Path) -> None:
    async def before(server: Running) -> None:
        romeo, juliet = pair(server)
        async with entered(romeo, juliet):
            await create(romeo, "Romeo", persistentroom=True)
            say(romeo, "Buy magic potions!")
            spam = (await hears(romeo, "Buy magic potions!", "Romeo"))["stanza_id"]["id"]
            await set_avatar(romeo)
            await command(romeo, "create", title="Scribe", uri=SCRIBE)
            await command(romeo, "assign", jid=JULIET, uri=SCRIBE)
            await romeo.plugin["xep_0425"].moderate(JID(ROOM), spam)
            os.kill(server.process.pid, signal.SIGKILL)

    async def after(server: Running) -> None:
        romeo, juliet = pair(server)
        async with entered(romeo, juliet):
            own, _, _, history = await enter(juliet, "Juliet", maxstanzas=10)
            assert [each["uri"] for each in own["hats"]["hats"]] == [SCRIBE]
            assert history == []  # of what has a text
            assert sha1(PNG) in str(await juliet.plugin["xep_0030"].get_info(jid=ROOM))
            card = await juliet.plugin["xep_0054"].get_vcard(JID(ROOM))
            assert card["vcard_temp"]["PHOTO"]["BINVAL"] == PNG
            stone, retraction = await archived(juliet)
            assert stone["retracted"]["id"] == retraction["id"]

    with running(config) as server:
        asyncio.run(before(server))
    with running(config) as server:
        asyncio.run(after(server))


@played
async def test_public_rooms_are_found_by_words(server: Running) -> None:
    romeo, juliet = pair(server)
    async with entered(romeo, juliet):
        await create(romeo, "Romeo", roomname="The orchard", roomdesc="Roses")
        info = await juliet.plugin["xep_0030"].get_info(jid=ROOMS)
        assert SEARCH in info["disco_info"]["features"]
        iq = juliet.make_iq_get(ito=ROOMS)
        form = juliet.plugin["xep_0004"].make_form(ftype="submit")
        form.add_field(var="q", value="roses")
        search = ET.Element(f"{{{SEARCH}}}search")
        search.append(form.xml)
        iq.append(search)
        answer = await iq.send()
        [item] = answer.xml.iter(f"{{{SEARCH}}}item")
        told = {each.tag.partition("}")[2]: each.text for each in item}
        assert item.get("address") == ROOM
        assert (told["name"], told["nusers"], told["is-open"]) == ("The orchard", "1", "true")
