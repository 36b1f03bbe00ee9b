"""A small load generator: blocking logins, some at a time, then one non-blocking loop over all connections.

It measures nothing but counts; what the server spent is read by `servers`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import selectors
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DOMAIN = "montague.lit"
PASSWORD = "secret"  # of the accounts that `servers` makes
BODY = "Art thou not Romeo, and a Montague? Neither, fair maid, if either thee dislike."
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
SM = "urn:xmpp:sm:3"
CSI = "urn:xmpp:csi:0"
FAST = "urn:xmpp:fast:0"
HT = "HT-SHA-256-NONE"
PATIENCE = 20.0  # seconds that an answer may take
AT_ONCE = 16  # so many log in together: each waits for ten answers
_STANZA = re.compile(rb"<(?:message|presence|iq)[ >/]")
_ASKED = re.compile(rb"<r[ /][^>]*>")


def context() -> ssl.SSLContext:
    """TLS 1.3, and no look at the certificate: it is the server's work that is measured."""
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    return made


@dataclass
class Connection:
    """One client; ``tail`` keeps what may be the beginning of an end tag."""

    user: str
    sock: Any
    domain: str = DOMAIN
    tail: bytes = b""
    message: bytes = field(default=b"", repr=False)
    handled: int = 0  # stanzas, where XEP-0198 counts them
    counting: bool = False
    token: str = ""  # to resume with
    features: bytes = field(default=b"", repr=False)  # that were offered after the login

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def say(self, xml: str) -> None:
        self.sock.sendall(xml.encode())

    def read_until(self, *marks: bytes) -> bytes:
        """Read until all of these have come."""
        data = b""
        while not all(mark in data for mark in marks):
            got = self.sock.recv(65536)
            if not got:
                raise ConnectionError(f"{self.user}: closed while waiting for {marks!r}: {data!r}")
            data += got
            if b"<failure" in data or b"<stream:error" in data:
                raise ConnectionError(f"{self.user}: refused: {data!r}")
        return data

    def ask(self, xml: str, mark: bytes) -> bytes:
        """Say something, and read until that has come; what else comes is read, too."""
        self.say(xml)
        data = self.read_until(mark)
        if b"type='error'" in data or b'type="error"' in data:
            raise ConnectionError(f"{self.user}: refused {xml!r}: {data!r}")
        return data

    def received(self) -> bytes:
        """What has come, without waiting, after what may have been the beginning of an end tag."""
        parts = [self.tail]
        while True:
            try:
                got = self.sock.recv(65536)
            except (ssl.SSLWantReadError, BlockingIOError):
                break
            if not got:
                raise ConnectionError(f"{self.user}: closed by the server: {b''.join(parts)[-300:]!r}")
            parts.append(got)
        data = b"".join(parts)
        cut = data.rfind(b"<")
        keep = len(data) if cut < 0 or b">" in data[cut:] else cut
        self.tail = data[keep:]
        return self._acknowledged(data[:keep])

    def _acknowledged(self, data: bytes) -> bytes:
        """Answer what asks for the count of stanzas (XEP-0198 §4)."""
        if self.counting:
            self.handled += len(_STANZA.findall(data))
            if _ASKED.search(data):
                self.sock.sendall(f"<a xmlns='{SM}' h='{self.handled}'/>".encode())
        return data


