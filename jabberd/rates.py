"""How often something may happen: rates, and meters that hold many to one rate.

A meter is a bucket for each key: so much at once, and then as fast as the rate has it.  What it keeps of a
key is one number, and of no more keys than it was told.  Where the key is an IP address, see `network`.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IAddress

__all__ = ["HeldBack", "Meter", "Rate", "ip", "network"]

_MOST_KEYS: Final = 10_000
_A_LITTLE: Final = 1e-6  # of the time for one: sums of fractions are not exact


class Rate(NamedTuple):
    """So many in so many seconds: at once if they like, but no more on average.

    :ivar most: in so many ``seconds``.
    """

    most: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.most} per {self.seconds:g} s"

    @property
    def each(self) -> float:
        """The seconds after which there is room for one more."""
        return self.seconds / self.most


class HeldBack(NamedTuple):
    """Who is held back at this moment, for operators.

    :ivar limit: the setting in ``[limits]`` that does it.
    :ivar how: such as ``for 12 s`` or ``100 of 100``.
    """

    limit: str
    who: str
    how: str


class Meter:
    """Holds each of many to one rate.

    Time is what the caller says it is, in seconds; it never goes back.

    :param limit: the name of the setting, for `held`.
    :param most: keys that are remembered; those that were quiet the longest are forgotten first.
    :ivar refused: how often somebody was told to wait.
    """

    __slots__ = ("_full", "limit", "most", "rate", "refused")

    def __init__(self, limit: str, rate: Rate, most: int = _MOST_KEYS) -> None:
        self.limit = limit
        self.rate = rate
        self.most = most
        self.refused = 0
        self._full: OrderedDict[str, float] = OrderedDict()  # when the bucket of a key is full again

    def take(self, key: str, now: float) -> bool:
        """Whether it may happen once more; if so, it counts."""
        if self.wait(key, now) > 0:
            self.refused += 1
            return False
        self.count(key, now)
        return True

    def count(self, key: str, now: float) -> None:
        """It has happened, whether it might or not."""
        self._full[key] = max(self._full.get(key, now), now) + self.rate.each
        self._full.move_to_end(key)
        if len(self._full) > self.most:
            self._full.popitem(last=False)

    def wait(self, key: str, now: float) -> float:
        """The seconds until it may happen once more; 0 if it may now."""
        each = self.rate.each
        late = self._full.get(key, now) + each - now - self.rate.seconds
        return late if late > each * _A_LITTLE else 0.0

    def held(self, now: float) -> Iterator[HeldBack]:
        """Those who have to wait."""
        for key in self._full:
            wait = self.wait(key, now)
            if wait:
                yield HeldBack(self.limit, key, f"for {wait:.0f} s")


def ip(peer: IAddress | None) -> str:
    """The IP address of a peer; empty if it has none, as on a Unix socket."""
    address = getattr(peer, "host", "") or ""
    return address.removeprefix("::ffff:") if "." in address else address


def network(address: str) -> str:
    """What is held to the limits of one address: itself, or the /64 of an IPv6 address."""
    if ":" not in address:
        return address
    packed = IPv6Address(address.partition("%")[0]).packed
    return f"{IPv6Address(packed[:8] + bytes(8))}/64"
