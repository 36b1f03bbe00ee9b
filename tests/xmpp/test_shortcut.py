"""Empty elements are read without expat, and mean exactly what expat says."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jabberd.xmpp.shortcut import LONGEST, empty_element
from tests.xmpp.reading import fed, opened

NAMESPACES = st.sampled_from(
    ["urn:xmpp:sm:3", "urn:xmpp:csi:0", "jabber:client", "urn:xmpp:", "", "urn:xmpp:a&amp;b", "urn:xmpp:é"]
)
NAMES = st.sampled_from(["a", "r", "message", "A", "a:b", "xmlns", "xml", "é", ""])
VALUES = st.sampled_from(["", "5", "12-_z", "a b", "&lt;", "<", "\t", "'", '"', "é"])
BLANKS = st.sampled_from(["", " ", "  ", "\n"])
QUOTES = st.sampled_from("'\"")


@st.composite
def nearly_empty_elements(draw: st.DrawFn) -> bytes:
    """What is one, or nearly."""
    opening, closing = draw(QUOTES), draw(st.sampled_from(["/>", ">", "/ >", "></a>", "/><r/>", "/> "]))
    names = draw(st.lists(NAMES, max_size=2))
    attributes = "".join(f"{draw(BLANKS)}{each}={opening}{draw(VALUES)}{draw(QUOTES)}" for each in names)
    namespace = f" xmlns={opening}{draw(NAMESPACES)}{opening}"
    return f"<{draw(NAMES)}{namespace}{attributes}{draw(BLANKS)}{closing}".encode()


@given(nearly_empty_elements())
@settings(deadline=None)
@example(b"<a xmlns='urn:xmpp:sm:3' h='5'/>")
@example(b'<r xmlns="urn:xmpp:sm:3" />')
def test_what_it_reads_is_what_expat_reads(data: bytes) -> None:
    if empty_element(data) is not None:
        by_expat = fed(opened(), b" " * LONGEST + data)  # too long for the short way
        assert fed(opened(), data) == by_expat


@pytest.mark.parametrize(
    ("data", "attrs"),
    [
        (b"<a xmlns='urn:xmpp:sm:3' h='5'/>", {"h": "5"}),
        (b'<a xmlns="urn:xmpp:sm:3" h="" />', {"h": ""}),
        (b"<a xmlns='urn:xmpp:sm:3'/>", {}),
    ],
)
def test_what_clients_say_is_read_the_short_way(data: bytes, attrs: dict[str, str]) -> None:
    assert empty_element(data) == ("{urn:xmpp:sm:3}a", attrs)


@pytest.mark.parametrize(
    "data",
    [
        b"<a xmlns='urn:xmpp:sm:3' xmlns='urn:xmpp:sm:3'/>",
        b"<a xmlns='urn:xmpp:sm:3' h='&#53;'/>",
        b"<a xmlns='urn:xmpp:sm:3' h='5' i='6'/>",
        b"<a xmlns='jabber:client'/>",
        b"<a h='5'/>",
        b"<x:a xmlns:x='urn:xmpp:sm:3'/>",
        b"<a xmlns='urn:xmpp:sm:3' xml='5'/>",
        b"<a xmlns='urn:xmpp:sm:3'/><r xmlns='urn:xmpp:sm:3'/>",
    ],
)
def test_all_else_is_for_expat(data: bytes) -> None:
    assert empty_element(data) is None


def test_the_short_way_is_not_taken_in_the_middle_of_a_stanza() -> None:
    parser = opened()
    said = fed(parser, b"<message><body>") + fed(parser, b"<a xmlns='urn:xmpp:sm:3'/>")
    said += fed(parser, b"</body></message>")
    assert said == [("message", {}, ("{jabber:client}body",), b"<body><a xmlns='urn:xmpp:sm:3'/></body>")]
