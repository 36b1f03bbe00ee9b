"""What is asked of all nodes of a service time and again, in memory: how many, and whose they are."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from jabberd.pubsub.node import Node


class Index:
    """Of the nodes of one venue; it is told of each, and of each change.

    :ivar creators: how many nodes each creator has.
    :ivar purging: those from which the items of publishers go who go offline, whoever these are.
    """

    def __init__(self) -> None:
        self.creators: Counter[str] = Counter()
        self.purging: set[str] = set()
        self._known: dict[str, tuple[str, frozenset[str]]] = {}
        self._related: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def related(self, bare: str) -> Collection[str]:
        """The nodes that name a bare JID: as affiliated, as a subscriber, or as who made them."""
        return self._related.get(bare, ())

    def saw(self, name: str, node: Node | None, *, purges: bool) -> None:
        """A node is like that from now on; None: it is gone."""
        (self.purging.add if purges else self.purging.discard)(name)
        creator, before = self._known.pop(name, ("", frozenset[str]()))
        now = frozenset[str]()
        if creator:
            self.creators[creator] -= 1
            if not self.creators[creator]:
                del self.creators[creator]
        if node is not None:
            now = frozenset(node.people)
            self._known[name] = (node.creator, now)
            if node.creator:
                self.creators[node.creator] += 1
        for bare in before - now:
            self._related[bare].discard(name)
            if not self._related[bare]:
                del self._related[bare]
        for bare in now - before:
            self._related.setdefault(bare, set()).add(name)
