"""Rows B to D, and F15: what a server of no good intent says to a real one, and logins made by hand."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

import pytest

from jabberd.xmpp.sasl import Challenge
from tests.abuse.wire import (
    PASSWORD,
    SASL,
    SERVER_HEAD,
    STARTTLS,
    STREAMS,
    TLS,
    Wire,
    auth,
    base64,
    condition,
)
from tests.xmpp.test_sasl import HandMade

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tests.abuse.scene import Scene

pytestmark = pytest.mark.process

DIALBACK = "{jabber:server:dialback}"
TYBALT = "tybalt@evil.example"
STREET = "benvolio@montague.lit/street"
MALFORMED = "not-well-formed"


def message(sender: str = TYBALT, to: str = STREET) -> str:
    return f"<message from='{sender}' to='{to}' id='m1'><body>trust me</body></message>"


def result(to: str, type: str = "") -> str:
    return f"<db:result from='evil.example' to='{to}'{type}>{'0' * 64}</db:result>"


# --- B: SCRAM ------------------------------------------------------------------------------------


def challenged(wire: Wire, made: HandMade) -> Element:
    return wire.ask(auth("SCRAM-SHA-256", made.first().decode()))


def answered(wire: Wire, made: HandMade, challenge: Element) -> Element:
    final = made.final(Challenge(b64decode(challenge.text or ""))).decode()
    return wire.ask(f"<response xmlns='{SASL}'>{base64(final)}</response>")


@pytest.mark.parametrize("part", ["r", "p", "c"])
def test_b8_who_changes_a_login_is_not_let_in(scene: Scene, part: str) -> None:
    def tamper(final: str) -> str:
        parts = dict(each.split("=", 1) for each in final.split(","))
        parts[part] = {"r": parts["r"][:-1] + "~", "p": base64("x" * 32), "c": base64("y,,")}[part]
        return ",".join(f"{name}={value}" for name, value in parts.items())

    wire = scene.encrypted()
    made = HandMade("SHA-256", username=scene.villain, password=PASSWORD, change=tamper)
    assert condition(answered(wire, made, challenged(wire, made))) == "not-authorized"


def test_b8_nor_who_says_another_login_again(scene: Scene) -> None:
    made = HandMade("SHA-256", username=scene.villain, password=PASSWORD)
    heard = challenged(scene.encrypted(), made)
    wire = scene.encrypted()
    challenged(wire, made)
    assert condition(answered(wire, made, heard)) == "not-authorized"


def test_b9_an_account_that_is_none_is_asked_the_same(scene: Scene) -> None:
    seen = []
    for name in (scene.villain, "nobody", "nobody"):
        wire = scene.encrypted()
        made = HandMade("SHA-256", username=name, password="wrong")
        challenge = challenged(wire, made)
        salt, iterations = b64decode(challenge.text or "").decode().split(",")[1:3]
        seen.append((salt, iterations, condition(answered(wire, made, challenge))))
    assert seen[1] == seen[2]
    assert seen[0][2] == seen[1][2] == "not-authorized"
    scene.lines = 3


@pytest.mark.parametrize("gs2", ["y,,", "p=tls-unique,,"])
def test_b10_nobody_talks_channel_binding_away(scene: Scene, gs2: str) -> None:
    wire = scene.encrypted()
    made = HandMade("SHA-256", gs2=gs2, username=scene.villain, password=PASSWORD)
    answer = challenged(wire, made)
    if answer.tag == f"{{{SASL}}}challenge":
        answer = answered(wire, made, answer)
    assert condition(answer) in ("not-authorized", "malformed-request")


@pytest.mark.parametrize("certificate", ["unnamed", "odd"])
def test_b16_a_certificate_without_a_name_that_counts_is_of_no_use(scene: Scene, certificate: str) -> None:
    wire = scene.peer(certificate)
    assert condition(wire.ask(auth("EXTERNAL", ""))) == "invalid-mechanism"
    scene.lines = 2  # why, and that


# --- C: what other servers send -------------------------------------------------------------------


def test_c8_another_server_sets_no_roster(scene: Scene) -> None:
    item = "<query xmlns='jabber:iq:roster'><item jid='tybalt@evil.example'/></query>"
    wire = scene.proved()
    wire.say(f"<iq type='set' id='r1' from='{TYBALT}' to='benvolio@montague.lit'>{item}</iq>")
    answer = scene.visited().next()
    assert (answer.get("id"), condition(answer)) == ("r1", "forbidden")
    scene.lines = 0


def test_c9_a_carbon_made_up_elsewhere_comes_from_there(scene: Scene) -> None:
    forged = (
        "<message xmlns='jabber:client' from='mercutio@montague.lit/street'><body>farewell</body></message>"
    )
    scene.proved().say(
        f"<message from='{TYBALT}' to='{STREET}'><received xmlns='urn:xmpp:carbons:2'>"
        f"<forwarded xmlns='urn:xmpp:forward:0'>{forged}</forwarded></received></message>"
    )
    assert scene.benvolio.next().get("from") == TYBALT
    scene.lines = 0


def test_c10_a_stranger_from_afar_who_probes_learns_nothing(scene: Scene) -> None:
    scene.proved().say(f"<presence type='probe' from='{TYBALT}' to='benvolio@montague.lit'/>")
    answer = scene.visited().next()
    assert (answer.get("type"), answer.get("from")) == ("unsubscribed", "benvolio@montague.lit")
    scene.lines = 0


# --- F: the proxy --------------------------------------------------------------------------------

PROXY = "proxy.montague.lit"
BYTESTREAMS = "http://jabber.org/protocol/bytestreams"
ACTIVATE = "<activate>benvolio@montague.lit/street</activate>"


@pytest.mark.parametrize(
    ("type", "query"), [("get", "/>"), ("set", f" sid='s1'>{ACTIVATE}</query>")], ids=["where", "activate"]
)
def test_f15_the_proxy_is_not_for_outsiders(scene: Scene, type: str, query: str) -> None:
    asked = f"<iq type='{type}' id='q1' from='{TYBALT}' to='{PROXY}'><query xmlns='{BYTESTREAMS}'{query}</iq>"
    scene.proved(to=PROXY).say(asked)
    answer = scene.visited().next()
    assert (answer.get("id"), condition(answer)) == ("q1", "forbidden")
    scene.lines = 0


def test_f15_the_proxy_leads_nowhere_and_waits_for_nobody(scene: Scene) -> None:
    digest = b"\x05\x01\x00\x03\x28" + b"0" * 40 + b"\x00\x00"
    wires = [scene.connected("bytestreams") for _ in range(2)]
    for wire, wanted in zip(wires, (digest, b"\x05\x01\x00\x01\x7f\x00\x00\x01\x14\x66"), strict=True):
        wire.say(b"\x05\x01\x00" + wanted)
    waits, elsewhere = (wire.until_the_end() for wire in wires)
    assert waits == b"\x05\x00" + b"\x05\x00" + digest[2:]
    assert elsewhere == b"\x05\x00" + b"\x05\x08\x00\x01" + bytes(6)
    scene.lines = 0


# --- D -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
def test_d1_who_has_proved_nothing_says_nothing(scene: Scene, tls: bool) -> None:
    if tls:
        wire = scene.peer()
    else:
        wire = scene.connected("s2s")
        wire.open("from='evil.example' to='montague.lit' version='1.0'", SERVER_HEAD)
    wire.say(message())
    assert wire.is_dismissed_with("not-authorized")


@pytest.mark.parametrize(
    "sender", ["x@verona.lit", "mercutio@montague.lit", "montague.lit", "evil.example.lit"]
)
def test_d2_nobody_speaks_for_a_domain_that_is_not_theirs(scene: Scene, sender: str) -> None:
    wire = scene.proved()
    wire.say(message(sender))
    assert wire.is_dismissed_with("invalid-from")


NOWHERE = ["<message from='x@evil.example'/>", f"<message to='{STREET}'/>", "<presence/>"]


@pytest.mark.parametrize("said", NOWHERE)
def test_d3_a_stanza_says_from_whom_and_to_whom(scene: Scene, said: str) -> None:
    wire = scene.proved()
    wire.say(said)
    assert wire.is_dismissed_with("improper-addressing")


@pytest.mark.parametrize("to", ["x@verona.lit", "tybalt@evil.example", "x@capulet.lit"])
def test_d4_nothing_is_passed_on(scene: Scene, to: str) -> None:
    wire = scene.proved()
    wire.say(message(to=to))
    assert wire.is_dismissed_with("host-unknown")
    assert scene.nobody_called()


def test_d5_a_key_that_its_domain_does_not_know_proves_nothing(scene: Scene) -> None:
    wire = scene.peer("selfmade", to="capulet.lit")
    wire.say(result("capulet.lit"))
    asked = scene.called()
    asked.welcome("<dialback xmlns='urn:xmpp:features:dialback'/>")
    question = asked.next()
    assert question.tag == f"{DIALBACK}verify"
    asked.say(f"<db:verify from='evil.example' to='capulet.lit' id='{question.get('id')}' type='invalid'/>")
    answer = wire.next()
    assert (answer.tag, answer.get("type")) == (f"{DIALBACK}result", "invalid")
    assert wire.rest() == []
    scene.lines = 3  # what is wrong with the certificate, twice, and with the key


@pytest.mark.parametrize("name", ["result", "verify"])
@pytest.mark.parametrize("to", ["montague.lit", "capulet.lit"])
def test_d6_an_answer_to_no_question_proves_nothing(scene: Scene, name: str, to: str) -> None:
    wire = scene.peer("selfmade", to=to)
    wire.say(f"<db:{name} from='evil.example' to='{to}' id='1' type='valid'/>{message()}")
    assert wire.is_dismissed_with("not-authorized")
    scene.lines = 2  # what is wrong with the certificate, and the end


def test_d7_dialback_to_a_domain_that_is_not_here_ends_nothing(scene: Scene) -> None:
    wire = scene.proved("capulet.lit")
    for _ in range(2):
        answer = wire.ask(result("verona.lit"))
        assert (answer.get("type"), condition(answer)) == ("error", "item-not-found")
    scene.lines = 0


@pytest.mark.parametrize("said", [auth("EXTERNAL", ""), result("capulet.lit")])
def test_d8_nothing_is_proved_in_the_clear(scene: Scene, said: str) -> None:
    wire = scene.connected("s2s")
    wire.open("from='evil.example' to='capulet.lit' version='1.0'", SERVER_HEAD)
    wire.say(said)
    assert wire.is_dismissed_with("policy-violation")


@pytest.mark.parametrize("certificate", ["expired", "selfmade", "another"])
def test_d8_a_certificate_that_does_not_vouch_proves_nothing(scene: Scene, certificate: str) -> None:
    wire = scene.peer(certificate)
    assert condition(wire.ask(auth("EXTERNAL", ""))) == "invalid-mechanism"
    answer = wire.ask(result("montague.lit"))
    assert condition(answer) == "not-authorized"
    wire.say(message())
    assert wire.is_dismissed_with("not-authorized")
    scene.lines = 4  # what is wrong with the certificate, each time it would have to vouch


# --- A and B at the door of servers ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "error"), [("<!-- hi -->", "restricted-xml"), ("<message></iq>", MALFORMED)]
)
def test_a5_servers_write_well_too(scene: Scene, said: str, error: str) -> None:
    wire = scene.proved()
    wire.say(said)
    assert wire.is_dismissed_with(error)


def test_b3_a_server_too_says_nothing_in_the_clear_behind_starttls(scene: Scene) -> None:
    wire = scene.connected("s2s")
    wire.open("from='evil.example' to='capulet.lit' version='1.0'", SERVER_HEAD)
    wire.say(STARTTLS + result("capulet.lit"))
    assert wire.next().tag == f"{{{TLS}}}proceed"
    wire.shake_hands()
    features = wire.open("from='evil.example' to='capulet.lit' version='1.0'", SERVER_HEAD)
    assert features.tag == f"{{{STREAMS}}}features"
    assert scene.nobody_called()
    scene.lines = 1  # no certificate was shown


# --- D: both directions, and servers that we call ---------------------------------------------------

ENABLE = "<enable xmlns='urn:xmpp:sm:3'/>"
BIDI = "<bidi xmlns='urn:xmpp:bidi'/>"
BIDI_OFFER = "<bidi xmlns='urn:xmpp:features:bidi'/>"
EXTERNAL = f"<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"


def writes(scene: Scene, id: str, to: str = TYBALT, body: str = "peace") -> None:
    """Benvolio says something to somebody elsewhere."""
    scene.benvolio.say(f"<message to='{to}' type='chat' id='{id}'><body>{body}</body></message>")


def told(scene: Scene) -> tuple[str, str]:
    """Which message of his cannot arrive, and why."""
    error = scene.benvolio.next()
    assert error.get("type") == "error"
    return error.get("id") or "", condition(error)


def convinced(wire: Wire, *features: str) -> None:
    """The server that called has proved itself, and opens its stream anew."""
    while wire.next().tag != f"{{{SASL}}}auth":
        pass
    wire.say(f"<success xmlns='{SASL}'/>")
    wire.welcome(*features)


def test_d9_nothing_is_sent_back_before_the_proof_nor_for_another_pair(scene: Scene) -> None:
    wire = scene.peer()
    wire.say(BIDI)
    writes(scene, "m1")
    called = scene.called()  # it goes a way of its own, as this one is not proved
    assert wire.ask(auth("EXTERNAL", "")).tag.endswith("}success")  # that is all it has heard
    wire.open("from='evil.example' to='montague.lit' version='1.0'", SERVER_HEAD)
    called.welcome(EXTERNAL)
    convinced(called)
    assert called.next().get("id") == "m1"
    called.say("</stream:stream>")
    called.rest()
    wire.say(ENABLE)
    assert wire.next().tag == "{urn:xmpp:sm:3}enabled"
    writes(scene, "m2", "x@verona.lit")
    assert told(scene) == ("m2", "remote-server-timeout")
    writes(scene, "m3")
    assert wire.next().get("id") == "m3"
    wire.say("<a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>")
    scene.lines = 0


def test_d9_nothing_is_taken_from_whom_we_call_before_we_have_come_to_terms(scene: Scene) -> None:
    writes(scene, "m1")
    wire = scene.called()
    wire.welcome(EXTERNAL, BIDI_OFFER)
    assert wire.next().tag == "{urn:xmpp:bidi}bidi"
    assert wire.next().tag == f"{{{SASL}}}auth"
    wire.say(message())
    assert wire.is_dismissed_with("not-authorized")
    again = scene.visited()
    assert again.next().get("id") == "m1"
    again.say("</stream:stream>")
    scene.lines = 2


@pytest.mark.parametrize("sender", ["x@verona.lit", "mercutio@montague.lit"])
def test_d9_whom_we_call_speaks_for_nobody_else(scene: Scene, sender: str) -> None:
    writes(scene, "m1")
    wire = scene.called()
    wire.welcome(EXTERNAL, BIDI_OFFER)
    convinced(wire)
    assert wire.next().get("id") == "m1"
    wire.say(message(sender))
    assert wire.is_dismissed_with("invalid-from")


def test_d10_a_server_that_is_silent_holds_up_nobody(scene: Scene) -> None:
    writes(scene, "m1")
    silent = scene.accepted()
    assert scene.talk()
    again = scene.visited()  # it was given up, and called anew
    assert again.next().get("id") == "m1"
    again.say("</stream:stream>")
    silent.drop()


@pytest.mark.parametrize(
    ("domain", "why", "lines"),
    [("verona.lit", "remote-server-timeout", 0), ("mantua.lit", "remote-server-not-found", 1)],
    ids=["nobody answers", "it leads back to us"],
)
def test_d10_a_server_that_is_none_is_told_to_the_sender(
    scene: Scene, domain: str, why: str, lines: int
) -> None:
    writes(scene, "m1", f"x@{domain}")
    assert told(scene) == ("m1", why)
    scene.lines = lines


def test_d11_what_is_larger_than_the_other_server_takes_goes_back(scene: Scene) -> None:
    limits = "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes></limits>"
    writes(scene, "m1")
    wire = scene.called()
    wire.welcome(EXTERNAL, limits)
    convinced(wire, limits)
    assert wire.next().get("id") == "m1"
    writes(scene, "m2", body="p" * 9900)  # with his address it is too large for them, and for us it was not
    assert told(scene) == ("m2", "policy-violation")
    writes(scene, "m3")
    assert wire.next().get("id") == "m3"
    wire.say("</stream:stream>")
    scene.lines = 0
