"""XEP-0114 in memory: a component's stream, what it may say, and what becomes of what is for it."""

from __future__ import annotations

import re
from hashlib import sha1
from typing import TYPE_CHECKING

import pytest
from twisted.internet.protocol import Protocol, connectionDone

from jabberd import settings
from jabberd.admin import Admin
from jabberd.streams.addresses import Addresses
from jabberd.streams.components import ComponentFactory, ComponentVerbs
from jabberd.streams.protocol import StreamSettings
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from jabberd.xmpp.jid import JID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.python.failure import Failure

    from jabberd.testing import Client, Network

SMS = JID.parse("sms.montague.lit")
SECRET = "a thing of no great worth"
DOMAIN = "http://jabber.org/protocol/disco#items"


class Program(Protocol):
    """What connects: it remembers all that it hears."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.heard = ""
        self.connected = 1

    def dataReceived(self, data: bytes) -> None:
        self.heard += data.decode()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # Twisted's
        self.connected = 0

    def say(self, xml: str) -> str:
        """Say something; what is heard since."""
        self.heard = ""
        assert self.transport is not None
        self.transport.write(xml.encode())
        self.network.flush()
        return self.heard

    def open(self, to: str = SMS, content: str = "jabber:component:accept") -> str:
        streams = "http://etherx.jabber.org/streams"
        return self.say(f"<stream:stream xmlns='{content}' xmlns:stream='{streams}' to='{to}'>")

    def shake(self, secret: str = SECRET) -> str:
        found = re.search(" id='([^']+)'", self.open())
        assert found is not None
        proof = sha1(f"{found[1]}{secret}".encode(), usedforsecurity=False).hexdigest()
        return self.say(f"<handshake>{proof}</handshake>")


class Stage:
    """A server with a component's domain, and romeo."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.server = network.serve("montague.lit")
        addresses = Addresses(network.clock, settings.Limits())
        self.factory = ComponentFactory(
            network.clock, StreamSettings(), {SMS: SECRET}, self.server.router, addresses
        )
        self.romeo: Client = network.client("romeo@montague.lit/orchard")

    def program(self) -> Program:
        """One that has connected, and said nothing yet."""
        program = Program(self.network)
        self.network.join(program, self.factory)
        return program

    def component(self) -> Program:
        program = self.program()
        assert program.shake() == "<handshake/>"
        return program


@pytest.fixture
def stage(network: Network) -> Iterator[Stage]:
    stage = Stage(network)
    yield stage
    for stream in [*stage.factory.streams]:
        stream.abort()
    network.flush()
    stage.romeo.forget()


def dismissed(program: Program, heard: str) -> str:
    """The stream error with which a program was sent away."""
    found = re.search("<stream:error><([a-z-]+)", heard)
    assert found is not None, heard
    assert heard.endswith("</stream:stream>")
    assert not program.connected
    return found[1]


@pytest.mark.rfc6120("10.5-1")
def test_a_component_hears_and_answers_what_is_for_any_address_at_its_domain(stage: Stage) -> None:
    program = stage.component()
    program.heard = ""
    stage.romeo.send("<message to='+39045@sms.montague.lit' id='m1'><body>hi</body></message>")
    assert program.heard == (
        "<message to='+39045@sms.montague.lit' id='m1' from='romeo@montague.lit/orchard'>"
        "<body>hi</body></message>"
    )
    program.say(
        "<message from='+39045@sms.montague.lit' to='romeo@montague.lit' id='m2'><body>o</body></message>"
    )
    assert stage.romeo.receives(
        "<message from='+39045@sms.montague.lit' to='romeo@montague.lit' id='m2'><body>o</body></message>"
    )


def test_its_header_answers_with_its_name_and_a_new_id(stage: Stage) -> None:
    headers = [stage.program().open() for _ in range(2)]
    for header in headers:
        assert " from='sms.montague.lit'" in header
        assert "xmlns='jabber:component:accept'" in header
    assert headers[0] != headers[1]


def test_e1_a_wrong_secret_ends_the_stream(stage: Stage) -> None:
    program = stage.program()
    assert dismissed(program, program.shake("a thing of great worth..")) == "not-authorized"
    again = stage.program()
    again.open()
    assert dismissed(again, again.say("<handshake/>")) == "not-authorized"


def test_e1_a_second_one_is_sent_away_and_the_first_stays(stage: Stage) -> None:
    first, second = stage.component(), stage.program()
    assert dismissed(second, second.shake()) == "conflict"
    first.heard = ""
    stage.romeo.send("<message to='sms.montague.lit'><body>hi</body></message>")
    assert "hi" in first.heard


