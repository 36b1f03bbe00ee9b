"""What client and server streams have in common: bytes in, events out, an ordered end.

Subclasses say what a header, a stanza or a nonza means to them.  What comes is read in turns, as
`jabberd.streams.reading` has it.  What goes out to a peer that does not read waits in a bounded outbox;
when that is full, the connection is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from jabberd.interfaces import Security
from jabberd.measure import Traffic
from jabberd.streams.reading import Reading
from jabberd.xmpp import stream
from jabberd.xmpp.boundaries import Limits
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.parser import Event, Header, Nonza, StreamEnd, StreamParser
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure


log = Logger()

_GOODBYE: Final = 5.0  # seconds that a peer has for its own </stream:stream> and TLS close
_numbers: Final = count(1)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What every stream needs to know.

    :ivar before: limits until the peer is authenticated; ``after``: from then on.
    :ivar negotiation: seconds from connection to a finished negotiation.
    :ivar unread: bytes that may wait for a peer that does not read.
    :ivar rate: bytes a second that a peer may send, and those of ``burst`` seconds at once.
    :ivar idle: seconds of silence that are borne.
    :ivar traffic: where all streams with these settings count.
    """

    before: Limits = Limits(size=8_192, tag=8_192, depth=16, elements=32)
    after: Limits = Limits()
    negotiation: float = 60.0
    unread: int = 1_048_576
    rate: float = 1_048_576
    burst: float = 4.0
    idle: float = 600.0
    traffic: Traffic = field(default_factory=Traffic)


class Unwelcome(Protocol):
    """A connection too many; a factory that gave None instead would not get on with direct TLS."""

    def connectionMade(self) -> None:
        cast("Any", self.transport).abortConnection()


