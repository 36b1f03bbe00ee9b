"""XEP-0060 at an account: nodes, items, subscriptions, affiliations, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing import Network
from jabberd.testing.client import condition
from tests.pubsub.play import (
    EVENT,
    JULIET,
    PUBSUB,
    TUNE,
    ask,
    events,
    form,
    items,
    order,
    publish,
    refusal,
    titles,
    tune,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from jabberd.testing.client import Client

ROMEO = "romeo@montague.lit"
RSM = "http://jabber.org/protocol/rsm"
X = "<x xmlns='urn:x'/>"


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    for domain in ("capulet.lit", "montague.lit"):
        network.serve(domain, modules={"disco": {}, "caps": {}, "pep": {"items": 20, "subscribers": 3}})
    yield network
    network.close()


@pytest.fixture
def juliet(network: Network) -> Client:
    return network.client(f"{JULIET}/balcony")


@pytest.fixture
def romeo(network: Network) -> Client:
    return network.client(f"{ROMEO}/orchard")


def ids(answer: _Element) -> list[str]:
    return [each.get("id", "") for each in answer.iter(f"{{{PUBSUB}}}item")]


def fill(juliet: Client, count: int, **options: str) -> None:
    """Items called 1 to ``count``, in a node that everybody may read."""
    for number in range(1, count + 1):
        options = {"access_model": "open", "max_items": "max", **options}
        assert juliet.ask(publish("n", tune(str(number)), str(number), **options)).get("type") == "result"


def configured(juliet: Client, **options: str) -> _Element:
    return juliet.ask(order(f"<configure node='n'>{form(**options)}</configure>", owner="#owner"))


def subscribe(client: Client, to: str = JULIET, jid: str = "", node: str = "n") -> _Element:
    return client.ask(order(f"<subscribe node='{node}' jid='{jid or client.jid.bare}'/>", to))


# -- publishing -------------------------------------------------------------------------------------


def test_an_item_without_an_id_gets_one(juliet: Client) -> None:
    answer = juliet.ask(order(f"<publish node='n'><item>{tune('x')}</item></publish>"))
    [made] = ids(answer)
    assert ids(juliet.ask(items("n"))) == [made] != [""]


@pytest.mark.parametrize(
    ("wrong", "refused"),
    [
        ("<publish><item><x xmlns='urn:x'/></item></publish>", ("bad-request", "nodeid-required")),
        ("<publish node='n'/>", ("bad-request", "item-required")),
        ("<publish node='n'><item id='a'/></publish>", ("bad-request", "payload-required")),
        (
            "<publish node='n'><item><x xmlns='urn:x'/><x xmlns='urn:x'/></item></publish>",
            ("bad-request", "invalid-payload"),
        ),
        ("<publish node='n'><item/><item/></publish>", ("bad-request", "")),
        (f"<publish node='{'n' * 501}'><item><x xmlns='urn:x'/></item></publish>", ("not-acceptable", "")),
        (f"<publish node='n'><item id='{'i' * 501}'>{X}</item></publish>", ("not-acceptable", "")),
        (f"<publish node='n'><item>{X}</item></publish><publish-options/>", ("bad-request", "")),
        ("<retract node='n'/>", ("bad-request", "item-required")),
        ("<retract node='n'><item/></retract>", ("bad-request", "item-required")),
        ("<retract><item id='1'/></retract>", ("bad-request", "nodeid-required")),
        ("<retract node='n'><item id='1'/></retract>", ("item-not-found", "")),
        ("<strange/>", ("feature-not-implemented", "")),
        ("", ("bad-request", "")),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    juliet: Client, wrong: str, refused: tuple[str, str]
) -> None:
    assert refusal(juliet.ask(order(wrong))) == refused
    assert condition(juliet.ask(items("n"))) == "item-not-found"


def test_a_new_node_is_as_its_publisher_wants_it(juliet: Client) -> None:
    juliet.ask(publish("n", tune("x"), access_model="open", max_items="max", persist_items="true"))
    answer = juliet.ask(ask("<configure node='n'/>", owner="#owner"))
    values = {each.get("var"): each.findtext("{*}value") for each in answer.iter("{jabber:x:data}field")}
    assert (values["pubsub#access_model"], values["pubsub#max_items"]) == ("open", "max")
    assert values["pubsub#send_last_published_item"] == "on_sub_and_presence"


@pytest.mark.parametrize(
    "options",
    [
        {"access_model": "whitelist"},
        {"access_model": "nobody"},
        {"max_items": "7"},
        {"max_items": "10000"},
        {"nonsense": "1"},
        {"persist_items": "0"},
        {"persist_items": "perhaps"},
    ],
)
def test_a_node_that_is_not_what_the_publisher_wants_is_not_published_to(
    juliet: Client, options: dict[str, str]
) -> None:
    juliet.ask(publish("n", tune("first"), access_model="open"))
    answer = juliet.ask(publish("n", tune("second"), **options))
    assert refusal(answer) == ("conflict", "precondition-not-met")
    assert juliet.ask(items("n")).findtext(f".//{{{TUNE}}}title") == "first"
    assert (
        juliet.ask(publish("n", tune("third"), access_model="open", persist_items="1")).get("type")
        == "result"
    )


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"access_model": "authorized"}, ("not-acceptable", "unsupported-access-model")),
        ({"max_items": "many"}, ("not-acceptable", "")),
        ({"max_items": "-1"}, ("not-acceptable", "")),
        ({"max_items": "21"}, ("not-acceptable", "")),
        ({"persist_items": "perhaps"}, ("not-acceptable", "")),
        ({"publish_model": "nobody"}, ("not-acceptable", "")),
        ({"title": "x" * 4_001}, ("not-acceptable", "")),
    ],
)
def test_options_that_make_no_sense_make_no_node(
    juliet: Client, options: dict[str, str], refused: tuple[str, str]
) -> None:
    assert refusal(juliet.ask(publish("n", tune("x"), **options))) == refused
    assert (
        refusal(juliet.ask(order(f"<create node='n'/><configure>{form(**options)}</configure>"))) == refused
    )
    assert condition(juliet.ask(items("n"))) == "item-not-found"


def test_a_node_keeps_the_newest(juliet: Client) -> None:
    fill(juliet, 4, max_items="3")
    assert ids(juliet.ask(items("n"))) == ["2", "3", "4"]
    juliet.ask(publish("n", tune("again"), "2"))
    assert ids(juliet.ask(items("n"))) == ["3", "4", "2"]


def test_a_full_node_may_refuse(juliet: Client) -> None:
    fill(juliet, 2, max_items="2", publish_node_full="reject")
    assert refusal(juliet.ask(publish("n", tune("3"), "3"))) == ("conflict", "node-full")
    assert juliet.ask(publish("n", tune("2"), "2")).get("type") == "result"


def test_names_are_stored_literally(juliet: Client) -> None:
    odd = "&apos;; DROP TABLE ordered; --"
    juliet.ask(publish(odd, tune("x"), odd))
    assert ids(juliet.ask(items(odd))) == ["'; DROP TABLE ordered; --"]


def test_a_transient_node_only_notifies(juliet: Client, romeo: Client) -> None:
    juliet.ask(publish("n", tune("x"), persist_items="0", access_model="open"))
    subscribe(romeo)
    juliet.ask(publish("n", tune("y")))
    assert titles(romeo) == ["y"]
    assert ids(juliet.ask(items("n"))) == []
    configured(juliet, deliver_payloads="0")
    assert refusal(juliet.ask(publish("n", tune("z")))) == ("bad-request", "item-forbidden")
    assert juliet.ask(publish("n", "")).get("type") == "result"
    [told] = events(romeo)
    assert [len(each) for each in told.iter(f"{{{EVENT}}}items")] == [0]


# -- retrieving -------------------------------------------------------------------------------------


def test_the_newest_or_some_may_be_asked_for(juliet: Client) -> None:
    fill(juliet, 5)
    assert ids(juliet.ask(items("n", attributes=" max_items='2'"))) == ["4", "5"]
    assert ids(juliet.ask(items("n", inside="<item id='4'/><item id='z'/><item id='1'/>"))) == ["1", "4"]
    assert ids(juliet.ask(items("n", inside="<item id='z'/>"))) == []
    assert condition(juliet.ask(items("n", attributes=" max_items='x'"))) == "bad-request"
    assert refusal(juliet.ask(ask("<items/>"))) == ("bad-request", "nodeid-required")


def test_a_long_list_is_read_by_pages(juliet: Client) -> None:
    fill(juliet, 5)

    def page(inside: str) -> tuple[list[str], str | None, str | None]:
        answer = juliet.ask(items("n", beside=f"<set xmlns='{RSM}'>{inside}</set>"))
        index = answer.find(f".//{{{RSM}}}first")
        return (
            ids(answer),
            None if index is None else index.get("index"),
            answer.findtext(f".//{{{RSM}}}count"),
        )

    assert page("<max>2</max>") == (["1", "2"], "0", "5")
    assert page("<max>2</max><after>2</after>") == (["3", "4"], "2", "5")
    assert page("<max>2</max><after>5</after>") == ([], None, "5")
    assert page("<max>2</max><before/>") == (["4", "5"], "3", "5")
    assert page("<max>2</max><before>4</before>") == (["2", "3"], "1", "5")
    assert page("<max>0</max>") == ([], None, "5")
    for wrong, refused in (
        ("<after>z</after>", "item-not-found"),
        ("<max>x</max>", "bad-request"),
        ("<index>1</index>", "feature-not-implemented"),
    ):
        answer = juliet.ask(items("n", beside=f"<set xmlns='{RSM}'>{wrong}</set>"))
        assert condition(answer) == refused


def test_what_does_not_fit_into_one_answer_is_told(juliet: Client) -> None:
    for number in range(5):
        juliet.ask(publish("n", tune("x" * 200_000), str(number), max_items="max"))
    answer = juliet.ask(items("n"))
    assert ids(answer) == ["0", "1"]
    assert answer.findtext(f".//{{{RSM}}}count") == "5"
    rest = f"<set xmlns='{RSM}'><after>1</after></set>"
    assert ids(juliet.ask(items("n", beside=rest))) == ["2", "3"]
    newest = f"<set xmlns='{RSM}'><before/></set>"
    answer = juliet.ask(items("n", beside=newest))
    assert ids(answer) == ["3", "4"]
    first = answer.find(f".//{{{RSM}}}first")
    assert first is not None
    assert first.get("index") == "3"


def test_what_is_left_out_of_those_that_were_asked_for_is_told(juliet: Client) -> None:
    """§6.5.4: a client would believe that there are no others."""
    for number in range(4):
        juliet.ask(publish("n", tune("x" * 200_000), str(number), max_items="max"))
    some = "".join(f"<item id='{number}'/>" for number in range(4))
    answer = juliet.ask(items("n", inside=some))
    assert (ids(answer), answer.findtext(f".//{{{RSM}}}count")) == (["0", "1"], "4")
    answer = juliet.ask(items("n", attributes=" max_items='3'"))
    assert (ids(answer), answer.findtext(f".//{{{RSM}}}count")) == (["2", "3"], "4")
    answer = juliet.ask(items("n", attributes=" max_items='1'"))
    assert (ids(answer), answer.find(f".//{{{RSM}}}count")) == (["3"], None)


def test_items_expire(network: Network, juliet: Client) -> None:
    fill(juliet, 1, item_expire="60")
    network.advance(59)
    assert ids(juliet.ask(items("n"))) == ["1"]
    network.advance(1)
    assert ids(juliet.ask(items("n"))) == []


def test_items_tell_who_published_them_if_they_shall(juliet: Client) -> None:
    fill(juliet, 1, itemreply="publisher")
    assert juliet.ask(items("n")).xpath(".//@publisher") == [f"{JULIET}/balcony"]


# -- removing ---------------------------------------------------------------------------------------


def test_an_item_is_retracted_and_subscribers_learn_it(juliet: Client, romeo: Client) -> None:
    fill(juliet, 2)
    subscribe(romeo)
    events(romeo)
    assert juliet.ask(order("<retract node='n'><item id='1'/></retract>")).get("type") == "result"
    assert ids(juliet.ask(items("n"))) == ["2"]
    [told] = events(romeo)
    assert told.xpath(".//@id")[-1] == "1"
    configured(juliet, notify_retract="0")
    juliet.ask(order("<retract node='n'><item id='2'/></retract>"))
    assert events(romeo) == []
    juliet.ask(publish("n", tune("3"), "3"))
    juliet.ask(order("<retract node='n' notify='1'><item id='3'/></retract>"))
    assert len(events(romeo)) == 2


def test_a_stranger_retracts_nothing(juliet: Client, romeo: Client) -> None:
    fill(juliet, 1)
    assert condition(romeo.ask(order("<retract node='n'><item id='1'/></retract>", JULIET))) == "forbidden"
    assert condition(romeo.ask(order("<retract node='n'><item id='z'/></retract>", JULIET))) == "forbidden"
    assert ids(juliet.ask(items("n"))) == ["1"]


def test_a_node_is_purged_and_deleted_by_its_owner(juliet: Client, romeo: Client) -> None:
    fill(juliet, 2)
    subscribe(romeo)
    events(romeo)
    for what in ("purge", "delete"):
        assert condition(romeo.ask(order(f"<{what} node='n'/>", JULIET, "#owner"))) == "forbidden"
        assert refusal(juliet.ask(order(f"<{what}/>", owner="#owner"))) == ("bad-request", "nodeid-required")
    assert juliet.ask(order("<purge node='n'/>", owner="#owner")).get("type") == "result"
    assert ids(juliet.ask(items("n"))) == []
    redirect = "<redirect uri='xmpp:juliet@capulet.lit?;node=m'/>"
    juliet.ask(order(f"<delete node='n'>{redirect}</delete>", owner="#owner"))
    purged, deleted = events(romeo)
    assert purged.find(f"{{{EVENT}}}event/{{{EVENT}}}purge") is not None
    assert deleted.xpath(".//@uri") == ["xmpp:juliet@capulet.lit?;node=m"]
    assert condition(juliet.ask(items("n"))) == "gone"
    assert condition(juliet.ask(order("<delete node='n'/>", owner="#owner"))) == "item-not-found"
    juliet.ask(publish("n", tune("anew")))
    assert len(ids(juliet.ask(items("n")))) == 1


def test_a_node_that_keeps_nothing_cannot_be_purged(juliet: Client) -> None:
    juliet.ask(publish("n", tune("x"), persist_items="0"))
    answer = juliet.ask(order("<purge node='n'/>", owner="#owner"))
    assert refusal(answer) == ("feature-not-implemented", "unsupported")
    assert answer.xpath(".//@feature") == ["persistent-items"]


# -- nodes ------------------------------------------------------------------------------------------


def test_nodes_are_created_once(juliet: Client, romeo: Client) -> None:
    assert juliet.ask(order("<create node='n'/>")).get("type") == "result"
    assert condition(juliet.ask(order("<create node='n'/>"))) == "conflict"
    [made] = juliet.ask(order("<create/>")).xpath(".//@node")
    assert made
    assert condition(romeo.ask(order("<create node='m'/>", JULIET))) == "forbidden"
    wrong = f"<create node='m'/><configure node='m'>{form()}</configure>"
    assert condition(juliet.ask(order(wrong))) == "bad-request"


def test_a_node_is_configured_by_its_owner(juliet: Client, romeo: Client) -> None:
    fill(juliet, 1)
    subscribe(romeo)
    events(romeo)
    assert configured(juliet, title="Sweet sorrow", notify_config="1").get("type") == "result"
    [told] = events(romeo)
    assert "Sweet sorrow" in "".join(told.itertext())
    assert configured(juliet, access_model="whitelist", notify_config="0").get("type") == "result"
    answer = juliet.ask(ask("<configure node='n'/>", owner="#owner"))
    assert "Sweet sorrow" in "".join(answer.itertext())
    juliet.ask(publish("n", tune("secret")))
    assert events(romeo) == []  # who may not read it any more hears nothing, subscription or not
    cancelled = "<x xmlns='jabber:x:data' type='cancel'/>"
    assert (
        juliet.ask(order(f"<configure node='n'>{cancelled}</configure>", owner="#owner")).get("type")
        == "result"
    )
    assert condition(juliet.ask(order("<configure node='n'/>", owner="#owner"))) == "bad-request"
    assert condition(romeo.ask(ask("<configure node='n'/>", JULIET, "#owner"))) == "forbidden"
    assert "pubsub#access_model" in juliet.ask(ask("<default/>", owner="#owner")).xpath(".//@var")


# -- subscriptions ----------------------------------------------------------------------------------


def test_who_subscribes_gets_the_last_item_and_all_that_follow(juliet: Client, romeo: Client) -> None:
    fill(juliet, 2)
    answer = subscribe(romeo)
    assert answer.xpath(".//@subscription") == ["subscribed"]
    assert titles(romeo) == ["2"]
    assert subscribe(romeo).xpath(".//@subid") == answer.xpath(".//@subid")
    juliet.ask(publish("n", tune("3"), "3"))
    assert titles(romeo) == ["3"]
    mine = romeo.ask(ask("<subscriptions/>", JULIET))
    assert mine.xpath(".//@node") == ["n"]
    assert romeo.ask(order(f"<unsubscribe node='n' jid='{ROMEO}'/>", JULIET)).get("type") == "result"
    [told] = events(romeo)
    assert (told.xpath(".//@subscription"), told.xpath(".//@subid")) == (["none"], answer.xpath(".//@subid"))
    juliet.ask(publish("n", tune("4"), "4"))
    assert romeo.hears_nothing()
    answer = romeo.ask(order(f"<unsubscribe node='n' jid='{ROMEO}'/>", JULIET))
    assert refusal(answer) == ("unexpected-request", "not-subscribed")


def test_who_may_not_subscribe_is_told_why(juliet: Client, romeo: Client) -> None:
    fill(juliet, 1)
    assert refusal(subscribe(romeo, jid="mercutio@montague.lit")) == ("bad-request", "invalid-jid")
    assert refusal(subscribe(romeo, jid="@")) == ("bad-request", "invalid-jid")
    answer = romeo.ask(order("<unsubscribe node='n' jid='mercutio@montague.lit'/>", JULIET))
    assert condition(answer) == "forbidden"
    configured(juliet, access_model="presence")
    assert refusal(subscribe(romeo)) == ("not-authorized", "presence-subscription-required")
    configured(juliet, access_model="whitelist")
    assert refusal(subscribe(romeo)) == ("not-allowed", "closed-node")
    configured(juliet, access_model="open", subscribe="0")
    assert refusal(subscribe(romeo)) == ("feature-not-implemented", "unsupported")


def test_a_node_has_so_many_subscribers(juliet: Client, romeo: Client) -> None:
    fill(juliet, 1)
    for resource in ("a", "b", "c"):
        assert subscribe(romeo, jid=f"{ROMEO}/{resource}").get("type") == "result"
    assert refusal(subscribe(romeo, jid=f"{ROMEO}/d")) == ("policy-violation", "too-many-subscriptions")


def test_a_subscriber_may_want_no_notifications_for_a_while(juliet: Client, romeo: Client) -> None:
    fill(juliet, 1)
    subscribe(romeo)
    events(romeo)
    options = f"<options node='n' jid='{ROMEO}'>{{}}</options>"
    answer = romeo.ask(ask(options.format(""), JULIET))
    assert "pubsub#deliver" in answer.xpath(".//@var")
    romeo.ask(order(options.format(form(deliver="0")), JULIET))
    juliet.ask(publish("n", tune("2"), "2"))
    assert romeo.hears_nothing()
    assert refusal(romeo.ask(ask("<options node='n' jid='romeo@montague.lit' subid='z'/>", JULIET))) == (
        "not-acceptable",
        "invalid-subid",
    )
    assert "pubsub#deliver" in romeo.ask(ask("<default/>", JULIET)).xpath(".//@var")


def test_an_owner_manages_subscriptions(juliet: Client, romeo: Client) -> None:
    fill(juliet, 1)
    change = "<subscriptions node='n'><subscription jid='{}' subscription='{}'/></subscriptions>"
    assert juliet.ask(order(change.format(ROMEO, "subscribed"), owner="#owner")).get("type") == "result"
    [told, _last_item] = events(romeo)
    assert told.xpath(".//@subscription") == ["subscribed"]
    answer = juliet.ask(ask("<subscriptions node='n'/>", owner="#owner"))
    assert answer.xpath(".//@jid") == [ROMEO]
    juliet.ask(order(change.format(ROMEO, "none"), owner="#owner"))
    assert len(events(romeo)) == 1
    assert juliet.ask(ask("<subscriptions node='n'/>", owner="#owner")).xpath(".//@jid") == []
    for wrong in ((ROMEO, "none"), (ROMEO, "maybe"), ("@", "subscribed")):
        refused = juliet.ask(order(change.format(*wrong), owner="#owner"))
        assert refused.get("type") == "error"
        assert refused.xpath(".//@subscription") == ["none"]
    assert condition(romeo.ask(ask("<subscriptions node='n'/>", JULIET, "#owner"))) == "forbidden"


# -- affiliations -----------------------------------------------------------------------------------


def affiliate(juliet: Client, affiliation: str, jid: str = ROMEO) -> _Element:
    inside = f"<affiliation jid='{jid}' affiliation='{affiliation}'/>"
    return juliet.ask(order(f"<affiliations node='n'>{inside}</affiliations>", owner="#owner"))


@pytest.mark.parametrize(
    ("affiliation", "publishes", "reads"),
    [
        ("publisher", "", ""),
        ("publish-only", "", "forbidden"),
        ("member", "forbidden", ""),
        ("outcast", "forbidden", "forbidden"),
        ("none", "forbidden", "not-allowed"),
    ],
)
def test_an_affiliation_says_who_may_do_what(
    juliet: Client, romeo: Client, affiliation: str, publishes: str, reads: str
) -> None:
    fill(juliet, 1)
    configured(juliet, access_model="whitelist")
    assert affiliate(juliet, affiliation).get("type") == "result"
    romeo.forget()
    publishing = publish("n", tune("mine"), "mine").replace("<iq", f"<iq to='{JULIET}'", 1)
    assert condition(romeo.ask(publishing)) == publishes
    assert condition(romeo.ask(items("n", JULIET))) == reads
    shown = juliet.ask(ask("<affiliations node='n'/>", owner="#owner")).xpath(".//@affiliation")
    assert shown == ["owner", *([affiliation] if affiliation != "none" else [])]


@pytest.mark.parametrize(
    ("before", "refused"),
    [
        ("outcast", ()),
        ("member", ()),
        ("publisher", ("member",)),
        ("publish-only", ()),
        ("owner", ("member", "outcast", "publish-only", "publisher")),
    ],
)
def test_not_every_affiliation_turns_into_every_other_one_at_once(
    juliet: Client, before: str, refused: tuple[str, ...]
) -> None:
    fill(juliet, 1)
    wrong = []
    for after in ("member", "none", "outcast", "owner", "publish-only", "publisher"):
        affiliate(juliet, "none")
        affiliate(juliet, before)
        answer = affiliate(juliet, after)
        if condition(answer) == "not-acceptable":
            assert answer.xpath(".//@affiliation") == [before]
            wrong.append(after)
    assert tuple(wrong) == refused


def test_who_gives_affiliations_that_make_no_sense_learns_what_is_so_still(juliet: Client) -> None:
    fill(juliet, 1)
    affiliate(juliet, "member")
    for jid, error in ((ROMEO, "bad-request"), ("@", "jid-malformed"), ("nurse@capulet.lit", "")):
        given = (
            f"<affiliation jid='{ROMEO}' affiliation='owner'/><affiliation jid='{jid}' affiliation='member'/>"
        )
        answer = juliet.ask(order(f"<affiliations node='n'>{given}</affiliations>", owner="#owner"))
        told = dict(zip(answer.xpath(".//@jid"), answer.xpath(".//@affiliation"), strict=True))
        assert (condition(answer), told) == (
            error,
            {ROMEO: "member"} | ({jid: "none"} if jid == "@" else {}) if error else {},
        )


def test_an_outcast_is_no_subscriber_any_more(juliet: Client, romeo: Client) -> None:
    fill(juliet, 1)
    subscribe(romeo)
    affiliate(juliet, "outcast")
    romeo.forget()
    juliet.ask(publish("n", tune("2"), "2"))
    assert romeo.hears_nothing()
    assert condition(subscribe(romeo)) == "forbidden"


def test_who_may_only_publish_removes_only_what_is_theirs(juliet: Client, romeo: Client) -> None:
    fill(juliet, 1)
    affiliate(juliet, "publish-only")
    romeo.ask(publish("n", tune("mine"), "mine").replace("<iq", f"<iq to='{JULIET}'", 1))
    retract = "<retract node='n'><item id='{}'/></retract>"
    assert condition(romeo.ask(order(retract.format("1"), JULIET))) == "forbidden"
    assert romeo.ask(order(retract.format("mine"), JULIET)).get("type") == "result"


def test_affiliations_that_make_no_sense_are_refused(juliet: Client, romeo: Client) -> None:
    fill(juliet, 1)
    assert condition(affiliate(juliet, "king")) == "not-acceptable"
    assert condition(affiliate(juliet, "member", "@")) == "jid-malformed"
    twice = f"<affiliation jid='{ROMEO}' affiliation='member'/>" * 2
    answer = juliet.ask(order(f"<affiliations node='n'>{twice}</affiliations>", owner="#owner"))
    assert condition(answer) == "bad-request"
    assert condition(romeo.ask(ask("<affiliations node='n'/>", JULIET, "#owner"))) == "forbidden"
    affiliate(juliet, "member")
    assert romeo.ask(ask("<affiliations/>", JULIET)).xpath(".//@affiliation") == ["member"]


def test_others_may_publish_where_the_node_says_so(juliet: Client, romeo: Client) -> None:
    publishing = publish("n", tune("mine"), "mine").replace("<iq", f"<iq to='{JULIET}'", 1)
    fill(juliet, 1, publish_model="subscribers")
    assert condition(romeo.ask(publishing)) == "forbidden"
    subscribe(romeo)
    assert romeo.ask(publishing).get("type") == "result"
    configured(juliet, publish_model="open")
    romeo.ask(order(f"<unsubscribe node='n' jid='{ROMEO}'/>", JULIET))
    assert romeo.ask(publishing).get("type") == "result"
