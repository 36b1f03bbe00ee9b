"""A socket to a server, and what a client or a server of no good intent says on it: bytes in, bytes out."""

from __future__ import annotations

import socket
import ssl
import time
from base64 import b64encode
from collections import deque
from contextlib import suppress
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import XMLPullParser

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

PASSWORD: Final = "prince of cats"
COMPONENT_SECRET: Final = "trust me, it is secret"
PATIENCE: Final = 20.0  # seconds for an answer
TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
STREAMS: Final = "http://etherx.jabber.org/streams"
STREAM_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
STARTTLS: Final = f"<starttls xmlns='{TLS}'/>"
HEAD: Final = f"<stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' "
SERVER_HEAD: Final = (
    f"<stream:stream xmlns='jabber:server' xmlns:stream='{STREAMS}' xmlns:db='jabber:server:dialback' "
)
COMPONENT_HEAD: Final = f"<stream:stream xmlns='jabber:component:accept' xmlns:stream='{STREAMS}' "
BIND: Final = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{}</bind></iq>"
PING: Final = "<iq type='get' id='sync'><ping xmlns='urn:xmpp:ping'/></iq>"


def base64(said: str | bytes) -> str:
    """As it stands in an element of SASL."""
    return b64encode(said.encode() if isinstance(said, str) else said).decode() or "="


def auth(mechanism: str, said: str) -> str:
    """The first message of a login."""
    return f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{base64(said)}</auth>"


def plain(name: str, password: str = PASSWORD) -> str:
    """A login with a password."""
    return auth("PLAIN", f"\0{name}\0{password}")


def handshake(stream_id: str, secret: str = COMPONENT_SECRET) -> str:
    """What a component shows that has the secret (XEP-0114 §3)."""
    proof = sha1(f"{stream_id}{secret}".encode(), usedforsecurity=False).hexdigest()
    return f"<handshake>{proof}</handshake>"


def shown(folder: Path, name: str) -> ssl.SSLContext:
    """A server's side of TLS, with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    return context


def presented(folder: Path | None = None, name: str = "") -> ssl.SSLContext:
    """A client's side of TLS, which trusts everybody and shows that certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if folder is not None:
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    return context


