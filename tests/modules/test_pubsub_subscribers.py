"""What subscribers of a publish-subscribe service can wish, and who waits for approval (XEP-0060)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred

from jabberd.modules.pubsub import PubSubService
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from jabberd.xmpp.element import parse
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza
from tests.modules.test_pubsub import JULIET, NEWS, ROMEO, about, create, publish, subscribe
from tests.pubsub.play import EVENT, PUBSUB, ask, events, form, items, order, refusal, titles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from jabberd.testing.client import Client

ATOM = "http://www.w3.org/2005/Atom"
COMMANDS = "http://jabber.org/protocol/commands"
SOON = "1970-01-01T00:01:00Z"
MODULES: dict[str, dict[str, object]] = {"commands": {}, "disco": {}, "pubsub": {}}


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    several = {**MODULES, "pubsub": {"subscriptions": 2}}
    network.serve(
        "capulet.lit", modules={"disco": {}}, services={NEWS: MODULES, "several.capulet.lit": several}
    )
    yield network
    network.close()


@pytest.fixture
def juliet(network: Network) -> Client:
    return network.client(f"{JULIET}/balcony")


@pytest.fixture
def romeo(network: Network) -> Client:
    return network.client(f"{ROMEO}/orchard")


def wish(client: Client, subid: str = "", **options: str) -> _Element:
    """Set the options of a subscription."""
    subid = f" subid='{subid}'" if subid else ""
    jid = client.jid.bare
    return client.ask(order(f"<options node='n' jid='{jid}'{subid}>{form(**options)}</options>", NEWS))


def fields(answer: _Element) -> dict[str, list[str]]:
    return {
        str(each.get("var")): [str(value.text or "") for value in each.findall("{jabber:x:data}value")]
        for each in answer.iter("{jabber:x:data}field")
    }


def entry(title: str) -> str:
    return f"<entry xmlns='{ATOM}'><title>{title}</title></entry>"


# -- options ----------------------------------------------------------------------------------------


def test_who_subscribes_with_options_is_shown_what_came_of_it(juliet: Client, romeo: Client) -> None:
    create(juliet)
    options = f"<options>{form(deliver='0')}</options>"
    answer = romeo.ask(order(f"<subscribe node='n' jid='{ROMEO}'/>{options}", NEWS))
    assert fields(answer)["pubsub#deliver"] == ["0"]
    publish(juliet, "unheard")
    assert romeo.hears_nothing()


@pytest.mark.parametrize(
    "wrong",
    [
        "<options>{}</options><subscribe node='n' jid='{}'/>",
        "<subscribe node='n' jid='{1}'/><options node='n'>{0}</options>",
        "<subscribe node='n' jid='{1}'/><options jid='{1}'>{0}</options>",
    ],
)
def test_options_follow_what_they_are_about_and_name_nothing(
    juliet: Client, romeo: Client, wrong: str
) -> None:
    create(juliet)
    assert condition(romeo.ask(order(wrong.format(form(deliver="0"), ROMEO), NEWS))) == "bad-request"
    assert romeo.ask(ask("<subscriptions/>", NEWS)).xpath(".//@jid") == []


def test_a_lease_ends_and_may_be_renewed(network: Network, juliet: Client, romeo: Client) -> None:
    create(juliet)
    subscribe(romeo)
    assert wish(romeo, expire=SOON).get("type") == "result"
    assert fields(romeo.ask(ask(f"<options node='n' jid='{ROMEO}'/>", NEWS)))["pubsub#expire"] == [SOON]
    publish(juliet, "heard")
    assert titles(romeo) == ["heard"]
    network.advance(60)
    publish(juliet, "unheard")
    assert events(romeo) == []
    assert romeo.ask(ask("<subscriptions/>", NEWS)).xpath(".//@jid") == []
    assert refusal(wish(romeo, expire=SOON)) == ("unexpected-request", "not-subscribed")


@pytest.mark.parametrize(
    "options",
    [
        {"expire": "tomorrow"},
        {"expire": "1969-01-01T00:00:00Z"},
        {"deliver": "may be"},
        {"show-values": "in"},
    ],
)
def test_options_that_make_no_sense_are_invalid(
    juliet: Client, romeo: Client, options: dict[str, str]
) -> None:
    create(juliet)
    subscribe(romeo)
    assert refusal(wish(romeo, **options)) == ("bad-request", "invalid-options")


def test_nobody_sees_or_sets_the_options_of_others(juliet: Client, romeo: Client) -> None:
    create(juliet)
    subscribe(romeo)
    theirs = f"<options node='n' jid='{ROMEO}'>{form(deliver='0')}</options>"
    assert condition(juliet.ask(order(theirs, NEWS))) == "forbidden"
    assert condition(juliet.ask(ask(theirs, NEWS))) == "forbidden"
    assert refusal(romeo.ask(ask("<options node='n'/>", NEWS))) == ("bad-request", "jid-required")


def test_who_wants_a_text_gets_that_of_an_atom_entry(juliet: Client, romeo: Client) -> None:
    create(juliet, type=ATOM)
    create(juliet, "plain")
    assert "pubsub#include_body" not in fields(romeo.ask(ask("<default node='plain'/>", NEWS)))
    assert "pubsub#include_body" in fields(romeo.ask(ask("<default node='n'/>", NEWS)))
    assert condition(romeo.ask(ask("<default node='none'/>", NEWS))) == "item-not-found"
    subscribe(romeo)
    subscribe(juliet)
    wish(romeo, include_body="1")
    juliet.ask(order(f"<publish node='n'><item id='1'>{entry('Peace')}</item></publish>", NEWS))
    [told] = events(romeo)
    assert told.findtext("{jabber:client}body") == "Peace"
    [told] = events(juliet)
    assert told.findtext("{jabber:client}body") is None


# -- presence ---------------------------------------------------------------------------------------


def agree(client: Client, show: str = "") -> None:
    """Show the service one's presence, which it has asked for."""
    client.flush()
    asked = [each.get("type") for each in client.heard if each.get("from") == NEWS]
    assert "subscribe" in asked
    client.send(f"<presence to='{NEWS}' type='subscribed'/>")
    appear(client, show)
    client.forget()


