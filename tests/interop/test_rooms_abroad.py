"""A room of ours with people at two servers of ours, who have slixmpp and aioxmpp."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError, PresenceError

from jabberd.certificates import development_certificates
from tests.interop.actor import PASSWORD, Actor, entered
from tests.interop.aio import Refusal, aioxmpp, needs_aioxmpp
from tests.interop.test_pep import JABBERCTL, played
from tests.interop.test_rooms import ROOM, ROOMS, configure, create, enter, equipped, hears, say, sees_leave
from tests.running import free_ports, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.interop.aio import Aioxmpp
    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign, needs_aioxmpp]

ROMEO, JULIET, NURSE = "romeo@montague.lit", "juliet@capulet.lit", "nurse@capulet.lit"
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = {port}
[domains."{domain}"]
{services}
[tls]
certificates = "../certs"
[federation]
authorities = ["../certs/ca.crt"]
[federation.hosts]
{hosts}
[storage]
url = "sqlite:jabberd.db"
"""


class Verona(NamedTuple):
    """Both servers."""

    montague: Running
    capulet: Running
    authority: Path

    def slixmpp(self, jid: str) -> Any:  # slixmpp's types are its own
        """One of its clients."""
        server = self.montague if "@montague" in jid else self.capulet
        return equipped(Actor(jid, server.port("c2s"), self.authority, register=False))

    @asynccontextmanager
    async def juliet(self) -> AsyncIterator[Aioxmpp]:
        """Hers is aioxmpp's, at the other server than the room's; she has logged in."""
        async with aioxmpp(self.capulet.port("c2s"), self.authority, f"{JULIET}/balcony") as juliet:
            await juliet.do("enter")
            yield juliet


@pytest.fixture
def verona(tmp_path: Path) -> Iterator[Verona]:
    certificates = tmp_path / "certs"
    development_certificates(certificates, ("montague.lit", ROOMS, "capulet.lit"))
    ports = dict(zip(("montague.lit", "capulet.lit"), free_ports(2), strict=True))
    services = {"montague.lit": f'[domains."{ROOMS}"]\nservice = "muc"\n', "capulet.lit": ""}
    accounts = {"montague.lit": (ROMEO,), "capulet.lit": (JULIET, NURSE)}
    with ExitStack() as stack:
        servers = []
        for domain, port in ports.items():
            others = {other: at for other, at in ports.items() if other != domain}
            if domain == "capulet.lit":
                others[ROOMS] = ports["montague.lit"]
            hosts = "\n".join(f'"{other}" = "127.0.0.1:{at}"' for other, at in others.items())
            config = tmp_path / domain / "jabberd.toml"
            config.parent.mkdir()
            config.write_text(CONFIG.format(port=port, domain=domain, services=services[domain], hosts=hosts))
            for jid in accounts[domain]:
                command = [JABBERCTL, "--config", config, "--password-stdin", "accounts", "create", jid]
                subprocess.run(list(map(str, command)), input=PASSWORD, text=True, check=True, timeout=90)
            servers.append(stack.enter_context(running(config)))
        yield Verona(servers[0], servers[1], certificates / "ca.crt")


@asynccontextmanager
async def gathered(verona: Verona) -> AsyncIterator[tuple[Any, Aioxmpp, Any]]:
    """Romeo, Juliet and the nurse, in a room that Romeo has made."""
    romeo, nurse = verona.slixmpp(f"{ROMEO}/orchard"), verona.slixmpp(f"{NURSE}/chamber")
    async with verona.juliet() as juliet, entered(romeo, nurse):
        await create(romeo, "Romeo", persistentroom=True)
        await juliet.do("join", room=ROOM, nick="Juliet")
        await enter(nurse, "Nurse")
        await juliet.hears("joined", sender="Nurse")
        yield romeo, juliet, nurse


