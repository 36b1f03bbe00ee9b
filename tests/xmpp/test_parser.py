"""The stream parser: what it makes of streams, what it refuses, how little it costs.

Row numbers such as A13 are those of the table of abuse cases.
"""

from __future__ import annotations

import gc
import socket
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jabberd.xmpp import ns
from jabberd.xmpp import parser as module
from jabberd.xmpp.boundaries import Boundaries, Limits
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.parser import Event, Header, Nonza, StreamEnd, StreamParser
from jabberd.xmpp.stanza import Stanza
from tests.xmpp import odd

XML = b"<?xml version='1.0'?>"
HEADER = odd.header(ns.CLIENT)
CLOSE = odd.CLOSE
PRESENCE = b"<presence/>"


def told(event: Event) -> object:
    """An event as something to compare."""
    if isinstance(event, Stanza):
        return event.name, event.attrs, event.children, event.payload
    if isinstance(event, Nonza):
        return event.name, event.attrs, event.raw
    if isinstance(event, StreamError):
        return event.condition
    return event if isinstance(event, Header) else type(event)


def fed(parser: StreamParser, data: bytes, size: int | None = None) -> list[object]:
    """What the parser says about bytes that come in pieces of that size, or at once."""
    size = size or len(data) or 1
    return [told(e) for at in range(0, len(data), size) for e in parser.feed(data[at : at + size])]


def heard(
    data: bytes, size: int | None = None, content_ns: str = ns.CLIENT, limits: Limits | None = None
) -> list[object]:
    """What is said about a new stream."""
    return fed(StreamParser(content_ns, limits or Limits()), data, size)


def opened(limits: Limits | None = None) -> StreamParser:
    """A parser that has read the header."""
    parser = StreamParser(ns.CLIENT, limits or Limits())
    assert len(parser.feed(HEADER)) == 1
    return parser


ways = pytest.mark.parametrize("size", [None, 1], ids=["at once", "byte by byte"])

# -- streams as they should be ------------------------------------------------------------------------


@ways
def test_a_header_says_who_wants_what(size: int | None) -> None:
    data = (
        b"<?xml version='1.0' encoding='utf-8' standalone='yes'?>\n<stream:stream from='romeo@montague.lit'"
        b' to="montague.lit" id="\'1&gt;" version=\'1.0\' xml:lang="it" xmlns=\'jabber:client\''
        b" xmlns:stream='http://etherx.jabber.org/streams' xmlns:e='urn:e'>"
    )
    assert heard(data, size) == [
        Header(
            to="montague.lit",
            sender="romeo@montague.lit",
            id="'1>",
            version="1.0",
            lang="it",
            content_ns=ns.CLIENT,
            prefixes={"stream": ns.STREAM, "e": "urn:e"},
        )
    ]


@ways
def test_what_a_header_does_not_say_is_empty(size: int | None) -> None:
    """A11: no version."""
    data = b"<s:stream xmlns:s='http://etherx.jabber.org/streams'>"
    assert heard(data, size) == [Header("", "", "", "", "", "", {"s": ns.STREAM})]


@ways
def test_a_stream_is_a_header_stanzas_nonzas_and_an_end(size: int | None) -> None:
    data = (
        XML
        + HEADER
        + b"\n<message to='juliet@capulet.lit'><body>hi</body></message> \t\r\n"
        + b"<r xmlns='urn:xmpp:sm:3' x:k='1' xmlns:x='urn:x' xml:lang='en'/><presence></presence>"
        + CLOSE
    )
    assert heard(data, size)[1:] == [
        ("message", {"to": "juliet@capulet.lit"}, ("{jabber:client}body",), b"<body>hi</body>"),
        (
            "{urn:xmpp:sm:3}r",
            {"{urn:x}k": "1", "xml:lang": "en"},
            b"<r xmlns='urn:xmpp:sm:3' x:k='1' xmlns:x='urn:x' xml:lang='en'/>",
        ),
        ("presence", {}, (), b""),
        StreamEnd,
    ]


