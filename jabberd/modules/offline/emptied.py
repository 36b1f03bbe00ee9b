"""Of whom it is known that nothing waits: a login then asks the storage nothing."""

from __future__ import annotations

from collections import Counter
from typing import Final

MOST: Final = 10_000  #: accounts of which that is remembered


class Emptied:
    """Accounts that were asked about when nothing waited for them, and for whom nothing came since.

    What is being stored cannot be found yet, nor does it wait no more: while anything is, nothing is known.
    """

    def __init__(self) -> None:
        self._storing: Counter[str] = Counter()
        self._known: dict[str, None] = {}

    def __contains__(self, owner: str) -> bool:
        return owner in self._known

    def storing(self, owner: str) -> None:
        """Something is going to wait for that account."""
        self._known.pop(owner, None)
        self._storing[owner] += 1

    def stored(self, owner: str) -> None:
        """It can be found from now on, or was not stored."""
        self._storing[owner] -= 1
        if not self._storing[owner]:
            del self._storing[owner]

    def look(self, owner: str) -> None:
        """It is going to be looked whether anything waits: nothing, unless it is `found`."""
        if owner not in self._storing:
            self._known[owner] = None
            if len(self._known) > MOST:
                del self._known[next(iter(self._known))]

    def found(self, owner: str) -> None:
        """Something waits, or may."""
        self._known.pop(owner, None)
