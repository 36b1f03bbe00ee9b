"""XEP-0288: one stream for both directions, once whoever is at its other end has proved who it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from jabberd.streams.proof import Policy
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza
from tests.streams.federated import DIALBACK, EXTERNAL, Listening, Peer, Server, World, connect

if TYPE_CHECKING:
    from jabberd.streams.link import Link

ROMEO, JULIET, TYBALT = "romeo@montague.lit/orchard", "juliet@capulet.lit/balcony", "tybalt@evil.example"
BIDI = f"<bidi xmlns='{ns.BIDI}'/>"
OFFER = f"<bidi xmlns='{ns.BIDI_FEATURE}'/>"
AUTH = f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>"
ENABLE = f"<enable xmlns='{ns.SM}' resume='true'/>"
SM = f"<sm xmlns='{ns.SM}'/>"


@pytest.fixture
def world() -> World:
    return World()


def said(id: str, sender: str = TYBALT, to: str = ROMEO) -> str:
    return f"<message from='{sender}' to='{to}' id='{id}'><body>hi</body></message>"


def message(id: str, to: str = JULIET, sender: str = ROMEO) -> Stanza:
    return Stanza.of("message", sender=JID.parse(sender), to=JID.parse(to), id=id)


def lose(peer: Peer) -> None:
    """Break its connection."""
    transport: Any = peer.transport
    transport.abortConnection()
    peer.world.internet.flush()


def only_link(server: Server) -> Link:
    [link] = server.federation.links.values()
    return link


# --- a stream that others opened ---------------------------------------------------------------------


def asking(world: World, montague: Server) -> Peer:
    """A peer that wants a stream for both directions, and has proved nothing yet."""
    peer = connect(world, montague)
    assert OFFER not in peer.open()  # TLS comes first
    assert OFFER in peer.encrypt()
    assert peer.say(BIDI) == ""
    return peer


def proved(world: World, montague: Server) -> Peer:
    peer = asking(world, montague)
    peer.say(AUTH)
    assert OFFER not in peer.open()
    return peer


def test_d9_nothing_is_sent_to_a_peer_that_has_proved_nothing(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = asking(world, montague)
    montague.message(ROMEO, TYBALT, "m1")
    world.advance(5)
    assert peer.heard == ""
    peer.say(AUTH)
    peer.open()
    assert "id='m1'" in peer.say(ENABLE)


def test_d9_stanzas_go_back_for_the_pair_that_was_proved_and_for_no_other(world: World) -> None:
    montague = world.serve("montague.lit", also={"verona.lit": Policy()})
    peer = proved(world, montague)
    peer.say(ENABLE)
    for sender, to in (("escalus@verona.lit", TYBALT), (ROMEO, "x@sub.evil.example"), (ROMEO, JULIET)):
        montague.message(sender, to, "m1")
    assert peer.heard.count("<message") == 0
    montague.message(ROMEO, TYBALT, "m2")
    assert peer.heard.count("<message") == 1


def test_a_stream_is_not_turned_around_for_whoever_did_not_ask(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = connect(world, montague)
    peer.authenticate()
    peer.say(ENABLE)
    montague.message(ROMEO, TYBALT, "m1")
    assert "<message" not in peer.heard
    assert only_link(montague).state == "resting"


def test_a_stream_is_turned_around_by_its_first_stanza_where_nothing_is_acknowledged(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    montague.message(ROMEO, TYBALT, "m1")
    assert "id='m1'" in peer.say(said("m2"))
    assert montague.bodies == ["m2"]
    montague.message(ROMEO, TYBALT, "m3")
    assert "id='m3'" in peer.heard


@pytest.mark.parametrize("when", ["too late", "switched off", "before TLS"])
def test_who_asks_at_the_wrong_time_is_refused(world: World, when: str) -> None:
    montague = world.serve("montague.lit", bidi=when != "switched off")
    peer = connect(world, montague)
    if when == "before TLS":
        peer.open()
    else:
        peer.authenticate()
    assert "<policy-violation" in peer.say(BIDI)


def test_what_was_asked_for_before_tls_does_not_count(world: World) -> None:
    montague = world.serve("montague.lit", Policy("either", require_tls=False))
    peer = connect(world, montague)
    assert OFFER in peer.open()
    peer.say(BIDI)
    peer.encrypt()
    peer.say(AUTH)
    peer.open()
    peer.say(ENABLE)
    montague.message(ROMEO, TYBALT, "m1")
    assert "<message" not in peer.heard


def test_what_the_peer_acknowledges_on_its_own_stream_has_a_home(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    peer.say(ENABLE)
    home = montague.router.route(message("m1", TYBALT))
    assert home is not None
    world.advance(0.1)
    assert not home.called
    peer.say(f"<a xmlns='{ns.SM}' h='1'/>")
    assert home.called
    assert only_link(montague).unacknowledged == 0


def test_what_went_back_is_not_said_again_on_a_stream_that_goes_one_way(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    id = peer.say(ENABLE).partition("id='")[2].partition("'")[0]
    montague.message(ROMEO, TYBALT, "m1")
    lose(peer)
    world.advance(0.1)
    again = connect(world, montague)
    again.authenticate()
    assert "<item-not-found" in again.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")
    assert only_link(montague).unacknowledged == 1


def test_d9_a_stream_is_not_resumed_for_another_pair(world: World) -> None:
    montague = world.serve("montague.lit", also={"verona.lit": Policy()})
    peer = proved(world, montague)
    id = peer.say(ENABLE).partition("id='")[2].partition("'")[0]
    montague.message(ROMEO, TYBALT, "m1")
    lose(peer)
    other = connect(world, montague, theirs="verona.lit")
    other.open()
    other.encrypt()
    other.say(BIDI + AUTH)
    other.open()
    assert "<item-not-found" in other.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")
    assert "<message" not in other.heard


def test_a_peer_that_does_not_resume_is_sent_all_again_on_a_link_of_ours(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    id = peer.say(ENABLE).partition("id='")[2].partition("'")[0]
    montague.message(ROMEO, TYBALT, "m1")
    peer.say(said("t1"))
    lose(peer)
    listening = Listening(world)
    world.advance(9)
    assert listening.peers == []
    world.advance(3)
    listening.peers[0].accept()
    assert "id='m1'" in listening.peers[0].heard
    late = proved(world, montague)
    heard = late.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")
    assert "<failed xmlns='urn:xmpp:sm:3' h='1'><item-not-found" in heard  # what it had said has arrived


# --- a stream that we opened -------------------------------------------------------------------------


def opened(world: World, *, policy: Policy = Policy()) -> tuple[Server, Peer]:  # noqa: B008  # frozen
    """Up to our wish that stanzas go both ways, and our proof."""
    listening = Listening(world)
    montague = world.serve("montague.lit", policy)
    montague.message(ROMEO, TYBALT, "m1")
    peer = listening.peers[0]
    peer.accept_tls()
    return montague, peer


def test_we_ask_for_both_ways_where_that_is_offered_before_we_prove_ourselves(world: World) -> None:
    montague, peer = opened(world)
    heard = peer.greet(EXTERNAL, OFFER)
    assert heard.index(BIDI) < heard.index("<auth")
    peer.say(f"<success xmlns='{ns.SASL}'/>")
    assert "id='m1'" in peer.greet()
    peer.say(said("m2"))
    assert montague.bodies == ["m2"]


def test_we_do_not_ask_where_it_is_not_offered(world: World) -> None:
    _, peer = opened(world)
    assert BIDI not in peer.greet(EXTERNAL)


def test_d9_nothing_is_taken_from_a_peer_before_we_have_come_to_terms(world: World) -> None:
    montague, peer = opened(world)
    peer.greet(EXTERNAL, OFFER)
    assert "<not-authorized" in peer.say(said("m2"))
    assert montague.bodies == []


@pytest.mark.parametrize(
    ("sender", "to", "condition"),
    [
        (JULIET, ROMEO, "invalid-from"),
        (TYBALT, "escalus@verona.lit", "host-unknown"),
        (TYBALT, JULIET, "host-unknown"),
    ],
)
def test_d9_a_peer_that_was_looked_for_speaks_for_itself_and_to_the_one_that_looked(
    world: World, sender: str, to: str, condition: str
) -> None:
    montague, peer = opened(world)
    peer.greet(EXTERNAL, OFFER)
    peer.say(f"<success xmlns='{ns.SASL}'/>")
    peer.greet()
    assert f"<{condition}" in peer.say(said("m2", sender, to))
    assert montague.bodies == []


def test_a_peer_cannot_prove_more_domains_on_a_stream_of_ours(world: World) -> None:
    montague, peer = opened(world)
    peer.greet(EXTERNAL, OFFER)
    peer.say(f"<success xmlns='{ns.SASL}'/>")
    peer.greet()
    answer = peer.say("<db:result from='rooms.evil.example' to='montague.lit'>key</db:result>")
    assert "type='error'" in answer
    assert "<not-allowed" in answer
    peer.say(said("m2"))
    assert montague.bodies == ["m2"]


def test_what_comes_on_a_stream_of_ours_is_acknowledged(world: World) -> None:
    montague, peer = opened(world)
    peer.greet(EXTERNAL, OFFER)
    peer.say(f"<success xmlns='{ns.SASL}'/>")
    peer.greet(SM)
    peer.say(f"<enabled xmlns='{ns.SM}' id='x1' resume='true'/>")
    assert f"<a xmlns='{ns.SM}' h='2'/>" in peer.say(said("m2") + said("m3") + f"<r xmlns='{ns.SM}'/>")
    assert montague.bodies == ["m2", "m3"]


def test_a_stream_of_ours_that_broke_is_resumed_for_what_the_peer_has_not_said(world: World) -> None:
    listening = Listening(world)
    montague = world.serve("montague.lit")
    montague.message(ROMEO, TYBALT, "m1")
    assert both_ways(listening.peers[0]) == f"<enable xmlns='{ns.SM}' resume='true'/>"
    listening.peers[0].say(f"<enabled xmlns='{ns.SM}' id='x1' resume='true'/>")
    listening.peers[0].say(f"<a xmlns='{ns.SM}' h='1'/>" + said("m2"))
    lose(listening.peers[0])
    world.advance(2)
    assert both_ways(listening.peers[1]) == f"<resume xmlns='{ns.SM}' previd='x1' h='1'/>"
    listening.peers[1].say(f"<resumed xmlns='{ns.SM}' previd='x1' h='1'/>" + said("m3"))
    assert montague.bodies == ["m2", "m3"]


def test_a_connection_that_breaks_while_a_resumption_waits_is_followed_by_another(world: World) -> None:
    listening = Listening(world)
    montague = world.serve("montague.lit")
    montague.message(ROMEO, TYBALT, "m1")
    both_ways(listening.peers[0])
    listening.peers[0].say(f"<enabled xmlns='{ns.SM}' id='x1' resume='true'/>")
    montague.home["m2"] = Deferred()
    listening.peers[0].say(f"<a xmlns='{ns.SM}' h='1'/>" + said("m2"))
    lose(listening.peers[0])
    world.advance(2)
    assert both_ways(listening.peers[1]) == ""  # what came before has no home yet
    lose(listening.peers[1])
    montague.home.pop("m2").callback(None)
    world.advance(4)
    assert both_ways(listening.peers[2]) == f"<resume xmlns='{ns.SM}' previd='x1' h='1'/>"
    assert montague.bodies == ["m2"]


def test_what_went_back_while_a_resumption_waited_is_not_resumed(world: World) -> None:
    listening = Listening(world)
    montague = world.serve("montague.lit")
    montague.message(ROMEO, TYBALT, "m1")
    both_ways(listening.peers[0])
    listening.peers[0].say(f"<enabled xmlns='{ns.SM}' id='x1' resume='true'/>")
    montague.home["m2"] = Deferred()
    listening.peers[0].say(said("m2"))
    lose(listening.peers[0])
    world.advance(2)
    assert both_ways(listening.peers[1]) == ""  # what came before has no home yet
    link = only_link(montague)
    link.sweep(0, world.clock.seconds())  # as when the stanzas have waited for too long
    assert link.unacknowledged == 0
    montague.home.pop("m2").callback(None)
    world.internet.flush()
    assert "<enable " in listening.peers[1].heard
    assert "<resume " not in listening.peers[1].heard


def test_a_stream_is_taken_over_by_whoever_resumes_it_with_all_that_goes_back(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    id = peer.say(ENABLE).partition("id='")[2].partition("'")[0]
    montague.message(ROMEO, TYBALT, "m1")
    again = proved(world, montague)  # the first one seems alive
    heard = again.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")
    assert heard.index("<resumed") < heard.index("id='m1'")
    assert peer.closed
    montague.message(ROMEO, TYBALT, "m2")
    assert "id='m2'" in again.heard
    again.say(f"<a xmlns='{ns.SM}' h='2'/>")
    assert only_link(montague).unacknowledged == 0
    world.advance(20)
    assert len(montague.incoming) == 1
    assert only_link(montague).state == "up"


def test_what_a_peer_has_got_is_not_said_again_though_its_resumption_comes_too_late(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    id = peer.say(ENABLE).partition("id='")[2].partition("'")[0]
    montague.message(ROMEO, TYBALT, "m1")
    montague.message(ROMEO, TYBALT, "m2")
    montague.home["t1"] = Deferred()
    peer.say(said("t1"))
    lose(peer)
    listening = Listening(world)
    world.advance(9)
    again = proved(world, montague)
    assert again.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='1'/>") == ""  # t1 has no home yet
    world.advance(3)
    listening.peers[0].accept()
    assert "id='m1'" not in listening.peers[0].heard
    assert "id='m2'" in listening.peers[0].heard
    montague.home["t1"].callback(None)
    world.internet.flush()
    assert "<failed xmlns='urn:xmpp:sm:3' h='1'><item-not-found" in again.heard


def test_of_two_that_resume_one_stream_the_last_one_has_it(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    id = peer.say(ENABLE).partition("id='")[2].partition("'")[0]
    montague.message(ROMEO, TYBALT, "m1")
    montague.home["t1"] = Deferred()
    peer.say(said("t1"))
    first, second = proved(world, montague), proved(world, montague)
    for each in first, second:
        each.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")
    montague.home["t1"].callback(None)
    world.internet.flush()
    assert first.closed
    assert "<resumed" in second.heard
    second.say(f"<a xmlns='{ns.SM}' h='1'/>")
    montague.message(ROMEO, TYBALT, "m2")
    assert "id='m2'" in second.heard
    assert only_link(montague).stream is montague.incoming[-1]


def both_ways(peer: Peer) -> str:
    """Take the other side for what it says it is, and hear what it wants then."""
    peer.accept_tls()
    peer.greet(EXTERNAL, OFFER)
    peer.say(f"<success xmlns='{ns.SASL}'/>")
    return peer.greet(SM)


def test_with_dialback_stanzas_come_back_once_the_key_is_valid(world: World) -> None:
    montague, peer = opened(world, policy=Policy("dialback"))
    heard = peer.greet(DIALBACK, OFFER)
    assert heard.index(BIDI) < heard.index("<db:result")
    peer.say(f"<db:result from='evil.example' to='montague.lit' type='valid'/>{said('m2')}")
    assert "id='m1'" in peer.heard
    assert montague.bodies == ["m2"]


# --- two of ours -------------------------------------------------------------------------------------


@pytest.mark.parametrize("proof", ["certificate", "dialback"])
def test_two_servers_use_one_stream_both_ways(world: World, proof: Any) -> None:
    montague, capulet = (world.serve(domain, Policy(proof)) for domain in ("montague.lit", "capulet.lit"))
    montague.message(ROMEO, JULIET, "m1")
    capulet.message(JULIET, ROMEO, "m2")
    montague.message(ROMEO, JULIET, "m3")
    assert (montague.bodies, capulet.bodies) == (["m2"], ["m1", "m3"])
    assert len(capulet.incoming) == 1
    assert montague.incoming == []  # but for keys that were asked about
    assert only_link(capulet).stream is capulet.incoming[0]
    world.advance(1)
    assert only_link(montague).unacknowledged == only_link(capulet).unacknowledged == 0


def test_a_server_with_and_one_without_use_two_streams(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit", bidi=False)
    montague.message(ROMEO, JULIET, "m1")
    capulet.message(JULIET, ROMEO, "m2")
    assert (montague.bodies, capulet.bodies) == (["m2"], ["m1"])
    assert len(montague.incoming) == len(capulet.incoming) == 1


@pytest.mark.parametrize("proof", ["certificate", "dialback"])
def test_two_servers_lose_and_repeat_nothing_when_their_stream_breaks(world: World, proof: Any) -> None:
    montague, capulet = (world.serve(domain, Policy(proof)) for domain in ("montague.lit", "capulet.lit"))
    montague.router.route(message("m0", JULIET))
    world.internet.flush()
    for number in range(1, 60):
        montague.router.route(message(f"m{number}", JULIET))
        capulet.router.route(message(f"c{number}", ROMEO, JULIET))
        for pipe in world.internet.pipes:
            pipe.turn()
        stream: Any = only_link(montague).stream
        if number % 7 == 6 and stream is not None:
            stream.transport.abortConnection()
            world.advance(2)
    world.advance(100)
    assert capulet.bodies == [f"m{number}" for number in range(60)]
    assert montague.bodies == [f"c{number}" for number in range(1, 60)]
    assert len(montague.incoming) == 0
    assert montague.errors == capulet.errors == []


@pytest.mark.parametrize("broken", ["montague.lit", "capulet.lit"])
def test_two_servers_that_met_half_way_resume_the_stream_that_breaks(world: World, broken: str) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    montague.router.route(message("m0", JULIET))
    capulet.router.route(message("c0", ROMEO, JULIET))
    world.internet.flush()
    assert len(montague.incoming) == len(capulet.incoming) == 1  # each could send on the other's
    world.advance(1)
    montague.message(ROMEO, JULIET, "m1")
    capulet.message(JULIET, ROMEO, "c1")
    stream: Any = only_link(montague if broken == "montague.lit" else capulet).stream
    assert not stream.receiving
    stream.transport.abortConnection()
    world.advance(3)
    montague.message(ROMEO, JULIET, "m2")
    capulet.message(JULIET, ROMEO, "c2")
    assert capulet.bodies == ["m0", "m1", "m2"]
    assert montague.bodies == ["c0", "c1", "c2"]


def test_a_stream_that_cannot_be_resumed_for_long_is_given_up_for_one_that_stands(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    montague.router.route(message("m0", JULIET))
    capulet.router.route(message("c0", ROMEO, JULIET))
    world.internet.flush()
    world.advance(1)
    stream: Any = only_link(montague).stream
    world.internet.silent.add((world.hosts["capulet.lit"].host, world.hosts["capulet.lit"].port))
    stream.transport.abortConnection()
    montague.message(ROMEO, JULIET, "m1")
    world.advance(8)
    assert capulet.bodies == ["m0"]
    world.advance(60)
    assert capulet.bodies == ["m0", "m1"]


def test_what_only_goes_back_arrives_once_though_the_stream_breaks(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    montague.message(ROMEO, JULIET, "m1")
    world.advance(1)
    for number in range(5):
        capulet.router.route(message(f"c{number}", ROMEO, JULIET))
        stream: Any = only_link(montague).stream
        stream.transport.abortConnection()
        world.advance(3)
    assert montague.bodies == [f"c{number}" for number in range(5)]
    assert len(capulet.incoming) == 1
    assert montague.incoming == []


def test_a_stream_is_closed_by_whoever_opened_it_when_neither_direction_is_used(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    montague.message(ROMEO, JULIET, "m1")
    for _ in range(4):
        capulet.message(JULIET, ROMEO, "c1")
        world.advance(400)
        assert len(capulet.incoming) == 1
    world.advance(700, step=50)
    assert montague.federation.links == capulet.federation.links == {}
    assert capulet.incoming == []
    assert world.clock.getDelayedCalls() == []


def test_a_server_that_stops_says_goodbye_to_both_directions(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    montague.message(ROMEO, JULIET, "m1")
    capulet.message(JULIET, ROMEO, "c1")
    capulet.federation.close(5)
    world.advance(2)
    assert capulet.federation.links == {}
    assert montague.bodies == ["c1"]
    assert montague.errors == capulet.errors == []
