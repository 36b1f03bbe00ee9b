"""What the machinery of XEP-0060 has to know of an address that has nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from jabberd.xmpp.element import Element
    from jabberd.xmpp.jid import JID


class Venue(Protocol):
    """An address that has nodes: an account, or a service."""

    @property
    def jid(self) -> JID:
        """The address."""

    @property
    def exists(self) -> bool:
        """Whether it is still there; nothing more is kept of one that is deleted."""

    def owns(self, who: JID) -> bool:
        """Whether somebody owns every node there, whatever the node says."""

    def may_create(self, who: JID) -> bool:
        """Whether somebody may make nodes there."""

    def trusts(self, who: JID) -> bool:
        """Whether somebody may see the owner's presence (access model ``presence``)."""

    def groups(self, who: JID) -> tuple[str, ...]:
        """The groups of the owner's roster that somebody is in (access model ``roster``)."""

    def shows(self, who: JID) -> Collection[str]:
        """The presence states of who is there at an address: ``online`` or what their ``<show/>`` says."""

    def watch(self, who: JID) -> None:
        """Somebody's presence matters from now on."""

    def unwatch(self, who: JID) -> None:
        """Somebody's presence does not matter any more."""

    def audience(self, node: str) -> Iterable[JID]:
        """Full JIDs that have said in their capabilities that they listen (XEP-0060 §9.2)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much there may be at one venue.

    :ivar nodes: how many; ``items`` in one node, and ``subscribers`` and other affiliated JIDs of one node.
    :ivar subscriptions: of one address to one node (§6.1.6).
    :ivar nodes_each: how many of them one creator may have; None: all.
    :ivar payload: bytes of one item's payload; ``bytes`` of all items together, or (``node_bytes``) of each
        node's.
    :ivar met: how often each of them has held somebody back; both of bytes are ``size``.
    """

    nodes: int = 1_000
    nodes_each: int | None = None
    items: int = 1_000
    subscribers: int = 1_000
    subscriptions: int = 1
    payload: int = 256 << 10
    bytes: int = 10 << 20
    node_bytes: int | None = None
    met: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Published:
    """An item was published."""

    venue: Venue
    node: str
    id: str
    payload: Element | None
    publisher: JID


@dataclass(frozen=True, slots=True)
class Removed:
    """Items are gone; all of the node if none is named."""

    venue: Venue
    node: str
    ids: tuple[str, ...] = ()
