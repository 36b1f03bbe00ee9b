"""How much waits for each account: counted once, and then kept up with each message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.python.failure import Failure

    from jabberd.api import JID

__all__ = ["Load", "Loads"]

MOST: Final = 10_000  #: accounts of which that is remembered


@dataclass(slots=True)
class Load:
    """What waits for one account: how many messages, how many bytes."""

    count: int = 0
    size: int = 0


class Loads:
    """The loads of all accounts for which something came.

    :param count: counts what waits for an account.
    """

    def __init__(self, count: Callable[[JID], Awaitable[Load]]) -> None:
        self._count = count
        self._known: dict[str, Load] = {}
        self._asked: dict[str, list[Deferred[Load]]] = {}  # while it is being counted

    def get(self, owner: JID) -> Load | None:
        """How much waits, if that is known."""
        return self._known.get(owner)

    def counted(self, owner: JID) -> Deferred[Load]:
        """How much waits, for one of whom that is not known: in the order in which it was asked for.

        Fails as counting it does.
        """
        answer: Deferred[Load] = Deferred()
        asked = self._asked.setdefault(owner, [])
        asked.append(answer)
        if len(asked) == 1:
            counting = Deferred.fromCoroutine(self._have_counted(owner))
            counting.addCallbacks(self._found, self._failed, (owner, asked), errbackArgs=(owner, asked))
        return answer

    async def _have_counted(self, owner: JID) -> Load:
        return await self._count(owner)

    def _found(self, load: Load, owner: JID, asked: list[Deferred[Load]]) -> None:
        for answer in asked:  # also who asks meanwhile, behind the others
            answer.callback(load)
        if self._asked.get(owner) is asked:
            del self._asked[owner]
            self._known[owner] = load
            if len(self._known) > MOST:
                del self._known[next(iter(self._known))]

    def _failed(self, why: Failure, owner: JID, asked: list[Deferred[Load]]) -> None:
        if self._asked.get(owner) is asked:
            del self._asked[owner]  # the next one has it counted again
        for answer in asked:
            answer.errback(why)

    def forget(self, owner: JID) -> None:
        """It has changed in another way: what comes next has it counted again."""
        self._known.pop(owner, None)
        self._asked.pop(owner, None)
