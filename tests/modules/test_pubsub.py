"""A publish-subscribe service at a domain of its own (XEP-0060)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from twisted.internet.defer import Deferred, fail

from jabberd.admin import Admin
from jabberd.api import Refused
from jabberd.hosting import verb_groups
from jabberd.interfaces import StorageError
from jabberd.modules.pubsub import PubSubService
from jabberd.operating.change import Change
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.pubsub.play import (
    EVENT,
    PUBSUB,
    TUNE,
    ask,
    events,
    form,
    items,
    order,
    refusal,
    titles,
    tune,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from jabberd.pubsub.node import Node
    from jabberd.testing.client import Client

RSM = "http://jabber.org/protocol/rsm"
NEWS = "news.capulet.lit"
JULIET, ROMEO = "juliet@capulet.lit", "romeo@montague.lit"


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    service = {"commands": {}, "disco": {}, "ping": {}, "pubsub": {"nodes": 3}}
    network.serve(
        "capulet.lit", modules={"disco": {}}, services={NEWS: service}, admins=["nurse@capulet.lit"]
    )
    yield network
    network.close()


@pytest.fixture
def juliet(network: Network) -> Client:
    return network.client(f"{JULIET}/balcony")


@pytest.fixture
def romeo(network: Network) -> Client:
    return network.client(f"{ROMEO}/orchard")


def create(client: Client, node: str = "n", **options: str) -> _Element:
    return client.ask(order(f"<create node='{node}'/><configure>{form(**options)}</configure>", NEWS))


def publish(client: Client, title: str, id: str = "1", node: str = "n") -> _Element:
    return client.ask(order(f"<publish node='{node}'><item id='{id}'>{tune(title)}</item></publish>", NEWS))


def subscribe(client: Client, node: str = "n") -> _Element:
    return client.ask(order(f"<subscribe node='{node}' jid='{client.jid.bare}'/>", NEWS))


def about(client: Client, what: str, node: str = "", to: str = NEWS) -> _Element:
    node = f" node='{node}'" if node else ""
    return client.ask(
        f"<iq type='get' to='{to}'><query xmlns='http://jabber.org/protocol/disco#{what}'{node}/></iq>"
    )


def test_the_people_of_the_domain_make_nodes_and_anybody_subscribes(juliet: Client, romeo: Client) -> None:
    assert condition(create(romeo)) == "forbidden"
    assert create(juliet).get("type") == "result"
    publish(juliet, "first")
    assert subscribe(romeo).xpath(".//@subscription") == ["subscribed"]
    assert titles(romeo) == ["first"]
    publish(juliet, "second", "2")
    [told] = events(romeo)
    assert (told.get("from"), told.get("to")) == (NEWS, ROMEO)
    assert romeo.ask(items("n", NEWS)).xpath(".//@id")[1:] == ["1", "2"]
    assert condition(publish(romeo, "forged")) == "forbidden"


def test_a_node_has_to_be_made_before_anything_is_published(juliet: Client) -> None:
    assert condition(publish(juliet, "first")) == "item-not-found"


def test_there_are_so_many_nodes(juliet: Client) -> None:
    answers = [create(juliet, f"n{number}") for number in range(4)]
    assert [each.get("type") for each in answers] == ["result"] * 3 + ["error"]


def test_a_creator_has_so_many_nodes_and_a_node_so_many_bytes(network: Network) -> None:
    settings: dict[str, object] = {"nodes_each": 1, "size": 300}
    service: dict[str, dict[str, object]] = {"commands": {}, "disco": {}, "pubsub": settings}
    network.serve("verona.lit", modules={}, services={"news.verona.lit": service})
    escalus, page = (network.client(f"{name}@verona.lit/palace") for name in ("escalus", "page"))
    news = "news.verona.lit"
    assert escalus.ask(order("<create node='a'/>", news)).get("type") == "result"
    assert refusal(escalus.ask(order("<create node='b'/>", news))) == ("resource-constraint", "")
    assert page.ask(order("<create node='c'/>", news)).get("type") == "result"
    item = f"<publish node='{{}}'><item id='{{}}'>{tune('x' * 100)}</item></publish>"
    assert escalus.ask(order(item.format("a", "1"), news)).get("type") == "result"
    assert refusal(escalus.ask(order(item.format("a", "2"), news))) == ("resource-constraint", "")
    assert page.ask(order(item.format("c", "1"), news)).get("type") == "result"


@pytest.fixture
def escalus(network: Network) -> Client:
    """Has made ten nodes, of which every third is closed."""
    service: dict[str, dict[str, object]] = {"commands": {}, "disco": {}, "pubsub": {}}
    network.serve("verona.lit", modules={}, services={"news.verona.lit": service})
    escalus = network.client("escalus@verona.lit/palace")
    for number in range(10):
        model = "open" if number % 3 else "whitelist"
        options = form(access_model=model, title=f"News {number}")
        escalus.ask(order(f"<create node='n{number}'/><configure>{options}</configure>", "news.verona.lit"))
    return escalus


def listed(client: Client, paging: str) -> tuple[list[str], list[str]]:
    """The nodes on a page of the list, and its ends."""
    query = f"<query xmlns='http://jabber.org/protocol/disco#items'>{paging}</query>"
    answer = client.ask(f"<iq type='get' to='news.verona.lit'>{query}</iq>")
    ends = [answer.findtext(f".//{{{RSM}}}{end}") or "" for end in ("first", "last")]
    return [str(each) for each in answer.xpath(".//@node")], ends


@pytest.mark.usefixtures("escalus")
def test_nodes_are_listed_page_by_page(romeo: Client) -> None:
    def page(inside: str) -> tuple[list[str], list[str]]:
        return listed(romeo, f"<set xmlns='{RSM}'>{inside}</set>")

    seen = ["n1", "n2", "n4", "n5", "n7", "n8"]
    assert listed(romeo, "") == (seen, ["", ""])
    assert page("<max>3</max>") == (["n1", "n2", "n4"], ["n1", "n4"])
    assert page("<max>3</max><after>n4</after>") == (["n5", "n7", "n8"], ["n5", "n8"])
    assert page("<max>3</max><after>n8</after>") == ([], ["", ""])
    assert page("<max>2</max><before/>") == (["n7", "n8"], ["n7", "n8"])
    assert page("<max>2</max><before>n7</before>") == (["n4", "n5"], ["n4", "n5"])
    assert page("<max>9</max><before>n2</before>") == (["n1"], ["n1", "n1"])
    assert page("<max>0</max>") == ([], ["", ""])


def test_a_page_of_nodes_costs_no_more_than_the_page(escalus: Client, network: Network) -> None:
    service = network.server("verona.lit").hosts["news.verona.lit"].manager.module("pubsub")
    assert isinstance(service, PubSubService)
    read: list[int] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            assert name == "some", "only pages are read"
            return self.some

        def some(self, owner: str, **wanted: Any) -> Deferred[dict[str, Node]]:
            return nodes.some(owner, **wanted).addCallback(counted)

    def counted(found: dict[str, Node]) -> dict[str, Node]:
        read.append(len(found))
        return found

    nodes, service.nodes = service.nodes, cast("Any", Counting())
    assert listed(escalus, f"<set xmlns='{RSM}'><max>3</max><after>n1</after></set>")[0] == ["n2", "n3", "n4"]
    assert listed(escalus, f"<set xmlns='{RSM}'><max>2</max><before/></set>")[0] == ["n8", "n9"]
    assert read == [4, 3]


def test_what_a_stranger_asks_reads_no_more_than_what_is_the_strangers(
    escalus: Client, romeo: Client, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: those that are read one by one are few, or a part of all."""
    news = "news.verona.lit"
    for number in (1, 2):
        romeo.ask(order(f"<subscribe node='n{number}' jid='{ROMEO}'/>", news))
    purging = f"<configure node='n4'>{form(purge_offline='1')}</configure>"
    escalus.ask(order(purging, news, "#owner"))
    service = network.server(news).hosts[news].manager.module("pubsub")
    assert isinstance(service, PubSubService)
    read: list[str] = []
    real = service.nodes.get

    def get(owner: str, key: str = "") -> Deferred[Node | None]:
        read.append(key)
        return real(owner, key)

    monkeypatch.setattr(service.nodes, "get", get)
    monkeypatch.setattr("jabberd.pubsub.store._FEW", 1)
    monkeypatch.setattr("jabberd.pubsub.store._PART", 5)
    answer = romeo.ask(ask("<subscriptions/>", news))
    assert sorted(map(str, answer.xpath(".//@node"))) == read == ["n1", "n2"]


