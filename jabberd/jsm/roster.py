"""The roster (RFC 6121 §2): its items, what clients say of them, what they are told, and versions.

A roster is kept as *rows*, a mapping of JIDs to `RosterItem`: one row of a store per contact.
Nothing here changes rows: what would change them returns the `Changes`, which the caller stores,
applies to its rows and announces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from jabberd.jsm.subscription import State, Subscription
from jabberd.xmpp import ns
from jabberd.xmpp.element import Element, Sealed, escape_attribute, escape_text, is_plain
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.jsm.subscription import Transition

_ITEM: Final = f"{{{ns.ROSTER}}}item"
_GROUP: Final = f"{{{ns.ROSTER}}}group"

_VERSION: Final = re.compile(r"[0-9]{1,18}")

#: The key of a row that is no contact: its version is that of the last removal.
LAST_REMOVAL: Final = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one account may keep.

    :ivar items: contacts in the roster.
    :ivar requests: subscription requests of strangers that wait for an answer.
    :ivar request_size: bytes of such a request that are kept whole.
    :ivar text: characters of a contact's name, and of each group's.
    :ivar groups: groups of one contact.
    """

    items: int = 1000
    requests: int = 100
    request_size: int = 4096
    text: int = 1023
    groups: int = 100


@dataclass(frozen=True, slots=True)
class RosterItem:
    """What an account keeps of one contact.

    :ivar jid: the contact; a row's key too.
    :ivar ask: the ``ask='subscribe'`` of the item.
    :ivar approved: whether the contact's subscription is pre-approved (§3.4).
    :ivar pending_in: the contact's subscription request that waits for an answer, as
        `Stanza.to_bytes` gives it, as text; empty if there is none.  No client sees it in the roster (A.1).
    :ivar listed: whether clients see this item.  One that they do not see was never added by the
        user: it only keeps the request of a stranger (§3.1.3).
    :ivar version: the roster's version since the last change that clients see.
    """

    jid: str
    name: str = ""
    groups: tuple[str, ...] = ()
    subscription: Subscription = "none"
    ask: bool = False
    approved: bool = False
    pending_in: str = ""
    listed: bool = True
    version: int = 0

    @property
    def state(self) -> State:
        """The state of the subscription (A.1)."""
        return State.of(self.subscription, ask=self.ask, pending_in=bool(self.pending_in))


Rows = Mapping[str, RosterItem]
#: Rows to put, and (None) to remove.
Changes = dict[str, RosterItem | None]


@dataclass(frozen=True, slots=True)
class RosterSet:
    """What a client asks for in a roster set: to add or update this contact, or to remove it."""

    jid: JID
    name: str = ""
    groups: tuple[str, ...] = ()
    remove: bool = False


# -- what clients say -----------------------------------------------------------------------------


def parse_set(query: Element, owner: JID, limits: Limits) -> RosterSet:
    """Read the ``<query/>`` of a roster set.

    ``ask``, ``approved`` and any ``subscription`` but ``remove`` are not the client's to say and are
    ignored (§2.1.2).

    :param owner: the account's bare JID.
    :raises StanzaError: ``bad-request``, ``jid-malformed``, ``not-acceptable``, or ``not-allowed`` for
        a contact that is the account itself (§2.3.3).
    """
    items = query.findall(_ITEM)
    if len(items) != 1:
        raise StanzaError("bad-request", "a roster set has exactly one item")
    item = items[0]
    jid = _contact(item)
    if item.get("subscription") == "remove":
        return RosterSet(jid, remove=True)
    if jid.bare == owner:
        raise StanzaError("not-allowed", "nobody is a contact of their own")
    name = item.get("name", "")
    if len(name) > limits.text:
        raise StanzaError("not-acceptable", "the name is too long")
    return RosterSet(jid, name, _groups(item, limits))


def _contact(item: Element) -> JID:
    text = item.get("jid")
    if not text:
        raise StanzaError("bad-request", "the item has no jid")
    try:
        return JID.parse(text)
    except InvalidJID:
        raise StanzaError("jid-malformed") from None


