"""XEP-0202."""

from __future__ import annotations

from tests.rehearsal import Rehearsal

ASK = "<iq type='get' to='montague.lit'><time xmlns='urn:xmpp:time'/></iq>"


def test_the_time_is_told_in_utc() -> None:
    with Rehearsal({"time": {}}) as stage:
        stage.clock.advance(1166551115)  # the moment of XEP-0202, example 2
        answer = stage.login("romeo@montague.lit/orchard").ask(ASK)
        assert answer.payload == (
            b"<time xmlns='urn:xmpp:time'><tzo>Z</tzo><utc>2006-12-19T17:58:35Z</utc></time>"
        )
