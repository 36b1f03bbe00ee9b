"""What the subscribers of a node hear (XEP-0060 §7.1.2.1, §7.2.2, §8)."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from jabberd.pubsub.access import hears
from jabberd.pubsub.names import EVENT, NS
from jabberd.pubsub.options import ATOM
from jabberd.xmpp import ns
from jabberd.xmpp.element import E, parse
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jabberd.pubsub.node import Item, Node, Subscription
    from jabberd.pubsub.options import Options
    from jabberd.pubsub.store import Store
    from jabberd.pubsub.venue import Venue
    from jabberd.xmpp.element import Element

SHIM: Final = "http://jabber.org/protocol/shim"


class Recipient(NamedTuple):
    """Who is notified, by which subscriptions, and whether with a text."""

    jid: JID
    subids: tuple[str, ...] = ()
    body: bool = False


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
    attrs = {
        "node": name,
        "jid": subscription.jid,
        "subid": subscription.subid,
        "subscription": subscription.state,
    }
    told = E(EVENT, "event", None, E(EVENT, "subscription", attrs))
    return Stanza.of("message", told, sender=venue.jid, to=JID.parse(subscription.jid))


def tell(
    store: Store, venue: Venue, name: str, node: Node, about: Element, *, subids: bool = False, body: str = ""
) -> None:
    """Notify everybody who is to be.

    :param subids: whether those with several subscriptions learn by which (§12.16).
    :param body: the text for those who want one.
    """
    options = store.options(node)
    message = event(venue, options, about)
    for each in recipients(venue, name, node, options):
        told = message.with_attrs(to=each.jid)
        if body and each.body:
            told = told.with_child(E(ns.CLIENT, "body", None, body))
        if subids and len(each.subids) > 1:
            headers = (E(SHIM, "header", {"name": "SubID"}, subid) for subid in each.subids)
            told = told.with_child(E(SHIM, "headers", None, *headers))
        store.route(told)


def text_of(payload: Element | None, options: Options) -> str:
    """What a payload says, for those who cannot read it (§12.7); empty where nobody can tell."""
    if payload is None or options.payloads != ATOM:
        return ""
    said = (payload.findtext(f"{{{ATOM}}}{each}") for each in ("summary", "title"))
    return next((each.strip() for each in said if each and each.strip()), "")


def recipients(venue: Venue, name: str, node: Node, options: Options) -> Iterable[Recipient]:
    """Everybody who is notified, each once: subscribers, and those who listen without a subscription."""
    if not options.deliver_notifications:
        return []
    found: dict[JID, Recipient] = {}
    for each in _listeners(venue, name, node, options):
        if each.jid in found:
            known = found[each.jid]
            found[each.jid] = Recipient(each.jid, known.subids + each.subids, known.body or each.body)
        elif hears(venue, node, options, each.jid):
            found[each.jid] = each
    return found.values()


def wanted(venue: Venue, options: Options, subscription: Subscription) -> bool:
    """Whether a subscriber wants to be notified now."""
    if subscription.state != "subscribed" or not subscription.deliver:
        return False
    shows = subscription.shows
    if not (shows or subscription.temporary or options.presence_based_delivery):
        return True
    there = venue.shows(JID.parse(subscription.jid))
    return any(not shows or each in shows for each in there)


def needs_presence(options: Options, subscription: Subscription) -> bool:
    """Whether a subscriber has to show presence, to be notified at all or as it wants (§12.5, §12.6)."""
    return options.presence_based_delivery or subscription.temporary or bool(subscription.shows)


def takes_presence(options: Options, subscription: Subscription) -> bool:
    """Whether it matters if a subscriber shows presence, asked for or not (§4.3)."""
    greets = options.send_last_published_item == "on_sub_and_presence" and subscription.state == "subscribed"
    return greets or needs_presence(options, subscription)


def _listeners(venue: Venue, name: str, node: Node, options: Options) -> Iterator[Recipient]:
    audience = [*venue.audience(name)]
    near = {each.bare for each in audience}  # these resources alone are notified (XEP-0163 §4.3.2)
    for each in node.subscriptions:
        if each.jid not in near and wanted(venue, options, each):
            yield Recipient(JID.parse(each.jid), (each.subid,), each.body)
    for who in audience:
        yield Recipient(who)
