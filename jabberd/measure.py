"""What the server counts while it works: plain numbers, nearly free until somebody reads them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SECONDS", "SIZES", "Histogram", "StorageFigures", "Traffic"]

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


class Histogram:
    """How often a figure was how large.

    :param bounds: ascending; each counts the figures up to itself that are above the one before.
    :ivar counts: one for each bound, and a last one for all figures above.
    :ivar sum: of all figures.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, figure: float) -> None:
        """Count one figure; one thread only may do this."""
        self.counts[bisect_left(self.bounds, figure)] += 1
        self.sum += figure


class Traffic:
    """What went over all streams of one kind.

    :ivar received: stanzas by name; ``sent`` likewise.
    :ivar waited: seconds from receiving a stanza to its home, for those that had none at once.
    :ivar slowed: how often reading paused because a peer sent more than the rate allows.
    :ivar logins: by how they ended: ``success`` or a SASL error condition (RFC 6120 §6.5).
    """

    __slots__ = ("logins", "received", "sent", "slowed", "waited")

    def __init__(self) -> None:
        self.received = {"message": 0, "presence": 0, "iq": 0}
        self.sent = dict(self.received)
        self.waited = Histogram()
        self.slowed = 0
        self.logins: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class StorageFigures:
    """How a storage is doing.

    :ivar writes: units of work that wait for a commit.
    :ivar reads: questions that wait for an answer.
    :ivar commit: seconds that each commit took.
    :ivar together: units of work that shared a commit.
    """

    writes: int = 0
    reads: int = 0
    commit: Histogram = field(default_factory=Histogram)
    together: Histogram = field(default_factory=lambda: Histogram(SIZES))
