"""Rows A, C and F of the abuses: what somebody with an account can say, said to a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import tostring
from xml.sax.saxutils import quoteattr

import pytest

from tests.abuse.wire import PING, Wire, condition

if TYPE_CHECKING:
    from tests.abuse.scene import Scene

pytestmark = pytest.mark.process

BODY = "{jabber:client}body"
BENVOLIO = "benvolio@montague.lit"
STREET = f"{BENVOLIO}/street"
SM = "urn:xmpp:sm:3"
UNKNOWN = "<iq type='{1}' id='q1' to='{0}'><x xmlns='urn:x'/></iq>"
LONG = "x" * 1024


# --- A: XML --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["client", "server"])
def test_a12_what_is_no_stanza_is_not_supported(scene: Scene, kind: str) -> None:
    wire = scene.bound() if kind == "client" else scene.proved()
    wire.say("<foo xmlns='urn:x'/>")
    assert wire.is_dismissed_with("unsupported-stanza-type")


@pytest.mark.parametrize("cut", [False, True])
def test_a13_elements_inside_each_other_end_the_stream(scene: Scene, cut: bool) -> None:
    wire = scene.bound()
    said = b"<message>" + b"<x>" * 2500
    (wire.bit_by_bit if cut else wire.say)(said[:400] if cut else said)
    assert wire.is_dismissed_with("policy-violation")


@pytest.mark.parametrize(
    "said", ["<message " + "".join(f"a{n}='' " for n in range(5000)), f"<iq a='{LONG * 40}"]
)
def test_a14_a_tag_without_end_is_not_waited_for(scene: Scene, said: str) -> None:
    wire = scene.bound()
    wire.say(said)
    assert wire.is_dismissed_with("policy-violation")


def sized(size: int, to: str) -> str:
    """A message of exactly so many bytes."""
    message = f"<message to='{to}/alley' type='chat'><body>{{}}</body></message>"
    return message.format("x" * (size + 2 - len(message)))


def test_a15_a_stanza_of_ten_thousand_bytes_arrives(scene: Scene) -> None:
    wire = scene.bound()
    said = sized(10_000, f"{scene.villain}@montague.lit")
    assert len(said) == 10_000
    assert len(wire.ask(said).findtext(BODY, "")) > 9900
    scene.lines = 0


@pytest.mark.parametrize("cut", [False, True])
def test_a15_one_byte_more_ends_the_stream(scene: Scene, cut: bool) -> None:
    wire = scene.bound()
    wire.say(sized(20_000 if cut else 10_001, STREET)[:10_001])
    assert wire.is_dismissed_with("policy-violation")


def test_a16_markup_inside_cdata_arrives_as_characters(scene: Scene) -> None:
    scene.bound().say(f"<message to='{STREET}'><body><![CDATA[<x/>&amp;]]></body></message>")
    assert scene.benvolio.next().findtext(BODY) == "<x/>&amp;"
    scene.lines = 0


@pytest.mark.parametrize("attribute", ["id", "to", "xml:lang"])
def test_a17_an_error_does_not_become_other_elements(scene: Scene, attribute: str) -> None:
    odd = '\'/><message from="juliet@capulet.lit"/>\n\t&<![CDATA['
    wanted = f"{BENVOLIO}/{odd.translate({9: 32, 10: 32})}" if attribute == "to" else odd
    attributes = {"id": "q1", "to": "montague.lit", attribute: wanted}
    escaped = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())
    wire = scene.bound()
    answer = wire.ask(f"<iq type='get' {escaped}><unknown xmlns='urn:x'/></iq>")
    assert condition(answer) == "service-unavailable"
    if attribute != "xml:lang":
        assert answer.get("from" if attribute == "to" else attribute) == wanted
    assert wire.hears_nothing()
    scene.lines = 0


def test_a18_prefixes_and_namespaces_arrive_as_they_were_meant(scene: Scene) -> None:
    inside = "<body/><c:body>hi</c:body>"
    scene.bound().say(f"<c:message xmlns:c='jabber:client' xmlns='urn:x' to='{STREET}'>{inside}</c:message>")
    heard = scene.benvolio.next()
    assert [heard.tag, *(each.tag for each in heard)][:3] == ["{jabber:client}message", "{urn:x}body", BODY]
    scene.lines = 0


# --- C: stanzas ----------------------------------------------------------------------------------


@pytest.mark.parametrize("forged", ["mercutio@montague.lit/street", "montague.lit", BENVOLIO, "@@"])
@pytest.mark.parametrize("kind", ["message", "presence"])
def test_c1_a_forged_sender_is_replaced(scene: Scene, forged: str, kind: str) -> None:
    scene.bound().say(f"<{kind} from='{forged}' to='{STREET}'/>")
    assert scene.benvolio.next().get("from") == f"{scene.villain}@montague.lit/alley"
    if kind == "presence":
        scene.drop()
        assert scene.benvolio.next().get("type") == "unavailable"
    scene.lines = 0


BROKEN = [
    "<iq type='get' to='{}'><x xmlns='urn:x'/></iq>",
    "<iq type='foo' id='q1' to='{}'><x xmlns='urn:x'/></iq>",
    "<iq id='q1' to='{}'><x xmlns='urn:x'/></iq>",
    "<iq type='get' id='q1' to='{}'/>",
    "<iq type='set' id='q1' to='{}'><x xmlns='urn:x'/><x xmlns='urn:x'/></iq>",
]


@pytest.mark.parametrize("to", ["montague.lit", BENVOLIO, STREET, "a@evil.example"])
def test_c2_an_iq_that_is_none_goes_back(scene: Scene, to: str) -> None:
    wire = scene.bound()
    for iq in BROKEN:
        assert condition(wire.ask(iq.format(to))) == "bad-request"
    assert wire.hears_nothing()
    scene.lines = 0


KINDS = [
    "<message to='{}' id='m1'/>",
    "<presence to='{}' id='m1'/>",
    "<iq type='get' to='{}' id='m1'><x xmlns='urn:x'/></iq>",
]


@pytest.mark.parametrize("to", ["@@", "x" * 1024 + "@montague.lit", "a@mont\u2024ague..lit", f"{BENVOLIO}/"])
def test_c3_what_goes_to_no_address_goes_back(scene: Scene, to: str) -> None:
    wire = scene.bound()
    for stanza in KINDS:
        assert condition(wire.ask(stanza.format(to))) == "jid-malformed"
    scene.lines = 0


@pytest.mark.parametrize("to", ["montague.lit", "capulet.lit", BENVOLIO])
@pytest.mark.parametrize("type", ["get", "set"])
def test_c4_an_unknown_question_is_answered(scene: Scene, to: str, type: str) -> None:
    assert condition(scene.bound().ask(UNKNOWN.format(to, type))) == "service-unavailable"
    scene.lines = 0


def answers(wire: Wire, name: str) -> list[str]:
    """All that is heard about that account."""
    for stanza in (
        UNKNOWN.format(f"{name}@montague.lit", "get"),
        f"<iq type='get' id='1' to='{name}@montague.lit'><query xmlns='jabber:iq:roster'/></iq>",
        f"<iq type='set' id='1' to='{name}@montague.lit'><query xmlns='jabber:iq:roster'/></iq>",
        f"<iq type='get' id='1' to='{name}@montague.lit/street'><x xmlns='urn:x'/></iq>",
        f"<presence type='probe' to='{name}@montague.lit'/>",
        f"<presence type='subscribed' to='{name}@montague.lit'/>",
        f"<message type='groupchat' to='{name}@montague.lit/gone'/>",
        PING,
    ):
        wire.say(stanza)
    heard = [wire.next()]
    while heard[-1].get("id") != "sync":
        heard.append(wire.next())
    return [tostring(each, "unicode").replace(name, "NAME") for each in heard]


def test_c5_nobody_finds_out_who_has_an_account(scene: Scene) -> None:
    wire = scene.bound()
    known, unknown = answers(wire, "benvolio"), answers(wire, "nobody")
    assert known == unknown
    assert len(known) == 6
    scene.lines = 0


UNASKED = [
    "<message type='error'{}/>",
    "<presence type='error'{}/>",
    "<iq type='error'{}/>",
    "<iq type='result'{}/>",
]


@pytest.mark.parametrize("to", ["montague.lit", "nobody@montague.lit", f"{BENVOLIO}/gone"])
def test_c6_errors_and_results_are_met_with_silence(scene: Scene, to: str) -> None:
    wire = scene.bound()
    for stanza in UNASKED:
        wire.say(stanza.format(f" id='m1' to='{to}'"))
    assert wire.hears_nothing()
    scene.lines = 0


ROSTER = "<iq type='set' id='r1'{}><query xmlns='jabber:iq:roster'>{}</query></iq>"
ITEMS = [
    ("", "bad-request"),
    ("<item jid='a@capulet.lit'/><item jid='b@capulet.lit'/>", "bad-request"),
    ("<item jid='a@capulet.lit'><group>A</group><group>A</group></item>", "bad-request"),
    ("<item jid='@@'/>", "jid-malformed"),
    ("<item jid='a@capulet.lit'><group/></item>", "not-acceptable"),
    (f"<item jid='a@capulet.lit'><group>{LONG}</group></item>", "not-acceptable"),
    ("<item jid='stranger@capulet.lit' subscription='remove'/>", "item-not-found"),
]


def test_c7_a_roster_is_not_set_wrongly(scene: Scene) -> None:
    wire = scene.bound()
    for items, error in ITEMS:
        assert condition(wire.ask(ROSTER.format("", items))) == error
    roster = wire.ask("<iq type='get' id='r2'><query xmlns='jabber:iq:roster'/></iq>")
    assert list(roster[0]) == []
    scene.lines = 0


def test_c7_nor_is_that_of_another(scene: Scene) -> None:
    said = ROSTER.format(f" to='{BENVOLIO}'", "<item jid='a@capulet.lit'/>")
    assert condition(scene.bound().ask(said)) == "forbidden"
    scene.lines = 0


def test_c10_a_stranger_learns_nothing_and_permits_nothing(scene: Scene) -> None:
    wire = scene.bound()
    wire.say(f"<presence type='subscribed' to='{BENVOLIO}'/>")
    wire.say(f"<presence type='probe' to='{BENVOLIO}'/>")
    assert wire.hears_nothing()
    scene.lines = 0


def test_c12_presence_changes_only_so_often(scene: Scene) -> None:
    wire = scene.bound()
    for number in range(5):
        assert condition(wire.ask(f"<presence><status>{number}</status></presence>")) != "unexpected-request"
    answer = wire.ask("<presence id='p6'/>")
    assert condition(answer) == "unexpected-request"
    assert answer.find(".//{urn:xmpp:errors}too-many-stanzas") is not None
    scene.lines = 0


def test_c12_presence_is_shown_to_only_so_many(scene: Scene) -> None:
    wire = scene.bound()
    for number in range(5):
        wire.say(f"<presence to='nobody{number}@montague.lit'/>")
    assert condition(wire.ask("<presence to='nobody6@montague.lit'/>")) == "resource-constraint"
    scene.lines = 0


def test_c12_only_so_many_are_asked_for_theirs(scene: Scene) -> None:
    wire = scene.bound()
    for number in range(6):
        wire.say(f"<presence type='subscribe' id='s{number}' to='nobody{number}@montague.lit'/>")
    heard = wire.next()
    while heard.get("type") != "error":
        heard = wire.next()
    assert (heard.get("id"), condition(heard)) == ("s5", "unexpected-request")
    scene.lines = 0


# --- F: extensions -------------------------------------------------------------------------------


def test_f1_acknowledgements_do_not_begin_before_there_is_a_resource(scene: Scene) -> None:
    assert condition(scene.authenticated().ask(f"<enable xmlns='{SM}'/>")) == "unexpected-request"
    scene.lines = 0


def test_f1_nor_twice(scene: Scene) -> None:
    wire = scene.bound()
    assert wire.ask(f"<enable xmlns='{SM}'/>").tag == f"{{{SM}}}enabled"
    assert condition(wire.ask(f"<enable xmlns='{SM}'/>")) == "unexpected-request"


def test_f2_nobody_resumes_what_is_not_theirs(scene: Scene) -> None:
    theirs = scene.bound("benvolio", "square")
    for id in (theirs.ask(f"<enable xmlns='{SM}' resume='true'/>").get("id"), "no-such-id"):
        answer = scene.authenticated().ask(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
        assert (answer.tag, condition(answer)) == (f"{{{SM}}}failed", "item-not-found")
    theirs.say("</stream:stream>")
    assert theirs.rest() == []
    scene.lines = 0


def test_f3_nobody_acknowledges_more_than_there_was(scene: Scene) -> None:
    wire = scene.bound()
    wire.ask(f"<enable xmlns='{SM}'/>")
    wire.say(f"<a xmlns='{SM}' h='1'/>")
    assert wire.is_dismissed_with("undefined-condition")


def test_f3_who_acknowledges_nothing_is_let_go_of(scene: Scene) -> None:
    wire = scene.bound()
    wire.ask(f"<enable xmlns='{SM}'/>")
    for _ in range(4):
        wire.say(f"<message to='{scene.villain}@montague.lit/alley' type='chat'><body>hi</body></message>")
    tags = wire.rest()
    assert tags[-1].endswith("}error")
    assert tags.count("{jabber:client}message") == 4


MAM = "urn:xmpp:mam:2"
PAGE = f"<iq type='set' id='q1'{{}}><query xmlns='{MAM}'>{{}}</query></iq>"
RSM = "<set xmlns='http://jabber.org/protocol/rsm'>{}</set>"


@pytest.mark.parametrize(
    ("to", "inside", "error"),
    [
        (f" to='{BENVOLIO}'", "", "service-unavailable"),
        ("", RSM.format("<after>no-such-id</after>"), "item-not-found"),
        ("", RSM.format("<after>'; --</after>"), "item-not-found"),
        ("", RSM.format("<max>many</max>"), "bad-request"),
    ],
)
def test_f8_an_archive_is_not_read_wrongly(scene: Scene, to: str, inside: str, error: str) -> None:
    assert condition(scene.bound().ask(PAGE.format(to, inside))) == error
    scene.lines = 0


PUBSUB = "<iq type='{}' id='q1'{}><pubsub xmlns='http://jabber.org/protocol/pubsub'>{}</pubsub></iq>"


def test_f9_what_makes_no_sense_is_not_published(scene: Scene) -> None:
    wire = scene.bound()
    answer = wire.ask(PUBSUB.format("set", "", "<publish><item/></publish>"))
    assert condition(answer) == "bad-request"
    assert answer.find(".//{http://jabber.org/protocol/pubsub#errors}nodeid-required") is not None
    answer = wire.ask(PUBSUB.format("get", "", '<items node="\'; DROP TABLE archive; --"/>'))
    assert condition(answer) == "item-not-found"
    assert wire.hears_nothing()
    scene.lines = 0


def test_f13_to_block_nobody_makes_no_sense_and_nobody_writes_to_whom_they_block(scene: Scene) -> None:
    wire = scene.bound()
    block = "<iq type='set' id='q1'><block xmlns='urn:xmpp:blocking'>{}</block></iq>"
    assert condition(wire.ask(block.format(""))) == "bad-request"
    assert wire.ask(block.format(f"<item jid='{BENVOLIO}'/>")).get("type") == "result"
    answer = wire.ask(f"<message to='{STREET}' id='m1'><body>hi</body></message>")
    assert condition(answer) == "not-acceptable"
    assert answer.find(".//{urn:xmpp:blocking:errors}blocked") is not None
    scene.lines = 0


def test_f14_an_operators_command_is_not_for_everybody(scene: Scene) -> None:
    node = "http://jabber.org/protocol/admin#delete-user"
    said = f"<command xmlns='http://jabber.org/protocol/commands' node='{node}' action='execute'/>"
    answer = scene.bound().ask(f"<iq type='set' id='q1' to='montague.lit'>{said}</iq>")
    assert condition(answer) == "forbidden"
    scene.lines = 0
