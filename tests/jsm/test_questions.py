"""What a domain asks others, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.outcome import done
from jabberd.xmpp.element import E
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from jabberd.testing import Network

ROMEO = JID("romeo@montague.lit")
UNHEARD_OF = (
    "<error type='wait'><unheard-of xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
    "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>forbidden</text></error>"
)


@pytest.fixture
def asked(network: Network) -> Deferred[Stanza]:
    """Juliet was asked in Romeo's name."""
    network.serve("montague.lit")
    network.stranger("juliet@capulet.lit/balcony")
    question = Stanza.of(
        "iq", E("urn:q", "q"), sender=ROMEO, to=JID("juliet@capulet.lit/balcony"), type="get"
    )
    return network.server("montague.lit").hosts["montague.lit"].manager.ask(question, 20)


def answer(network: Network, type: str, sender: str = "juliet@capulet.lit/balcony", inside: str = "") -> None:
    juliet = network.stranger("juliet@capulet.lit/balcony")
    id = juliet.heard[0].get("id")
    juliet.send(
        f"<iq xmlns='jabber:client' from='{sender}' to='{ROMEO}' type='{type}' id='{id}'>{inside}</iq>"
    )


def test_a_question_gets_its_answer(network: Network, asked: Deferred[Stanza]) -> None:
    answer(network, "result", inside="<a xmlns='urn:q'/>")
    assert done(asked).children == ("{urn:q}a",)


@pytest.mark.rfc6120("8.3.1-7")
def test_a_refusal_is_told(network: Network, asked: Deferred[Stanza]) -> None:
    inside = "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    answer(network, "error", inside=inside)
    with pytest.raises(StanzaError, match="forbidden"):
        done(asked)


@pytest.mark.rfc6120("8.3.4-1")
def test_a_refusal_is_told_with_all_that_it_says(network: Network, asked: Deferred[Stanza]) -> None:
    inside = (
        "<error type='wait'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>later</text><full xmlns='urn:x' most='3'/></error>"
    )
    answer(network, "error", inside=inside)
    with pytest.raises(StanzaError, match="not-acceptable") as refused:
        done(asked)
    error = refused.value
    assert (error.type, error.text, error.application) == ("wait", "later", ("urn:x", "full"))
    assert error.details == {"most": "3"}


@pytest.mark.rfc6120("8.3.2-3", "8.3.2-4")
@pytest.mark.parametrize(
    "inside",
    [
        "",
        "<error/>",
        UNHEARD_OF,
    ],
)
def test_an_error_that_nobody_knows_is_an_undefined_one(
    network: Network, asked: Deferred[Stanza], inside: str
) -> None:
    answer(network, "error", inside=inside)
    with pytest.raises(StanzaError, match="undefined-condition"):
        done(asked)


def test_nobody_else_can_answer(network: Network, asked: Deferred[Stanza]) -> None:
    network.stranger("villain@evil.example")
    answer(network, "result", sender="villain@evil.example")
    assert not asked.called
    network.advance(20)
    with pytest.raises(StanzaError, match="remote-server-timeout"):
        done(asked)
    answer(network, "result")  # too late: nothing happens


def test_a_question_to_nowhere_is_refused(network: Network) -> None:
    network.serve("montague.lit")
    manager = network.server("montague.lit").hosts["montague.lit"].manager
    question = Stanza.of("iq", E("urn:q", "q"), sender=manager.jid, to=JID("nowhere.example"), type="get")
    with pytest.raises(StanzaError, match="remote-server-not-found"):
        done(manager.ask(question))
