"""What each request of XEP-0060 means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jabberd.pubsub.items import Items
from jabberd.pubsub.names import NS, OWNER, refusal
from jabberd.pubsub.nodes import Nodes, form_in, name_in
from jabberd.pubsub.subscriptions import Subscriptions, shown
from jabberd.xmpp import rsm
from jabberd.xmpp.element import E, split
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.rsm import PageWanted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from jabberd.pubsub.store import Store
    from jabberd.pubsub.venue import Venue
    from jabberd.xmpp.element import Element
    from jabberd.xmpp.jid import JID


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    :ivar asked: the element inside ``<pubsub/>`` that says what is wanted.
    :ivar whole: ``<pubsub/>`` itself.
    """

    venue: Venue
    who: JID
    asked: Element
    whole: Element

    @property
    def name(self) -> str:
        """The node that it is about.

        :raises StanzaError: ``nodeid-required``.
        """
        return name_in(self.asked)

    def text(self, attribute: str) -> str:
        """An attribute of what is asked, empty if absent."""
        return self.asked.get(attribute, "")

    def beside(self, name: str) -> Element | None:
        """Another element beside what is asked."""
        return self.whole.find(f"{{{NS}}}{name}")

    def behind(self, name: str) -> Element | None:
        """Another element that has to follow what is asked.

        :raises StanzaError: ``bad-request``: it comes before it.
        """
        found = self.beside(name)
        if found is not None and [*self.whole].index(found) < [*self.whole].index(self.asked):
            raise StanzaError("bad-request", f"{name} comes behind what it is about")
        return found


class PubSub:
    """All that can be asked of the venues of a domain."""

    def __init__(self, store: Store) -> None:
        self.items = Items(store)
        self.subscriptions = Subscriptions(store)
        self.nodes = Nodes(store, self.subscriptions)

    async def answer(self, venue: Venue, who: JID, type: str, whole: Element) -> Element | None:
        """Do what is asked (``type`` get or set); returns what stands in the result.

        :raises StanzaError: why not.
        """
        namespace = split(whole.tag)[0]
        subscribing = whole.find(f"{{{NS}}}subscribe") if type == "set" else None
        for asked in whole if subscribing is None else (subscribing,):  # its options may come first
            method = _REQUESTS.get((type, asked.tag))
            if method is not None:
                inside = await method(self, Request(venue, who, asked, whole))
                return None if inside is None else E(namespace, "pubsub", None, *inside)
        raise StanzaError("feature-not-implemented" if len(whole) else "bad-request")

    # -- items ----------------------------------------------------------------------------------------

    async def publish(self, request: Request) -> list[Element]:
        """§7.1."""
        options = request.beside("publish-options")
        wanted = None if options is None else form_in(options)
        given = request.asked.findall(f"{{{NS}}}item")
        id = await self.items.publish(request.venue, request.name, request.who, given, wanted)
        item = E(NS, "item", {"id": id})
        return [E(NS, "publish", {"node": request.name}, *([item] if given else []))]

    async def retrieve(self, request: Request) -> list[Element]:
        """§6.5."""
        ids = [each.get("id", "") for each in request.asked.findall(f"{{{NS}}}item")]
        asked = request.whole.find(rsm.SET)
        page = PageWanted() if asked is None else rsm.wanted(asked)
        most = request.text("max_items")
        if most and not (most.isascii() and most.isdigit() and len(most) < 10):
            raise StanzaError("bad-request", "max_items is a number")
        if most:
            page = PageWanted(int(most), last=True)
        subid = request.asked.get("subid")
        items, found = await self.items.retrieve(
            request.venue, request.name, request.who, ids=ids, page=page, subid=subid
        )
        answer = [E(NS, "items", {"node": request.name}, *items)]
        wanted = min(found.count, int(most)) if most else found.count
        if len(items) < wanted or (asked is not None and not ids):
            first, last = (items[0].get("id", ""), items[-1].get("id", "")) if items else ("", "")
            answer.append(rsm.told(first, last, found.below, found.count))
        return answer

    async def retract(self, request: Request) -> None:
        """§7.2."""
        ids = [each.get("id") for each in request.asked.findall(f"{{{NS}}}item")]
        name = request.name
        if len(ids) != 1 or not ids[0]:
            raise refusal("bad-request", "item-required")
        notify = request.text("notify") in ("1", "true")
        await self.items.retract(request.venue, name, request.who, ids[0], notify=notify)

    async def purge(self, request: Request) -> None:
        """§8.5."""
        await self.items.purge(request.venue, request.name, request.who)

    # -- nodes ----------------------------------------------------------------------------------------

    async def create(self, request: Request) -> list[Element] | None:
        """§8.1."""
        configure = request.behind("configure")
        if configure is not None and configure.get("node"):
            raise StanzaError("bad-request")
        form = None if configure is None or not len(configure) else form_in(configure)
        name = await self.nodes.create(request.venue, request.text("node"), request.who, form)
        return [E(NS, "create", {"node": name})]

    async def configuration(self, request: Request) -> list[Element]:
        """§8.2."""
        form = await self.nodes.configuration(request.venue, request.name, request.who)
        return [E(OWNER, "configure", {"node": request.name}, form)]

    async def configure(self, request: Request) -> None:
        """§8.2.4."""
        await self.nodes.configure(request.venue, request.name, request.who, form_in(request.asked))

    async def usual(self, request: Request) -> list[Element]:
        """§8.3."""
        type = request.asked.get("type")
        return [E(OWNER, "default", {"type": type}, self.nodes.usual(type or ""))]

    async def delete(self, request: Request) -> None:
        """§8.4."""
        redirect = request.asked.find(f"{{{OWNER}}}redirect")
        uri = None if redirect is None else redirect.get("uri", "")
        await self.nodes.delete(request.venue, request.name, request.who, uri)

    async def affiliations_of(self, request: Request) -> list[Element]:
        """§5.7."""
        node = request.text("node")
        found = await self.nodes.affiliations_of(request.venue, node, request.who)
        return [E(NS, "affiliations", {"node": node or None}, *found)]

    async def affiliations(self, request: Request) -> list[Element]:
        """§8.9.1."""
        found = await self.nodes.affiliations(request.venue, request.name, request.who)
        return [E(OWNER, "affiliations", {"node": request.name}, *found)]

    async def affiliate(self, request: Request) -> None:
        """§8.9.2."""
        given = request.asked.findall(f"{{{OWNER}}}affiliation")
        await self.nodes.affiliate(request.venue, request.name, request.who, given)

    # -- subscriptions --------------------------------------------------------------------------------

    async def subscribe(self, request: Request) -> list[Element]:
        """§6.1."""
        options = request.behind("options")
        if options is not None and (options.get("node") or options.get("jid")):
            raise StanzaError("bad-request", "options say neither node nor jid here")
        form = None if options is None else form_in(options)
        new, granted = await self.subscriptions.subscribe(
            request.venue, request.name, request.who, request.text("jid"), form
        )
        told = [] if form is None else [E(NS, "options", None, granted.element("result"))]
        return [shown(new, node=request.name), *told]

    async def unsubscribe(self, request: Request) -> list[Element]:
        """§6.2."""
        jid, subid = request.text("jid"), request.text("subid")
        gone = await self.subscriptions.unsubscribe(request.venue, request.name, request.who, jid, subid)
        return [shown(gone, node=request.name)]

    async def options(self, request: Request) -> list[Element]:
        """§6.3."""
        jid, subid = request.text("jid"), request.text("subid")
        form = await self.subscriptions.options(request.venue, request.name, request.who, jid, subid)
        return [E(NS, "options", {"node": request.name, "jid": jid, "subid": subid or None}, form)]

    async def set_options(self, request: Request) -> None:
        """§6.3.6."""
        jid, subid, form = request.text("jid"), request.text("subid"), form_in(request.asked)
        await self.subscriptions.set_options(request.venue, request.name, request.who, jid, subid, form)

    async def usual_options(self, request: Request) -> list[Element]:
        """§6.4."""
        node = request.text("node")
        form = await self.subscriptions.usual_options(request.venue, node)
        return [E(NS, "default", {"node": node or None}, form)]

    async def subscriptions_of(self, request: Request) -> list[Element]:
        """§5.6."""
        node = request.text("node")
        found = await self.subscriptions.of(request.venue, node, request.who)
        return [E(NS, "subscriptions", {"node": node or None}, *found)]

    async def subscribers(self, request: Request) -> list[Element]:
        """§8.8.1."""
        found = await self.subscriptions.list(request.venue, request.name, request.who)
        return [E(OWNER, "subscriptions", {"node": request.name}, *found)]

    async def set_subscribers(self, request: Request) -> None:
        """§8.8.2."""
        given = request.asked.findall(f"{{{OWNER}}}subscription")
        await self.subscriptions.set(request.venue, request.name, request.who, given)


