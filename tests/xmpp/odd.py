"""Odd but well-formed stanzas, and what lxml makes of them: a second opinion on namespaces."""

from __future__ import annotations

from hypothesis import strategies as st
from lxml import etree

from jabberd.xmpp import ns

CLOSE = b"</stream:stream>"
LOCALS = ("body", "x", "message", "iq2", "a.b")
#: How namespaces may be spelled in an attribute, and which they are.
SPELLINGS = (
    ns.CLIENT,
    ns.SERVER,
    "jabber&#58;client",
    "jabber:serve&#x72;",
    "urn:jabber:client",
    "urn:x",
    "urn:y?a&amp;b=&apos;",
)
ATTRIBUTE_VALUES = (
    "",
    "v",
    "a>b",
    "/>",
    "&lt;/message&gt;",
    "&apos;&quot;",
    "&#10;&#9;",
    "xmlns=jabber:client",
    "p:x",
    "{urn:x}y",
    "\u00e9\u20ac\U0001f339",
)
TEXTS = (
    "hi",
    " \n",
    "&amp;&#x1F339;",
    "a > b",
    "]] >",
    "p:x h:y",
    "<![CDATA[<p:x xmlns='jabber:client'>&amp;]]>",
    "<![CDATA[</message>]]>",
    "xmlns='jabber:server'",
    "\u00e9\u20ac\U0001f339",
)


def header(content_ns: str, *, prefixes: str = "", default: bool = True) -> bytes:
    xmlns = f" xmlns='{content_ns}'" if default else ""
    return f"<stream:stream{xmlns} xmlns:stream='{ns.STREAM}'{prefixes} version='1.0'>".encode()


@st.composite
def _attributes(draw: st.DrawFn, prefixes: frozenset[str]) -> str:
    names = draw(
        st.lists(st.sampled_from(["k", "type", *(f"{p}:k" for p in sorted(prefixes)[:1])]), unique=True)
    )
    out = ""
    for name in names:
        quote = draw(st.sampled_from("'\""))
        blank = draw(st.sampled_from(["", " ", "\n"]))
        out += f" {name}{blank}={blank}{quote}{draw(st.sampled_from(ATTRIBUTE_VALUES))}{quote}"
    return out


@st.composite
def _elements(draw: st.DrawFn, prefixes: frozenset[str], depth: int) -> str:
    declared = draw(st.lists(st.sampled_from("pq"), unique=True, max_size=1))
    shown = "".join(f' xmlns:{prefix}="{draw(st.sampled_from(SPELLINGS))}"' for prefix in declared)
    default = draw(st.sampled_from([None, None, "", *SPELLINGS]))
    if default is not None:
        shown += f' xmlns="{default}"'
    inside = prefixes | frozenset(declared)
    prefix = draw(st.sampled_from(["", "", "xml:", *(f"{p}:" for p in sorted(inside))]))
    name = prefix + draw(st.sampled_from(LOCALS))
    shown += draw(_attributes(inside))
    content = draw(_contents(inside, depth - 1)) if depth else ""
    if not content and draw(st.booleans()):
        return f"<{name}{shown}/>"
    return f"<{name}{shown}>{content}</{name} >"


@st.composite
def _contents(draw: st.DrawFn, prefixes: frozenset[str], depth: int) -> str:
    part = st.sampled_from(TEXTS) | _elements(prefixes, depth)
    return "".join(draw(st.lists(part, max_size=3)))


@st.composite
def stanzas(draw: st.DrawFn, content_ns: str, *, prefixes: frozenset[str], default: bool = True) -> bytes:
    """One stanza in every spelling; ``prefixes`` are declared on the header, ``c`` there for the content."""
    name = draw(st.sampled_from(["message", "presence", "iq"]))
    spelling = draw(st.sampled_from(["plain", "default", "own", "header"]))
    shown = " id='1'"
    if spelling == "own":
        shown += f" xmlns:own='{content_ns}'"
        name = f"own:{name}"
    elif spelling == "header" and "c" in prefixes:
        name = f"c:{name}"
    elif spelling == "default" or not default:
        shown += f" xmlns='{content_ns}'"
    if draw(st.booleans()):
        shown += " xmlns:p='urn:x'"
        prefixes |= {"p"}
    shown += draw(_attributes(prefixes))
    content = draw(_contents(prefixes, 3))
    return f"<{name}{shown}>{content}</{name}>".encode()


def read(opening: bytes, stanza: bytes) -> etree._Element:
    """The stanza as lxml understands it on that stream."""
    [element] = etree.fromstring(opening + stanza + CLOSE)
    element.tail = None
    return element


def moved(element: etree._Element, old: str, new: str) -> etree._Element:
    """RFC 6120 §4.8.3, in place: the stanza and what it holds of its namespace, but nothing inside others."""
    name = etree.QName(element)
    if name.namespace == old:
        element.tag = f"{{{new}}}{name.localname}"
        for child in element:
            moved(child, old, new)
    return element


def canonical(element: etree._Element) -> str:
    text = etree.tostring(element, encoding="unicode", with_tail=False)
    return etree.canonicalize(text, rewrite_prefixes=True)
