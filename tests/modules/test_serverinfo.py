"""Server information (XEP-0485)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.admin import Admin
from jabberd.api.domain import Operators
from jabberd.streams.link_verbs import LinkVerbs
from tests.pubsub.play import form, items, order

if TYPE_CHECKING:
    from jabberd.testing import Network

INFO = "urn:xmpp:serverinfo:0"
NEWS = "news.montague.lit"
MODULES: dict[str, dict[str, object]] = {"disco": {}, "serverinfo": {"interval": 60.0}}
SERVICE: dict[str, dict[str, object]] = {"commands": {}, "disco": {}, "pubsub": {}}


def test_the_domain_tells_what_it_is(network: Network) -> None:
    contact: dict[str, object] = {"abuse": ("mailto:abuse@montague.lit",)}
    network.serve("montague.lit", modules={**MODULES, "contact": contact}, services={NEWS: SERVICE})
    network.advance(6)
    anybody = network.client("juliet@capulet.lit/balcony")
    answer = anybody.ask(items("serverinfo", NEWS))
    assert answer.xpath(".//@name") == ["montague.lit"]
    assert answer.findtext(".//{jabber:iq:version}name") == "jabberd"
    about = anybody.ask(
        "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    assert INFO in about.xpath(".//@var")
    [form] = about.iter("{jabber:x:data}x")  # one with the contact addresses (§8.2)
    values = {each.get("var"): each.findtext("{*}value") for each in form}
    assert values == {
        "FORM_TYPE": "http://jabber.org/network/serverinfo",
        "abuse-addresses": "mailto:abuse@montague.lit",
        "serverinfo-pubsub-node": f"xmpp:{NEWS}?;node=serverinfo",
    }


def test_of_other_services_below_the_domain_none_is_asked(network: Network, log_lines: list[str]) -> None:
    rooms: dict[str, dict[str, object]] = {"disco": {}, "muc": {}}
    services = {"chat.montague.lit": rooms, NEWS: SERVICE}
    network.serve("montague.lit", modules=MODULES, services=services)
    network.advance(6)
    anybody = network.client("juliet@capulet.lit/balcony")
    assert anybody.ask(items("serverinfo", NEWS)).xpath(".//@name") == ["montague.lit"]
    assert not [line for line in log_lines if "does not take" in line]


def test_it_is_told_again_from_time_to_time(network: Network) -> None:
    network.serve("montague.lit", modules=MODULES, services={NEWS: SERVICE}, admins=["prince@montague.lit"])
    network.advance(6)
    prince = network.client("prince@montague.lit/palace")
    prince.ask(order("<purge node='serverinfo'/>", NEWS, "#owner"))
    assert prince.ask(items("serverinfo", NEWS)).xpath(".//@name") == []
    network.advance(60)
    assert prince.ask(items("serverinfo", NEWS)).xpath(".//@name") == ["montague.lit"]


def test_an_operator_reads_why_it_cannot_be_told(network: Network, log_lines: list[str]) -> None:
    network.serve("montague.lit", modules=MODULES)
    network.advance(6)
    assert log_lines[-1].endswith("montague.lit has no publish-subscribe service to tell of itself")
    elsewhere = {**MODULES, "serverinfo": {"service": "capulet.lit"}}
    network.serve("verona.lit", modules=elsewhere)
    network.serve("capulet.lit", modules={})
    network.advance(6)
    assert log_lines[-1].endswith(
        "capulet.lit does not take what verona.lit tells of itself: service-unavailable"
    )


def federated(network: Network, **settings: object) -> None:
    """Montague, which tells of itself, is connected with Capulet, which does so too, and with Verona."""
    serverinfo: dict[str, object] = {"interval": 60.0, **settings}
    network.serve(
        "montague.lit",
        modules={"disco": {}, "serverinfo": serverinfo},
        services={NEWS: SERVICE},
        federate=True,
    )
    [way] = network.federated
    verbs = [("links", "", LinkVerbs(way.route, way.door))]
    manager = network.server("montague.lit").hosts["montague.lit"].manager
    manager.operators = Operators(Admin(lambda: verbs).call)
    network.serve("capulet.lit", modules=MODULES, federate=True)
    network.serve("verona.lit", modules={"disco": {}}, federate=True)
    romeo = network.client("romeo@montague.lit/orchard")
    for domain in ("capulet.lit", "verona.lit"):
        romeo.ask(f"<iq type='get' to='{domain}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
    network.advance(60)
    network.flush()


def test_with_whom_a_domain_is_connected_is_told_where_both_wish_it(
    network: Network, log_lines: list[str]
) -> None:
    federated(network, federation=True)
    answer = network.client("romeo@montague.lit/garden").ask(items("serverinfo", NEWS))
    remote = answer.findall(f".//{{{INFO}}}remote-domain")
    assert sorted(str(each.get("name")) for each in remote) == ["None", "capulet.lit"]
    for each in remote:
        assert {way.get("type") for way in each} <= {"bidi", "incoming", "outgoing"}
        assert len(each) > 0


def test_with_whom_a_domain_is_connected_is_not_told_otherwise(
    network: Network, log_lines: list[str]
) -> None:
    federated(network)
    answer = network.client("romeo@montague.lit/garden").ask(items("serverinfo", NEWS))
    assert answer.xpath(".//@name") == ["montague.lit"]
    assert answer.find(f".//{{{INFO}}}federation") is None


def vouches(network: Network) -> list[str]:
    """Whether the domain tells that it publishes, and where."""
    about = network.client("juliet@montague.lit/balcony").ask(
        "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    where = about.findtext(".//{*}field[@var='serverinfo-pubsub-node']/{*}value")
    return [*([INFO] if INFO in about.xpath(".//@var") else []), *([where] if where else [])]


def test_a_domain_does_not_vouch_where_it_may_not_publish(network: Network, log_lines: list[str]) -> None:
    service = {**SERVICE, "pubsub": {"creators": ["capulet.lit"]}}
    network.serve("montague.lit", modules=MODULES, services={NEWS: service})
    network.advance(6)
    assert vouches(network) == []


@pytest.mark.parametrize("model", ["publishers", "open"])
def test_a_domain_does_not_vouch_for_what_somebody_else_tells_in_its_node(
    network: Network, log_lines: list[str], model: str
) -> None:
    network.serve("montague.lit", modules=MODULES, services={NEWS: SERVICE})
    iago = network.client("iago@montague.lit/cell")
    options = f"<configure>{form(publish_model=model)}</configure>"
    assert iago.ask(order(f"<create node='serverinfo'/>{options}", NEWS)).get("type") == "result"
    network.advance(6)
    assert vouches(network) == []
    assert "the node serverinfo is somebody else's" in "".join(log_lines)
    iago.ask(order("<delete node='serverinfo'/>", NEWS, "#owner"))
    network.advance(60)
    assert vouches(network) == [INFO, f"xmpp:{NEWS}?;node=serverinfo"]
