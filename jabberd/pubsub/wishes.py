"""What a subscriber can wish: the form ``pubsub#subscribe_options`` (XEP-0060 §6.3, §16.4.2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from jabberd.pubsub.names import SUBSCRIBE_OPTIONS, refusal
from jabberd.pubsub.options import ATOM
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.forms import Field, Form
from jabberd.xmpp.timestamp import from_stamp, to_stamp

if TYPE_CHECKING:
    from jabberd.pubsub.node import Subscription
    from jabberd.pubsub.options import Options
    from jabberd.xmpp.element import Element

_DELIVER: Final = "pubsub#deliver"
_EXPIRE: Final = "pubsub#expire"
_BODY: Final = "pubsub#include_body"
_SHOWS: Final = "pubsub#show-values"
_PRESENCE: Final = "presence"
_STATES: Final = ("away", "chat", "dnd", "online", "xa")


def form(subscription: Subscription | None, options: Options | None, *, presence: bool) -> Form:
    """The form of a subscription, or of one that is to be.

    :param options: the node's, which say whether there are texts to ask for.
    :param presence: whether the venue learns who is there.
    """
    deliver = subscription is None or subscription.deliver
    wishes = [
        Field(_DELIVER, "boolean", "Whether to be notified", (_flag(deliver),)),
        Field(_EXPIRE, "text-single", _expiry_label(presence), (_expiry(subscription),)),
    ]
    if presence:
        shows = subscription.shows if subscription else ()
        known = {each: each for each in _STATES}
        wishes.append(Field(_SHOWS, "list-multi", "In which states to be notified", shows, options=known))
    if options is not None and options.payloads == ATOM:
        body = _flag(bool(subscription and subscription.body))
        wishes.append(Field(_BODY, "boolean", "Whether to get a text beside the payload", (body,)))
    return Form(SUBSCRIBE_OPTIONS, tuple(wishes))


def granted(
    old: Subscription, submitted: Element, options: Options, *, presence: bool, now: float
) -> Subscription:
    """A subscription with what its subscriber has filled in.

    :raises StanzaError: ``bad-request`` with ``invalid-options``: it makes no sense (§6.3.7.2).
    """
    try:
        filled = form(old, options, presence=presence).read(submitted)
        expire, temporary = _end(filled.text(_EXPIRE), presence=presence, now=now)
    except (StanzaError, ValueError) as why:
        text = why.text if isinstance(why, StanzaError) else f"{_EXPIRE} is {why}"
        raise refusal("bad-request", "invalid-options", text) from None
    return replace(
        old,
        deliver=filled.flag(_DELIVER),
        expire=expire,
        temporary=temporary or options.tempsub,
        shows=tuple(sorted(set(filled.texts(_SHOWS)))),
        body=filled.flag(_BODY),
    )


def _end(text: str, *, presence: bool, now: float) -> tuple[int, bool]:
    """When a subscription ends, and whether with presence.

    :raises ValueError: the text says neither.
    """
    if not text:
        return 0, False
    if text == _PRESENCE and presence:
        return 0, True
    expire = int(from_stamp(text).timestamp())
    if expire <= now:
        raise ValueError("a moment that is over")
    return expire, False


def _expiry(subscription: Subscription | None) -> str:
    if subscription is None or not (subscription.expire or subscription.temporary):
        return ""
    if subscription.temporary:
        return _PRESENCE
    return to_stamp(datetime.fromtimestamp(subscription.expire, UTC))


def _expiry_label(presence: bool) -> str:
    return f"When it ends{', or presence: when you go offline' if presence else ''}"


def _flag(value: bool) -> str:
    return "1" if value else "0"
