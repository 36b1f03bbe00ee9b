"""A real server, two people who talk on it, and what is left of an abuse."""

from __future__ import annotations

import json
import re
import socket
import time
from base64 import b64encode
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from jabberd.certificates import issue, make_ca
from jabberd.jsm.account import ACCOUNTS
from jabberd.jsm.credentials import AccountRecord
from jabberd.storage import open_storage
from jabberd.xmpp.scram import HASHES, MINIMUM_ITERATIONS, derive
from tests.abuse.wire import (
    BIND,
    COMPONENT_HEAD,
    COMPONENT_SECRET,
    PASSWORD,
    PATIENCE,
    SASL,
    SERVER_HEAD,
    Wire,
    auth,
    handshake,
    plain,
    presented,
    shown,
)
from tests.running import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.running import Running

CONFIG: Final = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = {s2s}
[[listeners]]
kind = "web"
address = "127.0.0.1"
port = 0
direct_tls = true
[[listeners]]
kind = "bytestreams"
address = "127.0.0.1"
port = 0
[domains."proxy.montague.lit"]
service = "bytestreams"
[[listeners]]
kind = "component"
address = "127.0.0.1"
port = 0
[components."sms.montague.lit"]
secret = "{secret}"
federation = "certificate"
[components."irc.montague.lit"]
secret = "{secret}"
federation = "off"
[domains."montague.lit"]
plain = true
admins = ["benvolio@montague.lit"]
federation = "certificate"
[domains."montague.lit".modules]
archive = true
invitations = true
[domains."montague.lit".modules.upload]
folder = "files"
size = "1 MiB"
day = "2 MiB"
[domains."montague.lit".modules.sm]
queue = 3
[domains."montague.lit".modules.privilege.entities."irc.montague.lit"]
roster = "get"
[domains."rooms.montague.lit"]
service = "muc"
federation = "certificate"
[domains."pubsub.montague.lit"]
service = "pubsub"
federation = "certificate"
[domains."pubsub.montague.lit".modules.pubsub]
payload = "2 KiB"
[domains."capulet.lit"]
federation = "either"
[domains."capulet.lit".modules.registration]
open = true
[[domains."capulet.lit".modules.registration.questions]]
ask = "What is the name of the rose?"
answers = ["any other name"]
[tls]
certificates = "certs"
[federation]
authorities = ["certs/ca.crt"]
connect_timeout = "3 s"
queue_age = "8 s"
[federation.hosts]
"evil.example" = "127.0.0.1:{evil}"
"verona.lit" = "127.0.0.1:1"
"mantua.lit" = "127.0.0.1:{s2s}"
[storage]
url = "sqlite:jabberd.db"
[control]
socket = "jabberd.sock"
[manhole]
authorized_keys = "operators"
host_key = "own/manhole"
port = 0
[limits]
stanza = "10000 B"
negotiation_timeout = "6 s"
connection_attempts = "100000 per s"
address_failures = "1000 per s"
unread = "128 KiB"
resources = 3
presence = "5 per min"
directed_presence = 5
subscriptions = "5 per h"
registrations = "20 per h"
[log]
file = "events.log"
[log.levels]
"jabberd.admin" = "warn"
"""
#: Lines that tell of logins, of servers that proved themselves, of components that come and go, and how often
#: a place was tried in vain.
LET_IN: Final = re.compile(
    r" is bound$| writes to .*, proved by \w+$|: up, by \w+$|: '.*' is (connected$|gone \()"
    r"|Connection was refused by other side"
)
VILLAINS: Final = 400
#: What is counted before and after each abuse; not the caches, which are bounded each by its own number.
TRACKED: Final = ("streams", "sessions", "stanzas")


def prepare(folder: Path, evil: int) -> Path:
    """The configuration of a server with accounts, in that folder.

    :param evil: the port where evil.example listens.
    """
    certs, ca = folder / "certs", make_ca()
    ca.write(certs, "ca")
    below = (f"{each}.montague.lit" for each in ("proxy", "sms", "rooms", "pubsub"))
    for domain in ("montague.lit", "capulet.lit", *below):
        issue(ca, domain).write(certs, domain)
    issue(ca, "evil.example").write(folder / "evil", "evil.example")
    issue(ca, "sms.montague.lit").write(folder / "evil", "sms.montague.lit")
    issue(None, "evil.example").write(folder / "evil", "selfmade")
    issue(ca, "evil.example", expired=True).write(folder / "evil", "expired")
    issue(ca, "tybalt.example").write(folder / "evil", "another")
    issue(ca, "evil.example", dns=False, srv=False).write(folder / "evil", "unnamed")
    issue(ca, "evil.example", "e*il.example").write(folder / "evil", "odd")
    (folder / "operators").write_text("")
    config = folder / "jabberd.toml"
    [s2s] = free_ports(1)
    config.write_text(CONFIG.format(evil=evil, s2s=s2s, secret=COMPONENT_SECRET))
    storage = open_storage(f"sqlite:///{folder / 'jabberd.db'}", None)
    records = storage.keyed(ACCOUNTS, AccountRecord)
    keys = tuple(derive(PASSWORD, name, b"salt of the test", MINIMUM_ITERATIONS) for name in HASHES)
    for name in ("benvolio", "mercutio", *(f"tybalt{number}" for number in range(VILLAINS))):
        records.put(f"{name}@montague.lit", "", AccountRecord(keys, datetime.now(UTC)))
    storage.close()
    return config


class Scene:
    """A running server with Benvolio and Mercutio.

    :ivar evil: where evil.example listens.
    :ivar lines: how many the abuse of now is to leave in the log, logins that succeed apart.
    """

    def __init__(self, server: Running, folder: Path, evil: socket.socket) -> None:
        self.folder = folder
        self.evil = evil
        self._server = server
        self._log = folder / "events.log"
        self._numbers = count()
        self._villain = -1
        self._wires: list[Wire] = []
        self.benvolio = self.bound("benvolio", "street")
        self.mercutio = self.bound("mercutio", "street")
        for each in (self.benvolio, self.mercutio):
            each.ask("<presence/>")
        self._wires.clear()

    # -- one abuse ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Look at everything before an abuse, which is by somebody new."""
        self._villain += 1
        self.lines = 1
        self._seen = len(self._log.read_text())
        assert self.talk()
        self._comes_to(lambda: self.operate("queues"), [])
        self._before = self.tracked()

    @property
    def villain(self) -> str:
        """The localpart of who does it."""
        return f"tybalt{self._villain}"

    def end(self) -> None:
        """See that it left nothing: others talk, everything tracked is as it was, the log is calm."""
        assert self.talk()  # by then what was written to the villain has left
        self.drop()
        assert self.talk()
        self._comes_to(self.tracked, self._before)
        self._comes_to(lambda: self.operate("queues"), [])
        said = self.log()
        assert "Traceback" not in said
        assert not re.search(r"#(error|critical)\]", said), said
        for secret in (PASSWORD, b64encode(PASSWORD.encode()).decode()[:-4], "trust me", "any other name"):
            assert secret not in said
        left = [line for line in said.splitlines() if not LET_IN.search(line)]
        assert len(left) == self.lines, said

    def drop(self) -> None:
        """Hang up all connections of the abuse."""
        for each in self._wires:
            each.drop()
        self._wires.clear()

    def _comes_to(self, ask: Callable[[], object], wanted: object) -> None:
        """Ask the server until that is so."""
        end = time.monotonic() + PATIENCE
        while (now := ask()) != wanted:
            assert time.monotonic() < end, f"{now} is not {wanted}"

    def log(self) -> str:
        """What was logged since the abuse began."""
        return self._log.read_text()[self._seen :]

    def whole_log(self) -> str:
        """What was logged since the start."""
        return self._log.read_text()

    def talk(self) -> bool:
        """Whether the two hear each other, and nothing that neither of them said."""
        one, other = ("benvolio", self.benvolio), ("mercutio", self.mercutio)
        return self._says(*one, other[1]) and self._says(*other, one[1])

    def _says(self, name: str, one: Wire, other: Wire) -> bool:
        to = "mercutio" if name == "benvolio" else "benvolio"
        body = f"what news? {next(self._numbers)}"
        one.say(f"<message to='{to}@montague.lit/street' type='chat'><body>{body}</body></message>")
        heard = other.next()
        sender = f"{name}@montague.lit/street"
        return (heard.get("from"), heard.findtext("{jabber:client}body")) == (sender, body)

    # -- the server -----------------------------------------------------------------------------------

    def tracked(self) -> dict[str, tuple[int, int]]:
        """What the server holds: how many, and how many bytes."""
        return {
            row["what"]: (row["count"], row["bytes"])
            for row in self.operate("memory")
            if row["what"].startswith(TRACKED)
        }

    def operate(self, *words: str) -> Any:
        """What a verb answers."""
        return self.typed(*words)["done"]

    def typed(self, *words: str) -> dict[str, Any]:
        """The same, or why it is refused, as it is told."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE)
            control.connect(str(self.folder / "jabberd.sock"))
            control.sendall(json.dumps({"words": words}).encode() + b"\n")
            said = b"".join(iter(lambda: control.recv(65536), b""))
        answer: dict[str, Any] = json.loads(said)
        return answer

    # -- clients --------------------------------------------------------------------------------------

    def connected(self, kind: str = "c2s") -> Wire:
        """A connection on which nothing was said."""
        return self._with(socket.create_connection(("127.0.0.1", self._server.port(kind)), PATIENCE))

    def _with(self, sock: socket.socket) -> Wire:
        self._wires.append(Wire(sock))
        return self._wires[-1]

    def visitor(self) -> socket.socket:
        """A connection to the server's pages, under TLS."""
        sock = socket.create_connection(("127.0.0.1", self._server.port("web-direct")), PATIENCE)
        return presented().wrap_socket(sock, server_hostname="montague.lit")

    def encrypted(self, domain: str = "montague.lit") -> Wire:
        """A client's stream under TLS, before the login."""
        wire, to = self.connected(), f"to='{domain}' version='1.0'"
        wire.open(to)
        wire.encrypt()
        wire.open(to)
        return wire

    def authenticated(self, name: str = "") -> Wire:
        """The same after the login."""
        wire = self.encrypted()
        assert wire.ask(plain(name or self.villain)).tag.endswith("}success")
        wire.open()
        return wire

    def bound(self, name: str = "", resource: str = "alley") -> Wire:
        """The same with a resource."""
        wire = self.authenticated(name)
        assert wire.ask(BIND.format(f"<resource>{resource}</resource>")).get("type") == "result"
        return wire

    # -- components -----------------------------------------------------------------------------------

    def greeted(self, domain: str) -> Wire:
        """A component's stream, on which nobody has shown a secret."""
        wire = self.connected("component")
        wire.greet(f"to='{domain}'", COMPONENT_HEAD)
        return wire

    def component(self, domain: str = "sms.montague.lit") -> Wire:
        """A component that is let in."""
        wire = self.greeted(domain)
        assert wire.ask(handshake(wire.header["id"])).tag.endswith("}handshake")
        return wire

    # -- servers --------------------------------------------------------------------------------------

    def peer(
        self, certificate: str = "evil.example", *, to: str = "montague.lit", sender: str = "evil.example"
    ) -> Wire:
        """A server's stream under TLS, which shows that certificate and has proved nothing."""
        wire = self.connected("s2s")
        wire.open(f"from='{sender}' to='{to}' version='1.0'", SERVER_HEAD)
        wire.encrypt(presented(self.folder / "evil", certificate))
        wire.open(f"from='{sender}' to='{to}' version='1.0'", SERVER_HEAD)
        return wire

    def proved(self, to: str = "montague.lit") -> Wire:
        """A stream of evil.example, which has proved that it is."""
        wire = self.peer(to=to)
        assert wire.ask(auth("EXTERNAL", "")).tag.endswith("}success")
        wire.open(f"from='evil.example' to='{to}' version='1.0'", SERVER_HEAD)
        return wire

    def accepted(self) -> Wire:
        """The connection of the server to evil.example, on which nothing was said yet."""
        return self._with(self.evil.accept()[0])

    def called(self) -> Wire:
        """The same, when it has come as far as TLS."""
        wire = self.accepted()
        wire.welcome_tls(shown(self.folder / "evil", "evil.example"))
        return wire

    def visited(self) -> Wire:
        """The same, when the server has proved itself."""
        wire = self.called()
        wire.welcome(f"<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>")
        assert wire.next().tag == f"{{{SASL}}}auth"
        wire.say(f"<success xmlns='{SASL}'/>")
        wire.welcome()
        return wire

    def nobody_called(self) -> bool:
        """Whether the server has connected to nobody."""
        self.evil.setblocking(False)
        try:
            self.evil.accept()
        except BlockingIOError:
            return True
        finally:
            self.evil.settimeout(PATIENCE)
        return False