class Wire:
    """One connection, on which everything is said by hand, and heard as XML.

    :ivar header: the attributes of the last header that was heard.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.settimeout(PATIENCE)
        self._restart()

    def _restart(self) -> None:
        self._parser: Any = XMLPullParser(("start", "end"))  # typeshed's has no type for what it reads
        self._depth = 0
        self._elements: deque[Element] = deque()
        self.header: dict[str, str] = {}

    # -- saying ---------------------------------------------------------------------------------------

    def say(self, said: str | bytes) -> None:
        """Send it, or as much of it as the server takes before it hangs up."""
        with suppress(ConnectionError, ssl.SSLError):
            self._sock.sendall(said.encode() if isinstance(said, str) else said)

    def pour(self, said: bytes, seconds: float) -> int:
        """Send as much of it as the server takes in that time; how many bytes that were."""
        self._sock.settimeout(seconds)
        sent, end = 0, time.monotonic() + seconds
        with suppress(TimeoutError, ConnectionError):
            while sent < len(said) and time.monotonic() < end:
                sent += self._sock.send(said[sent : sent + 16384])
        self._sock.settimeout(PATIENCE)
        return sent

    def bit_by_bit(self, said: bytes) -> None:
        """Send each byte in a segment of its own."""
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in said:
            self.say(bytes([byte]))

    def greet(self, attributes: str, head: str) -> None:
        """Say a header, and hear one."""
        self._restart()
        self.say(f"{head}{attributes}>")
        while not self.header:
            assert self._read(), "the server hung up"

    def open(self, attributes: str = "to='montague.lit' version='1.0'", head: str = HEAD) -> Element:
        """Say a header, and hear the features."""
        self._restart()
        self.say(f"{head}{attributes}>")
        return self.next()

    def encrypt(self, context: ssl.SSLContext | None = None) -> None:
        """Ask for TLS, and begin it."""
        self.say(STARTTLS)
        assert self.next().tag == f"{{{TLS}}}proceed"
        self.shake_hands(context)

    def shake_hands(self, context: ssl.SSLContext | None = None) -> None:
        """Begin TLS without a word."""
        self._sock = (context or presented()).wrap_socket(self._sock, server_hostname="montague.lit")

    def welcome(self, *features: str, sender: str = "evil.example") -> None:
        """As the one who was connected to: hear a header, and answer with ours and these features."""
        self.hear_header()
        to = self.header["from"]
        self.say(f"{SERVER_HEAD}from='{sender}' to='{to}' id='s1' version='1.0'>")
        self.say(f"<stream:features>{''.join(features)}</stream:features>")

    def hear_header(self) -> None:
        """Hear a header, of a stream that begins."""
        self._restart()
        while not self.header:
            assert self._read(), "the server hung up"

    def welcome_tls(self, context: ssl.SSLContext) -> None:
        """The same, and then TLS."""
        self.welcome(STARTTLS)
        assert self.next().tag == f"{{{TLS}}}starttls"
        self.say(f"<proceed xmlns='{TLS}'/>")
        self._sock = context.wrap_socket(self._sock, server_side=True)

    def stop_listening(self) -> None:
        """Let the system keep little of what comes."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def drop(self) -> None:
        """Hang up."""
        self._sock.close()

    # -- hearing --------------------------------------------------------------------------------------

    def next(self) -> Element:
        """The next first-level element; fails if there is none."""
        while not self._elements:
            assert self._read(), "the server hung up"
        return self._elements.popleft()

    def _read(self) -> bool:
        """Hear more; false at the end."""
        try:
            data = self._sock.recv(65536)
        except (ConnectionError, ssl.SSLEOFError):
            return False
        self._parser.feed(data)
        for event, element in self._parser.read_events():
            self._depth += 1 if event == "start" else -1
            if event == "start" and self._depth == 1:
                self.header = dict(element.attrib)
            if event == "end" and self._depth == 1:
                self._elements.append(element)
        return bool(data)

    def rest(self) -> list[str]:
        """Hear all until the server hangs up, which says goodbye first: the names of the elements."""
        while self._read():
            pass
        assert self.header, "no header was heard"
        assert self._depth == 0, "the server did not close the stream"
        self.drop()
        return [each.tag for each in self._elements]

    def until_the_end(self) -> bytes:
        """Hear what is no XML, until the server hangs up."""
        heard = b""
        with suppress(ConnectionError):
            while more := self._sock.recv(4096):
                heard += more
        return heard

    def is_dismissed_with(self, condition: str) -> bool:
        """Hear that error of the stream, and nothing else, until the server hangs up."""
        tags = self.rest()
        assert tags == [f"{{{STREAMS}}}error"], tags
        return self._elements[-1][0].tag == f"{{{STREAM_ERRORS}}}{condition}"

    def ask(self, stanza: str) -> Element:
        """Say a stanza, and hear the answer, which is the next thing that is said."""
        self.say(stanza)
        return self.next()

    def hears_nothing(self) -> bool:
        """Whether the next thing heard is the answer to a question that is asked now."""
        answer = self.ask(PING)
        return (answer.get("id"), answer.get("type")) == ("sync", "result")


def condition(answer: Element) -> str:
    """That of an answer's error, of a stanza or of SASL or of stream management; empty if it is none."""
    error = next(
        (each for each in answer.iter() if each.tag.rpartition("}")[2] in ("error", "failure")), None
    )
    inside = [each for each in (error if error is not None else answer) if not each.tag.endswith("}text")]
    return inside[0].tag.rpartition("}")[2] if inside else ""