def test_e1_nobody_else_is_served(stage: Stage) -> None:
    for to in ("montague.lit", "icq.montague.lit", "", "@"):
        program = stage.program()
        assert dismissed(program, program.open(to)) == "host-unknown"
    client = stage.program()
    assert dismissed(client, client.open(content="jabber:client")) == "invalid-namespace"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("<message from='montague.lit' to='romeo@montague.lit'/>", "invalid-from"),
        ("<message from='evil.example' to='romeo@montague.lit'/>", "invalid-from"),
        ("<message from='x.sms.montague.lit' to='romeo@montague.lit'/>", "invalid-from"),
        ("<message from='@' to='romeo@montague.lit'/>", "invalid-from"),
        ("<message to='romeo@montague.lit'/>", "improper-addressing"),
        ("<message from='sms.montague.lit'/>", "improper-addressing"),
        ("<handshake>again</handshake>", "unsupported-stanza-type"),
        ("<route xmlns='urn:example:old'/>", "unsupported-stanza-type"),
    ],
)
def test_e2_a_component_speaks_for_its_domain_alone(stage: Stage, said: str, error: str) -> None:
    program = stage.component()
    assert dismissed(program, program.say(said)) == error
    assert stage.romeo.hears_nothing()


def test_before_the_handshake_nothing_is_taken(stage: Stage) -> None:
    program = stage.program()
    program.open()
    said = "<message from='sms.montague.lit' to='romeo@montague.lit'><body>hi</body></message>"
    assert dismissed(program, program.say(said)) == "not-authorized"
    assert stage.romeo.hears_nothing()


def test_who_does_not_shake_hands_in_time_is_sent_away(stage: Stage) -> None:
    program = stage.program()
    program.open()
    program.heard = ""
    stage.network.advance(61)
    assert dismissed(program, program.heard) == "connection-timeout"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("<message id='1' from='sms.montague.lit' to='@'><body>hi</body></message>", "jid-malformed"),
        ("<iq id='1' from='sms.montague.lit' to='montague.lit' type='get'/>", "bad-request"),
        (
            "<iq id='1' from='sms.montague.lit' to='tybalt@montague.lit' type='get'><q xmlns='x'/></iq>",
            "service-unavailable",
        ),
        ("<message id='1' from='sms.montague.lit' to='juliet@capulet.lit'/>", "remote-server-not-found"),
    ],
)
def test_what_it_says_wrong_comes_back_and_the_stream_goes_on(stage: Stage, said: str, error: str) -> None:
    program = stage.component()
    heard = program.say(said)
    assert "type='error'" in heard
    assert f"<{error} " in heard
    assert program.connected


def test_what_is_for_an_absent_component_bounces(stage: Stage) -> None:
    stage.romeo.send("<message id='m1' to='sms.montague.lit'><body>hi</body></message>")
    assert condition(stage.romeo.next()) == "remote-server-timeout"
    program = stage.component()
    assert program.transport is not None
    program.transport.loseConnection()
    stage.network.flush()
    stage.romeo.send("<message id='m2' to='sms.montague.lit'><body>hi</body></message>")
    assert condition(stage.romeo.next()) == "remote-server-timeout"
    assert stage.component().connected


def test_what_never_left_for_a_component_bounces_when_it_is_gone(stage: Stage) -> None:
    stage.component()
    component = stage.factory.components[SMS]
    assert component.stream is not None
    component.stream.pauseProducing()
    stage.romeo.send("<message id='m1' to='sms.montague.lit'><body>hi</body></message>")
    assert stage.romeo.hears_nothing()
    component.stream.transport.abortConnection()
    stage.network.flush()
    assert condition(stage.romeo.next()) == "remote-server-timeout"


def test_its_parent_lists_it(stage: Stage) -> None:
    answer = stage.romeo.ask(f"<iq type='get' to='montague.lit'><query xmlns='{DOMAIN}'/></iq>")
    assert [item.get("jid") for item in answer[0]] == [SMS]


def test_what_looks_different_in_another_namespace_is_the_same_for_both(stage: Stage) -> None:
    program = stage.component()
    forwarded = (
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='{}'><body>hi</body></message></forwarded>"
    )
    program.heard = ""
    stage.romeo.send(f"<message to='sms.montague.lit'>{forwarded.format('jabber:client')}</message>")
    assert "<message xmlns='jabber:client'>" in program.heard
    error = "<error type='cancel'/>"
    program.say(f"<message from='{SMS}' to='romeo@montague.lit/orchard' type='error'>{error}</message>")
    assert stage.romeo.next()[0].tag == "{jabber:client}error"


def test_operators_see_who_is_connected(stage: Stage) -> None:
    verbs = ComponentVerbs(stage.factory, stage.network.clock)
    admin = Admin(lambda: [("components", "", verbs)])
    assert done(admin.run(["components", "list"], {})) == [
        {"component": SMS, "address": None, "seconds": None}
    ]
    stage.component()
    stage.network.advance(5)
    assert verbs.list() == [{"component": SMS, "address": "127.0.0.1", "seconds": 5}]