def _groups(item: Element, limits: Limits) -> tuple[str, ...]:
    groups = tuple("".join(group.itertext()) for group in item.findall(_GROUP))
    if len(set(groups)) != len(groups):
        raise StanzaError("bad-request", "a group is named twice")
    if len(groups) > limits.groups or not all(0 < len(group) <= limits.text for group in groups):
        raise StanzaError("not-acceptable", "a group's name is empty or too long, or there are too many")
    return groups


# -- what clients are told ------------------------------------------------------------------------


def item_xml(item: RosterItem) -> str:
    """The ``<item/>`` of a roster result or push (§2.1.2)."""
    groups = "</group><group>".join(map(escape_text, item.groups))
    return _written(item, escape_attribute(item.jid), escape_attribute(item.name), groups)


def _plain_xml(item: RosterItem) -> str:
    """The same where nothing has to be escaped."""
    return _written(item, item.jid, item.name, "</group><group>".join(item.groups))


def _written(item: RosterItem, jid: str, name: str, groups: str) -> str:
    named = f" name='{name}'" if name else ""
    ask = " ask='subscribe'" if item.ask else ""
    approved = " approved='true'" if item.approved else ""
    end = f"><group>{groups}</group></item>" if groups else "/>"
    return f"<item jid='{jid}'{named} subscription='{item.subscription}'{ask}{approved}{end}"


def result(rows: Rows) -> Sealed:
    """The ``<query/>`` of a roster result: the whole roster with its version (§2.1.4)."""
    items = listed(rows)
    said = "".join([text for item in items for text in (item.jid, item.name, *item.groups)])
    return _query(version(rows), map(_plain_xml if is_plain(said) else item_xml, items))


def push(item: RosterItem) -> Sealed:
    """The ``<query/>`` of a roster push for a contact that was added or has changed (§2.1.6)."""
    return _query(item.version, [item_xml(item)])


def removal_push(jid: str, version: int) -> Sealed:
    """The ``<query/>`` of a roster push for a contact that was removed (§2.5.2)."""
    return _query(version, [f"<item jid='{escape_attribute(jid)}' subscription='remove'/>"])


def _query(version: int, items: Iterable[str]) -> Sealed:
    """Written at once: a roster is the largest answer that every login asks for."""
    query = f"<query xmlns='{ns.ROSTER}' ver='{version}'>{''.join(items)}</query>"
    return Sealed(f"{{{ns.ROSTER}}}query", query.encode())


def listed(rows: Rows) -> list[RosterItem]:
    """The items that clients see."""
    return [item for item in rows.values() if item.listed]


def requests(rows: Rows) -> list[bytes]:
    """The subscription requests to deliver to each resource that becomes available (§3.1.3)."""
    return [item.pending_in.encode() for item in rows.values() if item.pending_in]


# -- versions -------------------------------------------------------------------------------------


def version(rows: Rows) -> int:
    """The roster's version: it grows by one with each change that clients see (§2.6.3)."""
    return max([item.version for item in rows.values()], default=0)


def changed_since(rows: Rows, ver: str) -> list[RosterItem] | None:
    """The items to push to a client that has the roster in version ``ver``, in the order of the pushes.

    None if it must get the whole roster: ``ver`` is empty or none of ours, or a contact was removed
    since (which contacts were, is not remembered).
    """
    if not _VERSION.fullmatch(ver):
        return None
    known = int(ver)
    oldest = rows[LAST_REMOVAL].version if LAST_REMOVAL in rows else 0
    if not oldest <= known <= version(rows):
        return None
    return sorted((i for i in listed(rows) if i.version > known), key=lambda item: item.version)


# -- changes --------------------------------------------------------------------------------------


def updated(rows: Rows, wanted: RosterSet, limits: Limits) -> Changes:
    """Add a contact, or change its name and groups (§2.3, §2.4).

    :raises StanzaError: ``resource-constraint`` if the roster is full.
    """
    old = _row(rows, wanted.jid)
    _require_room(rows, old, limits)
    new = replace(old, name=wanted.name, groups=wanted.groups, listed=True, version=version(rows) + 1)
    return {wanted.jid: new}


