"""The end of a session that acknowledges: it counts, and it outlives its stream."""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, succeed

from jabberd.api import E, SessionResumed
from jabberd.modules.sm.sent import Sent
from jabberd.xmpp.element import Sealed
from jabberd.xmpp.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IDelayedCall

    from jabberd.api import Element, Session, Stanza
    from jabberd.interfaces import Outlet, Security
    from jabberd.modules.sm import StreamManagement

__all__ = ["NS", "ROUND", "Acknowledged"]

NS: Final = "urn:xmpp:sm:3"
ROUND: Final = 1 << 32  #: counts start again behind this (§4)
# Said for nearly every message, and so not built as trees
_NAMESPACE: Final = NS.encode()
_ANSWER: Final = f"{{{NS}}}a"
_ANSWERED: Final = b"<a xmlns='%s' h='%%d'/>" % _NAMESPACE
_REQUEST: Final = Sealed(f"{{{NS}}}r", b"<r xmlns='%s'/>" % _NAMESPACE)


class Acknowledged:
    """A session's outlet that remembers what was sent until the client has acknowledged it.

    It stays when the stream is lost, and takes the next stream when the client resumes.  It is the
    session's `jabberd.interfaces.Outlet` and its `jabberd.interfaces.Keeper`.

    :param resumable: for how many seconds it waits for its client; 0: it does not.
    :ivar id: by which the client resumes; empty if it did not ask for that.
    """

    def __init__(self, module: StreamManagement, session: Session, *, resumable: float) -> None:
        self.session = session
        self.id = secrets.token_urlsafe(18) if resumable else ""
        self._resumable = resumable
        self._module = module
        self._outlet: Outlet | None = session.outlet
        self._last = (session.outlet.security, session.outlet.address)
        self._queue: deque[Sent] = deque()
        self._behind: deque[Sent] | None = None  # the end of the queue, until a resumed stream takes it
        self._size = 0  # of their payloads
        self._acknowledged = 0  # by the client, all in all
        self._asked = False  # an <r/> of ours has no answer yet
        self._handled = 0  # of the client's stanzas, all before the first without a home
        self._waiting: deque[list[bool]] = deque()
        self._all_home: list[Deferred[None]] = []
        self._answered = -1  # what our last <a/> said
        self._timer: IDelayedCall | None = None

    def enabled(self) -> dict[str, str | None]:
        """The attributes of ``<enabled/>``."""
        if not self.id:
            return {}
        return {"id": self.id, "resume": "true", "max": str(int(self._resumable))}

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
        return self._send(Sent(self._module, stanza))

    def keep(self, stanza: Stanza, since: float) -> None:
        """See `jabberd.interfaces.Keeper`."""
        sent = Sent(self._module, stanza)
        sent.at = since
        self._send(sent)

    def _send(self, sent: Sent) -> Deferred[None] | None:
        stanza = sent.stanza
        self._queue.append(sent)
        self._size += len(stanza.payload)
        home = sent.home
        if self._behind:  # in its turn
            self._behind.append(sent)
        elif self._outlet is not None:
            self._outlet.send(stanza)
            self._ask()
        config = self._module.config
        if len(self._queue) > config.queue or self._size > config.queue_size:
            self._module.met["queue" if len(self._queue) > config.queue else "queue_size"] += 1
            self.session.close(StreamError("resource-constraint", "too much is not acknowledged"))
        return home

    def say(self, element: Element | Sealed) -> None:
        """Put a first-level element on the stream, if there is one."""
        if self._outlet is not None:
            self._outlet.say(element)

    def drained(self) -> Deferred[None]:
        """See `jabberd.interfaces.Outlet`; nobody waits for a client that may not come back."""
        if self._outlet is not None:
            return self._outlet.drained()
        return succeed(None)

    def close(self, error: StreamError | None = None) -> None:
        """End the stream."""
        if self._outlet is not None:
            self._outlet.close(error)

    # -- what the client acknowledges ---------------------------------------------------------------

    def _ask(self) -> None:
        """Ask how much has arrived, once at a time."""
        if not self._asked and self._queue:
            self._asked = True
            self.say(_REQUEST)

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
            sent = self._queue.popleft()
            self._size -= len(sent.stanza.payload)
            sent.settled()

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
        if self._waiting:
            return
        if self._answered not in (-1, self._handled):
            self.answer()  # it asked before all it had sent had a home
        told, self._all_home = self._all_home, []
        for each in told:
            each.callback(None)

    def all_home(self) -> Deferred[None]:
        """Fires when everything that the client has said has a home; may be cancelled."""
        if not self._waiting:
            return succeed(None)
        self._all_home.append(Deferred(self._all_home.remove))
        return self._all_home[-1]

    def answer(self) -> None:
        """Say how many stanzas of the client's have a home."""
        self._answered = handled = self._handled
        if self._outlet is not None:
            self._outlet.say(Sealed(_ANSWER, _ANSWERED % handled))

    # -- a lost stream ------------------------------------------------------------------------------

    def lost(self, stream: Outlet) -> bool:
        """See `jabberd.interfaces.Keeper`: True if the session waits for its client."""
        if stream is not self._outlet:
            return True  # the session has another one already
        self._last = (stream.security, stream.address)
        self._outlet = None
        self._asked = False
        self._behind = None
        if not self.id:
            return False
        self._timer = self._module.domain.clock.callLater(self._resumable, self._given_up)
        return True

    def _given_up(self) -> None:
        self._timer = None
        self.session.close()

    def part(self) -> None:
        """End the stream that there may still be: the client has another one."""
        if self._outlet is not None:
            self._outlet.close(StreamError("conflict", "resumed on another connection"))

    def resume(self, outlet: Outlet, count: int) -> Element:
        """Go on with this stream, and `resend` when the client knows; ``count``: what it has got before (§5).

        :returns: what tells it.
        """
        self._settle(count)
        self.part()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._outlet = outlet
        self._waiting.clear()  # the client says again what we do not count now; that is counted then
        self._answered = self._handled
        return E(NS, "resumed", {"previd": self.id, "h": str(self._handled)})

    def resend(self) -> None:
        """Send what the client has not got (§5), no faster than it reads: a stream may not hold as much."""
        self._asked = False
        if self._queue and self._outlet is not None:
            self._behind = deque(self._queue)
            Deferred.fromCoroutine(self._catch_up(self._outlet))
        self._module.domain.fire(SessionResumed(self.session.account, self.session))

    async def _catch_up(self, outlet: Outlet) -> None:
        while self._behind and self._outlet is outlet:
            outlet.send(self._behind.popleft().stanza)
            if self._behind:
                await outlet.drained()
        if self._outlet is outlet:
            self._behind = None
            self._ask()

    def ended(self) -> None:
        """See `jabberd.interfaces.Keeper`: what was not acknowledged goes elsewhere."""
        returning = self.id and self._outlet is None and self.session.account.exists
        handled = self._handled if returning else None
        self._outlet = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._module.forget(self, handled=handled)
        left, self._queue, self._size = list(self._queue), deque(), 0
        self._behind = None
        self._module.redeliver(left, self.session)
