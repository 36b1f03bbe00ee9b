"""Making, configuring and deleting nodes, and who belongs to them (XEP-0060 §5, §8)."""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast, get_args

from jabberd.pubsub import options as settings
from jabberd.pubsub.access import affiliation, check_owner, hears
from jabberd.pubsub.events import event, tell
from jabberd.pubsub.names import EVENT, META_DATA, NS, OWNER, check_id, refusal, unsupported
from jabberd.pubsub.node import Affiliation
from jabberd.pubsub.venue import Removed
from jabberd.xmpp.element import E
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.forms import NS as DATA
from jabberd.xmpp.forms import Field, Form
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.stanza import Stanza
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jabberd.pubsub.node import Node
    from jabberd.pubsub.store import Store
    from jabberd.pubsub.subscriptions import Subscriptions
    from jabberd.pubsub.venue import Venue
    from jabberd.xmpp.element import Element

#: §4.1, §8.9.2.4: what an affiliation does not turn into at one step.
_NO_STEP: Final[Mapping[Affiliation, tuple[Affiliation, ...]]] = {
    "publisher": ("member",),
    "owner": ("outcast", "member", "publisher", "publish-only"),
}
DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>]+")  # RFC 3986 §3.1; the rest is its scheme's
_LONGEST_URI: Final = 2_000


