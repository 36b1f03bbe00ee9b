"""The kit itself: what it promises to those who test clients and modules with it."""

from __future__ import annotations

import doctest
import re
from typing import TYPE_CHECKING

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol

import jabberd.testing
from jabberd.api import ANYONE, DOMAIN, IQ, Module, answers
from jabberd.testing import Network
from jabberd.testing.client import condition, read
from tests.testing.test_wire import Listener

if TYPE_CHECKING:
    from tests.conftest import LoggedErrors

MESSAGE = "<message to='{}' type='chat'><body>hi</body></message>"
RECEIVED = "<message from='romeo@montague.lit/orchard' to='juliet@capulet.lit' type='chat'>{}</message>"


def test_the_example_in_the_documentation_is_true() -> None:
    result = doctest.testmod(jabberd.testing)
    assert result.attempted > 10
    assert result.failed == 0


def said(network: Network, body: str) -> jabberd.testing.client.Client:
    """Romeo says something to juliet, who is the one returned."""
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = network.client("juliet@capulet.lit/balcony")
    romeo.send(f"<message to='juliet@capulet.lit' type='chat'>{body}</message>")
    return juliet


@pytest.mark.parametrize(
    "same",
    [
        "<body>hi</body><x xmlns='urn:x' a='1' b='2'/>",
        "\n  <body>hi</body>\n  <p:x xmlns:p='urn:x' b='2' a='1'></p:x>\n",
        "<body>*</body><x xmlns='urn:x' a='*' b='2'/>",
    ],
    ids=["as it was written", "other prefixes, order and white space", "wildcards"],
)
def test_equal_xml_is_received_however_it_is_written(network: Network, same: str) -> None:
    juliet = said(network, "<body>hi</body><x xmlns='urn:x' a='1' b='2'/>")
    assert juliet.receives(RECEIVED.format(same))
    assert juliet.hears_nothing()


@pytest.mark.parametrize(
    "other",
    [
        "<body>ho</body><x xmlns='urn:x' a='1'/>",
        "<body>hi </body><x xmlns='urn:x' a='1'/>",
        "<body>hi</body><x xmlns='urn:y' a='1'/>",
        "<body>hi</body><x xmlns='urn:x' a='1' b='*'/>",
        "<body>hi</body>",
        "<x xmlns='urn:x' a='1'/><body>hi</body>",
        "<body>hi</body><x xmlns='urn:x' a='1'/><more xmlns='urn:x'/>",
    ],
)
def test_other_xml_is_not_and_the_failure_shows_both(network: Network, other: str) -> None:
    juliet = said(network, "<body>hi</body><x xmlns='urn:x' a='1'/>")
    with pytest.raises(AssertionError, match=re.compile("expected <.*got <.*hi", re.DOTALL)):
        juliet.receives(RECEIVED.format(other))


def test_it_is_noticed_when_there_is_more_or_less_to_hear(network: Network) -> None:
    juliet = said(network, "<body>hi</body>")
    with pytest.raises(AssertionError, match=r"unexpected: <.*hi"):
        juliet.hears_nothing()
    juliet.forget()
    assert juliet.hears_nothing()
    with pytest.raises(AssertionError, match="nothing more was heard"):
        juliet.receives("<message/>")


def test_a_question_without_an_answer_fails_the_test(network: Network) -> None:
    network.stranger("tybalt@evil.example")
    juliet = network.client("juliet@capulet.lit/balcony")
    with pytest.raises(AssertionError, match=r"no answer to <.*ping"):
        juliet.ask("<iq to='tybalt@evil.example' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")


def test_clients_log_in_with_tls_where_the_server_wants_it() -> None:
    network = Network()
    network.serve("montague.lit", "capulet.lit", tls=True)
    juliet = said(network, "<body>hi</body>")
    assert juliet.receives(RECEIVED.format("<body>hi</body>"))
    assert juliet.transport.getHandle().get_servername() == b"capulet.lit"
    network.close()


def test_servers_that_federate_reach_each_other_by_real_streams(network: Network) -> None:
    for domain in ("montague.lit", "capulet.lit"):
        network.serve(domain, federate=True)
    juliet = said(network, "<body>hi</body>")
    assert juliet.next().findtext("{jabber:client}body") == "hi"
    juliet.send(MESSAGE.format("nurse@verona.lit"))
    assert condition(juliet.next()) == "remote-server-not-found"
    [between] = [pipe.client for pipe in network.pipes if pipe.server.getHost().port == 5269]
    connection = between.getHandle()
    assert connection is not None
    assert connection.get_servername() == b"capulet.lit"


