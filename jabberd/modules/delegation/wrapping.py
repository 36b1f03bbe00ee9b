"""A question inside a question to a component, and the answer inside its answer (XEP-0355 §4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.api import Stanza, StanzaError
from jabberd.xmpp import forward, ns

if TYPE_CHECKING:
    from jabberd.api import JID, Element

__all__ = ["NS", "unwrapped", "wrapped"]

NS: Final = "urn:xmpp:delegation:2"
_DELEGATION: Final = f"{{{NS}}}delegation"


def wrapped(asked: Stanza, *, sender: JID, to: JID) -> Stanza:
    """The question to the component, without an id."""
    inside = forward.forwarded(asked.to_standalone())
    data = b"<delegation xmlns='%s'>%s</delegation>" % (NS.encode(), inside)
    return Stanza("iq", {"from": sender, "to": to, "type": "set"}, (_DELEGATION,), data)


def unwrapped(answer: Stanza, asked: Stanza) -> Element | None:
    """What the component answers to whoever asked.

    :raises ValueError: that is no answer to it; the text says why.
    """
    delegation = answer.child(_DELEGATION)
    path = f"{{{forward.NS}}}forwarded/{{{ns.CLIENT}}}iq"
    found = [] if delegation is None else delegation.findall(path)
    if len(found) != 1:
        raise ValueError("it holds no iq in jabber:client")
    inside = Stanza.from_element(found[0])
    if (inside.type, inside.id) != ("result", asked.id):
        raise ValueError(f"it holds no result with the id {asked.id!r}")
    if len(found[0]) > 1:
        raise ValueError("a result has at most one child")
    try:
        fits = inside.to == asked.sender and inside.sender in (None, asked.to)
    except StanzaError:
        fits = False
    if not fits:
        raise ValueError("it is not for whoever asked, or not from whom was asked")
    return found[0][0] if len(found[0]) else None
