"""Who may do what with a node (XEP-0060 §4.1, §4.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.pubsub.names import refusal
from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from jabberd.pubsub.node import Affiliation, Item, Node
    from jabberd.pubsub.options import Options
    from jabberd.pubsub.venue import Venue
    from jabberd.xmpp.jid import JID

PUBLISHERS: Final = ("owner", "publisher", "publish-only")  #: affiliations with which one may publish


def affiliation(venue: Venue, node: Node, who: JID) -> Affiliation:
    """What somebody is to a node."""
    return "owner" if venue.owns(who) else node.affiliation(who)


def check_owner(venue: Venue, node: Node, who: JID) -> None:
    """:raises StanzaError: ``forbidden``: somebody does not own the node."""
    if affiliation(venue, node, who) != "owner":
        raise StanzaError("forbidden")


def check_reader(venue: Venue, node: Node, options: Options, who: JID) -> None:
    """See that somebody may retrieve items (§6.5.9), and be notified.

    :raises StanzaError: not this one.
    """
    if _is_let_in(venue, node, options, who):
        return
    if options.access_model == "authorize" and not node.subscribed(who):
        raise refusal("not-authorized", "not-subscribed")


def check_subscriber(venue: Venue, node: Node, options: Options, who: JID) -> bool:
    """See that somebody may subscribe (§6.1.3).

    :returns: whether an owner has to approve of it first.
    :raises StanzaError: not this one.
    """
    return not _is_let_in(venue, node, options, who) and options.access_model == "authorize"


def _is_let_in(venue: Venue, node: Node, options: Options, who: JID) -> bool:
    """Whether it is clear that somebody may read; False where a subscription decides.

    :raises StanzaError: somebody may not.
    """
    known = affiliation(venue, node, who)
    if known in ("outcast", "publish-only"):
        raise StanzaError("forbidden")
    model = options.access_model
    if known != "none" or model == "open":
        return True
    if model == "whitelist":
        raise refusal("not-allowed", "closed-node")
    if model == "presence" and not venue.trusts(who):
        raise refusal("not-authorized", "presence-subscription-required")
    if model == "roster" and not set(options.roster_groups_allowed) & set(venue.groups(who)):
        raise refusal("not-authorized", "not-in-roster-group")
    return model != "authorize"


def hears(venue: Venue, node: Node, options: Options, who: JID) -> bool:
    """Whether somebody who listens may be notified."""
    try:
        check_reader(venue, node, options, who)
    except StanzaError:
        return False
    return True


def check_publisher(venue: Venue, node: Node, options: Options, who: JID) -> None:
    """:raises StanzaError: ``forbidden``: somebody may not publish (§7.1.3.1)."""
    known = affiliation(venue, node, who)
    if known in PUBLISHERS:
        return
    model = options.publish_model
    if known == "outcast" or not (model == "open" or (model == "subscribers" and node.subscribed(who))):
        raise StanzaError("forbidden")


def check_remover(venue: Venue, node: Node, item: Item, who: JID) -> None:
    """:raises StanzaError: ``forbidden``: neither the node nor the item is the remover's own (§7.2.3.1)."""
    known = affiliation(venue, node, who)
    own = item.publisher.partition("/")[0] == who.bare
    if known not in ("owner", "publisher") and not (own and known != "outcast"):
        raise StanzaError("forbidden")
