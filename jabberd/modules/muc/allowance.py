"""How many people who have not asked may hear from rooms, so that no room is somebody's megaphone."""

from __future__ import annotations

from typing import Final

__all__ = ["Allowances"]

_AT_ONCE: Final = 100
_EACH: Final = 5.0  # seconds, after which there may be one more
_MOST: Final = 10_000  # who are remembered; those that were quiet the longest are forgotten first


class Allowances:
    """For each account so many at once, and one more from time to time, whatever becomes of its rooms."""

    def __init__(self) -> None:
        self._full: dict[str, float] = {}  # when there may be `_AT_ONCE` again, in seconds since 1970

    def take(self, who: str, count: int, now: float) -> bool:
        """Whether there may be so many more of a bare JID's; if so, they count."""
        full = max(self._full.get(who, 0.0), now) + count * _EACH
        if full - now > _AT_ONCE * _EACH:
            return False
        self._full.pop(who, None)
        self._full[who] = full
        if len(self._full) > _MOST:
            del self._full[next(iter(self._full))]
        return True