def test_where_it_cannot_be_kept_where_a_node_has_gone_the_node_stays(
    network: Network, juliet: Client, monkeypatch: pytest.MonkeyPatch, logged_errors: Any
) -> None:
    create(juliet)
    service = network.server("capulet.lit").hosts[NEWS].manager.module("pubsub")
    assert isinstance(service, PubSubService)
    with monkeypatch.context() as patch:
        patch.setattr(service.moved, "change", lambda *_, **__: fail(StorageError("the disk is full")))
        gone = f"<delete node='n'><redirect uri='xmpp:{NEWS}?;node=m'/></delete>"
        assert juliet.ask(order(gone, NEWS, "#owner")).get("type") == "error"
    logged_errors.take(StorageError)
    assert publish(juliet, "still here").get("type") == "result"


def test_where_its_items_cannot_be_removed_a_node_stays(
    network: Network, juliet: Client, monkeypatch: pytest.MonkeyPatch, logged_errors: Any
) -> None:
    """§8.4: else whoever makes a node of that name would have them."""
    create(juliet, access_model="whitelist")
    publish(juliet, "secret")
    service = network.server("capulet.lit").hosts[NEWS].manager.module("pubsub")
    assert isinstance(service, PubSubService)
    with monkeypatch.context() as patch:
        patch.setattr(service.items, "clear", lambda *_: fail(StorageError("the disk is full")))
        assert juliet.ask(order("<delete node='n'/>", NEWS, "#owner")).get("type") == "error"
    logged_errors.take(StorageError)
    nurse = network.client("nurse@capulet.lit/chamber")
    assert condition(create(nurse)) == "conflict"
    assert juliet.ask(order("<delete node='n'/>", NEWS, "#owner")).get("type") == "result"
    create(nurse)
    assert nurse.ask(items("n", NEWS)).xpath(".//@id")[1:] == []


