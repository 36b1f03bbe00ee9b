"""RFC 3921 §3."""

from __future__ import annotations

from jabberd.xmpp.element import serialize_content
from tests.rehearsal import Rehearsal

SESSION = "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>"


def test_an_old_client_that_asks_for_a_session_gets_it_wherever_it_asks() -> None:
    with Rehearsal({"session": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        for to in ("", "to='montague.lit'", "to='romeo@montague.lit'"):
            answer = romeo.ask(f"<iq type='set' {to}>{SESSION}</iq>")
            assert (answer.type, answer.payload) == ("result", b"")


def test_a_new_client_is_told_that_it_need_not_ask() -> None:
    with Rehearsal({"session": {}}) as stage:
        feature = b"<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>"
        assert feature in serialize_content(stage.domain.stream_features)


def test_other_servers_have_no_session_here() -> None:
    with Rehearsal({"session": {}}) as stage:
        stage.receive(
            f"<iq type='set' id='1' from='juliet@capulet.lit/balcony' to='montague.lit'>{SESSION}</iq>"
        )
        assert b"<service-unavailable" in stage.abroad[0].payload
