"""The SSH server around the prompt: who is let in, and for how long silence is borne."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from twisted.conch.avatar import ConchUser
from twisted.conch.error import ValidPublicKey
from twisted.conch.interfaces import IConchUser
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.connection import (
    MSG_CHANNEL_OPEN_FAILURE,
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    SSHConnection,
)
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import DISCONNECT_BY_APPLICATION, SSHServerTransport
from twisted.conch.ssh.userauth import SSHUserAuthServer
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ISSHPrivateKey
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from jabberd.manhole.audit import quiet
from jabberd.manhole.console import Console
from jabberd.manhole.keys import KeyFileError, authorized, fingerprint
from jabberd.manhole.line import History
from jabberd.manhole.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from twisted.conch.ssh.service import SSHService
    from twisted.internet.interfaces import IAddress
    from twisted.python.failure import Failure

    from jabberd.admin import Admin
    from jabberd.manhole.terminal import Window

__all__ = ["Doorway"]

log = Logger()

_STRANGERS: Final = 10  # connections at a time that nobody has logged in on
_LOGIN: Final = 30.0  # seconds that they may take for it
_SESSIONS: Final = 10  # channels of one connection
_ALIVE: Final = 60.0  # seconds between questions whether the client is there,
_SILENT: Final = 3  # and how many may go unanswered
_SIGNATURES: Final = (  # by keys of operators; none that rests on SHA-1
    b"ssh-ed25519",
    b"sk-ssh-ed25519@openssh.com",
    b"ecdsa-sha2-nistp256",
    b"sk-ecdsa-sha2-nistp256@openssh.com",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"rsa-sha2-512",
    b"rsa-sha2-256",
)


@implementer(ICredentialsChecker)
class Checker:
    """Lets those in whose keys stand in the file at that moment."""

    credentialInterfaces = (ISSHPrivateKey,)

    def __init__(self, path: Path) -> None:
        self._path = path

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """See `ICredentialsChecker`: whose key it is."""
        return execute(self._whose, credentials)

    def _whose(self, credentials: Any) -> bytes | tuple[()]:
        try:
            operator = authorized(self._path).get(credentials.blob)
        except KeyFileError as why:
            log.error("manhole: nobody is let in: {why}", why=why)  # noqa: TRY400  # it tells enough
            raise UnauthorizedLogin from None
        if operator is None:
            log.warn("manhole: refused the key {key}", key=fingerprint(credentials.blob))
            raise UnauthorizedLogin
        if credentials.signature is None:
            raise ValidPublicKey
        known = getNS(credentials.signature)[0] in _SIGNATURES
        if not (
            known and Key.fromString(credentials.blob).verify(credentials.signature, credentials.sigData)
        ):
            log.warn("manhole: refused a signature by {key}", key=operator)
            raise UnauthorizedLogin
        return str(operator).encode()


class Avatar(ConchUser):
    """An operator who is logged in.

    :ivar who: what stands behind their key in the file, and its fingerprint.
    :ivar admin: what verbs there are.
    """

    def __init__(self, who: str, doorway: Doorway) -> None:
        ConchUser.__init__(self)
        self.who = who
        self.admin = doorway.admin
        self.clock = doorway.clock
        self._doorway = doorway
        self.channelLookup[b"session"] = Session

    def console(self, window: Window, leave: Callable[[], None]) -> Console:
        """A prompt in that window."""
        history = self._doorway.histories.setdefault(self.who, History())
        return Console(self.who, self.admin, self._doorway.namespace, window, history, leave)


@implementer(IRealm)
class Realm:
    """Makes an `Avatar` of each operator."""

    def __init__(self, doorway: Doorway) -> None:
        self._doorway = doorway

    def requestAvatar(
        self, avatarId: bytes | tuple[()], _mind: object, *_interfaces: object
    ) -> tuple[Any, Avatar, Any]:
        """See `IRealm`."""
        return IConchUser, Avatar(bytes(avatarId).decode(), self._doorway), lambda: None


class Transport(SSHServerTransport):
    """One connection: ended when nobody logs in on it, and when nobody is at its other end any more."""

    factory: Doorway
    avatar: Avatar
    transport: Any  # Conch's own declaration doubts that there is one
    _log = quiet

    def connectionMade(self) -> None:
        self.supportedCompressions = [b"none"]  # Conch's zlib would unpack any size for strangers
        self.supportedCiphers = [each for each in self.supportedCiphers if each.endswith(b"-ctr")]
        self.supportedMACs = [each for each in self.supportedMACs if each.startswith(b"hmac-sha2")]
        self.supportedKeyExchanges = [
            each for each in self.supportedKeyExchanges if not each.endswith(b"sha1")
        ]
        self._silent = 0
        self._asking = LoopingCall(self._ask)
        self._asking.clock = self.factory.clock
        self._late = self.factory.clock.callLater(_LOGIN, self.transport.abortConnection)
        self.factory.strangers.add(self)
        self.factory.connections.add(self)
        SSHServerTransport.connectionMade(self)

    def dataReceived(self, data: bytes) -> None:
        try:
            SSHServerTransport.dataReceived(self, data)
        except Exception as why:  # noqa: BLE001  # Conch takes for granted that peers speak SSH
            if self in self.factory.strangers:
                log.info("manhole: what {peer} says is no SSH: {why!r}", peer=self._peer, why=why)
            else:
                log.failure("manhole: {who} ends with an error", who=self.avatar.who)
            self.transport.abortConnection()

    def setService(self, service: SSHService) -> None:
        SSHServerTransport.setService(self, service)
        if isinstance(service, SSHConnection):
            self._known()
            log.info("manhole: {who} came from {peer}", who=self.avatar.who, peer=self._peer)
            self._asking.start(_ALIVE, now=False)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.factory.connections.discard(self)
        if self._known():
            log.info("manhole: somebody from {peer} left who was not let in", peer=self._peer)
        else:
            log.info("manhole: {who} left", who=self.avatar.who)
        if self._asking.running:
            self._asking.stop()
        SSHServerTransport.connectionLost(self, reason)

    def _known(self) -> bool:
        """It is no stranger's any more; returns whether it was."""
        was_strange = self in self.factory.strangers
        self.factory.strangers.discard(self)
        if self._late.active():
            self._late.cancel()
        return was_strange

    def sendExtInfo(self, _extensions: object) -> None:
        """Say what operators may sign with (RFC 8308 §3.1); Conch would name what our own key does."""
        SSHServerTransport.sendExtInfo(self, [(b"server-sig-algs", b",".join(_SIGNATURES))])

    def ssh_DISCONNECT(self, _packet: bytes) -> None:
        self.transport.loseConnection()  # Conch would call every good-bye an error

    def _ask(self) -> None:
        """Ask whether the client is there; that it does not know the question is an answer."""
        if self._silent >= _SILENT:
            self.transport.abortConnection()
        elif isinstance(self.service, SSHConnection):
            self._silent += 1
            asked = self.service.sendGlobalRequest(b"keepalive@openssh.com", b"", wantReply=1)
            asked.addBoth(self._answered)

    def _answered(self, _: object) -> None:
        self._silent = 0

    @property
    def _peer(self) -> str:
        return getattr(self.transport.getPeer(), "host", "the socket")


