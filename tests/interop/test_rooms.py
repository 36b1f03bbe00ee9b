"""Rooms with slixmpp: at one server, across kill -9, and with people at a Prosody."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from slixmpp.exceptions import IqError, PresenceError

from jabberd.certificates import development_certificates
from tests.interop.actor import Actor, entered
from tests.interop.peers import PROSODY
from tests.interop.test_pep import CONFIG, JULIET, ROMEO, accounts, played
from tests.interop.test_prosody import Verona
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Running

pytestmark = pytest.mark.process
ROOMS = "rooms.montague.lit"
ROOM = f"orchard@{ROOMS}"
MUC = "http://jabber.org/protocol/muc"
PLUGINS = (
    "xep_0004",
    "xep_0030",
    "xep_0045",
    "xep_0059",
    "xep_0199",
    "xep_0249",
    "xep_0313",
    "xep_0359",
    "xep_0421",
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    development_certificates(tmp_path / "certs", ("montague.lit", ROOMS))
    config = tmp_path / "montague.toml"
    config.write_text(f'{CONFIG}[domains."{ROOMS}"]\nfederation = "off"\nservice = "muc"\n')
    accounts(config)
    return config


@pytest.fixture
def server(config: Path) -> Iterator[Running]:
    with running(config) as server:
        yield server


def equipped(actor: Actor) -> Any:  # slixmpp's types are its own
    for plugin in PLUGINS:
        actor.register_plugin(plugin)
    return actor


def client(server: Running, jid: str) -> Any:
    return equipped(Actor(jid, server.port("c2s"), server.log.parent / "certs" / "ca.crt", register=False))


async def enter(actor: Any, nick: str, room: str = ROOM, **how: Any) -> Any:
    return await actor.plugin["xep_0045"].join_muc_wait(room, nick, timeout=20, **how)


async def create(actor: Any, nick: str, **fields: Any) -> None:
    """Make a room with these options, by its form."""
    await enter(actor, nick)
    await configure(actor, **fields)


async def configure(actor: Any, **fields: Any) -> None:
    form = await actor.plugin["xep_0045"].get_room_config(ROOM)
    form["type"] = "submit"
    form.set_values({f"muc#roomconfig_{name}": value for name, value in fields.items()})
    await actor.plugin["xep_0045"].set_room_config(ROOM, form)


def say(actor: Any, text: str) -> None:
    actor.send_message(mto=ROOM, mbody=text, mtype="groupchat")


async def hears(actor: Any, text: str, nick: str) -> Any:
    return await actor.receives("message", body=text, type_="groupchat", from_=f"{ROOM}/{nick}")


async def sees_leave(actor: Any, nick: str, code: int) -> None:
    """Wait for an occupant to leave, for that reason."""

    def found() -> bool:
        return any(
            each.name == "presence" and each["type"] == "unavailable" and each["from"] == f"{ROOM}/{nick}"
            and code in each["muc"]["status_codes"]
            for each in actor._seen
        )  # fmt: skip

    await actor.until(f"{nick} leave with {code}", found)


async def chat_and_moderate(romeo: Any, juliet: Any) -> None:
    """Both speak, privately too; then she is kicked, and banned."""
    muc = romeo.plugin["xep_0045"]
    _, _, occupants, _ = await enter(juliet, "Juliet")
    assert occupants[0]["from"] == f"{ROOM}/Romeo"
    say(romeo, "He jests at scars")
    await juliet.until("him speak", lambda: any(each["body"] == "He jests at scars" for each in juliet._seen))
    say(juliet, "Ay me!")
    for actor in (romeo, juliet):
        mine = await hears(actor, "He jests at scars", "Romeo")
        hers = await hears(actor, "Ay me!", "Juliet")
        assert mine["occupant-id"]["id"] != hers["occupant-id"]["id"]
        assert hers["stanza_id"]["by"] == ROOM
    juliet.send_message(mto=f"{ROOM}/Romeo", mbody="psst", mtype="chat")
    assert (await romeo.receives("message", body="psst"))["from"] == f"{ROOM}/Juliet"
    muc.set_subject(ROOM, "Roses")
    await juliet.receives("message", subject="Roses")
    assert muc.get_jid_property(ROOM, "Juliet", "role") == "participant"
    await muc.set_role(ROOM, "Juliet", "none", reason="Too late")
    await sees_leave(juliet, "Juliet", 307)
    await enter(juliet, "Juliet")
    await muc.set_affiliation(ROOM, "outcast", jid=juliet.boundjid.bare)
    await sees_leave(juliet, "Juliet", 301)
    with pytest.raises(PresenceError) as banned:
        await enter(juliet, "Juliet")
    assert banned.value.condition == "forbidden"


@played
async def test_a_room_is_made_talked_in_moderated_read_and_destroyed(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        muc = romeo.plugin["xep_0045"]
        await create(romeo, "Romeo", roomname="The orchard", persistentroom=True)
        found = await juliet.plugin["xep_0030"].get_items(jid=ROOMS)
        assert {each[0]: each[2] for each in found["disco_items"]["items"]} == {ROOM: "The orchard"}
        info = await juliet.plugin["xep_0030"].get_info(jid=ROOM)
        assert "muc_persistent" in info["disco_info"]["features"]
        await chat_and_moderate(romeo, juliet)
        assert await muc.get_affiliation_list(ROOM, "outcast") == [JULIET]
        page = await romeo.plugin["xep_0313"].retrieve(jid=ROOM)
        said = [each["mam_result"]["forwarded"]["stanza"]["body"] for each in page["mam"]["results"]]
        assert said[:2] == ["He jests at scars", "Ay me!"]
        await muc.set_affiliation(ROOM, "member", jid=JULIET)
        await configure(romeo, membersonly=True)
        await enter(juliet, "Juliet")
        with pytest.raises(IqError) as error:
            await configure(juliet, roomname="Mine")
        assert error.value.condition == "forbidden"
        await romeo.plugin["xep_0199"].send_ping(f"{ROOM}/Romeo")
        await juliet.plugin["xep_0199"].send_ping(f"{ROOM}/Romeo")
        await muc.destroy(ROOM, reason="Plague")
        with pytest.raises(IqError) as error:
            await juliet.plugin["xep_0030"].get_info(jid=ROOM)
        assert error.value.condition == "item-not-found"


@played
async def test_an_invitation_goes_directly_to_a_friend(server: Running) -> None:
    romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
    async with entered(romeo, juliet):
        await create(romeo, "Romeo")
        romeo.plugin["xep_0249"].send_invitation(JULIET, ROOM, reason="A feast")

        def found() -> Any:
            return next(
                (each for each in juliet._seen if each.name == "message" and each["groupchat_invite"]["jid"]),
                None,
            )

        invitation = await juliet.until("an invitation", found)
        await enter(juliet, "Juliet", str(invitation["groupchat_invite"]["jid"]))
        romeo.plugin["xep_0045"].invite(ROOM, JULIET, reason="Once more")
        await juliet.receives("message", from_=ROOM, type_="normal")


def test_a_persistent_room_survives_kill_9(config: Path) -> None:
    async def before(server: Running) -> None:
        romeo = client(server, f"{ROMEO}/orchard")
        async with entered(romeo):
            muc = romeo.plugin["xep_0045"]
            await create(romeo, "Romeo", roomname="The orchard", persistentroom=True, whois="anyone")
            romeo.plugin["xep_0045"].set_subject(ROOM, "Roses")
            await romeo.receives("message", subject="Roses")
            say(romeo, "He jests at scars")
            await hears(romeo, "He jests at scars", "Romeo")
            await muc.set_affiliation(ROOM, "admin", jid=JULIET)  # what was said before is durable with it
            os.kill(server.process.pid, signal.SIGKILL)

    async def after(server: Running) -> None:
        romeo, juliet = client(server, f"{ROMEO}/orchard"), client(server, f"{JULIET}/balcony")
        async with entered(romeo, juliet):
            own, subject, _, history = await enter(juliet, "Juliet", maxstanzas=10)
            assert own["muc"]["affiliation"] == "admin"
            assert subject["subject"] == "Roses"
            assert [each["body"] for each in history] == ["He jests at scars"]
            info = await juliet.plugin["xep_0030"].get_info(jid=ROOM)
            assert [each[3] for each in info["disco_info"]["identities"]] == ["The orchard"]
            form = await romeo.plugin["xep_0045"].get_room_config(ROOM)
            values = form.get_values()
            assert values["muc#roomconfig_whois"] == "anyone"
            assert values["muc#roomconfig_roomadmins"] == [JULIET]

    with running(config) as server:
        asyncio.run(before(server))
    with running(config) as server:
        asyncio.run(after(server))


@pytest.mark.foreign
@pytest.mark.skipif(PROSODY is None, reason="no Prosody here: apt install prosody")
@played
async def test_people_at_another_server_talk_in_a_room_of_ours(tmp_path: Path) -> None:
    with ExitStack() as stack:
        verona = Verona(tmp_path, stack)
        montague = verona.serve("certificate", services={ROOMS: "muc"})
        authority = verona.authority.file
        romeo = equipped(Actor(f"{ROMEO}/orchard", montague.port, authority, register=False))
        juliet = equipped(Actor("juliet@capulet.lit/balcony", verona.c2s, authority, register=True))
        async with entered(romeo, juliet):
            await create(romeo, "Romeo", persistentroom=True)
            await chat_and_moderate(romeo, juliet)
            with pytest.raises(PresenceError) as error:
                await enter(juliet, "Juliet", f"cell@{ROOMS}")
            assert error.value.condition == "not-allowed"