def appear(client: Client, show: str = "", type: str = "") -> None:
    type = f" type='{type}'" if type else ""
    client.send(f"<presence{type}>{f'<show>{show}</show>' if show else ''}</presence>")
    client.flush()


def test_a_subscriber_is_notified_in_the_states_it_wants(juliet: Client, romeo: Client) -> None:
    create(juliet)
    subscribe(romeo)
    wish(romeo, **{"show-values": "chat"})
    publish(juliet, "unheard")
    agree(romeo)
    publish(juliet, "unheard too")
    assert events(romeo) == []
    appear(romeo, "chat")
    publish(juliet, "heard")
    assert titles(romeo) == ["heard"]


def test_a_node_may_notify_those_alone_who_are_there(juliet: Client, romeo: Client) -> None:
    create(
        juliet,
        presence_based_delivery="1",
        notification_type="normal",
        send_last_published_item="on_sub",
    )
    subscribe(romeo)
    agree(romeo)
    publish(juliet, "heard")
    assert titles(romeo) == ["heard"]
    appear(romeo, type="unavailable")
    publish(juliet, "unheard")
    appear(romeo)
    assert events(romeo) == []


def test_whom_an_owner_subscribes_is_asked_for_presence_and_gets_the_last_item(
    juliet: Client, romeo: Client
) -> None:
    """As if they had subscribed themselves; saying again what is so already tells nobody anything."""
    given = (
        f"<subscriptions node='{{}}'><subscription jid='{ROMEO}' subscription='subscribed'/></subscriptions>"
    )
    create(juliet, presence_based_delivery="1")
    juliet.ask(order(given.format("n"), NEWS, "#owner"))
    agree(romeo)
    publish(juliet, "first")
    assert titles(romeo) == ["first"]
    create(juliet, "m")
    publish(juliet, "second", node="m")
    for told in (["", "second"], []):
        juliet.ask(order(given.format("m"), NEWS, "#owner"))
        assert titles(romeo) == told


def test_who_agrees_late_is_notified_from_then_on(juliet: Client, romeo: Client) -> None:
    create(juliet, presence_based_delivery="1")
    subscribe(romeo)
    romeo.send(f"<presence to='{NEWS}' type='unsubscribed'/>")
    appear(romeo)
    publish(juliet, "unheard")
    assert events(romeo) == []
    subscribe(romeo)  # asks again
    agree(romeo)
    publish(juliet, "heard")
    assert titles(romeo) == ["heard"]


