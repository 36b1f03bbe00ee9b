"""Who listens to a node (XEP-0060 §6.1 to §6.4, §8.6 to §8.8)."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from jabberd.pubsub import wishes
from jabberd.pubsub.access import PUBLISHERS, affiliation, check_owner, check_subscriber, hears
from jabberd.pubsub.events import last_item, needs_presence, subscription_told, wanted
from jabberd.pubsub.names import NS, OWNER, SUBSCRIBE_AUTHORIZATION, refusal, unsupported
from jabberd.pubsub.node import STATES, State, Subscription
from jabberd.xmpp.element import E
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.forms import Field, Form
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jabberd.pubsub.node import Node
    from jabberd.pubsub.options import Options
    from jabberd.pubsub.store import Store
    from jabberd.pubsub.venue import Venue
    from jabberd.xmpp.element import Element

    Matters = Callable[[Options, Subscription], bool]


class Subscriptions:
    """The subscriptions of all venues of a domain.

    An address has one for each node at most, unless the venue allows several.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def subscribe(
        self, venue: Venue, name: str, who: JID, jid: str, form: Element | None
    ) -> tuple[Subscription, Form]:
        """Subscribe (§6.1), with options if there are some (§6.3.7); returns what came of both.

        Again changes nothing but the options, or makes one more where there may be several.
        """
        store = self._store
        listener = _own(jid, who)
        async with store.changing(venue, name):
            node = await store.node(venue, name, reads=True)
            options = store.options(node)
            pending = check_subscriber(venue, node, options, who)
            if not options.subscribe:
                raise unsupported("subscribe")
            old = self._known(node, listener)
            if old is None and len(node.subscriptions) >= store.limits.subscribers:
                store.limits.met["subscribers"] += 1
                raise refusal("policy-violation", "too-many-subscriptions", type="wait")
            new = old or _new(listener, "pending" if pending else "subscribed", options)
            if form is not None:
                new = wishes.granted(new, form, options, presence=store.presence, now=store.now())
            if new != old:
                node = node.with_subscriptions(new)
                await store.put(venue, name, node)
        self.watch(venue, options, new)
        if old is None:
            await self._welcome(venue, name, node, new)
        return new, wishes.form(new, options, presence=store.presence)

    def _known(self, node: Node, listener: JID) -> Subscription | None:
        """The subscription that subscribing again means; None: there will be a new one."""
        found = node.subscriptions_at(listener)
        if any(each.state == "pending" for each in found):
            raise refusal("not-authorized", "pending-subscription")
        most = self._store.limits.subscriptions
        if most > 1 and len(found) >= most:
            self._store.limits.met["subscriptions"] += 1
            raise refusal("policy-violation", "too-many-subscriptions", type="wait")
        return found[0] if found and most == 1 else None

    async def _welcome(self, venue: Venue, name: str, node: Node, new: Subscription) -> None:
        """Send the last item (§6.1.7), or ask the owners whether they agree (§8.6)."""
        store = self._store
        options = store.options(node)
        if new.state == "pending":
            for owner in _owners(venue, node):
                store.route(_request(venue, name, new, owner))
            return
        if options.send_last_published_item != "never" and wanted(venue, options, new):
            newest = await store.last(venue, name, options)
            if newest is not None:
                store.route(last_item(venue, name, newest.key, newest.value, options, JID.parse(new.jid)))
        self._tell_owners(venue, name, node, new)

    def _tell_owners(self, venue: Venue, name: str, node: Node, changed: Subscription) -> None:
        """Of new subscribers, and of those who leave, if they want it (``notify_sub``)."""
        if self._store.options(node).notify_sub:
            told = subscription_told(venue, name, changed)
            for owner in _owners(venue, node):
                self._store.route(told.with_attrs(to=owner))

    async def unsubscribe(self, venue: Venue, name: str, who: JID, jid: str, subid: str) -> Subscription:
        """End a subscription (§6.2); returns it as it is then."""
        store = self._store
        async with store.changing(venue, name):
            node = await store.node(venue, name)
            old = _one(node, _own(jid, who, mismatch=StanzaError("forbidden")), subid)
            node = node.with_subscriptions(without=[old])
            await store.put(venue, name, node)
        gone = replace(old, state="none")
        self._tell_owners(venue, name, node, gone)
        store.route(
            subscription_told(venue, name, gone).with_attrs(type="headline")
        )  # §12.14, while it is there
        if store.presence and needs_presence(store.options(node), old) and not await self.needs(venue, who):
            venue.unwatch(who)
        return gone

    async def needs(self, venue: Venue, who: JID, why: Matters = needs_presence) -> bool:
        """Whether it matters at any node if somebody is there.

        :param why: what subscriptions make it matter.
        """
        for node in (await self._store.related(venue, who)).values():
            options = self._store.options(node)
            publishes = options.purge_offline and affiliation(venue, node, who) in PUBLISHERS
            if publishes or any(why(options, each) for each in node.subscriptions_of(who)):
                return True
        return False

    async def forget(self, venue: Venue, who: JID, *, temporary: bool = False) -> None:
        """End all subscriptions of an address: nobody is there any more.

        :param temporary: only those that end with presence (§12.4).
        """
        store = self._store
        for name, known in (await store.related(venue, who)).items():
            if not any(each.temporary or not temporary for each in known.subscriptions_at(who)):
                continue
            async with store.changing(venue, name):
                node = await store.nodes.get(venue.jid, name)
                if node is None:
                    continue  # it was deleted meanwhile
                gone = [each for each in node.subscriptions_at(who) if each.temporary or not temporary]
                await store.put(venue, name, node.with_subscriptions(without=gone))

    async def recalculate(self, venue: Venue, name: str) -> None:
        """End the subscriptions of those who may not read a node any more, and tell them (XEP-0163 §7.1)."""
        store = self._store
        async with store.changing(venue, name):
            node = await store.nodes.get(venue.jid, name)
            if node is None:
                return
            options = store.options(node)
            gone = [s for s in node.subscriptions if not hears(venue, node, options, JID.parse(s.jid))]
            if not gone:
                return
            node = node.with_subscriptions(without=gone)
            await store.put(venue, name, node)
        await self.tell(venue, name, node, [replace(each, state="none") for each in gone])

    # -- options --------------------------------------------------------------------------------------

    async def options(self, venue: Venue, name: str, who: JID, jid: str, subid: str) -> Element:
        """The form of a subscription's options (§6.3)."""
        store = self._store
        node = await store.node(venue, name)
        found = _one(node, _named(jid, who), subid)
        return wishes.form(found, store.options(node), presence=store.presence).element()

    async def set_options(
        self, venue: Venue, name: str, who: JID, jid: str, subid: str, form: Element
    ) -> None:
        """Do what the subscriber has filled in (§6.3.6)."""
        store = self._store
        async with store.changing(venue, name):
            node = await store.node(venue, name)
            old = _one(node, _named(jid, who), subid)
            if form.get("type") == "cancel":
                return
            options = store.options(node)
            new = wishes.granted(old, form, options, presence=store.presence, now=store.now())
            await store.put(venue, name, node.with_subscriptions(new))
        self.watch(venue, options, new)

    def watch(self, venue: Venue, options: Options, *subscriptions: Subscription) -> None:
        """See to it that the presence of these subscribers is known, where it matters (§12.4, §12.5)."""
        for each in subscriptions:
            if self._store.presence and needs_presence(options, each):
                venue.watch(JID.parse(each.jid))

    async def usual_options(self, venue: Venue, name: str) -> Element:
        """The options of a subscription of which nothing else was said, for a node or for all (§6.4)."""
        store = self._store
        options = store.options(await store.node(venue, name)) if name else None
        return wishes.form(None, options, presence=store.presence).element()

    # -- what follows from other changes ------------------------------------------------------------------

    def settled(self, venue: Venue, node: Node) -> tuple[Node, list[Subscription]]:
        """A node whose access or affiliations have changed, and the subscriptions that change with it.

        Who waits and is let in now waits no more, and outcasts are no subscribers (§8.7.4).
        """
        changed: list[Subscription] = []
        options = self._store.options(node)
        for each in node.subscriptions:
            try:
                waits = check_subscriber(venue, node, options, JID.parse(each.jid))
            except StanzaError:
                out = node.affiliation(JID.parse(each.jid)) == "outcast" or each.state == "pending"
                changed += [replace(each, state="none")] if out else []
            else:
                if each.state == "pending" and not waits:
                    changed.append(replace(each, state="subscribed"))
        kept = [each for each in changed if each.state != "none"]
        return node.with_subscriptions(*kept, without=changed), changed

    async def tell(self, venue: Venue, name: str, node: Node, changed: Iterable[Subscription]) -> None:
        """Tell subscribers what became of them (§12.14)."""
        for each in changed:
            self._store.route(subscription_told(venue, name, each))
            if each.state == "subscribed":
                await self._welcome(venue, name, node, each)

    # -- what waits ----------------------------------------------------------------------------------

    async def waiting(self, venue: Venue, who: JID) -> list[str]:
        """The nodes of an owner at which somebody waits for approval; none do: all of them (§8.7.2)."""
        nodes = await self._store.related(venue, who)
        own = {name: node for name, node in nodes.items() if affiliation(venue, node, who) == "owner"}
        waiting = [
            name for name, node in own.items() if any(s.state == "pending" for s in node.subscriptions)
        ]
        return sorted(waiting or own)

    async def ask_again(self, venue: Venue, name: str, who: JID) -> int:
        """Ask an owner about all who wait (§8.7.4); returns how many these are."""
        node = await self._store.node(venue, name)
        check_owner(venue, node, who)
        waiting = [each for each in node.subscriptions if each.state == "pending"]
        for each in waiting:
            self._store.route(_request(venue, name, each, who))
        return len(waiting)

    # -- lists ----------------------------------------------------------------------------------------

    async def of(self, venue: Venue, name: str, who: JID) -> list[Element]:
        """Somebody's own subscriptions at a venue, or to one of its nodes (§5.6)."""
        store = self._store
        nodes = {name: await store.node(venue, name)} if name else await store.related(venue, who)
        return [
            shown(each, node=each_name)
            for each_name, node in nodes.items()
            for each in node.subscriptions_of(who)
        ]

    async def list(self, venue: Venue, name: str, who: JID) -> list[Element]:
        """All that count, for the owner of a node (§8.8.1)."""
        node = await self._store.node(venue, name)
        check_owner(venue, node, who)
        return [shown(each, namespace=OWNER) for each in node.subscriptions if each.state == "subscribed"]

    async def set(self, venue: Venue, name: str, who: JID, given: Sequence[Element]) -> None:
        """Change others' subscriptions (§8.8.2): all that the owner says, or nothing, as the error shows."""
        store = self._store
        async with store.changing(venue, name):
            old = node = await store.node(venue, name)
            check_owner(venue, node, who)
            try:
                found = (_change(node, each, store.options(node)) for each in given)
                changes = [each for each in found if each is not None]
            except StanzaError as why:
                raise StanzaError(why.condition, beside=_unchanged(name, node, given)) from None
            added = [each for each in changes if each.state != "none"]
            removed = [each for each in changes if each.state == "none"]
            node = node.with_subscriptions(*added, without=removed)
            if len(node.subscriptions) > store.limits.subscribers:
                store.limits.met["subscribers"] += 1
                beside = _unchanged(name, old, given)
                raise refusal("policy-violation", "too-many-subscriptions", type="wait", beside=beside)
            await store.put(venue, name, node)
        self.watch(venue, store.options(node), *added)
        await self.tell(venue, name, node, [each for each in changes if each not in old.subscriptions])

    async def decided(self, venue: Venue, who: JID, form: Element) -> None:
        """An owner has answered the question whether somebody may subscribe (§8.6).

        What makes no sense, or comes from nobody who may decide, is passed over: it is a message.
        """
        if form.get("type") != "submit":
            return  # it stays pending
        filled = _authorization("", "", "").read(form)
        name, store = filled.text("pubsub#node"), self._store
        async with store.changing(venue, name):
            node = await store.node(venue, name)
            check_owner(venue, node, who)
            asked = [each for each in node.subscriptions if each.state == "pending"]
            found = [each for each in asked if each.jid == filled.text("pubsub#subscriber_jid")]
            state: State = "subscribed" if filled.flag("pubsub#allow") else "none"
            decided = [replace(each, state=state) for each in found]
            added = decided if state == "subscribed" else []
            node = node.with_subscriptions(*added, without=found)
            await store.put(venue, name, node)
        await self.tell(venue, name, node, decided)


