"""Explicit subscriptions to what an account publishes (XEP-0163 §4.3, §7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing import Network
from tests.pubsub.play import (
    EVENT,
    JULIET,
    MOOD,
    TUNE,
    ask,
    befriend,
    events,
    listen,
    order,
    publish,
    titles,
    tune,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.testing.client import Client

ROMEO = "romeo@montague.lit"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    for domain in ("capulet.lit", "montague.lit"):
        network.serve(domain, modules={"disco": {}, "caps": {}, "pep": {}})
    yield network
    network.close()


@pytest.fixture
def juliet(network: Network) -> Client:
    return network.client(f"{JULIET}/balcony")


@pytest.fixture
def romeo(network: Network) -> Client:
    return network.client(f"{ROMEO}/orchard")


def subscribe(client: Client, node: str = TUNE) -> None:
    answer = client.ask(order(f"<subscribe node='{node}' jid='{client.jid.bare}'/>", JULIET))
    assert answer.xpath(".//@subscription") == ["subscribed"]
    client.forget()


def subscribers(juliet: Client) -> list[str]:
    answer = juliet.ask(ask(f"<subscriptions node='{TUNE}'/>", owner="#owner"))
    return [str(each) for each in answer.xpath(".//@jid")]


def test_who_has_subscribed_hears_it_though_no_client_says_that_it_listens(
    juliet: Client, romeo: Client
) -> None:
    befriend(juliet, romeo)
    juliet.ask(publish(TUNE, tune("first")))
    listen(romeo, MOOD)
    subscribe(romeo)
    juliet.ask(publish(TUNE, tune("second")))
    assert [(each.get("to"), each.findtext(f".//{{{TUNE}}}title")) for each in events(romeo)] == [
        (ROMEO, "second")
    ]


def test_who_has_subscribed_and_says_that_it_listens_hears_it_once(juliet: Client, romeo: Client) -> None:
    befriend(juliet, romeo)
    juliet.ask(publish(TUNE, tune("first")))
    subscribe(romeo)
    listen(romeo, TUNE)
    romeo.forget()
    juliet.ask(publish(TUNE, tune("second")))
    assert [each.get("to") for each in events(romeo)] == [str(romeo.jid)]


LOVERS = f"<item jid='{ROMEO}'><group>Lovers</group></item>"


@pytest.mark.parametrize(
    "change",
    [
        f"<presence to='{ROMEO}' type='unsubscribed'/>",
        f"<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='{ROMEO}'/></query></iq>",
    ],
)
def test_who_may_not_read_it_any_more_is_no_subscriber_any_more(
    juliet: Client, romeo: Client, change: str
) -> None:
    befriend(juliet, romeo)
    groups = f"<iq type='set'><query xmlns='jabber:iq:roster'>{LOVERS}</query></iq>"
    juliet.ask(groups)
    juliet.ask(publish(TUNE, tune("first"), access_model="roster", roster_groups_allowed="Lovers"))
    subscribe(romeo)
    juliet.ask(groups)
    assert subscribers(juliet) == [ROMEO]
    juliet.send(change)
    juliet.flush()
    juliet.forget()
    assert subscribers(juliet) == []
    [told] = events(romeo)
    assert told.xpath(f".//*[namespace-uri()='{EVENT}']/@subscription") == ["none"]
    juliet.ask(groups)
    juliet.ask(publish(TUNE, tune("second")))
    assert titles(romeo) == []


@pytest.mark.parametrize(("said", "left"), [("gone", []), ("service-unavailable", [f"{ROMEO}/orchard"])])
def test_whose_account_is_gone_is_no_subscriber_of_an_account(
    juliet: Client, romeo: Client, said: str, left: list[str]
) -> None:
    juliet.ask(publish(TUNE, tune("first"), access_model="open"))
    romeo.ask(order(f"<subscribe node='{TUNE}' jid='{romeo.jid}'/>", JULIET))
    error = f"<error type='cancel'><{said} xmlns='{STANZAS}'/></error>"
    romeo.send(f"<message to='{JULIET}' type='error'>{error}</message>")
    romeo.flush()
    assert subscribers(juliet) == left
