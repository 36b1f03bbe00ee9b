"""Publishing, retrieving and removing items (XEP-0060 §6.5, §7, §8.5)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from jabberd.interfaces import Page
from jabberd.pubsub import options as settings
from jabberd.pubsub.access import check_owner, check_publisher, check_reader, check_remover, hears
from jabberd.pubsub.events import (
    item_element,
    items_element,
    last_item,
    retracted,
    tell,
    text_of,
)
from jabberd.pubsub.names import EVENT, NS, check_id, refusal, unsupported
from jabberd.pubsub.node import Item
from jabberd.pubsub.venue import Published, Removed
from jabberd.xmpp.element import E, serialize, split
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.rsm import PageWanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jabberd.interfaces import Entry
    from jabberd.pubsub.node import Node
    from jabberd.pubsub.options import Options
    from jabberd.pubsub.store import Store
    from jabberd.pubsub.venue import Limits, Venue
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.jid import JID

_PAGE: Final = 1_000  #: items in one answer
_PAGE_BYTES: Final = 512 << 10  #: of payloads in one answer


class Items:
    """The items of all venues of a domain."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # -- publishing ---------------------------------------------------------------------------------

    async def publish(
        self,
        venue: Venue,
        name: str,
        who: JID,
        given: Sequence[Element],
        wanted: Element | None = None,
    ) -> str:
        """Publish an item; returns its id.

        :param given: the ``<item/>`` elements of the request.
        :param wanted: the form in its ``<publish-options/>``.
        :raises StanzaError: why not; nothing has changed.
        """
        store = self._store
        check_id(name)
        async with store.changing(venue, name):
            known = await store.nodes.get(venue.jid, name)
            new = known is None
            node = self._auto_created(venue, who, wanted) if known is None else known.at(store.now())
            options = store.options(node)
            check_publisher(venue, node, options, who)
            if wanted is not None and not new:
                self._check_wanted(options, wanted)
            id, payload = _content(options, given, store.limits)
            item = Item(
                "" if payload is None else serialize(payload, "").decode(), str(who), int(store.now())
            )
            kept = options.persist_items and options.items(store.limits.items) > 0
            gone = await self._room(venue, name, options, id, item) if kept else []
            if new:
                await store.add(venue, name, node)
            if kept:
                await store.put_item(venue, name, id, item, gone)
        if options.purge_offline:
            venue.watch(who)
        self._tell(venue, name, node, options, id, payload, who)
        if gone and options.notify_retract and options.publish_node_full == "retract-oldest":
            about = items_element(name, *map(retracted, gone), namespace=EVENT)
            tell(store, venue, name, node, about, subids=True)
        await store.happened(Published(venue, name, id, payload, who))
        return id

    def _auto_created(self, venue: Venue, who: JID, wanted: Element | None) -> Node:
        """A node that shall be there (§7.1.4), with the options that the publisher wants."""
        store = self._store
        if not (store.auto_create and venue.may_create(who)):
            raise StanzaError("item-not-found")
        options = store.usual
        if wanted is not None:
            options, _ = settings.wanted(options, wanted, store.terms)
        return store.new_node(venue, who, options)

    def _check_wanted(self, options: Options, wanted: Element) -> None:
        """See that the node is what the publisher wants (§7.1.5)."""
        try:
            asked, names = settings.wanted(options, wanted, self._store.terms)
        except StanzaError as why:
            if why.condition == "not-acceptable":  # nothing here could be what is wanted
                raise refusal("conflict", "precondition-not-met", why.text) from None
            raise
        if any(getattr(asked, name) != getattr(options, name) for name in names):
            raise refusal("conflict", "precondition-not-met")

    async def _room(self, venue: Venue, name: str, options: Options, id: str, item: Item) -> list[str]:
        """Who has to go, so that an item may come.

        :raises StanzaError: there is no room.
        """
        store = self._store
        limits = store.limits
        sizes = await store.items.sizes(venue.jid, name if limits.node_bytes else "")
        count = sizes.get(name, (0, 0))[0]
        same = await store.items.get(venue.jid, name, [id]) if count else ()
        over = count + 1 - len(same) - options.items(limits.items)
        oldest: list[Entry[Item]] = []
        if over > 0:
            if options.publish_node_full == "reject":
                raise refusal("conflict", "node-full")
            page = await store.items.page(venue.jid, name, limit=over + len(same))
            oldest = [each for each in page.entries if each.key != id][:over] if page else []
        freed = sum(len(each.value.payload) for each in (*same, *oldest))
        if sum(taken for _, taken in sizes.values()) - freed + len(item.payload) > (
            limits.node_bytes or limits.bytes
        ):
            limits.met["size"] += 1
            raise StanzaError("resource-constraint", "there is no room for more")
        return [each.key for each in oldest]

    def _tell(
        self,
        venue: Venue,
        name: str,
        node: Node,
        options: Options,
        id: str,
        payload: Element | None,
        who: JID,
    ) -> None:
        publisher = str(who) if options.itemreply == "publisher" else None
        inside = [payload] if payload is not None and options.deliver_payloads else []
        transient = not options.persist_items and not options.deliver_payloads
        items = [] if transient else [E(EVENT, "item", {"id": id, "publisher": publisher}, *inside)]
        about = items_element(name, *items, namespace=EVENT)
        tell(self._store, venue, name, node, about, subids=True, body=text_of(payload, options))

    # -- retrieving ---------------------------------------------------------------------------------

    async def retrieve(
        self,
        venue: Venue,
        name: str,
        who: JID,
        *,
        ids: Sequence[str] = (),
        page: PageWanted,
        subid: str | None = None,
    ) -> tuple[list[Element], Page[Item]]:
        """Items for whoever may have them, oldest first.

        :param ids: only these; else what ``page`` says.
        :param subid: the subscription for which they are, if that was said.
        :raises StanzaError: why not.
        """
        store = self._store
        node = await store.node(venue, name, reads=True)
        options = store.options(node)
        check_reader(venue, node, options, who)
        _check_subid(node, who, subid)
        if not options.persist_items:
            raise unsupported("persistent-items")
        found = await self._page(venue, name, ids, page)
        fresh = [each for each in found.entries if not options.expired(each.value.stamp, store.now())]
        if len(fresh) < len(found.entries):
            kept = {each.key for each in fresh}
            await self._forget(venue, name, [e.key for e in found.entries if e.key not in kept])
        some = _within(fresh, last=page.last)
        shown = [item_element(NS, each.key, each.value, options) for each in some]
        below = found.below + (len(fresh) - len(some) if page.last else 0)
        return shown, Page(tuple(some), below, found.count)

    async def ids(self, venue: Venue, name: str, who: JID) -> list[str]:
        """Those of a node's newest items, for whoever may have them (§5.5)."""
        node = await self._store.node(venue, name)
        options = self._store.options(node)
        check_reader(venue, node, options, who)
        found = await self._page(venue, name, (), PageWanted(last=True))
        return [e.key for e in found.entries if not options.expired(e.value.stamp, self._store.now())]

    async def _page(self, venue: Venue, name: str, ids: Sequence[str], page: PageWanted) -> Page[Item]:
        items = self._store.items
        if ids:
            entries = await items.get(venue.jid, name, ids[:_PAGE])
            return Page(entries, 0, len(entries))
        most = _PAGE if page.most is None else min(page.most, _PAGE)
        found = await items.page(
            venue.jid, name, after=page.after, before=page.before, limit=most, last=page.last
        )
        if found is None:
            raise StanzaError("item-not-found")
        return found

    async def _forget(self, venue: Venue, name: str, ids: Sequence[str]) -> None:
        """What is too old is removed when somebody looks (§16.4.4, ``item_expire``), but not what is new."""
        store = self._store
        async with store.changing(venue, name):
            node = await store.nodes.get(venue.jid, name)
            if node is None:
                return
            options, entries = store.options(node), await store.items.get(venue.jid, name, ids)
            old = [each.key for each in entries if options.expired(each.value.stamp, store.now())]
            await store.items.change(venue.jid, name, {}, old)

    async def send_last(self, venue: Venue, names: Iterable[str], who: JID, when: Iterable[str]) -> None:
        """Send somebody the last item of each of these nodes that says so, and that they may read.

        :param when: the values of ``send_last_published_item`` that say so.
        """
        store = self._store
        for name in names:
            node = await store.nodes.get(venue.jid, name)
            if node is None:
                continue
            options = store.options(node)
            if options.send_last_published_item in when and hears(venue, node, options, who):
                newest = await store.last(venue, name, options)
                if newest is not None:
                    store.route(last_item(venue, name, newest.key, newest.value, options, who))

    # -- removing -----------------------------------------------------------------------------------

    async def retract(self, venue: Venue, name: str, who: JID, id: str, *, notify: bool) -> None:
        """Remove an item (§7.2); subscribers learn it if the node or the publisher wants that."""
        store = self._store
        async with store.changing(venue, name):
            node = await store.node(venue, name)
            options = store.options(node)
            if not options.persist_items:
                check_publisher(venue, node, options, who)
                raise unsupported("persistent-items")
            found = await store.items.get(venue.jid, name, [id])
            if found:
                check_remover(venue, node, found[0].value, who)
            else:
                check_publisher(venue, node, options, who)  # nobody else learns what there is
                raise StanzaError("item-not-found")
            await store.items.change(venue.jid, name, {}, [id])
        if notify or options.notify_retract:
            about = items_element(name, retracted(id), namespace=EVENT)
            tell(store, venue, name, node, about, subids=True)
        await store.happened(Removed(venue, name, (id,)))

    async def purge_of(self, venue: Venue, who: JID) -> None:
        """A publisher is not there any more: its items go where the node says so (``purge_offline``)."""
        store = self._store
        for name, node in (await store.related(venue, who, purging=True)).items():
            options = store.options(node)
            if not (options.purge_offline and options.persist_items):
                continue
            async with store.changing(venue, name):
                page = await store.items.page(venue.jid, name, limit=store.limits.items)
                entries = page.entries if page else ()
                gone = [e.key for e in entries if e.value.publisher.partition("/")[0] == who.bare]
                await store.items.change(venue.jid, name, {}, gone)
            if gone and options.notify_retract:
                about = items_element(name, *map(retracted, gone), namespace=EVENT)
                tell(store, venue, name, node, about, subids=True)
            if gone:
                await store.happened(Removed(venue, name, tuple(gone)))

    async def purge(self, venue: Venue, name: str, who: JID) -> None:
        """Remove all items (§8.5)."""
        store = self._store
        async with store.changing(venue, name):
            node = await store.node(venue, name)
            check_owner(venue, node, who)
            options = store.options(node)
            if not options.persist_items:
                raise unsupported("persistent-items")
            await store.items.clear(venue.jid, name)
        tell(store, venue, name, node, E(EVENT, "purge", {"node": name}))
        await store.happened(Removed(venue, name))


