"""What a node can be told: the form ``pubsub#node_config`` (XEP-0060 §16.4.4), and how it is kept."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import parse_qsl, urlencode

from jabberd.pubsub.names import NODE_CONFIG, PUBLISH_OPTIONS, refusal, unsupported
from jabberd.xmpp.element import E
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.forms import NS as DATA
from jabberd.xmpp.forms import Field, Form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jabberd.xmpp.element import Element

Access = Literal["open", "presence", "roster", "authorize", "whitelist"]
_PREFIX: Final = "pubsub#"
MAX: Final = "max"  #: as many as the service has for one node (feature ``config-node-max``)
ATOM: Final = "http://www.w3.org/2005/Atom"
_FEEDS: Final = ("urn:xmpp:pubsub-social-feed:", "urn:xmpp:microblog:")  #: types that say more: XEP-0472 §5
_LONGEST: Final = 4_000  #: characters of all that is kept of a node's options
_NEEDS_PRESENCE: Final = frozenset({"presence_based_delivery", "purge_offline", "tempsub"})
_NEEDS_ROSTER: Final = frozenset({"roster_groups_allowed"})


@dataclass(frozen=True, slots=True)
class Terms:
    """What the nodes of a venue may be.

    :ivar models: the access models.
    :ivar items: how many items there may be in one node.
    :ivar presence: whether the venue learns who is there, other than by capabilities.
    """

    models: frozenset[str]
    items: int
    presence: bool = False

    def has(self, name: str) -> bool:
        """Whether there is an option of that name."""
        if name in _NEEDS_PRESENCE:
            return self.presence
        return name not in _NEEDS_ROSTER or "roster" in self.models


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a node; ``max_items`` and ``item_expire`` (in seconds) may be `MAX`."""

    title: str = ""
    description: str = ""
    type: str = ""
    access_model: str = "presence"
    publish_model: str = "publishers"
    roster_groups_allowed: tuple[str, ...] = ()
    persist_items: bool = True
    max_items: str = "1"
    item_expire: str = MAX
    max_payload_size: str = MAX
    publish_node_full: str = "retract-oldest"
    deliver_notifications: bool = True
    deliver_payloads: bool = True
    send_last_published_item: str = "on_sub_and_presence"
    notification_type: str = "headline"
    notify_config: bool = False
    notify_delete: bool = True
    notify_retract: bool = True
    notify_sub: bool = False
    subscribe: bool = True
    itemreply: str = "none"
    contact: tuple[str, ...] = ()
    language: str = ""
    presence_based_delivery: bool = False
    purge_offline: bool = False
    tempsub: bool = False

    @property
    def payloads(self) -> str:
        """The namespace that payloads must have (§7.1.3.6); empty: any."""
        return ATOM if self.type.startswith(_FEEDS) else self.type

    def items(self, most: int) -> int:
        """How many are kept, where a node may have so many."""
        return most if self.max_items == MAX else min(int(self.max_items), most)

    def payload(self, most: int) -> int:
        """How many bytes a payload may have, where so many are the most."""
        return most if self.max_payload_size == MAX else min(int(self.max_payload_size), most)

    def expired(self, stamp: int, now: float) -> bool:
        """Whether an item of that time is too old by now."""
        return self.item_expire != MAX and stamp + int(self.item_expire) <= now


#: Of each option that is not just a text: the choices (none: a boolean, a number or a list), and the label.
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "access_model": ("open", "presence", "roster", "authorize", "whitelist"),
    "publish_model": ("publishers", "subscribers", "open"),
    "publish_node_full": ("retract-oldest", "discard-oldest", "reject"),
    "send_last_published_item": ("never", "on_sub", "on_sub_and_presence"),
    "notification_type": ("normal", "headline"),
    "itemreply": ("none", "publisher"),
}
_LABELS: Final[Mapping[str, str]] = {
    "title": "A name for the node",
    "description": "A description of the node",
    "type": "The namespace of the payloads",
    "access_model": "Who may subscribe and retrieve items",
    "publish_model": "Who may publish",
    "roster_groups_allowed": "The roster groups whose members may subscribe and retrieve items",
    "persist_items": "Whether items are kept",
    "max_items": "How many items are kept, or max",
    "item_expire": "After how many seconds an item is removed, or max",
    "max_payload_size": "How many bytes a payload may have",
    "publish_node_full": "What happens when something is published to a full node",
    "deliver_notifications": "Whether subscribers are notified",
    "deliver_payloads": "Whether notifications have payloads",
    "send_last_published_item": "When the last item is sent",
    "notification_type": "The type of the messages that notify",
    "notify_config": "Whether subscribers learn of a new configuration",
    "notify_delete": "Whether subscribers learn that the node was deleted",
    "notify_retract": "Whether subscribers learn that items were removed",
    "notify_sub": "Whether owners learn of new subscribers",
    "subscribe": "Whether anybody may subscribe",
    "itemreply": "Whether items tell who published them",
    "contact": "Whom to ask",
    "language": "The language of the node",
    "presence_based_delivery": "Whether only those who are there are notified",
    "purge_offline": "Whether a publisher's items are removed when the publisher goes offline",
    "tempsub": "Whether subscriptions end when the subscriber goes offline",
}
_NUMBERS: Final = frozenset({"max_items", "item_expire", "max_payload_size"})


