"""Another independent library: aioxmpp logs in, meets users of slixmpp, and gets what it expects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.actor import Actor, entered
from tests.interop.aio import Refusal, aioxmpp, needs_aioxmpp
from tests.interop.test_pep import JULIET, ROMEO, played
from tests.interop.test_pep import config as config  # noqa: PLC0414  # the fixture
from tests.interop.test_pep import server as server  # noqa: PLC0414  # the fixture

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.interop.aio import Aioxmpp
    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign, needs_aioxmpp]


def other(server: Running, jid: str) -> AbstractAsyncContextManager[Aioxmpp]:
    return aioxmpp(server.port("c2s"), server.log.parent / "certs" / "ca.crt", jid)


def actor(server: Running, jid: str) -> Any:  # slixmpp's types are its own
    return Actor(jid, server.port("c2s"), server.log.parent / "certs" / "ca.crt", register=False)


@played
async def test_two_libraries_become_contacts_see_each_other_and_talk(server: Running) -> None:
    romeo = actor(server, f"{ROMEO}/orchard")
    async with other(server, f"{JULIET}/balcony") as juliet, entered(romeo):
        assert await juliet.do("enter", status="at the window") == f"{JULIET}/balcony"
        await juliet.do("subscribe", to=ROMEO)
        await juliet.hears("available", sender=f"{ROMEO}/orchard")
        await romeo.receives("presence", from_=f"{JULIET}/balcony", status="at the window")
        await juliet.do("name", jid=ROMEO, name="Romeo", groups=["Balcony"])
        assert await juliet.do("roster") == {ROMEO: "both"}
        await juliet.do("say", to=ROMEO, body="Wherefore art thou?")
        await romeo.receives("message", from_=f"{JULIET}/balcony", body="Wherefore art thou?")
        romeo.send_message(f"{JULIET}/balcony", "Call me but love", mtype="chat")
        await juliet.hears("chat", sender=f"{ROMEO}/orchard", body="Call me but love")
        await juliet.do("leave")
        await romeo.receives("presence", from_=f"{JULIET}/balcony", type="unavailable")


@played
async def test_its_second_client_gets_copies_of_both_sides(server: Running) -> None:
    romeo = actor(server, f"{ROMEO}/orchard")
    async with (
        other(server, f"{JULIET}/balcony") as juliet,
        other(server, f"{JULIET}/chamber") as chamber,
        entered(romeo),
    ):
        await juliet.do("enter")
        await chamber.do("enter")
        await chamber.do("carbons")
        await juliet.do("say", to=f"{ROMEO}/orchard", body="My ears have not yet drunk")
        await chamber.hears("copy-sent", sender=f"{JULIET}/balcony", body="My ears have not yet drunk")
        romeo.send_message(f"{JULIET}/balcony", "Neither, fair saint", mtype="chat")
        await juliet.hears("chat", body="Neither, fair saint")
        await chamber.hears("copy-received", sender=f"{ROMEO}/orchard", body="Neither, fair saint")


@played
async def test_it_finds_what_the_server_offers_and_is_answered(server: Running) -> None:
    async with other(server, f"{JULIET}/balcony") as juliet:
        await juliet.do("enter")
        offered = await juliet.do("features", of="montague.lit")
        assert {"urn:xmpp:carbons:2", "urn:xmpp:blocking", "urn:xmpp:ping"} <= set(offered)
        assert "http://jabber.org/protocol/pubsub#publish" in await juliet.do("features", of=JULIET)
        await juliet.do("ping", to="montague.lit")
        with pytest.raises(Refusal, match="service-unavailable"):
            await juliet.do("ping", to=f"{ROMEO}/orchard")


@played
async def test_whom_it_blocks_it_does_not_hear(server: Running) -> None:
    romeo = actor(server, f"{ROMEO}/orchard")
    async with other(server, f"{JULIET}/balcony") as juliet, entered(romeo):
        await juliet.do("enter")
        await juliet.do("block", jid=ROMEO)
        assert await juliet.do("blocked") == [ROMEO]
        romeo.send_message(JULIET, "What shall I swear by?", mtype="chat")
        await romeo.receives("message", type="error")
        await juliet.do("unblock", jid=ROMEO)
        romeo.send_message(JULIET, "If my heart's dear love", mtype="chat")
        await juliet.hears("chat", body="If my heart's dear love")
        assert juliet.heard("chat") == []