@pytest.mark.parametrize("already", [False, True])
def test_who_subscribes_while_the_code_is_loaded_again_is_known_behind_it(
    network: Network, juliet: Client, romeo: Client, monkeypatch: pytest.MonkeyPatch, *, already: bool
) -> None:
    monkeypatch.setattr("jabberd.operating.change._imported_anew", lambda _, cls: cls)
    if already:
        create(juliet)
    host = network.server("capulet.lit").hosts[NEWS]
    before = host.manager.module("pubsub")
    change = Change(host, {module.name: module.config for module in host.manager.modules}, ["pubsub"])
    done(change.start())
    if not already:
        create(juliet)
    subscribe(romeo)
    change.commit()
    done(change.finish())
    assert host.manager.module("pubsub") is not before
    answer = romeo.ask(ask("<subscriptions/>", NEWS))
    assert answer.xpath(".//@node") == ["n"]


def test_access_models_that_need_a_roster_are_refused(juliet: Client) -> None:
    for model in ("presence", "roster"):
        assert refusal(create(juliet, access_model=model)) == ("not-acceptable", "unsupported-access-model")


def test_a_node_keeps_one_owner_at_least(juliet: Client) -> None:
    create(juliet)
    resign = f"<affiliation jid='{JULIET}' affiliation='none'/>"
    answer = juliet.ask(order(f"<affiliations node='n'>{resign}</affiliations>", NEWS, "#owner"))
    assert answer[-1].xpath("*")[0].tag.endswith("}not-acceptable")
    assert answer.xpath(".//@affiliation") == ["owner"]
    heir = f"<affiliation jid='{ROMEO}' affiliation='owner'/>"
    answer = juliet.ask(order(f"<affiliations node='n'>{resign}{heir}</affiliations>", NEWS, "#owner"))
    assert answer.get("type") == "result"
    assert condition(publish(juliet, "mine no more")) == "forbidden"


