"""Those who enter and leave rooms take turns, so that many who do at once do not keep others waiting."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Line:
    """What waits at one room.

    :ivar told: what tells those inside of something, and who waits until they were told.
    :ivar entering: who waits to enter.
    """

    told: deque[Callable[[], None] | Deferred[None]] = field(default_factory=deque)
    entering: deque[Deferred[None]] = field(default_factory=deque)


class Doorway:
    """Lets people into and out of the rooms of one service, one after the other.

    Who enters hears of all who are there, and they of the newcomer; who leaves is out at once, and those who
    stay hear of it: when a thousand come or go, that is a million stanzas.  Once a turn of the reactor has
    had its share of them, the next is served in the next turn; what was said meanwhile has left by then, and
    what others say is heard.  The rooms have their turns one after the other.  In each, nobody enters before
    all inside know who has left: so nobody hears of a newcomer before whoever had that nickname has gone, or
    of somebody leaving whom they never saw.  So many wait to enter as streams may have stanzas that have no
    home yet, and no more leave than have entered.

    As a context it keeps together what all in a room are told at once: who goes for it is out, and told of
    afterwards, so that nobody hears of somebody, or from somebody, who has left.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._told = 0  # stanzas since the last time that somebody had to wait
        self._full: IDelayedCall | None = None  # until the next turn
        self._serving = 0  # or telling, how deep: what is told may put somebody out, who has to wait, then
        self._lines: dict[Room, _Line] = {}

    def __enter__(self) -> None:
        self._serving += 1

    def __exit__(self, *_: object) -> None:
        self._serving -= 1
        if self._lines:
            self._go_on()

    def turn(self, room: Room) -> Deferred[None] | None:
        """Fires when somebody may enter that room; None: now.

        Fails with `StanzaError` ``service-unavailable``: the service stops.
        """
        if self._full is None and not self._serving:
            self._count(2 * len(room.visits))
            return None
        turn: Deferred[None] = Deferred()
        self._lines.setdefault(room, _Line()).entering.append(turn)
        return turn

    def tell(self, room: Room, told: Iterable[Callable[[], None]]) -> Deferred[None] | None:
        """Have a room's occupants told things, in that order.

        :param told: each of these tells all who are in the room by then of one thing.
        :returns: what fires when they were told, or the service stops; None: they were.
        """
        line = self._lines.setdefault(room, _Line())
        line.told.extend(told)
        self._go_on()
        if not line.told:
            return None
        done: Deferred[None] = Deferred()
        line.told.append(done)
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
        if self._serving:
            return
        self._serving += 1
        try:
            while self._lines and self._full is None:
                room = next(iter(self._lines))
                self._serve(room, self._lines.pop(room))
        finally:
            self._serving -= 1
            if self._lines and self._full is None:
                self._next_turn()  # one that failed is no reason for the others to wait for ever

    def _serve(self, room: Room, line: _Line) -> None:
        """Serve the next at that room, and the other rooms before it comes again."""
        if line.told or line.entering:
            self._lines[room] = line
        if line.told:
            told = line.told.popleft()
            if isinstance(told, Deferred):
                told.callback(None)
                return
            self._count(len(room.visits))
            told()
        elif line.entering:
            self._count(2 * len(room.visits))
            line.entering.popleft().callback(None)

    def close(self) -> None:
        """Turn those away who wait; what was to be told is overtaken by the end of the service."""
        if self._full is not None:
            self._full.cancel()
            self._full = None
        lines, self._lines = self._lines, {}
        for line in lines.values():
            for told in line.told:
                if isinstance(told, Deferred):
                    told.callback(None)
            for turn in line.entering:
                turn.errback(StanzaError("service-unavailable"))


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
