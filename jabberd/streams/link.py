"""A link: our stream from one of our domains to one of theirs, and what waits for it.

A link is made by the first stanza, and forgotten when it has neither a stream, nor stanzas, nor a failure
to remember.  Every stanza is in the queue, or on the stream, or on its way back to its sender:

* *opening*: stanzas wait;
* *up*: they go straight to the stream, as long as there is room, and stay with it until they have a home;
* *resting*, after a failure: if the failure may pass they wait for the next attempt, but no longer than
  ``queue_age``; else they go back at once, until the rest is over;
* *idle*, after the rest: the failure is remembered, and the next stanza opens the link.

A stream is ours, or one of theirs that is turned around (XEP-0288): whichever the switchboard gives.  We
resume ours, for a while even if there is one of theirs: what has arrived would be said again on that.  Theirs
they resume, which is waited for a while.

When a stream is lost, what has no home yet waits for the next one, which resumes the old one if the peer
acknowledges and remembers it.  If it does not, what was not acknowledged is sent again, though it may have
arrived; when there is no next stream in time it goes back to its sender, though it may have arrived: XEP-0198
has no third way (§4), and silence would be the worst.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from twisted.logger import Logger

from jabberd.streams.parcel import Parcel
from jabberd.streams.proof import LinkError
from jabberd.streams.s2s import Timer
from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from jabberd.interfaces import ArchiveRow
    from jabberd.settings import Federation as Settings
    from jabberd.streams.acks import Acks
    from jabberd.streams.managed import ManagedStream
    from jabberd.streams.proof import Pair
    from jabberd.streams.spool import Spool
    from jabberd.xmpp.errors import StreamError
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Link", "Setback", "Switchboard"]

log = Logger()

_REMEMBERED: Final = 300.0  # seconds that a failure lengthens the rest after the next
_GRACE: Final = 10.0  # seconds in which the peer may resume its stream, and we ours for what it sends
_DEAD: Final = 15.0  # seconds that errors wait for a server that was never reached
_ENVELOPE: Final = 300  # bytes that a stanza has around its payload, more or less


def _rest(failures: int) -> float:
    """Seconds to rest after so many failures in a row, with jitter."""
    from twisted.application.internet import backoffPolicy  # noqa: PLC0415 - for a link that failed, not before

    policy: Callable[[int], float] = backoffPolicy(initialDelay=0.5, maxDelay=60.0, factor=2.0)
    return policy(failures)


class Switchboard(Protocol):
    """What all links share."""

    @property
    def clock(self) -> IReactorTime: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def spool(self) -> Spool: ...

    def open(self, pair: Pair, before: Acks | None, *, resume: bool) -> Deferred[ManagedStream]:
        """Turn a stream of theirs around, or connect and prove ourselves; fails with `LinkError`.

        :param before: what was acknowledged on the last stream, to go on from there.
        :param resume: connect, to do that, though there may be a stream of theirs.
        """

    def hold(self, size: int) -> bool:
        """Whether so many more bytes may be without a home, in all links together; they count from now on."""

    def release(self, size: int) -> None:
        """They have one."""

    def give_back(self, parcel: Parcel, error: StanzaError) -> None:
        """Send the stanza back or, if this server is about to stop, keep it for its next start."""

    def idle(self, link: Link) -> None:
        """The link has nothing but a failure to remember, until it is opened again."""

    def finished(self, link: Link) -> None:
        """The link stands."""

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
    :ivar begun_by: the account whose stanza made it open, as long as it does not stand.
    :ivar since: when the link came to be or, while it is up, when it came up, by the clock.
    """

    def __init__(self, board: Switchboard, pair: Pair) -> None:
        self.pair = pair
        self.stream: ManagedStream | None = None
        self.failure: LinkError | None = None
        self.setback: Setback | None = None
        self.begun_by: JID | None = None
        self.since = board.clock.seconds()
        self._board = board
        self._clock = board.clock
        self._queue: deque[Parcel] = deque()
        self._size = 0  # of the queue
        self._before: Acks | None = None  # of the stream that was lost, with what was not acknowledged
        self._lost = 0.0  # when the stream was lost
        self._reached = False  # it was up at least once
        self._owed = False  # there may be something for us on the stream that was lost
        self._used = 0.0
        self._failures = 0
        self._closing: StreamError | None = None
        self._opening = False
        self._attempt: Deferred[None] | None = None
        self._resting = Timer(board.clock, self._rested)
        self._idling = Timer(board.clock, self._idle)

    def __str__(self) -> str:
        return f"link from {self.pair.ours} to {self.pair.theirs}"

    @property
    def waiting(self) -> int:
        """How many stanzas wait to be sent."""
        return len(self._queue)

    @property
    def waiting_size(self) -> int:
        """How many bytes they have."""
        return self._size

    @property
    def unacknowledged(self) -> int:
        """How many stanzas were sent and have no home yet."""
        return len(self._sent)

    @property
    def oldest(self) -> float | None:
        """Since when, by the clock, the oldest of all these has had no home; None if there is none."""
        first = next(iter(self.homeless()), None)
        return first.at if first else None

    def homeless(self) -> Iterator[Parcel]:
        """All that has no home but the spool, oldest first."""
        yield from self._sent
        yield from self._queue

    @property
    def _sent(self) -> Sequence[Parcel]:
        if self.stream is not None:
            return self.stream.homeless
        return () if self._before is None else self._before.unacked

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

    def send(self, stanza: Stanza) -> Deferred[None] | None:
        """Send the stanza now, or when the link is up; see *Home* in `jabberd.interfaces`.

        :raises StanzaError: it cannot be sent and may not wait.
        """
        size = len(stanza.payload) + _ENVELOPE
        stream = self.stream
        goes = stream is not None and not self._queue and stream.room(size)
        if not goes:
            self._may_wait(size)
        if not self._board.hold(size):
            raise StanzaError("resource-constraint", f"too much waits for {self.pair.theirs}")
        parcel = Parcel(self, stanza, self._clock.seconds(), size)
        home = parcel.home
        if goes and stream is not None:
            self._used = parcel.at
            self._put_on(stream, parcel)
        else:
            self._enqueue(parcel)
        return home

    def _may_wait(self, size: int) -> None:
        limits = self._board.settings
        if self._resting.running and self.failure is not None and not self.failure.passing:
            raise self.failure.stanza_error()
        if len(self._queue) >= limits.queue or self._size + size > limits.queue_size:
            raise StanzaError("resource-constraint", f"too much waits for {self.pair.theirs}")

    def send_again(self, stanza: Stanza, row: ArchiveRow) -> None:
        """Send what the last process took, and left in the spool."""
        size = len(stanza.payload) + _ENVELOPE
        self._board.hold(size)
        self._enqueue(Parcel(self, stanza, self._clock.seconds(), size, row))

    def _enqueue(self, parcel: Parcel) -> None:
        self._queue.append(parcel)
        self._size += parcel.size
        if self.stream is None and not self._opening and not self._resting.running:
            self._open()

    def go_on(self) -> None:
        """See `jabberd.streams.managed.Rider`."""
        while self._queue and self.stream is not None and self.stream.room(self._queue[0].size):
            parcel = self._queue.popleft()
            self._size -= parcel.size
            self._put_on(self.stream, parcel)

    def _put_on(self, stream: ManagedStream, parcel: Parcel) -> None:
        """Send it; what is larger than the peer takes goes back, and costs nobody the stream."""
        most = stream.too_large(parcel.stanza)
        if most:
            said = f"{self.pair.theirs} takes stanzas of at most {most} bytes"
            self._board.give_back(parcel, StanzaError("policy-violation", said))
        else:
            stream.send(parcel)

    def settled(self, parcel: Parcel) -> None:
        """See `jabberd.streams.parcel.Carrier`."""
        self._board.release(parcel.size)
        self._board.spool.forget(parcel)

    def _left(self) -> list[Parcel]:
        """All that has no home and is on no stream; it is the caller's now."""
        before, self._before = self._before, None
        parcels = [*(before.taken() if before is not None else ()), *self._queue]
        self._queue.clear()
        self._size = 0
        return parcels

    def _bounce(self, parcels: Iterable[Parcel], why: LinkError) -> None:
        for parcel in parcels:
            self._board.give_back(parcel, why.stanza_error())

    def sweep(self, late: float, old: float) -> None:
        """Look after what has been without a home since before these times, by the clock.

        What is ``late`` goes into the spool.  What is ``old`` goes back; what was sent does when its stream
        has been lost, or its peer has acknowledged nothing, for so long.
        """
        stream = self.stream
        if stream is not None and stream.owing is not None and stream.owing < old:
            log.info("{link}: the peer does not acknowledge", link=self)
            stream.abort()
        elif stream is None and self._sent and self._lost < old:
            self._bounce(self._left(), self._too_long())
        while self._queue and self._queue[0].at < old:
            parcel = self._queue.popleft()
            self._size -= parcel.size
            self._bounce([parcel], self._too_long())
        if not self._reached:
            self._drop_errors(self._clock.seconds() - _DEAD)
        for parcel in self.homeless():
            if parcel.at > late:
                break
            self._board.spool.write(parcel)

    def _drop_errors(self, before: float) -> None:
        """Let go of errors that have waited since: nothing comes back for an error (RFC 6120 §8.3.1)."""
        queue, self._queue = self._queue, deque()
        for parcel in queue:
            if parcel.at < before and parcel.stanza.type == "error":
                self._size -= parcel.size
                parcel.settle()
            else:
                self._queue.append(parcel)

    def _too_long(self) -> LinkError:
        return self.failure or LinkError("remote-server-timeout", "no answer so far", passing=True)

    # -- opening ------------------------------------------------------------------------------------

    def retry(self) -> None:
        """Open the link now, if it rests or is idle."""
        if self.state in ("resting", "idle"):
            self._resting.stop()
            self._open()

    def _open(self) -> None:
        self._idling.stop()
        self._opening = True
        before = self._before
        resume = before is not None and before.resumable and self._clock.seconds() < self._lost + _GRACE
        opening = self._board.open(self.pair, before, resume=resume)
        self._attempt = opening.addCallbacks(self._opened, self._not_opened)
        self._attempt.addErrback(lambda why: log.failure("{link}: a mistake", why, link=self))

    def _opened(self, stream: ManagedStream) -> None:
        self._opening = False
        before, self._before = self._before, None
        if before is not None and stream.acks is not before:
            self._put_back(before.taken())
        self.stream, self.failure, self._failures = stream, None, 0
        stream.rider, self._reached, self._owed = self, True, False
        self._board.finished(self)
        stream.negotiated()
        self._used = self.since = self._clock.seconds()
        self._idling.start(self._board.settings.idle_timeout)
        log.info("{link}: up, by {proof}", link=self, proof=stream.proof)
        self.go_on()
        if self._closing:
            stream.finish(self._closing)

    def _put_back(self, parcels: list[Parcel]) -> None:
        """Let what was sent in vain wait again, before all the rest."""
        self._queue.extendleft(reversed(parcels))
        self._size += sum(parcel.size for parcel in parcels)

    def _not_opened(self, failure: Failure) -> None:
        self._opening, why = False, failure.value
        if not isinstance(why, LinkError):
            log.failure("{link}: cannot be opened", failure, link=self)
            why = LinkError("internal-server-error", "a mistake of ours")
        self._fail(why)

    def _fail(self, why: LinkError) -> None:
        self.failure = why
        self._failures += 1
        self.setback = Setback(self._clock.seconds(), self._failures, why)
        log.info("{link}: {condition}: {why}", link=self, condition=why.condition, why=why.why)
        if self._closing or not why.passing:
            self._bounce(self._left(), why)
        if self._closing:
            self._board.forget(self)
        else:
            self._resting.start(_rest(self._failures))

    def _rested(self) -> None:
        self._owed = self._owed and self._clock.seconds() < self._lost + _GRACE
        if self._queue or self._sent or self._owed:
            self._open()
        else:
            self._before = None
            self._idling.start(_REMEMBERED)
            self._board.idle(self)

    # -- the end ------------------------------------------------------------------------------------

    def _idle(self) -> None:
        if self.stream is None:
            self._board.forget(self)
            return
        timeout = self._board.settings.idle_timeout
        left = max(self._used, self.stream.used) + timeout - self._clock.seconds()
        if left > 0 or (self.stream.receiving and self._sent):
            self._idling.start(max(left, timeout / 2))
        elif self.stream.receiving:  # it is theirs to end
            self.stream.rider, self.stream = None, None
            self._board.forget(self)
        else:
            self.stream.finish()

    def moved(self, stream: ManagedStream) -> None:
        """See `jabberd.streams.managed.Rider`."""
        self.stream = stream

    def gone(self, why: str, left: list[Parcel]) -> None:
        """See `jabberd.streams.managed.Rider`: it waits for the next stream, unless the peer was given up."""
        stream, self.stream = self.stream, None
        assert stream is not None
        self._idling.stop()
        self._put_back(left)
        self._before, self._lost = stream.acks, self._clock.seconds()
        lost = stream.failure or LinkError("remote-server-timeout", why, passing=True)
        if stream.gave_up or self._closing:
            self._bounce(self._left(), lost)
        resumable = stream.lost and stream.bidi and stream.acks is not None and bool(stream.acks.id)
        self._owed = resumable and not stream.receiving
        if self._queue or self._sent or (self._owed and not self._closing):
            self._fail(lost)
            if resumable and stream.receiving and not self._closing:
                self._resting.start(_GRACE)
        else:
            self._board.forget(self)

    def close(self, error: StreamError) -> None:
        """End the link in good order: what waits goes out first if an attempt is under way."""
        self._closing = error
        if self.stream is not None:
            self.stream.finish(error)
        elif not self._opening:
            self.cut()

    def cut(self) -> None:
        """End the link now: what has no home goes back."""
        self._idling.stop()
        self._resting.stop()
        self._bounce(self._left(), self._too_long())
        if self.stream is not None:
            self.stream.abort()
        elif self._opening and self._attempt is not None:
            self._attempt.cancel()
        else:
            self._board.forget(self)
