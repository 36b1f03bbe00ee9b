"""Rows A, B and H of the abuses, up to the login, played to a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.abuse.wire import (
    BIND,
    HEAD,
    PASSWORD,
    SASL,
    STARTTLS,
    STREAMS,
    TLS,
    auth,
    base64,
    condition,
    plain,
)

if TYPE_CHECKING:
    from tests.abuse.scene import Scene

pytestmark = pytest.mark.process

OPENING = f"{HEAD}to='montague.lit' version='1.0'>"
BILLION = "<!DOCTYPE s [<!ENTITY a0 'ha'>{}]>".format(
    "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10))
)
EXTERNAL = "<!DOCTYPE s [<!ENTITY a SYSTEM '{}'>]>"


# --- A: XML, and how a stream is opened ------------------------------------------------------------


@pytest.mark.parametrize("said", ["<!DOCTYPE s [<!ENTITY a 'AAAA'>]>", "<?xml version='1.0'?><!DOCTYPE s>"])
def test_a1_a_document_type_ends_the_stream(scene: Scene, said: str) -> None:
    wire = scene.connected()
    wire.say(said + OPENING)
    assert wire.is_dismissed_with("restricted-xml")


def test_a2_a_billion_laughs_end_at_the_first(scene: Scene) -> None:
    wire = scene.connected()
    wire.say(f"{BILLION}{OPENING}<m>&a9;</m>")
    assert wire.is_dismissed_with("restricted-xml")


def test_a3_a_file_that_an_entity_names_is_not_read(scene: Scene) -> None:
    wire = scene.connected()
    wire.say(EXTERNAL.format("file:///etc/passwd") + OPENING + "<m>&a;</m>")
    assert wire.is_dismissed_with("restricted-xml")


def test_a3_an_address_that_an_entity_names_is_not_called(scene: Scene) -> None:
    wire = scene.connected()
    host, port = scene.evil.getsockname()
    wire.say(EXTERNAL.format(f"http://{host}:{port}/") + OPENING + "<m>&a;</m>")
    assert wire.is_dismissed_with("restricted-xml")
    assert scene.nobody_called()


@pytest.mark.parametrize("said", ["<!-- hi -->", "<?php phpinfo() ?>", "<iq><!-- hi --></iq>"])
@pytest.mark.parametrize("login", [False, True])
def test_a4_a_comment_or_an_instruction_ends_the_stream(scene: Scene, said: str, login: bool) -> None:
    wire = scene.bound() if login else scene.encrypted()
    wire.say(said)
    assert wire.is_dismissed_with("restricted-xml")


MALFORMED = [
    "<message></presence>",
    "<x:message/>",
    "<message id='1' id='2'/>",
    "<message id=1/>",
    "</message>",
]


@pytest.mark.parametrize("said", MALFORMED)
def test_a5_what_is_not_well_formed_ends_the_stream_of_whoever_sent_it(scene: Scene, said: str) -> None:
    wire = scene.bound()
    wire.say(said)
    assert wire.is_dismissed_with("not-well-formed")


CHARACTERS = [b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82", b"&#0;", b"&#xFFFE;", b"\xef\xbf\xbe", b"\x01"]
TO_BENVOLIO = b"<message to='benvolio@montague.lit/street' id='%s'><body>%s</body></message>"


@pytest.mark.parametrize("character", CHARACTERS)
@pytest.mark.parametrize("cut", [False, True])
def test_a6_what_is_no_character_does_not_reach_the_others(scene: Scene, character: bytes, cut: bool) -> None:
    wire = scene.bound()
    said = TO_BENVOLIO % (b"m1", character)
    (wire.bit_by_bit if cut else wire.say)(said)
    assert wire.is_dismissed_with("not-well-formed")


def test_a6_nor_does_it_in_an_attribute(scene: Scene) -> None:
    wire = scene.bound()
    wire.say(TO_BENVOLIO % (b"\xc0\xaf", b"hi"))
    assert wire.is_dismissed_with("not-well-formed")


def test_a7_another_encoding_ends_the_stream(scene: Scene) -> None:
    wire = scene.connected()
    wire.say(f"<?xml version='1.0' encoding='ISO-8859-1'?>{OPENING}")
    assert wire.is_dismissed_with("unsupported-encoding")


ROOTS = [
    ("<strom to='montague.lit' version='1.0'>", "bad-format"),
    (OPENING.replace("etherx", "wrong"), "invalid-namespace"),
    ("<message xmlns='jabber:client'/>", "bad-format"),
    ("GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
]


@pytest.mark.parametrize(("said", "error"), ROOTS, ids=["root", "namespace", "no header", "http"])
def test_a8_what_is_no_stream_gets_a_header_and_an_error(scene: Scene, said: str, error: str) -> None:
    wire = scene.connected()
    wire.say(said)
    assert wire.is_dismissed_with(error)


@pytest.mark.parametrize(("kind", "namespace"), [("c2s", "jabber:server"), ("s2s", "jabber:client")])
def test_a9_the_wrong_door_says_so(scene: Scene, kind: str, namespace: str) -> None:
    wire = scene.connected(kind)
    wire.say(OPENING.replace("jabber:client", namespace))
    assert wire.is_dismissed_with("invalid-namespace")


@pytest.mark.parametrize("kind", ["c2s", "s2s"])
@pytest.mark.parametrize("to", ["verona.lit", "@@", "romeo@", ""])
def test_a10_a_domain_that_is_not_hosted_here_is_unknown(scene: Scene, kind: str, to: str) -> None:
    wire = scene.connected(kind)
    said = OPENING if kind == "c2s" else OPENING.replace("jabber:client", "jabber:server")
    wire.say(said.replace("montague.lit", to))
    assert wire.is_dismissed_with("host-unknown")


def test_a11_who_speaks_a_newer_version_is_answered_in_ours(scene: Scene) -> None:
    wire = scene.connected()
    wire.open("to='montague.lit' version='2.0'")
    assert wire.header["version"] == "1.0"
    scene.lines = 0


@pytest.mark.parametrize("kind", ["c2s", "s2s"])
def test_a11_who_speaks_no_version_is_not_understood(scene: Scene, kind: str) -> None:
    wire = scene.connected(kind)
    said = OPENING if kind == "c2s" else OPENING.replace("jabber:client", "jabber:server")
    wire.say(said.replace(" version='1.0'", ""))
    assert wire.is_dismissed_with("unsupported-version")


# --- B: TLS and the login --------------------------------------------------------------------------

HI = "<message to='benvolio@montague.lit/street'><body>trust me</body></message>"
BEFORE = [HI, "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "<presence/>", BIND.format("")]


@pytest.mark.parametrize("stanza", BEFORE, ids=["message", "question", "presence", "bind"])
@pytest.mark.parametrize("tls", [False, True])
def test_b1_nobody_says_anything_before_the_login(scene: Scene, stanza: str, tls: bool) -> None:
    wire = scene.encrypted() if tls else scene.connected()
    if not tls:
        wire.open()
    wire.say(stanza)
    assert wire.is_dismissed_with("not-authorized")


def test_b1_nor_before_there_is_a_resource(scene: Scene) -> None:
    wire = scene.authenticated()
    wire.say(HI)
    assert wire.is_dismissed_with("not-authorized")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "EXTERNAL"])
def test_b2_no_password_is_taken_in_the_clear(scene: Scene, mechanism: str) -> None:
    wire = scene.connected()
    wire.open()
    assert condition(wire.ask(auth(mechanism, f"\0{scene.villain}\0{PASSWORD}"))) == "encryption-required"


@pytest.mark.parametrize("how", ["login", "stanza", "header"])
def test_b3_what_was_said_in_the_clear_behind_starttls_is_forgotten(scene: Scene, how: str) -> None:
    wire = scene.connected()
    wire.open()
    wire.say(STARTTLS + {"login": plain(scene.villain), "stanza": HI, "header": OPENING}[how])
    assert wire.next().tag == f"{{{TLS}}}proceed"
    wire.shake_hands()
    features = wire.open()
    assert features.find(f"{{{SASL}}}mechanisms") is not None  # nobody has logged in
    assert wire.ask(plain(scene.villain)).tag == f"{{{SASL}}}success"
    scene.lines = 0


def test_b4_tls_is_not_begun_inside_tls(scene: Scene) -> None:
    wire = scene.encrypted()
    wire.say(STARTTLS)
    assert wire.rest() == [f"{{{TLS}}}failure"]
    scene.lines = 0


@pytest.mark.parametrize("mechanism", ["EXTERNAL", "ANONYMOUS", "DIGEST-MD5", ""])
def test_b5_nobody_logs_in_by_what_was_not_offered(scene: Scene, mechanism: str) -> None:
    wire = scene.encrypted()
    assert condition(wire.ask(auth(mechanism, f"\0{scene.villain}\0{PASSWORD}"))) == "invalid-mechanism"


ENCODED = [
    ("not base64!", "incorrect-encoding"),
    ("cm9tZW8", "incorrect-encoding"),
    ("cm9tZW8=", "malformed-request"),
    (base64("tybalt\0prince"), "malformed-request"),
]


@pytest.mark.parametrize(("said", "error"), ENCODED)
def test_b6_a_login_that_cannot_be_read_is_told_so(scene: Scene, said: str, error: str) -> None:
    wire = scene.encrypted()
    assert condition(wire.ask(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{said}</auth>")) == error


@pytest.mark.parametrize("other", ["benvolio@montague.lit", "benvolio@capulet.lit", "@@"])
def test_b7_a_right_password_opens_no_other_account(scene: Scene, other: str) -> None:
    wire = scene.encrypted()
    said = auth("PLAIN", f"{other}\0{scene.villain}\0{PASSWORD}")
    assert condition(wire.ask(said)) == "invalid-authzid"


def test_b11_the_third_wrong_password_ends_the_stream(scene: Scene) -> None:
    wire = scene.encrypted()
    for _ in range(2):
        assert condition(wire.ask(plain(scene.villain, "rosaline"))) == "not-authorized"
    wire.say(plain(scene.villain, "rosaline"))
    assert wire.rest() == [f"{{{SASL}}}failure", f"{{{STREAMS}}}error"]
    scene.lines = 4


def test_b11_after_ten_wrong_passwords_the_right_one_has_to_wait_and_the_others_have_not(
    scene: Scene,
) -> None:
    for _ in range(10):
        assert condition(scene.encrypted().ask(plain(scene.villain, "rosaline"))) == "not-authorized"
    assert condition(scene.encrypted().ask(plain(scene.villain))) == "temporary-auth-failure"
    scene.authenticated("benvolio")
    scene.lines = 11


def test_b12_nobody_logs_in_twice(scene: Scene) -> None:
    wire = scene.authenticated()
    wire.say(plain("benvolio"))
    assert wire.is_dismissed_with("policy-violation")


def test_b12_an_answer_to_no_question_is_malformed(scene: Scene) -> None:
    wire = scene.encrypted()
    said = f"<response xmlns='{SASL}'>{base64('x')}</response>"
    assert condition(wire.ask(said)) == "malformed-request"


@pytest.mark.parametrize("resource", ["x" * 1024, "\u0378"])
def test_b13_a_resource_that_is_none_cannot_be_bound(scene: Scene, resource: str) -> None:
    wire = scene.authenticated()
    assert condition(wire.ask(BIND.format(f"<resource>{resource}</resource>"))) == "bad-request"
    scene.lines = 0


def test_b13_one_resource_too_many_is_told_so(scene: Scene) -> None:
    for number in range(3):
        scene.bound(resource=str(number))
    answer = scene.authenticated().ask(BIND.format(""))
    assert condition(answer) == "resource-constraint"
    assert answer.find(".//{urn:xmpp:errors}resource-limit-exceeded") is not None
    scene.lines = 0


# --- H: what is too much ---------------------------------------------------------------------------


def test_h1_who_is_silent_is_sent_away_in_time(scene: Scene) -> None:
    silent = [scene.connected() for _ in range(20)]
    assert all(each.is_dismissed_with("connection-timeout") for each in silent)
    scene.lines = 20


TOO_MUCH = [
    f"<auth xmlns='{SASL}' mechanism='PLAIN'>{'x' * 9000}</auth>",
    f"<auth xmlns='{SASL}'>{'<x/>' * 40}</auth>",
    f"<auth xmlns='{SASL}'>{'<x>' * 16}",
]


@pytest.mark.parametrize("said", TOO_MUCH, ids=["9 KB", "40 elements", "17 inside each other"])
@pytest.mark.parametrize("kind", ["client", "server"])
def test_h2_before_the_login_little_is_listened_to(scene: Scene, said: str, kind: str) -> None:
    wire = scene.encrypted() if kind == "client" else scene.peer()
    wire.say(said)
    assert wire.is_dismissed_with("policy-violation")


def test_h5_nothing_is_compressed(scene: Scene) -> None:
    wire = scene.encrypted()
    compress = "http://jabber.org/protocol/compress"
    answer = wire.ask(f"<compress xmlns='{compress}'><method>zlib</method></compress>")
    assert [each.tag for each in answer] == [f"{{{compress}}}setup-failed"]
    assert wire.ask(plain(scene.villain)).tag == f"{{{SASL}}}success"
    scene.lines = 0
