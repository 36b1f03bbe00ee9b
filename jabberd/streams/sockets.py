"""TCP as Twisted has it, but with TLS straight on the socket, and one write for all that a turn has to say.

Twisted's own TLS works in memory: each record is copied out of OpenSSL, queued, and written when the reactor
says that the socket can take it.  Here OpenSSL reads from the socket and writes to it, when the turn of the
reactor in which something was said is over; only what the kernel does not take then waits for the reactor.

`tcp` gives a reactor's TCP in this form, for listeners and endpoints, and the reactor itself where its
connections are no sockets.  Protocols see no difference; docs/performance.md has the figures.
"""

# mypy: allow-untyped-calls
# Twisted's FileDescriptor has hardly any types.

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL
from twisted.internet import tcp as plain
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IHandshakeListener, IReactorTCP, ISSLTransport
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

if TYPE_CHECKING:
    from OpenSSL.crypto import X509
    from twisted.internet.interfaces import IProtocolFactory

    from jabberd.streams.tls import Acceptor, Initiator

__all__ = ["Sockets", "tcp"]

log = Logger()

_RECORD: Final = 16_384  # bytes in a record at most (RFC 8446 §5.1)


def tcp(reactor: Any) -> Any:
    """Give a reactor's TCP, an `IReactorTCP`: with TLS on the socket if there are sockets."""
    return Sockets(reactor) if isinstance(reactor, PosixReactorBase) else reactor


@implementer(IReactorTCP)
class Sockets:
    """Listens and connects as that reactor does, with connections of its own."""

    def __init__(self, reactor: PosixReactorBase) -> None:
        self._reactor = reactor
        self._cork = _Cork(reactor)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> plain.Port:
        """See `IReactorTCP`."""
        listening: plain.Port = self._reactor.listenTCP(port, factory, backlog, interface)
        listening.transport = partial(_Server, self._cork)  # type: ignore[assignment]  # its docstring offers it
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> _Connector:
        """See `IReactorTCP`."""
        connector = _Connector(host, port, factory, timeout, bindAddress, self._reactor)
        connector.cork = self._cork
        connector.connect()
        return connector