def shown(subscription: Subscription, namespace: str = NS, node: str | None = None) -> Element:
    """A subscription in an answer."""
    attrs = {
        "node": node,
        "jid": subscription.jid,
        "subid": subscription.subid,
        "subscription": subscription.state,
    }
    return E(namespace, "subscription", attrs)


def _owners(venue: Venue, node: Node) -> list[JID]:
    """Whom to ask and to tell."""
    return [venue.jid] if venue.owns(venue.jid) else [JID.parse(owner) for owner in node.owners]


def _new(jid: str, state: State, options: Options) -> Subscription:
    return Subscription(jid, secrets.token_hex(8), state, temporary=options.tempsub)


def _named(jid: str, who: JID) -> JID:
    """The address whose options somebody means (§6.3.4.1, §6.3.4.3)."""
    if not jid:
        raise refusal("bad-request", "jid-required")
    return _own(jid, who, mismatch=StanzaError("forbidden"))


def _own(jid: str, who: JID, *, mismatch: StanzaError | None = None) -> JID:
    """The address that somebody names as its own (§6.1.3.1, §6.2.3.3).

    :param mismatch: what is raised if it is not.
    """
    try:
        named = JID.parse(jid)
    except InvalidJID:
        named = JID.parse("invalid")
    if named.bare != who.bare:
        raise mismatch or refusal("bad-request", "invalid-jid")
    return named