class Login(SSHUserAuthServer):
    """The log-in, on the server's own clock."""

    transport: Any  # as above
    _log = quiet

    def serviceStarted(self) -> None:
        self.clock = self.transport.factory.clock
        SSHUserAuthServer.serviceStarted(self)


class Channels(SSHConnection):
    """What runs over a connection once somebody is logged in: sessions, and nothing is forwarded."""

    transport: Any  # as above
    _log = quiet

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        kind, rest = getNS(packet)
        if kind == b"session" and len(self.channels) < _SESSIONS:
            SSHConnection.ssh_CHANNEL_OPEN(self, packet)
        else:
            reason = struct.pack(">L", OPEN_ADMINISTRATIVELY_PROHIBITED) + NS(b"there is no more") + NS(b"")
            self.transport.sendPacket(MSG_CHANNEL_OPEN_FAILURE, rest[:4] + reason)


class Doorway(SSHFactory):
    """Takes connections.

    :ivar histories: what was typed before, by operator.
    """

    protocol = Transport
    noisy = False
    primes = None
    _log = quiet

    def __init__(
        self, clock: Any, authorized_keys: Path, host_key: Key, admin: Admin, namespace: Mapping[str, Any]
    ) -> None:
        self.services = {b"ssh-userauth": Login, b"ssh-connection": Channels}
        self.clock = clock
        self.admin = admin
        self.namespace = namespace
        self.histories: dict[str, History] = {}
        self.connections: set[Transport] = set()
        self.strangers: set[Transport] = set()
        self.portal = Portal(Realm(self), [Checker(authorized_keys)])
        self.publicKeys = {host_key.sshType(): host_key.public()}
        self.privateKeys = {host_key.sshType(): host_key}

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return None if len(self.strangers) >= _STRANGERS else SSHFactory.buildProtocol(self, addr)

    def close_all(self) -> None:
        """End all connections, and say why."""
        for connection in list(self.connections):
            SSHServerTransport.sendDisconnect(connection, DISCONNECT_BY_APPLICATION, b"the server stops")
