"""XEP-0198: acknowledgements, and streams that go on after a lost connection.

What is sent to a client that acknowledges is kept until it does.  What it has not acknowledged
after a second is written to a *spool*, which is read back at the next start, so that a message
taken from its sender survives this process; what a client never acknowledges goes to another
resource or waits for the account.
"""

from __future__ import annotations

import secrets
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from jabberd.api import Archive, Duration, E, Element, Module, Settings, Stanza, StanzaError, nonza
from jabberd.xmpp import ns
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twisted.internet.interfaces import IDelayedCall

    from jabberd.api import Session
    from jabberd.interfaces import ArchiveRow, Outlet, Security

NS: Final = "urn:xmpp:sm:3"
ROUND: Final = 1 << 32  #: counts start again behind this (§4)

_SPOOLED_AFTER: Final = 1.0  # seconds without an acknowledgement
_SWEEP: Final = 0.5
_DELAY: Final = f"{{{ns.DELAY}}}delay"


class StreamManagement(Module, xep=198, version="1.6.3"):
    """Acknowledges stanzas, and lets a client resume a session whose connection was lost."""

    stream_features = (E(NS, "sm"),)

    class Config(Settings):
        """How long and how much is kept.

        :ivar resumable: how long a session waits for its client after a lost connection.
        :ivar queue: the most stanzas that a client may leave unacknowledged.
        """

        resumable: Duration = 600.0
        queue: Annotated[int, Field(ge=1)] = 1000

    config: Config

    spool = Archive("spool")

    async def start(self) -> None:
        """Deliver what the last process took but did not see acknowledged."""
        self._kept: dict[str, Acknowledged] = {}
        self._all: set[Acknowledged] = set()
        self._sweep = LoopingCall(self._spool_late)
        self._sweep.clock = self.domain.clock
        self._sweep.start(_SWEEP, now=False)
        for row in await self.spool.rows(self.domain.jid):
            self._again(row)

    async def stop(self) -> None:
        """Stop looking after what is late; sessions have ended by now."""
        self._sweep.stop()

    # -- what a client says -------------------------------------------------------------------------

    @nonza(NS, "enable")
    def enable(self, session: Session, request: Element) -> None:
        """Start to count (§3)."""
        if isinstance(session.outlet, Acknowledged):
            session.outlet.say(_failed("unexpected-request"))
            raise StreamError("policy-violation", "stream management is enabled already")
        kept = Acknowledged(self, session, resumable=request.get("resume") in ("true", "1"))
        session.outlet = session.keeper = kept
        self._all.add(kept)
        if kept.id:
            self._kept[kept.id] = kept
        kept.say(E(NS, "enabled", kept.enabled()))

    @nonza(NS, "r")
    def requested(self, session: Session, _request: Element) -> None:
        """Say at once how many stanzas have a home (§4)."""
        self._of(session).answer()

    @nonza(NS, "a")
    def acknowledged(self, session: Session, answer: Element) -> None:
        """The client has got so many (§4)."""
        self._of(session).acknowledged(_count(answer))

    @nonza(NS, "resume")
    def resume_late(self, session: Session, _request: Element) -> None:
        """A session that has a resource already cannot become another one (§5)."""
        session.outlet.say(_failed("unexpected-request"))

    @nonza(NS, "enable", bound=False)
    def enable_early(self, _username: str, outlet: Outlet, _request: Element) -> None:
        """Nothing is counted before a resource is bound (§3)."""
        outlet.say(_failed("unexpected-request"))

    @nonza(NS, "resume", bound=False)
    def resume(self, username: str, outlet: Outlet, request: Element) -> Session | None:
        """Go on with a session whose connection was lost (§5); unknown and foreign ones look the same."""
        kept = self._kept.get(request.get("previd", ""))
        if kept is None or kept.session.jid.localpart != username:
            outlet.say(_failed("item-not-found"))
            return None
        kept.resume(outlet, _count(request))
        return kept.session

    @staticmethod
    def _of(session: Session) -> Acknowledged:
        if not isinstance(session.outlet, Acknowledged):
            raise StreamError("policy-violation", "stream management is not enabled")
        return session.outlet

    # -- what nobody acknowledged -------------------------------------------------------------------

    def forget(self, kept: Acknowledged) -> None:
        """The session has ended."""
        self._all.discard(kept)
        self._kept.pop(kept.id, None)

    def redeliver(self, sent: Sequence[Sent], owner: Session) -> None:
        """Treat what was never acknowledged as for an unavailable resource (§4)."""
        for each in sent:
            stanza = each.stanza
            if stanza.name == "message":
                delayed = _delayed(stanza, each.stamp, self.domain.jid)
                self.domain.redeliver(delayed.with_attrs(to=owner.jid.bare)).addCallback(each.settled)
            elif stanza.name == "iq" and stanza.type in ("get", "set") and stanza.sender is not None:
                self.domain.route(stanza.error(StanzaError("service-unavailable")))

    def _again(self, row: ArchiveRow) -> None:
        stanza = Stanza.from_standalone(row.stanza)
        home = self.domain.redeliver(_delayed(stanza, row.stamp, self.domain.jid))
        home.addCallback(lambda _: self._remove([row.id]))

    def _spool_late(self) -> None:
        late = self.domain.clock.seconds() - _SPOOLED_AFTER
        for kept in list(self._all):
            for sent in kept.late(late):
                self._spool(sent, kept)

    def _spool(self, sent: Sent, kept: Acknowledged) -> None:
        stanza = sent.stanza.with_attrs(to=kept.session.jid.bare)
        written = self.spool.append(
            self.domain.jid, kept.session.jid.bare, sent.stamp, stanza.to_standalone()
        )
        written.addCallback(sent.spooled)
        written.addErrback(lambda why: self.log.failure("a message cannot be spooled", why))

    def _remove(self, ids: Iterable[int]) -> None:
        removed = self.spool.remove(self.domain.jid, ids)
        removed.addErrback(lambda why: self.log.failure("the spool cannot be emptied", why))

    def unspool(self, row: int) -> None:
        """A message in the spool has a better home now."""
        self._remove([row])


