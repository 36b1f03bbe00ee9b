"""XEP-0297: a message inside another one, as the archive and carbons send it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.xmpp import ns
from jabberd.xmpp.stanza import Stanza
from jabberd.xmpp.timestamp import to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from jabberd.xmpp.jid import JID

__all__ = ["NS", "forwarded", "unwrapped", "wrapped"]

NS = "urn:xmpp:forward:0"


def forwarded(message: bytes, stamp: datetime | None = None) -> bytes:
    """``<forwarded/>`` around a message as `Stanza.to_standalone` writes it, which stays sealed.

    :param stamp: when it was received, in UTC; written to the microsecond.
    """
    if stamp is None:
        return b"<forwarded xmlns='urn:xmpp:forward:0'>" + message + b"</forwarded>"
    return (
        b"<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='%s'/>"
        % to_microseconds(stamp).encode()
        + message
        + b"</forwarded>"
    )


def wrapped(name: str, child: bytes, *, sender: JID, to: JID, type: str = "") -> Stanza:
    """A message of ours whose only child has that Clark name and is given as its bytes."""
    attrs: dict[str, str] = {"from": sender, "to": to}
    if type:
        attrs["type"] = type
    return Stanza("message", attrs, (name,), child)


def unwrapped(stanza: Stanza, name: str) -> Stanza | None:
    """The message that is forwarded in the child of that Clark name; None if there is none."""
    around = stanza.child(name)
    found = None if around is None else around.find(f"{{{NS}}}forwarded/{{{ns.CLIENT}}}message")
    if found is None:
        return None
    return Stanza.of("message", *found, type=found.get("type", ""))
