"""What operators see of links, and do with them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol

from jabberd.admin import Admin
from jabberd.api import JID, Refused
from jabberd.streams.link_verbs import LinkVerbs, outlook
from jabberd.streams.proof import Policy
from jabberd.testing.outcome import done
from tests.streams.federated import Server, World
from tests.streams.federated import connect as connected

ROMEO, JULIET, TYBALT = "romeo@montague.lit/orchard", "juliet@capulet.lit/balcony", "tybalt@evil.example"


@pytest.fixture
def world() -> World:
    return World()


def links(server: Server, *words: str) -> Any:
    verbs = LinkVerbs(server.federation, server.factory)
    answer = done(Admin(lambda: [("links", "", verbs)]).run(["links", *words], {}))
    server.world.internet.flush()
    return answer


BOTH = [("montague.lit", way, "capulet.lit") for way in ("in", "out")]


def states(server: Server, *words: str) -> list[tuple[str, str, str, str]]:
    return [(row["ours"], row["way"], row["theirs"], row["state"]) for row in links(server, "list", *words)]


def test_links_are_listed_both_ways_with_what_proved_them(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit", Policy("dialback"))
    world.advance(60)
    montague.message(ROMEO, JULIET)
    capulet.message(JULIET, ROMEO)
    incoming, outgoing = links(montague, "list")
    assert outgoing == {
        "theirs": "capulet.lit",
        "way": "out",
        "ours": "montague.lit",
        "state": "up",
        "proof": "dialback",
        "queue": 0,
        "bidi": True,
        "address": outgoing["address"],
        "tls": "TLSv1.3",
        "cipher": outgoing["cipher"],
        "since": "1970-01-01T00:01:00Z",
    }
    assert (incoming["way"], incoming["proof"], incoming["state"]) == ("in", "certificate", "up")
    assert (incoming["tls"], incoming["queue"]) == ("TLSv1.3", None)
    assert links(montague, "list", "capulet.lit") == [incoming, outgoing]
    assert links(montague, "list", "verona.lit") == []


def test_who_has_proved_nothing_yet_is_listed_without_a_name(world: World) -> None:
    montague = world.serve("montague.lit")
    connected(world, montague).open()
    [row] = links(montague, "list")
    assert (row["theirs"], row["ours"], row["state"], row["tls"]) == (None, None, "opening", None)
    assert links(montague, "list", "evil.example") == []


def test_what_waits_for_a_link_is_counted(world: World) -> None:
    montague = world.serve("montague.lit")
    world.internet.listen("192.0.2.2", 5269, _Deaf())
    montague.message(ROMEO, JULIET, "m1")
    montague.message(ROMEO, JULIET, "m2")
    [row] = links(montague, "list")
    assert (row["state"], row["queue"], row["address"]) == ("opening", 2, None)


def test_a_closed_link_ends_both_ways_and_the_next_stanza_opens_it_anew(world: World) -> None:
    montague, capulet = world.serve("montague.lit"), world.serve("capulet.lit")
    montague.message(ROMEO, JULIET)
    capulet.message(JULIET, ROMEO)
    assert links(montague, "close", "capulet.lit") == "closed 1 out, 0 in"
    assert states(montague) == []
    assert states(capulet) == []
    montague.message(ROMEO, JULIET, "m2")
    assert capulet.bodies == ["m1", "m2"]
    with pytest.raises(Refused, match=r"^there is no link with verona\.lit$"):
        links(montague, "close", "verona.lit")


def test_closing_a_link_that_is_not_open_gives_back_what_waits(world: World) -> None:
    montague = world.serve("montague.lit")
    world.internet.listen("192.0.2.2", 5269, _Deaf())
    montague.message(ROMEO, JULIET)
    assert links(montague, "close", "capulet.lit") == "closed 1 out, 0 in"
    assert states(montague) == []
    assert montague.errors == [("m1", "remote-server-timeout", "wait")]
    assert world.clock.getDelayedCalls() == []


def test_why_tells_the_reason_and_every_place_that_was_tried(world: World) -> None:
    montague = world.serve("montague.lit")
    montague.message(ROMEO, JULIET)
    [told] = links(montague, "why", "capulet.lit")
    assert told == {
        "ours": "montague.lit",
        "theirs": "capulet.lit",
        "at": "1970-01-01T00:00:00Z",
        "failures in a row": 1,
        "condition": "remote-server-timeout",
        "why": "nothing that was tried works",
        "tried": ["192.0.2.2:5269 (192.0.2.2): Connection was refused by other side"],
        "now": "resting",
        "next attempt in": told["next attempt in"],
    }
    assert 0 < told["next attempt in"] < 3
    with pytest.raises(Refused, match=r"^no failure of a link to verona\.lit is remembered$"):
        links(montague, "why", "verona.lit")


def test_a_reason_is_remembered_when_the_link_is_up_again_and_when_it_is_gone(world: World) -> None:
    montague = world.serve("montague.lit")
    montague.message(ROMEO, JULIET)
    world.serve("capulet.lit")
    world.advance(5)
    [told] = links(montague, "why", "capulet.lit")
    assert (told["now"], told["next attempt in"]) == ("up", None)
    links(montague, "close", "capulet.lit")
    [told] = links(montague, "why", "capulet.lit")
    assert (told["now"], told["condition"]) == ("no link", "remote-server-timeout")


def test_what_our_own_policy_forbids_is_why(world: World) -> None:
    montague = world.serve("montague.lit")
    world.hosts["capulet.lit"] = world.hosts["verona.lit"]
    world.serve("verona.lit", also={"capulet.lit": Policy()}, certificates={})
    montague.message(ROMEO, JULIET)
    [told] = links(montague, "why", "capulet.lit")
    assert told["why"] == "it offers no encryption"
    assert told["tried"] == []


def test_a_link_that_rests_is_opened_at_once_when_asked(world: World) -> None:
    montague = world.serve("montague.lit")
    montague.message(ROMEO, JULIET)
    capulet = world.serve("capulet.lit")
    assert states(montague) == [("montague.lit", "out", "capulet.lit", "resting")]
    assert links(montague, "retry", "capulet.lit") == "link from montague.lit to capulet.lit is opening"
    assert states(montague) == [(*pair, "up") for pair in BOTH]
    assert capulet.bodies == ["m1"]
    links(montague, "retry", "capulet.lit")
    assert len(capulet.incoming) == 1
    with pytest.raises(Refused, match="the next stanza makes one"):
        links(montague, "retry", "verona.lit")


def test_a_link_that_failed_for_good_and_has_rested_is_idle_and_can_be_retried(world: World) -> None:
    world.hosts["mantua.lit"] = world.hosts["montague.lit"]
    montague = world.serve("montague.lit", Policy("either"))
    montague.message(ROMEO, "juliet@mantua.lit")
    world.advance(5)
    assert states(montague, "mantua.lit") == [("montague.lit", "out", "mantua.lit", "idle")]
    links(montague, "retry", "mantua.lit")
    [told] = links(montague, "why", "mantua.lit")
    assert (told["failures in a row"], told["now"]) == (2, "resting")


def test_only_so_many_reasons_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jabberd.streams.federation._MOST_SETBACKS", 2)
    montague = world.serve("montague.lit")
    for name in ("a.example", "b.example", "c.example"):
        montague.message(ROMEO, f"nobody@{name}")
        links(montague, "close", name)
    assert list(montague.federation.setbacks) == [
        ("montague.lit", "b.example"),
        ("montague.lit", "c.example"),
    ]


class _Deaf(Factory):
    """A server that lets others connect and says nothing."""

    noisy = False

    def buildProtocol(self, addr: object) -> Protocol:
        return Protocol()


def test_the_outlook_of_a_link_is_told_in_one_line(world: World) -> None:
    montague = world.serve("montague.lit")
    ours = JID.parse("montague.lit")

    def told(theirs: str) -> str:
        return outlook(montague.federation, ours, JID.parse(theirs))

    assert told("capulet.lit") == "there is no link yet; the stanza opens one"
    montague.message(ROMEO, JULIET)
    assert re.fullmatch(
        r"the link from montague\.lit to capulet\.lit rests after a failure \(.+\); it waits \d\.\d s",
        told("capulet.lit"),
    )
    world.serve("capulet.lit")
    world.advance(5)
    assert told("capulet.lit") == "the link from montague.lit to capulet.lit is up, and 0 stanzas wait for it"
    montague.message(ROMEO, "juliet@mantua.lit")
    assert told("mantua.lit").endswith("; it goes back at once")
