"""What is kept of a node: its options, who belongs to it, who listens; and of its items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.xmpp.jid import JID

Affiliation = Literal["owner", "publisher", "publish-only", "member", "none", "outcast"]  #: §4.1
State = Literal["none", "pending", "subscribed"]  #: §4.2
AFFILIATIONS = get_args(Affiliation)
STATES = get_args(State)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Somebody listens to a node.

    :ivar jid: the address that is notified, bare or full.
    :ivar deliver: whether it wants notifications just now (§6.3).
    :ivar expire: when it ends (§12.18), in seconds since 1970; 0: it does not.
    :ivar temporary: whether it ends when the subscriber goes (§12.4).
    :ivar shows: the presence states in which it wants notifications; none: in all, and without presence.
    :ivar body: whether it wants a text beside a payload that can be told as one (§12.7).
    """

    jid: str
    subid: str
    state: State = "subscribed"
    deliver: bool = True
    expire: int = 0
    temporary: bool = False
    shows: tuple[str, ...] = ()
    body: bool = False

    def expired(self, now: float) -> bool:
        """Whether it has ended by now."""
        return 0 < self.expire <= now


@dataclass(frozen=True, slots=True)
class Node:
    """A leaf node.

    :ivar options: how it differs from what is usual at its venue, as `jabberd.pubsub.options` writes it.
    :ivar affiliations: of bare JIDs, each once, but for those without one.
    :ivar created: seconds since 1970; ``creator``: empty where the venue is an account, whose nodes are its
        own.
    """

    options: str = ""
    affiliations: tuple[tuple[str, Affiliation], ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    created: int = 0
    creator: str = ""

    def affiliation(self, who: JID) -> Affiliation:
        """What somebody is to it."""
        return dict(self.affiliations).get(who.bare, "none")

    def affiliated(self, who: str, affiliation: Affiliation) -> Node:
        """The same node with another affiliation of a bare JID."""
        others = tuple(each for each in self.affiliations if each[0] != who)
        return replace(self, affiliations=others if affiliation == "none" else (*others, (who, affiliation)))

    def at(self, now: float) -> Node:
        """The same node without the subscriptions that have ended by now."""
        if not any(each.expired(now) for each in self.subscriptions):
            return self
        kept = tuple(each for each in self.subscriptions if not each.expired(now))
        return replace(self, subscriptions=kept)

    @property
    def owners(self) -> list[str]:
        """The bare JIDs of those who own it."""
        return [who for who, affiliation in self.affiliations if affiliation == "owner"]

    @property
    def people(self) -> set[str]:
        """The bare JIDs of all that it names."""
        listening = (each.jid.partition("/")[0] for each in self.subscriptions)
        return {self.creator, *dict(self.affiliations), *listening} - {""}

    def without(self, who: str) -> Node:
        """The same node as if it had never heard of that bare JID."""
        kept = tuple(each for each in self.subscriptions if each.jid.partition("/")[0] != who)
        creator = "" if self.creator == who else self.creator
        return replace(self.affiliated(who, "none"), subscriptions=kept, creator=creator)

    def subscriptions_of(self, who: JID) -> list[Subscription]:
        """The subscriptions of an entity, whatever its resources."""
        bare = who.bare
        return [each for each in self.subscriptions if each.jid.partition("/")[0] == bare]

    def subscriptions_at(self, jid: str) -> list[Subscription]:
        """Those of exactly this address; several only where a venue allows it (§6.1.6)."""
        return [each for each in self.subscriptions if each.jid == jid]

    def subscribed(self, who: JID) -> bool:
        """Whether somebody has a subscription that counts."""
        return any(each.state == "subscribed" for each in self.subscriptions_of(who))

    def with_subscriptions(self, *added: Subscription, without: Iterable[Subscription] = ()) -> Node:
        """The same node with some subscriptions more, and some less."""
        gone = {each.subid for each in without} | {each.subid for each in added}
        kept = tuple(each for each in self.subscriptions if each.subid not in gone)
        return replace(self, subscriptions=(*kept, *added))


@dataclass(frozen=True, slots=True)
class Item:
    """What was published.

    :ivar payload: one element, as it stands where nothing is the default namespace; or empty.
    :ivar publisher: the full JID of whoever published it.
    :ivar stamp: seconds since 1970.
    """

    payload: str
    publisher: str
    stamp: int
