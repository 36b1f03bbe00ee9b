"""XEP-0478: what is borne on a stream is told, and what the other side bears is respected (abuse row D11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.streams.protocol import StreamSettings
from jabberd.xmpp import ns, stream
from jabberd.xmpp.boundaries import Limits
from jabberd.xmpp.element import parse
from tests.streams.federated import EXTERNAL, Listening, Peer, Server, World, connect

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Network

ROMEO, TYBALT = "romeo@montague.lit/orchard", "tybalt@evil.example/street"


@pytest.fixture
def world() -> World:
    return World()


def limits(most: int | str, idle: int = 600) -> str:
    return (
        f"<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>{most}</max-bytes>"
        f"<idle-seconds>{idle}</idle-seconds></limits>"
    )


# --- what we tell --------------------------------------------------------------------------------


def told(features: _Element) -> tuple[str | None, str | None]:
    found = features.find(f"{{{ns.LIMITS}}}limits")
    if found is None:
        return None, None
    return found.findtext(f"{{{ns.LIMITS}}}max-bytes"), found.findtext(f"{{{ns.LIMITS}}}idle-seconds")


def test_a_client_is_told_what_it_may_send_before_login_and_behind_it(network: Network) -> None:
    network.serve("montague.lit", streams=StreamSettings(after=Limits(size=50_000), idle=120.5))
    client = network.connected(ROMEO)
    assert told(client.open()) == ("8192", "120")
    client.login()
    assert told(client.open()) == ("50000", "120")


def test_before_tls_a_client_is_told_nothing_but_to_start_it(network: Network) -> None:
    network.serve("montague.lit", tls=True)
    assert told(network.connected(ROMEO).open()) == (None, None)


def test_what_a_client_is_told_holds(network: Network) -> None:
    network.serve("montague.lit", streams=StreamSettings(after=Limits(size=50_000)))
    romeo, juliet = network.client(ROMEO), network.client("juliet@montague.lit/balcony")
    around = f"<message to='juliet@montague.lit/balcony'><body>{'{}'}</body></message>"
    body = "x" * (50_000 - len(around.format("")))
    romeo.send(around.format(body))
    assert len(juliet.next()[0].text or "") == len(body)
    romeo.send(around.format(body + "x"))
    assert romeo.is_dismissed_with("policy-violation")


def test_a_server_is_told_what_holds_for_stanzas_once_it_has_tls(world: World) -> None:
    montague = world.serve("montague.lit", streams=StreamSettings(after=Limits(size=50_000), idle=3600))
    peer = connect(world, montague)
    assert "<limits" not in peer.open()
    assert limits(50_000, 3600) in peer.encrypt()  # behind dialback there would be no more features
    peer.say(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>")
    assert limits(50_000, 3600) in peer.open()


# --- what they tell ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "most"),
    [
        (limits(50_000), 50_000),
        (limits(" 50000 "), 50_000),
        (limits(8192), 10_000),  # RFC 6120 §13.12: that cannot be meant for stanzas
        (limits("-1"), None),
        (limits("all"), None),
        (limits("9" * 5000), None),
        (limits("٣٠٠٠٠"), None),
        ("<limits xmlns='urn:xmpp:stream-limits:0'/>", None),
        ("<limits xmlns='urn:example:limits'><max-bytes>50000</max-bytes></limits>", None),
        ("", None),
    ],
)
def test_what_a_peer_bears_is_read_from_its_features(features: str, most: int | None) -> None:
    element = parse(f"<features xmlns='{ns.STREAM}'>{features}</features>".encode())
    assert stream.most_bytes(element) == most


def linked(world: World, *features: str) -> tuple[Server, Peer]:
    montague = world.serve("montague.lit")
    listening = Listening(world)
    montague.message(ROMEO, TYBALT, "m0")
    [peer] = listening.peers
    peer.accept_tls()
    peer.greet(EXTERNAL)
    peer.say(f"<success xmlns='{ns.SASL}'/>")
    peer.greet(*features)
    return montague, peer


def large(size: int, name: str = "message", id: str = "large") -> str:
    return (
        f"<{name} xmlns='{ns.CLIENT}' from='{ROMEO}' to='{TYBALT}' id='{id}' type='chat'>"
        f"<body>{'x' * size}</body></{name}>"
    )


def test_d11_what_is_larger_than_the_peer_takes_goes_back_and_the_link_stays_up(world: World) -> None:
    montague, peer = linked(world, limits(20_000))
    montague.send(large(20_000))
    [bounce] = montague.heard
    error = bounce.child(f"{{{ns.CLIENT}}}error")
    assert error is not None
    assert (bounce.id, bounce.type, str(bounce.to)) == ("large", "error", ROMEO)
    assert error[0].tag == f"{{{ns.STANZA_ERRORS}}}policy-violation"
    assert error[1].text == "evil.example takes stanzas of at most 20000 bytes"
    assert error.get("by") is None
    peer.heard = ""
    montague.message(ROMEO, TYBALT, "m2")
    assert "id='m2'" in peer.heard
    assert not peer.closed


def test_d11_the_limit_is_exact(world: World) -> None:
    montague, peer = linked(world, limits(20_000))
    around = len(large(0).replace(f" xmlns='{ns.CLIENT}'", ""))
    montague.send(large(20_000 - around, id="large"))
    assert "id='large'" in peer.heard
    assert montague.heard == []
    montague.send(large(20_000 - around + 1, id="large"))
    assert len(montague.heard) == 1


def test_d11_what_waited_for_the_link_is_measured_when_the_link_is_up(world: World) -> None:
    montague = world.serve("montague.lit")
    listening = Listening(world)
    montague.send(large(20_000, id="m1"))
    montague.message(ROMEO, TYBALT, "m2")
    [peer] = listening.peers
    peer.accept_tls()
    peer.greet(EXTERNAL, limits(20_000))
    peer.say(f"<success xmlns='{ns.SASL}'/>")
    peer.greet(limits(20_000))
    assert montague.errors == [("m1", "policy-violation", "modify")]
    assert "id='m2'" in peer.heard
    assert "id='m1'" not in peer.heard


def test_who_says_nothing_gets_everything(world: World) -> None:
    montague, peer = linked(world)
    montague.send(large(200_000))
    assert "id='large'" in peer.heard