def test_admins_of_the_domain_own_every_node(network: Network, juliet: Client) -> None:
    create(juliet)
    nurse = network.client("nurse@capulet.lit/chamber")
    assert nurse.ask(order("<delete node='n'/>", NEWS, "#owner")).get("type") == "result"
    create(nurse)
    affiliations = nurse.ask(ask("<affiliations node='n'/>", NEWS, "#owner"))
    assert affiliations.xpath(".//@jid") == ["nurse@capulet.lit"]


def test_the_domain_tells_what_it_is_and_what_it_has(network: Network, juliet: Client, romeo: Client) -> None:
    create(juliet, title="News")
    create(juliet, "closed", access_model="whitelist")
    publish(juliet, "first")
    answer = about(romeo, "info")
    assert answer.xpath(".//@category") == ["pubsub"]
    access = [each for each in answer.xpath(".//@var") if "#access-" in each]
    assert access == [f"{PUBSUB}#access-open"]  # §10: what is so by default
    assert about(romeo, "items").xpath(".//@node") == ["n"]
    assert about(romeo, "items").xpath(".//@name") == ["News"]
    assert about(juliet, "items").xpath(".//@node") == ["closed", "n"]
    assert about(romeo, "items", "n").xpath(".//@name") == ["1"]
    assert "News" in "".join(about(romeo, "info", "n").itertext())
    assert condition(about(romeo, "info", "closed")) == "item-not-found"
    assert condition(about(romeo, "items", "closed")) == "item-not-found"


def test_the_domain_above_lists_it(network: Network) -> None:
    service: dict[str, dict[str, object]] = {"commands": {}, "disco": {}, "pubsub": {}}
    named = {"disco": {"items": {"rooms.verona.lit": "Rooms"}}}
    network.serve("verona.lit", "notverona.lit", modules=named, services={"news.verona.lit": service})
    benvolio = network.client("benvolio@verona.lit/street")
    listed = ["news.verona.lit", "rooms.verona.lit"]
    assert about(benvolio, "items", to="verona.lit").xpath(".//@jid") == listed
    assert about(benvolio, "items", to="notverona.lit").xpath(".//@jid") == ["rooms.verona.lit"]


def operate(network: Network, *words: str) -> object:
    answer = done(Admin(lambda: verb_groups(network.server(NEWS).hosts)).run([*words], {}))
    network.flush()
    return answer


def test_operators_see_and_delete_nodes(network: Network, juliet: Client, romeo: Client) -> None:
    create(juliet)
    publish(juliet, "first")
    subscribe(romeo)
    romeo.forget()
    [row] = cast("list[dict[str, object]]", operate(network, "pubsub", "list", NEWS))
    assert row.pop("bytes") != 0
    assert row == {"node": "n", "access": "open", "items": 1, "subscribers": 1, "creator": JULIET}
    assert operate(network, "pubsub", "delete", NEWS, "n") == "n is deleted"
    assert len(events(romeo)) == 1
    with pytest.raises(Refused, match="there is no node n"):
        operate(network, "pubsub", "delete", NEWS, "n")


# -- approval ---------------------------------------------------------------------------------------


def decide(juliet: Client, question: _Element, allow: str, type: str = "submit") -> None:
    """Answer the form that asks an owner."""
    values = {each.get("var"): each[-1].text for each in question.iter("{jabber:x:data}field")}
    values["pubsub#allow"] = allow
    fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
    answer = f"<x xmlns='jabber:x:data' type='{type}'>{fields}</x>"
    juliet.send(f"<message to='{NEWS}' id='{question.get('id')}'>{answer}</message>")


def asked(juliet: Client, romeo: Client) -> _Element:
    """Romeo wants to subscribe, and Juliet is asked."""
    create(juliet, access_model="authorize")
    publish(juliet, "first")
    assert subscribe(romeo).xpath(".//@subscription") == ["pending"]
    assert refusal(subscribe(romeo)) == ("not-authorized", "pending-subscription")
    assert refusal(romeo.ask(items("n", NEWS))) == ("not-authorized", "not-subscribed")
    return juliet.next()


