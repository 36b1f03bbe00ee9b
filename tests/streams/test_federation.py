"""The default route: what waits, for how long, and what goes back with which error."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from twisted.names import dns

from jabberd.settings import Federation as Settings
from jabberd.streams.proof import Policy
from jabberd.streams.protocol import StreamSettings
from jabberd.streams.targets import Target
from jabberd.testing.outcome import done
from jabberd.xmpp import ns
from jabberd.xmpp.stanza import Stanza
from tests.streams.federated import EXTERNAL, Listening, Peer, Server, World
from tests.streams.zone import Zone, srv

ROMEO, JULIET, TYBALT = "romeo@montague.lit/orchard", "juliet@capulet.lit/balcony", "tybalt@evil.example"


@pytest.fixture
def world() -> World:
    return World()


def waiting(server: Server) -> list[int]:
    return [link.waiting for link in server.federation.links.values()]


def kept(server: Server) -> list[Stanza]:
    """What is in the spool."""
    rows = done(server.spool.rows("montague.lit"))
    return [Stanza.from_standalone(row.stanza) for row in rows]


# --- nowhere to go: row D10 ------------------------------------------------------------------------


@pytest.mark.rfc6120("10.4.3-2")
def test_D10_a_domain_that_does_not_exist(world: World) -> None:
    montague = world.serve("montague.lit")
    montague.message(ROMEO, "juliet@mantua.lit")
    assert montague.errors == [("m1", "remote-server-not-found", "cancel")]


def test_D10_a_domain_without_service(world: World) -> None:
    records = {"_xmpp-server._tcp.mantua.lit": [srv(".")], "_xmpps-server._tcp.mantua.lit": [srv(".")]}
    montague = world.serve("montague.lit", zone=Zone(records))
    montague.message(ROMEO, "juliet@mantua.lit")
    assert montague.errors == [("m1", "remote-server-not-found", "cancel")]


@pytest.mark.rfc6120("10.5-1")
def test_D10_a_domain_that_leads_back_to_ourselves(world: World) -> None:
    world.hosts["mantua.lit"] = world.hosts["montague.lit"]
    montague = world.serve("montague.lit", Policy("either"))
    montague.message(ROMEO, "juliet@mantua.lit")
    assert montague.errors == [("m1", "remote-server-not-found", "cancel")]
    assert len(world.internet.pipes) == 1
    assert montague.incoming == []


def test_D10_a_domain_that_leads_to_an_address_where_we_listen(world: World) -> None:
    world.hosts["mantua.lit"] = world.hosts["montague.lit"]
    montague = world.serve("montague.lit", listening=[("192.0.2.1", 5269)])
    montague.message(ROMEO, "juliet@mantua.lit")
    assert montague.errors == [("m1", "remote-server-not-found", "cancel")]
    assert world.internet.pipes == []


def test_a_failure_that_lasts_is_remembered_for_a_moment(world: World) -> None:
    Listening(world, "evil.example")
    world.hosts["mantua.lit"] = world.hosts["montague.lit"]
    montague = world.serve("montague.lit")
    for number in range(3):
        montague.message(ROMEO, "juliet@mantua.lit", f"m{number}")
    assert [id for id, _, _ in montague.errors] == ["m0", "m1", "m2"]
    assert len(world.internet.pipes) == 1
    world.advance(5)
    montague.message(ROMEO, "juliet@mantua.lit")
    assert len(world.internet.pipes) == 2


def test_after_a_while_the_failure_is_forgotten(world: World) -> None:
    montague = world.serve("montague.lit")
    montague.message(ROMEO, "juliet@mantua.lit")
    world.advance(310)
    assert montague.federation.links == {}
    assert world.clock.getDelayedCalls() == []


def test_errors_are_not_answered(world: World) -> None:
    montague = world.serve("montague.lit")
    montague.send(
        f"<message xmlns='{ns.CLIENT}' from='{ROMEO}' to='juliet@mantua.lit' type='error' id='m1'/>"
    )
    assert montague.heard == []


# --- waiting ---------------------------------------------------------------------------------------


def test_stanzas_wait_for_a_server_that_is_down_and_come_in_order(world: World) -> None:
    montague = world.serve("montague.lit")
    for number in range(5):
        montague.message(ROMEO, JULIET, f"m{number}")
        world.advance(5)
    assert montague.heard == []
    assert waiting(montague) == [5]
    capulet = world.serve("capulet.lit")
    world.advance(60)
    assert capulet.bodies == [f"m{number}" for number in range(5)]
    assert waiting(montague) == [0]


@pytest.mark.rfc6120("10.4.3-1", "10.4.3-3")
def test_what_waited_too_long_goes_back(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(queue_age=120.0))
    montague.message(ROMEO, JULIET, "m1")
    world.advance(119)
    assert montague.heard == []
    montague.message(ROMEO, JULIET, "m2")
    world.advance(2)
    assert montague.errors == [("m1", "remote-server-timeout", "wait")]
    world.advance(119)
    assert montague.errors == [("m2", "remote-server-timeout", "wait")]


def test_a_new_stanza_after_that_waits_for_its_own_time(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(queue_age=120.0))
    montague.message(ROMEO, JULIET, "m1")
    world.advance(130)
    assert montague.errors
    montague.message(ROMEO, JULIET, "m2")
    world.advance(100)
    assert montague.heard == []
    world.serve("capulet.lit")
    world.advance(121)
    assert waiting(montague) in ([0], [])


def test_the_rest_between_two_attempts_grows(world: World) -> None:
    attempts: list[float] = []
    montague = world.serve("montague.lit", settings=Settings(queue_age=1e6))
    connect = world.internet.connect

    def counted(*where: object) -> object:
        attempts.append(world.clock.seconds())
        return connect(*where)  # type: ignore[arg-type]  # handed on as it came

    world.internet.connect = counted  # type: ignore[assignment, method-assign]  # to see when
    montague.message(ROMEO, JULIET)
    world.advance(1000)
    rests = [later - earlier for earlier, later in pairwise(attempts)]
    assert rests[0] < 3
    assert 20 < rests[-1] < 90
    assert 10 < len(rests) < 60


def test_a_full_queue_takes_no_more(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(queue=3))
    for number in range(4):
        montague.message(ROMEO, JULIET, f"m{number}")
    assert montague.errors == [("m3", "resource-constraint", "wait")]
    assert waiting(montague) == [3]


def test_a_queue_is_bounded_in_bytes(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(queue_size=1100))
    for number in range(4):
        montague.message(ROMEO, JULIET, f"m{number}")  # about 330 bytes each
    assert montague.errors == [("m3", "resource-constraint", "wait")]


def test_all_queues_together_are_bounded(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(homeless_size=1100))
    for number, domain in enumerate(("capulet.lit", "verona.lit", "capulet.lit", "verona.lit")):
        montague.message(ROMEO, f"x@{domain}", f"m{number}")
    assert montague.errors == [("m3", "resource-constraint", "wait")]
    world.serve("capulet.lit")
    world.advance(10)
    montague.message(ROMEO, "x@verona.lit", "m4")
    assert montague.errors == []


def test_errors_do_not_wait_for_a_server_that_was_never_reached(world: World) -> None:
    montague = world.serve("montague.lit")
    world.internet.silent.add(("192.0.2.2", 5269))
    montague.message(ROMEO, JULIET)
    montague.send(f"<message xmlns='{ns.CLIENT}' from='{ROMEO}' to='{JULIET}' id='e1' type='error'/>")
    world.advance(14)
    assert waiting(montague) == [2]
    world.advance(2)
    assert waiting(montague) == [1]


def test_errors_wait_as_others_do_for_a_server_that_was_there(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    montague.message(ROMEO, JULIET)
    world.advance(1)
    world.internet.silent.add(("192.0.2.2", 5269))
    for pipe in world.internet.pipes:
        pipe.client.abortConnection()
    montague.send(f"<message xmlns='{ns.CLIENT}' from='{ROMEO}' to='{JULIET}' id='e1' type='error'/>")
    world.advance(30)
    world.internet.silent.clear()
    world.advance(90)
    assert capulet.bodies == ["m1", "e1"]


def test_a_link_whose_first_stanza_may_not_wait_is_not_kept(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(homeless_size=1))
    montague.message(ROMEO, JULIET)
    assert montague.errors == [("m1", "resource-constraint", "wait")]
    assert montague.federation.links == {}
    assert montague.federation.most_unfinished == 0


def test_a_sender_begins_only_so_many_links(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(unfinished=2))
    for host in ("192.0.2.2", "192.0.2.3", "192.0.2.66"):
        world.internet.silent.add((host, 5269))
    for domain in ("capulet.lit", "verona.lit", "evil.example"):
        montague.message(ROMEO, f"x@{domain}", domain)
    assert montague.errors == [("evil.example", "resource-constraint", "wait")]
    montague.message("benvolio@montague.lit/street", "x@evil.example", "b1")  # others may
    montague.message(ROMEO, "x@evil.example", "r1")  # and use what others have begun
    assert montague.errors == []


def test_links_that_stand_or_have_failed_do_not_count_for_their_sender(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(unfinished=1))
    world.serve("capulet.lit")
    for domain in ("capulet.lit", "nowhere.example", "elsewhere.example", "nowhere.example"):
        montague.message(ROMEO, f"x@{domain}", domain)
        world.advance(5)
    assert [condition for _, condition, _ in montague.errors] == ["remote-server-not-found"] * 3


def test_links_that_have_failed_make_room_for_others(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(links=2))
    for domain in ("nowhere.example", "elsewhere.example"):
        montague.message(ROMEO, f"x@{domain}")
    world.advance(5)
    world.serve("capulet.lit")
    montague.message(ROMEO, JULIET)
    assert len(montague.federation.links) == 2
    assert ("montague.lit", "capulet.lit") in montague.federation.links


def test_links_are_bounded(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(links=2))
    for domain in ("capulet.lit", "verona.lit", "evil.example"):
        montague.message(ROMEO, f"x@{domain}", domain)
    assert montague.errors == [("evil.example", "resource-constraint", "wait")]


# --- up, and down again ----------------------------------------------------------------------------


def linked(world: World, **options: Any) -> tuple[Server, Peer, Listening]:
    """A server with a link to evil.example, over which one message went."""
    listening = Listening(world)
    montague = world.serve("montague.lit", **options)
    montague.message(ROMEO, TYBALT, "m0")
    listening.peers[0].accept()
    assert "id='m0'" in listening.peers[0].heard
    return montague, listening.peers[0], listening


def test_a_stanza_for_a_stream_that_is_just_ending_takes_the_next_one(world: World) -> None:
    montague, peer, listening = linked(world)
    assert peer.transport is not None
    peer.transport.write(b"</stream:stream>")
    world.internet.pipes[0].turn()
    montague.router.route(montague_message("m1"))
    world.internet.flush()
    world.advance(5)
    listening.peers[1].accept()
    assert "id='m1'" in listening.peers[1].heard
    assert montague.heard == []


def montague_message(id: str) -> Stanza:
    xml = f"<message xmlns='{ns.CLIENT}' from='{ROMEO}' to='{TYBALT}' id='{id}'/>"
    return Stanza.from_standalone(xml.encode())


def test_a_peer_that_reboots_gets_what_was_written_meanwhile(world: World) -> None:
    montague, peer, listening = linked(world)
    peer.say(f"<stream:error><system-shutdown xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>")
    assert peer.closed
    montague.message(ROMEO, TYBALT, "m1")
    listening.peers[1].accept()
    assert "id='m1'" in listening.peers[1].heard


def big(id: str, size: int = 50_000) -> str:
    return (
        f"<message xmlns='{ns.CLIENT}' from='{ROMEO}' to='{TYBALT}' id='{id}'>"
        f"<body>{'x' * size}</body></message>"
    )


def test_H3_what_a_peer_does_not_read_goes_back(world: World) -> None:
    montague, peer, _ = linked(world, settings=Settings(queue_age=120.0))
    assert peer.transport is not None
    peer.transport.pauseProducing()  # type: ignore[attr-defined]  # a Wire has it
    for number in range(10):
        montague.send(big(f"m{number}"))
    world.advance(119)
    assert montague.heard == []
    world.advance(2)
    back = [id for id, condition, _ in montague.errors if condition == "remote-server-timeout"]
    assert 0 < len(back) < 10
    assert back == [f"m{number}" for number in range(10 - len(back), 10)]
    assert montague.federation.links == {}


def test_H3_a_peer_that_does_not_read_is_bounded(world: World) -> None:
    montague, peer, _ = linked(world, streams=StreamSettings(unread=200_000))
    assert peer.transport is not None
    peer.transport.pauseProducing()  # type: ignore[attr-defined]  # a Wire has it
    for number in range(10):
        montague.send(big(f"m{number}"))
    world.advance(1)
    [left] = waiting(montague)
    assert 5 < left < 10
    assert montague.errors == []


def test_a_slow_reader_gets_it_all(world: World) -> None:
    montague, peer, _ = linked(world)
    assert peer.transport is not None
    peer.transport.pauseProducing()  # type: ignore[attr-defined]  # a Wire has it
    for number in range(10):
        montague.send(big(f"m{number}"))
    world.advance(60)
    peer.transport.resumeProducing()  # type: ignore[attr-defined]  # the same
    world.internet.flush()
    world.advance(200)
    assert peer.heard.count("</message>") == 11
    assert montague.heard == []
    assert not peer.closed


# --- the goodbye -----------------------------------------------------------------------------------


def test_links_end_with_system_shutdown(world: World) -> None:
    montague, peer, _ = linked(world)
    done = montague.federation.close(1.0)
    world.internet.flush()
    assert peer.heard.endswith(
        f"<stream:error><system-shutdown xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>"
    )
    assert done.called
    assert montague.federation.links == {}
    assert world.clock.getDelayedCalls() == []


def test_what_waits_for_an_attempt_under_way_goes_out_first(world: World) -> None:
    listening = Listening(world)
    montague = world.serve("montague.lit")
    montague.message(ROMEO, TYBALT)
    [peer] = listening.peers
    peer.accept_tls()
    done = montague.federation.close(1.0)
    peer.greet(EXTERNAL)
    peer.say(f"<success xmlns='{ns.SASL}'/>")
    heard = peer.greet()
    assert heard.startswith("<message")
    assert "<system-shutdown" in heard
    assert done.called


def test_the_goodbye_has_an_end(world: World) -> None:
    listening = Listening(world)
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    montague.message(ROMEO, TYBALT, "m1")
    montague.message(ROMEO, JULIET, "m2")
    done = montague.federation.close(1.0)
    world.internet.flush()
    assert not done.called
    world.advance(1.1)
    assert done.called
    assert listening.peers[0].closed
    assert [stanza.id for stanza in kept(montague)] == ["m1"]
    assert capulet.bodies == ["m2"]
    assert world.clock.getDelayedCalls() == [] or capulet.incoming == []


def test_what_waits_for_a_server_that_is_down_stays_in_the_spool(world: World) -> None:
    montague = world.serve("montague.lit")
    montague.message(ROMEO, JULIET)
    world.advance(0.1)
    done = montague.federation.close(1.0)
    assert done.called
    assert montague.errors == []
    assert [stanza.id for stanza in kept(montague)] == ["m1"]


def test_nobody_is_called_during_the_goodbye(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    montague.federation.close(1.0)
    montague.message(ROMEO, JULIET)
    assert montague.errors == [("m1", "remote-server-timeout", "wait")]
    assert capulet.incoming == []


def test_without_links_the_goodbye_is_short(world: World) -> None:
    assert world.serve("montague.lit").federation.close(1.0).called
    assert world.clock.getDelayedCalls() == []


# --- several places --------------------------------------------------------------------------------


def test_a_place_that_is_down_or_about_to_be_is_passed_over(world: World) -> None:
    """RFC 6120 §3.2.1, steps 6 and 7; and a node of a cluster that says that it is shutting down."""
    del world.hosts["capulet.lit"]
    world.hosts["evil.example"] = Target("192.0.2.22", 5269)
    leaving = Listening(world)
    records: dict[str, Any] = {
        "_xmpp-server._tcp.capulet.lit": [
            srv("a.lit", 5269, 1),
            srv("b.lit", 5269, 2),
            srv("c.lit", 5269, 3),
        ],
        **{f"{name}.lit": [dns.Record_A(f"192.0.2.2{number}")] for number, name in enumerate("abc", 1)},
    }
    montague = world.serve("montague.lit", zone=Zone(records))
    world.hosts["capulet.lit"] = Target("192.0.2.23", 5269)
    capulet = world.serve("capulet.lit")
    del world.hosts["capulet.lit"]
    montague.message(ROMEO, JULIET)
    [peer] = leaving.peers
    peer.say(
        peer.header()
        + f"<stream:error><system-shutdown xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>"
    )
    assert capulet.bodies == ["m1"]
