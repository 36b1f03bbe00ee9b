"""What another server may do on a stream that it opened, and what happens if it does more."""

from __future__ import annotations

import re

import pytest
from twisted.internet.defer import Deferred

from jabberd.certificates import issue
from jabberd.settings import Federation
from jabberd.streams.proof import Policy
from jabberd.streams.protocol import StreamSettings
from jabberd.xmpp import ns
from jabberd.xmpp.dialback import make_key
from jabberd.xmpp.errors import StreamError
from tests.streams.federated import (
    CERTIFICATES,
    INTERMEDIATE,
    Listening,
    Peer,
    Server,
    World,
    connect,
)

AUTH = f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>"
EITHER = Policy("either")


@pytest.fixture
def world() -> World:
    return World()


def message(sender: str = "tybalt@evil.example", to: str = "romeo@montague.lit", id: str = "m1") -> str:
    return f"<message from='{sender}' to='{to}' id='{id}'><body>hi!</body></message>"


def result(key: str = "k", sender: str = "evil.example", to: str = "montague.lit", type: str = "") -> str:
    return f"<db:result from='{sender}' to='{to}'{type}>{key}</db:result>"


def ended_with(peer: Peer, heard: str, condition: str) -> bool:
    """Whether the stream was closed with that error and nothing else."""
    assert re.search(rf"<stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'", heard), heard
    assert heard.endswith("</stream:stream>")
    return peer.closed


def proved(world: World, server: Server) -> Peer:
    """A peer that has proved that it is evil.example."""
    peer = connect(world, server)
    peer.authenticate()
    return peer


def dialled(world: World, server: Server, *, domain: str = "evil.example") -> Peer:
    """A peer with a stream on which it may try dialback."""
    peer = connect(world, server, ours=domain)
    peer.open()
    assert "dialback" in peer.encrypt(issue(None, domain))
    return peer


# --- the header ------------------------------------------------------------------------------------


@pytest.mark.rfc6120("4.7.2-4", "4.7.4-2", "4.8.2-1", "4.8.3-3")
def test_our_header_has_id_language_and_both_domains(world: World) -> None:
    heard = connect(world, world.serve("montague.lit")).open()
    assert f"xmlns='{ns.SERVER}'" in heard
    assert f"xmlns:db='{ns.DIALBACK}'" in heard
    assert "from='montague.lit' to='evil.example'" in heard
    assert "xml:lang='en'" in heard
    assert "version='1.0'" in heard


@pytest.mark.rfc6120("4.7.3-1", "4.7.3-2", "5.4.3.3-2")
def test_stream_ids_are_long_and_never_the_same(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = connect(world, montague)
    peer.open()
    first = peer.id
    peer.encrypt()
    assert len({first, peer.id, *(connect_id(world, montague) for _ in range(3))}) == 5
    assert len(first) == 32


def connect_id(world: World, server: Server) -> str:
    peer = connect(world, server)
    peer.open()
    return peer.id


def test_A9_the_client_namespace_on_the_server_port(world: World) -> None:
    peer = connect(world, world.serve("montague.lit"))
    heard = peer.open(
        header=f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}' to='montague.lit'>"
    )
    assert ended_with(peer, heard, "invalid-namespace")
    assert heard.startswith("<?xml")


@pytest.mark.rfc6120("4.9.1.2-1", "4.9.1.3-1")
@pytest.mark.parametrize("to", ["verona.lit", "", "romeo@montague.lit", "@@"])
def test_A10_a_domain_that_is_not_hosted(world: World, to: str) -> None:
    peer = connect(world, world.serve("montague.lit"))
    heard = peer.open(
        header=f"<stream:stream xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}' to='{to}' version='1.0'>"
    )
    assert ended_with(peer, heard, "host-unknown")
    assert " from='' id=" in heard
    assert heard.startswith("<?xml")


def test_A11_a_peer_without_version(world: World) -> None:
    peer = connect(world, world.serve("montague.lit"))
    heard = peer.open(
        header=f"<stream:stream xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}' to='montague.lit'>"
    )
    assert ended_with(peer, heard, "unsupported-version")


def test_a_peer_that_claims_one_of_our_domains(world: World) -> None:
    montague = world.serve("montague.lit", also={"verona.lit": Policy()})
    peer = connect(world, montague, ours="verona.lit")
    assert ended_with(peer, peer.open(), "invalid-from")


