"""XEP-0199."""

from __future__ import annotations

from tests.rehearsal import Rehearsal

PING = "<ping xmlns='urn:xmpp:ping'/>"


def test_the_domain_answers_the_pings_of_its_clients_and_of_other_servers() -> None:
    with Rehearsal({"ping": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        answer = romeo.ask(f"<iq type='get' to='montague.lit'>{PING}</iq>")
        assert (answer.type, answer.children, answer.sender) == ("result", (), "montague.lit")
        stage.receive(f"<iq type='get' id='s2s1' from='capulet.lit' to='montague.lit'>{PING}</iq>")
        assert [stanza.to_bytes() for stanza in stage.abroad] == [
            b"<iq type='result' from='montague.lit' to='capulet.lit' id='s2s1'/>"
        ]


def test_a_client_pings_its_server_also_without_an_address_or_at_its_own_account() -> None:
    with Rehearsal({"ping": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        assert romeo.ask(f"<iq type='get'>{PING}</iq>").type == "result"
        assert romeo.ask(f"<iq type='get' to='romeo@montague.lit'>{PING}</iq>").type == "result"


def test_an_account_answers_nobody_else_and_looks_like_one_that_does_not_exist() -> None:
    with Rehearsal({"ping": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        stage.create("benvolio@montague.lit")
        answers = [
            romeo.ask(f"<iq type='get' to='{name}@montague.lit'>{PING}</iq>").payload
            for name in ("benvolio", "nobody")
        ]
        assert b"<service-unavailable" in answers[0]
        assert answers[0] == answers[1]


def test_a_set_is_no_ping() -> None:
    with Rehearsal({"ping": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        answer = romeo.ask(f"<iq type='set' to='montague.lit'>{PING}</iq>")
        assert b"<service-unavailable" in answer.payload
