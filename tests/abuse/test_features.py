"""Rows B, C, E to H of the abuses: tokens, components, archives and quotas of a real server."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

import pytest

from tests.abuse.wire import PASSWORD, STREAMS, Wire, base64, condition

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tests.abuse.scene import Scene

pytestmark = pytest.mark.process

SASL2: Final = "urn:xmpp:sasl:2"
FAST: Final = "urn:xmpp:fast:0"
NONE: Final = "HT-SHA-256-NONE"
AGENT: Final = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>Cave</software></user-agent>"
STREET: Final = "benvolio@montague.lit/street"


def authenticate(mechanism: str, data: str | bytes, inside: str = AGENT) -> str:
    initial = f"<initial-response>{base64(data)}</initial-response>"
    return f"<authenticate xmlns='{SASL2}' mechanism='{mechanism}'>{initial}{inside}</authenticate>"


# --- B: tokens, and all in one round trip ----------------------------------------------------------


def with_token(scene: Scene, token: str, mechanism: str = NONE, count: int = 1) -> str:
    """What becomes of a login with a token: empty if it is let in."""
    proof = f"{scene.villain}\0".encode() + hmac.digest(token.encode(), b"Initiator", "sha256")
    inside = f"{AGENT}<fast xmlns='{FAST}' count='{count}'/>"
    answer = scene.encrypted().ask(authenticate(mechanism, proof, inside))
    return "" if answer.tag.endswith("}success") else condition(answer)


def test_b14_a_token_is_good_for_what_it_was_given_and_once_for_each_count(scene: Scene) -> None:
    wire = scene.encrypted()
    wanted = f"{AGENT}<request-token xmlns='{FAST}' mechanism='{NONE}'/>"
    assert condition(wire.ask(authenticate("PLAIN", f"\0{scene.villain}\0wrong", wanted))) == "not-authorized"
    success = scene.encrypted().ask(authenticate("PLAIN", f"\0{scene.villain}\0{PASSWORD}", wanted))
    given = success.find(f"{{{FAST}}}token")
    assert given is not None
    token = given.get("token") or ""
    assert with_token(scene, "x" * len(token)) == "not-authorized"
    assert with_token(scene, token, "HT-SHA-256-EXPR") == "not-authorized"
    assert with_token(scene, token, count=7) == ""
    assert with_token(scene, token, count=7) == "not-authorized"
    scene.lines = 4


def test_b15_nobody_logs_in_at_once_in_the_clear(scene: Scene) -> None:
    wire = scene.connected()
    wire.open()
    answer = wire.ask(authenticate("PLAIN", f"\0{scene.villain}\0{PASSWORD}"))
    assert condition(answer) == "encryption-required"


def test_b15_a_task_that_nobody_offered_ends_the_stream(scene: Scene) -> None:
    wire = scene.encrypted()
    wire.say(f"<next xmlns='{SASL2}' task='UPGR-SCRAM-SHA-256'/>")
    assert wire.is_dismissed_with("unsupported-stanza-type")


# --- C, F ------------------------------------------------------------------------------------------


def announces(wire: Wire, ver: str) -> Element:
    """What the server asks a client that says what it can do, by a hash (XEP-0115)."""
    caps = f"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x' ver='{ver}'/>"
    wire.say(f"<presence>{caps}</presence>")
    while not (heard := wire.next()).tag.endswith("}iq"):
        pass
    return heard


def test_f10_a_hash_that_lies_is_believed_of_nobody(scene: Scene) -> None:
    feature = "<feature var='http://jabber.org/protocol/tune+notify'/>"
    for resource in ("alley", "cave"):
        wire = scene.bound(resource=resource)
        question = announces(wire, "QgayPKawpkPSDYmwT/WM94uAlu0=")  # of a client that is well known
        node = question[0].get("node")
        assert node == "urn:x#QgayPKawpkPSDYmwT/WM94uAlu0="  # the second is asked as the first was
        info = f"<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'>{feature}</query>"
        wire.say(f"<iq type='result' id='{question.get('id')}' to='{question.get('from')}'>{info}</iq>")
        assert wire.hears_nothing()
    scene.lines = 0


@pytest.mark.parametrize("type", ["result", "error"])
def test_c11_an_answer_from_elsewhere_is_no_answer(scene: Scene, type: str) -> None:
    liar, asked = scene.bound(), scene.bound(resource="cave")
    question = announces(asked, "QgayPKawpkPSDYmwT/WM94uAlu0=")
    liar.say(f"<iq type='{type}' id='{question.get('id')}' to='{question.get('from')}'/>")
    assert liar.hears_nothing()
    asked.say(f"<iq type='error' id='{question.get('id')}' to='{question.get('from')}'/>")
    assert asked.hears_nothing()
    scene.lines = 0


def test_f6_a_forged_id_of_an_archived_stanza_is_replaced(scene: Scene) -> None:
    wire = scene.bound()
    forged = "<stanza-id xmlns='urn:xmpp:sid:0' by='benvolio@montague.lit' id='7'/>"
    wire.say(f"<message to='{STREET}' type='chat'><body>trust me</body>{forged}{forged}</message>")
    heard = scene.benvolio.next().findall("{urn:xmpp:sid:0}stanza-id")
    assert [each.get("by") for each in heard] == ["benvolio@montague.lit"]
    assert heard[0].get("id") != "7"
    scene.lines = 0


# --- G, H --------------------------------------------------------------------------------------------


def test_g7_what_somebody_calls_himself_forges_no_line_of_the_log(scene: Scene) -> None:
    wire = scene.connected()
    wire.say(
        f"<stream:stream xmlns='jabber:client' xmlns:stream='{STREAMS}' version='1.0'"
        " to='evil.example&#10;2026 [jabberd#info] forged&#x202e;'>"
    )
    assert wire.is_dismissed_with("host-unknown")
    said = scene.log()
    assert all(line.isprintable() for line in said.splitlines())
    assert "\n2026 [" not in said


def test_g6_a_configuration_that_is_broken_is_not_loaded(scene: Scene) -> None:
    file = scene.folder / "jabberd.toml"
    right = file.read_text()
    try:
        for wrong in (
            "[limits",
            '[tls]\nminimum = "SSLv3"\n',
            "[domains.'capulet.lit']\nfederation = 'trust me'\n",
        ):
            file.write_text(right + wrong)
            assert "jabberd.toml:" in scene.typed("config", "reload")["refused"]
            assert scene.talk()
    finally:
        file.write_text(right)
    scene.lines = 0


def test_h6_a_vcard_is_not_a_disk(scene: Scene) -> None:
    wire = scene.bound()
    card = f"<vCard xmlns='vcard-temp'><DESC>{'x' * 9000}</DESC></vCard>"
    answers = [condition(wire.ask(f"<iq type='set' id='v{n}'>{card}</iq>")) for n in range(100)]
    assert set(answers) <= {"", "resource-constraint"}
    held = wire.ask("<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>")
    assert len("".join(held.itertext())) <= 9000  # the last one took the place of the others
    scene.lines = 0
