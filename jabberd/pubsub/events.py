"""What the subscribers of a node hear (XEP-0060 §7.1.2.1, §7.2.2, §8)."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jabberd.pubsub.access import hears
from jabberd.pubsub.names import EVENT, NS
from jabberd.xmpp import ns
from jabberd.xmpp.element import E, parse
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jabberd.pubsub.node import Item, Node, Subscription
    from jabberd.pubsub.options import Options
    from jabberd.pubsub.venue import Venue
    from jabberd.xmpp.element import Element


def item_element(namespace: str, id: str, item: Item, options: Options, *, payload: bool = True) -> Element:
    """An item as it is shown: `NS` in an answer, `EVENT` in a notification."""
    attrs = {"id": id, "publisher": item.publisher if options.itemreply == "publisher" else None}
    inside = [parse(item.payload.encode(), "")] if payload and item.payload else []
    return E(namespace, "item", attrs, *inside)


def items_element(node: str, *items: Element, namespace: str = NS) -> Element:
    """Items of a node, or what says that some are gone."""
    return E(namespace, "items", {"node": node}, *items)


def retracted(id: str) -> Element:
    """An item is gone."""
    return E(EVENT, "retract", {"id": id})


def event(venue: Venue, options: Options, about: Element) -> Stanza:
    """A notification, still without an address."""
    type = "headline" if options.notification_type == "headline" else ""
    return Stanza.of(
        "message", E(EVENT, "event", None, about), sender=venue.jid, type=type, id=secrets.token_hex(8)
    )


def last_item(venue: Venue, name: str, id: str, item: Item, options: Options, to: JID) -> Stanza:
    """The newest item for somebody who comes later, with the time when it was published (XEP-0163 §4.3.4)."""
    shown = item_element(EVENT, id, item, options, payload=options.deliver_payloads)
    when = to_stamp(datetime.fromtimestamp(item.stamp, UTC))
    stanza = event(venue, options, items_element(name, shown, namespace=EVENT))
    return stanza.with_attrs(to=to).with_child(E(ns.DELAY, "delay", {"stamp": when, "from": venue.jid}))


def subscription_told(venue: Venue, name: str, subscription: Subscription) -> Stanza:
    """What became of a subscription, for the subscriber (§12.14)."""
    attrs = {"node": name, "jid": subscription.jid, "subscription": subscription.state}
    told = E(EVENT, "event", None, E(EVENT, "subscription", attrs))
    return Stanza.of("message", told, sender=venue.jid, to=JID.parse(subscription.jid))


def recipients(venue: Venue, name: str, node: Node, options: Options) -> Iterable[JID]:
    """Everybody who is notified, each once: subscribers, and those who listen without a subscription."""
    if not options.deliver_notifications:
        return []
    return dict.fromkeys(who for who in _listeners(venue, name, node) if hears(venue, node, options, who))


def _listeners(venue: Venue, name: str, node: Node) -> Iterator[JID]:
    for each in node.subscriptions:
        if each.state == "subscribed" and each.deliver:
            who = JID.parse(each.jid)
            if not (who.is_bare and venue.sees(who)):
                yield who
    yield from venue.audience(name)
