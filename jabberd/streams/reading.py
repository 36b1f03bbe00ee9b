"""How a stream reads: in turns, in order, and no faster than its peer may send.

What comes while an answer is still being worked out waits in a bounded inbox; when that is full, reading
from the connection pauses.  It pauses, too, when one peer sends much: until the next turn of the reactor, so
that all others get theirs, and for longer when that is more than the rate allows.  Nothing is thrown away,
and no more is kept than what was on its way when reading stopped: a peer that floods us waits for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from twisted.internet.protocol import Protocol

from jabberd.xmpp.parser import Event, Header, Nonza, StreamParser
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from jabberd.streams.protocol import StreamSettings

__all__ = ["Reading"]

_MOST_WAITING: Final = 64  # events in an inbox before reading pauses
_MOST_IN_FLIGHT: Final = 16  # bytes without a home before the next event is handled, in largest stanzas
_MOST_A_TURN: Final = 50  # events that are handled before others have their turn
_MOST_PARSED: Final = 16_384  # bytes that are parsed before others have theirs


class Reading(Protocol):
    """The half of a stream that reads: calls `_handle` for each event in its turn.

    :ivar heard: when the peer last sent anything, by the clock.
    :ivar ended: nothing is sent or handled any more.
    """

    #: With them a stream would have more attributes than CPython shares the keys of (30), and a KiB more.
    __slots__ = (
        "_ahead",
        "_going_on",
        "_holding",
        "_inbox",
        "_inflight",
        "_inflight_size",
        "_parser",
        "_rest",
        "_stopped_reading",
        "_whole",
        "clock",
        "ended",
        "heard",
        "settings",
    )

    content_ns: ClassVar[str]
    #: Stanzas that may be without a home at a time.
    in_flight: ClassVar[int] = 64

    #: Set before the connection is made.
    settings: StreamSettings
    clock: IReactorTime
    transport: Any  # Twisted has no one interface with producers, TLS and abortConnection

    def __init__(self, settings: StreamSettings, clock: IReactorTime) -> None:
        self.settings = settings
        self.clock = clock
        self.heard = 0.0
        self.ended = False
        self._parser = StreamParser(self.content_ns, settings.before)
        self._inbox: list[Event] = []  # lists, not deques: an empty deque has 600 bytes
        self._ahead = b""  # what came behind its turn, to be parsed in the next
        self._inflight = 0
        self._inflight_size = 0  # of the payloads
        self._holding = 0
        self._going_on = False
        self._stopped_reading = False
        self._rest: IDelayedCall | None = None  # until its next turn
        self._whole = 0.0  # when its allowance is whole again, by the clock

    def _handle(self, event: Event) -> None:
        """Act on one event; see `_homed` for those that find no home at once."""
        raise NotImplementedError

    def dataReceived(self, data: bytes) -> None:
        self.heard = now = self.clock.seconds()
        settings, whole = self.settings, self._whole
        if whole < now:  # noqa: PLR1730  # a call would cost more than all the rest of this
            whole = now
        self._whole = whole = whole + len(data) / settings.rate
        if self.ended:
            if whole - now > settings.burst:
                self.transport.abortConnection()  # who goes on for so long does not listen to a goodbye
            return
        if self._rest is None and not self._ahead:
            self._read(data)
        else:
            self._ahead += data  # what was on its way when reading stopped
        if whole - now > settings.burst:
            self._slow_down(whole - now - settings.burst)
        if self._inbox or self._ahead:
            self._settle()

    def _read(self, data: bytes) -> None:
        """Parse as much as one turn may cost, and handle what comes out."""
        if len(data) > _MOST_PARSED:
            data, self._ahead = data[:_MOST_PARSED], data[_MOST_PARSED:]
        else:
            self._ahead = b""
        parser = self._parser
        events = parser.feed(data)
        if self._inbox or self._held:
            self._inbox.extend(events)
            return
        self._going_on = True
        for at, event in enumerate(events):
            if self._parser is not parser:
                break  # restarted: what came ahead of the new header is thrown away
            if at and (self._held or self.ended or at == _MOST_A_TURN):
                self._inbox.extend(events[at:])
                break
            self._handle(event)
        self._going_on = False

    # -- each in its turn, and no faster than the rate ----------------------------------------------

    def _slow_down(self, seconds: float) -> None:
        if not self.ended:
            self.settings.traffic.slowed += 1
            self._rest_for(seconds)

    @property
    def slowed(self) -> float:
        """For how many seconds more nothing is read, since the peer sends too much; 0 if it does not."""
        return max(0.0, self._rest.getTime() - self.clock.seconds()) if self._rest is not None else 0.0

    def _rest_for(self, seconds: float) -> None:
        """Read and handle nothing for so long; for 0: until the others had their turn."""
        if self._rest is None:
            self._rest = self.clock.callLater(seconds, self._rested)
            self._stop_reading()
        elif seconds:
            self._rest.reset(seconds)

    def _rested(self) -> None:
        self._rest = None
        self._go_on()

    def _settle(self) -> None:
        """Let what is left over wait for its turn, or for what holds it back; read on if nothing is left."""
        if self.ended:
            return
        if self._inbox or self._ahead:
            if not self._held:
                self._rest_for(0)
            elif self._ahead or self._is_full():
                self._stop_reading()
        elif self._rest is None:
            self._read_on()

    def _read_on(self) -> None:
        if self._stopped_reading:
            self._stopped_reading = False
            self.transport.resumeProducing()

    def _stop_reading(self) -> None:
        if not self._stopped_reading:
            self._stopped_reading = True
            self.transport.pauseProducing()

    # -- what waits for a home ----------------------------------------------------------------------

    @property
    def _held(self) -> bool:
        if self._holding > 0 or self._inflight >= self.in_flight:
            return True
        return self._inflight_size > _MOST_IN_FLIGHT * self.settings.after.size

    def _homed(self, _: object, hold: bool, size: int) -> None:
        self._inflight -= 1
        self._inflight_size -= size
        self._holding -= hold
        if self._inbox or self._stopped_reading:
            self._go_on()

    def _go_on(self) -> None:
        if self._going_on or self._rest is not None:
            return  # a home that was found at once: who goes through the events will see it
        self._going_on = True
        left = _MOST_A_TURN
        while left and self._inbox and not self._held and not self.ended:
            left -= 1
            self._handle(self._inbox.pop(0))
        self._going_on = False
        if self._ahead and not (self._inbox or self._held or self.ended):
            self._read(self._ahead)
        self._settle()

    def _handle_rest(self) -> None:
        """Handle what came before the connection was lost: the peer may have said all it had and left."""
        if self._ahead:
            self._inbox.extend(self._parser.feed(self._ahead))
        while self._inbox and not self.ended and not isinstance(self._inbox[0], (Header, Nonza)):
            self._handle(self._inbox.pop(0))

    def _is_full(self) -> bool:
        if len(self._inbox) >= _MOST_WAITING:
            return True
        held = sum(len(event.payload) for event in self._inbox if isinstance(event, Stanza))
        return held > self.settings.after.size

    def _drop_inbox(self) -> None:
        self._inbox.clear()
        self._ahead = b""

    def _forget(self) -> None:
        """What came is not handled any more."""
        self._drop_inbox()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
