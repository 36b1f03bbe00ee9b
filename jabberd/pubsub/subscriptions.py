"""Who listens to a node (XEP-0060 §6.1 to §6.4, §8.6, §8.8)."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from jabberd.pubsub.access import check_owner, check_subscriber
from jabberd.pubsub.events import last_item, subscription_told
from jabberd.pubsub.names import NS, OWNER, SUBSCRIBE_AUTHORIZATION, SUBSCRIBE_OPTIONS, refusal, unsupported
from jabberd.pubsub.node import STATES, State, Subscription
from jabberd.xmpp.element import E
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.forms import Field, Form
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jabberd.pubsub.node import Node
    from jabberd.pubsub.store import Store
    from jabberd.pubsub.venue import Venue
    from jabberd.xmpp.element import Element

_DELIVER: Final = "pubsub#deliver"


class Subscriptions:
    """The subscriptions of all venues of a domain.  An address has one for each node at most."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def subscribe(
        self, venue: Venue, name: str, who: JID, jid: str, form: Element | None
    ) -> Subscription:
        """Subscribe (§6.1), with options if there are some (§6.3.7); again changes nothing but these."""
        store = self._store
        listener = _own(jid, who)
        async with store.changing(venue, name):
            node = await store.node(venue, name)
            options = store.options(node)
            pending = check_subscriber(venue, node, options, who)
            if not options.subscribe:
                raise unsupported("subscribe")
            old = _found(node, listener)
            if old is not None and old.state == "pending":
                raise refusal("not-authorized", "pending-subscription")
            if old is None and len(node.subscriptions) >= store.limits.subscribers:
                raise refusal("policy-violation", "too-many-subscriptions", type="wait")
            new = old or Subscription(listener, secrets.token_hex(8), "pending" if pending else "subscribed")
            if form is not None:
                new = replace(new, deliver=options_form(new).read(form).flag(_DELIVER))
            if new != old:
                await store.nodes.put(venue.jid, name, node.with_subscriptions(new))
        if old is None:
            await self._welcome(venue, name, node, new)
        return new

    async def _welcome(self, venue: Venue, name: str, node: Node, new: Subscription) -> None:
        """Send the last item (§6.1.7), or ask the owners whether they agree (§8.6)."""
        store = self._store
        options = store.options(node)
        if new.state == "pending":
            for owner in node.owners:
                store.route(_request(venue, name, new, JID.parse(owner)))
            return
        if options.send_last_published_item != "never" and new.deliver:
            newest = await store.last(venue, name)
            if newest is not None and not options.expired(newest.value.stamp, store.now()):
                store.route(last_item(venue, name, newest.key, newest.value, options, JID.parse(new.jid)))
        if options.notify_sub:
            for owner in node.owners:
                told = subscription_told(venue, name, new)
                store.route(told.with_attrs(to=JID.parse(owner)))

    async def unsubscribe(self, venue: Venue, name: str, who: JID, jid: str, subid: str) -> None:
        """End a subscription (§6.2)."""
        store = self._store
        async with store.changing(venue, name):
            node = await store.node(venue, name)
            old = _one(node, _own(jid, who, unsubscribing=True), subid)
            await store.nodes.put(venue.jid, name, node.with_subscriptions(without=[old]))

    # -- options --------------------------------------------------------------------------------------

    async def options(self, venue: Venue, name: str, who: JID, jid: str, subid: str) -> Element:
        """The form of a subscription's options (§6.3)."""
        node = await self._store.node(venue, name)
        return options_form(_one(node, _own(jid, who), subid)).element()

    async def set_options(
        self, venue: Venue, name: str, who: JID, jid: str, subid: str, form: Element
    ) -> None:
        """Do what the subscriber has filled in (§6.3.6)."""
        store = self._store
        async with store.changing(venue, name):
            node = await store.node(venue, name)
            old = _one(node, _own(jid, who), subid)
            if form.get("type") == "cancel":
                return
            new = replace(old, deliver=options_form(old).read(form).flag(_DELIVER))
            await store.nodes.put(venue.jid, name, node.with_subscriptions(new))

    # -- lists ----------------------------------------------------------------------------------------

    async def of(self, venue: Venue, name: str, who: JID) -> list[Element]:
        """Somebody's own subscriptions at a venue, or to one of its nodes (§5.6)."""
        store = self._store
        nodes = {name: await store.node(venue, name)} if name else await store.nodes.all(venue.jid)
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
            node = await store.node(venue, name)
            check_owner(venue, node, who)
            try:
                changes = [change for each in given if (change := _change(node, each)) is not None]
            except StanzaError as why:
                raise StanzaError(why.condition, beside=_unchanged(name, node, given)) from None
            added = [each for each in changes if each.state != "none"]
            removed = [each for each in changes if each.state == "none"]
            node = node.with_subscriptions(*added, without=removed)
            if len(node.subscriptions) > store.limits.subscribers:
                raise refusal("policy-violation", "too-many-subscriptions", type="wait")
            await store.nodes.put(venue.jid, name, node)
        for each in changes:
            store.route(subscription_told(venue, name, each))

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
            await store.nodes.put(venue.jid, name, node)
        for each in decided:
            store.route(subscription_told(venue, name, each))
            if each.state == "subscribed":
                await self._welcome(venue, name, node, each)


def shown(subscription: Subscription, namespace: str = NS, node: str | None = None) -> Element:
    """A subscription in an answer."""
    attrs = {
        "node": node,
        "jid": subscription.jid,
        "subid": subscription.subid,
        "subscription": subscription.state,
    }
    return E(namespace, "subscription", attrs)


def options_form(subscription: Subscription | None = None) -> Form:
    """The options of a subscription, to be changed (§16.4.2)."""
    deliver = "1" if subscription is None or subscription.deliver else "0"
    return Form(SUBSCRIBE_OPTIONS, (Field(_DELIVER, "boolean", "Whether to be notified", (deliver,)),))


def _own(jid: str, who: JID, *, unsubscribing: bool = False) -> JID:
    """The address that somebody names as its own (§6.1.3.1, §6.2.3.3)."""
    try:
        named = JID.parse(jid)
    except InvalidJID:
        named = JID.parse("invalid")
    if named.bare != who.bare:
        raise StanzaError("forbidden") if unsubscribing else refusal("bad-request", "invalid-jid")
    return named


def _found(node: Node, jid: JID) -> Subscription | None:
    return next((each for each in node.subscriptions if each.jid == jid), None)


def _one(node: Node, jid: JID, subid: str) -> Subscription:
    """The subscription that is meant (§6.2.3, §6.3.4)."""
    found = _found(node, jid)
    if found is None:
        raise refusal("unexpected-request", "not-subscribed", type="cancel")
    if subid and subid != found.subid:
        raise refusal("not-acceptable", "invalid-subid")
    return found


def _change(node: Node, given: Element) -> Subscription | None:
    """What an owner makes of somebody's subscription."""
    try:
        jid = JID.parse(given.get("jid", ""))
    except InvalidJID:
        raise StanzaError("jid-malformed") from None
    state = given.get("subscription")
    if state is None:
        return None
    old = _found(node, jid)
    if state not in STATES or (old is None and state == "none"):
        raise StanzaError("not-acceptable")
    return replace(old or Subscription(jid, secrets.token_hex(8)), state=cast("State", state))


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
