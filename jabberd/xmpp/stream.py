"""What a stream says about itself: header, errors, goodbye (RFC 6120 §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import E, Element, escape_attribute, serialize

if TYPE_CHECKING:
    from jabberd.xmpp.errors import SASLFailure, StreamError

CLOSE: Final = b"</stream:stream>"

_EXTRA_NAMESPACES: Final = {ns.SERVER: f" xmlns:db='{ns.DIALBACK}'"}  # XEP-0220 §2.1.1


def header(content_ns: str, *, sender: str = "", to: str = "", id: str = "", lang: str = "en") -> bytes:
    """The XML declaration and our ``<stream:stream>`` start tag (RFC 6120 §4.7)."""
    given = {"from": sender, "to": to, "id": id, "version": "1.0", "xml:lang": lang}
    attrs = "".join(f" {name}='{escape_attribute(value)}'" for name, value in given.items() if value)
    extra = _EXTRA_NAMESPACES.get(content_ns, "")
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content_ns}' xmlns:stream='{ns.STREAM}'{extra}{attrs}>"
    ).encode()


def features(offered: list[Element]) -> bytes:
    """``<stream:features/>`` (RFC 6120 §4.3.2)."""
    inside = b"".join(serialize(element, "") for element in offered)
    return b"<stream:features>" + inside + b"</stream:features>" if inside else b"<stream:features/>"


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