@ways
def test_a_stream_may_do_without_a_default_namespace(size: int | None) -> None:
    """RFC 6120 §4.8.2, prefix-free canonicalization."""
    data = (
        b"<stream xmlns='http://etherx.jabber.org/streams' version='1.0'>"
        b"<message xmlns='jabber:client'><body>hi</body></message><message/></stream>"
    )
    header, message, nonza, end = heard(data, size)
    assert header == Header("", "", "", "1.0", "", ns.STREAM, {})
    assert message == ("message", {}, ("{jabber:client}body",), b"<body>hi</body>")
    assert nonza == (f"{{{ns.STREAM}}}message", {}, b"<message/>")
    assert end is StreamEnd


def test_a_nonza_is_opened_with_the_prefixes_of_its_stream() -> None:
    """A12: what is no stanza is told apart from one; the stream decides."""
    parser = StreamParser(ns.CLIENT, Limits())
    data = odd.header(ns.CLIENT, prefixes=" xmlns:f='urn:f&amp;'") + b"<f:foo a='1'><bar/>tail</f:foo>\n"
    _, nonza = parser.feed(data)
    assert isinstance(nonza, Nonza)
    element = nonza.element()
    assert (element.tag, element.attrib, element.tail) == ("{urn:f&}foo", {"a": "1"}, None)
    assert [child.tag for child in element] == ["{jabber:client}bar"]


@ways
@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<foo xmlns='urn:x'/>", "{urn:x}foo"),
        (b"<foo xmlns=''/>", "foo"),
        (b"<message xmlns='jabber:server'/>", "{jabber:server}message"),
        (b"<x:message xmlns:x='urn:x'><body/></x:message>", "{urn:x}message"),
        (b"<Message/>", "{jabber:client}Message"),
        (b"<stream:error/>", f"{{{ns.STREAM}}}error"),
    ],
)
def test_what_only_looks_like_a_stanza_is_none(data: bytes, name: str, size: int | None) -> None:
    """A12; RFC 6120 §4.8.4."""
    assert heard(HEADER + data, size)[1:] == [(name, {}, data)]


@ways
def test_characters_in_cdata_stay_the_same(size: int | None) -> None:
    """A16."""
    [_, stanza] = heard(HEADER + b"<message><body><![CDATA[<x/>]]>&amp;]]&gt;</body></message>", size)
    assert stanza == (
        "message",
        {},
        ("{jabber:client}body",),
        b"<body><![CDATA[<x/>]]>&amp;]]&gt;</body>",
    )


@ways
def test_white_space_between_stanzas_is_nothing(size: int | None) -> None:
    parser = opened()
    assert fed(parser, b" \n" * 300_000, size and 7) == []
    assert parser.pending == 0
    assert fed(parser, b"\n \t<presence/>\r\n", size) == [("presence", {}, (), b"")]
    assert parser.pending == 0


@ways
def test_white_space_that_kept_the_old_stream_alive_may_come_before_the_header(size: int | None) -> None:
    """RFC 6120 §4.6.1: it was on its way when the stream was restarted."""
    assert len(heard(b"\n \n" + XML + HEADER, size)) == 1


@ways
def test_what_follows_the_end_is_not_looked_at(size: int | None) -> None:
    parser = opened()
    assert fed(parser, CLOSE + b"<!-- -->&foo;<message/></stream:stream>" + HEADER, size) == [StreamEnd]
    assert fed(parser, PRESENCE) == []
    assert parser.pending == 0


@ways
def test_a_stream_may_end_as_it_begins(size: int | None) -> None:
    data = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'/>"
    assert [type(event) for event in heard(data, size)] == [Header, type]


# -- any pieces give the same events ------------------------------------------------------------------

FIRST_LEVEL = st.sampled_from(
    [
        b" ",
        b"\n\n",
        b"<presence/>",
        b"<presence></presence>",
        b"<r xmlns='urn:xmpp:sm:3'/>",
        b"<message a='>' b=\"/>\"><a></a><a/><b c='>'>></b></message>",
        b"<message><body>" + b"long " * 500 + b"</body></message>",
        b"<message><body><![CDATA[" + b"< > ]] <![CDATA[" * 100 + b"]]></body></message>",
        b"<iq id='" + b"i" * 3000 + b"'/>",
        b"<c:iq xmlns:c='jabber:client'><c:q/>&#x1F339;</c:iq >",
        "<message id='\u20ac'><body>\u00e9\U0001f339</body></message>".encode(),
    ]
)
LAST = st.sampled_from(
    [
        b"",
        b"<message><bo",
        CLOSE + b"x",
        b"text",
        b"&amp;",
        b"<![CDATA[ ]]><r xmlns='urn:xmpp:sm:3'/>",
        b"<message></presence>",
        b"<!-- -->",
        b"<message>&foo;</message>",
        b"<message>\xff</message>",
    ]
)