def encrypted(port: int, domain: str = DOMAIN, tls: ssl.SSLContext | None = None) -> Connection:
    """Connect up to the features of the encrypted stream."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return secured(Connection("", sock, domain), tls or context())


def secured(made: Connection, tls: Any) -> Connection:
    """Open a stream, and encrypt it up to its features."""
    head = _head(made.domain)
    made.say(head)
    made.read_until(b"</stream:features>")
    made.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    made.read_until(b"<proceed")
    made.sock = tls.wrap_socket(made.sock, server_hostname=made.domain)
    made.say(head)
    made.read_until(b"</stream:features>")
    return made


def login(
    port: int,
    user: str,
    tls: ssl.SSLContext,
    *,
    domain: str = DOMAIN,
    scram: bool = False,
    sm: bool = False,
    carbons: bool = False,
    csi: bool = False,
    presence: bool = True,
) -> Connection:
    """TLS, SASL, a resource, the roster, and presence: the session is available afterwards.

    :param scram: with SCRAM-SHA-256, not PLAIN.
    :param sm: with stream management (XEP-0198), able to resume.
    :param carbons: with carbons (XEP-0280).
    :param csi: with client state indication (XEP-0352), and active, as a client that somebody looks at.
    :param presence: whether it sends its presence.
    """
    made = authenticated(port, user, tls, domain=domain, scram=scram)
    made.ask(
        "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        "<resource>bench</resource></bind></iq>",
        b"</iq>",
    )
    if sm:
        enabled = made.ask(f"<enable xmlns='{SM}' resume='true'/>", b"<enabled").decode()
        found = re.search(r"""\bid=["']([^"']*)""", enabled)
        made.token = found[1] if found else ""
    if carbons:
        made.ask("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>", b"type")
    if csi:
        if CSI.encode() not in made.features:
            raise ConnectionError(f"{user}: no client state indication is offered: {made.features!r}")
        made.say(f"<active xmlns='{CSI}'/>")
    answered = _enter(made, presence=presence)
    made.handled = (2 if carbons else 1) + len(_STANZA.findall(answered))
    made.counting = sm
    if sm:  # it has been asked meanwhile, and a server asks once at a time
        made.say(f"<a xmlns='{SM}' h='{made.handled}'/>")
    return made


def logins(
    port: int,
    users: Iterable[str],
    tls: ssl.SSLContext,
    told: Callable[[int], object] | None = None,
    **how: Any,
) -> list[Connection]:
    """Log in all of them, `AT_ONCE` at a time; the connections stand in the order of the users.

    :param told: is called with how many are there, now and then and at the end.
    :param how: see `login`.
    :raises OSError: one was refused; nobody else tries then.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        entering = [pool.submit(login, port, user, tls, **how) for user in users]
        try:
            for count, each in enumerate(as_completed(entering), 1):
                each.result()
                if told and (count % 50 == 0 or count == len(entering)):
                    told(count)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [each.result() for each in entering]


def _enter(made: Connection, *, presence: bool = True) -> bytes:
    """Ask for the roster, and become available; returns what came behind the roster."""
    made.ask("<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>", b"jabber:iq:roster")
    said = f"{'<presence/>' if presence else ''}{ping(made.domain, 'available')}"
    return made.ask(said, b"available")  # not all reflect presence


def token(port: int, user: str, tls: ssl.SSLContext) -> str:
    """A token to log in with instead of the password (XEP-0484)."""
    plain = base64.b64encode(f"\0{user}\0{PASSWORD}".encode()).decode()
    with encrypted(port, DOMAIN, tls) as connection:
        wanted = f"<request-token xmlns='{FAST}' mechanism='{HT}'/>"
        answer = connection.ask(_authenticate("PLAIN", plain, wanted), b"</success>").decode()
    found = re.search(r"""<token [^>]*token=["']([^"']*)""", answer)
    assert found is not None, answer
    return found[1]


def fast(port: int, user: str, tls: ssl.SSLContext, token: str) -> Connection:
    """Log in with a token, and bind a resource, all in one round trip; then as `login`."""
    made = encrypted(port, DOMAIN, tls)
    made.user = user
    proof = hmac.digest(token.encode(), b"Initiator", "sha256")
    response = base64.b64encode(user.encode() + b"\0" + proof).decode()
    bind = "<bind xmlns='urn:xmpp:bind:0'><tag>bench</tag></bind>"
    made.ask(_authenticate(HT, response, f"<fast xmlns='{FAST}'/>{bind}"), b"</success>")
    _enter(made)
    return made


def _authenticate(mechanism: str, response: str, inside: str) -> str:
    """XEP-0388 §2.4."""
    return (
        f"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'>"
        f"<initial-response>{response}</initial-response>"
        f"<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>{inside}</authenticate>"
    )


def ping(domain: str, name: str) -> str:
    """What is answered after all that was said before (RFC 6120 §10.1), with that name as its id."""
    return f"<iq type='get' id='{name}' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"


def resumed(port: int, lost: Connection, tls: ssl.SSLContext) -> Connection:
    """A new connection that goes on with a session whose connection was lost."""
    made = authenticated(port, lost.user, tls, domain=lost.domain, scram=True)
    made.ask(f"<resume xmlns='{SM}' previd='{lost.token}' h='{lost.handled}'/>", b"<resumed")
    made.token, made.handled = lost.token, lost.handled
    return made


def authenticated(port: int, user: str, tls: ssl.SSLContext, *, domain: str, scram: bool) -> Connection:
    """Connect, log in, and read the features that come then."""
    made = encrypted(port, domain, tls)
    made.user = user
    if scram:
        _scram(made)
    else:
        plain = base64.b64encode(f"\0{user}\0{PASSWORD}".encode()).decode()
        made.ask(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{plain}</auth>", b"<success")
    made.say(_head(domain))
    made.features = made.read_until(b"</stream:features>")
    return made


def _head(domain: str) -> str:
    return (
        f"<stream:stream to='{domain}' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
    )


def _scram(connection: Connection) -> None:
    """SCRAM-SHA-256 (RFC 5802, RFC 7677)."""
    bare = f"n={connection.user},r={os.urandom(12).hex()}"
    first = base64.b64encode(f"n,,{bare}".encode()).decode()
    answer = connection.ask(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{first}</auth>", b"</challenge>")
    challenge = base64.b64decode(answer.partition(b">")[2].partition(b"<")[0]).decode()
    said = dict(part.split("=", 1) for part in challenge.split(","))
    key = _client_key(base64.b64decode(said["s"]), int(said["i"]))
    final = f"c=biws,r={said['r']}"
    signed = f"{bare},{challenge},{final}".encode()
    signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    response = base64.b64encode(f"{final},p={proof}".encode()).decode()
    connection.ask(f"<response xmlns='{SASL}'>{response}</response>", b"<success")


@lru_cache(maxsize=10_000)
def _client_key(salt: bytes, iterations: int) -> bytes:
    return hmac.digest(
        hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, iterations), b"Client Key", "sha256"
    )


def chat(connections: list[Connection], window: int, seconds: float, size: int = 0) -> tuple[int, float]:
    """Let pairs chat: each keeps ``window`` messages in flight, each that arrives is answered by one.

    Returns how many were delivered, and in how many seconds.

    :param size: of the body, in bytes; that of `BODY` if not given.
    """
    body = (BODY * (size // len(BODY) + 1))[: size or len(BODY)]
    selector = waiting(connections)
    for one, other in zip(connections[::2], connections[1::2], strict=True):
        for sender, receiver in ((one, other), (other, one)):
            asks = f"<r xmlns='{SM}'/>" if sender.counting else ""
            sender.message = (
                f"<message to='{receiver.user}@{receiver.domain}/bench' type='chat' id='7d2ac3f0'>"
                f"<body>{body}</body><active xmlns='http://jabber.org/protocol/chatstates'/>"
                f"<request xmlns='urn:xmpp:receipts'/></message>{asks}"
            ).encode()
        one.sock.sendall(one.message * window)
    delivered, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        for key, _ in selector.select(1.0):
            count = key.data.received().count(b"</message>")
            delivered += count
            if count:
                key.data.sock.sendall(key.data.message * count)
    took = time.monotonic() - started
    drain(selector)
    return delivered, took


def waiting(connections: Iterable[Connection]) -> selectors.BaseSelector:
    """What tells which of them have something to read; they do not block any more."""
    selector = selectors.DefaultSelector()
    for connection in connections:
        connection.sock.setblocking(False)
        selector.register(connection.sock, selectors.EVENT_READ, connection)
    return selector


def until(selector: selectors.BaseSelector, mark: bytes, count: int) -> None:
    """Read what comes until there were so many of these, all connections together."""
    seen, end = 0, time.monotonic() + PATIENCE
    while seen < count:
        if time.monotonic() > end:
            raise TimeoutError(f"{seen} of {count} {mark!r} came in {PATIENCE} s")
        for key, _ in selector.select(1.0):
            seen += key.data.received().count(mark)


def drain(selector: selectors.BaseSelector) -> None:
    """Let what is in flight arrive, so that the next measurement starts empty."""
    while selector.select(0.3):
        for key, _ in selector.select(0):
            key.data.received()
    selector.close()


def close(connections: list[Connection]) -> None:
    """Drop all of them."""
    for connection in connections:
        connection.sock.close()
