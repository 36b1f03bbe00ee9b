"""Result set management (XEP-0059): a long list, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jabberd.xmpp.element import E
from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from jabberd.xmpp.element import Element

NS: Final = "http://jabber.org/protocol/rsm"
SET: Final = f"{{{NS}}}set"


@dataclass(frozen=True, slots=True)
class PageWanted:
    """Which part of a list is asked for.

    :ivar most: how many at most; None: it was not said.
    :ivar after: only what comes after this one.
    :ivar before: only what comes before this one.
    :ivar last: whether the end of that is wanted (§2.3, §2.5), and not its beginning.
    """

    most: int | None = None
    after: str = ""
    before: str = ""
    last: bool = False


def wanted(asked: Element) -> PageWanted:
    """What a ``<set/>`` asks for.

    :raises StanzaError: ``bad-request``: it makes no sense; ``feature-not-implemented``: pages by number.
    """
    if asked.find(f"{{{NS}}}index") is not None:
        raise StanzaError("feature-not-implemented", "pages are asked for by their neighbours")
    most = asked.findtext(f"{{{NS}}}max")
    if most is not None and not (most.isascii() and most.isdigit() and len(most) < 10):
        raise StanzaError("bad-request", "max is a number")
    before = asked.find(f"{{{NS}}}before")
    return PageWanted(
        None if most is None else int(most),
        asked.findtext(f"{{{NS}}}after") or "",
        "" if before is None else before.text or "",
        last=before is not None,
    )


def told(first: str, last: str, index: int, count: int) -> Element:
    """The ``<set/>`` that goes with a page.

    :param first: id of the page's first entry, and ``last`` of its last one; empty where it has none.
    :param index: how many come before the page.
    :param count: how long the list is.
    """
    ends = (E(NS, "first", {"index": str(index)}, first), E(NS, "last", None, last)) if first else ()
    return E(NS, "set", None, *ends, E(NS, "count", None, str(count)))
