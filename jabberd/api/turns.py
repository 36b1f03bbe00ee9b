"""How many questions of each asker may wait for an answer that somebody else gives."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.xmpp.jid import JID

__all__ = ["Turns"]


class Turns:
    """Keeps one asker from taking all the room that there is for questions.

    An asker is an account of the domain, or another domain with all its people.

    :param home: the domain.
    :param most: questions of one asker at a time.
    """

    def __init__(self, home: JID, most: int) -> None:
        self._home = home
        self._most = most
        self._waiting: Counter[JID] = Counter()

    def __len__(self) -> int:
        """How many wait."""
        return self._waiting.total()

    @contextmanager
    def turn(self, who: JID) -> Iterator[None]:
        """While the block runs, one more of somebody's questions waits.

        :raises StanzaError: ``resource-constraint``: too many do already.
        """
        asker = who.bare if who.domainpart == self._home else who.domain
        if self._waiting[asker] >= self._most:
            raise StanzaError("resource-constraint", "too many of your questions wait for an answer")
        self._waiting[asker] += 1
        try:
            yield
        finally:
            self._waiting[asker] -= 1
            if not self._waiting[asker]:
                del self._waiting[asker]