class Nodes:
    """The nodes of all venues of a domain."""

    def __init__(self, store: Store, subscriptions: Subscriptions) -> None:
        self._store = store
        self._subscriptions = subscriptions

    def options(self, node: Node) -> settings.Options:
        """The options of a node."""
        return self._store.options(node)

    async def create(self, venue: Venue, name: str, who: JID, form: Element | None) -> str:
        """Make a node (§8.1); returns its id, which was made up if none was given."""
        store = self._store
        if not venue.may_create(who):
            raise StanzaError("forbidden")
        name = name or secrets.token_hex(16)
        check_id(name)
        options = store.usual
        if form is not None:
            options = settings.configured(options, form, store.terms)
        async with store.changing(venue, name):
            if await store.nodes.get(venue.jid, name) is not None:
                raise StanzaError("conflict")
            await store.add(venue, name, store.new_node(venue, who, options))
        return name

    async def configuration(self, venue: Venue, name: str, who: JID) -> Element:
        """The form that its owner may fill in (§8.2)."""
        node = await self._store.node(venue, name)
        check_owner(venue, node, who)
        return settings.form(self._store.options(node), self._store.terms).element()

    async def configure(self, venue: Venue, name: str, who: JID, form: Element) -> None:
        """Do what the owner has filled in (§8.2.4); nothing where the form was cancelled."""
        store = self._store
        async with store.changing(venue, name):
            node = await store.node(venue, name)
            check_owner(venue, node, who)
            if form.get("type") == "cancel":
                return
            options = settings.configured(store.options(node), form, store.terms)
            node = replace(node, options=settings.written(options, store.usual))
            node, settled = self._subscriptions.settled(venue, node)
            await store.put(venue, name, node)
        if options.notify_config:
            filled = settings.form(options, store.terms).element("result")
            shown = [filled] if options.deliver_payloads else []
            tell(store, venue, name, node, E(EVENT, "configuration", {"node": name}, *shown))
        self._subscriptions.watch(venue, options, *node.subscriptions)
        await self._subscriptions.tell(venue, name, node, settled)

    def usual(self, type: str) -> Element:
        """The options of a node of which nothing else was said (§8.3).

        :raises StanzaError: there are no nodes of that type.
        """
        if type not in ("", "leaf"):
            raise unsupported("collections") if type == "collection" else StanzaError("not-acceptable")
        return settings.form(self._store.usual, self._store.terms).element()

    async def delete(self, venue: Venue, name: str, who: JID, redirect: str | None) -> None:
        """Delete a node with its items (§8.4); ``redirect``: where to find more, for who asks later, too.

        :raises StanzaError: ``bad-request``: that is no URI; see also `check_owner`.
        """
        store = self._store
        if redirect is not None and (len(redirect) > _LONGEST_URI or not _URI.fullmatch(redirect)):
            raise StanzaError("bad-request", "redirect takes a URI")
        async with store.changing(venue, name):
            node = await store.node(venue, name)
            check_owner(venue, node, who)
            if redirect is not None and store.options(node).access_model not in ("roster", "whitelist"):
                await store.move(venue, name, redirect)  # first: else no subscriber might learn of the end
            await store.items.clear(venue.jid, name)  # before: else whoever makes it anew would have them
            await store.put(venue, name, None)
        if store.options(node).notify_delete:
            inside = [E(EVENT, "redirect", {"uri": redirect})] if redirect else []
            about = E(EVENT, "delete", {"node": name}, *inside)
            tell(store, venue, name, node, about)
            for each in node.subscriptions:  # §8.4.2: these, too
                if each.state == "pending":
                    message = event(venue, store.options(node), about)
                    store.route(message.with_attrs(to=JID.parse(each.jid)))
        await store.happened(Removed(venue, name))

    # -- who belongs to it ----------------------------------------------------------------------------

    async def affiliations_of(self, venue: Venue, name: str, who: JID) -> list[Element]:
        """What somebody is to the nodes of a venue, or to one (§5.7)."""
        nodes = {name: await self._store.node(venue, name)} if name else await self._store.related(venue, who)
        known = {each: affiliation(venue, node, who) for each, node in nodes.items()}
        return [
            E(NS, "affiliation", {"node": each, "affiliation": what})
            for each, what in known.items()
            if what != "none"
        ]

    async def known(self, venue: Venue, who: JID | None = None) -> dict[str, Node]:
        """All nodes of a venue, or those with which somebody may have to do."""
        return await (self._store.every(venue) if who is None else self._store.related(venue, who))

    async def affiliations(self, venue: Venue, name: str, who: JID) -> list[Element]:
        """Everybody who belongs to a node, for its owner (§8.9.1)."""
        node = await self._store.node(venue, name)
        check_owner(venue, node, who)
        everybody = dict(node.affiliations)
        if venue.owns(venue.jid):
            everybody = {venue.jid.bare: "owner", **everybody}
        return [E(OWNER, "affiliation", {"jid": jid, "affiliation": what}) for jid, what in everybody.items()]

    async def affiliate(self, venue: Venue, name: str, who: JID, given: Iterable[Element]) -> None:
        """Give others affiliations (§8.9.2): all that the owner says, or nothing, which the error shows."""
        store = self._store
        async with store.changing(venue, name):
            old = node = await store.node(venue, name)
            check_owner(venue, node, who)
            given = list(given)
            try:
                node = self._affiliated(venue, old, _affiliations(given))
            except StanzaError as why:
                why.beside = _unchanged(name, old, given)
                raise
            node, settled = self._subscriptions.settled(venue, node)
            await store.put(venue, name, node)
        for jid, what in set(node.affiliations) - set(old.affiliations):
            self._tell_affiliation(venue, name, jid, what)
        for jid in dict(old.affiliations).keys() - dict(node.affiliations).keys():
            self._tell_affiliation(venue, name, jid, "none")
        await self._subscriptions.tell(venue, name, node, settled)

    def _affiliated(self, venue: Venue, node: Node, changes: Iterable[tuple[JID, Affiliation]]) -> Node:
        for jid, what in changes:
            before = node.affiliation(jid)
            if what in _NO_STEP.get(before, ()):
                raise StanzaError(
                    "not-acceptable", f"nobody becomes {what} who is {before}: none comes between"
                )
            node = node.affiliated(jid, what)
        if not (node.owners or venue.owns(venue.jid)):
            raise StanzaError("not-acceptable", "somebody has to own the node")
        if len(node.affiliations) > self._store.limits.subscribers:
            self._store.limits.met["subscribers"] += 1
            raise StanzaError("resource-constraint", "too many people belong to the node")
        return node

    async def forget(self, venue: Venue, who: JID) -> None:
        """An account is gone: it is nothing to any node, and the venue owns what it owned alone."""
        store = self._store
        for name, known in (await store.related(venue, who)).items():
            if who.bare not in known.people:
                continue
            async with store.changing(venue, name):
                node = await store.nodes.get(venue.jid, name)
                if node is None:
                    continue  # it was deleted meanwhile
                node = node.without(who.bare)
                if not (node.owners or venue.owns(venue.jid)):
                    node = node.affiliated(venue.jid.bare, "owner")
                await store.put(venue, name, node)

    def _tell_affiliation(self, venue: Venue, name: str, jid: str, what: str) -> None:
        """§8.9.4."""
        told = E(NS, "affiliation", {"node": name, "jid": jid, "affiliation": what})
        inside = E(NS, "pubsub", None, E(NS, "affiliations", {"node": name}, told))
        self._store.route(Stanza.of("message", inside, sender=venue.jid, to=JID.parse(jid), type="headline"))

    async def listed(self, venue: Venue) -> list[dict[str, object]]:
        """All nodes of a venue with what they hold, for operators."""
        nodes = await self._store.every(venue)
        sizes = await self._store.items.sizes(venue.jid)
        return [
            {
                "node": name,
                "access": self._store.options(node).access_model,
                "items": sizes.get(name, (0, 0))[0],
                "bytes": sizes.get(name, (0, 0))[1],
                "subscribers": len(node.subscriptions),
                "creator": node.creator or venue.jid,
            }
            for name, node in sorted(nodes.items())
        ]

    # -- discovery ------------------------------------------------------------------------------------

    async def visible(self, venue: Venue, who: JID) -> dict[str, str]:
        """The nodes that somebody may read, each with its title (§5.2; XEP-0163 §6.2)."""
        nodes = await self._store.nodes.all(venue.jid)
        return {
            name: self._store.options(node).title
            for name, node in nodes.items()
            if self.shows(venue, who, node)
        }

    async def is_visible(self, venue: Venue, name: str, who: JID) -> bool:
        """Whether there is a node of that name that somebody may read, or ask to subscribe to."""
        node = await self._store.nodes.get(venue.jid, name)
        return node is not None and self.shows(venue, who, node)

    def shows(self, venue: Venue, who: JID, node: Node) -> bool:
        """Whether somebody may know of a node."""
        options = self._store.options(node)
        if options.access_model == "authorize":
            return affiliation(venue, node, who) != "outcast"
        return hears(venue, node, options, who)

    async def described(self, venue: Venue, name: str) -> list[Element]:
        """A node's identity, features and metadata (§5.3, §5.4)."""
        node = await self._store.node(venue, name)
        options = self._store.options(node)
        created = to_stamp(datetime.fromtimestamp(node.created, UTC))
        owners = node.owners or [venue.jid.bare]
        publishers = [who for who, what in node.affiliations if what == "publisher"]
        listening = sum(each.state == "subscribed" for each in node.subscriptions)
        told = (
            Field("pubsub#title", values=(options.title,)),
            Field("pubsub#description", values=(options.description,)),
            Field("pubsub#type", values=(options.type,)),
            Field("pubsub#access_model", "list-single", values=(options.access_model,)),
            Field("pubsub#publish_model", "list-single", values=(options.publish_model,)),
            Field("pubsub#max_items", values=(options.max_items,)),
            Field("pubsub#creation_date", values=(created,)),
            Field("pubsub#creator", "jid-single", values=(node.creator or venue.jid,)),
            Field("pubsub#owner", "jid-multi", values=tuple(owners)),
            Field("pubsub#num_subscribers", values=(str(listening),)),
            Field("pubsub#publisher", "jid-multi", values=tuple(publishers)),
            Field("pubsub#contact", "jid-multi", values=options.contact),
            Field("pubsub#language", values=(options.language,)),
        )
        return [
            E(DISCO_INFO, "identity", {"category": "pubsub", "type": "leaf", "name": options.title or None}),
            E(DISCO_INFO, "feature", {"var": NS}),
            E(DISCO_INFO, "feature", {"var": DISCO_INFO}),
            Form(META_DATA, told).element("result"),
        ]