@implementer(IPushProducer, IHandshakeListener)
class StreamProtocol(Reading):
    """One XML stream over one connection."""

    __slots__ = (  # see `Reading`
        "_blocked",
        "_draining",
        "_full",
        "_held_back",
        "_outbox",
        "_timer",
        "_unread",
        "address",
        "goodbye",
        "header_sent",
        "id",
        "number",
        "security",
        "since",
        "version",
    )

    #: What logs and metrics call such a stream.
    kind: ClassVar[str] = "stream"
    #: The stanzas without a home that hold back all that follows (RFC 6120 §10.1).
    holding: ClassVar[frozenset[str]] = frozenset({"iq"})

    def __init__(self, settings: StreamSettings, clock: IReactorTime) -> None:
        super().__init__(settings, clock)
        self.number = next(_numbers)  # of the connection; its log lines are known by it
        self.security = Security()
        self.address = ""
        self.id = ""  # of the stream, chosen by whoever receives it
        self.version = stream.VERSION  # in our header
        self.since = 0.0  # when the connection was made, by `clock`
        self.goodbye = False  # the peer ended the stream by itself
        self.header_sent = False
        self._blocked = False  # what is written waits: for the peer to read, or for `release`
        self._full = False  # the transport: the peer does not read
        self._held_back = False
        self._outbox: list[tuple[bytes, Stanza | None, float]] = []
        self._unread = 0
        self._draining: list[Deferred[None]] = []
        self._timer: IDelayedCall | None = None

    # -- for subclasses -----------------------------------------------------------------------------

    def on_header(self, header: Header) -> Deferred[None] | None:
        """The peer opened its stream."""
        raise NotImplementedError

    def on_stanza(self, stanza: Stanza) -> Deferred[None] | None:
        """The peer sent a stanza.  A Deferred: it has no home yet."""
        raise NotImplementedError

    def on_nonza(self, nonza: Nonza) -> Deferred[None] | None:
        """The peer sent another first-level element.  A Deferred: what follows waits for it."""
        raise NotImplementedError

    def on_over(self) -> None:
        """Nothing is sent or handled any more, though the connection may last a while; told exactly once."""

    def on_end(self, why: str) -> None:
        """The connection is gone; told exactly once, after `on_over`."""

    def our_header(self) -> bytes:
        """Our stream header, as it must come before an error if none was sent yet (RFC 6120 §4.9.1.2)."""
        raise NotImplementedError

    # -- from Twisted -------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self.since = self.heard = self.clock.seconds()
        self._timer = self.clock.callLater(self.settings.negotiation, self._too_slow)
        # What one turn has to say is one write already; what is longer than a record would wait for the
        # peer's acknowledgement, which the peer puts off for 40 ms
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)

    def handshakeCompleted(self) -> None:
        """TLS is on; subclasses fill `security`."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._handle_rest()
        self._cease()
        self._parser = StreamParser(self.content_ns, self.settings.before)
        self.on_end(reason.getErrorMessage())
        self._tell_drained()

    def _handle(self, event: Event) -> None:
        try:
            if isinstance(event, Stanza):
                self.settings.traffic.received[event.name] += 1
                home = self.on_stanza(event)
                if home is not None:
                    hold, size = event.name in self.holding, len(event.payload)
                    self._wait_for(home, hold=hold, size=size, since=self.heard)
            elif isinstance(event, Nonza):
                self._wait_for(self.on_nonza(event), hold=True)
            elif isinstance(event, Header):
                self._wait_for(self.on_header(event), hold=True)
            elif isinstance(event, StreamEnd):
                self.goodbye = True
                self.close()
            else:
                self.close(event)
        except StreamError as error:
            self.close(error)
        except Exception:  # noqa: BLE001  # one bad stanza ends its stream, not the server
            log.failure("{stream}: cannot handle what the peer sent", stream=self)
            self.close(StreamError("internal-server-error"))

    def _wait_for(
        self, home: Deferred[None] | None, *, hold: bool, size: int = 0, since: float | None = None
    ) -> None:
        """Go on when it is done: at once for a message in flight, as long as there are few of them."""
        if home is None:
            return
        self._inflight += 1
        self._inflight_size += size
        self._holding += hold
        what = hold, size, since
        home.addCallbacks(self._found_home, self._gone_wrong, callbackArgs=what, errbackArgs=what)

    def _found_home(self, _: object, hold: bool, size: int, since: float | None) -> None:
        if since is not None:
            self.settings.traffic.waited.observe(self.clock.seconds() - since)
        self._homed(None, hold, size)

    def _gone_wrong(self, failure: Failure, hold: bool, size: int, since: float | None) -> None:
        self._failed(failure)
        self._found_home(None, hold, size, since)

    def _failed(self, failure: Failure) -> None:
        error = failure.check(StreamError)
        if error is None:
            log.failure("{stream}: cannot handle what the peer sent", failure, stream=self)
        self.close(cast("StreamError", failure.value) if error else StreamError("internal-server-error"))

    def restart(self, limits: Limits | None = None) -> None:
        """Expect a new header (RFC 6120 §4.3.3); what the peer sent ahead of it is thrown away."""
        self._parser = StreamParser(self.content_ns, limits or self.settings.before)
        self._drop_inbox()
        self.header_sent = False

    def negotiated(self) -> None:
        """The negotiation is over: its timer stops."""
        self._cancel_timer()

    def allow(self, limits: Limits) -> None:
        """From the next stanza on these limits hold."""
        self._parser.limits = limits

    def _too_slow(self) -> None:
        self._timer = None
        self.close(StreamError("connection-timeout"))

    # -- going out ----------------------------------------------------------------------------------

    def write(self, data: bytes, stanza: Stanza | None = None) -> None:
        """Send bytes, in order.  ``stanza``: what they are, to save it if they cannot be sent any more."""
        if self.ended:
            if stanza is not None:
                self._outbox.append((data, stanza, self.clock.seconds()))
            return
        if not self._blocked:
            self.transport.write(data)
            return
        self._outbox.append((data, stanza, self.clock.seconds()))
        self._unread += len(data)
        if self._unread > self.settings.unread:
            log.info("{stream}: the peer does not read; dropped", stream=self)
            self.abort()

    @property
    def backlog(self) -> tuple[int, int]:
        """How many events wait to be handled, and how many bytes for a peer that does not read."""
        return len(self._inbox), self._unread

    def drained(self) -> Deferred[None]:
        """See `jabberd.interfaces.Outlet`."""
        if self.ended or not self._blocked:
            return succeed(None)
        self._draining.append(Deferred())
        return self._draining[-1]

    def _tell_drained(self) -> None:
        draining, self._draining = self._draining, []
        for each in draining:
            each.callback(None)

    @property
    def held(self) -> int:
        """How many bytes it holds: what came and is not a whole element yet, and what waits to go."""
        return self._parser.pending + len(self._ahead) + self._unread

    @property
    def queued(self) -> list[Stanza]:
        """The stanzas that wait for a peer that does not read, to be looked at."""
        return [stanza for _, stanza, _ in self._outbox if stanza is not None]

    def unsent(self) -> list[Stanza]:
        """The stanzas that wait for a peer that does not read or has left; they are the caller's now."""
        return [stanza for stanza, _ in self.unsent_since()]

    def unsent_since(self) -> list[tuple[Stanza, float]]:
        """What `unsent` gives, each with the time (by the clock) at which it was to be sent."""
        stanzas = [(stanza, since) for _, stanza, since in self._outbox if stanza is not None]
        self._outbox.clear()
        return stanzas

    def hold_back(self) -> None:
        """Have what is written wait, until `release`."""
        self._held_back = self._blocked = True

    def release(self, first: bytes) -> None:
        """Send these bytes, and behind them what has waited."""
        self._held_back = False
        self._outbox.insert(0, (first, None, self.clock.seconds()))
        self._unread += len(first)
        if not self._full:
            self._go_out()

    def pauseProducing(self) -> None:
        self._full = self._blocked = True

    def resumeProducing(self) -> None:
        self._full = False
        if not self._held_back:
            self._go_out()

    def _go_out(self) -> None:
        self._blocked = False
        sent = 0
        for data, _, _ in self._outbox:
            self.transport.write(data)
            self._unread -= len(data)
            sent += 1
            if self._blocked:
                break
        del self._outbox[:sent]
        if not self._blocked:
            self._tell_drained()

    def stopProducing(self) -> None:
        """The connection is about to be lost; `connectionLost` does the rest."""

    # -- the end ------------------------------------------------------------------------------------

    def close(self, error: StreamError | None = None) -> None:
        """Say why, if there is a why, say goodbye, and end the connection (RFC 6120 §4.4, §4.9)."""
        if self.ended:
            return
        parts = [] if self.header_sent else [self.our_header()]
        if error is not None:
            parts.append(stream.error(error))
            log.info(
                "{stream}: closed with {condition} {text}",
                stream=self,
                condition=error.condition,
                text=error.text,
            )
        parts.append(stream.CLOSE)
        if self._full:
            self.abort()
            return
        self.transport.write(b"".join(parts))
        self._hang_up()

    def _hang_up(self) -> None:
        self._cease()
        self._read_on()  # else the peer's goodbye would not be seen
        self._timer = self.clock.callLater(_GOODBYE, self._abort_transport)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """End the connection at once; what is still in the buffers is lost to the peer."""
        self._cease()
        self._abort_transport()

    def _cease(self) -> None:
        self._cancel_timer()
        self._forget()
        if not self.ended:
            self.ended = True
            self.on_over()

    def _abort_transport(self) -> None:
        self._timer = None
        self.transport.abortConnection()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __str__(self) -> str:
        return f"{self.kind}-{self.number} {self.address}"
