"""XEP-0198 between servers: what each side has got of the other."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, succeed

from jabberd.xmpp import ns
from jabberd.xmpp.element import E
from jabberd.xmpp.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Container

    from jabberd.streams.parcel import Parcel
    from jabberd.streams.protocol import StreamProtocol
    from jabberd.xmpp.element import Element

__all__ = ["Acks", "Kept", "count_of", "failed"]

_ROUND: Final = 1 << 32  # counts start again behind this (§4)


class Acks:
    """The counts of one stream, and of those that resume it.

    :ivar id: by which it is resumed; empty if it cannot be.
    :ivar issued: the id is ours, so that only the peer can resume.
    :ivar spent: somebody took what was not acknowledged, to send it anew: nobody can resume any more.
    :ivar unacked: what was sent and not acknowledged, in order.
    :ivar size: its bytes.
    :ivar handled: of the other side's stanzas, all before the first without a home.
    """

    def __init__(self, id: str = "", *, issued: bool = False) -> None:
        self.id = id
        self.issued = issued
        self.spent = False
        self.unacked: deque[Parcel] = deque()
        self.size = 0
        self.handled = 0
        self._acknowledged = 0
        self._waiting: deque[list[bool]] = deque()
        self._all_home: list[Deferred[None]] = []

    # -- what goes out ------------------------------------------------------------------------------

    def sent(self, parcel: Parcel) -> None:
        """Keep it until it is acknowledged."""
        self.unacked.append(parcel)
        self.size += parcel.size

    def acknowledged(self, count: int) -> int:
        """The other side has handled so many, modulo 2^32: these have a home; gives how many are new.

        :raises StreamError: ``undefined-condition`` if that is more than was sent (§4).
        """
        fresh = (count - self._acknowledged) % _ROUND
        if fresh > len(self.unacked):
            raise StreamError(
                "undefined-condition",
                "you acknowledge more than was sent",
                application=(ns.SM, "handled-count-too-high"),
            )
        self._acknowledged = count
        for _ in range(fresh):
            parcel = self.unacked.popleft()
            self.size -= parcel.size
            parcel.settle()
        return fresh

    def taken(self) -> list[Parcel]:
        """All that is not acknowledged; it is the caller's now."""
        self.spent = True
        left = [*self.unacked]
        self.unacked.clear()
        self.size = 0
        return left

    # -- what comes in ------------------------------------------------------------------------------

    def received(self, home: Deferred[None] | None) -> None:
        """Count a stanza of the other side's, when it has a home (§4)."""
        if home is None and not self._waiting:
            self.handled = (self.handled + 1) % _ROUND
            return
        taken = [home is None]
        self._waiting.append(taken)
        if home is not None:
            home.addCallback(self._homed, taken)

    def _homed(self, _: None, taken: list[bool]) -> None:
        taken[0] = True
        while self._waiting and self._waiting[0][0]:
            self._waiting.popleft()
            self.handled = (self.handled + 1) % _ROUND
        if not self._waiting:
            told, self._all_home = self._all_home, []
            for each in told:
                each.callback(None)

    @property
    def resumable(self) -> bool:
        """Whether we may ask the other side to go on with these counts."""
        return bool(self.id) and not (self.issued or self.spent)

    @property
    def homeless(self) -> int:
        """How many stanzas of the other side's are not counted yet."""
        return len(self._waiting)

    def all_home(self) -> Deferred[None]:
        """Fires when everything that was received has a home; may be cancelled."""
        if not self._waiting:
            return succeed(None)
        self._all_home.append(Deferred(self._all_home.remove))
        return self._all_home[-1]

    def resumed(self) -> None:
        """What has no home now will be said again, and counted then."""
        self._waiting.clear()


@dataclass(slots=True)
class _Entry:
    acks: Acks
    pair: tuple[str, str]
    stream: StreamProtocol
    lost: float | None = None


class Kept:
    """The counts of streams that others opened, for those who resume them.

    :param most: lost streams that are remembered.
    :param limit: seconds for which they are.
    """

    def __init__(self, most: int = 1000, limit: float = 600.0) -> None:
        self.limit = limit
        self._most = most
        self._live: dict[str, _Entry] = {}
        self._lost: OrderedDict[str, _Entry] = OrderedDict()

    def add(self, acks: Acks, pair: tuple[str, str], stream: StreamProtocol) -> None:
        """That stream of theirs has these counts.

        :param pair: one of our domains and one of theirs, which they have proved to it.
        """
        self._live[acks.id] = _Entry(acks, pair, stream)

    def moved(self, acks: Acks, stream: StreamProtocol) -> StreamProtocol | None:
        """Now that stream has them; gives the one that had them before."""
        entry = self._lost.pop(acks.id, None) or self._live.get(acks.id)
        if entry is None:
            return None
        self._live[acks.id] = _Entry(acks, entry.pair, stream)
        return entry.stream

    def lost(self, acks: Acks, stream: StreamProtocol, now: float) -> None:
        """That stream is gone; it may be resumed."""
        entry = self._live.get(acks.id)
        if entry is None or entry.stream is not stream:
            return  # another stream goes on with it
        del self._live[acks.id]
        entry.lost = now
        self._lost[acks.id] = entry
        while len(self._lost) > self._most or self._is_old(next(iter(self._lost.values())), now):
            self._lost.popitem(last=False)

    def _is_old(self, entry: _Entry, now: float) -> bool:
        return entry.lost is not None and now - entry.lost > self.limit

    def find(
        self, id: str, pairs: Container[tuple[str, str]], now: float
    ) -> tuple[Acks, StreamProtocol] | None:
        """The counts of that name, if they are of one of these pairs, with their last stream."""
        entry = self._live.get(id) or self._lost.get(id)
        if entry is None or entry.pair not in pairs or self._is_old(entry, now):
            return None
        return entry.acks, entry.stream

    def forget(self, acks: Acks) -> None:
        """Nobody resumes it."""
        self._live.pop(acks.id, None)
        self._lost.pop(acks.id, None)


def count_of(element: Element) -> int:
    """The ``h`` of an element.

    :raises StreamError: ``policy-violation`` if it is none.
    """
    text = element.get("h", "")
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or int(text) >= _ROUND:
        raise StreamError("policy-violation", "h is a number below 2^32")
    return int(text)


def failed(condition: str, handled: int | None = None) -> Element:
    """What was asked for is not to be had.

    :param handled: how much had been, of the stream that cannot be resumed (§5).
    """
    attrs = None if handled is None else {"h": str(handled)}
    return E(ns.SM, "failed", attrs, E(ns.STANZA_ERRORS, condition))
