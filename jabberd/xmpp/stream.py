"""What a stream says about itself: header, errors, goodbye (RFC 6120 §4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import E, Element, escape_attribute, serialize, split

if TYPE_CHECKING:
    from jabberd.xmpp.errors import SASLFailure, StreamError
    from jabberd.xmpp.parser import Nonza

_NUMBER: Final = re.compile("[0-9]{1,10}")
CLOSE: Final = b"</stream:stream>"
#: The version of XMPP that this server speaks (RFC 6120 §4.7.5).
VERSION: Final = "1.0"

_EXTRA_NAMESPACES: Final = {ns.SERVER: f" xmlns:db='{ns.DIALBACK}'"}  # XEP-0220 §2.1.1
#: What the peer calls an error of the stream.
ERROR: Final = f"{{{ns.STREAM}}}error"

_CONDITION: Final = re.compile("[a-z-]{1,40}")
_NUMBERS: Final = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")


def version_for(theirs: str) -> str:
    """The version in the answer to a header: theirs or ours, whichever is lower (RFC 6120 §4.7.5).

    Empty for none, and for what is none: rule 5 takes that for 0.9, and has no version in the answer.
    """
    numbers = _NUMBERS.fullmatch(theirs)
    if numbers is None:
        return ""
    major, minor = map(int, numbers.groups())
    return VERSION if major else f"0.{minor}"


def header(
    content_ns: str,
    *,
    sender: str = "",
    to: str = "",
    id: str = "",
    lang: str = "en",
    version: str = VERSION,
) -> bytes:
    """The XML declaration and our ``<stream:stream>`` start tag (RFC 6120 §4.7).

    What is empty is left out; but an answer, which is what has an id, always has a ``from`` (§4.9.1.3).
    """
    given = {"from": sender, "to": to, "id": id, "version": version, "xml:lang": lang}
    said = {name: value for name, value in given.items() if value or (name == "from" and id)}
    attrs = "".join(f" {name}='{escape_attribute(value)}'" for name, value in said.items())
    extra = _EXTRA_NAMESPACES.get(content_ns, "")
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content_ns}' xmlns:stream='{ns.STREAM}'{extra}{attrs}>"
    ).encode()


def features(offered: list[Element]) -> bytes:
    """``<stream:features/>`` (RFC 6120 §4.3.2)."""
    inside = b"".join(serialize(element, "") for element in offered)
    return b"<stream:features>" + inside + b"</stream:features>" if inside else b"<stream:features/>"


def limits(most: int, idle: float) -> Element:
    """The feature that says what is borne on this stream (XEP-0478 §3.1).

    :param most: bytes of one first-level element.
    :param idle: seconds of silence.
    """
    said = {"max-bytes": most, "idle-seconds": int(idle)}
    return E(ns.LIMITS, "limits", None, *(E(ns.LIMITS, name, None, str(n)) for name, n in said.items()))


def most_bytes(features: Element) -> int | None:
    """How large a stanza the peer takes, by its features; None if it does not say (XEP-0478 §3.1).

    Less than 10,000 bytes no server may ask for (RFC 6120 §13.12): that is about what comes before stanzas.
    """
    said = features.findtext(f"{{{ns.LIMITS}}}limits/{{{ns.LIMITS}}}max-bytes", "").strip()
    return max(int(said), 10_000) if _NUMBER.fullmatch(said) else None


def error(why: StreamError) -> bytes:
    """``<stream:error/>`` (RFC 6120 §4.9.2); the goodbye that must follow is `CLOSE`."""
    parts = [E(ns.STREAM_ERRORS, why.condition)]
    if why.text:
        parts.append(E(ns.STREAM_ERRORS, "text", {f"{{{ns.XML}}}lang": "en"}, why.text))
    if why.application:
        parts.append(E(*why.application))
    inside = b"".join(serialize(element, "") for element in parts)
    return b"<stream:error>" + inside + b"</stream:error>"


def sasl_failure(why: SASLFailure, namespace: str = ns.SASL) -> Element:
    """``<failure/>`` (RFC 6120 §6.4.5; XEP-0388 §2.6.2)."""
    failure = E(namespace, "failure", None, E(ns.SASL, why.condition))
    if why.text:
        failure.append(E(namespace, "text", {f"{{{ns.XML}}}lang": "en"}, why.text))
    return failure


def condition_of(error: Nonza) -> str:
    """The condition in a stream or SASL error of the peer."""
    names = (split(child.tag)[1] for child in error.element())
    return shown(next((name for name in names if name != "text"), ""))


def shown(condition: str) -> str:
    """A condition that a peer chose, fit for one line of a log and for the sender of a stanza."""
    return condition if _CONDITION.fullmatch(condition) else "undefined-condition"