def removed(rows: Rows, contact: str) -> Changes:
    """Remove a contact (§2.5).  For the stanzas that this implies see `subscription.removal`.

    :raises StanzaError: ``item-not-found`` if the user has no such contact (§2.5.3).
    """
    if not _row(rows, contact).listed:
        raise StanzaError("item-not-found")
    return {
        contact: None,
        LAST_REMOVAL: RosterItem(LAST_REMOVAL, listed=False, version=version(rows) + 1),
    }


def shared(rows: Rows, contact: JID, group: str, limits: Limits) -> Changes:
    """Make a contact one who shares presence both ways, in that group; no changes if it is one.

    :param group: empty: none.
    :raises StanzaError: ``resource-constraint`` if the roster is full.
    """
    old = _row(rows, contact)
    _require_room(rows, old, limits)
    groups = old.groups if group in ("", *old.groups) else (*old.groups, group)
    new = replace(
        old,
        name=old.name or contact.localpart,
        groups=groups,
        subscription="both",
        ask=False,
        approved=False,
        pending_in="",
        listed=True,
    )
    return {} if new == old else {contact: replace(new, version=version(rows) + 1)}


def unshared(rows: Rows, contact: JID, group: str) -> Changes:
    """Take a contact out of that group, and away if it was its only one; no changes if it is not in it."""
    old = _row(rows, contact)
    if group not in old.groups:
        return {}
    if old.groups == (group,):
        return removed(rows, contact)
    groups = tuple(each for each in old.groups if each != group)
    return {contact: replace(old, groups=groups, version=version(rows) + 1)}


def moved(rows: Rows, contact: str, step: Transition, limits: Limits, request: bytes = b"") -> Changes:
    """Take a subscription to its new state (appendix A); no changes if the step changes nothing.

    :param request: what `request_bytes` gives, if the step may be that of an inbound ``subscribe``.
    :raises StanzaError: ``resource-constraint`` if that would list a contact too many.
    """
    old = _row(rows, contact)
    if step.push:
        _require_room(rows, old, limits)
    new = replace(
        old,
        subscription=step.state.subscription,
        ask=step.state.ask,
        approved=step.approved,
        pending_in=(old.pending_in or request.decode()) if step.state.pending_in else "",
        listed=old.listed or step.push,
        version=version(rows) + 1 if step.push else old.version,
    )
    assert new.state is step.state, "an inbound subscribe comes with its request"
    if new == old:
        return {}
    return {contact: new if new.listed or new.pending_in else None}


def disapproved(rows: Rows, contact: str) -> Changes:
    """A contact's pre-approval is over (§3.4); no changes if there is none."""
    old = rows.get(contact)
    if old is None or not old.approved:
        return {}
    return {contact: replace(old, approved=False, version=version(rows) + 1)}


def may_ask(rows: Rows, contact: str, limits: Limits) -> bool:
    """Whether there is room for a request of this contact; if not, it is forgotten in silence (§3.1.3)."""
    waiting = sum(1 for item in rows.values() if item.pending_in and not item.listed)
    return contact in rows or waiting < limits.requests


def request_bytes(request: Stanza, limits: Limits) -> bytes:
    """What is kept of an inbound ``subscribe``: all of it, or if it is too large only that it was sent."""
    data = request.to_bytes()
    if len(data) <= limits.request_size:
        return data
    return Stanza.of("presence", to=request.to, sender=request.sender, type=request.type).to_bytes()


def _row(rows: Rows, contact: str) -> RosterItem:
    return rows.get(contact) or RosterItem(contact, listed=False)


def _require_room(rows: Rows, item: RosterItem, limits: Limits) -> None:
    if not item.listed and len(listed(rows)) >= limits.items:
        raise StanzaError("resource-constraint", f"a roster holds at most {limits.items} contacts")
