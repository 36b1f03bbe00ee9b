"""What clients of our server and of another one say to each other, and must hear."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from slixmpp import JID

from tests.interop.actor import Actor, entered

if TYPE_CHECKING:
    from pathlib import Path

ROMEO, JULIET = "romeo@montague.lit/orchard", "juliet@capulet.lit/balcony"


def play(ours: int, theirs: int, authority: Path, other: Path | None = None) -> None:
    """Messages, questions and subscriptions in both directions; the ports are those for clients.

    :param other: the authority of their server, if it is another than ours has.
    :raises AssertionError: somebody did not hear what they should have.
    """
    asyncio.run(_play(ours, theirs, authority, other))


def answer(ours: int, theirs: int, authority: Path, other: Path | None = None) -> None:
    """Juliet, who is theirs, speaks first, and Romeo answers; see `play`."""
    asyncio.run(_answer(ours, theirs, authority, other))


def play_in_vain(ours: int, theirs: int, authority: Path, other: Path | None = None) -> dict[str, str]:
    """The errors that each gets for a message to the other; see `play`."""
    return asyncio.run(_play_in_vain(ours, theirs, authority, other))


def cast(ours: int, theirs: int, authority: Path, other: Path | None) -> tuple[Actor, Actor]:
    romeo = Actor(ROMEO, ours, authority, register=False)
    return romeo, Actor(JULIET, theirs, other or authority, register=True)


async def _play(*where: Any) -> None:
    romeo, juliet = cast(*where)
    async with entered(romeo, juliet):
        await messages(romeo, juliet)
        await messages(juliet, romeo)
        await subscription(romeo, juliet)
        await questions(romeo, juliet)
        await questions(juliet, romeo)
        await errors(romeo, "capulet.lit")
        await errors(juliet, "montague.lit")
        romeo.send_presence(ptype="unavailable")
        await juliet.receives("presence", from_=ROMEO, type="unavailable")


async def _answer(*where: Any) -> None:
    romeo, juliet = cast(*where)
    async with entered(romeo, juliet):
        for _ in range(3):
            await messages(juliet, romeo)
            await messages(romeo, juliet)
        await errors(juliet, "montague.lit")
        await errors(romeo, "capulet.lit")


async def messages(one: Actor, other: Actor) -> None:
    """To the bare and to the full JID, in order."""
    for number, to in enumerate((other.boundjid.bare, other.boundjid.full) * 3):
        one.send_message(JID(to), f"<{number}> & \"'\N{ROSE}", mtype="chat")
    for number in range(6):
        got = await other.receives("message", from_=one.boundjid.full)
        assert got["body"] == f"<{number}> & \"'\N{ROSE}"


async def questions(one: Actor, other: Actor) -> None:
    """To the other server, and to the other client."""
    domain = JID(other.boundjid.host)
    disco = await one.plugin["xep_0030"].get_info(domain)
    assert "http://jabber.org/protocol/disco#info" in disco["disco_info"]["features"]
    assert await one.plugin["xep_0199"].ping(domain) > 0
    assert await one.plugin["xep_0199"].ping(other.boundjid) > 0


async def subscription(one: Actor, other: Actor) -> None:
    """Each comes to see the other's presence."""
    one.send_presence_subscription(other.boundjid.bare)
    await other.receives("presence", from_=one.boundjid.bare, type="subscribe")
    await one.receives("presence", from_=other.boundjid.bare, type="subscribed")
    await one.receives("presence", from_=other.boundjid.full, type="available")
    await other.receives("presence", from_=one.boundjid.full, type="available")
    one.send_presence(pstatus="in the orchard")
    await other.receives("presence", from_=one.boundjid.full, status="in the orchard")
    other.send_presence(pstatus="on the balcony")
    await one.receives("presence", from_=other.boundjid.full, status="on the balcony")


async def errors(one: Actor, domain: str) -> None:
    """An account that does not exist."""
    one.send_message(JID(f"nobody@{domain}"), "hi!", mtype="chat")
    got = await one.receives("message", from_=f"nobody@{domain}", type="error")
    assert got["error"]["condition"] == "service-unavailable"


async def _play_in_vain(*where: Any) -> dict[str, str]:
    actors, got = cast(*where), {}
    async with entered(*actors):
        for one, other in zip(actors, reversed(actors), strict=True):
            one.send_message(JID(other.boundjid.bare), "hi!", mtype="chat")
            error = await one.receives("message", type="error")
            got[one.boundjid.user] = str(error["error"]["condition"])
    return got
