"""XEP-0297: a message inside another one, as the archive and carbons send it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.xmpp.stanza import Stanza
from jabberd.xmpp.timestamp import to_microseconds

if TYPE_CHECKING:
    from datetime import datetime

    from jabberd.xmpp.jid import JID

__all__ = ["NS", "forwarded", "wrapped"]

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
