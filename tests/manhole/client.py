"""An SSH client in memory, which also does what well-behaved ones do not."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from jabberd.manhole.audit import quiet
from jabberd.manhole.ssh import Doorway
from jabberd.testing import Pipe
from tests.manhole.seat import Alone, Treasury, verbs

if TYPE_CHECKING:
    from pathlib import Path


class Channel(SSHChannel):
    """A session channel.

    :ivar out, err: what came on either.
    :ivar status: the exit status, once there is one.
    :ivar granted: whether each request was.
    :ivar refused: whether it was not opened.
    :ivar over: whether both sides have closed it.
    """

    name = b"session"
    _log = quiet

    def __init__(self, **kwargs: Any) -> None:
        SSHChannel.__init__(self, **kwargs)
        self.out = b""
        self.err = b""
        self.status: int | None = None
        self.granted: list[bool] = []
        self.refused = False
        self.over = False

    def dataReceived(self, data: bytes) -> None:
        self.out += data

    def extReceived(self, _dataType: int, data: bytes) -> None:
        self.err += data

    def request_exit_status(self, data: bytes) -> None:
        [self.status] = struct.unpack(">L", data)

    def openFailed(self, _reason: object) -> None:
        self.refused = True

    def closed(self) -> None:
        self.over = True

    def type(self, data: bytes) -> None:
        SSHChannel.write(self, data)

    def ask(self, request: bytes, data: bytes = b"") -> None:
        """Send a request that wants an answer, which goes to `granted`."""
        conn: Any = self.conn
        asked = conn.sendRequest(self, request, data, wantReply=1)
        asked.addCallbacks(lambda _: self.granted.append(True), lambda _: self.granted.append(False))

    def pty(self, width: int, term: bytes = b"xterm") -> None:
        self.ask(b"pty-req", NS(term) + struct.pack(">4L", width, 24, 0, 0) + NS(b""))


class Login(SSHUserAuthClient):
    _log = quiet

    def __init__(self, key: Key, signer: Key, connection: SSHConnection) -> None:
        SSHUserAuthClient.__init__(self, b"admin", connection)
        self.preferredOrder = [b"publickey"]
        self._keys = [key]
        self._signer = signer

    def getPublicKey(self) -> Key | None:
        return self._keys.pop().public() if self._keys else None

    def getPrivateKey(self) -> Deferred[Key]:
        return succeed(self._signer)


class Connection(SSHConnection):
    _log = quiet


class Client(SSHClientTransport):
    """One connection.

    :param signer: who signs the log-in instead of the owner of the key.
    """

    transport: Any
    _log = quiet

    def __init__(self, key: Key | None, signer: Key | None) -> None:
        self.channels: Any = Connection()  # type: ignore[no-untyped-call]  # as Conch leaves it
        self.closed = False
        self._key = key
        self._signer = signer or key

    def verifyHostKey(self, _hostKey: bytes, _fingerprint: bytes) -> Deferred[bool]:
        return succeed(True)

    def connectionSecure(self) -> None:
        if self._key is not None and self._signer is not None:
            self.requestService(Login(self._key, self._signer, self.channels))

    def say(self, message: int, payload: bytes) -> None:
        """Send any packet."""
        SSHClientTransport.sendPacket(self, message, payload)

    def vanish(self) -> None:
        self.transport.abortConnection()

    def ssh_DISCONNECT(self, _packet: bytes) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.closed = True
        SSHClientTransport.connectionLost(self, reason)

    @property
    def logged_in(self) -> bool:
        return self.service is self.channels


class House:
    """A doorway, and clients that come to it.

    :ivar authorized: the file of keys that are let in.
    """

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.treasury = Treasury()
        self.authorized = folder / "authorized_keys"
        self.host_key = new_key()
        self.alone = Alone()
        admin = verbs(self.treasury, self.alone)
        self.doorway = Doorway(self.clock, self.authorized, self.host_key, admin, {"one": 1})
        SSHFactory.doStart(self.doorway)
        self._pipes: list[Pipe] = []

    def trust(self, *keys: Key) -> None:
        """Let the owners of these keys in, and nobody else."""
        self.authorized.write_bytes(
            b"\n".join(key.public().toString("OPENSSH", comment=b"nurse") for key in keys)
        )
        self.authorized.chmod(0o600)

    def client(self, key: Key | None, signer: Key | None = None) -> Client:
        """Connect, and log in with that key if there is one."""
        client = Client(key, signer)
        server = self.doorway.buildProtocol(None)
        assert server is not None
        self._pipes.append(Pipe(client, server, self.clock))
        self.flush()
        return client

    def flush(self, seconds: float = 0) -> None:
        """Let everybody say what they have to say."""
        self.clock.advance(seconds)
        for pipe in self._pipes:
            pipe.flush()

    def vanish(self) -> None:
        """From now on nothing arrives from any client, and nothing at any."""
        self._pipes.clear()

    def session(self, client: Client, window: int = 1 << 16) -> Channel:
        channel = Channel(localWindow=window)
        client.channels.openChannel(channel)
        self.flush()
        return channel

    def run(self, client: Client, words: str, given: bytes | None = None) -> Channel:
        """Run a verb, with something on standard input."""
        channel = self.session(client)
        channel.ask(b"exec", NS(words.encode()))
        self.flush()
        if given is not None:
            channel.type(given)
            client.channels.sendEOF(channel)
        self.flush()
        self.flush()
        return channel

    def shell(self, client: Client, width: int = 80) -> Channel:
        channel = self.session(client)
        channel.pty(width)
        channel.ask(b"shell")
        self.flush()
        return channel


def new_key() -> Key:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    return Key(Ed25519PrivateKey.generate())
