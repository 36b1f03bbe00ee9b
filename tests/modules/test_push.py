"""XEP-0357."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.client import condition
from tests.modules.archived import JULIET, MODULES, says

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Client, Network

NS = "urn:xmpp:push:0"
ROMEO = "romeo@montague.lit"
SERVICE = "push.client.example"
FORM = (
    "<x xmlns='jabber:x:data' type='submit'>"
    "<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
    "<field var='secret'><value>eruio234vzxc2kla-91</value></field></x>"
)


@pytest.fixture
def romeo(network: Network) -> Client:
    network.serve("montague.lit", modules={**MODULES, "sm": {}, "push": {"services": 3, "failures": 2}})
    network.stranger(SERVICE)
    return network.client(f"{ROMEO}/phone")


def ask(client: Client, verb: str, attributes: str = f"jid='{SERVICE}' node='n1'", inside: str = "") -> str:
    """Enable or disable; the condition with which that was refused, or nothing."""
    return condition(client.ask(f"<iq type='set'><{verb} xmlns='{NS}' {attributes}>{inside}</{verb}></iq>"))


def pushed(network: Network, error: str = "", type: str = "cancel") -> list[_Element]:
    """What the service was told; it answers."""
    service = network.stranger(SERVICE)
    told = list(service.heard)
    service.forget()
    for each in told:
        problem = f"<error type='{type}'><{error} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        service.send(
            f"<iq xmlns='jabber:client' id='{each.get('id')}' to='{each.get('from')}'"
            f" type='{'error' if error else 'result'}'>{problem if error else ''}</iq>"
        )
    return told


def nodes(told: list[_Element]) -> list[str | None]:
    return [each.get("node") for push in told for each in push.iter("{*}publish")]


def test_who_is_away_is_woken_by_a_message(romeo: Client, network: Network) -> None:
    assert ask(romeo, "enable") == ""
    romeo.close()
    says(network, JULIET, "a secret")
    service = network.stranger(SERVICE)
    told = service.heard[0]
    assert service.receives(
        f"<iq type='set' id='*' from='{ROMEO}' to='{SERVICE}'>"
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
        f"<publish node='n1'><item><notification xmlns='{NS}'><x xmlns='jabber:x:data' type='submit'>"
        "<field var='FORM_TYPE'><value>urn:xmpp:push:summary</value></field>"
        "<field var='message-count'><value>1</value></field></x>"
        "</notification></item></publish></pubsub></iq>"
    )
    service.send(f"<iq xmlns='jabber:client' type='result' id='{told.get('id')}' to='{ROMEO}'/>")


def test_the_service_gets_back_what_it_wants(romeo: Client, network: Network) -> None:
    assert ask(romeo, "enable", inside=FORM) == ""
    romeo.close()
    says(network, JULIET, "hi")
    [push] = pushed(network)
    assert (
        push.findtext(".//{*}publish-options/{*}x/{*}field[@var='secret']/{*}value") == "eruio234vzxc2kla-91"
    )


def test_who_is_there_is_not_woken(romeo: Client, network: Network) -> None:
    ask(romeo, "enable")
    says(network, JULIET, "hi")
    assert pushed(network) == []


def test_a_client_that_was_lost_is_woken_by_its_own_service(romeo: Client, network: Network) -> None:
    ask(romeo, "enable")
    garden = network.client(f"{ROMEO}/garden")
    ask(garden, "enable", f"jid='{SERVICE}' node='n2'")
    romeo.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    romeo.drop()
    says(network, JULIET, "hi")
    assert nodes(pushed(network)) == ["n1"]
    says(network, JULIET, "", inside="<composing xmlns='http://jabber.org/protocol/chatstates'/>")
    says(network, JULIET, "", inside="<received xmlns='urn:xmpp:receipts' id='1'/>")
    assert pushed(network) == []
    garden.drop()
    network.advance(700)  # nobody came back: the message waits for the account
    assert nodes(pushed(network)) == ["n1", "n2"]


def test_so_is_one_that_only_gets_the_copy(romeo: Client, network: Network) -> None:
    ask(romeo, "enable")
    romeo.ask("<iq type='set'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    garden = network.client(f"{ROMEO}/garden")
    romeo.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    romeo.drop()
    says(network, JULIET, "hi", to=garden.jid)
    assert nodes(pushed(network)) == ["n1"]
    garden.send(f"<message to='{JULIET}' type='chat'><body>my own words</body></message>")
    assert pushed(network) == []


def test_what_says_nothing_wakes_nobody(romeo: Client, network: Network) -> None:
    ask(romeo, "enable")
    romeo.close()
    says(network, JULIET, "", inside="<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>")
    assert pushed(network) == []


def test_a_service_that_was_disabled_is_left_alone(romeo: Client, network: Network) -> None:
    for node in ("n1", "n2", "n3"):
        assert ask(romeo, "enable", f"jid='{SERVICE}' node='{node}'") == ""
    assert ask(romeo, "disable", f"jid='{SERVICE}' node='n2'") == ""
    romeo.close()
    says(network, JULIET, "hi")
    assert nodes(pushed(network)) == ["n1", "n3"]
    back = network.client(f"{ROMEO}/phone")
    assert ask(back, "disable", f"jid='{SERVICE}'") == ""
    back.close()
    says(network, JULIET, "hi")
    assert pushed(network) == []


def test_a_service_that_refuses_is_not_asked_again(romeo: Client, network: Network) -> None:
    ask(romeo, "enable")
    romeo.close()
    says(network, JULIET, "1")
    assert len(pushed(network, "item-not-found")) == 1
    says(network, JULIET, "2")
    assert pushed(network) == []


def test_one_that_cannot_just_now_is_asked_again_a_few_times(romeo: Client, network: Network) -> None:
    ask(romeo, "enable")
    romeo.close()
    says(network, JULIET, "1")
    assert len(pushed(network, "resource-constraint", "wait")) == 1
    says(network, JULIET, "2")
    assert len(pushed(network)) == 1
    for _ in range(2):
        says(network, JULIET, "3")
        assert len(pushed(network, "resource-constraint", "wait")) == 1
    says(network, JULIET, "4")
    assert pushed(network) == []


def test_a_service_enabled_anew_starts_anew(romeo: Client, network: Network) -> None:
    ask(romeo, "enable")
    romeo.close()
    says(network, JULIET, "1")
    back = network.client(f"{ROMEO}/phone")
    ask(back, "enable", inside=FORM)
    assert len(pushed(network, "item-not-found")) == 1  # about what it was before
    back.close()
    says(network, JULIET, "2")
    assert len(pushed(network)) == 1


@pytest.mark.parametrize(
    ("attributes", "inside", "error"),
    [
        ("", "", "bad-request"),
        ("jid='@'", "", "bad-request"),
        (f"jid='{SERVICE}'", FORM.replace("#publish-options", "#odd"), "bad-request"),
        (f"jid='{SERVICE}'", "<x xmlns='jabber:x:data' type='submit'/>", "bad-request"),
        (f"jid='{SERVICE}'", FORM.replace("eruio", "e" * 5000), "not-acceptable"),
    ],
)
def test_what_cannot_be_enabled_is_refused(romeo: Client, attributes: str, inside: str, error: str) -> None:
    assert ask(romeo, "enable", attributes, inside) == error


def test_an_account_has_so_many_services_and_no_more(romeo: Client) -> None:
    for node in ("n1", "n2", "n3", "n1"):
        assert ask(romeo, "enable", f"jid='{SERVICE}' node='{node}'") == ""
    assert ask(romeo, "enable", f"jid='{SERVICE}'") == "resource-constraint"


def test_the_account_says_that_it_can(romeo: Client) -> None:
    info = f"<iq type='get' to='{ROMEO}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    assert NS in romeo.ask(info).xpath(".//@var")