@played
async def test_both_talk_change_names_and_subject_and_read_what_was_said(verona: Verona) -> None:
    romeo, nurse = verona.slixmpp(f"{ROMEO}/orchard"), verona.slixmpp(f"{NURSE}/chamber")
    async with verona.juliet() as juliet, entered(romeo, nurse):
        await create(romeo, "Romeo", persistentroom=True)
        assert await juliet.do("join", room=ROOM, nick="Juliet") == ["Juliet", "Romeo"]
        say(romeo, "He jests at scars")
        await juliet.hears("said", sender="Romeo", body="He jests at scars")
        await juliet.do("say", to=ROOM, body="Ay me!", type="groupchat")
        await juliet.hears("said", sender="Juliet", body="Ay me!")
        assert (await hears(romeo, "Ay me!", "Juliet"))["stanza_id"]["by"] == ROOM
        await juliet.do("rename", room=ROOM, nick="Rose")
        await juliet.hears("renamed", nick="Rose")
        await romeo.receives("presence", from_=f"{ROOM}/Rose")
        romeo.plugin["xep_0045"].set_subject(ROOM, "Roses")
        await juliet.hears("topic", body="Roses")
        _, subject, _, history = await enter(nurse, "Nurse")
        assert subject["subject"] == "Roses"
        assert [each["body"] for each in history] == ["He jests at scars", "Ay me!"]
        await juliet.hears("joined", sender="Nurse")
        archive = nurse.plugin["xep_0313"]
        first = await archive.retrieve(jid=ROOM, rsm={"max": 1})
        last = first["mam"]["results"][0]["mam_result"]["id"]
        following = await archive.retrieve(jid=ROOM, rsm={"max": 2, "after": last})
        said = [
            each["mam_result"]["forwarded"]["stanza"]
            for page in (first, following)
            for each in page["mam"]["results"]
        ]
        assert [each["body"] or each["subject"] for each in said] == ["He jests at scars", "Ay me!", "Roses"]
        await juliet.do("part", room=ROOM)
        await romeo.receives("presence", from_=f"{ROOM}/Rose", type_="unavailable")


@played
async def test_an_owner_elsewhere_moderates_bans_and_configures(verona: Verona) -> None:
    async with gathered(verona) as (romeo, juliet, nurse):
        with pytest.raises(Refusal, match="forbidden"):
            await juliet.do("configure", room=ROOM, fields={"roomname": "Mine"})
        with pytest.raises(Refusal, match="forbidden"):
            await juliet.do("kick", room=ROOM, nick="Nurse", reason="no")
        await romeo.plugin["xep_0045"].set_affiliation(ROOM, "owner", jid=JULIET)
        await juliet.hears("affiliation", affiliation="owner")
        await juliet.hears("role", sender="Juliet", role="moderator")
        await juliet.do("role", room=ROOM, nick="Nurse", role="visitor")
        await juliet.hears("role", sender="Nurse", role="visitor")
        say(nurse, "Madam!")
        assert (await nurse.receives("message", type_="error"))["error"]["condition"] == "forbidden"
        await juliet.do("role", room=ROOM, nick="Nurse", role="participant")
        await juliet.hears("role", sender="Nurse", role="participant")
        say(nurse, "Anon!")
        await juliet.hears("said", sender="Nurse", body="Anon!")
        await juliet.do("kick", room=ROOM, nick="Nurse", reason="By and by")
        await sees_leave(nurse, "Nurse", 307)
        await juliet.hears("left", sender="Nurse", mode="KICKED")
        await enter(nurse, "Nurse")
        await juliet.hears("joined", sender="Nurse")
        await juliet.do("ban", room=ROOM, nick="Nurse", reason="Go")
        await sees_leave(nurse, "Nurse", 301)
        with pytest.raises(PresenceError) as banned:
            await enter(nurse, "Nurse")
        assert banned.value.condition == "forbidden"
        assert await juliet.do("affiliated", room=ROOM, affiliation="outcast") == [NURSE]
        await juliet.do("configure", room=ROOM, fields={"roomname": "The balcony", "changesubject": True})
        await romeo.until("104", lambda: any(
            each.name == "message" and 104 in each["muc"]["status_codes"] for each in romeo._seen
        ))  # fmt: skip
        info = await romeo.plugin["xep_0030"].get_info(jid=ROOM)
        assert [each[3] for each in info["disco_info"]["identities"]] == ["The balcony"]
        await juliet.do("topic", room=ROOM, text="Night")
        await romeo.receives("message", subject="Night")


