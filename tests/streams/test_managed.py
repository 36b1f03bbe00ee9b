"""XEP-0198 between servers: what was sent has a home, or is sent again, and is told of either way."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from jabberd.settings import Federation as Settings
from jabberd.streams.proof import Policy
from jabberd.testing.outcome import done
from jabberd.xmpp import ns
from jabberd.xmpp.element import E
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza
from tests.streams.federated import EXTERNAL, Listening, Peer, Server, World, connect

if TYPE_CHECKING:
    from jabberd.interfaces import ArchiveRow

ROMEO, JULIET, TYBALT = "romeo@montague.lit/orchard", "juliet@capulet.lit/balcony", "tybalt@evil.example"
SM = f"<sm xmlns='{ns.SM}'/>"
R = f"<r xmlns='{ns.SM}'/>"


@pytest.fixture
def world() -> World:
    return World()


def message(id: str, to: str = TYBALT, sender: str = ROMEO) -> Stanza:
    return Stanza.of("message", sender=JID.parse(sender), to=JID.parse(to), id=id)


def spooled(server: Server, domain: str = "montague.lit") -> list[str]:
    return [Stanza.from_standalone(row.stanza).id for row in rows(server, domain)]


def rows(server: Server, domain: str = "montague.lit") -> list[ArchiveRow]:
    return done(server.spool.rows(domain))


def managed(peer: Peer, answer: str = f"<enabled xmlns='{ns.SM}' id='x1' resume='true'/>") -> None:
    """Take the other side for what it says it is, and acknowledge what it sends."""
    peer.accept_tls()
    peer.greet(EXTERNAL)
    peer.say(f"<success xmlns='{ns.SASL}'/>")
    assert peer.greet(SM) == f"<enable xmlns='{ns.SM}' resume='true'/>"
    peer.say(answer)


def linked(world: World, **options: Any) -> tuple[Server, Peer, Listening]:
    listening = Listening(world)
    montague = world.serve("montague.lit", **options)
    assert montague.router.route(message("m0")) is not None
    managed(listening.peers[0])
    assert "id='m0'" in listening.peers[0].heard
    return montague, listening.peers[0], listening


# --- what we send ----------------------------------------------------------------------------------


def test_a_message_has_a_home_when_the_next_server_acknowledges_it(world: World) -> None:
    montague, peer, _ = linked(world)
    home = montague.router.route(message("m1"))
    assert home is not None
    peer.heard = ""
    world.advance(0.1)
    assert peer.heard.endswith(R)
    peer.say(f"<a xmlns='{ns.SM}' h='1'/>")
    assert not home.called
    peer.say(f"<a xmlns='{ns.SM}' h='2'/>")
    assert home.called
    assert spooled(montague) == []


def test_an_iq_and_presence_hold_nobody_back(world: World) -> None:
    montague, _, _ = linked(world)
    for name in ("iq", "presence"):
        stanza = Stanza.of(name, sender=JID.parse(ROMEO), to=JID.parse(TYBALT), id="q1", type="get")
        assert montague.router.route(stanza) is None


def test_what_is_not_acknowledged_for_a_second_is_spooled(world: World) -> None:
    montague, peer, _ = linked(world)
    home = montague.router.route(message("m1"))
    assert home is not None
    peer.say(f"<a xmlns='{ns.SM}' h='1'/>")
    world.advance(0.9)
    assert not home.called
    world.advance(1)
    assert home.called
    assert spooled(montague) == ["m1"]
    peer.say(f"<a xmlns='{ns.SM}' h='2'/>")
    assert spooled(montague) == []


def test_a_message_for_a_link_that_is_down_is_spooled_until_it_has_left(world: World) -> None:
    montague = world.serve("montague.lit")
    home = montague.router.route(message("m1", JULIET))
    assert home is not None
    world.advance(2)
    assert home.called
    assert spooled(montague) == ["m1"]
    capulet = world.serve("capulet.lit")
    world.advance(10)
    assert capulet.bodies == ["m1"]
    assert spooled(montague) == []


def test_a_message_that_goes_back_leaves_the_spool(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(queue_age=10.0))
    montague.router.route(message("m1", JULIET))
    world.advance(5)
    assert spooled(montague) == ["m1"]
    world.advance(6)
    assert montague.errors == [("m1", "remote-server-timeout", "wait")]
    assert spooled(montague) == []


def test_what_the_last_process_left_is_sent_with_a_note_of_when_it_came(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    world.internet.silent.add(("192.0.2.2", 5269))
    montague.router.route(message("m1", JULIET))
    world.advance(3)
    world.internet.silent.clear()
    again = world.serve("montague.lit")
    for row in rows(montague):
        done(again.spool.append("montague.lit", row.peer, row.stamp, row.stanza))
    done(again.federation.read_back(JID.parse("montague.lit")))
    world.advance(2)
    [heard] = capulet.heard
    delay = heard.child(f"{{{ns.DELAY}}}delay")
    assert delay is not None
    assert (delay.get("from"), delay.get("stamp")) == ("montague.lit", "1970-01-01T00:00:00Z")
    assert spooled(again) == []


def test_what_cannot_be_sent_after_a_start_goes_back(world: World) -> None:
    montague = world.serve("montague.lit", Policy("off"))
    stanza = message("m1", JULIET).to_standalone()
    done(montague.spool.append("montague.lit", JULIET, datetime.now(UTC), stanza))
    done(montague.federation.read_back(JID.parse("montague.lit")))
    assert montague.errors == [("m1", "not-allowed", "cancel")]
    assert spooled(montague) == []


@pytest.mark.rfc6120("4.9.2-3")
def test_more_than_was_sent_cannot_be_acknowledged(world: World) -> None:
    _, peer, _ = linked(world)
    heard = peer.say(f"<a xmlns='{ns.SM}' h='7'/>")
    assert f"<handled-count-too-high xmlns='{ns.SM}'/>" in heard
    assert peer.closed


@pytest.mark.parametrize("h", ["", "x", "-1", "4294967296", "9" * 5000])
def test_an_h_that_is_no_number_ends_the_stream(world: World, h: str) -> None:
    _, peer, _ = linked(world)
    assert "<policy-violation" in peer.say(f"<a xmlns='{ns.SM}' h='{h}'/>")


def test_what_waited_long_has_its_time_to_be_acknowledged(world: World) -> None:
    listening = Listening(world)
    montague = world.serve("montague.lit", settings=Settings(queue_age=20.0))
    world.internet.silent.add(("192.0.2.66", 5269))
    montague.router.route(message("m0"))
    world.advance(5)
    world.internet.silent.clear()
    world.advance(10)
    [peer] = listening.peers
    managed(peer)
    world.advance(15)
    assert montague.errors == []
    peer.say(f"<a xmlns='{ns.SM}' h='1'/>")
    world.advance(10)
    assert montague.errors == []
    assert spooled(montague) == []


def test_a_peer_that_reads_but_never_acknowledges_is_given_up(world: World) -> None:
    montague, peer, _ = linked(world, settings=Settings(queue_age=20.0))
    world.advance(21)
    assert peer.closed
    assert montague.errors == [("m0", "remote-server-timeout", "wait")]
    assert spooled(montague) == []


def test_what_a_peer_may_leave_unacknowledged_is_bounded_and_the_rest_waits(world: World) -> None:
    montague, peer, _ = linked(world, unacked=3)
    for number in range(1, 6):
        montague.router.route(message(f"m{number}"))
    peer.heard = ""
    world.advance(0.1)
    assert peer.heard.count("<message") == 2
    heard = peer.say(f"<a xmlns='{ns.SM}' h='2'/>")
    assert [f"id='m{number}'" in heard for number in range(1, 6)] == [False, False, True, True, False]
    peer.say(f"<a xmlns='{ns.SM}' h='5'/>")
    world.advance(1)
    peer.say(f"<a xmlns='{ns.SM}' h='6'/>")
    assert montague.federation.links["montague.lit", "evil.example"].oldest is None


def test_a_failure_to_enable_leaves_the_stream_without_acknowledgements(world: World) -> None:
    listening = Listening(world)
    montague = world.serve("montague.lit")
    home = montague.router.route(message("m0"))
    managed(listening.peers[0], f"<failed xmlns='{ns.SM}'/>")
    assert "id='m0'" in listening.peers[0].heard
    assert home is not None
    assert home.called


def test_where_nothing_is_acknowledged_being_written_is_a_home(world: World) -> None:
    listening = Listening(world)
    montague = world.serve("montague.lit")
    home = montague.router.route(message("m0"))
    assert home is not None
    listening.peers[0].accept()
    assert home.called


def test_where_nothing_is_acknowledged_what_the_peer_does_not_read_has_no_home(world: World) -> None:
    listening = Listening(world)
    montague = world.serve("montague.lit")
    montague.router.route(message("m0"))
    listening.peers[0].accept()
    transport: Any = listening.peers[0].transport
    transport.pauseProducing()
    body = E(ns.CLIENT, "body", None, "x" * 100_000)
    stanzas = [Stanza.of("message", body, sender=JID.parse(ROMEO), to=JID.parse(TYBALT)) for _ in range(3)]
    homes = [montague.router.route(stanza) for stanza in stanzas]
    world.internet.flush()
    assert not any(home is None or home.called for home in homes)
    transport.resumeProducing()
    world.internet.flush()
    assert all(home is not None and home.called for home in homes)


# --- a lost stream ---------------------------------------------------------------------------------


def lose(world: World, peer: Peer) -> None:
    transport: Any = peer.transport
    transport.abortConnection()
    world.advance(5)


def back(peer: Peer) -> str:
    """Let the other side in again; what it says about the old stream."""
    peer.accept_tls()
    peer.greet(EXTERNAL)
    peer.say(f"<success xmlns='{ns.SASL}'/>")
    return peer.greet(SM)


def test_a_lost_stream_is_resumed_and_what_did_not_arrive_is_sent_again(world: World) -> None:
    montague, peer, listening = linked(world)
    homes = [montague.router.route(message(f"m{number}")) for number in (1, 2)]
    lose(world, peer)
    homes.append(montague.router.route(message("m3")))
    peer = listening.peers[1]
    assert back(peer) == f"<resume xmlns='{ns.SM}' previd='x1' h='0'/>"
    heard = peer.say(f"<resumed xmlns='{ns.SM}' previd='x1' h='2'/>")
    assert re.findall("id='(m.)'", heard) == ["m2", "m3"]
    world.advance(0.1)
    peer.say(f"<a xmlns='{ns.SM}' h='4'/>")
    assert all(home is not None and home.called for home in homes)
    assert spooled(montague) == []


def test_a_stream_that_cannot_be_resumed_is_begun_anew_and_all_is_sent_again(world: World) -> None:
    montague, peer, listening = linked(world)
    montague.router.route(message("m1"))
    lose(world, peer)
    peer = listening.peers[1]
    back(peer)
    assert peer.say(f"<failed xmlns='{ns.SM}'/>") == f"<enable xmlns='{ns.SM}' resume='true'/>"
    heard = peer.say(f"<enabled xmlns='{ns.SM}' id='x2' resume='true'/>")
    assert re.findall("id='(m.)'", heard) == ["m0", "m1"]
    world.advance(0.1)
    peer.say(f"<a xmlns='{ns.SM}' h='2'/>")
    assert montague.federation.links["montague.lit", "evil.example"].oldest is None


def test_a_peer_that_knows_how_much_it_had_got_is_believed(world: World) -> None:
    montague, peer, listening = linked(world)
    montague.router.route(message("m1"))
    lose(world, peer)
    peer = listening.peers[1]
    back(peer)
    peer.say(f"<failed xmlns='{ns.SM}' h='1'/>")
    heard = peer.say(f"<enabled xmlns='{ns.SM}' id='x2' resume='true'/>")
    assert re.findall("id='(m.)'", heard) == ["m1"]


def test_a_peer_that_does_not_come_back_in_time_gets_nothing_more(world: World) -> None:
    montague, peer, listening = linked(world, settings=Settings(queue_age=20.0))
    world.internet.silent.add(("192.0.2.66", 5269))
    lose(world, peer)
    world.advance(20)
    assert montague.errors == [("m0", "remote-server-timeout", "wait")]
    assert spooled(montague) == []
    assert len(listening.peers) == 1


@pytest.mark.parametrize(
    "said",
    [
        f"<enabled xmlns='{ns.SM}'/>",
        f"<resumed xmlns='{ns.SM}' previd='x1' h='0'/>",
    ],
)
def test_what_was_not_asked_for_ends_the_stream(world: World, said: str) -> None:
    _, peer, _ = linked(world)
    assert "<policy-violation" in peer.say(said)


def test_a_link_ends_when_what_it_sent_was_acknowledged(world: World) -> None:
    montague, peer, _ = linked(world)
    ended = montague.federation.close(5.0)
    world.internet.flush()
    assert peer.heard.endswith(R)
    assert not ended.called
    assert "<system-shutdown" in peer.say(f"<a xmlns='{ns.SM}' h='1'/>")
    assert ended.called
    assert spooled(montague) == []


def test_what_is_not_acknowledged_when_this_server_ends_stays_in_the_spool(world: World) -> None:
    montague, peer, _ = linked(world)
    ended = montague.federation.close(0.8)
    world.advance(1)
    assert ended.called
    assert peer.closed
    assert spooled(montague) == ["m0"]
    assert montague.errors == []


# --- what others send us ---------------------------------------------------------------------------


def proved(world: World, server: Server) -> Peer:
    peer = connect(world, server)
    peer.authenticate()
    return peer


def xml(id: str) -> str:
    return f"<message from='{TYBALT}' to='romeo@montague.lit' id='{id}'><body>hi!</body></message>"


def enabled(peer: Peer) -> str:
    heard = peer.say(f"<enable xmlns='{ns.SM}' resume='true'/>")
    [id] = re.findall(r"<enabled xmlns='urn:xmpp:sm:3' id='([\w-]+)' resume='true' max='600'/>", heard)
    return str(id)


def test_acknowledgements_are_offered_to_whoever_has_proved_its_name(world: World) -> None:
    peer = connect(world, world.serve("montague.lit"))
    assert "urn:xmpp:sm:3" not in peer.open()
    peer.encrypt()
    peer.say(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>")
    assert SM in peer.open()


def test_nothing_is_counted_before_the_peer_has_proved_its_name(world: World) -> None:
    peer = connect(world, world.serve("montague.lit"))
    peer.open()
    peer.encrypt()
    for name in ("enable", "resume"):
        answer = peer.say(f"<{name} xmlns='{ns.SM}' previd='x' h='0'/>")
        assert answer == f"<failed xmlns='{ns.SM}'><unexpected-request xmlns='{ns.STANZA_ERRORS}'/></failed>"


def test_h_counts_what_has_a_home(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    enabled(peer)
    montague.home["m2"] = Deferred()
    assert peer.say(xml("m1") + xml("m2") + xml("m3") + R) == f"<a xmlns='{ns.SM}' h='1'/>"
    montague.home["m2"].callback(None)
    peer.heard = ""
    world.advance(0.1)
    assert peer.heard == f"<a xmlns='{ns.SM}' h='3'/>"


def test_a_second_enable_ends_the_stream(world: World) -> None:
    peer = proved(world, world.serve("montague.lit"))
    enabled(peer)
    heard = peer.say(f"<enable xmlns='{ns.SM}'/>")
    assert "<unexpected-request" in heard
    assert "<policy-violation" in heard


@pytest.mark.parametrize("said", [R, f"<a xmlns='{ns.SM}' h='0'/>"])
def test_what_is_not_enabled_is_not_to_be_asked_for(world: World, said: str) -> None:
    peer = proved(world, world.serve("montague.lit"))
    assert "<policy-violation" in peer.say(said)


def test_a_stream_is_resumed_when_what_came_has_a_home(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    id = enabled(peer)
    montague.home["m2"] = Deferred()
    peer.say(xml("m1") + xml("m2"))
    lose(world, peer)
    peer = proved(world, montague)
    assert peer.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>") == ""
    montague.home["m2"].callback(None)
    peer.heard = ""
    world.internet.flush()
    assert peer.heard == f"<resumed xmlns='{ns.SM}' previd='{id}' h='2'/>"
    assert peer.say(xml("m3") + R) == f"<a xmlns='{ns.SM}' h='3'/>"
    assert montague.bodies == ["m1", "m2", "m3"]


def test_a_resumption_does_not_wait_for_ever(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    id = enabled(peer)
    montague.home["m1"] = Deferred()
    peer.say(xml("m1"))
    lose(world, peer)
    peer = proved(world, montague)
    peer.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")
    peer.heard = ""
    world.advance(21)
    assert peer.heard == f"<resumed xmlns='{ns.SM}' previd='{id}' h='0'/>"
    late = montague.home.pop("m1")
    assert peer.say(xml("m1") + R) == f"<a xmlns='{ns.SM}' h='1'/>"
    late.callback(None)
    assert peer.say(R) == f"<a xmlns='{ns.SM}' h='1'/>"


def test_a_stream_is_resumed_though_the_old_connection_seems_alive(world: World) -> None:
    montague = world.serve("montague.lit")
    old = proved(world, montague)
    id = enabled(old)
    old.say(xml("m1"))
    peer = proved(world, montague)
    assert "h='1'" in peer.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")
    assert old.closed
    lose(world, peer)
    peer = proved(world, montague)
    assert "h='1'" in peer.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")


def test_nobody_resumes_the_stream_of_another(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    id = enabled(peer)
    lose(world, peer)
    thief = connect(world, montague, ours="verona.lit")
    thief.authenticate()
    answer = thief.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")
    assert answer == f"<failed xmlns='{ns.SM}'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></failed>"


def test_a_stream_that_ended_in_good_order_is_not_resumed(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    id = enabled(peer)
    peer.say("</stream:stream>")
    peer = proved(world, montague)
    assert "<item-not-found" in peer.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")


def test_a_stream_is_forgotten_after_a_while(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    id = enabled(peer)
    lose(world, peer)
    world.advance(601, 100)
    peer = proved(world, montague)
    assert "<item-not-found" in peer.say(f"<resume xmlns='{ns.SM}' previd='{id}' h='0'/>")


def test_a_peer_is_told_what_has_arrived_before_the_stream_ends(world: World) -> None:
    montague = world.serve("montague.lit")
    peer = proved(world, montague)
    enabled(peer)
    peer.say(xml("m1"))
    peer.heard = ""
    montague.factory.close_all(StreamError("system-shutdown"))
    world.internet.flush()
    assert peer.heard.startswith(f"<a xmlns='{ns.SM}' h='1'/><stream:error>")


# --- two of ours -----------------------------------------------------------------------------------


@pytest.mark.parametrize("proof", ["certificate", "dialback"])
def test_two_servers_lose_and_repeat_nothing_when_connections_break(world: World, proof: Any) -> None:
    montague, capulet = world.serve("montague.lit", Policy(proof)), world.serve("capulet.lit", Policy(proof))
    montague.router.route(message("m0", JULIET))
    world.internet.flush()
    for number in range(1, 60):
        montague.router.route(message(f"m{number}", JULIET))
        for pipe in world.internet.pipes:
            pipe.turn()
        [link] = montague.federation.links.values()
        if number % 7 == 6 and link.stream is not None:
            link.stream.transport.abortConnection()
            world.advance(2)
    world.advance(100)
    assert capulet.bodies == [f"m{number}" for number in range(60)]
    assert spooled(montague) == []
    assert montague.errors == []


def test_a_server_that_dies_sends_what_was_not_acknowledged_when_it_is_back(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    capulet.home["m1"] = Deferred()
    home = montague.router.route(message("m1", JULIET))
    world.advance(2)
    assert home is not None
    assert home.called  # by the spool
    assert spooled(montague) == ["m1"]
    capulet.home["m1"].callback(None)
    world.advance(1)
    assert spooled(montague) == []