@given(
    middle=st.lists(FIRST_LEVEL | odd.stanzas(ns.CLIENT, prefixes=frozenset()), max_size=4),
    last=LAST,
    cuts=st.lists(st.integers(1, 400), min_size=1, max_size=50),
)
@settings(deadline=None)
@example([], b"<message></presence>", [1])
@example([b"<presence/>"], b"<!-- -->", [3])
def test_any_pieces_give_the_same_events(middle: list[bytes], last: bytes, cuts: list[int]) -> None:
    data = XML + HEADER + b"".join(middle) + last
    whole = StreamParser(ns.CLIENT, Limits())
    expected = fed(whole, data)
    cut = StreamParser(ns.CLIENT, Limits())
    said: list[object] = []
    at = turn = 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        said += fed(cut, data[at : at + size])
        at, turn = at + size, turn + 1
    assert said == expected
    assert cut.pending == whole.pending


@given(data=odd.stanzas(ns.CLIENT, prefixes=frozenset("hc")))
@settings(deadline=None)
def test_one_byte_at_a_time_gives_the_same_stanza(data: bytes) -> None:
    stream = odd.header(ns.CLIENT, prefixes=" xmlns:h='urn:x' xmlns:c='jabber:client'") + data
    assert heard(stream, 1) == heard(stream)


# -- what is refused ----------------------------------------------------------------------------------


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


@ways
@pytest.mark.parametrize(
    "data",
    [b"<!-- c -->", b"<?pi?>", b"&nbsp;"],
    ids=["A4 comment", "A4 instruction", "11.1 entity"],
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
    b"<message><!DOCTYPE s></message>",
    b"<message><?xml version='1.0'?></message>",
    b"</message>",
]


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


@pytest.mark.parametrize("bad", NOT_CHARACTERS)
@pytest.mark.parametrize("around", [b"<message><body>a%sb</body></message>", b"<message id='a%sb'/>"])
def test_what_is_no_character_reaches_nobody(bad: bytes, around: bytes) -> None:
    """A6, also cut between two segments at every place."""
    data = around % bad
    for cut in range(len(data) + 1):
        parser = opened()
        assert fed(parser, data[:cut]) + fed(parser, data[cut:]) == ["not-well-formed"]


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


@ways
@pytest.mark.parametrize("encoding", ["ISO-8859-1", "UTF-16", "us-ascii", "UTF8", "x-made-up"])
def test_another_encoding_is_refused(encoding: str, size: int | None) -> None:
    """A7."""
    assert heard(f"<?xml version='1.0' encoding='{encoding}'?>".encode() + HEADER, size) == [
        "unsupported-encoding"
    ]


@ways
@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("declared", [True, False])
def test_wide_characters_are_refused(codec: str, declared: bool, size: int | None) -> None:
    """A7; RFC 6120 §11.6: UTF-8 and nothing else, whatever expat would guess."""
    data = (XML if declared else b"") + HEADER + b"<message><body>hi</body></message>"
    assert heard(data.decode().encode(codec), size) == ["unsupported-encoding"]


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


def test_a_client_that_calls_a_server_is_refused() -> None:
    """A9, the reverse."""
    assert heard(odd.header(ns.CLIENT), content_ns=ns.SERVER) == ["invalid-namespace"]


@ways
@pytest.mark.parametrize(
    "text", [b"x", b"\xc2\xa0", b"&#32;", b"&amp;", b"]]>", b"<![CDATA[x]]>", b"<![CDATA[]]>"]
)
def test_text_between_stanzas_is_refused(text: bytes, size: int | None) -> None:
    assert heard(HEADER + PRESENCE + text + PRESENCE, size)[1:] == [("presence", {}, (), b""), "bad-format"]


# -- limits -------------------------------------------------------------------------------------------


class Counted(Boundaries):
    """Counts how many bytes expat is shown: what it had not finished is read again each time."""

    __slots__ = ()
    pieces: list[bytes]
    shown: int

    def feed(self, data: bytes | bytearray) -> None:
        Counted.pieces.append(bytes(data))
        Counted.shown += self.fed - self.position + len(data)
        super().feed(data)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    Counted.pieces, Counted.shown = [], 0
    monkeypatch.setattr(module, "Boundaries", Counted)
    return Counted


