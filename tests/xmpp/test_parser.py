"""The stream parser: what it makes of streams, whole and in pieces.

Row numbers such as A13 are those of the table of abuse cases.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jabberd.xmpp import ns, parser
from jabberd.xmpp.boundaries import Limits
from jabberd.xmpp.element import serialize
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.parser import Header, Nonza, StreamEnd, StreamParser
from tests.xmpp import odd
from tests.xmpp.reading import CLOSE, HEADER, PRESENCE, XML, fed, heard, names, opened, ways


@pytest.mark.rfc6120("11.5-2")
@ways
def test_a_header_says_who_wants_what(size: int | None) -> None:
    data = (
        b"<?xml version='1.0' encoding='utf-8' standalone='no'?>\n<stream:stream from='romeo@montague.lit'"
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


@pytest.mark.rfc6120("4.8.3-3")
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


@pytest.mark.rfc6120("4.8.4-1")
@ways
@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<foo xmlns='urn:x'/>", "{urn:x}foo"),
        (b"<foo xmlns=''/>", "foo"),
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
    assert names(heard(b"\n \n" + XML + HEADER, size)) == ["header"]


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


@pytest.mark.rfc6120("8-1")
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


@pytest.mark.parametrize("rest", [b"", b"text", b"<x/>", b"\x00"])
def test_a_stream_that_ends_as_it_begins_has_nothing_behind_it(rest: bytes) -> None:
    parser = StreamParser(ns.CLIENT, Limits())
    [header, end] = parser.feed(HEADER.replace(b">", b"/>") + rest)
    assert (type(header), type(end)) == (Header, StreamEnd)


@pytest.mark.parametrize("before", [b"", b"<presence/>"])
def test_text_before_the_end_of_a_stream_is_still_an_error(before: bytes) -> None:
    parser = StreamParser(ns.CLIENT, Limits())
    *_, error = parser.feed(HEADER + before + b"text</stream:stream>")
    assert isinstance(error, StreamError)
    assert error.condition == "bad-format"


@given(data=odd.stanzas(ns.CLIENT, prefixes=frozenset("hc")))
@settings(deadline=None)
def test_one_byte_at_a_time_gives_the_same_stanza(data: bytes) -> None:
    stream = odd.header(ns.CLIENT, prefixes=" xmlns:h='urn:x' xmlns:c='jabber:client'") + data
    assert heard(stream, 1) == heard(stream)


@pytest.mark.parametrize(
    "written",
    [
        "<r xmlns='urn:xmpp:sm:3'/>",
        "<a xmlns='urn:xmpp:sm:3' h='3'/>",
        "<a xmlns='urn:xmpp:sm:3' h='a &gt; &quot;b&quot;' x:y='1' xmlns:x='urn:x'/>",
        "<a xmlns='urn:xmpp:sm:3' xml:lang='it'/>",
        "<a xmlns='urn:xmpp:sm:3'></a>",
        "<a xmlns='urn:xmpp:sm:3'>text</a>",
        "<a xmlns='urn:xmpp:sm:3' b='>'> te'xt> \u20ac\n</a>",
        "<a xmlns='urn:xmpp:sm:3'>te&amp;xt</a>",
        "<a xmlns='urn:xmpp:sm:3'>te\r\nxt\r</a>",
        "<a xmlns='urn:xmpp:sm:3'><![CDATA[text]]></a>",
        "<stream:a b='3'>text</stream:a>",
        "<a xmlns='urn:xmpp:sm:3'><b/></a>",
    ],
)
def test_a_nonza_is_the_same_whether_or_not_it_was_read_again(written: str) -> None:
    stream = StreamParser(ns.CLIENT, Limits())
    opening = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}' version='1.0'>"
    [_, nonza] = stream.feed(f"{opening}{written}".encode())
    assert isinstance(nonza, Nonza)
    assert serialize(nonza.element()) == serialize(nonza.scope.open(nonza.raw))


# --- headers that were read before ---------------------------------------------------------------

GREETING = b"<?xml version='1.0'?><stream:stream to='montague.lit' version='1.0' xmlns='jabber:client' %s"
STREAMS = b"xmlns:stream='http://etherx.jabber.org/streams' xmlns:e='urn:e' xml:lang='it'>"


def test_a_header_that_another_stream_had_means_the_same_and_is_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    header, stanza = GREETING % STREAMS, b"<presence><e:e/></presence>"
    parser.HEADERS.clear()
    first = heard(header + stanza)
    assert first == heard(header + stanza)
    again = StreamParser(ns.CLIENT, Limits())
    with monkeypatch.context() as patched:
        patched.setattr(parser, "Boundaries", None)  # nobody can read
        assert fed(again, header) == first[:1]
    assert fed(again, stanza) == first[1:]


@pytest.mark.parametrize("who", [b"from='romeo@montague.lit' ", b"id='7' "])
def test_b9_a_header_that_says_who_it_is_from_is_read_each_time(who: bytes) -> None:
    parser.HEADERS.clear()
    assert names(heard(GREETING % (who + STREAMS))) == ["header"]
    assert not parser.HEADERS


def test_a_header_is_known_to_streams_of_its_kind_and_within_their_limits_alone() -> None:
    header = GREETING % STREAMS
    assert names(heard(header)) == ["header"]
    assert heard(header, content_ns=ns.SERVER) == ["invalid-namespace"]
    assert heard(header, limits=Limits(size=100, tag=100)) == ["policy-violation"]


def test_a_header_that_is_its_own_end_is_so_each_time() -> None:
    empty = GREETING % STREAMS.replace(b">", b"/>")
    for _ in range(2):
        assert heard(empty)[1:] == [StreamEnd]


def test_headers_without_end_take_no_room() -> None:
    for number in range(200):
        assert names(heard(GREETING % (b"a='%d' " % number + STREAMS))) == ["header"]
    assert len(parser.HEADERS) < 100
    parser.HEADERS.clear()
    assert names(heard(GREETING % (b"a='%s' " % (b"x" * 300) + STREAMS))) == ["header"]
    assert not parser.HEADERS
