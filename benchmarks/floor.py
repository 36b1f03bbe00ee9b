"""A server that does nothing: what sockets, TLS and the reactor cost at least, for the clients of `load`.

    python benchmarks/floor.py PORT CERTIFICATES DOMAIN S2S [OTHER PORT]

It passes on what it reads, and else has one canned answer for each thing that makes those clients go on: no
parser, no rules, no storage.  Of the server it has the sockets and TLS, and nothing else.

``S2S`` is the port for the other one of two, ``OTHER`` the domain of that and ``PORT`` where it listens.
"""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path
from typing import Any, Final

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from jabberd.streams.certfiles import CertificateFolder
from jabberd.streams.sockets import tcp
from jabberd.streams.tls import Contexts

_HEADER: Final = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' from='montague.lit' id='0123456789abcdef' "
    b"xmlns:stream='http://etherx.jabber.org/streams' version='1.0' xml:lang='en'>"
)
#: As long as what is offered before TLS, before the login, and after it.
_FEATURES: Final = tuple(
    _HEADER + b"<stream:features><csi xmlns='urn:xmpp:csi:0'/><x>" + b"y" * size + b"</x></stream:features>"
    for size in (50, 1200, 400)
)
_SALT: Final = base64.b64encode(bytes(16))
_CHALLENGE: Final = base64.b64encode(b"r=0123456789abcdef0123456789abcdef,s=" + _SALT + b",i=4096")
_SUCCESS: Final = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + b"d" * 64 + b"</success>"
_NONZAS: Final = (
    (b"<auth ", b"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + _CHALLENGE + b"</challenge>"),
    (b"<response", _SUCCESS),
    (b"<resume ", b"<resumed xmlns='urn:xmpp:sm:3' previd='0123456789abcdef' h='3'/>"),
    (b"<enable ", b"<enabled xmlns='urn:xmpp:sm:3' id='0123456789abcdef' resume='true' max='600'/>"),
    (
        b"<authenticate ",
        b"<success xmlns='urn:xmpp:sasl:2'>"
        b"<token xmlns='urn:xmpp:fast:0' token='0123456789abcdef'/></success>"
        + _FEATURES[2].removeprefix(_HEADER),
    ),
)
_SAID: Final = re.compile(
    rb"(?:mechanism='PLAIN'|<initial-response)>([^<]+)|mechanism='SCRAM-SHA-256'>([^<]+)"
)
_TO: Final = re.compile(rb" to='(user\d+)@([^/']*)")
_IQ: Final = re.compile(rb"<iq type='(\w+)' id='(\w+)'.*?</iq>", re.DOTALL)
_ITEM: Final = re.compile(rb"<item.*</item>", re.DOTALL)

_people: dict[bytes, _Client] = {}
_waiting: dict[bytes, list[bytes]] = {}  #: for those who are not there


class _Client(Protocol):
    """A connection of one of the clients."""

    transport: Any
    tls: Any = None
    user = b""
    to = b"", b""  # whom it has written to last: the end of what is long comes without an address
    headers = 0

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.left = b""
        self.items: list[bytes] = []
        self.contacts: list[bytes] = []

    def connectionLost(self, _reason: object = None) -> None:
        if _people.get(self.user) is self:
            del _people[self.user]

    def dataReceived(self, data: bytes) -> None:
        found = _TO.search(data)
        if found:
            self.to = found[1], found[2]
        if data.startswith(b"<message") or not data.startswith(b"<"):
            self._message(data)
        elif found:
            self._subscription(data)
        elif data.startswith(b"<presence><show>"):
            head, tail = b"<presence from='%s@montague.lit/bench' to='" % self.user, data[len(b"<presence") :]
            for contact in self.contacts:
                _people[contact].transport.write(head + contact + b"@montague.lit'" + tail)
        else:
            self._negotiation(data)

    def _message(self, data: bytes) -> None:
        asked = data.rfind(b"<iq ")
        pass_on(*self.to, data if asked < 0 else data[:asked])
        if asked >= 0 or self.left:
            self._questions(data[max(0, asked) :])

    def _subscription(self, data: bytes) -> None:
        if b"'subscribed'" in data:
            self.contacts.append(self.to[0])
        pass_on(*self.to, data.replace(b" to=", b" from='%s@montague.lit/bench' to=" % self.user, 1))

    def _negotiation(self, data: bytes) -> None:
        if data.startswith(b"<stream:stream"):
            self.headers += 1
            self.transport.write(_FEATURES[self.headers - 1])
        elif data.startswith(b"<starttls"):
            self.transport.write(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            self.transport.startTLS(self.tls)
        elif data.startswith(b"</stream:stream"):
            self.transport.write(b"</stream:stream>")
            self.transport.loseConnection()
        elif data.startswith((b"<iq", b"<presence")):
            self._questions(data)
        else:
            self._nonza(data)

    def _nonza(self, data: bytes) -> None:
        said = _SAID.search(data)
        if said:
            text = base64.b64decode(said[1] or said[2])
            if said[2]:
                self.user = text.partition(b"n=")[2].partition(b",")[0]
            else:  # with PLAIN behind an empty name, with a token first
                self.user = next(filter(None, text.split(b"\0")))
            _people[self.user] = self
        if data.startswith(b"<auth ") and b"'PLAIN'" in data:
            self.transport.write(_SUCCESS)
            return
        for mark, answer in _NONZAS:
            if data.startswith(mark):
                self.transport.write(answer)

    def _questions(self, data: bytes) -> None:
        """Presence, which asks for what waits, and iqs; what is not whole waits for its end."""
        if data.startswith(b"<presence"):
            self.transport.write(b"".join(_waiting.pop(self.user, ())))
        self.left = whole = self.left + data
        for question in _IQ.finditer(whole):
            self.left = whole[question.end() :]
            self.items += _ITEM.findall(question[0]) if question[1] == b"set" else ()
            held = b"".join(self.items) if question[1] == b"get" else b""
            held = b"<query xmlns='jabber:iq:roster'>%s</query>" % held if b":roster'" in question[0] else b""
            self.transport.write(b"<iq type='result' id='%s'>%s</iq>" % (question[2], held))
        if b"<iq" not in self.left:
            self.left = b""


class _Link(Protocol):
    """The connection on which what is for the other domain goes, or comes: pieces with their lengths."""

    transport: Any
    tls: Any = None
    link: _Link | None = None  #: that on which it goes ...
    there = b""  #: ... and the domain at its end

    def connectionMade(self) -> None:
        self.left = b""
        self.transport.setTcpNoDelay(True)
        self.transport.startTLS(self.tls)

    def dataReceived(self, data: bytes) -> None:
        left = self.left + data
        while len(left) >= (end := 4 + int.from_bytes(left[:4])) > 4:
            user, _, said = left[4:end].partition(b" ")
            pass_on(user, b"", said)
            left = left[end:]
        self.left = left


def pass_on(user: bytes, domain: bytes, data: bytes) -> None:
    """Give it to somebody, or keep it until they come."""
    if domain and domain == _Link.there:
        assert _Link.link is not None
        _Link.link.transport.write((len(user) + 1 + len(data)).to_bytes(4) + user + b" " + data)
    elif user in _people:
        _people[user].transport.write(data)
    else:
        _waiting.setdefault(user, []).append(data)


class _Opening(_Link):
    def connectionMade(self) -> None:
        super().connectionMade()
        _Link.link = self


def _factory(protocol: type[Protocol], creator: Any) -> Any:
    made: Any = Factory.forProtocol(type(protocol.__name__, (protocol,), {"tls": creator}))
    made.noisy = False
    made.clientConnectionFailed = lambda connector, _: reactor.callLater(0.1, connector.connect)
    made.startedConnecting = made.clientConnectionLost = lambda *_: None
    return made


def main(port: int, folder: Path, domain: str, s2s: int, there: str = "", other: str = "") -> None:
    """Serve until it is ended; see above."""
    shown = {domain: CertificateFolder(folder).choose(domain)}
    clients, peers = Contexts("xmpp-client", shown), Contexts("xmpp-server", shown)
    sockets = tcp(reactor)
    sockets.listenTCP(port, _factory(_Client, clients.acceptor(domain)), 1024, "127.0.0.1")
    sockets.listenTCP(s2s, _factory(_Link, peers.acceptor(domain)), 5, "127.0.0.1")
    if other:
        _Link.there = there.encode()
        opening = peers.initiator(domain, there, direct=False)
        sockets.connectTCP("127.0.0.1", int(other), _factory(_Opening, opening))
    reactor.run()  # type: ignore[attr-defined]  # Twisted puts a module where the reactor will be


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
