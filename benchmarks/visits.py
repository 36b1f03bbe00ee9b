"""Clients that log in, resume and leave in memory: no sockets, and of TLS only what is known when it is on.

They are those of `load`, whose words go straight into a stream, and back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import load
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from jabberd import settings
from jabberd.interfaces import Security
from jabberd.jsm.limits import Limits
from jabberd.rates import Rate
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.testing import Network

__all__ = ["KINDS", "visits"]

KINDS: Final = ("login", "fast", "resumption")
_USERS: Final = 20
_SECURITY: Final = Security(
    version="TLSv1.3",
    cipher="TLS_AES_256_GCM_SHA384",
    bindings={"tls-exporter": bytes(32), "tls-server-end-point": bytes(32)},
)


class _Line:
    """Both ends of a connection: the client's socket and the stream's transport."""

    def __init__(self, door: Any) -> None:
        self._heard = b""
        self._stream = door.buildProtocol(IPv4Address("TCP", "127.0.0.1", 49152))
        self._stream.makeConnection(self)

    def sendall(self, data: bytes) -> None:
        """What the client says."""
        self._stream.dataReceived(data)

    def recv(self, _size: int) -> bytes:
        """What it has heard since it asked last."""
        heard, self._heard = self._heard, b""
        return heard

    def write(self, data: bytes) -> None:
        """What the server says."""
        self._heard += data

    def close(self) -> None:
        """The connection is gone."""
        self._stream.connectionLost(Failure(ConnectionDone()))

    def secure(self) -> None:
        """TLS is on."""
        self._stream.handshakeCompleted()

    def nothing(self, *_: object) -> None:
        """Of a transport's timers, buffers and producers nothing is counted."""

    setTcpNoDelay = startTLS = loseConnection = abortConnection = nothing
    registerProducer = unregisterProducer = pauseProducing = resumeProducing = nothing


class _NoTLS:
    """Stands for a client's TLS context."""

    def wrap_socket(self, line: _Line, *, server_hostname: str) -> _Line:  # noqa: ARG002  # the name in `ssl`
        line.secure()
        return line


def visits(network: Network, modules: dict[str, Any], kind: str) -> Callable[[int], None]:
    """Give what does one operation, the how manieth it is told; all is prepared.

    :param kind: one of `KINDS`, as `workloads` has them.
    """
    often = Rate(1_000_000, 1.0)
    server = network.serve(
        load.DOMAIN,
        tls=True,
        modules=modules,
        door=settings.Limits(connection_attempts=often),
        limits=Limits(presence=often),
    )
    server.door.security = lambda _: _SECURITY  # type: ignore[method-assign]  # a line has none
    for number in range(_USERS):
        server.create(JID.parse(f"user{number}@{load.DOMAIN}"), load.PASSWORD)
    tls: Any = _NoTLS()
    load.encrypted = lambda _, domain=load.DOMAIN, tls=tls: load.secured(
        load.Connection("", _Line(server.door), domain), tls
    )
    return {"login": _logins, "fast": _fast, "resumption": _resumptions}[kind](tls)


def _logins(tls: Any) -> Callable[[int], None]:
    def once(number: int) -> None:
        _leave(load.login(0, f"user{number % _USERS}", tls, scram=True))

    return once


def _fast(tls: Any) -> Callable[[int], None]:
    tokens = [load.token(0, f"user{number}", tls) for number in range(_USERS)]

    def once(number: int) -> None:
        at = number % _USERS
        _leave(load.fast(0, f"user{at}", tls, tokens[at]))

    return once


def _resumptions(tls: Any) -> Callable[[int], None]:
    clients = [load.login(0, f"user{number}", tls, scram=True, sm=True) for number in range(_USERS)]

    def once(number: int) -> None:
        at = number % _USERS
        clients[at].sock.close()
        clients[at] = load.resumed(0, clients[at], tls)

    return once


def _leave(client: load.Connection) -> None:
    with client:
        client.say("</stream:stream>")
        client.read_until(b"</stream:stream>")
