"""Streams between servers that know what has arrived (XEP-0198), or at least what has left.

Where the peer acknowledges, what is sent is kept until it does.  Where it does not, "written to the
connection" is all that can be known: what was written two turns of the reactor ago, by when the system
has taken it unless the peer does not read.
"""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger

from jabberd.streams.acks import Acks, count_of, failed
from jabberd.streams.s2s import ServerStream, Terms, Timer
from jabberd.xmpp import ns
from jabberd.xmpp.element import E, serialize
from jabberd.xmpp.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Container

    from twisted.python.failure import Failure

    from jabberd.streams.acks import Kept
    from jabberd.streams.parcel import Parcel
    from jabberd.streams.proof import LinkError
    from jabberd.streams.protocol import StreamProtocol
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.parser import Nonza
    from jabberd.xmpp.stanza import Stanza

__all__ = ["ManagedStream", "Rider"]

log = Logger()

_GATHERED: Final = 0.1  # seconds in which requests and acknowledgements gather
_ASKED_AFTER: Final = 64  # stanzas after which nobody waits for more
_ASKED_AGAIN: Final = 5.0  # seconds between requests when nothing more is sent
_LAST_ACKS: Final = 1.0  # seconds that the end of a stream waits for acknowledgements
_ALL_HOME: Final = 20.0  # seconds that a resumption waits for what came on the stream before


class Rider(Protocol):
    """Whoever sends on a stream: a link."""

    def gone(self, why: str, left: list[Parcel]) -> None:
        """The connection is gone, and this was sent in vain; what can be acknowledged yet is not in it."""

    def go_on(self) -> None:
        """There is room for more."""

    def moved(self, stream: ManagedStream) -> None:
        """The peer goes on with another stream; what was sent on the last one is on it."""


