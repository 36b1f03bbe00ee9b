"""The empty elements that clients say again and again, such as ``<a xmlns='urn:xmpp:sm:3' h='5'/>``.

A client that acknowledges says one for each message that it gets.  As a rule nothing else has come with it,
and a parser for it alone costs five times what this costs.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LONGEST", "empty_element"]

LONGEST: Final = 100  #: bytes; what is longer is read by expat
#: Nothing here can be ill-formed or mean anything else: one tag, no prefix, one attribute at most beside its
#: own namespace, in values no reference and nothing that XML would normalize.
_EMPTY: Final = re.compile(
    rb"<([a-z]+) xmlns=(?:'(urn:xmpp:[a-z0-9:]+)'|\"(urn:xmpp:[a-z0-9:]+)\")"
    rb"(?: (?!xml)([a-z]+)=(?:'([A-Za-z0-9_-]*)'|\"([A-Za-z0-9_-]*)\"))? ?/>"
)


def empty_element(data: bytes) -> tuple[str, dict[str, str]] | None:
    """The name, in Clark notation, and the attributes of that element; None: it is for expat to read."""
    found = _EMPTY.fullmatch(data)
    if found is None:
        return None
    name, single, double, attribute, one, two = found.groups()
    attrs = {} if attribute is None else {attribute.decode(): (two if one is None else one).decode()}
    return f"{{{(single or double).decode()}}}{name.decode()}", attrs
