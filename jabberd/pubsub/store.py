"""Nodes and their items where they are kept, and one change of a node at a time."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import DeferredLock

from jabberd.pubsub import options as settings
from jabberd.pubsub.node import Node
from jabberd.pubsub.options import Terms
from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from jabberd import interfaces
    from jabberd.interfaces import Entry
    from jabberd.pubsub.index import Index
    from jabberd.pubsub.node import Item
    from jabberd.pubsub.options import Options
    from jabberd.pubsub.venue import Limits, Venue
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.stanza import Stanza


_MOVED: Final = "moved"  #: the only list of such a store
_NEW: Final = ""  #: what stands for all nodes that are being made; none is called that
_FEW: Final = 100  #: nodes that are read one by one, and not all at once
_PART: Final = 10  #: where there are many, so is one of as many
_REMEMBERED: Final = 2_000  #: newest items
_SMALL: Final = 2_000  #: characters of a payload that is remembered


class Store:
    """What all venues of a domain have.

    :param moved: by name the URIs of nodes that are elsewhere now (§6.1.3.11).
    :param usual: the options of a node of which nothing else was said.
    :param models: the access models that its nodes may have.
    :param presence: whether the venues learn who is there, other than by capabilities.
    :param auto_create: whether publishing to a node that is not there makes it (§7.1.4).
    :param index: what is known of all nodes of its only venue; None: it has many venues, each with few nodes.
    :param route: sends a stanza on its way.
    :param happened: tells the listeners of an event, and waits until they have done their part.
    :param now: seconds since 1970.
    """

    def __init__(
        self,
        nodes: interfaces.Keyed[Node],
        items: interfaces.Ordered[Item],
        moved: interfaces.Ordered[str],
        *,
        usual: Options,
        models: Iterable[str],
        auto_create: bool,
        limits: Callable[[], Limits],
        route: Callable[[Stanza], object],
        happened: Callable[[object], Awaitable[None]],
        now: Callable[[], float],
        presence: bool = False,
        index: Index | None = None,
    ) -> None:
        self.nodes = nodes
        self.items = items
        self.moved = moved
        self.usual = usual
        self.models = frozenset(models)
        self.presence = presence
        self.index = index
        self.auto_create = auto_create
        self.route = route
        self.happened = happened
        self.now = now
        self._limits = limits
        self._changing: dict[tuple[str, str], DeferredLock] = {}
        self._last: OrderedDict[tuple[str, str], Entry[Item] | None] = OrderedDict()
        self._changes = 0

    @property
    def limits(self) -> Limits:
        """How much there may be at one venue."""
        return self._limits()

    @property
    def terms(self) -> Terms:
        """What the nodes may be."""
        return Terms(self.models, self.limits.items, self.presence)

    def options(self, node: Node) -> Options:
        """The options of a node."""
        return settings.read(node.options, self.usual)

    async def node(self, venue: Venue, name: str, *, reads: bool = False) -> Node:
        """The node.

        :param reads: whether somebody wants to read there, who may as well do it elsewhere (§6.1.3.11).
        :raises StanzaError: ``item-not-found``: there is none; ``gone``: it is elsewhere now.
        """
        node = await self.nodes.get(venue.jid, name)
        if node is None:
            moved = await self.moved.get(venue.jid, _MOVED, [name]) if reads else ()
            raise StanzaError("gone", uri=moved[0].value) if moved else StanzaError("item-not-found")
        return node.at(self.now())

    async def move(self, venue: Venue, name: str, uri: str) -> None:
        """Remember where a deleted node is now, in the place of the one that moved first if need be."""
        known = await self.moved.page(venue.jid, _MOVED, limit=1)
        full = known is not None and known.count >= self.limits.nodes
        gone = [each.key for each in known.entries] if full and known is not None else []
        _check_there(venue)
        await self.moved.change(venue.jid, _MOVED, {name: uri}, gone)

    async def every(self, venue: Venue) -> dict[str, Node]:
        """All nodes of a venue, by name."""
        now = self.now()
        return {name: node.at(now) for name, node in (await self.nodes.all(venue.jid)).items()}

    async def related(self, venue: Venue, who: JID, *, purging: bool = False) -> dict[str, Node]:
        """All nodes, by name, that name somebody (`Node.people`), and perhaps others.

        :param purging: as well all from which the items of those go who go offline.
        """
        if self.index is None or venue.owns(who):
            return await self.every(venue)
        names = {*self.index.related(who.bare), *(self.index.purging if purging else ())}
        if len(names) > max(_FEW, len(self.index) // _PART):
            return await self.every(venue)
        found = {name: await self.nodes.get(venue.jid, name) for name in sorted(names)}
        now = self.now()
        return {name: node.at(now) for name, node in found.items() if node is not None}

    async def put(self, venue: Venue, name: str, node: Node | None) -> None:
        """Keep a node as it is now; None: it is gone.  `changing` is held.

        :raises StanzaError: ``service-unavailable``: the venue is gone.
        """
        _check_there(venue)
        await self.nodes.change(venue.jid, {name: node})
        self._saw(name, node)

    def _saw(self, name: str, node: Node | None) -> None:
        if self.index is not None:
            purges = node is not None and self.options(node).purge_offline
            self.index.saw(name, node, purges=purges)

    async def learn(self, venue: Venue) -> None:
        """Fill the index; nobody asks anything before."""
        last = ""
        while some := await self.nodes.some(venue.jid, after=last):
            for name, node in some.items():
                self._saw(name, node)
            last = [*some][-1]

    @asynccontextmanager
    async def changing(self, venue: Venue, name: str) -> AsyncIterator[None]:
        """Change a node; whoever wants to change it meanwhile waits."""
        key = (venue.jid, name)
        lock = self._changing.setdefault(key, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            self._changes += 1
            self._last.pop(key, None)
            if not lock.waiting:
                self._changing.pop(key, None)
            lock.release()

    async def last(self, venue: Venue, name: str, options: Options) -> Entry[Item] | None:
        """The newest item of a node, if that keeps any and it is not too old."""
        found = await self._newest(venue, name) if options.persist_items else None
        return None if found is None or options.expired(found.value.stamp, self.now()) else found

    async def _newest(self, venue: Venue, name: str) -> Entry[Item] | None:
        """Many ask for the same, so that it is remembered."""
        key, changes = (venue.jid, name), self._changes
        if key in self._last:
            self._last.move_to_end(key)
            return self._last[key]
        page = await self.items.page(venue.jid, name, limit=1, last=True)
        found = page.entries[0] if page and page.entries else None
        if changes == self._changes and (found is None or len(found.value.payload) <= _SMALL):
            self._last[key] = found
            if len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)
        return found

    async def put_item(self, venue: Venue, name: str, id: str, item: Item, gone: Iterable[str]) -> None:
        """Keep an item in the place of others; `changing` is held.

        :raises StanzaError: ``service-unavailable``: the venue is gone.
        """
        _check_there(venue)
        await self.items.change(venue.jid, name, {id: item}, gone)

    def new_node(self, venue: Venue, who: JID, options: Options) -> Node:
        """A node as it is when it is made; it is not kept yet."""
        node = Node(settings.written(options, self.usual), created=int(self.now()))
        if venue.owns(venue.jid):
            return node  # it goes without saying whose it is
        return replace(node, creator=who.bare).affiliated(who.bare, "owner")

    async def add(self, venue: Venue, name: str, node: Node) -> None:
        """Keep a new node; its own `changing` is held.

        :raises StanzaError: ``resource-constraint``: there are enough of them.
        """
        async with self.changing(venue, _NEW):  # whoever makes several at once makes one after the other
            await self._check_room(venue, node.creator)
            await self.put(venue, name, node)
        await self.moved.change(venue.jid, _MOVED, {}, [name])  # it is here, again or for the first time

    async def _check_room(self, venue: Venue, creator: str) -> None:
        limits = self.limits
        count = len(await self.nodes.all(venue.jid)) if self.index is None else len(self.index)
        if count >= limits.nodes:
            limits.met["nodes"] += 1
            raise StanzaError("resource-constraint", f"there are at most {limits.nodes} nodes")
        each = limits.nodes_each
        if self.index is not None and each is not None and self.index.creators[creator] >= each:
            limits.met["nodes_each"] += 1
            raise StanzaError("resource-constraint", f"{creator} has {each} nodes; that is enough")


def _check_there(venue: Venue) -> None:
    """See that nothing is kept of who is deleted: somebody else may get that name."""
    if not venue.exists:
        raise StanzaError("service-unavailable")
