"""What a session does with what its client says, before anything is routed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.api import Module, Session, Stage, Stanza, StanzaError, filters
from jabberd.testing.client import condition
from jabberd.xmpp.errors import StreamError

if TYPE_CHECKING:
    from jabberd.testing import Client, Network
    from tests.conftest import LoggedErrors


class Censor(Module):
    """Looks at what clients say and hear."""

    @filters(Stage.SAID, children=["{urn:x}word"])
    def said(self, stanza: Stanza, session: Session) -> Stanza | None:
        """Do what the word says."""
        assert stanza.sender == session.jid
        word = stanza.child("{urn:x}word")
        assert word is not None
        return act(word.text, stanza)

    @filters(Stage.SENDING, children=["{urn:x}heard"])
    def heard(self, stanza: Stanza, session: Session) -> Stanza | None:
        """The same behind the router."""
        word = stanza.child("{urn:x}heard")
        assert word is not None
        return act(word.text, stanza)


def act(word: str | None, stanza: Stanza) -> Stanza | None:
    if word == "refuse":
        raise StanzaError("policy-violation")
    if word == "break":
        raise ZeroDivisionError
    return None if word == "drop" else stanza.with_attrs(id="changed")


@pytest.fixture
def romeo(network: Network) -> Client:
    network.serve("montague.lit", modules={"censor": {}}, classes={"censor": Censor})
    return network.client("romeo@montague.lit/orchard")


def say(client: Client, inside: str, name: str = "message") -> None:
    type = "type='set' " if name == "iq" else ""
    client.send(f"<{name} {type}id='m1' to='romeo@montague.lit/orchard'>{inside}</{name}>")


@pytest.mark.parametrize("name", ["message", "presence", "iq"])
def test_a_filter_sees_what_is_said_with_its_true_sender_and_may_change_it(romeo: Client, name: str) -> None:
    say(romeo, "<word xmlns='urn:x'>change</word>", name)
    assert romeo.next().get("id") == "changed"
    say(romeo, "<other xmlns='urn:x'>change</other>", name)
    assert romeo.next().get("id") == "m1"


@pytest.mark.parametrize("element", ["word", "heard"])
def test_a_filter_may_drop_it(romeo: Client, element: str) -> None:
    say(romeo, f"<{element} xmlns='urn:x'>drop</{element}>")
    assert romeo.hears_nothing()


def test_a_filter_may_refuse_it(romeo: Client) -> None:
    say(romeo, "<word xmlns='urn:x'>refuse</word>")
    error = romeo.next()
    assert (condition(error), error.get("id")) == ("policy-violation", "m1")
    assert error.get("from") == "romeo@montague.lit/orchard"


def test_a_filter_that_fails_costs_the_stanza_not_the_stream(
    romeo: Client, logged_errors: LoggedErrors
) -> None:
    for element in ("word", "heard"):
        say(romeo, f"<{element} xmlns='urn:x'>break</{element}>")
        assert condition(romeo.next()) == "internal-server-error"
        assert len(logged_errors.take(ZeroDivisionError)) == 1
    say(romeo, "")
    assert romeo.next().get("id") == "m1"


def test_a_refusal_of_what_had_no_address_is_from_the_account(romeo: Client) -> None:
    romeo.send("<message id='m1'><word xmlns='urn:x'>refuse</word></message>")
    error = romeo.next()
    assert (error.get("from"), error.get("to")) == ("romeo@montague.lit", "romeo@montague.lit/orchard")


def test_a_session_that_is_closed_takes_its_stream_along(romeo: Client, network: Network) -> None:
    [account] = network.server("montague.lit").hosts["montague.lit"].manager.accounts
    [session] = account.sessions.values()
    session.close(StreamError("policy-violation", "enough"))
    assert account.sessions == {}
    session.close()  # it is over already
    assert romeo.is_dismissed_with("policy-violation")


def test_all_sessions_of_a_domain_can_be_ended(romeo: Client, network: Network) -> None:
    street = network.client("romeo@montague.lit/street")
    street.forget()
    romeo.forget()
    network.server("montague.lit").hosts["montague.lit"].manager.close_all(StreamError("system-shutdown"))
    for client in (romeo, street):
        client.flush()
        assert client.heard.pop().tag == "{http://etherx.jabber.org/streams}error"
        assert not client.connected
