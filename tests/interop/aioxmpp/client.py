"""A client made with aioxmpp, which nobody here wrote; it does what lines of JSON on its input tell it.

It runs in a virtual environment of its own (see ``tests/interop/aio.py``), with the port, the file of the
authority, the address and the password as arguments.  A line ``{"do": "say", "with": {...}, "id": 7}`` is
answered by ``{"id": 7, "answer": ...}`` or ``{"id": 7, "error": ...}``; what comes in between is told as
``{"event": ...}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

import aioxmpp  # type: ignore[import-not-found]  # it is in the other environment
import OpenSSL.SSL
from aioxmpp.connector import STARTTLSConnector  # type: ignore[import-not-found]  # it is as well

JID = aioxmpp.JID.fromstr
SERVICES = (
    aioxmpp.BlockingClient,
    aioxmpp.CarbonsClient,
    aioxmpp.DiscoClient,
    aioxmpp.DiscoServer,
    aioxmpp.EntityCapsService,
    aioxmpp.MUCClient,
    aioxmpp.PEPClient,
    aioxmpp.PingService,
    aioxmpp.PresenceClient,
    aioxmpp.PubSubClient,
    aioxmpp.RosterClient,
)


def tell(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Play:
    """What can be asked of the client: every public method, with its arguments by name."""

    def __init__(self, port: int, authority: str, jid: str, password: str) -> None:
        def trusting() -> Any:
            context = OpenSSL.SSL.Context(OpenSSL.SSL.TLS_METHOD)
            context.load_verify_locations(authority)
            return context

        layer = aioxmpp.make_security_layer(password)._replace(ssl_context_factory=trusting)
        self._client = client = aioxmpp.PresenceManagedClient(
            JID(jid),
            layer,
            override_peer=[("127.0.0.1", port, STARTTLSConnector())],
        )
        client.backoff_start = timedelta(seconds=0.1)
        client.backoff_cap = timedelta(seconds=0.5)
        self._of = {each: client.summon(each) for each in SERVICES}
        dispatcher = client.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
        dispatcher.register_callback(aioxmpp.MessageType.CHAT, None, self._chat)
        client.stream.app_inbound_message_filter.register(self._copies, 1)
        presence = self._of[aioxmpp.PresenceClient]
        presence.on_available.connect(self._available)
        presence.on_unavailable.connect(self._unavailable)
        self._of[aioxmpp.RosterClient].on_subscribe.connect(self._asked)
        client.on_stream_resumed.connect(lambda: tell(event="resumed"))
        client.on_stream_destroyed.connect(lambda reason=None: tell(event="lost", why=str(reason)))

    def _chat(self, message: Any) -> None:
        body = message.body.any() if message.body else None
        tell(event="chat", sender=str(message.from_), body=body)

    def _copies(self, message: Any) -> Any:
        for kind, copy in (("received", message.xep0280_received), ("sent", message.xep0280_sent)):
            if copy is not None and message.from_ in (None, self._client.local_jid.bare()):
                inside = copy.stanza
                tell(event=f"copy-{kind}", sender=str(inside.from_), body=inside.body.any())
                return None
        return message

    def _available(self, jid: Any, stanza: Any) -> None:
        tell(event="available", sender=str(jid), status=stanza.status.any() if stanza.status else None)

    def _unavailable(self, jid: Any, stanza: Any) -> None:
        tell(event="unavailable", sender=str(jid))

    def _asked(self, stanza: Any) -> None:
        self._of[aioxmpp.RosterClient].approve(stanza.from_)

    # -- what it does -------------------------------------------------------------------------------

    async def enter(self, status: str = "") -> str:
        """Log in; whenever the connection breaks from now on, come back."""
        texts = {None: status} if status else {}
        there = asyncio.Event()
        self._client.on_stream_established.connect(there.set)
        self._client.set_presence(aioxmpp.PresenceState(available=True), status=texts)
        await there.wait()
        return str(self._client.local_jid)

    async def leave(self) -> None:
        gone = asyncio.Event()
        self._client.on_stopped.connect(gone.set)
        self._client.stop()
        await gone.wait()

    async def say(self, to: str, body: str, type: str = "chat") -> None:
        """Answered as soon as the server has taken it (XEP-0198)."""
        message = aioxmpp.Message(to=JID(to), type_=aioxmpp.MessageType(type))
        message.body[None] = body
        await self._client.send(message)

    async def subscribe(self, to: str) -> None:
        self._of[aioxmpp.RosterClient].subscribe(JID(to))

    async def roster(self) -> dict[str, str]:
        items = self._of[aioxmpp.RosterClient].items
        return {str(jid): str(item.subscription) for jid, item in items.items()}

    async def name(self, jid: str, name: str, groups: list[str]) -> None:
        await self._of[aioxmpp.RosterClient].set_entry(JID(jid), name=name, add_to_groups=set(groups))

    async def features(self, of: str) -> list[str]:
        return sorted((await self._of[aioxmpp.DiscoClient].query_info(JID(of))).features)

    async def items(self, of: str) -> list[str]:
        return sorted(
            str(each.jid) for each in (await self._of[aioxmpp.DiscoClient].query_items(JID(of))).items
        )

    async def ping(self, to: str) -> None:
        await aioxmpp.ping.ping(self._client, JID(to))

    async def carbons(self) -> None:
        await self._of[aioxmpp.CarbonsClient].enable()

    async def block(self, jid: str) -> None:
        await self._of[aioxmpp.BlockingClient].block_jids([JID(jid)])

    async def unblock(self, jid: str) -> None:
        await self._of[aioxmpp.BlockingClient].unblock_jids([JID(jid)])

    async def blocked(self) -> list[str]:
        return sorted(str(each) for each in self._of[aioxmpp.BlockingClient].blocklist)


async def lines() -> Any:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def serve(play: Play) -> None:
    reader, running = await lines(), set()

    async def act(line: bytes) -> None:
        asked = json.loads(line)
        try:
            answer = await getattr(play, asked["do"])(**asked.get("with", {}))
        except Exception as error:  # noqa: BLE001  # whoever asked is told
            condition = getattr(error, "condition", None)
            tell(id=asked["id"], error=condition.value[1] if condition is not None else repr(error))
        else:
            tell(id=asked["id"], answer=answer)

    while line := await reader.readline():
        task = asyncio.ensure_future(act(line))
        running.add(task)
        task.add_done_callback(running.discard)


async def main() -> None:
    port, authority, jid, password = sys.argv[1:]
    await serve(Play(int(port), authority, jid, password))


if __name__ == "__main__":
    asyncio.run(main())