class _Cork:
    """The connections that have something to write when this turn of the reactor is over."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._held: list[_OnSocket] = []

    def hold(self, connection: _OnSocket) -> None:
        if not self._held:
            self._reactor.callLater(0, self._let_go)
        self._held.append(connection)

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for connection in held:
            try:
                connection.write_out()
            except Exception:  # noqa: BLE001  # the others have something to write, too
                log.failure("cannot write to {peer}", peer=connection)
                connection.abortConnection()


class _OnSocket(plain.Connection):
    """A connection whose TLS, once it was started, is between OpenSSL and the socket.

    Buffers, producers and the order of closing are those of Twisted's `FileDescriptor`.  It calls
    `startWriting` when there is something to write, `doWrite` to write it, `writeSomeData` for what can be
    written at once, and `_postLoseConnection` when all is written and the connection shall close.
    OpenSSL reads no further than to the end of a record, so that the reactor still tells of what is behind.
    """

    cork: _Cork
    _tls: SSL.Connection | None = None
    _secured = False  # the handshake is complete
    _corked = False  # it writes when the turn is over ...
    _polled = False  # ... or when the reactor says that the socket can take more
    _paused = False  # the protocol wants nothing to read
    _blocked = False  # OpenSSL has something to write before it can read on

    # -- what protocols call ------------------------------------------------------------------------

    def startTLS(self, creator: Acceptor | Initiator, normal: bool = True) -> None:  # noqa: ARG002 # Twisted's
        """Encrypt from here on; who has not taken what was said in the clear until now is dropped.

        :param creator: knows which side it is for, whatever ``normal`` says.
        """
        if self._corked or self._polled:
            super().doWrite()
        if self.dataBuffer:
            self.abortConnection()
            return
        self._tls = creator.on(self.socket)
        directlyProvides(self, ISSLTransport)
        if not self._corked:
            self._hold()  # for the handshake

    def getHandle(self) -> Any:
        """Give the TLS connection, or the socket where there is none."""
        return self._tls or self.socket

    def getPeerCertificate(self) -> X509 | None:
        """See `ISSLTransport`."""
        return self._tls.get_peer_certificate() if self._tls else None

    def write(self, data: bytes) -> None:
        """Write by the end of the turn.

        Every copy of what many are told comes by here: under TLS it is `FileDescriptor.write` in fewer steps.
        """
        if not self._secured:
            if self._tls is None or not self.disconnecting:
                FileDescriptor.write(self, data)
        elif data and self.connected and not self.disconnecting:
            self._tempDataBuffer.append(data)
            self._tempDataLen += len(data)
            if self._tempDataLen > _RECORD:
                self._maybePauseProducer()
            if not (self._corked or self._polled):
                self._hold()

    def loseConnection(self) -> None:
        """Close when all is written; under TLS when, besides, the peer has agreed (RFC 8446 §6.1)."""
        if self._tls is None:
            super().loseConnection()
        elif not self._secured:
            self.abortConnection()
        elif self.connected and not self.disconnecting:
            self.disconnecting = True
            self.startWriting()

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self._paused = True
        self.stopReading()

    def resumeProducing(self) -> None:
        """Read on, under TLS up to the peer's own goodbye."""
        self._paused = False
        if self.connected and not (self._blocked or (self.disconnecting and self._tls is None)):
            self.startReading()

    # -- going out ----------------------------------------------------------------------------------

    def startWriting(self) -> None:
        """Something was said: it is written when the turn is over, once the handshake is."""
        if not self.connected:
            super().startWriting()
        elif not (self._corked or self._polled) and (self._secured or self._tls is None):
            self._hold()

    def _hold(self) -> None:
        self._corked = True
        self.cork.hold(self)

    def stopWriting(self) -> None:
        """All was written."""
        if self._polled or not self.connected:
            self._polled = False
            super().stopWriting()

    def write_out(self) -> None:
        """Write what there is; what the kernel does not take waits until the reactor says that it does."""
        self._corked = False
        if not self.connected or self._is_one_record():
            return
        shaking = self._tls is not None and not self._secured
        go_on = self.doRead if shaking else self.doWrite
        why = None if self._blocked else go_on()
        if why is not None:
            self.connectionLost(Failure(why))
        elif self.dataBuffer or (self._blocked and not shaking):
            self._poll()

    def _is_one_record(self) -> bool:
        """Whether there was no more than a record, and that is dealt with: `doWrite`, for nearly all."""
        tls = self._tls
        if tls is None or not 0 < self._tempDataLen <= _RECORD or self.dataBuffer or self.disconnecting:
            return False
        if not self._secured or self._blocked or self.producerPaused:
            return False
        data = b"".join(self._tempDataBuffer)
        try:
            written = tls.send(data)
        except SSL.WantWriteError:  # `doWrite` offers it again, and waits
            return False
        except SSL.Error as error:
            self.connectionLost(Failure(_why(error)))
            return True
        self._tempDataBuffer.clear()
        self._tempDataLen = 0
        if written < len(data):  # the peer takes smaller records only (RFC 6066 §4)
            self._tempDataBuffer.append(data[written:])
            self._tempDataLen = len(data) - written
            return False
        return True

    def _poll(self) -> None:
        self._polled = True
        super().startWriting()

    def doWrite(self) -> Exception | None:  # type: ignore[override]  # Twisted replaces it on the instance
        """Called when the socket can take something, by the reactor or in the hope that it is so."""
        if not self._blocked:
            return super().doWrite()  # type: ignore[no-any-return]  # Twisted's
        self._blocked = False
        if not self._polled:
            super().stopWriting()
        if not self._paused:
            self.startReading()
        return self.doRead()

    def writeSomeData(self, data: bytes | memoryview) -> int | Exception:  # type: ignore[override]  # Twisted gives both
        """Write as much as the kernel takes, some records at most.

        OpenSSL wants to be offered a record that was not taken again, from the same byte on and no shorter:
        the buffer that this comes from only grows at its end.
        """
        if self._tls is None:
            return super().writeSomeData(data)  # type: ignore[arg-type]  # the same
        written, left = 0, data
        try:
            while written < len(data) and written < self.SEND_LIMIT:
                written += self._tls.send(left)
                left = memoryview(data)[written:]
        except SSL.WantWriteError:
            pass
        except SSL.Error as error:
            return _why(error)
        return written

    # -- coming in ----------------------------------------------------------------------------------

    def doRead(self) -> Exception | None:  # type: ignore[override]  # the same, and it returns any error
        """Called when there is something to read: give the protocol what is in one record."""
        tls = self._tls
        if tls is None:
            return super().doRead()
        if not self._secured:
            return self._shake_hands(tls)
        try:
            data = tls.recv(_RECORD)
        except SSL.Error as error:
            return self._not_read(tls, error)
        self.protocol.dataReceived(data)
        return None

    def _shake_hands(self, tls: SSL.Connection) -> Exception | None:
        try:
            tls.do_handshake()
        except SSL.Error as error:
            return self._not_read(tls, error)
        self._secured = True
        if IHandshakeListener.providedBy(self.protocol):
            self.protocol.handshakeCompleted()
        self.startWriting()  # what was written meanwhile
        return None

    def _not_read(self, tls: SSL.Connection, error: SSL.Error) -> Exception | None:
        if isinstance(error, SSL.ZeroReturnError):
            return self._answer_goodbye(tls)
        if isinstance(error, SSL.WantWriteError):  # reading goes on when the socket can take something
            self._blocked = True
            self.stopReading()
            super().startWriting()
            return None
        return None if isinstance(error, SSL.WantReadError) else _why(error)

    # -- the end ------------------------------------------------------------------------------------

    def _answer_goodbye(self, tls: SSL.Connection) -> Exception:
        if self._corked:
            self.doWrite()
        with suppress(SSL.Error):
            tls.shutdown()
        return CONNECTION_DONE

    def _postLoseConnection(self) -> Exception | None:
        """Say goodbye, and wait for the peer's."""
        tls = self._tls
        if tls is None:
            return super()._postLoseConnection()  # type: ignore[no-any-return]  # Twisted's
        if tls.get_shutdown() & SSL.SENT_SHUTDOWN:
            return None
        try:
            return CONNECTION_DONE if tls.shutdown() else None
        except SSL.WantWriteError:
            self._poll()
            return None
        except SSL.Error as error:
            return _why(error)

    def connectionLost(self, reason: Failure) -> None:
        """Called when the connection is gone."""
        super().connectionLost(reason)
        self._tls = None  # it knows the socket by a number that others will have


class _Server(_OnSocket, plain.Server):
    def __init__(self, cork: _Cork, *how: Any) -> None:
        self.cork = cork
        super().__init__(*how)


class _Client(_OnSocket, plain.Client):
    pass


class _Connector(plain.Connector):
    cork: _Cork

    def _makeTransport(self) -> _Client:
        client = _Client(self.host, self.port, self.bindAddress, self, self.reactor)
        client.cork = self.cork
        return client


def _why(error: SSL.Error) -> Exception:
    """What protocols are told: of an end without a goodbye what Twisted tells without TLS, else the error."""
    queue = error.args[0] if error.args else None
    if isinstance(error, SSL.SysCallError) or not queue or "eof" in str(queue[-1][2]).lower():
        return CONNECTION_LOST
    return error
