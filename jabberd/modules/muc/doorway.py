"""Those who enter and leave rooms take turns, so that many who do at once do not keep others waiting."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from twisted.internet.defer import Deferred

from jabberd.api import StanzaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from jabberd.api import Stanza
    from jabberd.modules.muc.room import Room

__all__ = ["Behind", "Doorway", "is_goodbye", "stand_behind"]

_A_TURN: Final = 500  # stanzas: some 5 ms
_MOST_BEHIND: Final = 64  # stanzas of one who waits; a goodbye has its place beside them

#: What one who waits has said since, each with what fires when that was done.
Behind: TypeAlias = "list[tuple[Stanza, Deferred[Any]]]"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Somebody who waits to enter, or something that a room's occupants are to be told.

    :ivar share: how many stanzas that is for each who is in the room.
    :ivar go: when it is its turn, ``give_up``: when the service stops before.
    """

    room: Room
    share: int
    go: Callable[[], None]
    give_up: Callable[[], None]


class Doorway:
    """Lets people into and out of the rooms of one service, one after the other.

    Who enters hears of all who are there, and they of the newcomer; who leaves is out at once, and those who
    stay hear of it: when a thousand come or go, that is a million stanzas.  Once a turn of the reactor has
    had its share of them, the next in line is served in the next turn; what was said meanwhile has left by
    then, and what others say is heard.  It is one line, so that nobody hears of a newcomer before whoever had
    that nickname has gone.  So many wait to enter as streams may have stanzas that have no home yet, and no
    more leave than have entered.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._told = 0  # stanzas since the last time that somebody had to wait
        self._full: IDelayedCall | None = None  # until the next turn
        self._telling = False  # what is told may put somebody out, who has to wait, then
        self._line: deque[_Waiting] = deque()

    def turn(self, room: Room) -> Deferred[None] | None:
        """Fires when somebody may enter that room; None: now.

        Fails with `StanzaError` ``service-unavailable``: the service stops.
        """
        if self._full is None and not self._telling:
            self._count(2 * len(room.visits))
            return None
        turn: Deferred[None] = Deferred()

        def give_up() -> None:
            turn.errback(StanzaError("service-unavailable"))

        self._line.append(_Waiting(room, 2, lambda: turn.callback(None), give_up))
        return turn

    def tell(self, room: Room, told: Iterable[Callable[[], None]]) -> Deferred[None] | None:
        """Have a room's occupants told things, in that order.

        :param told: each of these tells all who are in the room by then of one thing.
        :returns: what fires when they were told, or the service stops; None: they were.
        """
        self._line.extend(_Waiting(room, 1, each, _nothing) for each in told)
        self._go_on()
        if not self._line:
            return None
        done: Deferred[None] = Deferred()
        self._line.append(_Waiting(room, 0, lambda: done.callback(None), lambda: done.callback(None)))
        return done

    def _count(self, stanzas: int) -> None:
        self._told += stanzas
        if self._told > _A_TURN:
            self._told = 0
            self._next_turn()

    def _next_turn(self) -> None:
        self._full = self._clock.callLater(0, self._turned)

    def _turned(self) -> None:
        self._full = None
        self._go_on()

    def _go_on(self) -> None:
        if self._telling:
            return
        self._telling = True
        try:
            while self._line and self._full is None:
                first = self._line.popleft()
                self._count(first.share * len(first.room.visits))
                first.go()
        finally:
            self._telling = False
            if self._line and self._full is None:
                self._next_turn()  # one that failed is no reason for the others to wait for ever

    def close(self) -> None:
        """Turn those away who wait."""
        if self._full is not None:
            self._full.cancel()
            self._full = None
        waiting, self._line = self._line, deque()
        for each in waiting:
            each.give_up()


def stand_behind(behind: Behind, stanza: Stanza) -> Deferred[Any] | None:
    """What somebody says who waits to enter is heard when that one is in, or refused.

    :raises StanzaError: ``resource-constraint``: that is too much.
    """
    leaves = is_goodbye(stanza)
    if leaves and behind and is_goodbye(behind[-1][0]):
        return None
    if len(behind) >= _MOST_BEHIND + leaves:
        raise StanzaError("resource-constraint", "wait until you are in the room")
    home: Deferred[Any] = Deferred()
    behind.append((stanza, home))
    return home


def is_goodbye(stanza: Stanza) -> bool:
    """Whether somebody is gone, or wants to be."""
    return stanza.name == "presence" and stanza.type == "unavailable"


def _nothing() -> None:
    """Who stays is told that the service stops."""
