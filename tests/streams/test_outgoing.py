"""What we say to a server that we open a stream to, and what we make of what it says."""

from __future__ import annotations

import pytest

from jabberd.certificates import issue
from jabberd.streams.proof import Policy
from jabberd.xmpp import ns
from jabberd.xmpp.dialback import make_key
from tests.streams.federated import DIALBACK, EXTERNAL, INTERMEDIATE, Listening, Peer, Server, World

ROMEO, TYBALT = "romeo@montague.lit/orchard", "tybalt@evil.example"
SUCCESS = f"<success xmlns='{ns.SASL}'/>"


@pytest.fixture
def world() -> World:
    return World()


def called(world: World, policy: Policy = Policy()) -> tuple[Server, Peer]:  # noqa: B008  # frozen
    """A server with a message for evil.example, and the peer that it has just connected to."""
    listening = Listening(world)
    montague = world.serve("montague.lit", policy)
    montague.message(ROMEO, TYBALT)
    [peer] = listening.peers
    return montague, peer


def stream_error(condition: str, text: str = "") -> str:
    said = text and f"<text xmlns='{ns.STREAM_ERRORS}'>{text}</text>"
    return f"<stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'/>{said}</stream:error></stream:stream>"


@pytest.mark.rfc6120("4.7.2-1", "4.7.3-3", "4.7.5-3")
def test_our_header_names_both_domains_and_no_id(world: World) -> None:
    _, peer = called(world)
    assert peer.heard.startswith(f"<?xml version='1.0'?><stream:stream xmlns='{ns.SERVER}'")
    assert f"xmlns:db='{ns.DIALBACK}'" in peer.heard
    assert "from='montague.lit' to='evil.example' version='1.0' xml:lang='en'>" in peer.heard
    assert " id=" not in peer.heard


@pytest.mark.rfc6120("4.3.3-2", "4.7.1-1", "6.3.8-1", "6.3.3-2")
def test_external_carries_our_name(world: World) -> None:
    _, peer = called(world)
    peer.accept_tls()
    assert "from='montague.lit'" in peer.heard
    assert peer.greet(EXTERNAL, DIALBACK) == (
        f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>bW9udGFndWUubGl0</auth>"
    )


@pytest.mark.rfc6120("4.3.2-2", "4.7.1-3", "4.3.5-3")
def test_what_waited_is_sent_after_the_proof_and_not_before(world: World) -> None:
    montague, peer = called(world)
    peer.accept()
    assert peer.heard == (f"<message from='{ROMEO}' to='{TYBALT}' id='m1'><body>hi!</body></message>")
    montague.message(ROMEO, TYBALT, "m2")
    assert "id='m2'" in peer.heard


@pytest.mark.rfc6120("4.8.3-4", "4.8.5-1")
def test_a_stanza_goes_in_the_namespace_of_servers(world: World) -> None:
    montague, peer = called(world)
    peer.accept()
    montague.send(
        f"<message xmlns='{ns.CLIENT}' from='{ROMEO}' to='{TYBALT}'>"
        f"<x:body xmlns:x='{ns.CLIENT}'>ho</x:body></message>"
    )
    assert peer.heard.endswith(f"<message from='{ROMEO}' to='{TYBALT}'><body>ho</body></message>")


def test_G7_a_stream_id_that_the_peer_chose_is_part_of_one_line_in_the_log(world: World) -> None:
    _, peer = called(world)
    peer.say(peer.header(id="a&#10;b&#x9b;" + "c" * 100))
    shown = str(world.internet.pipes[0].client.protocol)
    assert "ccc" in shown
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) < 80


def test_without_external_there_is_dialback(world: World) -> None:
    montague, peer = called(world)
    peer.accept_tls()
    key = make_key(montague.terms.secret, "evil.example", "montague.lit", "s2")
    assert (
        peer.greet(DIALBACK, id="s2") == f"<db:result from='montague.lit' to='evil.example'>{key}</db:result>"
    )
    assert "id='m1'" in peer.say("<db:result from='evil.example' to='montague.lit' type='valid'/>")


