"""Which invitations there are, and how often each may still be used; whatever it says is on the disk."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from jabberd.api import StanzaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jabberd.api import JID
    from jabberd.interfaces import Keyed

__all__ = ["Invitation", "Ledger"]

_TOKEN_BYTES: Final = 15  # 120 bits: XEP-0379 §5.1 wants 80; without padding in Base 32
#: A token that was shown in time may still be used (XEP-0445 §4): longer than a stream waits for its login.
_KEPT: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Invitation:
    """What somebody with the token may do, until when.

    :ivar inviter: a bare JID, which becomes a contact of whoever comes; empty: nobody does.
    :ivar contact: whether it gives a subscription to the inviter's presence (XEP-0379).
    :ivar account: whether it gives an account (XEP-0445).
    :ivar username: the only localpart that the account may have; empty: any.
    :ivar left: how often it may still be used.
    :ivar claims: bare JIDs for whom it is being used: accounts that are being made, contacts being approved.
    """

    expires: datetime
    inviter: str = ""
    contact: bool = False
    account: bool = False
    username: str = ""
    left: int = 1
    claims: tuple[str, ...] = ()

    def taken(self, who: str) -> Invitation:
        """Used for somebody, which may still fail."""
        return replace(self, left=self.left - 1, claims=(*self.claims, who))

    def returned(self, who: str) -> Invitation:
        """It did fail."""
        return replace(self.settled(who), left=self.left + 1)

    def settled(self, who: str) -> Invitation:
        """It did not."""
        return replace(self, claims=tuple(each for each in self.claims if each != who))


class Ledger:
    """The invitations of a domain by key, which is a digest: no token is kept.

    All are in memory as well.  A use is on the disk before anything comes of it, as a claim: a server that is
    killed in between learns from it, when it starts, what to finish or to give back.

    :param store: of the invitations, under the domain.
    """

    def __init__(self, domain: JID, store: Keyed[Invitation]) -> None:
        self._domain = domain
        self._store = store
        self._all: dict[str, Invitation] = {}

    async def load(self) -> None:
        """Read them all."""
        self._all = await self._store.all(self._domain)

    def items(self) -> Iterable[tuple[str, Invitation]]:
        """All that there are, those that have expired lately among them."""
        return list(self._all.items())

    def get(self, key: str) -> Invitation | None:
        """That invitation."""
        return self._all.get(key)

    def valid(self, token: str, now: datetime) -> str | None:
        """The key of the invitation that this is the token of, if it can be used now."""
        key = _key(token)
        known = self._all.get(key)
        return key if known is not None and known.left > 0 and now < known.expires else None

    def open(self, now: datetime, inviter: str = "") -> dict[str, Invitation]:
        """What can be used now, of somebody or of all, by key; the oldest first."""
        mine = (item for item in self.items() if not inviter or item[1].inviter == inviter)
        usable = (item for item in mine if item[1].left > 0 and now < item[1].expires)
        return dict(sorted(usable, key=lambda item: item[1].expires))

    def reserves(self, localpart: str, now: datetime) -> bool:
        """Whether somebody was invited to take that name (XEP-0445 §5)."""
        named = (each for each in self._all.values() if each.username == localpart)
        return any(each.claims or (each.left > 0 and now < each.expires) for each in named)

    async def add(self, invitation: Invitation, now: datetime) -> str:
        """Invite somebody; what has expired is forgotten.

        :returns: the token.
        """
        token = base64.b32encode(secrets.token_bytes(_TOKEN_BYTES)).decode().lower()
        old = [k for k, each in self.items() if each.expires + _KEPT <= now and not each.claims]
        key = _key(token)
        self._all[key] = invitation  # at once: it counts, and reserves its name, before anybody has the token
        try:
            await self._store.change(self._domain, {key: invitation})
        except BaseException:
            self._all.pop(key, None)
            raise
        await self.remove(old)
        return token

    async def take(self, key: str, who: JID) -> Invitation:
        """Use an invitation for somebody; its time was looked at when the token was shown.

        :raises StanzaError: ``item-not-found``: it was used or revoked meanwhile.
        """
        known = self._all.get(key)
        if known is None or known.left < 1 or who in known.claims:
            raise StanzaError("item-not-found", "the invitation was used or revoked")
        await self._change(key, lambda now: now.taken(who), lambda now: now.returned(who))
        return known

    async def give_back(self, key: str, who: JID) -> None:
        """Nothing came of it."""
        await self._change(key, lambda now: now.returned(who), lambda now: now.taken(who))

    async def settle(self, key: str, who: JID) -> None:
        """It was used; with its last use the invitation is gone."""
        await self._change(
            key, lambda now: now.settled(who), lambda now: replace(now, claims=(*now.claims, who))
        )

    async def remove(self, keys: Iterable[str]) -> None:
        """Nobody can use them any more."""
        gone = {key: self._all.pop(key) for key in keys if key in self._all}  # another one may be at it
        try:
            await self._store.change(self._domain, dict.fromkeys(gone))
        except BaseException:
            self._all |= gone
            raise

    async def _change(
        self, key: str, do: Callable[[Invitation], Invitation], undo: Callable[[Invitation], Invitation]
    ) -> None:
        """Change one that may have been revoked meanwhile; in memory at once, so that nobody else uses it."""
        if key not in self._all:
            return
        changed = self._all[key] = do(self._all[key])
        over = changed.left < 1 and not changed.claims
        try:
            await self._store.change(self._domain, {key: None if over else changed})
        except BaseException:
            if key in self._all:
                self._all[key] = undo(self._all[key])
            raise
        if over:
            self._all.pop(key, None)


def _key(token: str) -> str:
    return sha256(token.encode()).hexdigest()