class Sent:
    """A stanza on its way to a client that acknowledges.

    :ivar home: fires when the message has a home: the client's ``<a/>``, the spool, or wherever it
        went instead.  None for what nobody waits for.
    """

    __slots__ = ("_module", "_over", "_row", "at", "home", "spooling", "stamp", "stanza")

    def __init__(self, module: StreamManagement, stanza: Stanza) -> None:
        self._module = module
        self.stanza = stanza
        self.at = module.domain.clock.seconds()
        self.stamp = datetime.fromtimestamp(self.at, UTC)
        self.home: Deferred[None] | None = Deferred() if stanza.name == "message" else None
        self.spooling = False
        self._row: int | None = None
        self._over = False

    def spooled(self, row: int) -> None:
        """It is in the spool: if need be the next process delivers it."""
        self._row = row
        self._fire()
        if self._over:
            self._module.unspool(row)

    def settled(self, _: None = None) -> None:
        """It has another home, and is needed in the spool no more."""
        self._over = True
        self._fire()
        if self._row is not None:
            self._module.unspool(self._row)

    def _fire(self) -> None:
        home, self.home = self.home, None
        if home is not None:
            home.callback(None)


class Acknowledged:
    """A session's outlet that remembers what was sent until the client has acknowledged it.

    It stays when the stream is lost, and takes the next stream when the client resumes.  It is the
    session's `jabberd.interfaces.Outlet` and its `jabberd.interfaces.Keeper`.

    :ivar id: by which the client resumes; empty if it did not ask for that.
    """

    def __init__(self, module: StreamManagement, session: Session, *, resumable: bool) -> None:
        self.session = session
        self.id = secrets.token_urlsafe(18) if resumable else ""
        self._module = module
        self._outlet: Outlet | None = session.outlet
        self._last = (session.outlet.security, session.outlet.address)
        self._queue: deque[Sent] = deque()
        self._acknowledged = 0  # by the client, all in all
        self._asked = False  # an <r/> of ours has no answer yet
        self._handled = 0  # of the client's stanzas, all before the first without a home
        self._waiting: deque[list[bool]] = deque()
        self._answered = -1  # what our last <a/> said
        self._timer: IDelayedCall | None = None

    def enabled(self) -> dict[str, str | None]:
        """The attributes of ``<enabled/>``."""
        if not self.id:
            return {}
        return {"id": self.id, "resume": "true", "max": str(int(self._module.config.resumable))}

    # -- the session's outlet -----------------------------------------------------------------------

    @property
    def security(self) -> Security:
        """Of the stream, or of the last one."""
        return self._outlet.security if self._outlet else self._last[0]

    @property
    def address(self) -> str:
        """Of the stream, or of the last one."""
        return self._outlet.address if self._outlet else self._last[1]

    @property
    def waits(self) -> bool:
        """See `jabberd.interfaces.Outlet`."""
        return self._outlet is None

    @property
    def queued(self) -> list[Stanza]:
        """What the client has not acknowledged."""
        return [sent.stanza for sent in self._queue]

    def send(self, stanza: Stanza) -> Deferred[None] | None:
        """Send it now or when the client is back, and keep it until it is acknowledged."""
        sent = Sent(self._module, stanza)
        self._queue.append(sent)
        home = sent.home
        if self._outlet is not None:
            self._outlet.send(stanza)
            self._ask()
        if len(self._queue) > self._module.config.queue:
            self.session.close(StreamError("resource-constraint", "too much is not acknowledged"))
        return home

    def say(self, element: Element) -> None:
        """Put a first-level element on the stream, if there is one."""
        if self._outlet is not None:
            self._outlet.say(element)

    def drained(self) -> Deferred[None]:
        """See `jabberd.interfaces.Outlet`; nobody waits for a client that may not come back."""
        if self._outlet is not None:
            return self._outlet.drained()
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def close(self, error: StreamError | None = None) -> None:
        """End the stream."""
        if self._outlet is not None:
            self._outlet.close(error)

    # -- what the client acknowledges ---------------------------------------------------------------

    def _ask(self) -> None:
        """Ask how much has arrived, once at a time."""
        if not self._asked and self._queue:
            self._asked = True
            self.say(E(NS, "r"))

    def acknowledged(self, count: int) -> None:
        """The client says how many stanzas it has handled; ask again if there are more."""
        self._settle(count)
        self._asked = False
        self._ask()

    def _settle(self, count: int) -> None:
        """What the client has handled, modulo 2^32, has a home."""
        fresh = (count - self._acknowledged) % ROUND
        if fresh > len(self._queue):
            raise StreamError(
                "undefined-condition",
                "you acknowledge more than was sent",
                application=(NS, "handled-count-too-high"),
            )
        self._acknowledged = count
        for _ in range(fresh):
            self._queue.popleft().settled()

    def late(self, before: float) -> Iterable[Sent]:
        """The messages that were sent before that time and have no home; each is told once."""
        for sent in self._queue:
            if sent.at > before:
                break
            if sent.home is not None and not sent.spooling:
                sent.spooling = True
                yield sent

    # -- what we acknowledge ------------------------------------------------------------------------

    def received(self, home: Deferred[None] | None) -> None:
        """Count a stanza of the client's, when it has a home (§4)."""
        if home is None and not self._waiting:
            self._handled = (self._handled + 1) % ROUND
            return
        taken = [home is None]
        self._waiting.append(taken)
        if home is not None:
            home.addCallback(self._homed, taken)

    def _homed(self, _: None, taken: list[bool]) -> None:
        taken[0] = True
        while self._waiting and self._waiting[0][0]:
            self._waiting.popleft()
            self._handled = (self._handled + 1) % ROUND
        if not self._waiting and self._answered not in (-1, self._handled):
            self.answer()  # it asked before all it had sent had a home

    def answer(self) -> None:
        """Say how many stanzas of the client's have a home."""
        self._answered = self._handled
        self.say(E(NS, "a", {"h": str(self._handled)}))

    # -- a lost stream ------------------------------------------------------------------------------

    def lost(self, stream: Outlet) -> bool:
        """See `jabberd.interfaces.Keeper`: True if the session waits for its client."""
        if stream is not self._outlet:
            return True  # the session has another one already
        self._last = (stream.security, stream.address)
        self._outlet = None
        self._asked = False
        if not self.id:
            return False
        self._timer = self._module.domain.clock.callLater(self._module.config.resumable, self._given_up)
        return True

    def _given_up(self) -> None:
        self._timer = None
        self.session.close()

    def resume(self, outlet: Outlet, count: int) -> None:
        """Go on with this stream; ``count``: what the client has got before (§5)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        old, self._outlet = self._outlet, outlet
        if old is not None:
            old.close(StreamError("conflict", "resumed on another connection"))
        self._settle(count)
        self.say(E(NS, "resumed", {"previd": self.id, "h": str(self._handled)}))
        self._answered = self._handled
        for sent in self._queue:
            outlet.send(sent.stanza)
        self._asked = False
        self._ask()

    def ended(self) -> None:
        """See `jabberd.interfaces.Keeper`: what was not acknowledged goes elsewhere."""
        self._outlet = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._module.forget(self)
        left, self._queue = list(self._queue), deque()
        self._module.redeliver(left, self.session)


def _count(element: Element) -> int:
    text = element.get("h", "")
    if not (text.isascii() and text.isdecimal()) or int(text) >= ROUND:
        raise StreamError("policy-violation", "h is a number below 2^32")
    return int(text)


def _failed(condition: str) -> Element:
    return E(NS, "failed", None, E(ns.STANZA_ERRORS, condition))


def _delayed(stanza: Stanza, stamp: datetime, by: str) -> Stanza:
    """With a note of when it was first sent (XEP-0203), unless it has one."""
    if _DELAY in stanza.children:
        return stanza
    return stanza.with_child(E(ns.DELAY, "delay", {"from": by, "stamp": to_stamp(stamp)}))
