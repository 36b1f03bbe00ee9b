"""Stanzas: sealed payloads, splices, answers, and how they are written."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from jabberd.xmpp import ns
from jabberd.xmpp.element import E, parse, serialize
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza
from tests.xmpp import odd
from tests.xmpp.reading import stanza_of

ROMEO = JID.parse("romeo@montague.lit/orchard")
JULIET = JID.parse("juliet@capulet.lit/balcony")
CLIENT = odd.header(ns.CLIENT)
STANZA_ID = "{urn:xmpp:sid:0}stanza-id"


def same(one: bytes, other: bytes) -> bool:
    return odd.canonical(odd.read(CLIENT, one)) == odd.canonical(odd.read(CLIENT, other))


# -- the envelope -------------------------------------------------------------------------------------


def test_a_stanza_says_who_what_and_to_whom() -> None:
    stanza = stanza_of(
        b"<iq from='romeo@montague.lit/orchard' to='capulet.lit' type='get' id='7' xml:lang='it'>"
        b"<ping xmlns='urn:xmpp:ping'/></iq>"
    )
    assert (stanza.name, stanza.sender, stanza.to) == ("iq", ROMEO, "capulet.lit")
    assert (stanza.type, stanza.id, stanza.lang) == ("get", "7", "it")
    assert stanza.children == ("{urn:xmpp:ping}ping",)
    assert stanza.payload == b"<ping xmlns='urn:xmpp:ping'/>"


def test_what_the_envelope_does_not_say_is_empty() -> None:
    stanza = stanza_of(b"<presence/>")
    assert (stanza.sender, stanza.to) == (None, None)
    assert (stanza.type, stanza.id, stanza.lang) == ("", "", "")
    assert stanza.to_bytes() == b"<presence/>"


def test_a_tree_is_a_stanza_with_all_its_attributes() -> None:
    stanza = Stanza.from_standalone(
        b"<message xmlns='jabber:client' to='a@b' xml:lang='it' id='&lt;'><body>x &amp; y</body>"
        b"<y xmlns='urn:y'/></message>"
    )
    again = Stanza.from_element(parse(stanza.to_standalone()))
    assert (again.name, again.attrs, again.children) == (stanza.name, stanza.attrs, stanza.children)
    assert again.element().findtext("{jabber:client}body") == "x & y"


def test_an_address_that_is_none_is_noticed_by_whoever_asks_for_it() -> None:
    """C3."""
    stanza = stanza_of(b"<message to='@@' from='@'/>")
    for _ in range(2):
        with pytest.raises(StanzaError, match="jid-malformed"):
            _ = stanza.to
        with pytest.raises(StanzaError, match="jid-malformed"):
            _ = stanza.sender
    assert stanza.to_bytes() == b"<message to='@@' from='@'/>"


def test_a_stanza_of_our_own_is_what_it_was_made_of() -> None:
    query = E(ns.ROSTER, "query", {"ver": "3"}, E(ns.ROSTER, "item", {"jid": JULIET.bare}))
    stanza = Stanza.of("iq", query, to=ROMEO, sender=JULIET, type="result", id="r1", lang="it")
    assert (stanza.to, stanza.sender, stanza.type, stanza.id, stanza.lang) == (
        ROMEO,
        JULIET,
        "result",
        "r1",
        "it",
    )
    assert stanza.children == ("{jabber:iq:roster}query",)
    assert (
        stanza.payload == b"<query xmlns='jabber:iq:roster' ver='3'><item jid='juliet@capulet.lit'/></query>"
    )
    assert same(stanza.to_bytes(), stanza_of(stanza.to_bytes()).to_bytes())


def test_a_stanza_shows_who_and_what_but_not_its_payload() -> None:
    assert repr(stanza_of(b"<message to='a\tb'><body>secret</body></message>")) == (
        "<message  to='a b' from=None>"
    )


# -- splices ------------------------------------------------------------------------------------------

MESSAGE = (
    b"<message to='juliet@capulet.lit' id='m1'>one<body>&lt;<![CDATA[>]]></body>"
    b"<stanza-id xmlns='urn:xmpp:sid:0' by='>' id=\"/>\"/>\n"
    b"<s:stanza-id xmlns:s='urn:xmpp:sid:0'></s:stanza-id>"
    b"<x xmlns='urn:x'><body/></x>two</message>"
)


def test_another_envelope_shares_the_payload() -> None:
    stanza = stanza_of(MESSAGE)
    new = stanza.with_attrs(to=ROMEO, sender=JULIET, type="chat", id="2")
    assert (new.to, new.sender, new.type, new.id) == (ROMEO, JULIET, "chat", "2")
    assert new.payload is stanza.payload
    assert new.children is stanza.children
    assert stanza.with_attrs().attrs == stanza.attrs


def test_no_splice_changes_the_stanza_it_is_made_from() -> None:
    stanza = stanza_of(MESSAGE)
    before = (dict(stanza.attrs), stanza.children, stanza.payload, stanza.to_bytes())
    stanza.stamped(ROMEO, JULIET)
    stanza.with_attrs(to=ROMEO, sender=JULIET, type="error", id="2")
    stanza.with_child(E("urn:y", "y")).stamped(ROMEO)
    stanza.without({STANZA_ID}).stamped(ROMEO)
    stanza.element()
    stanza.error(StanzaError("conflict"))
    stanza.reply()
    assert (stanza.attrs, stanza.children, stanza.payload) == before[:3]
    assert (stanza.to, stanza.sender) == ("juliet@capulet.lit", None)
    assert stanza.to_bytes() == stanza.with_attrs().to_bytes() == before[3]


def test_a_stamp_replaces_a_forged_sender() -> None:
    """C1, RFC 6120 §8.1.2.1."""
    stanza = stanza_of(b"<message from='tybalt@capulet.lit' to='juliet@capulet.lit'/>")
    stamped = stanza.stamped(ROMEO)
    assert stamped.sender is ROMEO
    assert stamped.to == "juliet@capulet.lit"
    assert stamped.to_bytes() == b"<message from='romeo@montague.lit/orchard' to='juliet@capulet.lit'/>"
    assert stanza.stamped(ROMEO, JULIET).to is JULIET
    assert stanza.stamped(JULIET, ROMEO.bare).to_bytes() == (
        b"<message from='juliet@capulet.lit/balcony' to='romeo@montague.lit'/>"
    )


def test_a_stamp_does_not_heal_a_malformed_addressee() -> None:
    with pytest.raises(StanzaError, match="jid-malformed"):
        _ = stanza_of(b"<message to='@@'/>").stamped(ROMEO).to


def test_the_payload_falls_into_pieces_at_its_children() -> None:
    pieces = stanza_of(MESSAGE).pieces()
    assert pieces == [
        ("", b"one"),
        ("{jabber:client}body", b"<body>&lt;<![CDATA[>]]></body>"),
        ("", b""),
        (STANZA_ID, b"<stanza-id xmlns='urn:xmpp:sid:0' by='>' id=\"/>\"/>"),
        ("", b"\n"),
        (STANZA_ID, b"<s:stanza-id xmlns:s='urn:xmpp:sid:0'></s:stanza-id>"),
        ("", b""),
        ("{urn:x}x", b"<x xmlns='urn:x'><body/></x>"),
        ("", b"two"),
    ]


def test_children_are_cut_out_by_name_and_the_rest_stays_sealed() -> None:
    """F6: all forged ones go, whatever their prefix."""
    stanza = stanza_of(MESSAGE).without({STANZA_ID, "{urn:none}x"})
    assert stanza.payload == b"one<body>&lt;<![CDATA[>]]></body>\n<x xmlns='urn:x'><body/></x>two"
    assert stanza.children == ("{jabber:client}body", "{urn:x}x")


def test_only_the_children_selected_stay() -> None:
    stanza = stanza_of(MESSAGE).select(["{urn:x}x"])
    assert stanza.payload == b"one\n<x xmlns='urn:x'><body/></x>two"
    assert stanza.children == ("{urn:x}x",)


def test_a_stanza_without_the_names_to_cut_is_the_same_value() -> None:
    stanza = stanza_of(MESSAGE)
    assert stanza.without({"{urn:none}x"}) is stanza


def test_children_are_added_at_the_end() -> None:
    added = E("urn:xmpp:sid:0", "stanza-id", {"by": "capulet.lit", "id": "1'"})
    stanza = stanza_of(b"<message><body>hi</body></message>").with_child(added, E(ns.CLIENT, "thread"))
    assert stanza.children == ("{jabber:client}body", STANZA_ID, "{jabber:client}thread")
    assert stanza.payload == (
        b"<body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' by='capulet.lit' id='1&apos;'/><thread/>"
    )


def test_the_tree_is_opened_once_and_is_the_whole_stanza() -> None:
    stanza = stanza_of(MESSAGE)
    tree = stanza.element()
    assert stanza.element() is tree
    assert tree.tag == "{jabber:client}message"
    assert [child.tag for child in tree] == list(stanza.children)
    assert same(serialize(tree), MESSAGE)


def test_a_child_is_found_by_its_name() -> None:
    stanza = stanza_of(
        b"<message xml:lang='en'><a.b xmlns=\"urn:'[x]\">1</a.b><a.b xmlns=\"urn:'[x]\">2</a.b></message>"
    )
    child = stanza.child("{urn:'[x]}a.b")
    assert child is not None
    assert child.text == "1"
    assert stanza.child("{urn:x}y") is None
    assert stanza.element().get(f"{{{ns.XML}}}lang") == "en"


# -- answers ------------------------------------------------------------------------------------------


@pytest.mark.rfc6120("8.1.3-1", "8.2.3-3")
def test_the_result_of_an_iq_goes_back_with_its_id() -> None:
    request = stanza_of(
        b"<iq from='romeo@montague.lit/orchard' to='montague.lit' type='get' id='7'><q xmlns='u'/></iq>"
    )
    assert request.reply(E("u", "q", None, "a")).to_bytes() == (
        b"<iq type='result' from='montague.lit' to='romeo@montague.lit/orchard' id='7'>"
        b"<q xmlns='u'>a</q></iq>"
    )


def test_an_answer_says_no_more_addresses_than_the_question() -> None:
    assert stanza_of(b"<iq type='set' id='1'/>").reply().to_bytes() == b"<iq type='result' id='1'/>"


@pytest.mark.rfc6120("8.3.1-3", "8.3.2-1", "8.3.2-2")
def test_an_error_has_the_shape_of_rfc_6120_8_3() -> None:
    stanza = stanza_of(
        b"<message from='romeo@montague.lit/orchard' to='nurse@capulet.lit' id='m1'><body>hi</body></message>"
    )
    error = StanzaError("item-not-found", "no <such> nurse", application=("urn:x", "gone-out"))
    assert stanza.error(error, by=JID.parse("capulet.lit")).to_bytes() == (
        b"<message type='error' from='nurse@capulet.lit' to='romeo@montague.lit/orchard' id='m1'>"
        b"<error type='cancel' by='capulet.lit'>"
        b"<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        b"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no &lt;such&gt; nurse</text>"
        b"<gone-out xmlns='urn:x'/></error></message>"
    )


@pytest.mark.rfc6120("8.3.1-4")
def test_an_error_carries_nothing_of_the_payload() -> None:
    error = stanza_of(MESSAGE).error(StanzaError("service-unavailable"))
    assert error.children == ("{jabber:client}error",)
    assert error.to_bytes() == (
        b"<message type='error' from='juliet@capulet.lit' id='m1'><error type='cancel'>"
        b"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )


@pytest.mark.rfc6120("8.3.1-2")
def test_the_error_for_an_iq_without_an_id_has_an_empty_one() -> None:
    """C2; RFC 6120 §8.3.1, rule 3."""
    assert stanza_of(b"<iq type='get'/>").error(StanzaError("bad-request")).attrs == {
        "type": "error",
        "id": "",
    }
    assert "id" not in stanza_of(b"<message/>").error(StanzaError("bad-request")).attrs


@pytest.mark.parametrize(
    "value", ["'", '"', "<", "&", "\n", "\t", "\r", ">", "'/><x/>", "]]>", "&amp;", "\U0001f339"]
)
def test_an_echoed_value_reads_the_same_and_injects_nothing(value: str) -> None:
    """A17, CVE-2026-113867."""
    written = etree.Element(
        "iq", {"type": "get", "id": value, "to": f"capulet.lit/{value}", "xml_lang": value}
    )
    data = etree.tostring(written, encoding="utf-8").replace(b"xml_lang", b"xml:lang")
    stanza = stanza_of(data)
    assert (stanza.id, stanza.lang) == (value, value)
    for answer in (stanza.error(StanzaError("bad-request")), stanza.with_attrs(), stanza.stamped(ROMEO)):
        for shown in (answer.to_bytes(), answer.to_scope(ns.CLIENT), answer.to_standalone()):
            again = stanza_of(shown)
            assert again.attrs == answer.attrs
            assert again.children == answer.children
            assert odd.read(CLIENT, shown).get("id") == value


@pytest.mark.rfc6120("11.3-2")
@pytest.mark.parametrize("bad", ["\x00", "\x0b", "\x1f", "\ud800", "\ufffe", "\uffff"])
def test_what_xml_cannot_say_never_leaves(bad: str) -> None:
    """E4, RFC 6120 §11.3: whatever text another network or an operator gave us."""
    stanza = Stanza.of("message", E(ns.CLIENT, "body", {"k": f"a{bad}"}, f"b{bad}"), id=f"c{bad}")
    again = stanza_of(stanza.to_bytes())
    assert again.id == "c\ufffd"
    assert again.payload == "<body k='a\ufffd'>b\ufffd</body>".encode()


# -- on a stream, and out of every stream -------------------------------------------------------------


def test_a_stanza_that_stands_alone_declares_its_namespace() -> None:
    alone = stanza_of(MESSAGE).stamped(ROMEO).to_standalone()
    assert alone.startswith(b"<message xmlns='jabber:client' to=")
    assert etree.QName(etree.fromstring(alone)).namespace == ns.CLIENT
    assert stanza_of(b"<presence/>").to_standalone() == b"<presence xmlns='jabber:client'/>"


def test_a_stanza_that_stood_alone_is_the_same_stanza() -> None:
    stanza = stanza_of(
        b"<message xml:lang='it' xmlns:n='urn:n' n:k='v' id='>&apos;'><body>hi</body></message>"
    )
    again = Stanza.from_standalone(stanza.to_standalone())
    assert (again.name, again.attrs, again.children) == (stanza.name, stanza.attrs, stanza.children)
    assert again.payload == stanza.payload
    assert Stanza.from_standalone(b"<iq xmlns='jabber:client'/>").to_bytes() == b"<iq/>"


@pytest.mark.rfc6120("4.7.4-3", "4.7.4-4", "8.1.5-1", "8.1.5-2")
def test_the_language_of_the_stream_is_that_of_a_stanza_without_one() -> None:
    """RFC 6120 §8.1.5."""
    opening = CLIENT.replace(b" version", b" xml:lang='it' version")
    assert stanza_of(b"<message/>", opening).lang == "it"
    assert stanza_of(b"<message/>", opening).to_bytes() == b"<message xml:lang='it'/>"
    assert stanza_of(b"<c:message xmlns:c='jabber:client'/>", opening).lang == "it"
    assert stanza_of(b"<message xml:lang='en'/>", opening).lang == "en"
    assert stanza_of(b"<message xml:lang=''/>", opening).attrs == {"xml:lang": ""}


@pytest.mark.rfc6120("4.7.4-1")
@pytest.mark.parametrize("lang", ["", "i t", "\u00e9", "it'", "it-", "-", "x" * 9, "it" + "-x" * 50])
def test_what_is_no_language_is_given_to_no_stanza(lang: str) -> None:
    header = CLIENT.replace(b" version", b' xml:lang="' + lang.encode() + b'" version')
    assert stanza_of(b"<message/>", header).attrs == {}
    good = CLIENT.replace(b" version", b" xml:lang='sr-Latn-RS-x-verona1' version")
    assert stanza_of(b"<message/>", good).lang == "sr-Latn-RS-x-verona1"


@pytest.mark.rfc6120("4.8.5-2", "8.4-3")
@pytest.mark.parametrize("namespace", ["jabber:client", "jabber&#58;client", "jabber:clien&#x74;"])
def test_a_child_of_the_content_namespace_loses_its_prefix(namespace: str) -> None:
    child = f"<c:body xmlns:c = '{namespace}'><x xmlns='urn:x'/></c:body>"
    stanza = stanza_of(f"<message>{child}</message>".encode())
    assert stanza.children == ("{jabber:client}body",)
    assert stanza.to_bytes() == b"<message><body><x xmlns='urn:x'/></body></message>"


@pytest.mark.rfc6120("8.4-3")
def test_other_prefixes_stay() -> None:
    payload = b"<x:x xmlns:x='urn:x' xmlns:c='urn:c'><c:c/>jabber:client</x:x>"
    assert stanza_of(b"<message>" + payload + b"</message>").payload == payload


@given(data=odd.stanzas(ns.CLIENT, prefixes=frozenset()), cut=st.sets(st.sampled_from(odd.LOCALS)))
@settings(deadline=None)
def test_what_is_cut_out_is_gone_and_the_rest_is_as_it_was(data: bytes, cut: set[str]) -> None:
    stanza = stanza_of(data)
    names = {name for name in stanza.children if name.rpartition("}")[2] in cut}
    expected = odd.read(CLIENT, stanza.to_bytes())
    for child in list(expected):
        if child.tag in names:
            before = child.getprevious()
            if before is not None:
                before.tail = (before.tail or "") + (child.tail or "")
            else:
                expected.text = (expected.text or "") + (child.tail or "")
            expected.remove(child)
    rest = stanza.without(names)
    assert odd.canonical(odd.read(CLIENT, rest.to_bytes())) == odd.canonical(expected)
    assert not names.intersection(rest.children)


def test_copies_for_many_are_what_each_stanza_would_be() -> None:
    said = Stanza("message", {"type": "groupchat", "id": "a'b", "to": "r@x.lit"}, (), b"<body>hi</body>")
    sender = JID.parse("orchard@rooms.lit/Rome<o")
    recipients = [JID.parse("juliet@capulet.lit/balcony"), JID.parse("nurse@capulet.lit/it's & \"<")]
    for empty in (said, said.select([])):
        for copy, to in zip(empty.copies(sender, recipients), recipients, strict=True):
            alone = Stanza(copy.name, copy.attrs, copy.children, copy.payload)
            assert (copy.sender, copy.to) == (sender, to)
            assert copy.to_bytes() == alone.to_bytes()


@pytest.mark.parametrize(
    "cut",
    [b"<message xmlns='jabber:client'><body>", b"<message xmlns='jabber:client'/><mess", b"<message/>\n"],
)
def test_what_was_cut_off_does_not_show_in_what_is_read_next(cut: bytes) -> None:
    whole = b"<message xmlns='jabber:client' to='a'><body>whole</body></message>"
    with suppress(ValueError):
        Stanza.from_standalone(cut)
    again = Stanza.from_standalone(whole)
    assert (again.attrs, again.children) == ({"to": "a"}, ("{jabber:client}body",))
    assert again.payload == b"<body>whole</body>"
    assert Stanza.from_standalone(whole).to_standalone() == whole
