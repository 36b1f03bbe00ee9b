"""The stream parser: its limits and what it costs (rows A13 to A15 of the abuse cases)."""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from jabberd.xmpp import boundaries, ns
from jabberd.xmpp import parser as module
from jabberd.xmpp.boundaries import Boundaries, Limits
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.parser import Header, Nonza, StreamParser
from jabberd.xmpp.stanza import Stanza
from tests.xmpp import odd
from tests.xmpp.reading import CLOSE, HEADER, XML, fed, heard, names, opened, ways

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    assert names(heard(HEADER + inside * 2, size, limits=limits)) == ["header", "message", "message"]
    assert heard(HEADER + inside.replace(b"<c/>", b"<c><d/></c>"), size, limits=limits)[1:] == [
        "policy-violation"
    ]


@ways
def test_as_many_elements_as_allowed_pass(size: int | None) -> None:
    """H2: 32 elements before login."""
    limits = Limits(elements=32)
    most = b"<message>" + b"<a/>" * 31 + b"</message>"
    assert names(heard(HEADER + most * 2, size, limits=limits)) == ["header", "message", "message"]
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
    assert names(heard(HEADER + start + inner, size, limits=limits)) == ["header", "message", "message"]
    for data in (start, inner):
        assert heard(HEADER + data.replace(b"x", b"xx", 1), size, limits=limits)[1:] == ["policy-violation"]
    text = b"<message><![CDATA[%s]]>%s</message>" % (b"<a b='" * 1000, b"x" * 9000)
    assert names(heard(HEADER + text, size, limits=limits)) == ["header", "message"]


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
        assert names(fed(parser, b"  " + exact + b" " + exact, size)) == ["message", "message"]
        assert fed(parser, exact.replace(b"x", b"xx", 1), size) == ["policy-violation"]


def test_a_stanza_of_ten_thousand_bytes_passes_with_the_limits_of_a_logged_in_client() -> None:
    """A15; RFC 6120 §13.12: the limit must not be below 10000 bytes."""
    assert names(heard(HEADER + b"<message>" + b"x" * 9981 + b"</message>")) == ["header", "message"]


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
    assert names(fed(opened(), data, 100)) == ["message"]
    assert counted.shown <= 2 * len(data)


def test_a_flood_of_white_space_before_a_stanza_does_not_count() -> None:
    parser = opened(Limits(size=1000))
    assert fed(parser, b" " * 5000 + b"<message>") == []
    assert parser.pending == len(b"<message>")
    assert names(fed(parser, b"</message>")) == ["message"]


def test_limits_may_be_raised_after_login() -> None:
    parser = opened(Limits(size=100))
    stanza = b"<message>" + b"x" * 200 + b"</message>"
    parser.limits = Limits(size=1000)
    assert names(fed(parser, stanza)) == ["message"]


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
    assert names(heard(HEADER + data, limits=Limits(size=3_000_000))) == ["header", "message"]


# -- what it costs ------------------------------------------------------------------------------------


def test_a_big_stanza_in_small_pieces_is_not_copied_each_time() -> None:
    parser = opened()
    fed(parser, b"<message><body>", 1)
    buffer = parser._buffer
    fed(parser, b">" * 10_000 + b"<a/>" * 1000 + b"x" * 10_000, 1)
    assert parser._buffer is buffer
    assert names(fed(parser, b"</body></message>")) == ["message"]


@pytest.mark.parametrize("size", [None, 1, 7])
def test_expat_is_not_shown_half_a_tag(size: int | None, counted: type[Counted]) -> None:
    """Else an expat that defers reparsing would withhold the end of a stanza until more comes."""
    parser = opened()
    data = b"<message to='juliet@capulet.lit'><body>hi</body></message><presence/>"
    assert names(fed(parser, data, size)) == ["message", "presence"]
    assert all(piece.endswith(b">") for piece in counted.pieces)


@pytest.mark.parametrize("rest", [b"", b" ", b"\n\n", b"<", b"<mess"])
def test_an_idle_stream_holds_no_parser(rest: bytes) -> None:
    parser = opened()
    fed(parser, b"<message><body>hi</body></message>" + rest)
    assert parser._reading is None
    assert parser.pending == len(rest.strip())