def form(options: Options, terms: Terms, kind: str = NODE_CONFIG) -> Form:
    """The form that shows these options, to be changed."""
    leaf = Field(
        f"{_PREFIX}node_type", "list-single", "The kind of node", ("leaf",), options={"leaf": "leaf"}
    )
    names = [each.name for each in fields(Options) if terms.has(each.name)]
    return Form(kind, (*(_field(name, getattr(options, name), terms) for name in names), leaf))


def _field(name: str, value: str | bool | tuple[str, ...], terms: Terms) -> Field:
    var, label = f"{_PREFIX}{name}", _LABELS[name]
    if name == "contact":
        return Field(var, "jid-multi", label, tuple(cast("tuple[str, ...]", value)))
    if isinstance(value, bool):
        return Field(var, "boolean", label, ("1" if value else "0",))
    if isinstance(value, tuple):
        return Field(var, "text-multi", label, value)
    if name in _CHOICES:
        known = [each for each in _CHOICES[name] if name != "access_model" or each in terms.models]
        return Field(var, "list-single", label, (value,), options={each: each for each in known})
    return Field(var, "text-single", label, (value,))


def configured(options: Options, submitted: Element, terms: Terms) -> Options:
    """These options with what was filled in (§8.2.4).

    :raises StanzaError: a value makes no sense, or is none that the venue has.
    """
    return _filled(options, form(options, terms), submitted, terms)


def wanted(options: Options, submitted: Element, terms: Terms) -> tuple[Options, list[str]]:
    """What ``publish-options`` ask for (§7.1.5): the options, and the names of those that were asked for.

    :raises StanzaError: as in `configured`, and ``conflict`` for one that is unknown.
    """
    asked = form(options, terms, PUBLISH_OPTIONS)
    known = {each.var for each in asked.fields}
    given = {each.get("var", "") for each in submitted.iterfind(f"{{{DATA}}}field")} - {"FORM_TYPE"}
    if not given <= known:
        raise refusal("conflict", "precondition-not-met", f"unknown: {', '.join(sorted(given - known))}")
    names = [name.removeprefix(_PREFIX) for name in sorted(given - {f"{_PREFIX}node_type"})]
    return _filled(options, asked, submitted, terms), names


def submitted(values: Mapping[str, str], kind: str = PUBLISH_OPTIONS) -> Element:
    """A filled-in form: by name what the node must have."""
    of = E(DATA, "field", {"var": "FORM_TYPE", "type": "hidden"}, E(DATA, "value", None, kind))
    fields = (
        E(DATA, "field", {"var": f"{_PREFIX}{name}"}, E(DATA, "value", None, value))
        for name, value in values.items()
    )
    return E(DATA, "x", {"type": "submit"}, of, *fields)


def _filled(options: Options, asked: Form, submitted: Element, terms: Terms) -> Options:
    _check_choices(submitted, terms)
    filled = asked.read(submitted)
    values: dict[str, Any] = {}
    for each in fields(Options):
        if not terms.has(each.name):
            continue
        var, old = f"{_PREFIX}{each.name}", getattr(options, each.name)
        if isinstance(old, bool):
            values[each.name] = filled.flag(var)
        elif isinstance(old, tuple):
            values[each.name] = tuple(filter(None, filled.texts(var)))
        else:
            values[each.name] = filled.text(var) or ("" if each.name not in _NUMBERS else old)
    for name in _NUMBERS:
        _check_number(name, values[name], terms.items if name == "max_items" else 1 << 31)
    return replace(options, **values)


def _check_choices(submitted: Element, terms: Terms) -> None:
    """What has an error of its own (§8.1.2; XEP-0248 §7.1.2)."""
    for each in submitted.iterfind(f"{{{DATA}}}field[@var='{_PREFIX}access_model']/{{{DATA}}}value"):
        if each.text and each.text not in terms.models:
            known = ", ".join(sorted(terms.models))
            raise refusal("not-acceptable", "unsupported-access-model", f"access models here are: {known}")
    for each in submitted.iterfind(f"{{{DATA}}}field[@var='{_PREFIX}node_type']/{{{DATA}}}value"):
        if each.text == "collection":
            raise unsupported("collections")


def _check_number(name: str, text: str, most: int) -> None:
    if text != MAX and not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= most):
        raise StanzaError("not-acceptable", f"{_PREFIX}{name} is a number, at most {most}, or max")


# -- as they are kept -----------------------------------------------------------------------------


def written(options: Options, usual: Options) -> str:
    """How these options differ from the usual ones, as one text.

    :raises StanzaError: ``not-acceptable``: it is too long.
    """
    pairs: list[tuple[str, str]] = []
    for each_field in fields(Options):
        name, value = each_field.name, getattr(options, each_field.name)
        if value != getattr(usual, name):
            pairs += [(name, str(int(each)) if isinstance(each, bool) else each) for each in _each(value)]
    text = urlencode(pairs)
    if len(text) > _LONGEST:
        raise StanzaError("not-acceptable", "these options are too long to be kept")
    return text


def _each(value: str | bool | tuple[str, ...]) -> tuple[Any, ...]:
    return value or ("",) if isinstance(value, tuple) else (value,)


@lru_cache(maxsize=500)
def read(text: str, usual: Options) -> Options:
    """What `written` wrote; nodes with the same options share them."""
    values: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        old = getattr(usual, name)
        if isinstance(old, bool):
            values[name] = value == "1"
        elif isinstance(old, tuple):
            values[name] = (*values.get(name, ()), *([value] if value else []))
        else:
            values[name] = value
    return replace(usual, **values)