def _check_subid(node: Node, who: JID, subid: str | None) -> None:
    """§6.5.9.1, §6.5.9.2."""
    own = node.subscriptions_of(who)
    if subid is not None:
        if own and all(each.subid != subid for each in own):
            raise refusal("not-acceptable", "invalid-subid")
    elif any(len(node.subscriptions_at(jid)) > 1 for jid in (who, who.bare)):
        raise refusal("bad-request", "subid-required")


def _content(options: Options, given: Sequence[Element], limits: Limits) -> tuple[str, Element | None]:
    """The id and the payload of what is published, as the node wants it (§7.1.3.6).

    :raises StanzaError: the node wants something else.
    """
    if len(given) > 1:
        raise StanzaError("bad-request", "one item at a time")
    if not given:
        if options.persist_items or options.deliver_payloads:
            raise refusal("bad-request", "item-required")
        return secrets.token_hex(8), None
    if not (options.persist_items or options.deliver_payloads):
        raise refusal("bad-request", "item-forbidden")
    [item] = given
    id = item.get("id") or secrets.token_hex(8)
    check_id(id)
    if len(item) > 1:
        raise refusal("bad-request", "invalid-payload")
    if not len(item):
        if options.deliver_payloads:
            raise refusal("bad-request", "payload-required")
        return id, None
    if options.payloads and split(item[0].tag)[0] != options.payloads:
        raise refusal("bad-request", "invalid-payload", f"payloads here are of {options.payloads}")
    if len(serialize(item[0], "")) > options.payload(limits.payload):
        limits.met["payload"] += 1
        raise refusal("not-acceptable", "payload-too-big")
    return id, item[0]


def _within(entries: Sequence[Entry[Item]], *, last: bool) -> list[Entry[Item]]:
    """As many of these, from one end, as fit into an answer; one at least."""
    left = _PAGE_BYTES
    some: list[Entry[Item]] = []
    for each in reversed(entries) if last else entries:
        left -= len(each.value.payload)
        if some and left < 0:
            break
        some.append(each)
    return some[::-1] if last else some