@played
async def test_both_read_what_was_said_by_whom_and_since_when(verona: Verona) -> None:
    async with gathered(verona) as (romeo, juliet, nurse):
        for number in range(3):
            say(nurse, f"Madam {number}")
            await juliet.hears("said", body=f"Madam {number}")
            await juliet.do("say", to=ROOM, body=f"Anon {number}", type="groupchat")
            await hears(nurse, f"Anon {number}", "Juliet")
        all = [f"{what} {number}" for number in range(3) for what in ("Madam", "Anon")]
        first, last = await juliet.do("archive", room=ROOM, most=4, fields={})
        second, _ = await juliet.do("archive", room=ROOM, most=4, fields={}, after=last)
        assert first + second == all
        hers = {"with": f"{ROOM}/Nurse"}
        assert (await juliet.do("archive", room=ROOM, most=9, fields=hers))[0] == all[::2]
        later = {"start": "2100-01-01T00:00:00Z"}
        assert (await juliet.do("archive", room=ROOM, most=9, fields=later))[0] == []
        assert await read(nurse, rsm={"max": 4}) == first
        assert await read(nurse, rsm={"max": 2, "before": last}) == all[1:3]
        assert await read(nurse, with_jid=f"{ROOM}/Juliet") == all[1::2]
        assert await read(nurse, start=later["start"]) == []
        await romeo.plugin["xep_0045"].set_affiliation(ROOM, "outcast", jid=JULIET)
        await juliet.hears("out", mode="BANNED")
        with pytest.raises(Refusal, match="forbidden"):
            await juliet.do("archive", room=ROOM, most=9, fields={})


async def read(actor: Any, **wanted: Any) -> list[str]:
    """The bodies on a page of the room's archive."""
    page = await actor.plugin["xep_0313"].retrieve(jid=ROOM, **wanted)
    return [str(each["mam_result"]["forwarded"]["stanza"]["body"]) for each in page["mam"]["results"]]


@played
async def test_an_owner_elsewhere_with_the_other_library_does_all_of_that_too(verona: Verona) -> None:
    romeo, nurse = verona.slixmpp(f"{ROMEO}/orchard"), verona.slixmpp(f"{NURSE}/chamber")
    muc = nurse.plugin["xep_0045"]
    async with verona.juliet() as juliet, entered(romeo, nurse):
        await create(romeo, "Romeo", persistentroom=True)
        await juliet.do("join", room=ROOM, nick="Juliet")
        await enter(nurse, "Nurse")
        with pytest.raises(IqError) as refused:
            await configure(nurse, roomname="Mine")
        assert refused.value.condition == "forbidden"
        await romeo.plugin["xep_0045"].set_affiliation(ROOM, "owner", jid=NURSE)
        await juliet.hears("role", sender="Nurse", role="moderator")
        await configure(nurse, roomname="The chamber", moderatedroom=True)
        info = await nurse.plugin["xep_0030"].get_info(jid=ROOM)
        assert [each[3] for each in info["disco_info"]["identities"]] == ["The chamber"]
        await muc.set_role(ROOM, "Juliet", "visitor")
        await juliet.hears("role", sender="Juliet", role="visitor")
        await muc.set_role(ROOM, "Juliet", "participant")
        await juliet.hears("role", sender="Juliet", role="participant")
        muc.set_subject(ROOM, "Sleep")
        await juliet.hears("topic", body="Sleep")
        await muc.set_role(ROOM, "Juliet", "none", reason="To bed")
        assert (await juliet.hears("out", mode="KICKED"))["reason"] == "To bed"
        await muc.set_affiliation(ROOM, "outcast", jid=JULIET)
        with pytest.raises(Refusal, match="forbidden"):
            await juliet.do("join", room=ROOM, nick="Juliet")
        assert await muc.get_affiliation_list(ROOM, "outcast") == [JULIET]
        await muc.set_affiliation(ROOM, "none", jid=JULIET)
        await configure(nurse, moderatedroom=False)
        assert await juliet.do("join", room=ROOM, nick="Juliet") == ["Juliet", "Nurse", "Romeo"]