def test_who_agrees_after_a_restart_is_notified(network: Network, juliet: Client, romeo: Client) -> None:
    create(juliet, presence_based_delivery="1")
    subscribe(romeo)
    [service] = [each for each in network.server(NEWS).hosts[NEWS].manager.modules if each.name == "pubsub"]
    done(service.start())  # it knows nobody
    agree(romeo)
    publish(juliet, "heard")
    assert titles(romeo) == ["heard"]


def test_who_is_gone_without_a_word_loses_a_temporary_subscription(
    network: Network, juliet: Client, romeo: Client
) -> None:
    create(juliet)
    for client in (juliet, romeo):
        subscribe(client)
        wish(client, expire="presence")
    agree(juliet)
    network.advance(65)  # as after a start
    assert juliet.ask(ask("<subscriptions node='n'/>", NEWS, "#owner")).xpath(".//@jid") == [JULIET]


def test_who_comes_gets_the_last_item_where_the_node_says_so(juliet: Client, romeo: Client) -> None:
    create(juliet)
    create(juliet, "other", send_last_published_item="on_sub")
    for node in ("n", "other"):
        subscribe(romeo, node)
        publish(juliet, node, node=node)
    assert events(romeo) != []
    romeo.send(f"<presence to='{NEWS}'/>")
    assert titles(romeo) == ["n"]
    romeo.send(f"<presence to='{NEWS}' type='unavailable'/>")
    romeo.send(f"<presence to='{NEWS}'/>")
    romeo.send(f"<presence to='{NEWS}'><show>away</show></presence>")
    assert titles(romeo) == ["n"]


def test_who_comes_in_a_state_in_which_it_wants_nothing_gets_no_last_item(
    juliet: Client, romeo: Client
) -> None:
    create(juliet)
    subscribe(romeo)
    wish(romeo, **{"show-values": "dnd"})
    publish(juliet, "first")
    agree(romeo, "away")
    assert events(romeo) == []


def test_nobody_is_asked_for_presence_who_hears_everything_anyway(juliet: Client, romeo: Client) -> None:
    create(juliet)
    subscribe(romeo)
    romeo.flush()
    assert [each.get("type") for each in romeo.heard if str(each.tag).endswith("presence")] == []


def test_a_temporary_subscription_ends_with_presence(juliet: Client, romeo: Client) -> None:
    create(juliet)
    subscribe(romeo)
    wish(romeo, expire="presence")
    agree(romeo)
    publish(juliet, "heard")
    assert titles(romeo) == ["heard"]
    appear(romeo, type="unavailable")
    assert juliet.ask(ask("<subscriptions node='n'/>", NEWS, "#owner")).xpath(".//@jid") == []


def test_a_node_may_make_all_subscriptions_temporary(juliet: Client, romeo: Client) -> None:
    create(juliet, tempsub="1")
    subscribe(romeo)
    answer = romeo.ask(ask(f"<options node='n' jid='{ROMEO}'/>", NEWS))
    assert fields(answer)["pubsub#expire"] == ["presence"]
    wish(romeo, expire="")
    agree(romeo)
    appear(romeo, type="unavailable")
    assert romeo.ask(ask("<subscriptions/>", NEWS)).xpath(".//@jid") == []


def test_what_a_publisher_said_goes_when_the_publisher_goes(juliet: Client, romeo: Client) -> None:
    create(juliet, purge_offline="1", publish_model="open")
    subscribe(juliet)
    publish(juliet, "hers", "hers")
    publish(romeo, "his", "his")
    agree(romeo)
    events(juliet)
    appear(romeo, type="unavailable")
    [told] = events(juliet)
    assert told.xpath(".//e:retract/@id", namespaces={"e": EVENT}) == ["his"]
    assert juliet.ask(items("n", NEWS)).xpath(".//@id")[1:] == ["hers"]


def test_who_unsubscribes_need_not_show_presence_any_more(juliet: Client, romeo: Client) -> None:
    create(juliet, presence_based_delivery="1")
    subscribe(romeo)
    agree(romeo)
    answer = romeo.ask(order(f"<unsubscribe node='n' jid='{ROMEO}'/>", NEWS))
    assert answer.xpath(".//@subscription") == ["none"]
    romeo.flush()
    answer = romeo.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    assert "from" not in answer.xpath(".//@subscription")


