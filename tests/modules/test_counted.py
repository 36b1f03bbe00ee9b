"""Who is held back by a limit of a module is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.loader import module_class
from jabberd.testing.client import condition
from tests.rfc.compliance import declared

if TYPE_CHECKING:
    from jabberd.testing import Client, Network

LIMITS: dict[str, dict[str, object]] = {
    "blocking": {"most": 1},
    "caps": {},
    "commands": {},
    "disco": {},
    "offline": {"limit": 1},
    "pep": {"nodes": 1, "payload": 100, "size": 120},
    "private": {"elements": 1, "size": 100},
    "push": {"services": 1},
    "vcard": {"size": 100},
}
LONG = "x" * 101


def item(node: str, id: str, text: str) -> str:
    payload = f"<x xmlns='urn:x'>{text}</x>"
    inside = f"<publish node='{node}'><item id='{id}'>{payload}</item></publish>"
    return f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{inside}</pubsub>"


def private(name: str, text: str = "") -> str:
    return f"<query xmlns='jabber:iq:private'><{name} xmlns='urn:{name}'>{text}</{name}></query>"


#: By module and setting what is asked for twice: the first time it may be, the second time it is too much.
REFUSED = {
    ("blocking", "most"): [f"<block xmlns='urn:xmpp:blocking'><item jid='{n}.lit'/></block>" for n in "ab"],
    ("pep", "nodes"): [item("a", "1", ""), item("b", "1", "")],
    ("pep", "payload"): [item("a", "1", ""), item("a", "1", LONG)],
    ("pep", "size"): [item("a", "1", "x" * 50), item("a", "2", "x" * 50)],
    ("private", "elements"): [private("a"), private("b")],
    ("private", "size"): [private("a"), private("a", LONG)],
    ("push", "services"): [f"<enable xmlns='urn:xmpp:push:0' jid='{n}.lit' node='n'/>" for n in "ab"],
    ("vcard", "size"): [f"<vCard xmlns='vcard-temp'><FN>{text}</FN></vCard>" for text in ("x", LONG)],
}


@pytest.fixture
def romeo(network: Network) -> Client:
    network.serve("montague.lit", modules=LIMITS)
    return network.client("romeo@montague.lit/orchard")


def met(network: Network) -> dict[tuple[str, str], int]:
    modules = network.server("montague.lit").hosts["montague.lit"].manager.modules
    return {(each.name, name): count for each in modules for name, count in each.met.items()}


@pytest.mark.parametrize("limit", REFUSED, ids=" ".join)
def test_who_has_as_much_as_there_may_be_is_refused_and_counted(
    network: Network, romeo: Client, limit: tuple[str, str]
) -> None:
    fits, too_much = REFUSED[limit]
    assert romeo.ask(f"<iq type='set'>{fits}</iq>").get("type") == "result"
    assert set(met(network).values()) == {0}
    said = condition(romeo.ask(f"<iq type='set'>{too_much}</iq>"))
    assert said in ("resource-constraint", "not-acceptable")
    assert met(network)[limit] == 1
    assert sum(met(network).values()) == 1


def test_what_waits_too_much_is_counted(network: Network, romeo: Client) -> None:
    network.client("juliet@montague.lit/balcony").close()
    for id in ("1", "2"):
        romeo.send(f"<message to='juliet@montague.lit' id='{id}' type='chat'><body>hi</body></message>")
    assert romeo.next().get("id") == "2"
    assert met(network)["offline", "limit"] == 1


def test_what_is_counted_is_a_setting() -> None:
    classes = {place.module: module_class(place.module) for place in declared().values()}
    counted = {name: set(cls.counted) - vars(cls.Config()).keys() for name, cls in classes.items()}
    assert [name for name, odd in counted.items() if odd] == []
    assert sum(bool(cls.counted) for cls in classes.values()) > 10