def test_an_owner_agrees(juliet: Client, romeo: Client) -> None:
    decide(juliet, asked(juliet, romeo), "1")
    told, last = events(romeo)
    assert told.xpath(".//@subscription") == ["subscribed"]
    assert last.findtext(f".//{{{TUNE}}}title") == "first"
    assert romeo.ask(items("n", NEWS)).get("type") == "result"


def test_an_owner_denies(juliet: Client, romeo: Client) -> None:
    decide(juliet, asked(juliet, romeo), "0")
    [told] = events(romeo)
    assert told.xpath(".//@subscription") == ["none"]
    assert juliet.ask(ask("<subscriptions node='n'/>", NEWS, "#owner")).xpath(".//@jid") == []


def test_an_owner_who_cancels_decides_nothing(juliet: Client, romeo: Client) -> None:
    question = asked(juliet, romeo)
    decide(juliet, question, "1", "cancel")
    assert events(romeo) == []
    decide(juliet, question, "1")
    assert len(events(romeo)) == 2


def test_nobody_else_decides(juliet: Client, romeo: Client) -> None:
    decide(romeo, asked(juliet, romeo), "1")
    assert condition(romeo.next()) == "forbidden"
    assert refusal(romeo.ask(items("n", NEWS))) == ("not-authorized", "not-subscribed")


# -- a domain without accounts ------------------------------------------------------------------------


def test_nobody_logs_in_and_nobody_lives_there(network: Network, juliet: Client) -> None:
    assert [*network.server(NEWS).door.hosts] == ["capulet.lit"]
    juliet.send(f"<message to='somebody@{NEWS}'><body>hi</body></message>")
    assert condition(juliet.next()) == "service-unavailable"
    juliet.send(f"<message to='{NEWS}'><body>hi</body></message>")
    assert condition(juliet.next()) == "service-unavailable"
    juliet.send(f"<message to='{NEWS}' type='error'><body>hi</body></message>")
    juliet.send(f"<presence to='{NEWS}'/>")
    juliet.send(f"<presence to='{NEWS}' type='subscribe'/>")
    juliet.forget()
    assert condition(juliet.ask(f"<iq type='get' to='x@{NEWS}'><ping xmlns='urn:xmpp:ping'/></iq>")) != ""
    assert (
        juliet.ask(f"<iq type='get' to='{NEWS}'><ping xmlns='urn:xmpp:ping'/></iq>").get("type") == "result"
    )
    assert juliet.hears_nothing()


def test_notifications_say_what_they_are_about(juliet: Client, romeo: Client) -> None:
    create(juliet, notify_sub="1", deliver_payloads="0")
    subscribe(romeo)
    [told] = events(juliet)
    assert told.xpath(".//@jid") == [ROMEO]
    publish(juliet, "first")
    [told] = events(romeo)
    assert told.xpath(".//@id")[-1] == "1"
    assert told.find(f".//{{{EVENT}}}item/*") is None


def test_who_gets_the_name_of_a_deleted_account_is_nothing_to_any_node(
    network: Network, juliet: Client, romeo: Client
) -> None:
    create(juliet)
    tybalt = network.client("tybalt@capulet.lit/street")
    subscribe(tybalt)
    subscribe(romeo)
    server = network.server("capulet.lit")
    for each in (juliet, tybalt):
        done(server.hosts["capulet.lit"].manager.registrar.delete(each.jid.bare))
    heir = network.client(f"{JULIET}/heir")
    assert refusal(heir.ask(order("<delete node='n'/>", NEWS, "#owner"))) == ("forbidden", "")
    assert condition(publish(heir, "forged")) == "forbidden"
    nurse = network.client("nurse@capulet.lit/chamber")
    publish(nurse, "first")
    assert len(events(romeo)) == 1
    assert events(network.client("tybalt@capulet.lit/heir")) == []
    listed = nurse.ask(ask("<subscriptions node='n'/>", NEWS, "#owner"))
    assert listed.xpath(".//@jid") == [ROMEO]
    service = server.hosts[NEWS].manager.module("pubsub")
    [row] = done(service.list())  # type: ignore[attr-defined]
    assert row["creator"] == NEWS  # it counts among nobody's
    done(service.delete("n"))  # type: ignore[attr-defined]
    assert condition(publish(nurse, "second")) == "item-not-found"