@played
async def test_owners_elsewhere_take_messages_back_and_send_everybody_to_another_room(verona: Verona) -> None:
    romeo, nurse = verona.slixmpp(f"{ROMEO}/orchard"), verona.slixmpp(f"{NURSE}/chamber")
    nurse.register_plugin("xep_0425")
    async with verona.juliet() as juliet, entered(romeo, nurse):
        await create(romeo, "Romeo", persistentroom=True)
        await romeo.plugin["xep_0045"].set_affiliation(ROOM, "owner", jid=JULIET)
        await romeo.plugin["xep_0045"].set_affiliation(ROOM, "owner", jid=NURSE)
        await juliet.do("join", room=ROOM, nick="Juliet")
        await enter(nurse, "Nurse")
        say(romeo, "Buy magic potions!")
        spam = (await juliet.hears("said", body="Buy magic potions!"))["id"]
        await nurse.plugin["xep_0425"].moderate(JID(ROOM), spam, "Not here")
        await juliet.hears("retracted", sender=ROOM, id=spam)
        say(romeo, "Buy poison!")
        spam = (await juliet.hears("said", body="Buy poison!"))["id"]
        await juliet.do("moderate", room=ROOM, id=spam, reason="Nor this")
        await nurse.until("it taken back", lambda: any(
            each.name == "message" and each.xml.find("{urn:xmpp:message-retract:1}retract") is not None
            and each.xml.find("{urn:xmpp:message-retract:1}retract").get("id") == spam
            for each in nurse._seen
        ))  # fmt: skip
        assert await read(nurse) == ["", "", "", ""]  # two tombstones, and what was told of them
        await nurse.plugin["xep_0045"].set_affiliation(ROOM, "none", jid=JULIET)  # owners may make it anew
        await nurse.plugin["xep_0045"].destroy(ROOM, reason="Plague", altroom=f"cell@{ROOMS}")
        await juliet.hears("out")
        with pytest.raises(Refusal, match="gone"):
            await juliet.do("join", room=ROOM, nick="Rose")


@played
async def test_members_alone_come_in_with_an_invitation_or_a_token(verona: Verona) -> None:
    romeo, nurse = verona.slixmpp(f"{ROMEO}/orchard"), verona.slixmpp(f"{NURSE}/chamber")
    async with verona.juliet() as juliet, entered(romeo, nurse):
        await create(romeo, "Romeo", persistentroom=True, membersonly=True)
        with pytest.raises(Refusal, match="registration-required"):
            await juliet.do("join", room=ROOM, nick="Juliet")
        romeo.plugin["xep_0045"].invite(ROOM, JULIET, reason="A feast")
        told = await juliet.hears("invited", room=ROOM, sender=ROMEO)
        assert (told["mode"], told["reason"]) == ("MEDIATED", "A feast")
        assert await juliet.do("join", room=ROOM, nick="Juliet") == ["Juliet", "Romeo"]
        own = await romeo.receives("presence", from_=f"{ROOM}/Juliet")
        assert (own["muc"]["affiliation"], str(own["muc"]["jid"])) == ("member", f"{JULIET}/balcony")
        with pytest.raises(PresenceError) as refused:
            await enter(nurse, "Nurse")
        assert refused.value.condition == "registration-required"
        token = await token_of(romeo)
        await enter(nurse, "Nurse", password=token)
        await juliet.hears("joined", sender="Nurse")
        await juliet.do("say", to=ROOM, body="Nurse!", type="groupchat")
        await hears(nurse, "Nurse!", "Juliet")
        await configure(romeo, membersonly=True, whois="anyone")
        assert await juliet.do("affiliated", room=ROOM, affiliation="member") == sorted([JULIET, NURSE])


async def token_of(actor: Any) -> str:
    """A token that the room makes (XEP-0488)."""
    namespace = "urn:xmpp:muc-token-invite:0"
    iq = actor.make_iq_set(ito=ROOM)
    iq.xml.append(iq.xml.makeelement(f"{{{namespace}}}request", {"counter": "1"}))
    answer = await iq.send()
    return str(answer.xml.findtext(f"{{{namespace}}}token"))
