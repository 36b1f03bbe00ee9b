"""Whom our domains talk to, as operators have it: live, kept, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from jabberd.admin import Admin
from jabberd.api import JID, Refused
from jabberd.storage import open_storage
from jabberd.streams.link_verbs import outlook
from jabberd.streams.proof import Policy, Rules
from jabberd.streams.rules import RuleVerbs, load, store_of
from jabberd.testing.outcome import done
from jabberd.xmpp import ns
from tests.streams.federated import Server, World, connect

ROMEO, JULIET, TYBALT = "romeo@montague.lit/orchard", "juliet@capulet.lit/balcony", "tybalt@evil.example"
OURS = "montague.lit"


@pytest.fixture
def world() -> World:
    return World()


class Operator:
    """Somebody who says ``federation ...`` to a server."""

    def __init__(self, server: Server) -> None:
        self.store = store_of(open_storage("memory", None))
        self._verbs = RuleVerbs(server.federation, server.factory, self.store)
        self._server = server

    def __call__(self, words: str) -> Any:
        answer = done(
            Admin(lambda: [("federation", "", self._verbs)]).run(["federation", *words.split()], {})
        )
        self._server.world.internet.flush()
        return answer


@pytest.mark.parametrize(
    ("rules", "theirs", "talks"),
    [
        ({}, "evil.example", True),
        ({"evil.example": False}, "evil.example", False),
        ({"evil.example": False}, "more.evil.example", True),
        ({"*.evil.example": False}, "more.evil.example", False),
        ({"*.evil.example": False}, "even.more.evil.example", False),
        ({"*.evil.example": False}, "evil.example", True),
        ({"*.evil.example": False}, "notevil.example", True),
        ({"*": False}, "evil.example", False),
        ({"*": False, "capulet.lit": True}, "capulet.lit", True),
        ({"*": False, "*.lit": True, "verona.lit": False}, "capulet.lit", True),
        ({"*": False, "*.lit": True, "verona.lit": False}, "verona.lit", False),
        ({"*.a.lit": True, "*.lit": False}, "x.a.lit", True),
        ({"*": False}, "localhost", False),
    ],
)
def test_the_rule_that_says_most_holds(rules: dict[str, bool], theirs: str, talks: bool) -> None:
    assert Rules({(OURS, pattern): rule for pattern, rule in rules.items()}).allow(OURS, theirs) is talks
    assert Rules({("other.lit", pattern): rule for pattern, rule in rules.items()}).allow(OURS, theirs)


def test_what_is_denied_bounces_and_no_connection_is_tried(world: World) -> None:
    montague = world.serve(OURS)
    world.serve("capulet.lit")
    operator = Operator(montague)
    assert operator(f"deny {OURS} capulet.lit") == f"{OURS} does not talk to capulet.lit"
    montague.message(ROMEO, JULIET)
    assert montague.errors == [("m1", "not-allowed", "cancel")]
    assert world.internet.pipes == []
    told = outlook(montague.federation, JID.parse(OURS), JID.parse("capulet.lit"))
    assert told == f"answered with not-allowed: an operator keeps {OURS} from talking to capulet.lit"
    assert operator(f"allow {OURS} capulet.lit") == f"{OURS} talks to capulet.lit"
    montague.message(ROMEO, JULIET)
    assert montague.errors == []


def test_who_is_denied_is_sent_away_at_the_door(world: World) -> None:
    montague = world.serve(OURS)
    Operator(montague)(f"deny {OURS} evil.example")
    peer = connect(world, montague)
    assert "<policy-violation" in peer.open()
    assert peer.closed


def test_who_names_nobody_at_the_door_is_refused_by_dialback(world: World) -> None:
    montague = world.serve(OURS, Policy("dialback", require_tls=False))
    Operator(montague)(f"deny {OURS} *.example")
    peer = connect(world, montague)
    peer.open(
        header=f"<stream:stream xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}' xmlns:db='{ns.DIALBACK}'"
        f" to='{OURS}' version='1.0'>"
    )
    answer = peer.say(f"<db:result from='evil.example' to='{OURS}'>key</db:result>")
    assert "type='error'" in answer
    assert "<not-allowed" in answer


def test_a_deny_ends_the_links_that_there_are_and_no_others(world: World) -> None:
    montague, capulet, verona = world.serve(OURS), world.serve("capulet.lit"), world.serve("verona.lit")
    for server, sender in ((capulet, JULIET), (verona, "escalus@verona.lit")):
        montague.message(ROMEO, sender)
        server.message(sender, ROMEO)
    assert Operator(montague)(f"deny {OURS} capulet.lit").endswith("; 1 link ended")
    assert [pair[1] for pair in montague.federation.links] == ["verona.lit"]
    assert montague.incoming == []
    capulet.message(JULIET, ROMEO, "m2")
    world.advance(1)
    assert "m2" not in montague.bodies
    assert [error[:2] for error in capulet.errors] == [("m2", "remote-server-timeout")]


def test_what_waits_for_a_link_goes_back_when_it_is_denied(world: World) -> None:
    montague = world.serve(OURS)
    montague.message(ROMEO, JULIET)
    assert Operator(montague)(f"deny {OURS} *").endswith("; 1 link ended")
    assert montague.errors[0][0] == "m1"
    assert world.clock.getDelayedCalls() == []


def test_rules_are_listed_and_forgotten(world: World) -> None:
    montague = world.serve(OURS, also={"verona.lit": Policy()})
    operator = Operator(montague)
    operator(f"deny {OURS} *")
    operator(f"allow {OURS} Capulet.LIT")
    operator("deny verona.lit *.evil.example")
    assert operator(f"list {OURS}") == [
        {"domain": OURS, "peer": "*", "rule": "deny"},
        {"domain": OURS, "peer": "capulet.lit", "rule": "allow"},
    ]
    assert len(operator("list")) == 3
    assert operator(f"forget {OURS} *") == f"{OURS} has no rule for * any more"
    assert operator(f"list {OURS}") == [{"domain": OURS, "peer": "capulet.lit", "rule": "allow"}]
    with pytest.raises(Refused, match=r"^there is no rule of montague\.lit for \*$"):
        operator(f"forget {OURS} *")


def test_forgetting_an_exception_ends_what_it_had_allowed(world: World) -> None:
    montague = world.serve(OURS)
    world.serve("capulet.lit")
    operator = Operator(montague)
    operator(f"deny {OURS} *")
    operator(f"allow {OURS} capulet.lit")
    montague.message(ROMEO, JULIET)
    operator(f"forget {OURS} capulet.lit")
    assert montague.federation.links == {}


def test_rules_are_kept(world: World) -> None:
    operator = Operator(world.serve(OURS))
    operator(f"deny {OURS} *.evil.example")
    operator(f"allow {OURS} capulet.lit")
    operator(f"deny {OURS} *")
    operator(f"forget {OURS} *")
    assert done(load(operator.store)) == {(OURS, "*.evil.example"): False, (OURS, "capulet.lit"): True}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("deny elsewhere.lit evil.example", "elsewhere.lit is not hosted here"),
        (f"deny {OURS} tybalt@evil.example", "'tybalt@evil.example' is not a domain; write it like"),
        (f"allow {OURS} *evil.example", "is not a domain"),
    ],
)
def test_what_is_no_rule_is_refused(world: World, words: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        Operator(world.serve(OURS))(words)
