"""Accounts that were deleted, until no node of anybody names them any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.api import JID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from collections.abc import Set as AbstractSet

    from jabberd.interfaces import Keyed
    from jabberd.pubsub.node import Node

__all__ = ["Gone"]


class Gone:
    """They are written down first, so that the next start goes on where a crash ended it.

    Every account's nodes are looked at, one account after the other: that takes a while where there are
    many.  Who is deleted meanwhile is looked for in the next round, together with all others.

    :param kept: by bare JID, under the domain.
    :param nodes: of all accounts of the domain.
    :param forget: has the nodes of an account forget somebody, as bare JIDs.
    :ivar ended: whether the server ends; what is left waits for the next start.
    """

    def __init__(
        self,
        domain: JID,
        kept: Keyed[bool],
        nodes: Keyed[Node],
        forget: Callable[[JID, JID], Awaitable[None]],
    ) -> None:
        self.ended = False
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

    async def look(self) -> None:
        """Have all that are gone forgotten by everybody."""
        if self._looking:
            return
        self._looking = True
        try:
            while gone := await self._kept.all(self._domain):
                self._late.clear()
                for owner in await self._nodes.owners(self._domain):
                    if self.ended:
                        return
                    await self._forgotten(JID.parse(owner), gone.keys())
                await self._kept.change(self._domain, dict.fromkeys(gone.keys() - self._late))
        finally:
            self._looking = False

    async def _forgotten(self, owner: JID, gone: AbstractSet[str]) -> None:
        nodes = await self._nodes.all(owner)
        for who in sorted(gone & {each for node in nodes.values() for each in node.people}):
            await self._forget(owner, JID.parse(who))
