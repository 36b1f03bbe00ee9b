"""A small load generator: blocking logins, then one non-blocking loop over all connections.

It measures nothing but counts; what the server spent is read from /proc by `servers`.
"""

from __future__ import annotations

import base64
import selectors
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

DOMAIN = "montague.lit"
PASSWORD = "secret"  # of the accounts that `servers` makes
BODY = "Art thou not Romeo, and a Montague? Neither, fair maid, if either thee dislike."


def context() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    return made


@dataclass
class Connection:
    """One logged-in client; ``tail`` keeps what may be the beginning of an end tag."""

    user: str
    sock: Any
    partner: str = ""
    tail: bytes = b""
    pending: bytes = b""
    message: bytes = field(default=b"", repr=False)

    def read_until(self, mark: bytes) -> bytes:
        data = b""
        while mark not in data:
            got = self.sock.recv(65536)
            if not got:
                raise ConnectionError(f"{self.user}: closed while waiting for {mark!r}: {data!r}")
            data += got
        return data


def login(port: int, user: str, tls: ssl.SSLContext) -> Connection:
    """TLS, PLAIN, a resource, and presence: the session is available afterwards."""
    head = (
        f"<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
    ).encode()
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made = Connection(user, sock)
    sock.sendall(head)
    made.read_until(b"</stream:features>")
    sock.sendall(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    made.read_until(b"<proceed")
    made.sock = tls.wrap_socket(sock, server_hostname=DOMAIN)
    made.sock.sendall(head)
    made.read_until(b"</stream:features>")
    plain = base64.b64encode(f"\0{user}\0{PASSWORD}".encode())
    made.sock.sendall(
        b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plain + b"</auth>"
    )
    made.read_until(b"<success")
    made.sock.sendall(head)
    made.read_until(b"</stream:features>")
    made.sock.sendall(
        b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        b"<resource>bench</resource></bind></iq>"
    )
    made.read_until(b"</iq>")
    made.sock.sendall(b"<presence/>")
    made.read_until(b"presence")
    return made


def chat(connections: list[Connection], window: int, seconds: float) -> tuple[int, float]:
    """Let pairs chat: each keeps ``window`` messages in flight, each that arrives is answered by one.

    Returns how many were delivered, and in how many seconds.
    """
    selector = selectors.DefaultSelector()
    for one, other in zip(connections[::2], connections[1::2], strict=True):
        for sender, receiver in ((one, other), (other, one)):
            sender.message = (
                f"<message to='{receiver.user}@{DOMAIN}/bench' type='chat' id='7d2ac3f0'><body>{BODY}</body>"
                "<active xmlns='http://jabber.org/protocol/chatstates'/>"
                "<request xmlns='urn:xmpp:receipts'/></message>"
            ).encode()
            sender.sock.setblocking(False)
            selector.register(sender.sock, selectors.EVENT_READ, sender)
        one.sock.sendall(one.message * window)
    delivered, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        for key, _ in selector.select(1.0):
            count = received(key.data)
            delivered += count
            if count:
                key.data.sock.sendall(key.data.message * count)
    took = time.monotonic() - started
    drain(selector)
    selector.close()
    return delivered, took


def received(connection: Connection) -> int:
    """How many messages arrived on that connection."""
    data = connection.tail
    while True:
        try:
            got = connection.sock.recv(65536)
        except (ssl.SSLWantReadError, BlockingIOError):
            break
        if not got:
            raise ConnectionError(f"{connection.user}: closed by the server")
        data += got
    connection.tail = data[-9:]
    return data.count(b"</message>")


def drain(selector: selectors.BaseSelector) -> None:
    """Let what is in flight arrive, so that the next measurement starts empty."""
    while selector.select(0.3):
        for key, _ in selector.select(0):
            received(key.data)


def close(connections: list[Connection]) -> None:
    for connection in connections:
        connection.sock.close()
