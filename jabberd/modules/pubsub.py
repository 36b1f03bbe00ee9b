"""XEP-0060: a service for the nodes of many, at a domain of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from jabberd.api import (
    ANYONE,
    DOMAIN,
    IQ,
    JID,
    DomainName,
    E,
    Element,
    Keyed,
    Module,
    Ordered,
    Refused,
    Settings,
    Size,
    Stanza,
    StanzaError,
    answers,
    operator,
    serves,
)
from jabberd.modules.disco import ITEMS
from jabberd.pubsub.names import FEATURES, NS, OWNER
from jabberd.pubsub.node import Item, Node
from jabberd.pubsub.options import Options
from jabberd.pubsub.requests import PubSub
from jabberd.pubsub.store import Store
from jabberd.pubsub.venue import Limits
from jabberd.xmpp.forms import X
from jabberd.xmpp.rsm import PageWanted

if TYPE_CHECKING:
    from collections.abc import Iterable

_USUAL: Final = Options(access_model="open", max_items="20", send_last_published_item="on_sub")
_MODELS: Final = ("open", "whitelist", "authorize")

Rows = list[dict[str, object]]


class PubSubService(Module, xep=60, version="1.30.0"):
    """Serves a domain with publish-subscribe; its admins own every node.

    Nodes that wait for approval ask their owners; who cannot be reached stays subscribed.
    """

    requires = ("disco",)
    identities = (("pubsub", "service"),)
    features = (*FEATURES, *(f"{NS}#access-{model}" for model in _MODELS))

    class Config(Settings):
        """Who may make nodes, and how many.

        :ivar creators: the domains whose people may; none: the domain that this one is below of.
        :ivar nodes: how many nodes there may be; ``nodes_each``: of one creator.
        :ivar items: in one node; what ``max`` means.
        :ivar subscribers: of one node.
        :ivar payload: of one item.
        :ivar size: of everything in one node.
        """

        creators: tuple[DomainName, ...] = ()
        nodes: Annotated[int, Meta(ge=1)] = 1_000
        nodes_each: Annotated[int, Meta(ge=1)] = 50
        items: Annotated[int, Meta(ge=1)] = 1_000
        subscribers: Annotated[int, Meta(ge=1)] = 1_000
        payload: Size = 64 << 10
        size: Size = 4 << 20

    config: Config

    nodes = Keyed("pubsub-nodes", of=Node)
    items = Ordered("pubsub-items", of=Item)

    async def start(self) -> None:
        """Make the machinery."""
        store = Store(
            self.nodes,
            self.items,
            usual=_USUAL,
            models=_MODELS,
            auto_create=False,
            limits=self._limits,
            route=self.domain.route,
            fire=self.domain.fire,
            now=self.domain.clock.seconds,
        )
        self.pubsub = PubSub(store)

    def _limits(self) -> Limits:
        config = self.config
        return Limits(
            nodes=config.nodes,
            nodes_each=config.nodes_each,
            items=config.items,
            subscribers=config.subscribers,
            payload=config.payload,
            node_bytes=config.size,
        )

    @answers.get(NS, "pubsub", to=DOMAIN, by=ANYONE)
    @answers.set(NS, "pubsub", to=DOMAIN, by=ANYONE)
    @answers.get(OWNER, "pubsub", to=DOMAIN, by=ANYONE)
    @answers.set(OWNER, "pubsub", to=DOMAIN, by=ANYONE)
    async def answer(self, request: IQ) -> Element | None:
        """Do what somebody asks."""
        return await self.pubsub.answer(self, request.sender, request.type, request.payload)

    @serves
    async def take(self, stanza: Stanza) -> None:
        """An owner's answer to the question whether somebody may subscribe (§8.6); nobody else lives here."""
        form = stanza.child(X)
        if stanza.name != "message" or form is None or stanza.sender is None or stanza.to != self.domain.jid:
            if stanza.name != "presence" and stanza.type != "error":
                raise StanzaError("service-unavailable")
            return
        if stanza.type != "error":
            await self.pubsub.subscriptions.decided(self, stanza.sender, form)

    @operator("list the nodes of the service")
    async def list(self) -> Rows:
        """A row for each, with who made it."""
        return await self.pubsub.nodes.listed(self)

    @operator("delete a node with its items")
    async def delete(self, node: str) -> str:
        """Its subscribers are told.

        :raises Refused: there is none.
        """
        known = await self.nodes.get(self.jid, node)
        if known is None:
            raise Refused(f"there is no node {node}")
        await self.pubsub.nodes.delete(self, node, JID.parse(known.owners[0]), None)
        return f"{node} is deleted"

    # -- jabberd.pubsub.venue.Venue -----------------------------------------------------------------

    @property
    def jid(self) -> JID:
        """The domain."""
        return self.domain.jid

    def owns(self, who: JID) -> bool:
        """The admins of the domain do."""
        return who.bare in self.domain.operators.domain

    def may_create(self, who: JID) -> bool:
        """Those who belong here may, and admins."""
        creators = self.config.creators or (self.jid.domainpart.partition(".")[2],)
        return who.domainpart in creators or self.owns(who)

    def trusts(self, who: JID) -> bool:  # nobody has shown presence
        """There is no roster."""
        return False

    def groups(self, who: JID) -> tuple[str, ...]:  # as above
        """There is no roster."""
        return ()

    def sees(self, who: JID) -> bool:  # as above
        """Nobody's presence is known."""
        return False

    def audience(self, node: str) -> Iterable[JID]:  # as above
        """Only those who have subscribed listen."""
        return ()

    # -- jabberd.modules.disco.Nodes ------------------------------------------------------------------

    async def node_info(self, node: str, asker: JID) -> Iterable[Element] | None:
        """A node that the asker may see (§5.3, §5.4)."""
        if not await self.pubsub.nodes.is_visible(self, node, asker):
            return None
        return await self.pubsub.nodes.described(self, node)

    async def node_items(self, node: str, asker: JID) -> Iterable[Element] | None:
        """The nodes that the asker may see (§5.2), or a node's items (§5.5)."""
        if not node:
            shown = await self.pubsub.nodes.visible(self, asker)
            return [
                E(ITEMS, "item", {"jid": self.jid, "node": name, "name": title or None})
                for name, title in shown.items()
            ]
        if not await self.pubsub.nodes.is_visible(self, node, asker):
            return None
        items, _ = await self.pubsub.items.retrieve(self, node, asker, page=PageWanted(last=True))
        return [E(ITEMS, "item", {"jid": self.jid, "name": each.get("id")}) for each in items]
