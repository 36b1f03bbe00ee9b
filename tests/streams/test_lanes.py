from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from jabberd.streams.lanes import Lanes
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza

ROMEO, JULIET = JID.parse("romeo@montague.lit/orchard"), JID.parse("juliet@capulet.lit/balcony")
NURSE = JID.parse("nurse@capulet.lit")


class Route:
    """Notes the ids of what comes; an iq waits until it is answered."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.open: dict[str, Deferred[None]] = {}
        self.lanes = Lanes(self)

    def __call__(self, stanza: Stanza) -> Deferred[None] | None:
        self.came.append(stanza.id)
        if stanza.id.startswith("now"):
            return None
        return self.open.setdefault(stanza.id, Deferred())

    def take(self, name: str, id: str, to: JID = JULIET, sender: JID = ROMEO) -> Deferred[None] | None:
        return self.lanes.take(Stanza.of(name, to=to, sender=sender, id=id))


def test_what_follows_an_iq_without_an_answer_waits() -> None:
    route = Route()
    route.take("iq", "q1")
    second = route.take("message", "now1")
    assert route.came == ["q1"]
    assert second is not None
    assert not second.called
    route.open["q1"].callback(None)
    assert route.came == ["q1", "now1"]
    assert second.called


@pytest.mark.rfc6120("10.1-2")
def test_the_bare_and_the_full_jid_are_one_addressee() -> None:
    route = Route()
    route.take("iq", "q1", JULIET.bare)
    route.take("message", "now1", JULIET)
    assert route.came == ["q1"]


def test_other_senders_and_addressees_do_not_wait() -> None:
    route = Route()
    route.take("iq", "q1")
    assert route.take("message", "now1", NURSE) is None
    assert route.take("message", "now2", JULIET, sender=ROMEO.bare) is None
    assert route.came == ["q1", "now1", "now2"]


def test_a_message_without_a_home_holds_nobody_back() -> None:
    route = Route()
    route.take("message", "m1")
    assert route.take("message", "now1") is None
    assert route.came == ["m1", "now1"]


def test_after_an_answer_the_lane_goes_on_as_far_as_the_next_iq() -> None:
    route = Route()
    homes = [route.take(*each) for each in (("iq", "q1"), ("iq", "q2"), ("message", "now1"))]
    route.open["q1"].callback(None)
    assert route.came == ["q1", "q2"]
    route.take("message", "now2")
    route.open["q2"].callback(None)
    assert route.came == ["q1", "q2", "now1", "now2"]
    assert all(home is not None and home.called for home in homes)


def test_a_waiting_message_is_home_when_it_is_stored() -> None:
    route = Route()
    route.take("iq", "q1")
    home = route.take("message", "m1")
    assert home is not None
    route.open["q1"].callback(None)
    assert not home.called
    route.open["m1"].callback(None)
    assert home.called


def test_what_comes_while_the_lane_goes_on_joins_its_end() -> None:
    route = Route()
    route.take("iq", "q1")
    home = route.take("message", "now1")
    route.take("message", "now2")
    assert home is not None
    home.addCallback(lambda _: route.take("message", "now3"))
    route.open["q1"].callback(None)
    assert route.came == ["q1", "now1", "now2", "now3"]


def test_an_iq_answered_at_once_holds_nobody_back() -> None:
    route = Route()
    route.take("iq", "now1")
    done: Deferred[None] = Deferred()
    done.callback(None)
    route.open["q1"] = done
    route.take("iq", "q1")
    assert route.take("message", "now2") is None
    assert route.came == ["now1", "q1", "now2"]


def test_a_mistake_in_an_answer_does_not_stop_the_lane() -> None:
    route = Route()
    home = route.take("iq", "q1")
    route.take("message", "now1")
    assert home is not None
    route.open["q1"].errback(ValueError("a mistake"))
    assert route.came == ["q1", "now1"]
    home.addErrback(lambda _: None)
