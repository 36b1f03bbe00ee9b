"""XML trees: building, reading and writing them.

An element is the standard library's `xml.etree.ElementTree.Element`, its names in Clark notation
(``{namespace}local``).  Not lxml: it keeps every name that it ever saw for the life of the
process, which a hostile peer can use to fill the memory.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

from jabberd.xmpp import ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Element = ET.Element


class Sealed(NamedTuple):
    """An element that is written already.

    :ivar tag: its name in Clark notation.
    :ivar data: its bytes, as they can stand where ``jabber:client`` is the default namespace.
    """

    tag: str
    data: bytes


#: What XML cannot say in any way (its production 2, Char), as the inside of a character class.
NOT_IN_XML = r"\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_IN_TEXT = re.compile(rf"[&<>\r{NOT_IN_XML}]")
_IN_ATTRIBUTE = re.compile(rf"[&<>'\"\t\n\r{NOT_IN_XML}]")
#: ASCII that is escaped in one place or another, or cannot be said; all else of that kind begins with EF BF.
_SPECIAL = bytes(range(32)) + b"&<>'\""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}


def E(
    namespace: str, name: str, attrs: Mapping[str, str | None] | None = None, *content: Element | str
) -> Element:
    """Build an element: ``E(ns.ROSTER, "query", {"ver": "3"}, item, "text")``.

    Attributes whose value is None are left out.  Strings among the content become text.
    """
    tag = f"{{{namespace}}}{name}" if namespace else name
    element = ET.Element(tag, {k: v for k, v in (attrs or {}).items() if v is not None})
    last: Element | None = None
    for part in content:
        if not isinstance(part, str):
            element.append(part)
            last = part
        elif last is None:
            element.text = (element.text or "") + part
        else:
            last.tail = (last.tail or "") + part
    return element


def split(name: str) -> tuple[str, str]:
    """Split a Clark name into namespace (empty for none) and local name."""
    namespace, _, local = name.rpartition("}")
    return namespace[1:], local


def is_plain(text: str) -> bool:
    """Whether `escape_attribute` and `escape_text` have nothing to do; for a long text much faster."""
    try:
        data = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return len(data.translate(None, _SPECIAL)) == len(data) and b"\xef\xbf" not in data


def escape_attribute(value: str) -> str:
    """The value as it may stand between quotes of either kind; U+FFFD for what XML cannot say."""
    return _IN_ATTRIBUTE.sub(_reference, value)


def escape_text(text: str) -> str:
    """The text as it may stand between tags; U+FFFD for what XML cannot say."""
    return _IN_TEXT.sub(_reference, text)


def _reference(match: re.Match[str]) -> str:
    character = match[0]
    if character in "\t\n\r":
        return f"&#{ord(character)};"
    return _ENTITIES.get(character, "\ufffd")


def parse(data: bytes, default_ns: str = ns.CLIENT) -> Element:
    """Open one element that stands where ``default_ns`` is the default namespace.

    Only for bytes that the stream parser has passed or that we wrote: limits are checked there.

    :raises ValueError: it is not exactly one well-formed element.
    """
    around = parse_content(data, default_ns)
    if len(around) != 1 or (around.text or "").strip() or (around[0].tail or "").strip():
        raise ValueError("expected one element and nothing else")
    around[0].tail = None
    return around[0]


def parse_content(data: bytes, default_ns: str = ns.CLIENT) -> Element:
    """Open what stands inside an element, wrapped in a nameless one.

    :raises ValueError: it is not well-formed.
    """
    return parse_document(b"<_ xmlns='%s'>" % escape_attribute(default_ns).encode() + data + b"</_>")


def parse_document(data: bytes) -> Element:
    """Open a whole document, its root element.

    :raises ValueError: it is not well-formed.
    """
    parser = ET.XMLParser(encoding="utf-8")  # noqa: S314  # only what expat passed: no entity is left to expand
    try:
        parser.feed(data)
        root: Element = parser.close()
    except ET.ParseError as why:
        raise ValueError(f"not well-formed: {why}") from None
    return root


def serialize(element: Element, default_ns: str = ns.CLIENT) -> bytes:
    """Write an element so that it can stand where ``default_ns`` is the default namespace.

    Namespaces are declared as defaults (``xmlns='...'``), never with prefixes that clients would
    have to look up; only attributes with a namespace of their own get a prefix.  The tail is left out.
    """
    out: list[str] = []
    _write(element, default_ns, out)
    return "".join(out).encode()


def serialize_content(elements: Iterable[Element | Sealed]) -> bytes:
    """Write several elements side by side as they stand in ``jabber:client``, without their tails."""
    return b"".join(each.data if isinstance(each, Sealed) else serialize(each) for each in elements)


def content_of(element: Element, default_ns: str = ns.CLIENT) -> bytes:
    """Write what stands inside an element, text and all, for a place where ``default_ns`` is the default."""
    out = [escape_text(element.text or "")]
    for child in element:
        _write(child, default_ns, out)
        out.append(escape_text(child.tail or ""))
    return "".join(out).encode()


def _write(element: Element, default_ns: str, out: list[str]) -> None:
    namespace, local = split(element.tag)
    if namespace == ns.XML:  # no default can be this one
        namespace, local = default_ns, f"xml:{local}"
    out.append(f"<{local}")
    if namespace != default_ns:
        out.append(f" xmlns='{escape_attribute(namespace)}'")
    if element.attrib:
        out.append(attributes(element.attrib))
    if not element.text and not len(element):
        out.append("/>")
        return
    out.append(">")
    if element.text:
        out.append(escape_text(element.text))
    for child in element:
        _write(child, namespace, out)
        if child.tail:
            out.append(escape_text(child.tail))
    out.append(f"</{local}>")


def attributes(attrs: Mapping[str, str]) -> str:
    """Write attributes, each with a blank before it; those with a namespace get a prefix for it."""
    out: list[str] = []
    prefixes = {ns.XML: "xml"}
    for name, value in attrs.items():
        shown = name
        if name.startswith("{"):
            namespace, local = split(name)
            if namespace not in prefixes:
                prefixes[namespace] = f"ns{len(prefixes)}"
                out.append(f" xmlns:{prefixes[namespace]}='{escape_attribute(namespace)}'")
            shown = f"{prefixes[namespace]}:{local}"
        out.append(f" {shown}='{escape_attribute(value)}'")
    return "".join(out)