@pytest.mark.parametrize("size", [1, 3, 1000, None])
def test_five_thousand_elements_inside_each_other_are_refused_at_the_limit(
    size: int | None, counted: type[Counted]
) -> None:
    """A13: in linear time."""
    limits = Limits()
    parser = opened()
    said: list[object] = []
    data = b"<message>" + b"<a>" * 4999
    for at in range(0, len(data), size or len(data)):
        said += fed(parser, data[at : at + (size or len(data))])
        if said:
            break
    assert said == ["policy-violation"]
    if size:
        assert at < len(b"<message>") + 3 * limits.depth + size
    assert counted.shown <= 3 * len(data)


@ways
def test_the_deepest_element_allowed_passes(size: int | None) -> None:
    limits = Limits(depth=4)
    inside = b"<message><a><b><c/></b></a></message>"
    assert len(heard(HEADER + inside * 2, size, limits=limits)) == 3
    assert heard(HEADER + inside.replace(b"<c/>", b"<c><d/></c>"), size, limits=limits)[1:] == [
        "policy-violation"
    ]


@ways
def test_as_many_elements_as_allowed_pass(size: int | None) -> None:
    """H2: 32 elements before login."""
    limits = Limits(elements=32)
    assert len(heard(HEADER + (b"<message>" + b"<a/>" * 31 + b"</message>") * 2, size, limits=limits)) == 3
    assert heard(HEADER + b"<message>" + b"<a/>" * 32, size, limits=limits)[1:] == ["policy-violation"]


