"""Accounts that were deleted, until no node of anybody names them any more."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from jabberd.api import JID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from collections.abc import Set as AbstractSet

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from jabberd.interfaces import Keyed
    from jabberd.pubsub.node import Node

__all__ = ["Gone"]

_REST: Final = 9  # times as long as the last round took


class Gone:
    """They are written down first, so that the next start goes on where a crash ended it.

    Every account's nodes are looked at, one account after the other: that takes a while where there are
    many.  Who is deleted meanwhile is looked for in the next round, together with all others, and rounds
    take a tenth of the time at most: whoever makes and deletes accounts all the time keeps nobody busy.

    :param kept: by bare JID, under the domain.
    :param nodes: of all accounts of the domain.
    :param forget: has the nodes of an account forget somebody, as bare JIDs.
    """

    def __init__(
        self,
        domain: JID,
        kept: Keyed[bool],
        nodes: Keyed[Node],
        forget: Callable[[JID, JID], Awaitable[None]],
        clock: IReactorTime,
    ) -> None:
        self._clock = clock
        self._ended = False
        self._next = 0.0  # when another round may begin
        self._resting: Deferred[None] | None = None
        self._domain = domain
        self._kept = kept
        self._nodes = nodes
        self._forget = forget
        self._looking = False
        self._late: set[str] = set()  # who was told of in this round, perhaps not for the first time

    async def add(self, who: JID) -> None:
        """Somebody is gone."""
        self._late.add(who)
        await self._kept.put(self._domain, who, value=True)
        await self.look()

    def end(self) -> None:
        """What is left waits for the next start."""
        self._ended = True
        if self._resting is not None:
            self._resting.cancel()

    async def look(self) -> None:
        """Have all that are gone forgotten by everybody."""
        if self._looking:
            return
        self._looking = True
        try:
            while gone := await self._kept.all(self._domain):
                await self._rest()
                if self._ended:
                    return
                began = self._clock.seconds()
                self._late.clear()
                if not await self._round(gone.keys()):
                    return
                await self._kept.change(self._domain, dict.fromkeys(gone.keys() - self._late))
                now = self._clock.seconds()
                self._next = now + _REST * (now - began)
        finally:
            self._looking = False

    async def _rest(self) -> None:
        wait = self._next - self._clock.seconds()
        if wait > 0:
            with suppress(CancelledError):
                self._resting = deferLater(self._clock, wait)
                await self._resting
            self._resting = None

    async def _round(self, gone: AbstractSet[str]) -> bool:
        """Whether everybody has forgotten them."""
        for owner in await self._nodes.owners(self._domain):
            if self._ended:
                return False
            await self._forgotten(JID.parse(owner), gone)
        return not self._ended

    async def _forgotten(self, owner: JID, gone: AbstractSet[str]) -> None:
        nodes = await self._nodes.all(owner)
        for who in sorted(gone & {each for node in nodes.values() for each in node.people}):
            await self._forget(owner, JID.parse(who))
