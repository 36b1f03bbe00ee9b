"""How many people who have not asked a room may hear from it, so that no room is somebody's megaphone."""

from __future__ import annotations

from typing import Final

__all__ = ["Allowance"]

_AT_ONCE: Final = 100
_EACH: Final = 5.0  # seconds, after which there may be one more


class Allowance:
    """So many at once, and one more from time to time."""

    __slots__ = ("_full",)

    def __init__(self) -> None:
        self._full = 0.0  # when there may be `_AT_ONCE` again, in seconds since 1970

    def take(self, count: int, now: float) -> bool:
        """Whether there may be so many more; if so, they count."""
        full = max(self._full, now) + count * _EACH
        if full - now > _AT_ONCE * _EACH:
            return False
        self._full = full
        return True