class ManagedStream(ServerStream):
    """What both directions have in common, and all that is needed where stanzas go both ways (XEP-0288).

    :ivar bidi: stanzas go both ways, once the peer is authenticated.
    :ivar proof: how the one who opened it proved itself: ``certificate`` or ``dialback``; empty until then.
    :ivar failure: what the peer said was wrong, if it did.
    :ivar lost: the connection broke: neither side had ended the stream.
    :ivar used: when the peer's last stanza came, by the clock.
    :ivar acks: what is acknowledged on this stream; None if nothing is.
    :ivar gave_up: the peer did not read or acknowledge, and the connection was cut.
    :ivar owing: since when the peer has acknowledged (or at least read) nothing of what it was sent; None: it
        owes nothing.
    :ivar rider: who sends on it, once it is authenticated.
    """

    in_flight: ClassVar[int] = 1024  # of many users: one who is slow must not stop the others

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self.acks: Acks | None = None
        self.bidi = False
        self.proof = ""
        self.failure: LinkError | None = None
        self.lost = False
        self.used = 0.0
        self.gave_up = False
        self.owing: float | None = None
        self.rider: Rider | None = None
        self._again: deque[Parcel] = deque()  # what was sent on another stream and is to be sent on this one
        self._departing: deque[Parcel] = deque()  # where nothing is acknowledged: what has no home yet
        self._departed = 0  # of those, what was written before the last turn
        self._turn = Timer(self.clock, self._turned)
        self._news = False  # something was sent since we asked for acknowledgements
        self._asked = False  # and have no answer
        self._asking = Timer(self.clock, self._ask)
        self._answering = Timer(self.clock, self._answer)
        self._answered = 0
        self._farewell: StreamError | None = None
        self._ending = Timer(self.clock, self._end)

    # -- sending ------------------------------------------------------------------------------------

    def room(self, size: int) -> bool:
        """Whether so many more bytes may be sent before some of what was is acknowledged."""
        if self.ended or self._again or self._unread + size > self.settings.unread // 2:
            return False
        acks, terms = self.acks, self.terms
        return acks is None or (len(acks.unacked) < terms.unacked and acks.size + size <= terms.unacked_size)

    def send(self, parcel: Parcel) -> None:
        """Send a stanza on an authenticated stream."""
        self.settings.traffic.sent[parcel.stanza.name] += 1
        if self.owing is None:
            self.owing = self.clock.seconds()
        if self.acks is not None:
            self.acks.sent(parcel)
            self.write(parcel.stanza.to_scope(ns.SERVER))
            self._news = True
            if not self._asked:
                if len(self.acks.unacked) % _ASKED_AFTER == 0:
                    self._ask()
                elif not self._asking.running:
                    self._asking.start(_GATHERED)
            return
        self._departing.append(parcel)
        self.write(parcel.stanza.to_scope(ns.SERVER), parcel.stanza)
        if not self._turn.running:
            self._turn.start(0)

    def _turned(self) -> None:
        """See above; when the peer does not read, `resumeProducing` goes on."""
        if self._blocked:
            self._departed = 0
            return
        for _ in range(self._departed):
            self._departing.popleft().settle()
        if self._departed and self.acks is None:
            self.owing = self.clock.seconds() if self._departing else None
        self._departed = len(self._departing)
        if self._departed and not self.ended:
            self._turn.start(0)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self._departing and not self._turn.running:
            self._turn.start(0)
        self._there_is_room()

    def _there_is_room(self) -> None:
        while self._again and not self._blocked:
            self.write(self._again.popleft().stanza.to_scope(ns.SERVER))
        if self.rider is not None and not self._blocked:
            self.rider.go_on()

    @property
    def homeless(self) -> list[Parcel]:
        """What was sent and has no home yet, in order."""
        return [*self._departing, *(self.acks.unacked if self.acks is not None else ())]

    def too_large(self, stanza: Stanza) -> int:  # noqa: ARG002  # whoever opened a stream does not say (XEP-0478 §4)
        """How many bytes the peer takes at most, if the stanza is larger; else 0."""
        return 0

    # -- what the peer acknowledges -----------------------------------------------------------------

    def _ask(self) -> None:
        if self.acks is not None and self.acks.unacked and not self._asked:
            self._asked, self._news = True, False
            self.write(serialize(E(ns.SM, "r")))

    def on_a(self, nonza: Nonza) -> None:
        """The peer has handled so many (§4); ask again at once only for what it cannot have counted."""
        if self.acks is None:
            raise StreamError("policy-violation", "stream management is not enabled")
        self._asked = False
        if self.acks.acknowledged(count_of(nonza.element())):
            self.owing = self.clock.seconds() if self.acks.unacked else None
        if not self.acks.unacked:
            self._asking.stop()
            if self._ending.running:
                self._end()
        else:
            self._asking.start(_GATHERED if self._news else _ASKED_AGAIN)
        self._there_is_room()

    # -- what we acknowledge ------------------------------------------------------------------------

    def count(self, home: Deferred[None] | None) -> Deferred[None] | None:
        """Count a stanza of the peer's, when it has a home; see `jabberd.interfaces`."""
        self.used = self.heard
        if self.acks is not None:
            self.acks.received(home)
            if home is not None:
                home.addCallback(self._came_home)
        return home

    def _came_home(self, _: None) -> None:
        """Tell the peer without being asked: it had asked too early, perhaps."""
        if not self.ended and not self._answering.running:
            self._answering.start(_GATHERED)

    def on_r(self, _: Nonza) -> None:
        """Say at once how many stanzas have a home (§4)."""
        if self.acks is None:
            raise StreamError("policy-violation", "stream management is not enabled")
        self._answered = -1
        self._answer()

    def _answer(self) -> None:
        if self.acks is not None and self._answered != self.acks.handled:
            self._answered = self.acks.handled
            self.write(serialize(E(ns.SM, "a", {"h": str(self._answered)})))

    # -- as the one who was connected to ------------------------------------------------------------

    def enable(self, kept: Kept, pair: tuple[str, str], request: Element) -> None:
        """Start to count (§3)."""
        if self.acks is not None:
            self.write(serialize(failed("unexpected-request")))
            raise StreamError("policy-violation", "stream management is enabled already")
        resumable = request.get("resume") in ("true", "1")
        self.acks = Acks(secrets.token_urlsafe(18) if resumable else "", issued=True)
        attrs: dict[str, str | None] = {}
        if resumable:
            kept.add(self.acks, pair, self)
            attrs = {"id": self.acks.id, "resume": "true", "max": str(int(kept.limit))}
        self.write(serialize(E(ns.SM, "enabled", attrs)))

    async def resume(self, kept: Kept, pairs: Container[tuple[str, str]], request: Element) -> None:
        """Go on with the counts of a stream that was lost (§5); unknown and foreign ones look the same.

        What came on that stream and has no home yet is waited for: else the peer would say it again.  What
        went the other way cannot go on where stanzas go one way only, or when it has been sent anew; the peer
        is told then what has arrived of its own.
        """
        found = kept.find(request.get("previd", ""), pairs, self.clock.seconds())
        if self.acks is not None or found is None:
            self.write(serialize(failed("unexpected-request" if self.acks else "item-not-found")))
            return
        acks, old = found
        if not acks.spent:
            acks.acknowledged(count_of(request))
        old.close(StreamError("conflict", "resumed on another connection"))
        await self.homes(acks)
        if self.ended:
            return
        if acks.spent or (acks.unacked and not self.bidi):
            self.write(serialize(failed("item-not-found", acks.handled)))
            return
        acks.resumed()
        self.acks, self._answered = acks, acks.handled
        self._follow(kept.moved(acks, self))
        self.write(serialize(E(ns.SM, "resumed", {"previd": acks.id, "h": str(acks.handled)})))
        self.say_again()

    def _follow(self, last: StreamProtocol | None) -> None:
        """Go on in place of that stream: the one that was resumed, or one that resumed it meanwhile."""
        if self.bidi and isinstance(last, ManagedStream) and last.rider is not None:
            self.rider, last.rider = last.rider, None
            self.rider.moved(self)
        if last is not None and not last.ended:
            last.close(StreamError("conflict", "resumed on another connection"))

    async def homes(self, acks: Acks) -> None:
        """Wait until all that came on a stream that was lost has a home: what has none is said again."""
        try:
            await acks.all_home().addTimeout(_ALL_HOME, self.clock)
        except DeferredTimeoutError:
            log.info("{stream}: resumed before all that came had a home", stream=self)

    def say_again(self) -> None:
        """Send what was not acknowledged before."""
        assert self.acks is not None
        self._again.extend(self.acks.unacked)
        self.owing = self.clock.seconds() if self._again else None
        self._news = True
        self._asking.start(_GATHERED)
        self._there_is_room()

    # -- the end ------------------------------------------------------------------------------------

    def finish(self, error: StreamError | None = None) -> None:
        """End the stream when all that was sent has a home, or before long."""
        self._farewell = error
        if self.acks is None or not self.acks.unacked or self.ended:
            self._end()
        else:
            self._asked = False
            self._ask()
            self._ending.start(_LAST_ACKS)

    def _end(self) -> None:
        self._ending.stop()
        self.close(self._farewell)

    def close(self, error: StreamError | None = None) -> None:
        """See `StreamProtocol`; the peer is told before what has arrived (§4)."""
        if not self.ended and not self._blocked:
            self._answer()
        super().close(error)

    def on_over(self) -> None:
        for timer in (self._asking, self._answering, self._ending):
            timer.stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = not self.ended
        super().connectionLost(reason)

    def on_end(self, why: str) -> None:
        self._turn.stop()
        left = [*self._departing]
        self._departing.clear()
        self._outbox.clear()
        rider, self.rider = self.rider, None
        if rider is not None:
            rider.gone(why, left)

    def abort(self) -> None:
        """See `StreamProtocol`: whoever cuts the connection gives the peer up."""
        self.gave_up = True
        super().abort()
