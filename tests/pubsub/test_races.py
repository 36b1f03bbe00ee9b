"""What several do at once with nodes, while storage takes its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.modules.pep import Pep
from jabberd.modules.pubsub import PubSubService
from jabberd.testing import Network
from tests.pubsub.play import TUNE, Held, form, items, order, publish, tune

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.testing.client import Client

NEWS = "news.capulet.lit"


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    modules: dict[str, dict[str, int]] = {"disco": {}, "caps": {}, "pep": {"nodes": 2}}
    service = {"commands": {}, "disco": {}, "pubsub": {"nodes": 3, "nodes_each": 2}}
    network.serve("capulet.lit", modules=modules, services={NEWS: service})
    yield network
    network.close()


@pytest.fixture
def service(network: Network) -> PubSubService:
    found = network.server("capulet.lit").hosts[NEWS].manager.module("pubsub")
    assert isinstance(found, PubSubService)
    return found


@pytest.fixture
def pep(network: Network) -> Pep:
    found = network.server("capulet.lit").hosts["capulet.lit"].manager.module("pep")
    assert isinstance(found, Pep)
    return found


@pytest.fixture
def juliet(network: Network) -> Client:
    return client(network, "juliet", "balcony")


def client(network: Network, who: str, resource: str) -> Client:
    """One that hears nothing but answers."""
    return network.client(f"{who}@capulet.lit/{resource}", presence="")


def numbered(stanza: str) -> str:
    return stanza.replace("<iq", "<iq id='i1'", 1)


@pytest.mark.parametrize(("make", "most"), [("create", 3), ("publish", 2)])
def test_who_makes_many_nodes_at_once_has_no_more_than_others(
    network: Network, service: PubSubService, pep: Pep, monkeypatch: pytest.MonkeyPatch, make: str, most: int
) -> None:
    """Each creator may have two nodes of the service, which may have three, and each account two."""
    names = [f"n{number}" for number in range(4)]
    people = ["juliet", "juliet", "nurse", "nurse"] if make == "create" else ["juliet"] * 4
    clients = [client(network, who, name) for who, name in zip(people, names, strict=True)]
    held = Held(monkeypatch, (service if make == "create" else pep).nodes)
    for each, name in zip(clients, names, strict=True):
        wanted = order(f"<create node='{name}'/>", NEWS) if make == "create" else publish(name, tune("x"))
        each.send(numbered(wanted))
        each.flush()
    held.let_go()
    assert [each.next().get("type") for each in clients] == ["result"] * most + ["error"] * (4 - most)


def test_one_creator_who_makes_many_at_once_has_no_more_either(
    network: Network, service: PubSubService, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [client(network, "juliet", str(number)) for number in range(3)]
    held = Held(monkeypatch, service.nodes)
    for number, each in enumerate(clients):
        each.send(numbered(order(f"<create node='n{number}'/>", NEWS)))
        each.flush()
    held.let_go()
    assert [each.next().get("type") for each in clients] == ["result", "result", "error"]


def test_what_is_published_anew_while_the_old_is_found_too_old_stays(
    network: Network, pep: Pep, juliet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    chamber = client(network, "juliet", "chamber")
    juliet.ask(publish(TUNE, tune("old"), item_expire="60"))
    network.advance(61)
    held = Held(monkeypatch, pep.items)
    juliet.send(numbered(publish(TUNE, tune("new"))))
    juliet.flush()
    chamber.send(numbered(items(TUNE)))
    chamber.flush()
    held.let_go()
    assert [each.next().get("type") for each in (juliet, chamber)] == ["result", "result"]
    assert juliet.ask(items(TUNE)).findtext(f".//{{{TUNE}}}title") == "new"


def test_a_node_that_is_deleted_while_somebody_publishes_to_it_leaves_nothing(
    network: Network, service: PubSubService, juliet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    chamber = client(network, "juliet", "chamber")
    juliet.ask(order(f"<create node='n'/><configure>{form(max_items='max')}</configure>", NEWS))
    held = Held(monkeypatch, service.items)
    juliet.send(numbered(order(f"<publish node='n'><item id='1'>{tune('x')}</item></publish>", NEWS)))
    juliet.flush()
    chamber.send(numbered(order("<delete node='n'/>", NEWS, "#owner")))
    chamber.flush()
    held.let_go()
    assert [each.next().get("type") for each in (juliet, chamber)] == ["result", "result"]
    assert juliet.ask(order("<create node='n'/>", NEWS)).get("type") == "result"
    assert juliet.ask(items("n", NEWS)).xpath(".//@id")[1:] == []
