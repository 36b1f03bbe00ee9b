"""The story: what each client says, and what the others must receive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from actors import Actor, MissedError
from slixmpp import JID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from stage import Stage

#: Who plays, and with which client.
CAST: Final = {
    "romeo": "romeo@montague.lit/orchard",
    "mercutio": "mercutio@montague.lit/square",
    "benvolio": "benvolio@montague.lit/street",
    "juliet": "juliet@capulet.lit/balcony",
    "nurse": "nurse@capulet.lit/chamber",
}
STATUS: Final = {
    "romeo": "in the orchard",
    "mercutio": "in the square",
    "benvolio": "in the street",
    "juliet": "on the balcony",
}
#: Who see each other's presence.
FRIENDS: Final = (
    ("romeo", "juliet"),
    ("romeo", "mercutio"),
    ("romeo", "benvolio"),
    ("romeo", "nurse"),
    ("juliet", "nurse"),
)
PRESENT: Final = ("juliet", "mercutio", "benvolio")  # when Romeo comes
CLOCKS: Final = timedelta(seconds=2)  # by which times may differ: a delay's has no fractions


def bare(name: str) -> str:
    """The address of somebody's account."""
    return CAST[name].partition("/")[0]


class Story:
    """One performance.

    :param ports: where each domain's server listens to clients.
    :ivar step: what is being played.
    """

    def __init__(self, ports: Mapping[str, int], authority: Path, password: str, stage: Stage) -> None:
        self.step = "the rosters"
        self._ports = ports
        self._authority = authority
        self._password = password
        self._stage = stage
        self._actors: dict[str, Actor] = {}
        self._gone: list[Actor] = []  # kept, or slixmpp's last tasks are collected before they end

    async def play(self) -> None:
        """From the rosters to the last step.

        :raises MissedError: somebody did not receive what they had to.
        """
        steps = (
            ("a stream, TLS, SASL and a resource for Romeo", self.log_in),
            ("his roster, by <iq/>", self.roster),
            ("his presence, broadcast to his contacts on both servers", self.presence),
            ("their presence, back to him", self.presence_back),
            ("a message there, a message back, and one that waits", self.messages),
        )
        await self.befriend()
        await self.assemble()
        for number, (title, act) in enumerate(steps, 1):
            self.step = f"step {number}, {title}"
            self._stage.headline(f"{number}. {title[0].upper()}{title[1:]}")
            await act()
        await self.end()

    async def end(self) -> None:
        """Let everybody leave."""
        actors, self._actors = self._actors, {}
        self._gone += actors.values()
        for actor in actors.values():
            actor.stage = None
        for actor in actors.values():
            await actor.leave()

    # -- before it begins ---------------------------------------------------------------------------

    async def befriend(self) -> None:
        """See that all who are friends are so in both rosters, whatever was left by earlier performances."""
        for name in CAST:
            actor = self._cast(name)
            await actor.enter()
            await actor.answer(actor.get_roster())
            actor.send_presence()
        for one, other in FRIENDS:
            await self._subscribe(self._actors[one], self._actors[other])
        await self.end()
        self._stage.say("The rosters are set: " + ", ".join(f"{a} and {b}" for a, b in FRIENDS) + ".")

    async def _subscribe(self, one: Actor, other: Actor) -> None:
        for subscriber, contact in ((one, other), (other, one)):
            jid = contact.boundjid.bare
            if subscriber.subscriptions.get(jid) != "both":
                subscriber.update_roster(JID(jid), name=contact.who.capitalize(), groups=["Verona"])
            sees = subscriber.subscriptions.get(jid) in ("to", "both")
            seen = contact.subscriptions.get(subscriber.boundjid.bare) in ("from", "both")
            if not (sees and seen):
                subscriber.send_presence_subscription(jid)
        await one.subscribed(other.boundjid.bare)
        await other.subscribed(one.boundjid.bare)

    async def assemble(self) -> None:
        """Let those enter who are there when Romeo comes; the nurse is not."""
        for name in PRESENT:
            actor = self._cast(name)
            await actor.enter()
            await actor.answer(actor.get_roster())
            actor.send_presence(pstatus=STATUS[name])
            await actor.receives("presence", from_=CAST[name], status=STATUS[name])
        self._stage.say("Juliet, Mercutio and Benvolio are online. Nurse is not.")

    def _cast(self, name: str, stage: Stage | None = None) -> Actor:
        port = self._ports[CAST[name].partition("/")[0].partition("@")[2]]
        self._actors[name] = Actor(CAST[name], self._password, port, self._authority, stage)
        return self._actors[name]

    # -- the five steps -----------------------------------------------------------------------------

    async def log_in(self) -> None:
        """RFC 6120 §9.1."""
        romeo = self._cast("romeo", self._stage)
        await romeo.enter()
        for name in ("features", "proceed", "success"):
            await romeo.receives(name)
        assert romeo.transport is not None
        tls = romeo.transport.get_extra_info("ssl_object")
        if tls is None:
            raise MissedError("romeo is logged in without TLS")
        if romeo.boundjid.full != CAST["romeo"]:
            raise MissedError(f"romeo is bound as {romeo.boundjid.full}")
        self._stage.say(f"Bound as {romeo.boundjid.full}, under {tls.version()} with {tls.cipher()[0]}.")

    async def roster(self) -> None:
        """RFC 6121 §2.1."""
        romeo = self._actors["romeo"]
        iq = await romeo.answer(romeo.get_roster())
        items = {str(jid): item["subscription"] for jid, item in iq["roster"]["items"].items()}
        for one, other in FRIENDS:
            if one == "romeo" and items.get(bare(other)) != "both":
                raise MissedError(f"romeo's roster has no subscription of both with {bare(other)}")

    async def presence(self) -> None:
        """RFC 6121 §4.2."""
        self._stage.keep("romeo")  # what comes back to him is the next step
        for name in PRESENT:
            self._actors[name].stage = self._stage
        self._actors["romeo"].send_presence(pstatus=STATUS["romeo"])
        for name in PRESENT:
            await self._actors[name].receives(
                "presence", from_=CAST["romeo"], type="available", status=STATUS["romeo"]
            )

    async def presence_back(self) -> None:
        """RFC 6121 §4.3."""
        self._stage.release("romeo")
        for name in PRESENT:
            await self._actors["romeo"].receives(
                "presence", from_=CAST[name], type="available", status=STATUS[name]
            )

    async def messages(self) -> None:
        """RFC 6121 §5, XEP-0160."""
        romeo, juliet = self._actors["romeo"], self._actors["juliet"]
        await self._write(romeo, bare("juliet"), "hi!", juliet)
        await self._write(juliet, CAST["romeo"], "hi yourself!", romeo)
        self._stage.say(
            "Nurse is offline. Her server keeps what Romeo writes, and says since when she is gone:"
        )
        id = self._send(romeo, bare("nurse"), "Commend me to thy lady.")
        sent = datetime.now(UTC)
        await romeo.answer(romeo.plugin["xep_0012"].get_last_activity(JID(bare("nurse"))))
        self._stage.say("Nurse comes:")
        nurse = self._cast("nurse")
        await nurse.enter()
        nurse.stage = self._stage
        nurse.send_presence()
        message = await nurse.receives(
            "message", id=id, type="chat", from_=CAST["romeo"], body="Commend me to thy lady."
        )
        stamp = message["delay"]["stamp"]
        if stamp is None or abs(stamp - sent) > CLOCKS:
            raise MissedError(f"nurse's message says nothing right of when it was sent: {stamp}")

    async def _write(self, sender: Actor, to: str, body: str, receiver: Actor) -> None:
        id = self._send(sender, to, body)
        await receiver.receives("message", id=id, type="chat", from_=CAST[sender.who], body=body)

    @staticmethod
    def _send(sender: Actor, to: str, body: str) -> str:
        message = sender.make_message(mto=to, mbody=body, mtype="chat")
        message["id"] = uuid4().hex[:8]  # no other performance's, of which messages may be left
        message.send()
        return str(message["id"])
