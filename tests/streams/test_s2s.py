"""Two servers of ours in memory, over real TLS: who believes whom, and what then passes between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.certificates import issue, make_ca
from jabberd.settings import Federation as Settings
from jabberd.streams.proof import Policy
from jabberd.streams.targets import Target
from jabberd.xmpp import ns
from jabberd.xmpp.element import serialize
from tests.streams.federated import CA, DIRECT, INTERMEDIATE, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.certificates import Issued

ROMEO, JULIET = "romeo@montague.lit/orchard", "juliet@capulet.lit/balcony"

#: How a server proves itself to another, by the policy of the other.
PROOFS = [("certificate", "certificate"), ("dialback", "dialback"), ("either", "certificate")]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.rfc6120("13.6-1", "13.6-3")
@pytest.mark.parametrize(("theirs", "proof"), PROOFS)
@pytest.mark.parametrize("ours", ["certificate", "dialback", "either"])
def test_two_servers_write_to_each_other(world: World, ours: str, theirs: str, proof: str) -> None:
    montague = world.serve("montague.lit", Policy(ours))  # type: ignore[arg-type]  # as in the line above
    capulet = world.serve("capulet.lit", Policy(theirs))  # type: ignore[arg-type]  # the same
    montague.message(ROMEO, JULIET)
    capulet.message(JULIET, ROMEO, "m2")
    assert [stanza.attrs["from"] for stanza in capulet.heard] == [ROMEO]
    assert [stanza.attrs["from"] for stanza in montague.heard] == [JULIET]
    assert capulet.proofs == {("capulet.lit", "montague.lit"): proof}
    assert all(stream.security.version == "TLSv1.3" for stream in capulet.incoming + montague.incoming)


@pytest.mark.parametrize(("policy", "proof"), PROOFS)
def test_direct_tls_does_the_same(world: World, policy: str, proof: str) -> None:
    montague = world.serve("montague.lit", Policy(policy))  # type: ignore[arg-type]  # as in the list above
    capulet = world.serve("capulet.lit", Policy(policy))  # type: ignore[arg-type]  # the same
    world.hosts["capulet.lit"] = Target("192.0.2.2", DIRECT, direct=True)
    montague.message(ROMEO, JULIET)
    assert capulet.bodies == ["m1"]
    assert capulet.proofs == {("capulet.lit", "montague.lit"): proof}
    [stream] = capulet.incoming
    assert stream.security.alpn == "xmpp-server"


@pytest.mark.parametrize("policy", ["certificate", "dialback"])
def test_it_does_not_matter_how_the_bytes_arrive(world: World, policy: str) -> None:
    montague = world.serve("montague.lit", Policy(policy))  # type: ignore[arg-type]  # as in the line above
    capulet = world.serve("capulet.lit", Policy(policy))  # type: ignore[arg-type]  # the same
    connect = world.internet.connect

    def slowly(*where: Any) -> Any:
        connected = connect(*where)
        world.internet.pipes[-1].chunk = 1
        return connected

    world.internet.connect = slowly  # type: ignore[assignment, method-assign]  # from now on
    montague.message(ROMEO, JULIET)
    assert capulet.bodies == ["m1"]


def test_without_tls_dialback_does_where_nobody_requires_more(world: World) -> None:
    policy = Policy("dialback", require_tls=False)
    montague = world.serve("montague.lit", policy, certificates={})
    capulet = world.serve("capulet.lit", policy, certificates={})
    montague.message(ROMEO, JULIET)
    assert capulet.bodies == ["m1"]
    assert not capulet.incoming[0].security.encrypted


def test_tls_is_used_even_where_it_is_not_required(world: World) -> None:
    policy = Policy("either", require_tls=False)
    montague, capulet = world.serve("montague.lit", policy), world.serve("capulet.lit", policy)
    montague.message(ROMEO, JULIET)
    assert capulet.bodies == ["m1"]
    assert capulet.incoming[0].security.encrypted


@pytest.mark.rfc6120("10.1-3")
def test_stanzas_keep_their_order_and_their_content(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    for number in range(20):
        montague.message(ROMEO, JULIET, f"m{number}")
    assert capulet.bodies == [f"m{number}" for number in range(20)]
    montague.send(
        f"<iq xmlns='{ns.CLIENT}' from='{ROMEO}' to='{JULIET}' type='get' id='q1'>"
        "<query xmlns='urn:example'><message xmlns='jabber:client'/></query></iq>"
    )
    query = capulet.heard[-1].element()[0]
    assert serialize(query) == b"<query xmlns='urn:example'><message xmlns='jabber:client'/></query>"


def test_a_pair_keeps_its_stream(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    montague.message(ROMEO, JULIET)
    world.advance(60)
    montague.message("benvolio@montague.lit", "nurse@capulet.lit", "m2")
    assert len(world.internet.pipes) == 1
    assert capulet.bodies == ["m1", "m2"]


def test_each_of_our_domains_has_its_own_stream(world: World) -> None:
    capulet = world.serve("capulet.lit")
    montague = world.serve("montague.lit", also={"verona.lit": Policy()})
    montague.message(ROMEO, JULIET)
    montague.message("escalus@verona.lit", JULIET, "m2")
    proved = {("capulet.lit", name): "certificate" for name in ("montague.lit", "verona.lit")}
    assert capulet.proofs == proved
    assert len(capulet.incoming) == 2


# --- bad certificates: row D8 ----------------------------------------------------------------------


def expired() -> Issued:
    return issue(INTERMEDIATE, "capulet.lit", expired=True)


def of_itself() -> Issued:
    return issue(None, "capulet.lit")


def of_another_name() -> Issued:
    return issue(INTERMEDIATE, "verona.lit")


def of_an_unknown_authority() -> Issued:
    return issue(make_ca(), "capulet.lit")


BAD = [expired, of_itself, of_another_name, of_an_unknown_authority]
WORDS = {
    expired: "it expired on",
    of_itself: "it is signed by itself",
    of_another_name: "it names only verona.lit",
    of_an_unknown_authority: "it was issued by an unknown authority",
}


@pytest.mark.rfc6120("5.4.3.1-3", "13.7.2-1", "13.7.2-2")
@pytest.mark.parametrize("bad", BAD)
def test_D8_strict_mode_sends_nothing_to_a_server_with_a_bad_certificate(
    world: World, bad: Callable[[], Issued]
) -> None:
    montague = world.serve("montague.lit", Policy("certificate"))
    capulet = world.serve("capulet.lit", Policy("either"), certificates={"capulet.lit": bad()})
    montague.message(ROMEO, JULIET)
    assert capulet.heard == []
    [error] = montague.heard
    assert WORDS[bad] in error.payload.decode()
    assert montague.errors == [("m1", "remote-server-timeout", "cancel")]


@pytest.mark.rfc6120("13.7.2-2")
@pytest.mark.parametrize("bad", BAD)
def test_D8_strict_mode_takes_nothing_from_a_server_with_a_bad_certificate(
    world: World, bad: Callable[[], Issued]
) -> None:
    montague = world.serve("montague.lit", Policy("certificate"))
    capulet = world.serve("capulet.lit", Policy("either"), certificates={"capulet.lit": bad()})
    capulet.message(JULIET, ROMEO)
    assert montague.heard == []
    assert montague.proofs == {}
    assert capulet.errors == [("m1", "remote-server-timeout", "cancel")]


@pytest.mark.parametrize("bad", BAD)
def test_where_either_will_do_dialback_takes_over_from_a_bad_certificate(
    world: World, bad: Callable[[], Issued]
) -> None:
    montague = world.serve("montague.lit", Policy("either"))
    capulet = world.serve("capulet.lit", Policy("either"), certificates={"capulet.lit": bad()})
    capulet.message(JULIET, ROMEO)
    montague.message(ROMEO, JULIET, "m2")
    assert montague.bodies == ["m1"]
    assert montague.proofs == {("montague.lit", "capulet.lit"): "dialback"}
    assert capulet.bodies == ["m2"]


@pytest.mark.parametrize(("dns", "srv"), [(True, False), (False, True)])
def test_one_kind_of_name_suffices(world: World, dns: bool, srv: bool) -> None:
    only = {"capulet.lit": issue(INTERMEDIATE, "capulet.lit", dns=dns, srv=srv)}
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit", certificates=only)
    capulet.message(JULIET, ROMEO)
    assert montague.proofs == {("montague.lit", "capulet.lit"): "certificate"}


def test_a_common_name_is_no_name(world: World) -> None:
    unnamed = {"capulet.lit": issue(CA, "capulet.lit", dns=False, srv=False)}
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit", certificates=unnamed)
    capulet.message(JULIET, ROMEO)
    assert montague.heard == []
    assert capulet.errors == [("m1", "remote-server-timeout", "cancel")]


# --- off -------------------------------------------------------------------------------------------


def test_a_domain_that_does_not_federate_sends_nothing(world: World) -> None:
    montague, capulet = world.serve("montague.lit", Policy("off")), world.serve("capulet.lit")
    montague.message(ROMEO, JULIET)
    assert montague.errors == [("m1", "not-allowed", "cancel")]
    assert world.internet.pipes == []
    assert capulet.heard == []


def test_a_domain_that_does_not_federate_takes_nothing(world: World) -> None:
    montague, capulet = world.serve("montague.lit", Policy("off")), world.serve("capulet.lit")
    capulet.message(JULIET, ROMEO)
    assert montague.heard == []
    assert capulet.errors == [("m1", "remote-server-timeout", "cancel")]


# --- the end of a stream ---------------------------------------------------------------------------


def test_an_idle_link_is_closed_and_opened_again_when_needed(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(idle_timeout=300.0))
    capulet = world.serve("capulet.lit")
    montague.message(ROMEO, JULIET)
    world.advance(299)
    assert len(capulet.incoming) == 1
    world.advance(2)
    assert capulet.incoming == []
    assert montague.federation.links == {}
    montague.message(ROMEO, JULIET, "m2")
    assert capulet.bodies == ["m1", "m2"]


def test_a_link_in_use_is_not_idle(world: World) -> None:
    montague = world.serve("montague.lit", settings=Settings(idle_timeout=300.0))
    capulet = world.serve("capulet.lit")
    for number in range(5):
        montague.message(ROMEO, JULIET, f"m{number}")
        world.advance(200)
    assert len(world.internet.pipes) == 1
    assert len(capulet.incoming) == 1


def test_nothing_is_left_of_streams_that_are_gone(world: World) -> None:
    montague = world.serve("montague.lit", Policy("either"), bidi=False)
    capulet = world.serve("capulet.lit")
    montague.message(ROMEO, JULIET)
    capulet.message(JULIET, ROMEO)
    world.advance(1)
    for pipe in world.internet.pipes:
        pipe.client.abortConnection()
    world.advance(1)
    assert montague.incoming == capulet.incoming == []
    assert montague.federation.links == capulet.federation.links == {}
    assert world.clock.getDelayedCalls() == []
