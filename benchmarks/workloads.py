"""What is measured: each workload prepares its clients once and is then repeated, round by round."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers import Server

PAIRS = 50
CONTACTS = 200
OCCUPANTS = 100
ROSTER = 500
STORED = 1000  #: messages in the archive that is asked for pages
PAGE = 50
WAITING = 200  #: messages that wait for somebody offline
MUC = "http://jabber.org/protocol/muc"


class Workload:
    """One kind of work.

    :cvar name: as the table shows it.
    :cvar unit: what one operation is.
    :cvar needs: what a server must do to be measured (`servers.Server.does`).
    :cvar archived: whether the servers archive all messages.
    """

    name: str
    unit: str
    needs: ClassVar[frozenset[str]] = frozenset()
    archived: ClassVar[bool] = False

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = servers
        self.port = servers[0].port
        self.tls = load.context()
        self.clients: list[load.Connection] = []

    def prepare(self) -> None:
        """Make all clients and whatever they need."""
        raise NotImplementedError

    def round(self, seconds: float) -> int:
        """Work for so long; returns how many operations were done."""
        raise NotImplementedError

    def finish(self) -> None:
        """Drop all clients."""
        load.close(self.clients)
        self.clients.clear()

    def login(self, user: str, **how: Any) -> load.Connection:
        """Log somebody in at the first server, for as long as the workload lasts."""
        self.clients.append(load.login(self.port, user, self.tls, **how))
        return self.clients[-1]

    def logins(self, count: int, **how: Any) -> list[load.Connection]:
        """Log so many in at the first server, some at a time; the first is ``user0``."""
        users = [f"user{number}" for number in range(count)]
        self.clients += load.logins(self.port, users, self.tls, **how)
        return self.clients


class Chat(Workload):
    """Pairs chat, with so many messages in flight.

    :cvar modern: with acknowledgements and carbons, all of them active (XEP-0352), as somebody looks at them.
    """

    unit = "message"
    size = 0
    window = 4
    modern = False

    def prepare(self) -> None:
        self.logins(PAIRS * 2, sm=self.modern, carbons=self.modern, csi=self.modern)
        self.round(1.0)

    def round(self, seconds: float) -> int:
        return load.chat(self.clients, self.window, seconds, self.size)[0]


class ChatOneByOne(Chat):
    name, window = "chat, window 1", 1


class ChatWindow(Chat):
    name = "chat, window 4"


class ChatLong(Chat):
    name, size = "chat, 4 KiB, window 4", 4096


class ChatLongOneByOne(ChatLong):
    name, window = "chat, 4 KiB, window 1", 1


class ChatModern(Chat):
    name, modern, needs = "chat, SM, carbons, CSI", True, frozenset({"sm", "carbons", "csi"})


class ChatArchived(Chat):
    name, modern, archived = "chat, archived on both sides", True, True
    needs = frozenset({"sm", "carbons", "csi", "archive"})


class Federation(Chat):
    """Pairs chat between two servers; both are counted."""

    name, needs = "chat between two servers", frozenset({"federation"})

    def prepare(self) -> None:
        for number in range(PAIRS):
            for server in self.servers:
                made = load.login(server.port, f"user{number}", self.tls, domain=server.domain)
                self.clients.append(made)
        self.round(2.0)


class Login(Workload):
    """TLS, SCRAM-SHA-256, a resource, presence, and away."""

    name, unit, needs = "login, SCRAM-SHA-256", "login", frozenset({"scram"})

    def prepare(self) -> None:
        for number in range(20):  # a server may store its keys at the first login
            self._once(number)

    def round(self, seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            self._once(done % 20)
            done += 1
        return done

    def _once(self, number: int) -> None:
        with load.login(self.port, f"user{number}", self.tls, scram=True) as made:
            made.say("</stream:stream>")
            made.read_until(b"</stream:stream>")


class FastLogin(Workload):
    """TLS, a token instead of the password, all in one round trip, presence, and away."""

    name, unit, needs = "login, FAST (XEP-0484)", "login", frozenset({"fast"})

    def prepare(self) -> None:
        self._tokens = [load.token(self.port, f"user{number}", self.tls) for number in range(20)]
        for number in range(20):
            self._once(number)

    def round(self, seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            self._once(done % 20)
            done += 1
        return done

    def _once(self, number: int) -> None:
        with load.fast(self.port, f"user{number}", self.tls, self._tokens[number]) as made:
            made.say("</stream:stream>")
            made.read_until(b"</stream:stream>")


class Resumption(Workload):
    """A connection is lost, and the session goes on with another one."""

    name, unit, needs = "resumption (XEP-0198)", "login", frozenset({"scram", "sm"})

    def prepare(self) -> None:
        for number in range(10):
            self.login(f"user{number}", scram=True, sm=True)

    def round(self, seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            at = done % len(self.clients)
            self.clients[at].sock.close()
            self.clients[at] = load.resumed(self.port, self.clients[at], self.tls)
            done += 1
        return done


class Presence(Workload):
    """Somebody changes their presence before many contacts who are online."""

    name, unit = f"presence to {CONTACTS} contacts", "copy"

    def prepare(self) -> None:
        romeo, *contacts = self.logins(CONTACTS + 1)
        for number, contact in enumerate(contacts, 1):
            contact.say(f"<presence to='user0@{load.DOMAIN}' type='subscribe'/>")
            romeo.read_until(b"subscribe", f"user{number}@".encode())
            romeo.say(f"<presence to='user{number}@{load.DOMAIN}' type='subscribed'/>")
            contact.read_until(b"subscribed", b"user0@", b"/bench")
        self._romeo = romeo
        self._contacts = load.waiting(self.clients[1:])

    def round(self, seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            show = ("away", "dnd")[done // CONTACTS % 2]
            self._romeo.say(f"<presence><show>{show}</show><status>asleep</status></presence>")
            load.until(self._contacts, b"</presence>", CONTACTS)
            done += CONTACTS
        return done


class Room(Workload):
    """So many speak in a room at a time; everybody hears all of it, and the room keeps it."""

    unit, archived = "copy", True
    needs = frozenset({"rooms", "archive"})
    window = 1

    def prepare(self) -> None:
        self._room = f"orchard@rooms.{load.DOMAIN}"
        for number, occupant in enumerate(self.logins(OCCUPANTS)):
            occupant.say(
                f"<presence to='{self._room}/user{number}'><x xmlns='{MUC}'>"
                "<history maxstanzas='0'/></x></presence>"
            )
            occupant.read_until(b"<subject")
            if number == 0:
                occupant.ask(
                    f"<iq type='set' id='o' to='{self._room}'><query xmlns='{MUC}#owner'>"
                    "<x xmlns='jabber:x:data' type='submit'/></query></iq>",
                    b"id=",
                )
        self._selector = load.waiting(self.clients)

    def round(self, seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(self.window):
                speaker = self.clients[done // OCCUPANTS % OCCUPANTS]
                said = f"<body>{load.BODY}</body>"
                speaker.say(f"<message to='{self._room}' type='groupchat' id='m{done}'>{said}</message>")
                done += OCCUPANTS
            load.until(self._selector, b"</message>", OCCUPANTS * self.window)
        return done


class RoomOneByOne(Room):
    name = f"room of {OCCUPANTS}, archived"


class RoomWindow(Room):
    name, window = f"room of {OCCUPANTS}, 4 in flight", 4


class Offline(Workload):
    """Messages are stored for somebody, who then comes, reads them, and goes."""

    name, unit = "offline, stored and fetched", "message"

    def prepare(self) -> None:
        self._sender = self.login("user0")
        self.round(0.1)

    def round(self, seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            message = f"<message to='user1@{load.DOMAIN}' type='chat'><body>{load.BODY}</body></message>"
            self._sender.ask(message * WAITING + load.ping(load.DOMAIN, "stored"), b"stored")
            with load.login(self.port, "user1", self.tls, presence=False) as receiver:
                receiver.say("<presence/>")
                load.until(load.waiting([receiver]), b"</message>", WAITING)
            done += WAITING
        return done


class Roster(Workload):
    """A client asks for its roster."""

    name, unit = f"roster of {ROSTER}", "roster"

    def prepare(self) -> None:
        self._client = self.login("user0")
        for number in range(ROSTER):
            self._client.ask(
                f"<iq type='set' id='s{number}'><query xmlns='jabber:iq:roster'><item name='Friend {number}' "
                f"jid='friend{number}@{load.DOMAIN}'><group>Friends</group></item></query></iq>",
                f"s{number}".encode(),
            )

    def round(self, seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            self._client.ask("<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>", b"</iq>")
            done += 1
        return done


class ArchivePage(Workload):
    """A client asks for the newest page of its archive (XEP-0313)."""

    name, unit, archived, needs = f"archive, a page of {PAGE}", "page", True, frozenset({"archive"})

    def prepare(self) -> None:
        sender, receiver = self.login("user0"), self.login("user1")
        message = f"<message to='user1@{load.DOMAIN}' type='chat'><body>{load.BODY}</body></message>"
        selector = load.waiting([receiver])
        for _ in range(STORED // PAGE):
            sender.say(message * PAGE)
            load.until(selector, b"</message>", PAGE)
        receiver.sock.setblocking(True)
        self._client = receiver

    def round(self, seconds: float) -> int:
        done, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            page = self._client.ask(
                "<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'>"
                f"<max>{PAGE}</max><before/></set></query></iq>",
                b"</iq>",
            )
            assert page.count(b"</result>") == PAGE, page[:500]
            done += 1
        return done


#: In the order of the table.
ALL: tuple[type[Workload], ...] = (
    ChatOneByOne,
    ChatWindow,
    ChatLongOneByOne,
    ChatLong,
    ChatModern,
    ChatArchived,
    Login,
    FastLogin,
    Resumption,
    Presence,
    RoomOneByOne,
    RoomWindow,
    Federation,
    Offline,
    Roster,
    ArchivePage,
)