def test_dialback_without_the_feature_is_seen_in_the_header(world: World) -> None:
    _, peer = called(world)
    peer.accept_tls()
    assert peer.greet().startswith("<db:result")


@pytest.mark.rfc6120("6.3.3-2", "6.5-2")
@pytest.mark.parametrize("condition", ["not-authorized", "unheard-of"])
def test_after_a_refused_certificate_there_is_dialback(world: World, condition: str) -> None:
    _, peer = called(world)
    peer.accept_tls()
    assert "mechanism='EXTERNAL'" in peer.greet(DIALBACK, EXTERNAL)
    heard = peer.say(f"<failure xmlns='{ns.SASL}'><{condition}/></failure>")
    assert heard.startswith("<db:result from='montague.lit'")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("type='invalid'/>", ("internal-server-error", "cancel")),
        (
            f"type='error'><error><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error></db:result>",
            ("remote-server-timeout", "cancel"),
        ),
    ],
)
def test_a_dialback_that_fails_sends_everything_back(
    world: World, answer: str, error: tuple[str, str]
) -> None:
    """XEP-0220 §2.1.1."""
    montague, peer = called(world)
    peer.accept_tls()
    peer.greet(DIALBACK)
    peer.say(f"<db:result from='evil.example' to='montague.lit' {answer}")
    assert montague.errors == [("m1", *error)]
    assert peer.closed


@pytest.mark.parametrize(
    "said",
    [
        "<db:result from='evil.example' to='montague.lit' type='valid'/>",
        "<db:result from='capulet.lit' to='montague.lit' type='valid'/>",
        "<db:verify from='evil.example' to='montague.lit' id='s1' type='valid'/>",
    ],
)
def test_D6_an_answer_before_the_question(world: World, said: str) -> None:
    montague, peer = called(world)
    peer.accept_tls()
    assert peer.say(peer.header() + said) == ""
    assert montague.heard == []
    assert [link.stream for link in montague.federation.links.values()] == [None]


@pytest.mark.parametrize(
    "said",
    [
        "<db:result from='capulet.lit' to='montague.lit' type='valid'/>",
        "<db:result from='evil.example' to='verona.lit' type='valid'/>",
        "<db:verify from='evil.example' to='montague.lit' id='s1' type='valid'/>",
    ],
)
def test_D6_the_answer_to_another_question(world: World, said: str) -> None:
    montague, peer = called(world)
    peer.accept_tls()
    peer.greet(DIALBACK)
    assert peer.say(said) == ""
    assert [link.stream for link in montague.federation.links.values()] == [None]


@pytest.mark.rfc6120("5.3.1-1")
@pytest.mark.parametrize(
    "said", [f"<failure xmlns='{ns.TLS}'/></stream:stream>", stream_error("unsupported-stanza-type"), ""]
)
def test_D8_a_server_without_tls(world: World, said: str) -> None:
    montague, peer = called(world)
    assert peer.greet(EXTERNAL, DIALBACK) == f"<starttls xmlns='{ns.TLS}'/>"
    peer.say(said)
    assert peer.transport is not None
    peer.transport.loseConnection()
    world.internet.flush()
    assert b"it offers no encryption" in montague.heard[0].payload
    assert montague.errors == [("m1", "remote-server-timeout", "cancel")]


@pytest.mark.rfc7590("3.1-1")
def test_D8_tls_is_started_though_somebody_took_the_offer_out_on_the_way(world: World) -> None:
    montague, peer = called(world)
    peer.accept_tls(offers=(EXTERNAL, DIALBACK))
    assert "mechanism='EXTERNAL'" in peer.greet(EXTERNAL)
    peer.say(SUCCESS)
    assert "id='m1'" in peer.greet()
    assert montague.heard == []


@pytest.mark.rfc7590("3.1-1")
def test_D8_what_fails_behind_tls_that_was_not_offered_is_told_as_it_is(world: World) -> None:
    montague, peer = called(world)
    peer.accept_tls(offers=())
    peer.greet()
    peer.say(stream_error("host-unknown"))
    assert montague.errors == [("m1", "remote-server-not-found", "cancel")]


