"""What is left in an archive of a message that was taken back (XEP-0424 §4, XEP-0425 §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.api import E, Element, Stanza
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

__all__ = ["NS", "RETRACT", "RETRACTED", "is_buried", "tombstone"]

NS: Final = "urn:xmpp:message-retract:1"
RETRACT: Final = f"{{{NS}}}retract"
RETRACTED: Final = f"{{{NS}}}retracted"


def tombstone(
    said: Stanza, id: str, stamp: datetime, *inside: Element, keeping: Iterable[str] = ()
) -> Stanza:
    """What stands in a message's place.

    :param id: of the message that took it back, and ``stamp``: when.
    :param inside: more of ``<retracted/>``.
    :param keeping: Clark names of children that tell nothing of what was said.
    """
    retracted = E(NS, "retracted", {"id": id, "stamp": to_stamp(stamp)}, *inside)
    return said.select(keeping).with_child(retracted)


def is_buried(said: Stanza) -> bool:
    """Whether a message was taken back, or takes another one back itself: neither is done again."""
    return RETRACT in said.children or RETRACTED in said.children
