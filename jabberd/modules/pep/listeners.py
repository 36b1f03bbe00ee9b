"""Who listens to what accounts publish: those who are there, by what their capabilities say (XEP-0060 §9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary

from jabberd.xmpp import caps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jabberd.api import JID, Account, Stanza
    from jabberd.modules.caps import EntityCapabilities
    from jabberd.xmpp.caps import Caps

_MOST: Final = 2_000  #: resources of others that are known to one account
_MOST_STRANGERS: Final = 100  #: as many may there be before strangers, who hear of open nodes, do not count
_NOTHING: Final = frozenset[str]()


#: The groups of the owner's roster that somebody is in who may see the owner's presence; None: they may not.
Standing = tuple[str, ...] | None


class Listener(NamedTuple):
    """Somebody who is there: what their presence said last, and the nodes that they listen to for it."""

    said: Caps
    wanted: frozenset[str]
    standing: Standing


def standing(account: Account, who: JID) -> Standing:
    """How somebody stands with an account."""
    return account.groups(who) if account.trusts(who) else None


class Listeners:
    """Those of all accounts, while the accounts are in memory."""

    def __init__(self, capabilities: EntityCapabilities) -> None:
        self._caps = capabilities
        self._known: WeakKeyDictionary[Account, dict[JID, Listener]] = WeakKeyDictionary()

    def of(self, account: Account) -> Mapping[JID, Listener]:
        """By full JID, those of one account."""
        return self._known.get(account, {})

    def is_news(self, account: Account, who: JID, presence: Stanza) -> bool:
        """Whether it says more than that somebody is still there; most presence does not."""
        known = self.of(account).get(who)
        return caps.announced(presence) != (known and known.said)

    def gone(self, account: Account, who: JID | None) -> None:
        """Somebody is not there any more."""
        self._known.get(account, {}).pop(who, None)  # type: ignore[arg-type]  # None is nobody

    async def learn(self, account: Account, who: JID, presence: Stanza) -> frozenset[str]:
        """Learn what somebody listens to; gives the nodes that they did not listen to before.

        Nothing is remembered of whoever does not say what their capabilities mean: the next presence asks
        again.
        """
        said, listeners = caps.announced(presence), self._known.setdefault(account, {})
        if said is None:
            self.gone(account, who)
            return _NOTHING
        if who not in listeners and not self._has_room(account, who):
            return _NOTHING
        before = listeners[who].wanted if who in listeners else _NOTHING
        listeners[who] = Listener(said, before, standing(account, who))
        wanted = self._caps.known(said)
        if wanted is None:
            wanted = await self._caps.learn(said, who, account.jid)
            now = listeners.get(who)
            if now is None or now.said != said:
                return _NOTHING  # gone meanwhile, or another by now
            if wanted is None:
                del listeners[who]
                return _NOTHING
            before = now.wanted
        listeners[who] = Listener(said, wanted, standing(account, who))
        return wanted - before

    def moved(self, account: Account, contact: str) -> dict[JID, Listener]:
        """Those at a bare JID, as they were known, if they stand otherwise with the account now."""
        listeners = self._known.get(account, {})
        found = {who: each for who, each in listeners.items() if who.bare == contact}
        for who, each in found.items():
            listeners[who] = each._replace(standing=standing(account, who))
        return {who: each for who, each in found.items() if each.standing != listeners[who].standing}

    def _has_room(self, account: Account, who: JID) -> bool:
        near = who.bare == account.jid or account.trusts(who)
        return len(self.of(account)) < (_MOST if near else _MOST_STRANGERS)
