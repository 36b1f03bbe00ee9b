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
import aioxmpp.rsm.xso  # type: ignore[import-not-found]  # it is as well
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


MAM = "urn:xmpp:mam:2"
MODERATE = "urn:xmpp:message-moderate:1"
RETRACT = "urn:xmpp:message-retract:1"


# The library has no archives (XEP-0313) and no moderation (XEP-0425): what it needs to write and read them.


class Retraction(aioxmpp.xso.XSO):  # type: ignore[misc]  # nothing is known of its types
    TAG = (RETRACT, "retract")
    UNKNOWN_CHILD_POLICY = aioxmpp.xso.UnknownChildPolicy.DROP
    id_ = aioxmpp.xso.Attr("id", default=None)


@aioxmpp.IQ.as_payload_class
class Moderation(aioxmpp.xso.XSO):  # type: ignore[misc]  # as above
    TAG = (MODERATE, "moderate")
    id_ = aioxmpp.xso.Attr("id")
    retraction = aioxmpp.xso.Child([Retraction])
    reason = aioxmpp.xso.ChildText((MODERATE, "reason"), default=None)


@aioxmpp.IQ.as_payload_class
class Archive(aioxmpp.xso.XSO):  # type: ignore[misc]  # as above
    TAG = (MAM, "query")
    form = aioxmpp.xso.Child([aioxmpp.forms.Data])
    page = aioxmpp.xso.Child([aioxmpp.rsm.xso.ResultSetMetadata])


@aioxmpp.IQ.as_payload_class
class End(aioxmpp.xso.XSO):  # type: ignore[misc]  # as above
    TAG = (MAM, "fin")
    UNKNOWN_ATTR_POLICY = aioxmpp.xso.UnknownAttrPolicy.DROP
    page = aioxmpp.xso.Child([aioxmpp.rsm.xso.ResultSetMetadata])


class Archived(aioxmpp.xso.XSO):  # type: ignore[misc]  # as above
    TAG = (MAM, "result")
    UNKNOWN_ATTR_POLICY = aioxmpp.xso.UnknownAttrPolicy.DROP
    id_ = aioxmpp.xso.Attr("id")
    forwarded = aioxmpp.xso.Child([aioxmpp.misc.Forwarded])