def _one(node: Node, jid: JID, subid: str) -> Subscription:
    """The subscription that is meant (§6.2.3, §6.3.4)."""
    found = node.subscriptions_at(jid)
    if not found:
        raise refusal("unexpected-request", "not-subscribed", type="cancel")
    if not subid and len(found) > 1:
        raise refusal("bad-request", "subid-required")
    meant = [each for each in found if subid in ("", each.subid)]
    if not meant:
        raise refusal("not-acceptable", "invalid-subid")
    return meant[0]


def _change(node: Node, given: Element, options: Options) -> Subscription | None:
    """What an owner makes of somebody's subscription."""
    try:
        jid = JID.parse(given.get("jid", ""))
    except InvalidJID:
        raise StanzaError("jid-malformed") from None
    state = given.get("subscription")
    if state is None:
        return None
    old = _one(node, jid, given.get("subid", "")) if node.subscriptions_at(jid) else None
    if state not in STATES or (old is None and state == "none"):
        raise StanzaError("not-acceptable")
    return replace(old or _new(jid, "subscribed", options), state=cast("State", state))


def _unchanged(name: str, node: Node, given: Iterable[Element]) -> Element:
    """What the subscriptions still are that were to be something else (§8.8.2.2)."""
    jids = {each.get("jid", "") for each in given}
    states = {each.jid: each.state for each in node.subscriptions}
    kept = (
        E(OWNER, "subscription", {"jid": jid, "subscription": states.get(jid, "none")})
        for jid in sorted(jids)
    )
    return E(OWNER, "pubsub", None, E(OWNER, "subscriptions", {"node": name}, *kept))


def _authorization(name: str, jid: str, subid: str) -> Form:
    return Form(
        SUBSCRIBE_AUTHORIZATION,
        (
            Field("pubsub#subid", "hidden", values=(subid,)),
            Field("pubsub#node", "text-single", "Node", (name,)),
            Field("pubsub#subscriber_jid", "jid-single", "Who wants to subscribe", (jid,) if jid else ()),
            Field("pubsub#allow", "boolean", "Whether to allow it", ("0",)),
        ),
        "Somebody wants to subscribe",
    )


def _request(venue: Venue, name: str, subscription: Subscription, owner: JID) -> Stanza:
    form = _authorization(name, subscription.jid, subscription.subid).element()
    return Stanza.of("message", form, sender=venue.jid, to=owner, id=subscription.subid)
