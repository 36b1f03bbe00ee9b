"""Messages that the storage refuses just now: they wait for it, and nobody has to hear that they are lost.

A bounce would be a poor home for them: whoever sent them may be gone by the time that it comes, and nobody
keeps an error (RFC 6121 §8.5.3.2.1).  A message that waits here has no home and is not acknowledged (XEP-0198
§4), so a server that is killed meanwhile loses none: its sender says it again.  Newer ones may have overtaken
it before the storage said no, so it says when it came (XEP-0203).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from jabberd.interfaces import StorageError
from jabberd.jsm.delivery import worth_storing

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from jabberd.xmpp.stanza import Stanza

    #: Delivers what came at that time; fails with `StorageError` if it does not go yet.
    Again = Callable[[Stanza, datetime], Deferred[None]]

__all__ = ["PATIENCE", "Unstored"]

PATIENCE: Final = 30.0  #: seconds for which a storage may fail before messages go back at once
AGAIN: Final = 0.5  #: seconds between attempts
MOST: Final = 2_000  #: messages that wait in one domain, ``MOST_BYTES`` together
MOST_BYTES: Final = 8 << 20


@dataclass(slots=True)
class _Message:
    stanza: Stanza
    since: datetime
    deliver: Again
    home: Deferred[None] = field(default_factory=Deferred)

    def tried(self) -> Deferred[None]:
        return self.deliver(self.stanza, self.since)


class Unstored:
    """The messages of one domain that wait for its storage, in order for each account.

    :param give_up: sends one back; gives the home of its bounce.
    :ivar waiting: by account (a bare JID), what waits for it: what comes next has to wait behind that.
    """

    def __init__(self, clock: IReactorTime, give_up: Callable[[Stanza], Deferred[None]]) -> None:
        self._clock = clock
        self._give_up = give_up
        self.waiting: dict[str, deque[_Message]] = {}
        self._calls: dict[str, IDelayedCall] = {}
        self._count = self._bytes = 0
        self._since = self._last = float("-inf")  # when the storage began to fail, and when it failed last

    def keep(self, stanza: Stanza, deliver: Again, since: datetime | None = None) -> Deferred[None]:
        """Let an addressed message wait, or send it back; see *Home* in `jabberd.interfaces`.

        :param since: when it came, if not just now.
        """
        size = len(stanza.payload)
        if self._is_hopeless or self._count >= MOST or self._bytes + size > MOST_BYTES:
            return self._give_up(stanza)
        assert stanza.to is not None  # it was delivered
        came = since or datetime.fromtimestamp(self._clock.seconds(), UTC)
        account, message = stanza.to.bare, _Message(stanza, came, deliver)
        self._count += 1
        self._bytes += size
        if account in self.waiting:
            self.waiting[account].append(message)
        else:
            self.waiting[account] = deque([message])
            self._try_later(account)
        return message.home

    def refused(self, stanza: Stanza, deliver: Again, since: datetime | None = None) -> Deferred[None]:
        """The storage did not take that stanza just now: let it wait if it is a message to be stored."""
        self._failed()
        if stanza.name == "message" and worth_storing(stanza):
            return self.keep(stanza, deliver, since)
        return self._give_up(stanza)

    def _failed(self) -> None:
        now = self._clock.seconds()
        if now - self._last > PATIENCE:
            self._since = now
        self._last = now

    @property
    def _is_hopeless(self) -> bool:
        return self._clock.seconds() - self._since > PATIENCE >= self._clock.seconds() - self._last

    def end(self) -> None:
        """Try no more: what waits has no home, and its senders were not told that it had."""
        self.waiting.clear()
        for call in self._calls.values():
            call.cancel()
        self._calls.clear()

    def _try_later(self, account: str) -> None:
        self._calls[account] = self._clock.callLater(AGAIN, self._try, account)

    def _try(self, account: str) -> None:
        """Deliver the oldest; when it has a home, all that wait behind it."""
        del self._calls[account]
        tried = self.waiting[account][0].tried()
        tried.addCallbacks(
            self._delivered, self._not_delivered, callbackArgs=(account,), errbackArgs=(account,)
        )

    def _delivered(self, _: object, account: str) -> None:
        if account not in self.waiting:  # it has ended meanwhile
            return
        oldest, *others = self.waiting.pop(account)
        self._over(oldest)
        oldest.home.callback(None)
        for message in others:
            self._over(message)
            message.tried().addErrback(self._failed_again, message).chainDeferred(message.home)

    def _failed_again(self, why: Failure, message: _Message) -> Deferred[None]:
        why.trap(StorageError)
        return self.refused(message.stanza, message.deliver, message.since)

    def _not_delivered(self, why: Failure, account: str) -> None:
        why.trap(StorageError)
        self._failed()
        if account in self.waiting and not self._is_hopeless:
            self._try_later(account)
            return
        for message in self.waiting.pop(account, ()):
            self._over(message)
            self._give_up(message.stanza).chainDeferred(message.home)

    def _over(self, message: _Message) -> None:
        """It does not wait any more."""
        self._count -= 1
        self._bytes -= len(message.stanza.payload)