_REQUESTS: Final[Mapping[tuple[str, str], Callable[[PubSub, Request], Awaitable[list[Element] | None]]]] = {
    ("set", f"{{{NS}}}publish"): PubSub.publish,
    ("get", f"{{{NS}}}items"): PubSub.retrieve,
    ("set", f"{{{NS}}}retract"): PubSub.retract,
    ("set", f"{{{NS}}}create"): PubSub.create,
    ("set", f"{{{NS}}}subscribe"): PubSub.subscribe,
    ("set", f"{{{NS}}}unsubscribe"): PubSub.unsubscribe,
    ("get", f"{{{NS}}}options"): PubSub.options,
    ("set", f"{{{NS}}}options"): PubSub.set_options,
    ("get", f"{{{NS}}}default"): PubSub.usual_options,
    ("get", f"{{{NS}}}subscriptions"): PubSub.subscriptions_of,
    ("get", f"{{{NS}}}affiliations"): PubSub.affiliations_of,
    ("get", f"{{{OWNER}}}configure"): PubSub.configuration,
    ("set", f"{{{OWNER}}}configure"): PubSub.configure,
    ("get", f"{{{OWNER}}}default"): PubSub.usual,
    ("set", f"{{{OWNER}}}delete"): PubSub.delete,
    ("set", f"{{{OWNER}}}purge"): PubSub.purge,
    ("get", f"{{{OWNER}}}affiliations"): PubSub.affiliations,
    ("set", f"{{{OWNER}}}affiliations"): PubSub.affiliate,
    ("get", f"{{{OWNER}}}subscriptions"): PubSub.subscribers,
    ("set", f"{{{OWNER}}}subscriptions"): PubSub.set_subscribers,
}
