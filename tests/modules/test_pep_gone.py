"""Whoever gets the name of a deleted account is nothing to the nodes of others (XEP-0060 §4.1, XEP-0163)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from twisted.internet.task import deferLater

from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.pubsub.play import JULIET, TUNE, ask, events, items, order, publish, refusal, tune

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.modules.pep import Pep
    from jabberd.testing import Client

MODULES: dict[str, dict[str, object]] = {"disco": {}, "caps": {}, "pep": {}}
NURSE = "nurse@capulet.lit"
ROMEO = "romeo@montague.lit"


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.serve("capulet.lit", "montague.lit", modules=MODULES)
    yield network
    network.close()


@pytest.fixture
def juliet(network: Network) -> Client:
    """She has a node for the nurse and Romeo alone; both may publish there, and listen."""
    juliet = network.client(f"{JULIET}/balcony")
    juliet.ask(publish(TUNE, tune("Hearts Ease"), access_model="whitelist"))
    for who in (NURSE, ROMEO):
        given = f"<affiliation jid='{who}' affiliation='publisher'/>"
        answer = juliet.ask(order(f"<affiliations node='{TUNE}'>{given}</affiliations>", owner="#owner"))
        assert condition(answer) == ""
    return juliet


def subscribe(who: Client) -> str:
    wanted = f"<subscribe node='{TUNE}' jid='{who.jid.bare}'/>"
    return condition(who.ask(order(wanted, JULIET)))


def delete(network: Network, who: str) -> None:
    domain = who.partition("@")[2]
    done(network.server(domain).hosts[domain].manager.registrar.delete(network.client(f"{who}/x").jid.bare))


def pep(network: Network) -> Pep:
    return cast("Pep", network.server("capulet.lit").hosts["capulet.lit"].manager.module("pep"))


def named(juliet: Client) -> list[str]:
    """Whom her node names."""
    lists = [juliet.ask(ask(f"<{each} node='{TUNE}'/>", owner="#owner")) for each in LISTS]
    return sorted(str(jid) for each in lists for jid in each.xpath(".//@jid"))


LISTS = ("affiliations", "subscriptions")


@pytest.mark.parametrize("who", [NURSE, ROMEO])
def test_the_heir_of_a_name_reads_nothing_publishes_nothing_and_hears_nothing(
    network: Network, juliet: Client, who: str
) -> None:
    for each in (NURSE, ROMEO):
        assert subscribe(network.client(f"{each}/chamber")) == ""
    before = named(juliet)
    delete(network, who)
    assert named(juliet) == [each for each in before if each != who]
    heir = network.client(f"{who}/heir")
    assert refusal(heir.ask(items(TUNE, JULIET)))[0] == "not-allowed"
    forged = f"<publish node='{TUNE}'><item>{tune('forged')}</item></publish>"
    assert condition(heir.ask(order(forged, JULIET))) == "forbidden"
    juliet.ask(publish(TUNE, tune("My Heart Is Full")))
    assert events(heir) == []


def test_what_a_crash_kept_from_being_forgotten_is_forgotten_after_the_next_start(
    network: Network, juliet: Client
) -> None:
    module = pep(network)
    done(module.gone.put("capulet.lit", ROMEO, value=True))
    assert ROMEO in named(juliet)
    done(module.ready())
    assert named(juliet) == [JULIET, NURSE]
    assert done(module.gone.all("capulet.lit")) == {}


def test_a_node_that_is_deleted_meanwhile_keeps_no_other_from_forgetting(
    network: Network, juliet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = pep(network).pubsub.nodes._store
    juliet.ask(publish("another", tune("Hearts Ease")))
    real = store.every

    async def every(venue: object) -> object:
        found = await real(venue)  # type: ignore[arg-type]
        await store.nodes.change(JULIET, {"another": None})
        return {"another": found[TUNE], **found}

    monkeypatch.setattr(store, "every", every)
    delete(network, ROMEO)
    assert named(juliet) == [JULIET, NURSE]


def test_rounds_take_a_tenth_of_the_time_and_end_with_the_server(
    network: Network, juliet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pep(network)
    real, rounds = module._gone._nodes.owners, []

    def owners(domain: str) -> object:
        rounds.append(network.clock.seconds())
        return deferLater(network.clock, 2, real, domain)

    monkeypatch.setattr(module._gone._nodes, "owners", owners)
    delete(network, ROMEO)
    delete(network, NURSE)
    network.advance(2)
    assert ROMEO not in named(juliet)
    assert NURSE in named(juliet)
    network.advance(17)
    assert rounds == [0]
    network.advance(3)
    assert rounds == [0, 20]
    assert named(juliet) == [JULIET]
    delete(network, "tybalt@capulet.lit")
    done(module.stop())
    network.advance(100)
    assert len(rounds) == 2
    assert [*done(module.gone.all("capulet.lit"))] == ["tybalt@capulet.lit"]


def test_an_owner_who_goes_meanwhile_keeps_no_other_from_forgetting(
    network: Network, juliet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage is not done with the account yet: its nodes are still found."""
    nurse = network.client(f"{NURSE}/chamber")
    nurse.ask(publish(TUNE, tune("mine"), access_model="whitelist"))
    given = f"<affiliation jid='{ROMEO}' affiliation='publisher'/>"
    nurse.ask(order(f"<affiliations node='{TUNE}'>{given}</affiliations>", owner="#owner"))
    manager = network.server("capulet.lit").hosts["capulet.lit"].manager
    monkeypatch.setattr(manager.accounts.get(juliet.jid.bare), "exists", False)
    delete(network, ROMEO)
    listed = nurse.ask(ask(f"<affiliations node='{TUNE}'/>", owner="#owner"))
    assert listed.xpath(".//@jid") == [NURSE]
