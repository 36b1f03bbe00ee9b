"""Stanzas on the road between content namespaces (RFC 6120 §4.8.3); lxml says what should arrive."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from jabberd.xmpp import ns
from jabberd.xmpp.boundaries import Limits
from jabberd.xmpp.element import E, serialize
from jabberd.xmpp.stanza import Stanza
from tests.xmpp import odd
from tests.xmpp.reading import stanza_of

CLIENT = odd.header(ns.CLIENT)
SERVER = odd.header(ns.SERVER)
FORWARD = "urn:xmpp:forward:0"


@pytest.mark.parametrize(
    "payload",
    [
        b"<body>hi</body>",
        b"<body xml:lang='en'>1 &lt; 2: </body><x xmlns='urn:x' k='a>b'><body/></x>",
        b"<x xmlns='urn:x' xmlns:y='urn:y' y:k='v'/>",
        b"<x xmlns=''/>",
    ],
)
def test_an_ordinary_payload_crosses_between_namespaces_byte_by_byte(payload: bytes) -> None:
    stanza = stanza_of(b"<message>" + payload + b"</message>")
    assert stanza.payload == payload
    on_server = stanza.to_scope(ns.SERVER)
    assert on_server == b"<message>" + payload + b"</message>"
    assert stanza_of(on_server, SERVER, ns.SERVER).payload == payload


def test_a_message_forwarded_inside_stays_a_clients_message() -> None:
    """XEP-0297 §3: the forwarded message is in ``jabber:client`` over federation too."""
    inner = stanza_of(b"<message><body>hi</body></message>").element()
    stanza = Stanza.of("message", E(FORWARD, "forwarded", None, inner), E(ns.CLIENT, "body"))
    on_server = stanza.to_scope(ns.SERVER)
    forwarded = odd.read(SERVER, on_server).find(f"{{{FORWARD}}}forwarded")
    assert forwarded is not None
    assert [element.tag for element in forwarded.iter()][1:] == [
        "{jabber:client}message",
        "{jabber:client}body",
    ]
    again = stanza_of(on_server, SERVER, ns.SERVER)
    assert again.children == (f"{{{FORWARD}}}forwarded", "{jabber:client}body")
    ours, theirs = (odd.canonical(odd.read(CLIENT, each.to_bytes())) for each in (stanza, again))
    assert ours == theirs


ODD = [
    b"<c:message xmlns:c='jabber:client'><c:body>hi</c:body></c:message>",
    b"<message><body xmlns='jabber:client'>hi</body></message>",
    b"<message><body xmlns='jabber&#58;client'>hi</body></message>",
    b"<message><body xmlns='&#x6a;abber&#58;clien&#116;'>hi</body></message>",
    b'<message><body xmlns = "jabber:client">hi</body></message>',
    b"<message><p:x xmlns:p='urn:x'><body/></p:x></message>",
    b"<message><p:body xmlns:p='jabber:client'><a/></p:body></message>",
    b"<message><x xmlns='urn:x'><body xmlns='jabber:client'><a/></body></x></message>",
    b"<message><body><x xmlns=''><y/></x></body></message>",
    b"<message xmlns='jabber:client' xmlns:p='urn:x' p:k='1' k='2'><p:a p:k='3'/></message>",
    b"<message><a k='>' l=\"/>\"/><a></a><a/></message>",
    b"<message><body><![CDATA[<p:a xmlns='jabber:client'>]]></body></message>",
    b"<c:message xmlns:c='jabber:client'><xml:a><c:b/></xml:a></c:message>",
    b"<message><xml:a xmlns='urn:x'><b/><xml:c/></xml:a><xml:d><e/></xml:d></message>",
    b"<message xml:space='preserve' xml:base='urn:b'><body xml:lang='de'/></message>",
]


@pytest.mark.parametrize("data", ODD)
def test_odd_stanzas_mean_the_same_on_every_stream(data: bytes) -> None:
    """A18."""
    check_the_road(data, CLIENT)


def check_the_road(data: bytes, opening: bytes) -> None:
    """From one client to another, directly and over two servers; lxml says what should arrive."""
    stanza = stanza_of(data, opening)
    original = odd.canonical(odd.read(opening, data))
    assert odd.canonical(odd.read(CLIENT, stanza.to_bytes())) == original
    assert stanza_of(stanza.to_bytes()).children == stanza.children
    assert odd.canonical(etree.fromstring(stanza.to_standalone())) == original
    assert odd.canonical(etree.fromstring(serialize(stanza.element(), ""))) == original
    assert stanza.children == tuple(str(child.tag) for child in odd.read(opening, data))
    assert b"".join(piece for _, piece in stanza.pieces()) == stanza.payload
    assert [name for name, _ in stanza.pieces() if name] == list(stanza.children)

    on_server = stanza.to_scope(ns.SERVER)
    over = odd.moved(odd.read(opening, data), ns.CLIENT, ns.SERVER)
    assert odd.canonical(odd.read(SERVER, on_server)) == odd.canonical(over)

    arrived = stanza_of(on_server, SERVER, ns.SERVER)
    expected = odd.moved(odd.read(SERVER, on_server), ns.SERVER, ns.CLIENT)
    assert odd.canonical(odd.read(CLIENT, arrived.to_bytes())) == odd.canonical(expected)
    assert arrived.children == tuple(str(child.tag) for child in expected)


def test_the_deepest_stanza_is_rewritten_too() -> None:
    """A13: no RecursionError."""
    inside = b"<p:a>" * (Limits().depth - 1) + b"</p:a>" * (Limits().depth - 1)
    check_the_road(
        b"<c:message xmlns:c='jabber:client' xmlns:p='jabber:client'>" + inside + b"</c:message>", CLIENT
    )


HEADERS = [
    (CLIENT, frozenset[str]()),
    (odd.header(ns.CLIENT, prefixes=" xmlns:h='urn:x' xmlns:c='jabber:client'"), frozenset("hc")),
    (
        odd.header(ns.CLIENT, prefixes=" xmlns:h='jabber:server' xmlns:message='urn:y'"),
        frozenset(("h", "message")),
    ),
    (odd.header(ns.CLIENT, default=False, prefixes=" xmlns:c='jabber:client'"), frozenset("c")),
]


@pytest.mark.rfc6120("4.8.3-4", "4.8.5-3", "8.4-3")
@pytest.mark.parametrize(("opening", "prefixes"), HEADERS)
@given(data=st.data())
@settings(deadline=None)
def test_any_stanza_means_the_same_on_every_stream(
    opening: bytes, prefixes: frozenset[str], data: st.DataObject
) -> None:
    """A18."""
    default = b" xmlns='" in opening
    check_the_road(data.draw(odd.stanzas(ns.CLIENT, prefixes=prefixes, default=default)), opening)


@given(data=odd.stanzas(ns.SERVER, prefixes=frozenset("hc")))
@settings(deadline=None)
@example(b"<c:message><c:body>hi</c:body></c:message>")
@example(b"<message><body xmlns='jabber:server'><p:x xmlns:p='urn:x'><a/></p:x></body></message>")
def test_any_stanza_of_another_server_is_moved_into_the_clients_namespace(data: bytes) -> None:
    opening = odd.header(ns.SERVER, prefixes=" xmlns:h='urn:x' xmlns:c='jabber:server'")
    stanza = stanza_of(data, opening, ns.SERVER)
    expected = odd.moved(odd.read(opening, data), ns.SERVER, ns.CLIENT)
    assert odd.canonical(odd.read(CLIENT, stanza.to_bytes())) == odd.canonical(expected)
    assert stanza.children == tuple(str(child.tag) for child in expected)


@given(data=odd.stanzas(ns.COMPONENT, prefixes=frozenset()))
@settings(deadline=None)
def test_any_stanza_of_a_component_is_moved_into_the_clients_namespace(data: bytes) -> None:
    """XEP-0114: its streams have a content namespace of their own."""
    opening = odd.header(ns.COMPONENT)
    stanza = stanza_of(data, opening, ns.COMPONENT)
    expected = odd.moved(odd.read(opening, data), ns.COMPONENT, ns.CLIENT)
    assert odd.canonical(odd.read(CLIENT, stanza.to_bytes())) == odd.canonical(expected)
