"""Order where many talk over one stream: who waits for an answer waits alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.xmpp.stanza import Stanza

    Lane = list[tuple[Stanza, Deferred[None]]]

T = TypeVar("T")


class Lanes:
    """Hands stanzas on in the order of RFC 6120 §10.1, one lane for each sender and addressee.

    An iq without a home yet holds back what follows from the same sender to the same bare JID, and
    nothing else.  What waits is bounded by whoever counts the Deferreds that `take` returns.

    :param route: takes each stanza in its turn; see *Home* in `jabberd.interfaces`.
    """

    __slots__ = ("_held", "_route")

    def __init__(self, route: Callable[[Stanza], Deferred[None] | None]) -> None:
        self._route = route
        self._held: dict[tuple[str, str], Lane] = {}

    def take(self, stanza: Stanza) -> Deferred[None] | None:
        """Hand an addressed stanza on, now or when it is its turn; see *Home* in `jabberd.interfaces`."""
        if self._held:
            lane = self._held.get(_lane(stanza))
            if lane is not None:
                home: Deferred[None] = Deferred()
                lane.append((stanza, home))
                return home
        return self._hand_on(stanza)

    def _hand_on(self, stanza: Stanza) -> Deferred[None] | None:
        home = self._route(stanza)
        if home is not None and stanza.name == "iq":
            lane = _lane(stanza)
            self._held.setdefault(lane, [])
            home.addBoth(self._answered, lane)
        return home

    def _answered(self, result: T, lane: tuple[str, str]) -> T:
        """Go on in that lane, as far as the next iq that has to wait; what comes meanwhile joins its end."""
        waiting = self._held[lane]
        while waiting:
            stanza, turn = waiting.pop(0)
            home = self._hand_on(stanza)
            if home is None:
                turn.callback(None)
                continue
            home.chainDeferred(turn)
            if stanza.name == "iq":
                return result
        del self._held[lane]
        return result


def _lane(stanza: Stanza) -> tuple[str, str]:
    sender, to = stanza.sender, stanza.to
    assert sender is not None  # whoever reads the stream has seen to it
    assert to is not None
    return sender, to.bare
