"""What a stream parser says, as something to compare."""

from __future__ import annotations

import pytest

from jabberd.xmpp import ns
from jabberd.xmpp.boundaries import Limits
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.parser import Event, Header, Nonza, StreamParser
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


def names(said: list[object]) -> list[object]:
    """The same in short: ``header``, the name of a stanza or nonza, the condition of an error."""
    return [
        "header" if isinstance(event, Header) else event[0] if isinstance(event, tuple) else event
        for event in said
    ]


def opened(limits: Limits | None = None) -> StreamParser:
    """A parser that has read the header."""
    parser = StreamParser(ns.CLIENT, limits or Limits())
    assert names(fed(parser, HEADER)) == ["header"]
    return parser


ways = pytest.mark.parametrize("size", [None, 1], ids=["at once", "byte by byte"])


def stanza_of(data: bytes, opening: bytes = HEADER, content_ns: str = ns.CLIENT) -> Stanza:
    """The one stanza that a stream with that header brings."""
    events = StreamParser(content_ns, Limits()).feed(opening + data)
    assert [type(event) for event in events] == [Header, Stanza]
    assert isinstance(events[1], Stanza)
    return events[1]