@pytest.mark.parametrize(
    "tag",
    [
        b"<message " + b" ".join(b"a%d=''" % n for n in range(100_000)) + b"/>",
        b"<message a='" + b"x" * 5_000_000,
        b"<message a='" + b">" * 5_000_000,
        b"<message><a " + b"b" * 5_000_000,
        b"<message></" + b"b" * 5_000_000,
    ],
    ids=["attributes", "attribute", "attribute of >", "name", "end tag"],
)
@pytest.mark.parametrize("size", [100, 1460, 65536])
def test_an_endless_tag_is_refused_as_soon_as_the_limit_is_passed(
    tag: bytes, size: int, counted: type[Counted]
) -> None:
    """A14; and what expat reads again and again is bounded."""
    limits = Limits()
    parser = opened()
    taken = 0
    said: list[object] = []
    while not said:
        said = fed(parser, tag[taken : taken + size])
        taken += size
        assert taken <= limits.tag + 1024 + size
    assert said == ["policy-violation"]
    assert parser.pending == 0
    if b">>" not in tag:
        assert counted.shown <= 20 * taken
    else:
        assert counted.shown <= (taken // size + 1) * (limits.tag + size)


@ways
def test_the_longest_tag_allowed_passes(size: int | None) -> None:
    limits = Limits(tag=2000)
    start = b"<message a='%s'/>" % (b"x" * (2000 - len(b"<message a=''/>")))
    inner = b"<message><a b='%s'/></message>" % (b"x" * (2000 - len(b"<a b=''/>")))
    assert len(heard(HEADER + start + inner, size, limits=limits)) == 3
    for data in (start, inner):
        assert heard(HEADER + data.replace(b"x", b"xx", 1), size, limits=limits)[1:] == ["policy-violation"]
    text = b"<message><![CDATA[%s]]>%s</message>" % (b"<a b='" * 1000, b"x" * 9000)
    assert len(heard(HEADER + text, size, limits=limits)) == 2


@ways
def test_the_longest_header_allowed_passes(size: int | None) -> None:
    limits = Limits(size=3000, tag=2000)
    data = HEADER.replace(b"version='1.0'", b"version='1.0' to='%s'")
    longest = data % (b"x" * (2000 - len(data) + 2))
    assert [type(event) for event in heard(longest, size, limits=limits)] == [Header]
    assert heard(longest.replace(b"x", b"xx", 1), size, limits=limits) == ["policy-violation"]


@pytest.mark.parametrize("size", [None, 1, 1460])
def test_a_stanza_of_exactly_the_limit_passes_and_one_byte_more_does_not(size: int | None) -> None:
    """A15."""
    for limit in (10_000, 262_144):
        around = b"<message><body></body></message>"
        exact = around[:15] + b"x" * (limit - len(around)) + around[15:]
        parser = opened(Limits(size=limit))
        assert [event[0] for event in fed(parser, b"  " + exact + b" " + exact, size)] == ["message"] * 2  # type: ignore[index]  # stanzas
        assert fed(parser, exact.replace(b"x", b"xx", 1), size) == ["policy-violation"]


def test_a_stanza_of_ten_thousand_bytes_passes_with_the_limits_of_a_logged_in_client() -> None:
    """A15; RFC 6120 §13.12: the limit must not be below 10000 bytes."""
    assert len(heard(HEADER + b"<message>" + b"x" * 9981 + b"</message>")) == 2


@pytest.mark.parametrize("size", [100, 1460])
def test_an_endless_stanza_is_refused_as_soon_as_the_limit_is_passed(size: int) -> None:
    """A15."""
    limits = Limits()
    for text in (b"x", b"<a/>", b"> "):
        parser = opened(Limits(elements=1 << 30))
        fed(parser, b"<message>")
        taken = 9
        said: list[object] = []
        while not said:
            said = fed(parser, text * (size // len(text)))
            taken += size // len(text) * len(text)
        assert said == ["policy-violation"]
        assert taken <= limits.size + size


@pytest.mark.parametrize("text", [b"x", b"<![CDATA["], ids=["text", "cdata"])
def test_long_text_is_no_long_tag(text: bytes, counted: type[Counted]) -> None:
    data = (
        b"<message>"
        + text
        + b"x < y"[: 1 if text == b"x" else None] * 30_000
        + (b"" if text == b"x" else b"]]>")
        + b"</message>"
    )
    assert len(fed(opened(), data, 100)) == 1
    assert counted.shown <= 2 * len(data)


def test_a_flood_of_white_space_before_a_stanza_does_not_count() -> None:
    parser = opened(Limits(size=1000))
    assert fed(parser, b" " * 5000 + b"<message>") == []
    assert parser.pending == len(b"<message>")
    assert len(fed(parser, b"</message>")) == 1


def test_limits_may_be_raised_after_login() -> None:
    parser = opened(Limits(size=100))
    stanza = b"<message>" + b"x" * 200 + b"</message>"
    parser.limits = Limits(size=1000)
    assert len(fed(parser, stanza)) == 1


LONG = "urn:" + "x" * 12_000


@ways
@pytest.mark.parametrize(
    "data",
    [
        f"<message xmlns:p='{LONG}'>" + "<p:a/>" * 9_000 + "</message>",
        f"<message><x xmlns='urn:x' xmlns:p='{LONG}'>" + "<p:a/>" * 9_000 + "</x></message>",
        f"<message><x xmlns='urn:x' xmlns:p='{LONG}'>" + "<a p:b=''/>" * 9_000 + "</x></message>",
        f"<message><x xmlns='{LONG}'>" + "<a/>" * 9_000 + "</x></message>",
    ],
    ids=["children", "elements", "attributes", "inherited"],
)
def test_a_long_namespace_name_does_not_multiply(data: str, size: int | None) -> None:
    """50 KB on the wire would be 100 MB of names in a tree, and again in what is written."""
    tracemalloc.start()
    try:
        assert heard(HEADER + data.encode(), size)[1:] == ["policy-violation"]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@ways
def test_a_header_declares_no_long_namespace_name(size: int | None) -> None:
    assert heard(odd.header(ns.CLIENT, prefixes=f" xmlns:p='urn:{'x' * 300}'"), size) == ["policy-violation"]


def test_a_stanza_that_grows_over_the_limit_when_its_prefixes_go_is_too_big() -> None:
    namespace = "urn:" + "x" * 200
    data = f"<message xmlns:p='{namespace}'>{'<p:a/>' * 9_000}</message>".encode()
    assert heard(HEADER + data)[1:] == ["policy-violation"]
    assert len(heard(HEADER + data, limits=Limits(size=3_000_000))) == 2


# -- what it costs ------------------------------------------------------------------------------------


def test_a_big_stanza_in_small_pieces_is_not_copied_each_time() -> None:
    parser = opened()
    fed(parser, b"<message><body>", 1)
    buffer = parser._buffer
    fed(parser, b">" * 10_000 + b"<a/>" * 1000 + b"x" * 10_000, 1)
    assert parser._buffer is buffer
    assert fed(parser, b"</body></message>") != []


@pytest.mark.parametrize("size", [None, 1, 7])
def test_expat_is_not_shown_half_a_tag(size: int | None, counted: type[Counted]) -> None:
    """Else an expat that defers reparsing would withhold the end of a stanza until more comes."""
    parser = opened()
    data = b"<message to='juliet@capulet.lit'><body>hi</body></message><presence/>"
    assert len(fed(parser, data, size)) == 2
    assert all(piece.endswith(b">") for piece in counted.pieces)


@pytest.mark.parametrize("rest", [b"", b" ", b"\n\n", b"<", b"<mess"])
def test_an_idle_stream_holds_no_parser(rest: bytes) -> None:
    parser = opened()
    fed(parser, b"<message><body>hi</body></message>" + rest)
    assert parser._reading is None
    assert parser.pending == len(rest.strip())
    assert len(fed(parser, b"<presence/>"[len(rest) :] if rest == b"<" else b"")) == (rest == b"<")


@pytest.mark.parametrize("size", [None, 10])
def test_hostile_names_leave_nothing_behind(size: int | None) -> None:
    def flood(start: int) -> None:
        for n in range(start, start + 500):
            name = f"n{n}-{'x' * 40}"
            child = f"<{name} xmlns='urn:{name}' xmlns:{name}='u:{name}' {name}='1' {name}:a=''/>"
            assert len(fed(parser, f"<message>{child}</message>".encode(), size)) == 1

    parser = opened()
    flood(0)
    gc.collect()
    tracemalloc.start()
    try:
        flood(500)
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 16_384
    assert parser.pending == 0


def test_headers_are_shared_and_hostile_ones_are_forgotten() -> None:
    def scope(prefixes: str = "") -> object:
        parser = StreamParser(ns.CLIENT, Limits())
        parser.feed(odd.header(ns.CLIENT, prefixes=prefixes))
        return parser._scope

    usual = scope()
    assert scope() is usual
    for n in range(200):
        scope(f" xmlns:p{n}='urn:x'")
    assert scope() is scope()
    assert module._scope.cache_info().currsize <= 64


STREAMS = {
    "a stanza": HEADER + b"<message to='juliet@capulet.lit'><body>hi</body></message>",
    "a stanza rewritten": HEADER + b"<c:message xmlns:c='jabber:client'><c:body>hi</c:body></c:message>",
    "a nonza": HEADER + b"<r xmlns='urn:xmpp:sm:3'/>",
    "an end": HEADER + CLOSE + b"x",
    "not well-formed": HEADER + b"<message></presence>",
    "half a header": XML + b"<stream:stream",
    "half a stanza": HEADER + b"<message><body>hi",
    "not well-formed at once": b"<a></b>",
    "restricted": HEADER + b"<message><!-- --></message>",
    "a document type": b"<!DOCTYPE s>" + HEADER,
    "too deep": HEADER + b"<message>" + b"<a>" * 200,
    "too big": HEADER + b"<message>" + b"x" * 300_000 + b"</message>",
    "a tag too big": HEADER + b"<message a='" + b"x" * 20_000,
    "text": HEADER + b"<message/>text</message>",
    "wrong root": b"<message xmlns='jabber:client'><a></b>",
    "bad encoding": b"<?xml version='1.0' encoding='latin-1'?>" + HEADER,
}


@ways
@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS.keys())
def test_no_garbage_is_left_to_the_collector(data: bytes, size: int | None) -> None:
    """Not after an error either: its traceback knows the parser, and a list that the error is in."""

    def read() -> None:
        parser = StreamParser(ns.CLIENT, Limits())
        for at in range(0, len(data), size or len(data)):
            for event in parser.feed(data[at : at + (size or len(data))]):
                if isinstance(event, Nonza | Stanza):
                    event.element()
                if isinstance(event, Stanza):
                    event.pieces()
                    Stanza.from_standalone(event.to_standalone())

    read()
    gc.collect()
    gc.disable()
    try:
        read()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_an_error_holds_nothing_of_what_was_read() -> None:
    parser = opened()
    [error] = parser.feed(b"<message>secret</presence>")
    assert isinstance(error, StreamError)
    assert parser._reading is None
    assert parser.pending == 0
    assert error.__traceback__ is None
    assert error.__context__ is None
    assert error.__cause__ is None
