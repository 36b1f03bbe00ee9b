"""XEP-0163: every account is a publish-subscribe service, and its contacts hear what it publishes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final, Protocol, cast, runtime_checkable

from msgspec import Meta
from twisted.internet.defer import Deferred

from jabberd.api import (
    ACCOUNT,
    ANYONE,
    IQ,
    JID,
    Account,
    AccountDeleted,
    BecameUnavailable,
    Element,
    Keyed,
    Module,
    Ordered,
    PresenceSent,
    Refused,
    RosterChanged,
    Settings,
    Size,
    Stage,
    Stanza,
    StanzaError,
    answers,
    filters,
    on,
    operator,
)
from jabberd.modules.disco import ITEMS
from jabberd.modules.pep.gone import Gone
from jabberd.modules.pep.listeners import Listener, Listeners
from jabberd.modules.pep.venue import AccountVenue
from jabberd.pubsub.bounces import says_gone
from jabberd.pubsub.names import FEATURES, NS, OWNER, SUBSCRIBE_AUTHORIZATION
from jabberd.pubsub.node import Item, Node
from jabberd.pubsub.options import Options, submitted
from jabberd.pubsub.requests import PubSub
from jabberd.pubsub.store import Store
from jabberd.pubsub.venue import Limits
from jabberd.xmpp import ns
from jabberd.xmpp.element import E, parse
from jabberd.xmpp.forms import NS as DATA
from jabberd.xmpp.forms import X

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from jabberd.modules.caps import EntityCapabilities

__all__ = ["AccountVenue", "AnswersNode", "Pep"]

_USUAL: Final = Options()
_MODELS: Final = ("open", "presence", "roster", "whitelist", "authorize")
_ERROR: Final = f"{{{ns.CLIENT}}}error"
_GONE: Final = frozenset(
    f"{{{ns.STANZA_ERRORS}}}{each}"
    for each in ("gone", "item-not-found", "recipient-unavailable", "service-unavailable")
)

Rows = list[dict[str, object]]


@runtime_checkable
class AnswersNode(Protocol):
    """A module that answers for a node of every account by itself.

    :ivar answered_node: its name.
    """

    answered_node: str

    def answer_node(self, request: IQ, asked: Element) -> Awaitable[Element | None]:
        """Do what is asked of it; ``asked`` stands in ``<pubsub/>`` and names the node.

        :raises StanzaError: why not.
        """


class Pep(Module, xep=163, version="1.2.2"):
    """Keeps what accounts publish, and notifies who listens: themselves, contacts, subscribers.

    Contacts listen by their capabilities (XEP-0115): what these say is known of an account's contacts
    while the account is in memory.
    """

    requires = ("caps", "disco")
    replaceable = False  # it knows who is there
    account_identities = (("pubsub", "pep"),)
    account_features = (
        *FEATURES,
        *(
            f"{NS}#{each}"
            for each in (
                f"access-{_USUAL.access_model}",
                "auto-create",
                "auto-subscribe",
                "filtered-notifications",
                "last-published",
                "presence-notifications",
                "presence-subscribe",
                "pubsub-on-a-jid",
            )
        ),
    )

    counted = ("nodes", "subscribers", "payload", "size")

    class Config(Settings):
        """How much an account may publish.

        :ivar nodes: how many nodes.
        :ivar items: in one node; what ``max`` means.
        :ivar subscribers: explicit ones of one node.
        :ivar payload: of one item.
        :ivar size: of everything that an account has published.
        """

        nodes: Annotated[int, Meta(ge=1)] = 200
        items: Annotated[int, Meta(ge=1)] = 1_000
        subscribers: Annotated[int, Meta(ge=1)] = 200
        payload: Size = 256 << 10
        size: Size = 10 << 20

    config: Config

    nodes = Keyed("pubsub-nodes", of=Node, resident=True)
    items = Ordered("pubsub-items", of=Item)
    moved = Ordered("pubsub-moved", of=str)
    gone = Keyed("pep-gone", of=bool)  # by bare JID, under the domain: see `Gone`

    async def start(self) -> None:
        """Nobody listens yet."""
        self._listeners = Listeners(cast("EntityCapabilities", self.domain.module("caps")))
        self._store = Store(
            self.nodes,
            self.items,
            self.moved,
            usual=_USUAL,
            models=_MODELS,
            auto_create=True,
            limits=self._limits,
            route=self.domain.tell,
            happened=self.domain.happened,
            now=self.domain.clock.seconds,
        )
        self.pubsub = PubSub(self._store)
        self._gone = Gone(self.domain.jid, self.gone, self.nodes, self._forget, self.domain.clock)

    async def ready(self) -> None:
        """See who answers for nodes, and go on forgetting."""
        self._answering = {each.answered_node: each for each in self.domain.having(AnswersNode)}
        looking = Deferred.fromCoroutine(self._gone.look())
        looking.addErrback(lambda why: self.log.failure("nodes still name who is gone", why))

    async def stop(self) -> None:
        """Whoever is gone is forgotten after the next start."""
        self._gone.end()

    @on(AccountDeleted)
    async def forget(self, event: AccountDeleted) -> None:
        """Whoever gets that name now is nothing to anybody's nodes."""
        await self._gone.add(event.jid)

    async def _forget(self, owner: JID, who: JID) -> None:
        with suppress(StanzaError):  # the owner is gone, too, and so are those nodes
            await self.pubsub.nodes.forget(self.venue(await self.domain.account(owner)), who)

    def options(self, node: Node) -> Options:
        """The options of a node."""
        return self._store.options(node)

    def _limits(self) -> Limits:
        config = self.config
        return Limits(
            nodes=config.nodes,
            items=config.items,
            subscribers=config.subscribers,
            payload=config.payload,
            bytes=config.size,
            met=self.met,
        )

    # -- requests ---------------------------------------------------------------------------------

    @answers.get(NS, "pubsub", to=ACCOUNT, by=ANYONE)
    @answers.set(NS, "pubsub", to=ACCOUNT, by=ANYONE)
    @answers.get(OWNER, "pubsub", to=ACCOUNT, by=ANYONE)
    @answers.set(OWNER, "pubsub", to=ACCOUNT, by=ANYONE)
    async def answer(self, request: IQ) -> Element | None:
        """Do what somebody asks of an account's nodes.

        A stranger who asks for a node that is not there learns as little as from an account that is not
        there (RFC 6121 §8.5.1).
        """
        assert request.account is not None
        if request.account.anonymous:
            raise StanzaError("service-unavailable")  # nothing is kept of it
        for asked in request.payload:
            other = self._answering.get(asked.get("node", ""))
            if other is not None:
                return await other.answer_node(request, asked)
        venue = self.venue(request.account)
        try:
            return await self.pubsub.answer(venue, request.sender, request.type, request.payload)
        except StanzaError as error:
            if error.condition in ("item-not-found", "gone") and not venue.trusts(request.sender):
                raise StanzaError("service-unavailable") from None
            raise

    def venue(self, account: Account) -> AccountVenue:
        """An account as it is seen by the machinery of XEP-0060."""
        return AccountVenue(account, self._listeners.of(account))

    async def publish(self, account: Account, node: str, id: str, payload: Element, **options: str) -> None:
        """Publish something in an account's name.

        :param options: those of the node, if it has to be made, such as ``access_model``.
        """
        item = E(NS, "item", {"id": id or None}, payload)
        await self.pubsub.items.publish(
            self.venue(account), node, account.jid, [item], submitted(options) if options else None
        )

    @filters(Stage.REFUSE, "message", children=[X])
    def decided(self, stanza: Stanza, account: Account) -> Stanza | None:
        """The owner's answer to the question whether somebody may subscribe (XEP-0060 §8.6)."""
        form = stanza.child(X)
        mine = stanza.sender is not None and stanza.sender.bare == account.jid == stanza.to
        if not mine or form is None or stanza.type == "error" or not _decides(form):
            return stanza
        assert stanza.sender is not None
        decision = self.pubsub.subscriptions.decided(self.venue(account), stanza.sender, form)
        done = Deferred.fromCoroutine(decision)
        done.addErrback(lambda why: why.trap(StanzaError) and None)  # it is a message: nobody waits
        done.addErrback(lambda why: self.log.failure("cannot do what an owner has decided", why))
        return None

    # -- for operators --------------------------------------------------------------------------------

    @operator("list what an account has published, without what is in it")
    async def list(self, jid: JID) -> Rows:
        """A row for each node."""
        venue = self.venue(await self._account(jid))
        return await self.pubsub.nodes.listed(venue)

    @operator("delete a node of an account with its items")
    async def delete(self, jid: JID, node: str) -> str:
        """Its subscribers are told.

        :raises Refused: there is none.
        """
        account = await self._account(jid)
        try:
            await self.pubsub.nodes.delete(self.venue(account), node, account.jid, None)
        except StanzaError:
            raise Refused(f"{account.jid} has no node {node}") from None
        return f"{node} of {account.jid} is deleted"

    async def _account(self, jid: JID) -> Account:
        account = await self.domain.account(jid)
        if not account.exists:
            raise Refused(f"there is no account {jid.bare}")
        return account

    # -- who listens --------------------------------------------------------------------------------

    @on(PresenceSent)
    def own_presence(self, event: PresenceSent) -> Awaitable[None] | None:
        """A resource of the account itself is there."""
        assert event.session.presence is not None
        presence = event.session.presence.stamped(event.session.jid)
        news = self._is_news(presence, event.session.jid, event.account)
        return self._seen(event.account, event.session.jid, presence) if news else None

    @on(BecameUnavailable)
    def own_absence(self, event: BecameUnavailable) -> None:
        """It is gone."""
        self._listeners.gone(event.account, event.session.jid)

    @filters(Stage.REFUSE, "presence")
    def presence(self, stanza: Stanza, account: Account) -> Stanza:
        """Somebody tells an account that they are there, or gone; the account may be offline itself.

        What is sent to one of its resources, as by rooms, does not count.
        """
        if stanza.to is None or stanza.to.resourcepart or stanza.sender is None or not account.exists:
            return stanza
        if stanza.type == "":
            if self._is_news(stanza, stanza.sender, account):
                seen = Deferred.fromCoroutine(self._seen(account, stanza.sender, stanza))
                seen.addErrback(lambda why: self.log.failure("cannot tell a listener the news", why))
        elif stanza.type in ("unavailable", "error"):
            self._listeners.gone(account, stanza.sender)
        return stanza

    @filters(Stage.REFUSE, "message", children=[_ERROR])
    def bounced(self, stanza: Stanza, account: Account) -> Stanza:
        """A notification came back: who is not there any more, and did not say so, is forgotten (§4.3.1)."""
        who = stanza.sender
        if stanza.type == "error" and stanza.to == account.jid and who is not None:
            error = stanza.child(_ERROR)
            if error is not None and any(each.tag in _GONE for each in error):
                self._listeners.gone(account, who)
            if says_gone(stanza) and not account.anonymous:
                forgotten = Deferred.fromCoroutine(self.pubsub.subscriptions.forget(self.venue(account), who))
                forgotten.addErrback(lambda why: self.log.failure("cannot forget a subscriber", why))
        return stanza

    @on(RosterChanged)
    async def contact_changed(self, event: RosterChanged) -> None:
        """Who may not read any more is no subscriber any more (§7.1); who may now, learns the news."""
        account, nodes = event.account, self.nodes.of(event.account)
        if account.anonymous or not nodes:
            return
        venue = self.venue(account)
        for name, node in [*nodes.items()]:
            if node.subscriptions and self.options(node).access_model in ("presence", "roster"):
                await self.pubsub.subscriptions.recalculate(venue, name)
        for item in parse(event.query.data, ns.CLIENT):
            for who, listener in self._listeners.moved(account, item.get("jid", "")).items():
                new = (name for name, node in nodes.items() if not self._heard(node, listener))
                names = [name for name in new if name in listener.wanted]
                await self.pubsub.items.send_last(venue, names, who, ["on_sub_and_presence"])

    def _heard(self, node: Node, before: Listener) -> bool:
        """Whether somebody heard a node's news anyway, as they stood with its owner."""
        options = self.options(node)
        if options.access_model == "presence":
            return before.standing is not None
        return options.access_model != "roster" or not {*options.roster_groups_allowed}.isdisjoint(
            before.standing or ()
        )

    def _is_news(self, stanza: Stanza, who: JID, account: Account) -> bool:
        if account.anonymous or not (account.sessions or self.nodes.of(account)):
            return False
        return self._listeners.is_news(account, who, stanza)

    async def _seen(self, account: Account, who: JID, presence: Stanza) -> None:
        """Learn what somebody listens to, and send them the last items of that (§4.3.4), each once."""
        news = await self._listeners.learn(account, who, presence)
        names = [name for name in self.nodes.of(account) if name in news]
        await self.pubsub.items.send_last(self.venue(account), names, who, ["on_sub_and_presence"])

    # -- discovery ----------------------------------------------------------------------------------

    async def account_node(self, account: Account, node: str, asker: JID) -> Iterable[Element] | None:
        """See `jabberd.modules.disco.AccountNodes`."""
        venue = self.venue(account)
        if not await self.pubsub.nodes.is_visible(venue, node, asker):
            return None
        return await self.pubsub.nodes.described(venue, node)

    async def account_items(self, account: Account, node: str, asker: JID) -> Iterable[Element] | None:
        """See `jabberd.modules.disco.AccountNodes`: the nodes that the asker may read, or a node's items."""
        venue = self.venue(account)
        if not node:
            shown = await self.pubsub.nodes.visible(venue, asker)
            return [
                E(ITEMS, "item", {"jid": account.jid, "node": name, "name": title or None})
                for name, title in shown.items()
            ]
        if not await self.pubsub.nodes.is_visible(venue, node, asker):
            return None
        ids = await self.pubsub.items.ids(venue, node, asker)
        return [E(ITEMS, "item", {"jid": account.jid, "name": each}) for each in ids]


def _decides(form: Element) -> bool:
    """Whether somebody has filled in the form that asks an owner; the question itself is one, too."""
    kind = form.findtext(f"{{{DATA}}}field[@var='FORM_TYPE']/{{{DATA}}}value")
    return form.get("type") == "submit" and kind == SUBSCRIBE_AUTHORIZATION