@pytest.mark.parametrize("size", [None, 10])
def test_hostile_names_leave_nothing_behind(size: int | None) -> None:
    def flood(start: int) -> None:
        for n in range(start, start + 500):
            name = f"n{n}-{'x' * 40}"
            child = f"<{name} xmlns='urn:{name}' xmlns:{name}='u:{name}' {name}='1' {name}:a=''/>"
            assert names(fed(parser, f"<message>{child}</message>".encode(), size)) == ["message"]

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


@pytest.fixture(scope="module")
def frozen() -> Iterator[None]:
    """The collector does not look at what there was before these tests, which is a lot."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@ways
@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS.keys())
@pytest.mark.usefixtures("frozen")
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


HOSTILE = {
    "angles in CDATA": b"<![CDATA[" + b"<" * 250_000 + b"]]>",
    "colons in CDATA": b"<![CDATA[" + b"<a" * 120_000 + b"]]>",
    "declarations in text": b"xmlns:" * 40_000,
    "declarations without a value": b"xmlns:a = " * 20_000,
    "declarations in quotes": b"xmlns='" * 30_000,
    "declarations in CDATA": b"<![CDATA[" + b"xmlns:a='" * 20_000 + b"]]>",
}


@pytest.mark.parametrize("content_ns", [ns.CLIENT, ns.SERVER])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_costs_the_square_of_its_length(text: bytes, content_ns: str) -> None:
    """A quarter of a megabyte of ``<`` in CDATA took nine minutes of a stream between servers."""
    began = time.process_time()
    stream = odd.header(content_ns) + b"<message><body>" + text + b"</body></message>"
    parser = StreamParser(content_ns, Limits())
    _, stanza = parser.feed(stream)
    assert isinstance(stanza, Stanza)
    for namespace in (ns.CLIENT, ns.SERVER):
        assert stanza.to_scope(namespace).count(b"body") == 2
    assert time.process_time() - began < 5  # milliseconds, where it is linear


def test_sections_are_not_taken_for_tags_in_every_possible_way() -> None:
    """Where expat withholds the ends of tags: twenty sections before a ``>`` in quotes took a minute."""
    began = time.process_time()
    assert boundaries._TOKENS.fullmatch(b"<a>" + b"<![CDATA[<x>]]>" * 5_000 + b"<b c='>") is None
    assert boundaries._TOKENS.fullmatch(b"<a b='>'>" + b"<![CDATA[<x>]]>y" * 5_000 + b"<b c='>'/></a>")
    assert boundaries._TOKENS.fullmatch(b"<a><![CDATA[x]>") is None
    assert time.process_time() - began < 5


def test_the_end_of_a_tag_in_quotes_ends_nothing_wherever_the_bytes_are_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Debian's Python 3.11.2 took half a tag for a whole one, and blanks came into what it quotes."""
    monkeypatch.setattr(boundaries, "_WITHHOLDS", True)
    said = b"<message id='>' type='a>b'><body>x</body></message>"
    for place in range(1, len(said)):
        assert [*fed(parser := opened(), said[:place]), *fed(parser, said[place:])] == [
            ("message", {"id": ">", "type": "a>b"}, ("{jabber:client}body",), b"<body>x</body>")
        ]


@pytest.mark.parametrize(
    "said",
    [
        b"<message xmlns:p='urn:p'><p:a/></message>",
        b"<message></presence>",
        b"<message><body>&lol;</body></message>",
        b"<message><body>half",
        b"<message><!-- hi --></message>",
        b"<iq/></stream:stream>",
    ],
)
def test_what_one_stream_says_is_nothing_to_the_next_that_reads_with_its_parser(said: bytes) -> None:
    before, one, other = opened(), opened(), opened()
    assert names(fed(before, b"<presence/>")) == ["presence"]  # it put by what the next one reads with
    fed(one, said)
    assert names(fed(other, b"<message><body>hi</body></message>")) == ["message"]
    assert fed(other, b"<message><p:a/></message>") == ["not-well-formed"]
