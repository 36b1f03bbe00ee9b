"""The names of deleted accounts, which nobody gets for a while.

Whoever got such a name would be taken for who had it before: by contacts, in the rosters of other servers, by
rooms abroad, by whoever takes back messages that stand in the archives of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import DeferredList

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from jabberd.interfaces import Storage
    from jabberd.xmpp.jid import JID

__all__ = ["NAMES", "DeletedName", "HeldName", "Names"]

#: The store of names, each under the bare JID of the account and the empty key.
NAMES: Final = "deleted-names"
_SPAN: Final = 60 * 86400.0  # what holds unless the configuration says otherwise
_SWEPT_AFTER: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DeletedName:
    """What is kept of an account that was deleted."""

    deleted: datetime


@dataclass(frozen=True, slots=True)
class HeldName:
    """A name that is kept back now.

    :ivar jid: the bare JID of the account that had it.
    :ivar until: when anybody may have it; None: never.
    """

    jid: str
    deleted: datetime
    until: datetime | None


class Names:
    """The names of a domain's deleted accounts.

    How long they are kept back is reckoned when it matters, by the setting that holds then.  Those whose time
    is up are forgotten when the next account is deleted, once a day at most.

    :ivar span: seconds for which they are kept back; 0: not at all, infinite: for ever.
    """

    def __init__(self, domain: JID, storage: Storage, now: Callable[[], datetime]) -> None:
        self.span = _SPAN
        self._domain = domain
        self._store = storage.keyed(NAMES, DeletedName)
        self._now = now
        self._swept: datetime | None = None

    def left(self) -> dict[str, dict[str, object]]:
        """What stays of an account that is deleted now, as `Storage.save` takes it."""
        return {NAMES: {"": DeletedName(self._now())}} if self.span else {}

    async def held(self, owner: str) -> HeldName | None:
        """The name of that bare JID, if it is kept back."""
        return self.judged(owner, await self._store.get(owner))

    def judged(self, owner: str, known: DeletedName | None) -> HeldName | None:
        """The same, where what the store has of it was read already."""
        if known is None or not self.span:
            return None
        until = None if self.span == inf else known.deleted + timedelta(seconds=self.span)
        return HeldName(owner, known.deleted, until) if until is None or self._now() < until else None

    async def release(self, owner: str) -> HeldName | None:
        """Let anybody have that name; None: it was not kept back."""
        held = await self.held(owner)
        if held is not None:
            await self._store.change(owner, {"": None})
        return held

    async def list(self) -> list[HeldName]:
        """All that are kept back, by name."""
        judged = [self.judged(*each) async for page in self._pages() for each in page.items()]
        return sorted(filter(None, judged), key=lambda held: held.jid)

    async def sweep(self) -> None:
        """Forget those whose time is up, unless that was done within a day.

        Meanwhile no account may be made or deleted: its name would be forgotten that was just kept back.
        """
        now = self._now()
        if self._swept is not None and now - self._swept < _SWEPT_AFTER:
            return
        self._swept = now
        async for page in self._pages():
            over = [owner for owner, known in page.items() if self.judged(owner, known) is None]
            changes = [self._store.change(owner, {"": None}) for owner in over]
            await DeferredList(changes, consumeErrors=True)  # what is not forgotten now is another time

    async def _pages(self) -> AsyncIterator[dict[str, DeletedName]]:
        page = await self._store.page(self._domain)
        while page:
            yield page
            page = await self._store.page(self._domain, after=[*page][-1])
