"""XEP-0060: a service for the nodes of many, at a domain of its own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta
from twisted.internet.defer import Deferred

from jabberd.api import (
    ANYONE,
    DOMAIN,
    IQ,
    JID,
    AccountDeleted,
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
    on,
    operator,
    serves,
)
from jabberd.modules.disco import ITEMS, page_ends, page_of
from jabberd.modules.pubsub.pending import GET_PENDING, get_pending
from jabberd.modules.pubsub.presences import Presences
from jabberd.pubsub.access import PUBLISHERS
from jabberd.pubsub.bounces import Bounces, says_gone
from jabberd.pubsub.events import SHIM, needs_presence, takes_presence, wanted
from jabberd.pubsub.index import Index
from jabberd.pubsub.names import FEATURES, NS, OWNER
from jabberd.pubsub.node import Item, Node
from jabberd.pubsub.options import Options
from jabberd.pubsub.requests import PubSub
from jabberd.pubsub.store import Store
from jabberd.pubsub.venue import Limits
from jabberd.xmpp.forms import X
from jabberd.xmpp.rsm import PageWanted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable

    from twisted.internet.interfaces import IDelayedCall

    from jabberd.modules.commands import Command

__all__ = ["PubSubService"]

_USUAL: Final = Options(access_model="open", max_items="20")
_MODELS: Final = ("open", "whitelist", "authorize")
_BEGIN: Final = 5.0  #: seconds after the start, when there are connections
_PAGE: Final = 500  #: nodes in one list
_PATIENCE: Final = 60.0  #: seconds in which whoever is there has said so
_SEVERAL: Final = f"{NS}#multi-subscribe"

Rows = list[dict[str, object]]


class PubSubService(Module, xep=60, version="1.30.0"):
    """Serves a domain with publish-subscribe; its admins own every node.

    Nodes that wait for approval ask their owners.  Who cannot be reached for a week is no subscriber any more
    (§12.4), nor is who is told to be there no more.  Presence of those who cannot be notified as
    they or the node want without it is asked for (§12.6), and they need not show it; who subscribes to a node
    that sends the last item to whoever comes (§4.3) may show it.

    There are no access models ``presence`` and ``roster`` (§4.5: a service may support some of them): owners
    are people of many servers, and their rosters are not the service's to see.
    """

    requires = ("commands", "disco")
    identities = (("pubsub", "service"),)
    features = (
        *FEATURES,
        GET_PENDING,
        *(f"{NS}#{each}" for each in ("last-published", "presence-notifications")),
        f"{NS}#access-{_USUAL.access_model}",
    )

    counted = ("nodes", "nodes_each", "subscribers", "subscriptions", "payload", "size")

    class Config(Settings):
        """Who may make nodes, and how many.

        :ivar creators: the domains whose people may; none: the domain that this one is below of.
        :ivar nodes: how many nodes there may be; ``nodes_each``: of one creator.
        :ivar items: in one node; what ``max`` means.
        :ivar subscribers: of one node; ``subscriptions``: of one address to one node (§6.1.6).  Programs that
            subscribe whenever they start would hear everything twice if there may be several.
        :ivar payload: of one item.
        :ivar size: of everything in one node.
        """

        creators: tuple[DomainName, ...] = ()
        nodes: Annotated[int, Meta(ge=1)] = 1_000
        nodes_each: Annotated[int, Meta(ge=1)] = 50
        items: Annotated[int, Meta(ge=1)] = 1_000
        subscribers: Annotated[int, Meta(ge=1)] = 1_000
        subscriptions: Annotated[int, Meta(ge=1)] = 1
        payload: Size = 64 << 10
        size: Size = 4 << 20

    config: Config
    _timer: IDelayedCall | None = None

    nodes = Keyed("pubsub-nodes", of=Node)
    items = Ordered("pubsub-items", of=Item)
    moved = Ordered("pubsub-moved", of=str)

    async def start(self) -> None:
        """Make the machinery; what an instance before has learned stays right, as long as that is at work."""
        before = next((each for each in self.domain.modules if each.name == self.name), None)
        known: Index | None = getattr(before, "index", None)
        self.index = Index() if known is None else known
        store = Store(
            self.nodes,
            self.items,
            self.moved,
            usual=_USUAL,
            models=_MODELS,
            auto_create=False,
            limits=self._limits,
            route=self.domain.route,
            happened=self.domain.happened,
            now=self.domain.clock.seconds,
            presence=True,
            index=self.index,
        )
        if known is None:
            await store.learn(self)
        self.pubsub = PubSub(store)
        self._presences = Presences(self.jid, self.domain.route)
        self._bounces = Bounces(self.domain.clock.seconds)
        self._coming: dict[JID, Stanza] = {}  # presence of which it is not known yet whether it matters
        self.reconfigured(None)

    def reconfigured(self, before: Any) -> None:
        """Advertise what the settings allow."""
        several = (_SEVERAL, SHIM) if self.config.subscriptions > 1 else ()
        self.features = (*type(self).features, *several)

    async def ready(self) -> None:
        """Soon see who is there."""
        self._timer = self.domain.clock.callLater(_BEGIN, self._begin)

    async def stop(self) -> None:
        """See nobody any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    @property
    def commands(self) -> Iterable[Command]:
        """See `jabberd.modules.commands.Offers`."""
        return [get_pending(self, self.pubsub.subscriptions)]

    def _limits(self) -> Limits:
        config = self.config
        return Limits(
            nodes=config.nodes,
            nodes_each=config.nodes_each,
            items=config.items,
            subscribers=config.subscribers,
            subscriptions=config.subscriptions,
            payload=config.payload,
            node_bytes=config.size,
            met=self.met,
        )

    @answers.get(NS, "pubsub", to=DOMAIN, by=ANYONE)
    @answers.set(NS, "pubsub", to=DOMAIN, by=ANYONE)
    @answers.get(OWNER, "pubsub", to=DOMAIN, by=ANYONE)
    @answers.set(OWNER, "pubsub", to=DOMAIN, by=ANYONE)
    async def answer(self, request: IQ) -> Element | None:
        """Do what somebody asks."""
        self._bounces.lives(request.sender)
        return await self.pubsub.answer(self, request.sender, request.type, request.payload)

    @serves
    async def take(self, stanza: Stanza) -> None:
        """What is no question: presence, errors, an owner's decision (§8.6); nobody else lives here."""
        who = stanza.sender
        if stanza.name == "presence":
            if who is not None and stanza.to == self.jid:
                if stanza.type == "":
                    self._bounces.lives(who)
                await self._presence(who, stanza)
            return
        if stanza.type == "error":
            if who is not None and stanza.name == "message" and stanza.to == self.jid:
                await self._bounced(who, stanza)
            return
        form = stanza.child(X)
        if stanza.name != "message" or form is None or who is None or stanza.to != self.jid:
            raise StanzaError("service-unavailable")
        await self.pubsub.subscriptions.decided(self, who, form)

    async def _bounced(self, who: JID, stanza: Stanza) -> None:
        if says_gone(stanza) or self._bounces.came(who):
            await self.pubsub.subscriptions.forget(self, who)

    # -- presence -------------------------------------------------------------------------------------

    async def _presence(self, who: JID, stanza: Stanza) -> None:
        """Whoever nobody waits for does not count."""
        if stanza.type == "" and not who.is_bare:
            if not self._presences.knows(who) and not await self._matters(who, stanza):
                return
            first = not self._presences.shows(JID.parse(who.bare))
            if self._presences.came(who, stanza):
                await self._welcome([who, JID.parse(who.bare)] if first else [who])
        elif stanza.type in ("unavailable", "error"):
            await self._left(who)
        elif stanza.type == "unsubscribed":
            await self._left(who)
            await self.pubsub.subscriptions.forget(self, JID.parse(who.bare), temporary=True)
            self._presences.forget(who)
        elif stanza.type == "subscribed" and await self.pubsub.subscriptions.needs(self, who):
            self._presences.look(who)  # unless we wait for it anyway

    async def _matters(self, who: JID, stanza: Stanza) -> bool:
        """Whether it is still there when it is known that its presence matters, which counts from then on."""
        self._coming[who] = stanza
        try:
            matters = await self.pubsub.subscriptions.needs(self, who, takes_presence)
            if self._coming.get(who) is not stanza:
                return False  # it is gone by now, or has said something else
        finally:
            if self._coming.get(who) is stanza:
                del self._coming[who]
        if matters:
            self._presences.expect(who)
        return matters

    async def _welcome(self, here: list[JID]) -> None:
        """Send the last items of the nodes that say so to subscribers who have come."""
        for name, node in (await self.pubsub.nodes.known(self, here[0])).items():
            options = self.pubsub.nodes.options(node)
            for who in here:
                if any(wanted(self, options, each) for each in node.subscriptions_at(who)):
                    await self.pubsub.items.send_last(self, [name], who, ["on_sub_and_presence"])

    async def _left(self, who: JID) -> None:
        self._coming.pop(who, None)
        for each in self._presences.went(who):
            await self.pubsub.subscriptions.forget(self, each, temporary=True)
            bare = JID.parse(each.bare)
            if not self._presences.shows(bare):
                await self.pubsub.subscriptions.forget(self, bare, temporary=True)
                await self.pubsub.items.purge_of(self, bare)

    def _begin(self) -> None:
        self._timer = self.domain.clock.callLater(_PATIENCE, self._do, self._sweep)
        self._do(self._look)

    def _do(self, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        done = Deferred.fromCoroutine(what())
        done.addErrback(lambda why: self.log.failure("cannot see who is there", why))

    async def _look(self) -> None:
        """Ask who is there of those for whom it mattered before the start."""
        for node in (await self.pubsub.nodes.known(self)).values():
            options = self.pubsub.nodes.options(node)
            for each in node.subscriptions:
                if needs_presence(options, each):
                    self._presences.look(JID.parse(each.jid))
            if options.purge_offline:
                for jid, what in node.affiliations:
                    if what in PUBLISHERS:
                        self._presences.look(JID.parse(jid))

    async def _sweep(self) -> None:
        """End the subscriptions of those who went while nobody was looking."""
        for node in (await self.pubsub.nodes.known(self)).values():
            for each in node.subscriptions:
                who = JID.parse(each.jid)
                if each.temporary and not self._presences.shows(who):
                    await self.pubsub.subscriptions.forget(self, who, temporary=True)

    @on(AccountDeleted)
    async def forget(self, event: AccountDeleted) -> None:
        """Whoever gets that name now is nothing to any node."""
        await self.pubsub.nodes.forget(self, event.jid)

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

    @property
    def exists(self) -> bool:
        """It is."""
        return True

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

    def shows(self, who: JID) -> Collection[str]:
        """What those have shown whose presence matters."""
        return self._presences.shows(who)

    def watch(self, who: JID) -> None:
        """Ask for their presence."""
        self._presences.watch(who)

    def unwatch(self, who: JID) -> None:
        """Ask no more."""
        self._presences.unwatch(who)

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
        """A node's items (§5.5)."""
        if not node or not await self.pubsub.nodes.is_visible(self, node, asker):
            return None
        ids = await self.pubsub.items.ids(self, node, asker)
        return [E(ITEMS, "item", {"jid": self.jid, "name": each}) for each in ids]

    # -- jabberd.modules.disco.Pages ------------------------------------------------------------------

    async def domain_page(self, asker: JID, page: PageWanted | None) -> Iterable[Element]:
        """The nodes that the asker may see (§5.2)."""
        read = partial(self.nodes.some, self.jid)
        rows, more = await page_of(
            read, partial(self.pubsub.nodes.shows, self, asker), page or PageWanted(), _PAGE
        )
        titles = {name: self.pubsub.nodes.options(node).title for name, node in rows}
        items = [
            E(ITEMS, "item", {"jid": self.jid, "node": name, "name": title or None})
            for name, title in titles.items()
        ]
        return [*items, page_ends([*titles])] if page is not None or more else items