def _affiliations(given: Iterable[Element]) -> list[tuple[JID, Affiliation]]:
    """What an owner says that others shall be.

    :raises StanzaError: ``bad-request`` or ``not-acceptable``: that makes no sense.
    """
    said: dict[JID, Affiliation] = {}
    for each in given:
        try:
            jid = JID.parse(each.get("jid", "")).bare
        except InvalidJID:
            raise StanzaError("jid-malformed") from None
        if jid in said:
            raise StanzaError("bad-request", f"{jid} is there twice")
        what = each.get("affiliation")
        if what not in (None, *get_args(Affiliation)):
            raise StanzaError("not-acceptable", "that is no affiliation")
        if what is not None:
            said[jid] = cast("Affiliation", what)
    return [*said.items()]


def _unchanged(name: str, node: Node, given: Iterable[Element]) -> Element:
    """What those still are who were to be something else (§8.9.2.4)."""
    jids = dict.fromkeys(each.get("jid", "") for each in given)
    kept = (E(OWNER, "affiliation", {"jid": jid, "affiliation": _known(node, jid)}) for jid in jids)
    return E(OWNER, "pubsub", None, E(OWNER, "affiliations", {"node": name}, *kept))


def _known(node: Node, jid: str) -> Affiliation:
    try:
        return node.affiliation(JID.parse(jid))
    except InvalidJID:
        return "none"


def form_in(element: Element) -> Element:
    """The form inside an element.

    :raises StanzaError: ``bad-request``: there is none.
    """
    form = element.find(f"{{{DATA}}}x")
    if form is None:
        raise StanzaError("bad-request", "the form is missing")
    return form


def name_in(element: Element) -> str:
    """The node that an element names.

    :raises StanzaError: ``bad-request``: it names none.
    """
    name = element.get("node")
    if not name:
        raise refusal("bad-request", "nodeid-required")
    return name
