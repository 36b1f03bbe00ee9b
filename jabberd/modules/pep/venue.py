"""An account as a place that has nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from jabberd.api import JID, Account
    from jabberd.modules.pep.listeners import Listener


class AccountVenue:
    """Implements `jabberd.pubsub.venue.Venue`: its owner owns all nodes, and nobody else makes any."""

    def __init__(self, account: Account, listeners: Mapping[JID, Listener]) -> None:
        self.account = account
        self.jid = account.jid
        self._listeners = listeners

    @property
    def exists(self) -> bool:
        return self.account.exists

    def owns(self, who: JID) -> bool:
        return who.bare == self.jid

    def may_create(self, who: JID) -> bool:
        return who.bare == self.jid

    def trusts(self, who: JID) -> bool:
        return who.bare == self.jid or self.account.trusts(who)

    def groups(self, who: JID) -> tuple[str, ...]:
        return self.account.groups(who) if self.account.trusts(who) else ()

    def shows(self, who: JID) -> Collection[str]:  # no option of a node there asks for it
        return ()

    def watch(self, who: JID) -> None:
        """What contacts show is known, and nothing else matters."""

    def unwatch(self, who: JID) -> None:
        """As above."""

    def audience(self, node: str) -> Iterable[JID]:
        return [who for who, each in self._listeners.items() if node in each.wanted]
