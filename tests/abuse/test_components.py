"""Row E of the abuses: what a component of no good intent says to a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import tostring

import pytest

from tests.abuse.wire import COMPONENT_HEAD, SERVER_HEAD, condition, handshake

if TYPE_CHECKING:
    from tests.abuse.scene import Scene
    from tests.abuse.wire import Wire

pytestmark = pytest.mark.process

SMS, IRC = "sms.montague.lit", "irc.montague.lit"
BENVOLIO = "benvolio@montague.lit"
STREET = f"{BENVOLIO}/street"
PRIVILEGE = "urn:xmpp:privilege:2"
ROSTER = "<query xmlns='jabber:iq:roster'>{}</query>"
TYBALT = ROSTER.format("<item jid='tybalt@evil.example' subscription='both'/>")
PING = "<iq xmlns='jabber:client' type='get' id='in'><ping xmlns='urn:xmpp:ping'/></iq>"
ASKED = f"<privileged_iq xmlns='{PRIVILEGE}'>{PING}</privileged_iq>"
SPEECH = (
    f"<privilege xmlns='{PRIVILEGE}'><forwarded xmlns='urn:xmpp:forward:0'>"
    f"<message xmlns='jabber:client' from='mercutio@montague.lit' to='{STREET}'>"
    "<body>trust me</body></message>"
    "</forwarded></privilege>"
)


# --- E1: who is let in ---------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["", "trust me, it is secreT", "x" * 1000])
def test_E1_a_wrong_secret(scene: Scene, secret: str) -> None:
    scene.lines = 2  # whose secret it is not, and what it was told
    wire = scene.greeted(SMS)
    wire.say(handshake(wire.header["id"], secret))
    assert wire.is_dismissed_with("not-authorized")


def test_E1_the_proof_of_another_stream(scene: Scene) -> None:
    scene.lines = 2
    other, wire = scene.greeted(SMS), scene.greeted(SMS)
    wire.say(handshake(other.header["id"]))
    assert wire.is_dismissed_with("not-authorized")


def test_E1_a_second_one(scene: Scene) -> None:
    first, second = scene.component(), scene.greeted(SMS)
    second.say(handshake(second.header["id"]))
    assert second.is_dismissed_with("conflict")
    assert answered(first, SMS)


@pytest.mark.parametrize("domain", ["icq.montague.lit", "montague.lit", "evil.example", "@", ""])
def test_E1_a_component_that_nobody_knows(scene: Scene, domain: str) -> None:
    wire = scene.connected("component")
    wire.say(f"{COMPONENT_HEAD}to='{domain}'>")
    assert wire.is_dismissed_with("host-unknown")


def test_E1_a_server_that_says_it_is_a_component_of_ours(scene: Scene) -> None:
    """Even with a certificate for that name."""
    wire = scene.connected("s2s")
    wire.greet(f"from='{SMS}' to='montague.lit' version='1.0'", SERVER_HEAD)
    assert wire.is_dismissed_with("invalid-from")
    proved = scene.proved()
    answer = proved.ask(f"<db:result from='{SMS}' to='montague.lit'>{'0' * 64}</db:result>")
    assert (answer.get("type"), condition(answer)) == ("error", "not-acceptable")


# --- E2: for whom it speaks ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sender", ["mercutio@montague.lit", "montague.lit", "evil.example", f"x.{SMS}", f"x@{IRC}", "@"]
)
def test_E2_a_from_outside_its_domain(scene: Scene, sender: str) -> None:
    wire = scene.component()
    wire.say(f"<message from='{sender}' to='{STREET}'><body>trust me</body></message>")
    assert wire.is_dismissed_with("invalid-from")


def test_E2_before_it_has_shown_its_secret(scene: Scene) -> None:
    wire = scene.greeted(SMS)
    wire.say(f"<message from='{SMS}' to='{STREET}'><body>trust me</body></message>")
    assert wire.is_dismissed_with("not-authorized")


# --- E3: what it was not granted -------------------------------------------------------------------


def answered(wire: Wire, sender: str) -> bool:
    """Whether it goes on as ever, and was told nothing else."""
    pong = wire.ask(
        f"<iq from='{sender}' to='montague.lit' type='get' id='sync'><ping xmlns='urn:xmpp:ping'/></iq>"
    )
    return (pong.get("id"), pong.get("type")) == ("sync", "result")


def roster(irc: Wire) -> str:
    """That of Benvolio, as the component gets it that may read it."""
    answer = irc.ask(f"<iq from='{IRC}' to='{BENVOLIO}' type='get' id='r'>{ROSTER.format('')}</iq>")
    assert answer.get("type") == "result"
    return tostring(answer[0]).decode()


@pytest.mark.parametrize(
    "said",
    [
        f"<iq from='{{}}' to='{BENVOLIO}' type='set' id='e3'>{TYBALT}</iq>",
        f"<message from='{{}}' to='montague.lit' id='e3'>{SPEECH}</message>",
        f"<iq from='{{}}' to='{BENVOLIO}' type='get' id='e3'>{ASKED}</iq>",
    ],
    ids=["roster", "message", "iq"],
)
def test_E3_a_privilege_that_was_not_granted(scene: Scene, said: str) -> None:
    scene.lines = 0
    sms, irc = scene.component(), scene.component(IRC)
    assert irc.next().find(f"{{{PRIVILEGE}}}privilege") is not None  # what it may do: read rosters
    before = roster(irc)
    for wire, domain in ((sms, SMS), (irc, IRC)):
        refused = wire.ask(said.format(domain))
        assert (refused.get("id"), condition(refused)) == ("e3", "forbidden")
    assert roster(irc) == before
    read = f"<iq from='{SMS}' to='{BENVOLIO}' type='get' id='e3'>{ROSTER.format('')}</iq>"
    assert condition(sms.ask(read)) == "forbidden"


def test_E3_presence_that_was_not_granted(scene: Scene) -> None:
    scene.lines = 0
    irc = scene.component(IRC)
    irc.next()
    scene.mercutio.ask("<presence><show>away</show></presence>")
    scene.bound().drop()
    assert answered(irc, IRC)