def test_a_wrong_password_fails_the_test_at_the_login(network: Network) -> None:
    network.client("romeo@montague.lit/orchard", password="wherefore")
    impostor = network.connected("romeo@montague.lit/verona", password="art thou")
    impostor.open()
    with pytest.raises(AssertionError, match=r"expected a success, got <.*not-authorized"):
        impostor.login()


def test_strangers_talk_with_clients_as_if_from_their_own_server(network: Network) -> None:
    tybalt = network.stranger("tybalt@evil.example/street")
    juliet = network.client("juliet@capulet.lit/balcony")
    tybalt.send("<message to='juliet@capulet.lit'><body>hate</body></message>")
    assert juliet.receives(
        "<message from='tybalt@evil.example/street' to='juliet@capulet.lit'><body>hate</body></message>"
    )
    juliet.send("<message to='tybalt@evil.example'><body>peace</body></message>")
    assert tybalt.receives(
        "<message from='juliet@capulet.lit/balcony' to='tybalt@evil.example'><body>peace</body></message>"
    )


def test_nobody_is_reached_at_a_domain_without_anybody(network: Network) -> None:
    juliet = network.client("juliet@capulet.lit/balcony")
    juliet.send(MESSAGE.format("nobody@nowhere.example"))
    assert condition(juliet.next()) == "remote-server-not-found"


class Echo(Module):
    """A module that no server can find by its name."""

    @answers.get("urn:example:echo", "echo", to=DOMAIN, by=ANYONE)
    def echo(self, request: IQ) -> object:
        """Answer with what was asked."""
        return request.payload


class Ticking(Module):
    """A module that forgets to stop its timer."""

    async def start(self) -> None:
        """Begin to tick."""
        self.domain.clock.callLater(1, self.start)


def test_a_module_of_the_test_itself_can_be_played(network: Network) -> None:
    network.serve("montague.lit", modules={"echo": {}}, classes={"echo": Echo})
    romeo = network.client("romeo@montague.lit/orchard")
    answer = romeo.ask("<iq type='get' to='montague.lit'><echo xmlns='urn:example:echo'>ho</echo></iq>")
    assert answer.findtext("{urn:example:echo}echo") == "ho"


def test_what_is_left_behind_is_found_out() -> None:
    network = Network()
    network.serve("montague.lit", modules={"ticking": {}}, classes={"ticking": Ticking})
    with pytest.raises(AssertionError, match="timers are left"):
        network.close()


def test_sessions_that_outlive_their_streams_are_found_out() -> None:
    network = Network()
    romeo = network.client("romeo@montague.lit/orchard")
    server = network.server("montague.lit")
    [account] = server.hosts["montague.lit"].manager.accounts
    account.sessions["ghost"] = account.sessions["orchard"]
    with pytest.raises(AssertionError, match="sessions are left"):
        network.close()
    assert not romeo.connected


def test_a_protocol_that_no_factory_wants_is_closed(network: Network) -> None:
    class Full(Factory):
        def buildProtocol(self, addr: object) -> Protocol | None:
            return None

    listener = Listener()
    network.join(listener, Full())
    network.flush()
    assert isinstance(listener.ended, ConnectionDone)


def test_conditions_are_read_from_errors_of_every_kind() -> None:
    stanzas = "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
    assert condition(read(f"<iq type='error'><error type='wait'><gone {stanzas}/></error></iq>")) == "gone"
    assert condition(read("<stream:error><reset xmlns='urn:x'/></stream:error>")) == "reset"
    assert condition(read("<failure xmlns='urn:x'><aborted/></failure>")) == "aborted"
    assert condition(read("<iq type='result'/>")) == ""


def test_the_end_of_a_stream_must_be_whole(network: Network, logged_errors: LoggedErrors) -> None:
    romeo = network.client("romeo@montague.lit/orchard")
    romeo.send("<no-stanza xmlns='urn:x'/>")
    assert romeo.is_dismissed_with("unsupported-stanza-type")
    juliet = said(network, "<body>hi</body>")
    with pytest.raises(AssertionError, match="expected the stream error reset"):
        juliet.is_dismissed_with("reset")
