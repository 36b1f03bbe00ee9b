"""A link: our stream from one of our domains to one of theirs, and what waits for it.

A link is made by the first stanza, and forgotten when it has neither a stream, nor stanzas, nor a failure
to remember.  Every stanza is on the stream, in the queue, or on its way back to its sender:

* *opening*: stanzas wait;
* *up*: they go straight to the stream;
* *resting*, after a failure: if the failure may pass they wait for the next attempt, but no longer than
  ``queue_age``; else they go back at once, until the rest is over;
* *idle*, after the rest: the failure is remembered, and the next stanza opens the link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from twisted.application.internet import backoffPolicy
from twisted.logger import Logger

from jabberd.streams.proof import LinkError
from jabberd.streams.s2s import Timer
from jabberd.xmpp import ns
from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from jabberd.settings import Federation as Settings
    from jabberd.streams.outgoing import OutgoingStream
    from jabberd.streams.proof import Pair
    from jabberd.xmpp.errors import StreamError
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Link", "Setback", "Switchboard"]

log = Logger()

#: Seconds to rest after so many failures in a row, with jitter.
_rest: Final[Callable[[int], float]] = backoffPolicy(initialDelay=0.5, maxDelay=60.0, factor=2.0)
_REMEMBERED: Final = 300.0  # seconds that a failure lengthens the rest after the next one


class Switchboard(Protocol):
    """What all links share."""

    @property
    def clock(self) -> IReactorTime: ...

    @property
    def settings(self) -> Settings: ...

    def open(self, pair: Pair) -> Deferred[OutgoingStream]:
        """Connect and prove ourselves; fails with `LinkError`."""

    def hold(self, size: int) -> bool:
        """Whether so many more bytes may wait, in all queues together; they count from now on."""

    def release(self, size: int) -> None:
        """They wait no more."""

    def bounce(self, stanza: Stanza, error: StanzaError) -> object:
        """Send the stanza back."""

    def forget(self, link: Link) -> None:
        """The link has nothing more to do."""


@dataclass(frozen=True, slots=True)
class Setback:
    """When a link failed, for operators.

    :ivar at: by the clock.
    :ivar count: how often it had failed in a row by then.
    """

    at: float
    count: int
    error: LinkError


class Link:
    """One of ours to one of theirs: see above.

    :ivar stream: while the link is up.
    :ivar failure: the last one, until the link is up again.
    :ivar setback: the last failure, also when the link is up again.
    :ivar since: when the link came to be or, while it is up, when it came up, by the clock.
    """

    def __init__(self, board: Switchboard, pair: Pair) -> None:
        self.pair = pair
        self.stream: OutgoingStream | None = None
        self.failure: LinkError | None = None
        self.setback: Setback | None = None
        self.since = board.clock.seconds()
        self._board = board
        self._clock = board.clock
        self._queue: list[Stanza] = []
        self._size = 0
        self._used = 0.0
        self._failures = 0
        self._closing: StreamError | None = None
        self._opening = False
        self._attempt: Deferred[None] | None = None
        self._resting = Timer(board.clock, self._rested)
        self._aging = Timer(board.clock, self._too_old)
        self._idling = Timer(board.clock, self._idle)

    def __str__(self) -> str:
        return f"link from {self.pair.ours} to {self.pair.theirs}"

    @property
    def waiting(self) -> int:
        """How many stanzas wait."""
        return len(self._queue)

    @property
    def waiting_size(self) -> int:
        """How many bytes they have."""
        return self._size

    @property
    def state(self) -> str:
        """``up``, ``opening``, ``resting`` or ``idle`` as above, or ``closing``."""
        if self._closing is not None:
            return "closing"
        if self.stream is not None:
            return "up"
        return "opening" if self._opening else "resting" if self._resting.running else "idle"

    @property
    def rest(self) -> float:
        """Seconds until it stops resting."""
        return self._resting.left

    # -- stanzas ------------------------------------------------------------------------------------

    def send(self, stanza: Stanza) -> None:
        """Send the stanza now, or when the link is up.

        :raises StanzaError: it cannot be sent and may not wait.
        """
        if self.stream is not None:
            self._used = self._clock.seconds()
            self.stream.send(stanza)
            return
        if self._resting.running and self.failure is not None and not self.failure.passing:
            raise self.failure.stanza_error()
        self._enqueue(stanza)
        if not self._opening and not self._resting.running:
            self._open()

    def _enqueue(self, stanza: Stanza) -> None:
        limits, size = self._board.settings, len(stanza.to_scope(ns.SERVER))
        full = len(self._queue) >= limits.queue or self._size + size > limits.queue_size
        if full or not self._board.hold(size):
            raise StanzaError("resource-constraint", f"too much waits for {self.pair.theirs}")
        self._queue.append(stanza)
        self._size += size
        if not self._aging.running:
            self._aging.start(limits.queue_age)

    def _dequeue(self) -> list[Stanza]:
        stanzas, self._queue = self._queue, []
        self._board.release(self._size)
        self._size = 0
        self._aging.stop()
        return stanzas

    def _too_old(self) -> None:
        """What waits has waited enough."""
        why = self.failure or LinkError("remote-server-timeout", "no answer so far", passing=True)
        self._bounce(self._dequeue(), why)

    def _bounce(self, stanzas: Iterable[Stanza], why: LinkError) -> None:
        for stanza in stanzas:
            self._board.bounce(stanza, why.stanza_error())

    # -- opening ------------------------------------------------------------------------------------

    def retry(self) -> None:
        """Open the link now, if it rests or is idle."""
        if self.state in ("resting", "idle"):
            self._resting.stop()
            self._open()

    def _open(self) -> None:
        self._idling.stop()
        self._opening = True
        self._attempt = self._board.open(self.pair).addCallbacks(self._opened, self._not_opened)
        self._attempt.addErrback(lambda why: log.failure("{link}: a mistake", why, link=self))

    def _opened(self, stream: OutgoingStream) -> None:
        self._opening = False
        self.stream, self.failure, self._failures = stream, None, 0
        stream.on_gone = self._gone
        stream.negotiated()
        self._used = self.since = self._clock.seconds()
        self._idling.start(self._board.settings.idle_timeout)
        log.info("{link}: up, by {proof}", link=self, proof=stream.proof)
        for stanza in self._dequeue():
            stream.send(stanza)
        if self._closing:
            stream.close(self._closing)

    def _not_opened(self, failure: Failure) -> None:
        self._opening = False
        if isinstance(failure.value, LinkError):
            self._fail(failure.value)
        else:
            log.failure("{link}: cannot be opened", failure, link=self)
            self._fail(LinkError("internal-server-error", "a mistake of ours"))

    def _fail(self, why: LinkError) -> None:
        self.failure = why
        self._failures += 1
        self.setback = Setback(self._clock.seconds(), self._failures, why)
        log.info("{link}: {condition}: {why}", link=self, condition=why.condition, why=why.why)
        if self._closing or not why.passing:
            self._bounce(self._dequeue(), why)
        if self._closing:
            self._board.forget(self)
        else:
            self._resting.start(_rest(self._failures))

    def _rested(self) -> None:
        if self._queue:
            self._open()
        else:
            self._idling.start(_REMEMBERED)

    # -- the end ------------------------------------------------------------------------------------

    def _idle(self) -> None:
        if self.stream is None:
            self._board.forget(self)
            return
        left = self._used + self._board.settings.idle_timeout - self._clock.seconds()
        if left > 0:
            self._idling.start(left)
        else:
            self.stream.close()

    def _gone(self, why: str) -> None:
        """The stream is gone.  What never left waits for the next one, unless the peer does not read."""
        stream, self.stream = self.stream, None
        assert stream is not None
        self._idling.stop()
        lost = stream.failure or LinkError("remote-server-timeout", why, passing=True)
        unsent = stream.unsent()
        if stream.gave_up or self._closing:
            self._bounce(unsent, lost)
        else:
            self._wait_again(unsent)
        if self._queue:
            self._fail(lost)
        else:
            self._board.forget(self)

    def _wait_again(self, stanzas: Iterable[Stanza]) -> None:
        for stanza in stanzas:
            try:
                self._enqueue(stanza)
            except StanzaError as error:
                self._board.bounce(stanza, error)

    def close(self, error: StreamError) -> None:
        """End the link in good order: what waits goes out first if an attempt is under way."""
        self._closing = error
        if self.stream is not None:
            self.stream.close(error)
        elif not self._opening:
            self.cut()

    def cut(self) -> None:
        """End the link now: what waits goes back."""
        self._idling.stop()
        self._resting.stop()
        self._too_old()
        if self.stream is not None:
            self.stream.abort()
        elif self._opening and self._attempt is not None:
            self._attempt.cancel()
        else:
            self._board.forget(self)
