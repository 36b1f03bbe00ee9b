"""A small client that comes back whatever happens: TLS, PLAIN, and XEP-0198 with resumption."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import XMLPullParser

from tests.faults.ledger import Copy
from tests.faults.server import PASSWORD

if TYPE_CHECKING:
    import ssl
    from random import Random
    from xml.etree.ElementTree import Element

    from tests.faults.ledger import Ledger

SM: Final = "urn:xmpp:sm:3"
_CLIENT: Final = "{jabber:client}"
_PATIENCE: Final = 15.0  # seconds for a login


class Stream:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._elements: deque[Element] = deque()
        self._restart()

    def _restart(self) -> None:
        self._parser: Any = XMLPullParser(("start", "end"))  # typeshed's has no type for what it reads
        self._depth = 0

    @classmethod
    async def connect(cls, port: int, domain: str, context: ssl.SSLContext) -> Stream:
        """With TLS from the first byte."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=domain))

    async def open(self, domain: str) -> None:
        """Send a header, and wait for the features."""
        self._restart()
        self.send(
            f"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
            f" to='{domain}' version='1.0'>"
        )
        await self.next()

    def send(self, xml: str) -> None:
        self._writer.write(xml.encode())

    async def next(self) -> Element:
        """The next first-level element.

        :raises ConnectionError: there is none.
        """
        while not self._elements:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError("the connection is lost")
            self._parser.feed(data)
            for event, element in self._parser.read_events():
                self._depth += 1 if event == "start" else -1
                if event == "end" and self._depth == 1:
                    self._elements.append(element)
        return self._elements.popleft()

    def end(self) -> None:
        """End the connection behind what was sent."""
        self._writer.close()

    def drop(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()


class Actor:
    """A resource of a user who chats.

    :ivar online: the stream while there is one with a session.
    :ivar gone: it does not come back.
    :ivar calm: do nothing that is not asked for: no messages, no stalling, no leaving.
    """

    def __init__(self, jid: str, port: int, context: ssl.SSLContext, ledger: Ledger, random: Random) -> None:
        self.jid = jid
        self.bare, _, self._resource = jid.partition("/")
        self._username, _, self._domain = self.bare.partition("@")
        self._port = port
        self._context = context
        self._ledger = ledger
        self._random = random
        self.online: Stream | None = None
        self.calm = False
        self.gone = False
        self.sessions = 0
        self.resumptions = 0
        self._streams = 0
        self._number = 0
        self._previd = ""
        self._received = 0  # stanzas in this session
        self._acknowledged = 0
        self._said: deque[tuple[str, str]] = deque()  # id and XML of what is not acknowledged
        self._edit: tuple[str, str, str] | None = None  # id, contact and name of an edit without an answer
        self._vanished: list[Stream] = []
        self._visiting: asyncio.Future[None] | None = None

    @property
    def settled(self) -> bool:
        """Whether it is online and its server has taken all that it said, or it is gone."""
        return self.gone or (self.online is not None and not self._said and self._edit is None)

    def __repr__(self) -> str:
        where = "online" if self.online else "offline"
        return f"<{self.jid}, {where}, {len(self._said)} not taken, edit {self._edit}>"

    # -- its life -------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Log in again and again, until it is gone or cancelled."""
        try:
            while not self.gone:
                self._visiting = asyncio.ensure_future(self._visit())
                await asyncio.wait([self._visiting])
                if not self._visiting.cancelled():
                    self._visiting.result()
                away = (1, 6) if not self.calm and self._random.random() < 0.5 else (0.05, 0.4)
                await asyncio.sleep(self._random.uniform(*away))
        finally:
            if self._visiting is not None:
                self._visiting.cancel()

    def drop(self) -> None:
        """End the connections that it left behind."""
        for stream in self._vanished:
            stream.drop()

    async def _visit(self) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_PATIENCE):
                stream = await Stream.connect(self._port, self._domain, self._context)
            try:
                await self._talk(stream)
            finally:
                if stream not in self._vanished:
                    stream.end()
                self.online = None

    async def _talk(self, stream: Stream) -> None:
        async with asyncio.timeout(_PATIENCE):
            await self._enter(stream)
        self.online = stream
        while True:
            self._take(await stream.next())
            if not self.calm and self._random.random() < 0.002:
                await asyncio.sleep(self._random.uniform(0.5, 4))  # reads nothing meanwhile

    async def _enter(self, stream: Stream) -> None:
        await stream.open(self._domain)
        credentials = b64encode(f"\0{self._username}\0{PASSWORD}".encode()).decode()
        stream.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{credentials}</auth>")
        if not (await stream.next()).tag.endswith("success"):
            raise ConnectionError("not let in")
        await stream.open(self._domain)
        self._streams += 1
        if not (self._previd and await self._resumed(stream)):
            await self._bound(stream)

    async def _resumed(self, stream: Stream) -> bool:
        stream.send(f"<resume xmlns='{SM}' previd='{self._previd}' h='{self._received}'/>")
        answer = await stream.next()
        if answer.tag != f"{{{SM}}}resumed":
            self._previd = ""
            return False
        self.resumptions += 1
        self._settle(answer)
        for id, xml in self._said:
            self._ledger.resent(id)
            stream.send(xml)
        stream.send(f"<r xmlns='{SM}'/>")
        return True

    async def _bound(self, stream: Stream) -> None:
        stream.send(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            f"<resource>{self._resource}</resource></bind></iq>"
        )
        if (await stream.next()).get("type") != "result":
            raise ConnectionError("not bound")
        stream.send(f"<enable xmlns='{SM}' resume='true'/>")
        while (answer := await stream.next()).tag != f"{{{SM}}}enabled":
            pass
        self.sessions += 1
        self._previd = answer.get("id", "")
        self._received = self._acknowledged = 0
        again, self._said = self._said, deque()
        if self._edit and self._edit[0] not in dict(again):
            self._edit = None  # it was taken; the answer ended with the old session
        self._say(stream, "", "<presence/>")
        for id, xml in again:
            if id:
                self._ledger.resent(id)
                self._say(stream, id, xml)
        stream.send(f"<r xmlns='{SM}'/>")

    def vanish(self) -> None:
        """Leave the connection behind as it is, and come back on another one."""
        if self.online is not None and self._visiting is not None:
            self._vanished.append(self.online)
            self._visiting.cancel()

    def leave(self) -> None:
        """Say goodbye; it comes back before long."""
        if self.online is not None and self._visiting is not None:
            self.online.send("</stream:stream>")
            self._previd = ""
            self._visiting.cancel()

    # -- what it says ---------------------------------------------------------------------------------

    def _say(self, stream: Stream, id: str, xml: str) -> None:
        self._said.append((id, xml))
        stream.send(xml)

    def chat(self, to: str) -> None:
        """Say something to somebody, and want to know whether it was taken."""
        if self.online is not None:
            self._number += 1
            id = self._ledger.sent(self.jid, to, self._number)
            xml = f"<message to='{to}' type='chat' id='{id}'><body>{id}{' ' * 200}</body></message>"
            self._say(self.online, id, xml)
            self.online.send(f"<r xmlns='{SM}'/>")

    def edit(self, contact: str) -> None:
        """Give a contact another name, unless the last edit has no answer; one resource does it for all."""
        if self.online is None or self._edit is not None or self._resource != "place1":
            return
        self._number += 1
        id = f"edit-{self._resource}-{self._number}"
        name = f"{id} of {self.bare}"
        self._ledger.names[self.bare, contact].add(name)
        self._edit = id, contact, name
        query = f"<query xmlns='jabber:iq:roster'><item jid='{contact}' name='{name}'/></query>"
        self._say(self.online, id, f"<iq type='set' id='{id}'>{query}</iq>")
        self.online.send(f"<r xmlns='{SM}'/>")

    def ask_roster(self) -> None:
        """Have the ledger know the roster as the server has it."""
        if self.online is not None:
            self._say(self.online, "", "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")

    # -- what it hears --------------------------------------------------------------------------------

    def _take(self, element: Element) -> None:
        name = element.tag.rpartition("}")[2]
        if name == "r":
            assert self.online is not None
            self.online.send(f"<a xmlns='{SM}' h='{self._received}'/>")
        elif name == "a":
            self._settle(element)
        elif name in ("message", "presence", "iq"):
            self._received += 1
            if name == "message":
                self._read(element)
            elif element.get("id") == "roster":
                items = element.findall("{jabber:iq:roster}query/{jabber:iq:roster}item")
                self._ledger.rosters[self.bare] = {i.get("jid", ""): i.get("name", "") for i in items}
            elif name == "iq" and self._edit and element.get("id") == self._edit[0]:
                self._edited(element)
        elif name == "error":
            raise ConnectionError(f"the server ends the stream: {[child.tag for child in element]}")

    def _settle(self, element: Element) -> None:
        handled = int(element.get("h", "0"))
        fresh = handled - self._acknowledged
        assert 0 <= fresh <= len(self._said), f"{self.jid}: {fresh} acknowledged of {len(self._said)}"
        self._acknowledged = handled
        for _ in range(fresh):
            self._ledger.acknowledged(self._said.popleft()[0])

    def _read(self, message: Element) -> None:
        id = message.get("id", "")
        if message.get("type") == "error":
            error = message.find(f"{_CLIENT}error")
            assert error is not None
            self._ledger.refused(id, error[0].tag.rpartition("}")[2])
        else:
            delayed = message.find("{urn:xmpp:delay}delay") is not None
            self._ledger.arrived(id, Copy(self.jid, self._streams, self.sessions, delayed))

    def _edited(self, answer: Element) -> None:
        assert self._edit is not None
        _, contact, name = self._edit
        self._edit = None
        names = self._ledger.names[self.bare, contact]
        if answer.get("type") == "result":
            names.clear()
            names.add(name)  # after an error any may hold: the edit may have been made when it was said first
