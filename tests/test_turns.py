"""How many questions of each asker may wait."""

from __future__ import annotations

from contextlib import suppress

import pytest

from jabberd.api import JID, Turns
from jabberd.xmpp.errors import StanzaError

ROMEO, PHONE = JID("romeo@montague.lit/orchard"), JID("romeo@montague.lit/phone")


def test_each_account_of_the_domain_has_its_share_and_gets_it_back() -> None:
    turns = Turns(JID("montague.lit"), 2)
    for _ in range(2):
        with turns.turn(ROMEO), turns.turn(PHONE), turns.turn(JID("mercutio@montague.lit/street")):
            assert len(turns) == 3
            with pytest.raises(StanzaError, match="resource-constraint"), turns.turn(ROMEO):
                pass
        assert len(turns) == 0


def test_all_people_of_another_domain_share_one() -> None:
    turns = Turns(JID("montague.lit"), 2)
    with turns.turn(JID("juliet@capulet.lit/balcony")), turns.turn(JID("nurse@capulet.lit/gate")):
        with pytest.raises(StanzaError), turns.turn(JID("tybalt@capulet.lit")):
            pass
        with turns.turn(ROMEO):
            assert len(turns) == 3


def test_a_question_that_fails_gives_its_place_back() -> None:
    turns = Turns(JID("montague.lit"), 1)
    for _ in range(2):
        with suppress(ZeroDivisionError), turns.turn(ROMEO):
            raise ZeroDivisionError
    assert len(turns) == 0
