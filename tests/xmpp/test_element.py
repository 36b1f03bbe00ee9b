"""Trees: built, written and read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from jabberd.xmpp import ns
from jabberd.xmpp.element import (
    NOT_IN_XML,
    E,
    Element,
    content_of,
    escape_attribute,
    escape_text,
    is_plain,
    parse,
    parse_content,
    serialize,
    serialize_content,
    split,
)

ROSTER = "{jabber:iq:roster}"


def test_an_element_is_built_from_children_and_text() -> None:
    item = E(ns.ROSTER, "item", {"jid": "romeo@montague.lit", "name": None})
    query = E(ns.ROSTER, "query", {"ver": "3"}, "a", "b", item, "c", "d")
    assert query.tag == f"{ROSTER}query"
    assert (query.text, query[0].tail, query.attrib) == ("ab", "cd", {"ver": "3"})
    assert item.attrib == {"jid": "romeo@montague.lit"}
    assert E("", "x").tag == "x"
    assert E("u", "x").attrib == {}


def test_a_clark_name_is_split() -> None:
    assert split("{urn:x}y") == ("urn:x", "y")
    assert split("y") == ("", "y")


def test_namespaces_are_declared_where_they_change_and_never_as_prefixes() -> None:
    inner = E(ns.CLIENT, "message", None, E(ns.CLIENT, "body", None, "hi"))
    element = E("urn:f", "forwarded", None, E("urn:f", "a"), inner, E("", "b", None, E("", "c")))
    assert serialize(element) == (
        b"<forwarded xmlns='urn:f'><a/><message xmlns='jabber:client'><body>hi</body></message>"
        b"<b xmlns=''><c/></b></forwarded>"
    )
    assert serialize(element, "urn:f").startswith(b"<forwarded><a/>")
    assert serialize(inner) == b"<message><body>hi</body></message>"
    assert serialize(inner, "") == b"<message xmlns='jabber:client'><body>hi</body></message>"


def test_the_namespace_of_xml_is_never_a_default() -> None:
    """Namespaces in XML 1.0 §3; a peer would have to end the stream that this is sent on."""
    element = E(ns.XML, "a", None, E("u", "b"), E("", "c"), E(ns.XML, "d"))
    assert serialize(element, "u") == b"<xml:a><b/><c xmlns=''/><xml:d/></xml:a>"


def test_attributes_with_a_namespace_share_a_prefix_for_it() -> None:
    element = E("", "a", {"k": "1", "{u}k": "2", "{v'}k": "3", "{u}l": "4", f"{{{ns.XML}}}lang": "it"})
    data = serialize(element, "")
    assert data == (
        b"<a k='1' xmlns:ns1='u' ns1:k='2' xmlns:ns2='v&apos;' ns2:k='3' ns1:l='4' xml:lang='it'/>"
    )
    assert parse(data, "").attrib == element.attrib


@pytest.mark.parametrize(
    "value", ["'", '"', "<>&", "\n\r\t", "]]>", "&amp;", "\u00e9\u20ac\U0001f339", "\x7f\x85\u2028"]
)
def test_what_is_escaped_reads_the_same(value: str) -> None:
    element = E(ns.CLIENT, "a", {"k": value}, value, E("urn:b", "b"), value)
    for read in (parse(serialize(element)), etree.fromstring(serialize(element, ""))):
        assert read.get("k") == value
        assert read.text == value
        assert read[0].tail == value


def test_what_needs_no_escape_stays_as_it_is() -> None:
    assert escape_attribute("plain, caf\u00e9") == "plain, caf\u00e9"
    assert escape_text('it\'s "plain"\n\t') == 'it\'s "plain"\n\t'


ANY_TEXT = st.text(st.characters(codec=None))
CLEAN = re.compile(f"[{NOT_IN_XML}]")


@pytest.mark.rfc6120("11.3-2")
@given(text=ANY_TEXT, value=ANY_TEXT)
def test_any_text_is_written_as_xml(text: str, value: str) -> None:
    """E4; RFC 6120 §11.3: what XML cannot say becomes U+FFFD."""
    read = etree.fromstring(serialize(E("", "a", {"k": value}, text), ""))
    assert (read.text or "") == CLEAN.sub("\ufffd", text)
    assert read.get("k") == CLEAN.sub("\ufffd", value)


NAMES = st.sampled_from(
    [f"{{{ns.XML}}}a", "a", "b.c", "{jabber:client}a", "{urn:x}a", "{urn:'<&>}a", "{http://e.lit/}a-b"]
)
TEXT = st.text(st.sampled_from("ab<&>'\"\n\r\t]\u20ac"), max_size=5)


def _elements(children: st.SearchStrategy[Element]) -> st.SearchStrategy[Element]:
    return st.builds(
        _element, NAMES, st.dictionaries(NAMES, TEXT, max_size=3), TEXT, st.lists(children, max_size=3)
    )


def _element(name: str, attrs: dict[str, str], text: str, children: list[Element]) -> Element:
    element = Element(name, attrs)
    element.text = text
    for child in children:
        element.append(child)
        child.tail = text[::-1]
    return element


def same(one: Element, other: Element) -> bool:
    return (
        (one.tag, one.attrib, one.text or "", len(one))
        == (other.tag, other.attrib, other.text or "", len(other))
        and all((a.tail or "") == (b.tail or "") for a, b in zip(one, other, strict=True))
        and all(same(a, b) for a, b in zip(one, other, strict=True))
    )


@given(
    element=st.recursive(st.builds(Element, NAMES), _elements, max_leaves=8),
    default=st.sampled_from(["", ns.CLIENT, "urn:x"]),
)
def test_what_is_written_reads_the_same(element: Element, default: str) -> None:
    data = serialize(element, default)
    assert same(parse(data, default), element)
    assert serialize_content([element, element]) == serialize(element) * 2
    inside = parse_content(content_of(element, default), default)
    inside.tag, inside.attrib = element.tag, element.attrib
    assert same(inside, element)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"<a/>text",
        b"text<a/>",
        b"<a/><b/>",
        b"<a>",
        b"</_><_>",
        b"<p:a/>",
        b"<a b='1' b='2'/>",
        b"\xff",
    ],
)
def test_what_is_not_one_element_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"well-formed|one element"):
        parse(data)


def test_an_element_is_read_in_the_default_namespace_of_its_place() -> None:
    assert parse(b" <a/>\n").tag == "{jabber:client}a"
    assert parse(b"<a/>", "urn:'x").tag == "{urn:'x}a"
    assert parse(b"<a/>", "").tag == "a"
    assert parse(b"<a/>\n").tail is None


@given(st.text(st.characters() | st.sampled_from("&<>'\"\r\n\t\0\ufffe\uffff\ud800é")))
def test_a_plain_text_needs_no_escaping(text: str) -> None:
    if is_plain(text):
        assert escape_attribute(text) == escape_text(text) == text


def test_ordinary_text_is_plain() -> None:
    assert is_plain("Juliet Capulet, balcony #2 (é, \u20ac, \U0001f339)")
