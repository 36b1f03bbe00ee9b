"""Those who enter rooms take turns, so that many who enter a large one at once do not keep others waiting."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from jabberd.api import StanzaError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from jabberd.modules.muc.room import Room

__all__ = ["Doorway"]

_A_TURN: Final = 500  # stanzas: some 5 ms


class Doorway:
    """Lets people into the rooms of one service, one after the other.

    Who enters hears of all who are there, and they of the newcomer: when a thousand come, that is a million
    stanzas.  Once a turn of the reactor has had its share of them, the next in line enters in the next turn;
    what was said meanwhile has left by then, and what others say is heard.  So many wait as streams may have
    stanzas that have no home yet: a client's has one, and is heard further when it is in.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._told = 0  # stanzas since the last time that somebody had to wait
        self._full: IDelayedCall | None = None  # until the next turn
        self._waiting: deque[tuple[Room, Deferred[None]]] = deque()

    def turn(self, room: Room) -> Deferred[None] | None:
        """Fires when somebody may enter that room; None: now.

        Fails with `StanzaError` ``service-unavailable``: the service stops.
        """
        if self._full is None:
            self._enters(room)
            return None
        turn: Deferred[None] = Deferred()
        self._waiting.append((room, turn))
        return turn

    def _enters(self, room: Room) -> None:
        self._told += 2 * len(room.visits)
        if self._told > _A_TURN:
            self._told = 0
            self._full = self._clock.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._full = None
        while self._waiting and self._full is None:
            room, turn = self._waiting.popleft()
            self._enters(room)
            turn.callback(None)

    def close(self) -> None:
        """Turn those away who wait."""
        if self._full is not None:
            self._full.cancel()
            self._full = None
        waiting, self._waiting = self._waiting, deque()
        for _, turn in waiting:
            turn.errback(StanzaError("service-unavailable"))
