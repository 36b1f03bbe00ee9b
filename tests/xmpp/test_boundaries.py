"""Where elements begin and end, in bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jabberd.xmpp import boundaries, ns
from jabberd.xmpp.boundaries import START_TAG, Boundaries, Limits, end_of
from jabberd.xmpp.errors import StreamError
from tests.xmpp import odd

PRIMER = b"<s xmlns='jabber:client'>"

ELEMENTS = [
    b"<a/>",
    b"<a></a>",
    b"<a ></a >",
    b"<a\n/>",
    b"<a k='/'/>",
    b"<a k='>'/>",
    b"<a k='/>'></a>",
    b"<a k=\"'>\" l='\"/>'/>",
    b"<a k='>'>></a\n>",
    b"<a k='x'><a/></a>",
    b"<a><a>></a></a>",
    b"<a><![CDATA[</a>]]></a>",
    b"<p:a xmlns:p='u'/>",
    b"<p:a xmlns:p='u'></p:a>",
    "<\u00e9 k='\u20ac>'>\U0001f339</\u00e9>".encode(),
]


@pytest.mark.parametrize("data", ELEMENTS)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_an_element_begins_and_ends_where_it_does(data: bytes, size: int) -> None:
    """Expat tells the beginning of ``</a>`` but the end of ``<a/>``."""
    stream = b" " + data + b"\n" + data + data
    boundaries = Boundaries(Limits(), PRIMER)
    for at in range(0, len(stream), size):
        boundaries.feed(stream[at : at + size])
    assert [found.start for found in boundaries.found] == [1, 2 + len(data), 2 + 2 * len(data)]
    for found in boundaries.found:
        opened, closed, end = end_of(stream, found.start, found.mark)
        assert stream[found.start : end] == data
        start, inside = stream[found.start : opened], stream[opened:closed]
        assert start + inside + stream[closed:end] == data
        assert START_TAG.fullmatch(start)
        assert start.endswith(b"/>") or stream[closed:end].startswith(b"</")
    boundaries.forget()


@given(data=odd.stanzas(ns.CLIENT, prefixes=frozenset()), size=st.integers(1, 20))
@settings(deadline=None)
def test_the_start_tag_of_any_stanza_is_found(data: bytes, size: int) -> None:
    boundaries = Boundaries(Limits(), PRIMER)
    for at in range(0, len(data), size):
        boundaries.feed(data[at : at + size])
    [found] = boundaries.found
    _, closed, end = end_of(data, found.start, found.mark)
    assert (found.start, end) == (0, len(data))
    assert data[closed:end] in (b"", b"</" + data[1:].split(None, 1)[0].split(b">")[0] + b">")
    expected = odd.read(odd.header(ns.CLIENT), data)
    assert [found.name, *found.children] == [str(element.tag) for element in (expected, *expected)]
    boundaries.forget()


def test_elements_are_told_with_attributes_and_the_names_of_their_children() -> None:
    boundaries = Boundaries(Limits(), PRIMER)
    boundaries.feed(b"<a k='1' xml:lang='it'>t<b><deep/></b><c xmlns=''/><p:d xmlns:p='u'/></a>")
    [found] = boundaries.found
    assert found.name == "{jabber:client}a"
    assert found.attrs == {"k": "1", "http://www.w3.org/XML/1998/namespace}lang": "it"}
    assert found.children == ["{jabber:client}b", "c", "{u}d"]
    boundaries.forget()


def test_the_root_is_recorded_with_what_it_declares() -> None:
    boundaries = Boundaries(Limits())
    boundaries.feed(b"<?xml version='1.0' encoding='UTF-8'?><s:stream xmlns='u' xmlns:s='v' to='x'>")
    assert boundaries.root == ("{v}stream", {"to": "x"}, 38)
    assert boundaries.prefixes == [(None, "u"), ("s", "v")]
    boundaries.feed(b"<a xmlns:t='w'/>")
    assert boundaries.prefixes == [(None, "u"), ("s", "v")]
    assert [found.start for found in boundaries.found] == [boundaries.fed - 16]
    boundaries.forget()


def test_the_position_is_that_of_what_is_unfinished() -> None:
    boundaries = Boundaries(Limits(), PRIMER)
    for piece, unfinished in [
        (b"<a>", b""),
        (b"text", b""),
        (b"<b k='", b"<b k='"),
        (b">", b"<b k='>"),
        (b"'/>text <![CDATA[", b""),
        (b"< long", b""),
        (b"]]>", b""),
        (b"</a", b"</a"),
        (b">", b""),
    ]:
        boundaries.feed(piece)
        assert boundaries.fed - boundaries.position == len(unfinished)
    assert (boundaries.depth, len(boundaries.found), boundaries.over) == (1, 1, False)
    boundaries.feed(b"</s>anything & all <")
    assert boundaries.over
    boundaries.forget()


def test_what_was_found_before_an_error_is_kept() -> None:
    boundaries = Boundaries(Limits(), PRIMER)
    with pytest.raises(StreamError, match="not-well-formed"):
        boundaries.feed(b"<a/><b></a>")
    assert [found.name for found in boundaries.found] == ["{jabber:client}a"]
    boundaries.forget()


def test_the_limits_hold_for_each_element_anew() -> None:
    boundaries = Boundaries(Limits(depth=2, elements=3), PRIMER)
    boundaries.feed(b"<a><b/><c/></a>" * 5)
    assert len(boundaries.found) == 5
    with pytest.raises(StreamError, match="too many"):
        boundaries.feed(b"<a><b/><c/><d/>")
    boundaries.forget()
    boundaries = Boundaries(Limits(depth=2), PRIMER)
    with pytest.raises(StreamError, match="too deep"):
        boundaries.feed(b"<a><b/><b><c>")
    boundaries.forget()


def test_the_longest_namespace_name_allowed_passes() -> None:
    boundaries = Boundaries(Limits(), PRIMER)
    boundaries.feed(b"<a xmlns='%s'/>" % (b"u" * 256))
    with pytest.raises(StreamError, match="policy-violation"):
        boundaries.feed(b"<a xmlns:p='%s'/>" % (b"u" * 257))
    boundaries.forget()


def test_one_that_was_put_by_reads_on_for_somebody_else_with_their_limits() -> None:
    first = Boundaries.inside(PRIMER, Limits())
    first.feed(b"<message><body>hi</body></message>")
    first.found.clear()
    first.put_by(PRIMER)
    again = Boundaries.inside(PRIMER, Limits(elements=2))
    assert again is first
    assert Boundaries.inside(PRIMER, Limits()) is not first  # it is in use
    data = b"<presence/><iq><a/></iq>"
    base = again.fed
    again.feed(data)
    assert [(each.name, each.start - base) for each in again.found] == [
        ("{jabber:client}presence", 0),
        ("{jabber:client}iq", 11),
    ]
    with pytest.raises(StreamError, match="too many elements"):
        again.feed(b"<iq><a/><b/></iq>")


def test_one_that_has_read_much_or_that_many_wait_beside_is_not_put_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(boundaries, "_spare", {})
    used = Boundaries.inside(PRIMER, Limits())
    used.feed(b"<message>" + b"x" * 10_000 + b"</message>")
    used.put_by(PRIMER)
    assert boundaries._spare == {}
    for number in range(20):
        primer = b"<stream xmlns:p%d='urn:x'>" % number
        Boundaries.inside(primer, Limits()).put_by(primer)
    assert len(boundaries._spare) == 8