aioxmpp.Message.archived = aioxmpp.xso.Child([Archived])
aioxmpp.Message.retraction = aioxmpp.xso.Child([Retraction])


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
        client.stream.app_inbound_message_filter.register(self._from_rooms, 2)
        self._archived: list[Any] = []
        presence = self._of[aioxmpp.PresenceClient]
        presence.on_available.connect(self._available)
        presence.on_unavailable.connect(self._unavailable)
        self._of[aioxmpp.RosterClient].on_subscribe.connect(self._asked)
        self._of[aioxmpp.MUCClient].on_muc_invitation.connect(self._invited)
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

    def _from_rooms(self, message: Any) -> Any:
        if message.archived is not None:
            self._archived.append(message.archived.forwarded.stanza)
            return None
        if message.retraction is not None:
            tell(event="retracted", sender=str(message.from_), id=message.retraction.id_)
        return message

    def _available(self, jid: Any, stanza: Any) -> None:
        tell(event="available", sender=str(jid), status=stanza.status.any() if stanza.status else None)

    def _unavailable(self, jid: Any, stanza: Any) -> None:
        tell(event="unavailable", sender=str(jid))

    def _asked(self, stanza: Any) -> None:
        self._of[aioxmpp.RosterClient].approve(stanza.from_)

    def _invited(self, stanza: Any, room: Any, inviter: Any, mode: Any, *, reason: Any, **_: Any) -> None:
        tell(event="invited", room=str(room), sender=str(inviter), mode=mode.name, reason=reason)

    def _watch(self, room: Any) -> None:
        """Tell what happens in a room that is about to be entered."""

        def on(signal: Any, event: str, **values: Any) -> None:
            def told(*given: Any, **more: Any) -> None:
                tell(event=event, **{name: value(given, more) for name, value in values.items()})

            signal.connect(told)

        def nick(given: Any, _: Any) -> str:
            return str(given[0].nick)

        def mode(_: Any, more: Any) -> str:
            return str(more["muc_leave_mode"].name)

        def affiliation(given: Any, _: Any) -> str:
            return str(given[1].affiliation)

        def last(given: Any, _: Any) -> str:
            return str(given[-1])

        def reason(_: Any, more: Any) -> str | None:
            return str(more["muc_reason"]) if more.get("muc_reason") else None

        on(
            room.on_message,
            "said",
            sender=lambda given, _: given[1].nick,
            body=lambda given, _: given[0].body.any() if given[0].body else None,
            id=lambda given, _: next((each.id_ for each in given[0].xep0359_stanza_ids), None),
        )
        on(room.on_topic_changed, "topic", body=lambda given, _: given[1].any() if given[1] else None)
        on(room.on_join, "joined", sender=nick)
        on(room.on_leave, "left", sender=nick, mode=mode)
        on(room.on_exit, "out", mode=mode, reason=reason)
        on(room.on_nick_changed, "renamed", nick=last)
        on(
            room.on_muc_role_changed,
            "role",
            sender=lambda given, _: given[1].nick,
            role=lambda given, _: given[1].role,
        )
        on(room.on_muc_affiliation_changed, "affiliation", affiliation=affiliation)

    def _room(self, room: str) -> Any:
        return self._of[aioxmpp.MUCClient].get_muc(JID(room))

    def _member(self, room: str, nick: str) -> Any:
        return next(each for each in self._room(room).members if each.nick == nick)

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

    # -- in rooms -----------------------------------------------------------------------------------

    async def join(self, room: str, nick: str, password: str | None = None) -> list[str]:
        """Who is there then."""
        entered, done = self._of[aioxmpp.MUCClient].join(JID(room), nick, password=password, autorejoin=False)
        self._watch(entered)
        await done
        return sorted(each.nick for each in entered.members)

    async def part(self, room: str) -> None:
        await self._room(room).leave()

    async def topic(self, room: str, text: str) -> None:
        await self._room(room).set_topic({None: text})

    async def rename(self, room: str, nick: str) -> None:
        await self._room(room).set_nick(nick)

    async def kick(self, room: str, nick: str, reason: str) -> None:
        await self._room(room).kick(self._member(room, nick), reason)

    async def ban(self, room: str, nick: str, reason: str) -> None:
        await self._room(room).ban(self._member(room, nick), reason)

    async def role(self, room: str, nick: str, role: str) -> None:
        await self._room(room).muc_set_role(nick, role)

    async def affiliate(self, room: str, jid: str, affiliation: str) -> None:
        await self._of[aioxmpp.MUCClient].set_affiliation(JID(room), JID(jid), affiliation)

    async def affiliated(self, room: str, affiliation: str) -> list[str]:
        found = await self._of[aioxmpp.MUCClient].get_affiliated(JID(room), affiliation)
        return sorted(str(getattr(each, "jid", each)) for each in found)

    async def invite(self, room: str, jid: str, text: str) -> None:
        mode = aioxmpp.im.InviteMode.MEDIATED
        await self._room(room).invite(JID(jid), text, mode=mode)

    async def moderate(self, room: str, id: str, reason: str) -> None:
        """Take back what somebody has said (XEP-0425)."""
        order = Moderation()
        order.id_, order.retraction, order.reason = id, Retraction(), reason
        await self._client.send(aioxmpp.IQ(type_=aioxmpp.IQType.SET, to=JID(room), payload=order))

    async def archive(self, room: str, most: int, fields: dict[str, str], after: str | None = None) -> Any:
        """The bodies on a page of a room's archive, and the id of its last message."""
        query, self._archived = Archive(), []
        kind = aioxmpp.forms.xso.Field(
            type_=aioxmpp.forms.xso.FieldType.HIDDEN, var="FORM_TYPE", values=[MAM]
        )
        query.form = aioxmpp.forms.Data(aioxmpp.forms.DataType.SUBMIT)
        query.form.fields.append(kind)
        for var, value in fields.items():
            query.form.fields.append(aioxmpp.forms.xso.Field(var=var, values=[value]))
        query.page = aioxmpp.rsm.xso.ResultSetMetadata.limit(most)
        if after:
            query.page.after = aioxmpp.rsm.xso.After()
            query.page.after.value = after
        end = await self._client.send(aioxmpp.IQ(type_=aioxmpp.IQType.SET, to=JID(room), payload=query))
        bodies = [each.body.any() if each.body else "" for each in self._archived]
        return [bodies, end.page.last.value if end.page.last else ""]

    async def configure(self, room: str, fields: dict[str, Any]) -> None:
        """By its form: the last parts of the fields' names, and what is filled in."""
        muc = self._of[aioxmpp.MUCClient]
        form = aioxmpp.muc.ConfigurationForm.from_xso(await muc.get_room_config(JID(room)))
        for name, value in fields.items():
            getattr(form, name).value = value
        await muc.set_room_config(JID(room), form.render_reply())


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