@pytest.mark.rfc6120("13.9.5-2")
def test_a_server_with_a_bad_certificate_is_told(world: World) -> None:
    montague, peer = called(world)
    peer.accept_tls(issue(INTERMEDIATE, "verona.lit"))
    heard = peer.greet(EXTERNAL, DIALBACK)
    assert f"<not-authorized xmlns='{ns.STREAM_ERRORS}'/>" in heard
    assert (
        "its certificate does not vouch for it: it names only verona.lit"
        in montague.heard[0].payload.decode()
    )


def test_a_server_that_takes_no_proof(world: World) -> None:
    montague, peer = called(world)
    peer.accept_tls()
    peer.say(peer.header().replace(f" xmlns:db='{ns.DIALBACK}'", "") + "<stream:features/>")
    assert montague.errors == [("m1", "remote-server-timeout", "cancel")]
    assert peer.closed


def test_a_server_that_cannot_start_tls(world: World) -> None:
    montague, peer = called(world)
    peer.greet(f"<starttls xmlns='{ns.TLS}'/>")
    peer.say(f"<failure xmlns='{ns.TLS}'/></stream:stream>")
    world.advance(121)
    assert montague.errors == [("m1", "remote-server-timeout", "wait")]


def test_a_server_that_speaks_no_xmpp_1(world: World) -> None:
    montague, peer = called(world)
    heard = peer.greet(attrs="")
    assert "<unsupported-version" in heard
    assert montague.errors == [("m1", "remote-server-timeout", "cancel")]


@pytest.mark.rfc6120("4.9.2-2", "4.9.2-4")
@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ("host-unknown", ("remote-server-not-found", "cancel")),
        ("host-gone", ("remote-server-not-found", "cancel")),
        ("policy-violation", ("remote-server-timeout", "cancel")),
        ("not-authorized", ("remote-server-timeout", "cancel")),
        ("nonsense", ("remote-server-timeout", "cancel")),
    ],
)
@pytest.mark.parametrize("text", ["", "host-unknown", "system-shutdown"])
def test_what_a_stream_error_means_to_those_who_wrote(
    world: World, condition: str, error: tuple[str, str], text: str
) -> None:
    montague, peer = called(world)
    peer.say(peer.header() + stream_error(condition, text))
    assert montague.errors == [("m1", *error)]
    assert peer.closed


@pytest.mark.rfc6120("4.9.2-2")
def test_the_peers_words_are_not_passed_on(world: World) -> None:
    montague, peer = called(world)
    peer.say(peer.header() + stream_error("Ünheard-of"))
    assert b"undefined-condition" in montague.heard[0].payload


@pytest.mark.parametrize("condition", ["system-shutdown", "resource-constraint", "connection-timeout"])
def test_what_may_pass_is_waited_for(world: World, condition: str) -> None:
    montague, peer = called(world)
    peer.say(peer.header() + stream_error(condition))
    assert montague.heard == []
    assert [link.waiting for link in montague.federation.links.values()] == [1]


def test_stanzas_do_not_come_in_on_our_stream(world: World) -> None:
    montague, peer = called(world)
    peer.accept()
    heard = peer.say(f"<message from='{TYBALT}' to='romeo@montague.lit'/>")
    assert "<not-authorized" in heard
    assert montague.heard == []


def test_what_is_not_well_formed_ends_the_stream(world: World) -> None:
    montague, peer = called(world)
    assert "<not-well-formed" in peer.say("HTTP/1.1 400 Bad Request\r\n\r\n")
    world.advance(121)
    assert montague.errors == [("m1", "remote-server-timeout", "wait")]


def test_D10_a_peer_that_accepts_the_connection_and_stays_silent(world: World) -> None:
    montague, peer = called(world)
    world.advance(11)
    assert peer.closed
    world.advance(110)
    assert montague.errors == [("m1", "remote-server-timeout", "wait")]


def test_D10_a_peer_that_falls_silent_on_the_way(world: World) -> None:
    montague, peer = called(world)
    peer.accept_tls()
    peer.greet(EXTERNAL)
    world.advance(61)
    assert "<connection-timeout" in peer.heard
    world.advance(60)
    assert montague.errors == [("m1", "remote-server-timeout", "wait")]