def test_presence_of_whom_nobody_waits_for_does_not_count(juliet: Client, romeo: Client) -> None:
    create(juliet)
    subscribe(romeo)
    romeo.send(f"<presence to='{NEWS}'/>")
    romeo.send(f"<presence to='{NEWS}' type='unavailable'/>")
    publish(juliet, "heard")
    assert titles(romeo) == ["heard"]


def test_who_need_not_be_remembered_is_forgotten_where_there_are_too_many(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where many strangers publish once: the first of whom nothing is known goes."""
    monkeypatch.setattr("jabberd.modules.pubsub.presences._MOST", 3)
    service = network.server(NEWS).hosts[NEWS].manager.module("pubsub")
    assert isinstance(service, PubSubService)
    names = [JID.parse(f"{number}@montague.lit/a") for number in range(6)]
    for who in names[:3]:
        service.watch(who)
    presences = service._presences
    for who in names[:2]:
        presences.came(who, Stanza.of("presence", sender=who, to=service.jid))
    for who in names[3:5]:
        service.watch(who)
    assert [presences.knows(who) for who in names] == [True, True, False, False, True, False]
    presences.came(names[4], Stanza.of("presence", sender=names[4], to=service.jid))
    service.watch(names[5])
    assert [presences.knows(who) for who in names] == [True, True, False, False, True, False]


def test_whose_account_is_gone_is_no_subscriber_any_more(juliet: Client, romeo: Client) -> None:
    create(juliet)
    romeo.ask(order(f"<subscribe node='n' jid='{romeo.jid}'/>", NEWS))
    bounce = "<message to='{}' type='error'><error type='cancel'><{} xmlns='{}'/></error></message>"
    stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
    romeo.send(bounce.format(NEWS, "service-unavailable", stanzas))
    assert romeo.ask(ask("<subscriptions/>", NEWS)).xpath(".//@jid") == [romeo.jid]
    romeo.send(bounce.format(NEWS, "gone", stanzas))
    assert romeo.ask(ask("<subscriptions/>", NEWS)).xpath(".//@jid") == []


@pytest.mark.parametrize(("lives", "left"), [(False, []), (True, [ROMEO])])
def test_who_cannot_be_reached_for_a_week_is_no_subscriber_any_more(
    network: Network,
    juliet: Client,
    romeo: Client,
    monkeypatch: pytest.MonkeyPatch,
    *,
    lives: bool,
    left: list[str],
) -> None:
    """§12.4; a sign of life makes it begin anew."""
    monkeypatch.setattr("jabberd.pubsub.bounces._LONG", 7)  # seconds are soon over
    create(juliet)
    subscribe(romeo)
    service = network.server(NEWS).hosts[NEWS].manager.module("pubsub")
    assert isinstance(service, PubSubService)
    error = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    bounce = f"<message xmlns='jabber:client' from='{ROMEO}' to='{NEWS}' type='error'>{error}</message>"

    def bounced() -> list[str]:
        done(service.take(Stanza.from_element(parse(bounce.encode(), ""))))
        answer = juliet.ask(ask("<subscriptions node='n'/>", NEWS, "#owner"))
        return [str(each) for each in answer.xpath(".//@jid")]

    assert [bounced() for _ in range(25)] == [[ROMEO]] * 25
    if lives:
        romeo.ask(ask("<subscriptions/>", NEWS))
    network.advance(7)
    assert bounced() == left


# -- several subscriptions --------------------------------------------------------------------------


def test_an_address_may_have_several_subscriptions_where_the_operator_says_so(
    juliet: Client, romeo: Client
) -> None:
    several = "several.capulet.lit"
    multi = f"{PUBSUB}#multi-subscribe"
    assert multi in about(juliet, "info", to=several).xpath(".//@var")
    assert multi not in about(juliet, "info").xpath(".//@var")
    juliet.ask(order("<create node='n'/>", several))
    one = order(f"<subscribe node='n' jid='{ROMEO}'/>", several)
    subids = [romeo.ask(one).xpath(".//@subid")[0] for _ in range(2)]
    assert len(set(subids)) == 2
    assert refusal(romeo.ask(one)) == ("policy-violation", "too-many-subscriptions")
    juliet.ask(order("<publish node='n'><item id='1'><x xmlns='urn:x'/></item></publish>", several))
    [told] = events(romeo)
    assert sorted(told.xpath(".//*[@name='SubID']/text()")) == sorted(subids)
    leave = f"<unsubscribe node='n' jid='{ROMEO}'{{}}/>"
    required = ("bad-request", "subid-required")
    assert refusal(romeo.ask(order(leave.format(""), several))) == required
    assert refusal(romeo.ask(items("n", several))) == required
    assert romeo.ask(items("n", several, attributes=f" subid='{subids[0]}'")).get("type") == "result"
    assert romeo.ask(order(leave.format(f" subid='{subids[0]}'"), several)).get("type") == "result"
    assert romeo.ask(items("n", several)).get("type") == "result"


def test_items_for_a_subscription_that_is_not_there_are_refused(juliet: Client, romeo: Client) -> None:
    create(juliet)
    subscribe(romeo)
    answer = romeo.ask(items("n", NEWS, attributes=" subid='none'"))
    assert refusal(answer) == ("not-acceptable", "invalid-subid")


# -- who waits --------------------------------------------------------------------------------------


def affiliate(juliet: Client, affiliation: str) -> None:
    inside = f"<affiliation jid='{ROMEO}' affiliation='{affiliation}'/>"
    juliet.ask(order(f"<affiliations node='n'>{inside}</affiliations>", NEWS, "#owner"))


@pytest.mark.parametrize(
    ("affiliation", "state"), [("publisher", "subscribed"), ("member", "subscribed"), ("outcast", "none")]
)
def test_an_affiliation_decides_about_who_waits(
    juliet: Client, romeo: Client, affiliation: str, state: str
) -> None:
    create(juliet, access_model="authorize")
    subscribe(romeo)
    affiliate(juliet, affiliation)
    [told] = [each for each in events(romeo) if each.xpath(".//@subscription")]
    assert told.xpath(".//@subscription") == [state]


def test_an_outcast_learns_that_its_subscription_is_over(juliet: Client, romeo: Client) -> None:
    create(juliet)
    subscribe(romeo)
    affiliate(juliet, "outcast")
    [told] = [each for each in events(romeo) if each.xpath(".//@subscription")]
    assert told.xpath(".//@subscription") == ["none"]
    assert romeo.ask(ask("<subscriptions/>", NEWS)).xpath(".//@jid") == []


def test_a_node_that_opens_lets_in_who_waits(juliet: Client, romeo: Client) -> None:
    create(juliet, access_model="authorize")
    publish(juliet, "first")
    subscribe(romeo)
    juliet.ask(order(f"<configure node='n'>{form(access_model='open')}</configure>", NEWS, "#owner"))
    told, last = events(romeo)
    assert told.xpath(".//@subscription") == ["subscribed"]
    assert last.xpath("string(.//*[local-name()='title'])") == "first"


def command(client: Client, sessionid: str = "", inside: str = "") -> _Element:
    sessionid = f" sessionid='{sessionid}'" if sessionid else ""
    node = f"{PUBSUB}#get-pending"
    asked = f"<command xmlns='{COMMANDS}' node='{node}'{sessionid}>{inside}</command>"
    return client.ask(f"<iq type='set' to='{NEWS}'>{asked}</iq>")


def test_an_owner_asks_who_waits(juliet: Client, romeo: Client) -> None:
    assert f"{PUBSUB}#get-pending" in about(juliet, "info").xpath(".//@var")
    assert condition(command(juliet)) == "forbidden"
    create(juliet, "open")
    create(juliet, access_model="authorize")
    assert [each.findtext("*") for each in command(juliet).iter("{jabber:x:data}option")] == ["n", "open"]
    subscribe(romeo)
    juliet.forget()
    offered = command(juliet)
    [choice] = offered.iter("{jabber:x:data}option")
    assert choice.findtext("{jabber:x:data}value") == "n"
    assert condition(command(romeo)) == "forbidden"
    [id] = offered.xpath(".//@sessionid")
    done = command(juliet, id, form(node="n"))
    assert done.xpath(".//@status") == ["completed"]
    [question] = [each for each in juliet.heard if str(each.tag).endswith("message")]
    assert fields(question)["pubsub#subscriber_jid"] == [ROMEO]


def test_who_waits_at_nodes_that_are_not_there_or_of_others_is_not_told(
    juliet: Client, romeo: Client
) -> None:
    create(juliet)
    create(juliet, "m")
    juliet.ask(
        order(
            f"<affiliations node='m'><affiliation jid='{ROMEO}' affiliation='owner'/></affiliations>",
            NEWS,
            "#owner",
        )
    )
    for who, node, error in ((juliet, "nowhere", "item-not-found"), (romeo, "n", "forbidden")):
        [id] = command(who).xpath(".//@sessionid")
        assert condition(command(who, id, form(node=node))) == error


def test_who_waits_learns_that_the_node_is_deleted(juliet: Client, romeo: Client) -> None:
    create(juliet, access_model="authorize")
    subscribe(romeo)
    juliet.ask(
        order("<delete node='n'><redirect uri='xmpp:elsewhere.lit?;node=n'/></delete>", NEWS, "#owner")
    )
    [told] = events(romeo)
    assert told.xpath(".//@uri") == ["xmpp:elsewhere.lit?;node=n"]


def delete(client: Client, uri: str, node: str = "n") -> _Element:
    return client.ask(order(f"<delete node='{node}'><redirect uri='{uri}'/></delete>", NEWS, "#owner"))


def elsewhere(answer: _Element) -> str:
    """Where to turn to."""
    return answer.findtext(".//{urn:ietf:params:xml:ns:xmpp-stanzas}gone") or condition(answer)


def test_who_comes_when_a_node_has_moved_learns_where_it_is(juliet: Client, romeo: Client) -> None:
    create(juliet)
    uri = "xmpp:elsewhere.lit?;node=n"
    delete(juliet, uri)
    assert elsewhere(subscribe(romeo)) == elsewhere(romeo.ask(items("n", NEWS))) == uri
    for wanted in ("<unsubscribe node='n' jid='{}'/>", "<publish node='n'><item/></publish>"):
        assert condition(romeo.ask(order(wanted.format(ROMEO), NEWS))) == "item-not-found"
    create(juliet)
    assert subscribe(romeo).get("type") == "result"
    juliet.ask(order("<delete node='n'/>", NEWS, "#owner"))
    assert condition(subscribe(romeo)) == "item-not-found"


def test_where_a_closed_node_has_gone_is_nobodys_business(juliet: Client, romeo: Client) -> None:
    create(juliet, access_model="whitelist")
    delete(juliet, "xmpp:elsewhere.lit?;node=n")
    assert condition(subscribe(romeo)) == "item-not-found"


@pytest.mark.parametrize("wrong", ["", "elsewhere", "a b:c", "x:" + "y" * 2_000])
def test_a_node_moves_to_a_uri(juliet: Client, wrong: str) -> None:
    create(juliet)
    assert condition(delete(juliet, wrong)) == "bad-request"
    assert juliet.ask(items("n", NEWS)).get("type") == "result"


def test_no_more_nodes_have_moved_than_there_may_be(network: Network) -> None:
    few: dict[str, dict[str, object]] = {**MODULES, "pubsub": {"nodes": 2}}
    network.serve("verona.lit", modules={}, services={"news.verona.lit": few})
    escalus = network.client("escalus@verona.lit/palace")
    for node in ("a", "b", "c"):
        escalus.ask(order(f"<create node='{node}'/>", "news.verona.lit"))
        redirect = f"<delete node='{node}'><redirect uri='xmpp:{node}'/></delete>"
        escalus.ask(order(redirect, "news.verona.lit", "#owner"))
    found = [elsewhere(escalus.ask(items(node, "news.verona.lit"))) for node in ("a", "b", "c")]
    assert found == ["item-not-found", "xmpp:b", "xmpp:c"]


def test_owners_learn_who_comes_and_who_leaves_if_they_want(juliet: Client, romeo: Client) -> None:
    create(juliet, notify_sub="1")
    subscribe(romeo)
    romeo.ask(order(f"<unsubscribe node='n' jid='{ROMEO}'/>", NEWS))
    assert [each.xpath(".//@subscription") for each in events(juliet)] == [["subscribed"], ["none"]]


# -- what nodes are ---------------------------------------------------------------------------------


def test_a_form_offers_what_the_service_has(juliet: Client) -> None:
    answer = juliet.ask(ask("<default type='leaf'/>", NEWS, "#owner"))
    assert answer.xpath("string(.//@type[.='leaf'])") == "leaf"
    models = answer.xpath(".//*[@var='pubsub#access_model']/*[local-name()='option']/*/text()")
    assert models == ["open", "authorize", "whitelist"]
    assert "pubsub#roster_groups_allowed" not in fields(answer)
    assert refusal(juliet.ask(ask("<default type='collection'/>", NEWS, "#owner"))) == (
        "feature-not-implemented",
        "unsupported",
    )
    assert refusal(create(juliet, node_type="collection")) == ("feature-not-implemented", "unsupported")


def test_a_node_of_a_type_takes_nothing_else(juliet: Client) -> None:
    create(juliet, type="http://jabber.org/protocol/tune")
    create(juliet, "feed", type="urn:xmpp:pubsub-social-feed:1")
    assert publish(juliet, "a tune").get("type") == "result"
    wrong = f"<publish node='n'><item id='1'>{entry('x')}</item></publish>"
    assert refusal(juliet.ask(order(wrong, NEWS))) == ("bad-request", "invalid-payload")
    assert juliet.ask(order(wrong.replace("'n'", "'feed'"), NEWS)).get("type") == "result"
    assert refusal(publish(juliet, "no entry", node="feed")) == ("bad-request", "invalid-payload")


def test_a_node_that_keeps_nothing_has_nothing_to_give_or_to_take_away(juliet: Client) -> None:
    create(juliet, persist_items="0")
    publish(juliet, "gone")
    unsupported = ("feature-not-implemented", "unsupported")
    assert refusal(juliet.ask(items("n", NEWS))) == unsupported
    assert about(juliet, "items", "n").xpath(".//@name") == []
    assert refusal(juliet.ask(order("<retract node='n'><item id='1'/></retract>", NEWS))) == unsupported


def test_a_node_tells_its_contacts_and_publishers(juliet: Client, romeo: Client) -> None:
    create(juliet, contact=ROMEO, language="it")
    affiliate(juliet, "publisher")
    told = fields(about(romeo, "info", "n"))
    assert (told["pubsub#contact"], told["pubsub#publisher"]) == ([ROMEO], [ROMEO])
    assert told["pubsub#language"] == ["it"]


def test_two_who_publish_at_once_overwrite_nothing(juliet: Client, romeo: Client) -> None:
    create(juliet, publish_model="open", max_items="max")
    item = "<publish node='n'><item id='{}'><x xmlns='urn:x'/></item></publish>"
    for number in range(5):
        for client, name in ((juliet, "j"), (romeo, "r")):
            client.send(order(item.format(f"{name}{number}"), NEWS).replace("<iq", f"<iq id='i{number}'", 1))
    juliet.flush()
    romeo.flush()
    kept = juliet.ask(items("n", NEWS)).xpath(".//*[local-name()='item']/@id")
    assert sorted(kept) == [f"{name}{number}" for name in "jr" for number in range(5)]


def test_a_node_that_is_deleted_meanwhile_keeps_no_other_from_losing_who_is_gone(
    network: Network, juliet: Client, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in ("another", "n"):
        create(juliet, node)
        assert condition(romeo.ask(order(f"<subscribe node='{node}' jid='{ROMEO}'/>", NEWS))) == ""
    service = network.server("capulet.lit").hosts[NEWS].manager.module("pubsub")
    store = service.pubsub.nodes._store  # type: ignore[attr-defined]
    real = store.every

    async def every(venue: object) -> object:
        found = await real(venue)
        await store.nodes.change(NEWS, {"another": None})
        return found

    monkeypatch.setattr(store, "every", every)
    done(service.pubsub.subscriptions.forget(service, JID.parse(ROMEO)))  # type: ignore[attr-defined]
    listed = juliet.ask(ask("<subscriptions node='n'/>", NEWS, "#owner"))
    assert listed.xpath(".//@jid") == []


def test_who_is_gone_before_it_is_known_whether_it_matters_is_gone(
    network: Network, juliet: Client, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(juliet)
    subscribe(romeo)
    service = network.server("capulet.lit").hosts[NEWS].manager.module("pubsub")
    assert isinstance(service, PubSubService)
    gates: list[Deferred[bool]] = []

    def needs(*_: object) -> Deferred[bool]:
        gates.append(Deferred())
        return gates[-1]

    monkeypatch.setattr(service.pubsub.subscriptions, "needs", needs)
    romeo.send(f"<presence to='{NEWS}'/>")
    romeo.drop()
    again = network.client(f"{ROMEO}/street")
    again.send(f"<presence to='{NEWS}'><show>away</show></presence>")
    for gate in gates:
        gate.callback(True)
    assert [*service.shows(JID.parse(ROMEO))] == ["away"]