def test_a_domain_that_does_not_federate_says_so(world: World) -> None:
    peer = connect(world, world.serve("montague.lit", Policy("off")))
    assert ended_with(peer, peer.open(), "policy-violation")


def test_a_silent_peer_is_closed_after_the_negotiation_timeout(world: World) -> None:
    peer = connect(world, world.serve("montague.lit", streams=StreamSettings(negotiation=60.0)))
    peer.open()
    world.advance(59)
    assert not peer.closed
    peer.heard = ""
    world.advance(2)
    assert ended_with(peer, peer.heard, "connection-timeout")


def test_a_proved_peer_may_be_silent(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    world.advance(3600, step=60)
    peer.say(message())
    assert montague.bodies == ["m1"]


def test_a_proved_peer_that_says_nothing_for_long_is_let_go_of_in_peace(world: World) -> None:
    montague = world.serve("montague.lit", streams=StreamSettings(idle=600))
    silent, talking = proved(world, montague), proved(world, montague)
    for _ in range(2):
        world.advance(599, step=60)
        talking.say(" ")
        montague.factory.sweep()
        world.internet.flush()
    assert silent.closed
    assert silent.heard.endswith("</stream:stream>")
    assert "<stream:error>" not in silent.heard
    assert not talking.closed


# --- TLS -------------------------------------------------------------------------------------------


@pytest.mark.rfc6120("5.3.1-1")
@pytest.mark.parametrize("said", [AUTH, result(), f"<db:verify id='1'>{'k'}</db:verify>"])
def test_D8_a_peer_that_skips_starttls(world: World, said: str) -> None:
    montague = world.serve("montague.lit", EITHER)
    peer = connect(world, montague)
    assert "<required/>" in peer.open()
    assert ended_with(peer, peer.say(said), "policy-violation")
    assert montague.heard == []


@pytest.mark.parametrize(
    "bad", [issue(INTERMEDIATE, "evil.example", expired=True), issue(None, "evil.example")]
)
def test_D8_external_is_neither_offered_nor_taken(world: World, bad: object) -> None:
    montague = world.serve("montague.lit", Policy("certificate"))
    peer = connect(world, montague)
    peer.open()
    heard = peer.encrypt(bad)  # type: ignore[arg-type]  # they are certificates
    assert "<mechanism" not in heard
    assert "<dialback" not in heard
    assert "<invalid-mechanism/>" in peer.say(AUTH)
    assert "<not-authorized" in peer.say(result())  # no silent fall-back to dialback
    assert ended_with(peer, peer.say(message()), "not-authorized")
    assert montague.heard == []


@pytest.mark.rfc6120("5.3.3-1")
def test_B3_what_comes_in_the_clear_behind_starttls_is_thrown_away(world: World) -> None:
    montague = world.serve("montague.lit", Policy("either", require_tls=False))
    peer = connect(world, montague)
    peer.open()
    heard = peer.say(f"<starttls xmlns='{ns.TLS}'/>{result()}")
    assert heard == f"<proceed xmlns='{ns.TLS}'/>"
    assert len(world.internet.pipes) == 1  # nobody was asked about the key


def test_B4_starttls_when_tls_is_on(world: World) -> None:
    peer = connect(world, world.serve("montague.lit"))
    peer.open()
    peer.encrypt()
    heard = peer.say(f"<starttls xmlns='{ns.TLS}'/>")
    assert heard == f"<failure xmlns='{ns.TLS}'/></stream:stream>"
    assert peer.closed


# --- SASL EXTERNAL ---------------------------------------------------------------------------------


@pytest.mark.rfc6120("4.3.6-5", "13.8.4-1")
def test_external_with_the_name_of_the_stream(world: World) -> None:
    peer = connect(world, world.serve("montague.lit"))
    peer.open()
    peer.encrypt()
    heard = peer.say(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>ZXZpbC5leGFtcGxl</auth>")
    assert heard == f"<success xmlns='{ns.SASL}'/>"


@pytest.mark.rfc6120("6.3.8-2")
def test_external_with_another_name(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = connect(world, montague)
    peer.open()
    peer.encrypt()
    assert "<invalid-authzid/>" in peer.say(
        f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>Y2FwdWxldC5saXQ=</auth>"
    )
    assert montague.proofs == {}


@pytest.mark.rfc6120("6.3.10-1")
def test_external_without_an_initial_response_is_asked_for_one(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = connect(world, montague)
    peer.open()
    peer.encrypt()
    heard = peer.say(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'/>")
    assert heard == f"<challenge xmlns='{ns.SASL}'>=</challenge>"
    assert "<success" in peer.say(f"<response xmlns='{ns.SASL}'/>")
    assert list(montague.proofs) == [("montague.lit", "evil.example")]


def test_B12_a_second_auth_after_success(world: World) -> None:
    peer = proved(world, world.serve("montague.lit"))
    assert ended_with(peer, peer.say(AUTH), "policy-violation")


def test_B12_a_response_without_challenge(world: World) -> None:
    peer = connect(world, world.serve("montague.lit"))
    peer.open()
    peer.encrypt()
    assert "<malformed-request/>" in peer.say(f"<response xmlns='{ns.SASL}'>=</response>")


@pytest.mark.rfc6120("6.4.5-2")
def test_B11_too_many_tries(world: World) -> None:
    peer = connect(world, world.serve("montague.lit"))
    peer.open()
    peer.encrypt(issue(None, "evil.example"))
    for _ in range(4):
        assert "<failure" in peer.say(AUTH)
    assert ended_with(peer, peer.say(AUTH), "policy-violation")


def test_nobody_becomes_somebody_else_after_success(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = connect(world, montague)
    peer.open()
    peer.encrypt()
    peer.say(AUTH)
    peer.ours = "capulet.lit"
    assert ended_with(peer, peer.open(), "not-authorized")


def test_without_a_from_nobody_can_be_vouched_for(world: World) -> None:
    peer = connect(world, world.serve("montague.lit"))
    peer.open()
    heard = peer.encrypt(
        header=f"<stream:stream xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}'"
        " to='montague.lit' version='1.0'>"
    )
    assert "<mechanism" not in heard


# --- dialback --------------------------------------------------------------------------------------


def test_a_right_key(world: World) -> None:
    capulet, montague = world.serve("capulet.lit", EITHER), world.serve("montague.lit", EITHER)
    peer = dialled(world, montague, domain="capulet.lit")
    key = make_key(capulet.terms.secret, "montague.lit", "capulet.lit", peer.id)
    heard = peer.say(result(key, "capulet.lit"))
    assert heard == "<db:result from='montague.lit' to='capulet.lit' type='valid'></db:result>"
    peer.say(message("juliet@capulet.lit"))
    assert montague.bodies == ["m1"]


@pytest.mark.parametrize("wrong", ["key", "stream id"])
def test_D5_a_wrong_key(world: World, wrong: str) -> None:
    capulet, montague = world.serve("capulet.lit", EITHER), world.serve("montague.lit", EITHER)
    peer = dialled(world, montague, domain="capulet.lit")
    key = make_key(capulet.terms.secret, "montague.lit", "capulet.lit", "another")
    heard = peer.say(result("0" * 64 if wrong == "key" else key, "capulet.lit"))
    assert (
        heard == "<db:result from='montague.lit' to='capulet.lit' type='invalid'></db:result></stream:stream>"
    )
    assert peer.closed
    assert montague.proofs == {}


def test_a_wrong_key_does_not_end_a_stream_that_others_use(world: World) -> None:
    world.serve("capulet.lit", EITHER)
    montague = world.serve("montague.lit", EITHER)
    peer = proved(world, montague)
    heard = peer.say(result("0" * 64, "capulet.lit"))
    assert "type='error'><error type='auth'><forbidden " in heard
    assert list(montague.proofs) == [("montague.lit", "evil.example")]
    assert not peer.closed


@pytest.mark.parametrize("name", ["result", "verify"])
@pytest.mark.parametrize("policy", [Policy("certificate"), EITHER])
def test_D6_an_answer_that_nobody_asked_for(world: World, name: str, policy: Policy) -> None:
    montague = world.serve("montague.lit", policy)
    peer = connect(world, montague)
    peer.open()
    peer.encrypt(issue(None, "evil.example"))
    assert peer.say(f"<db:{name} from='evil.example' to='montague.lit' id='1' type='valid'/>") == ""
    assert montague.proofs == {}
    assert ended_with(peer, peer.say(message()), "not-authorized")


def test_D7_dialback_to_a_domain_that_is_not_hosted(world: World) -> None:
    montague = world.serve("montague.lit", EITHER)
    peer = proved(world, montague)
    assert peer.say(result(to="verona.lit")) == (
        "<db:result from='verona.lit' to='evil.example' type='error'>"
        f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error></db:result>"
    )
    peer.say(message())
    assert montague.bodies == ["m1"]


def test_several_pairs_share_a_stream(world: World) -> None:
    """XEP-0220 §2.6: sender domains and target domains, each pair proved by itself."""
    capulet = world.serve("capulet.lit", EITHER)
    montague = world.serve("montague.lit", EITHER, also={"verona.lit": EITHER})
    peer = dialled(world, montague, domain="evil.example")
    peer.ours = "capulet.lit"
    for to in ("montague.lit", "verona.lit"):
        key = make_key(capulet.terms.secret, to, "capulet.lit", dialled_id(montague))
        assert "type='valid'" in peer.say(result(key, "capulet.lit", to))
        peer.say(message("juliet@capulet.lit", f"romeo@{to}"))
    assert len(montague.heard) == 2
    assert montague.proofs == {(to, "capulet.lit"): "dialback" for to in ("montague.lit", "verona.lit")}


def dialled_id(server: Server) -> str:
    return server.incoming[0].id


def test_a_certificate_proves_a_further_pair_without_dialling_back(world: World) -> None:
    montague = world.serve("montague.lit", also={"verona.lit": Policy("certificate")})
    peer = proved(world, montague)
    assert "type='valid'" in peer.say(result(to="verona.lit"))
    assert montague.proofs[("verona.lit", "evil.example")] == "certificate"
    assert len(world.internet.pipes) == 1


def test_a_certificate_does_not_prove_a_name_that_it_does_not_have(world: World) -> None:
    montague = world.serve("montague.lit", Policy("certificate"))
    peer = proved(world, montague)
    assert "<not-authorized" in peer.say(result(sender="capulet.lit"))
    assert len(montague.proofs) == 1


def test_each_domain_has_its_own_policy_on_a_shared_stream(world: World) -> None:
    strict = {"verona.lit": Policy("certificate"), "mantua.lit": Policy("off")}
    capulet = world.serve("capulet.lit", EITHER)
    montague = world.serve(
        "montague.lit", EITHER, also=strict, certificates={"montague.lit": CERTIFICATES["montague.lit"]}
    )
    peer = dialled(world, montague, domain="capulet.lit")
    key = make_key(capulet.terms.secret, "montague.lit", "capulet.lit", peer.id)
    assert "type='valid'" in peer.say(result(key, "capulet.lit"))
    assert "<not-authorized" in peer.say(result(key, "capulet.lit", "verona.lit"))
    assert "<not-allowed" in peer.say(result(key, "capulet.lit", "mantua.lit"))
    assert len(montague.proofs) == 1


def test_dialback_for_one_of_our_own_domains(world: World) -> None:
    montague = world.serve("montague.lit", EITHER, also={"verona.lit": EITHER})
    peer = dialled(world, montague)
    assert "<not-acceptable" in peer.say(result(sender="verona.lit"))


def test_dialback_in_the_clear_for_a_domain_that_wants_tls(world: World) -> None:
    montague = world.serve("montague.lit", Policy("either", require_tls=False), also={"verona.lit": EITHER})
    peer = connect(world, montague)
    peer.open()
    assert "<policy-violation" in peer.say(result(to="verona.lit"))


@pytest.mark.parametrize("attrs", ["", "from='evil.example'", "from='x@evil.example' to='montague.lit'"])
def test_dialback_needs_two_domains(world: World, attrs: str) -> None:
    peer = dialled(world, world.serve("montague.lit", EITHER))
    assert ended_with(peer, peer.say(f"<db:result {attrs}>k</db:result>"), "improper-addressing")


def test_dialback_is_answered_with_our_prefix_whatever_the_peers_is(world: World) -> None:
    peer = dialled(world, world.serve("montague.lit", EITHER))
    heard = peer.say("<result xmlns='jabber:server:dialback' from='evil.example' to='verona.lit'>k</result>")
    assert heard.startswith("<db:result from='verona.lit'")


def test_the_authoritative_server_that_cannot_be_reached(world: World) -> None:
    peer = dialled(world, world.serve("montague.lit", EITHER))
    assert peer.say(result()) == (
        "<db:result from='montague.lit' to='evil.example' type='error'><error type='cancel'>"
        f"<remote-connection-failed xmlns='{ns.STANZA_ERRORS}'/></error></db:result>"
    )


def test_the_authoritative_server_that_does_not_exist(world: World) -> None:
    montague = world.serve("montague.lit", EITHER)
    peer = dialled(world, montague)
    assert "<remote-server-not-found" in peer.say(result(sender="mantua.lit"))


def test_the_authoritative_server_that_does_not_host_the_domain(world: World) -> None:
    world.hosts["mantua.lit"] = world.hosts["capulet.lit"]
    world.serve("capulet.lit", EITHER)
    peer = dialled(world, world.serve("montague.lit", EITHER))
    assert "<remote-server-not-found" in peer.say(result(sender="mantua.lit"))


def test_the_authoritative_server_that_says_nothing(world: World) -> None:
    Listening(world)
    peer = dialled(world, world.serve("montague.lit", EITHER))
    assert peer.say(result()) == ""
    world.advance(31)
    assert "<remote-connection-failed" in peer.heard


def test_meanwhile_other_pairs_go_on(world: World) -> None:
    Listening(world, "capulet.lit")
    montague = world.serve("montague.lit", EITHER)
    peer = proved(world, montague)
    peer.say(result(sender="capulet.lit"))
    peer.say(message())
    assert montague.bodies == ["m1"]


def test_a_peer_cannot_make_us_connect_to_everybody(world: World) -> None:
    peer = dialled(world, world.serve("montague.lit", EITHER))
    for number in range(8):
        world.hosts[f"v{number}.example"] = world.hosts["verona.lit"]
    Listening(world, "verona.lit")
    heard = peer.say("".join(result(sender=f"v{number}.example") for number in range(8)))
    assert heard == ""
    assert len(world.internet.pipes) == 9
    assert "<resource-constraint" in peer.say(result(sender="v9.example"))
    assert "<resource-constraint" in peer.say(result(sender="v1.example"))
    assert len(world.internet.pipes) == 9


def test_one_address_has_only_so_many_keys_verified_at_a_time(world: World) -> None:
    montague = world.serve("montague.lit", EITHER)
    montague.factory.use(montague.terms, Federation(address_verifications=2))
    world.internet.silent.add(("192.0.2.3", 5269))
    peers = [dialled(world, montague) for _ in range(3)]
    heard = [peer.say(result("k", "verona.lit")) for peer in peers]
    assert heard[:2] == ["", ""]
    assert "<resource-constraint" in heard[2]
    peers[2].heard = ""
    world.advance(31)
    assert all("type='error'" in peer.heard for peer in peers[:2])
    assert peers[2].say(result("k", "verona.lit")) == ""


def test_a_peer_that_leaves_while_its_key_is_verified(world: World) -> None:
    capulet, montague = world.serve("capulet.lit", EITHER), world.serve("montague.lit", EITHER)
    peer = dialled(world, montague, domain="capulet.lit")
    key = make_key(capulet.terms.secret, "montague.lit", "capulet.lit", peer.id)
    assert peer.transport is not None
    peer.transport.write(result(key, "capulet.lit").encode())
    peer.transport.loseConnection()
    world.internet.flush()
    assert montague.incoming == []


# --- as authoritative server -----------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Policy("certificate"), Policy("dialback"), EITHER])
def test_anybody_may_ask_about_our_keys(world: World, policy: Policy) -> None:
    montague = world.serve("montague.lit", policy)
    peer = connect(world, montague)
    peer.open()
    peer.encrypt(issue(None, "evil.example"))
    key = make_key(montague.terms.secret, "evil.example", "montague.lit", "s1")
    asked = "<db:verify from='evil.example' to='montague.lit' id='s1'>{}</db:verify>"
    answer = "<db:verify from='montague.lit' to='evil.example' id='s1' type='{}'></db:verify>"
    assert peer.say(asked.format(key)) == answer.format("valid")
    assert peer.say(asked.format(key[::-1])) == answer.format("invalid")
    assert peer.say(asked.format("")) == answer.format("invalid")
    assert montague.proofs == {}


def test_D7_a_key_of_a_domain_that_is_not_hosted(world: World) -> None:
    peer = dialled(world, world.serve("montague.lit", EITHER))
    heard = peer.say("<db:verify from='evil.example' to='verona.lit' id='s1'>k</db:verify>")
    assert "id='s1' type='error'><error type='cancel'><item-not-found" in heard
    assert not peer.closed


# --- stanzas ---------------------------------------------------------------------------------------


def test_a_stanza_goes_to_the_router(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    assert peer.say(message()) == ""
    [stanza] = montague.heard
    assert (stanza.sender, stanza.to) == ("tybalt@evil.example", "romeo@montague.lit")
    assert stanza.children == (f"{{{ns.CLIENT}}}body",)


@pytest.mark.rfc6120("8.1.5-1")
def test_the_language_of_the_stream_holds_for_its_stanzas(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    peer.say(message() + "<message from='a@evil.example' to='b@montague.lit' xml:lang='it'/>")
    assert [stanza.lang for stanza in montague.heard] == ["en", "it"]


@pytest.mark.rfc6120("4.3.5-2")
def test_D1_a_stanza_before_tls(world: World) -> None:
    montague = world.serve("montague.lit", EITHER)
    peer = connect(world, montague)
    assert "<required/>" in peer.open()
    assert ended_with(peer, peer.say(message()), "not-authorized")
    assert montague.heard == []


@pytest.mark.rfc6120("4.7.1-3", "13.12-1")
def test_D1_a_stanza_before_the_proof(world: World) -> None:
    montague = world.serve("montague.lit", EITHER)
    peer = dialled(world, montague)
    assert ended_with(peer, peer.say(message()), "not-authorized")
    assert montague.heard == []


@pytest.mark.rfc6120("8.1.2.2-2")
@pytest.mark.parametrize("sender", ["x@verona.lit", "romeo@montague.lit", "montague.lit", "evil.example.lit"])
def test_D2_a_from_that_was_not_proved(world: World, sender: str) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    assert ended_with(peer, peer.say(message(sender)), "invalid-from")
    assert montague.heard == []


@pytest.mark.rfc6120("4.8.3-1", "8.1.1.2-1", "8.1.2.2-1")
@pytest.mark.parametrize(
    "said",
    [
        "<message from='x@evil.example'/>",
        "<message to='romeo@montague.lit'/>",
        "<presence/>",
        "<message from='' to='romeo@montague.lit'/>",
    ],
)
def test_D3_a_stanza_without_to_or_from(world: World, said: str) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    assert ended_with(peer, peer.say(said), "improper-addressing")
    assert montague.heard == []


@pytest.mark.rfc6120("8.1.1.2-2", "10.4-1", "10.5-1")
@pytest.mark.parametrize("to", ["juliet@capulet.lit", "tybalt@evil.example"])
def test_D4_a_stanza_to_a_domain_that_is_not_hosted(world: World, to: str) -> None:
    capulet, montague = world.serve("capulet.lit"), world.serve("montague.lit")
    peer = proved(world, montague)
    assert ended_with(peer, peer.say(message(to=to)), "host-unknown")
    world.internet.flush()
    assert capulet.heard == []
    assert len(world.internet.pipes) == 1


def test_D4_a_hosted_domain_that_the_peer_was_not_proved_to(world: World) -> None:
    montague = world.serve("montague.lit", also={"verona.lit": Policy("certificate")})
    peer = proved(world, montague)
    assert ended_with(peer, peer.say(message(to="escalus@verona.lit")), "host-unknown")
    assert montague.heard == []


@pytest.mark.rfc7622("4-1")
def test_a_malformed_to_is_answered(world: World) -> None:
    evil = world.serve("evil.example")
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    peer.say(message(to="@@montague.lit") + message(id="m2"))
    world.internet.flush()
    assert montague.bodies == ["m2"]
    assert [stanza.attrs["from"] for stanza in evil.heard] == ["montague.lit"]
    assert evil.errors == [("m1", "jid-malformed", "modify")]


def test_a_malformed_to_from_somebody_who_was_not_proved(world: World) -> None:
    peer = proved(world, world.serve("montague.lit"))
    assert ended_with(peer, peer.say(message("x@capulet.lit", "@@")), "invalid-from")


def test_a_malformed_from_costs_that_stanza_and_no_other(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    assert peer.say(message("@@evil.example") + message(id="m2")) == ""
    assert montague.bodies == ["m2"]


@pytest.mark.parametrize("broken", ["type='get' id='q1'", "type='maybe' id='q1'"])
def test_C2_an_iq_that_is_none(world: World, broken: str) -> None:
    evil, montague = world.serve("evil.example"), world.serve("montague.lit")
    peer = proved(world, montague)
    peer.say(f"<iq from='x@evil.example' to='montague.lit' {broken}/>")
    world.internet.flush()
    assert montague.heard == []
    assert [condition for _, condition, _ in evil.errors] == ["bad-request"]


def test_C2_an_iq_without_id(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    assert peer.say("<iq from='x@evil.example' to='montague.lit' type='get'><q xmlns='urn:x'/></iq>") == ""
    assert montague.heard == []


def test_A12_an_unknown_first_level_element(world: World) -> None:
    peer = proved(world, world.serve("montague.lit"))
    assert ended_with(peer, peer.say("<foo xmlns='urn:x'/>"), "unsupported-stanza-type")


def test_H2_before_the_proof_stanzas_are_small(world: World) -> None:
    peer = dialled(world, world.serve("montague.lit", EITHER))
    assert ended_with(peer, peer.say(result("k" * 9000)), "policy-violation")


def test_after_the_proof_stanzas_may_be_large(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    peer.say(f"<message from='x@evil.example' to='romeo@montague.lit'><body>{'x' * 200_000}</body></message>")
    assert len(montague.heard) == 1


@pytest.mark.rfc6120("10.1-4")
def test_an_unanswered_iq_holds_back_only_its_own_lane(world: World) -> None:
    montague = world.serve("montague.lit")
    montague.home["q1"] = Deferred()
    peer = proved(world, montague)
    peer.say(
        "<iq from='tybalt@evil.example' to='romeo@montague.lit' type='get' id='q1'><q xmlns='urn:x'/></iq>"
        + message(to="romeo@montague.lit/orchard", id="m1")
        + message(sender="petruchio@evil.example", id="m2")
        + message(to="benvolio@montague.lit", id="m3")
    )
    assert montague.bodies == ["q1", "m2", "m3"]
    montague.home["q1"].callback(None)
    assert montague.bodies == ["q1", "m2", "m3", "m1"]


def test_H4_reading_pauses_when_too_much_waits(world: World) -> None:
    montague = world.serve("montague.lit")
    montague.home["q1"] = Deferred()
    peer = proved(world, montague)
    peer.say("<iq from='t@evil.example' to='r@montague.lit' type='get' id='q1'><q xmlns='urn:x'/></iq>")
    for number in range(1200):
        peer.say(message("t@evil.example", "r@montague.lit", f"m{number}"))
    assert world.internet.pipes[0].server.paused
    montague.home["q1"].callback(None)
    world.internet.flush()
    assert montague.bodies == ["q1", *(f"m{number}" for number in range(1200))]


# --- the end ---------------------------------------------------------------------------------------


def test_a_goodbye_is_answered(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    assert peer.say("</stream:stream>") == "</stream:stream>"
    assert peer.closed
    assert montague.incoming == []


@pytest.mark.rfc6120("4.9.1.1-2")
def test_an_error_of_the_peer_ends_the_stream(world: World) -> None:
    peer = proved(world, world.serve("montague.lit"))
    heard = peer.say(f"<stream:error><reset xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>")
    assert heard == "</stream:stream>"
    assert peer.closed


def test_everybody_is_told_that_the_server_stops(world: World) -> None:
    montague = world.serve("montague.lit")
    peers = [proved(world, montague), connect(world, montague)]
    montague.factory.close_all(StreamError("system-shutdown"))
    world.internet.flush()
    assert [ended_with(peer, peer.heard, "system-shutdown") for peer in peers] == [True, True]
    assert montague.incoming == []


def test_H1_connections_from_one_address_are_counted(world: World) -> None:
    montague = world.serve("montague.lit")
    peers = [connect(world, montague) for _ in range(100)]
    late = connect(world, montague)
    assert late.closed
    assert not any(peer.closed for peer in peers)
    peers[0].say("</stream:stream>")
    assert not connect(world, montague).closed
