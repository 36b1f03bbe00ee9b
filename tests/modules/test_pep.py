"""Personal eventing (XEP-0163): accounts publish, contacts and the accounts themselves hear it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.admin import Admin
from jabberd.api import Refused
from jabberd.hosting import verb_groups
from jabberd.pubsub.node import Item
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.pubsub.play import (
    EVENT,
    JULIET,
    MOOD,
    PUBSUB,
    TUNE,
    answer_caps,
    befriend,
    events,
    form,
    info,
    items,
    listen,
    order,
    presence,
    publish,
    refusal,
    titles,
    tune,
    verification,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES: dict[str, dict[str, int]] = {
    "disco": {},
    "caps": {},
    "pep": {"nodes": 5, "items": 10, "payload": 2_000, "size": 9_000},
}


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.serve("capulet.lit", modules=MODULES)
    network.serve("montague.lit", modules=MODULES)
    yield network
    network.close()


# -- who hears it -----------------------------------------------------------------------------------


def test_what_is_published_reaches_the_own_clients_and_the_contacts_that_listen(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    romeo = network.client("romeo@montague.lit/orchard")
    nurse = network.client("nurse@capulet.lit/chamber")
    befriend(juliet, romeo)
    befriend(juliet, nurse)
    listen(juliet, TUNE)
    listen(romeo, TUNE)
    listen(nurse, MOOD)
    for client in (juliet, romeo, nurse):
        client.forget()
    assert juliet.ask(publish(TUNE, tune("Hearts Ease"))).get("type") == "result"
    assert romeo.receives(
        f"<message from='{JULIET}' to='romeo@montague.lit/orchard' type='headline' id='*'>"
        f"<event xmlns='{EVENT}'><items node='{TUNE}'><item id='current'>{tune('Hearts Ease')}"
        "</item></items></event></message>"
    )
    assert titles(juliet) == ["Hearts Ease"]
    assert nurse.hears_nothing()


def test_who_comes_later_gets_the_last_item_once(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    romeo = network.client("romeo@montague.lit/orchard")
    befriend(juliet, romeo)
    juliet.ask(publish(TUNE, tune("first")))
    juliet.ask(publish(TUNE, tune("second"), "other"))
    juliet.drop()
    romeo.drop()
    romeo = network.client("romeo@montague.lit/orchard", presence="")
    listen(romeo, TUNE)
    [told] = events(romeo)
    assert told.findtext(f".//{{{TUNE}}}title") == "second"
    assert told.find("{urn:xmpp:delay}delay") is not None
    listen(romeo, TUNE)
    assert events(romeo) == []
    network.client(f"{JULIET}/balcony")  # her server asks who is there, and hears it again
    assert events(romeo) == []
    listen(romeo, TUNE, MOOD)
    assert events(romeo) == []


def test_who_comes_later_gets_nothing_that_is_not_kept_any_more(network: Network) -> None:
    """Of a node that keeps nothing, what it kept before is not the last item."""
    juliet = network.client(f"{JULIET}/balcony")
    romeo = network.client("romeo@montague.lit/orchard")
    befriend(juliet, romeo)
    juliet.ask(publish(TUNE, tune("kept")))
    configured = f"<configure node='{TUNE}'>{form(persist_items='0')}</configure>"
    assert juliet.ask(order(configured, owner="#owner")).get("type") == "result"
    juliet.ask(publish(TUNE, tune("not kept")))
    listen(romeo, TUNE)
    assert titles(romeo) == []
    romeo.ask(order(f"<subscribe node='{TUNE}' jid='{romeo.jid.bare}'/>", JULIET))
    assert titles(romeo) == []


def test_who_may_read_from_now_on_gets_the_last_item_once(network: Network) -> None:
    """XEP-0060 §12.2: Romeo was seen before he might see, and is not heard anew."""
    juliet = network.client(f"{JULIET}/balcony")
    romeo = network.client("romeo@montague.lit/orchard")
    juliet.ask(publish(TUNE, tune("for contacts")))
    juliet.ask(publish("lovers", tune("for lovers"), access_model="roster", roster_groups_allowed="Lovers"))
    juliet.send("<presence to='romeo@montague.lit' type='subscribe'/>")
    romeo.send(f"<presence to='{JULIET}' type='subscribed'/>")
    listen(romeo, TUNE, "lovers")
    assert titles(romeo) == []
    romeo.send(f"<presence to='{JULIET}' type='subscribe'/>")
    juliet.send("<presence to='romeo@montague.lit' type='subscribed'/>")
    assert titles(romeo) == ["for contacts"]
    for group, told in (("Friends", []), ("Lovers", ["for lovers"]), ("Lovers", [])):
        item = f"<item jid='romeo@montague.lit'><group>{group}</group></item>"
        juliet.ask(f"<iq type='set'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
        assert titles(romeo) == told


def test_who_leaves_and_comes_back_gets_it_again(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    juliet.ask(publish(TUNE, tune("first")))
    listen(juliet, TUNE)
    assert titles(juliet) == ["first"]
    juliet.send("<presence type='unavailable'/>")
    listen(juliet, TUNE)
    assert titles(juliet) == ["first"]


def test_who_does_not_listen_any_more_hears_nothing(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    listen(juliet, TUNE)
    juliet.send("<presence/>")
    juliet.forget()
    juliet.ask(publish(TUNE, tune("first")))
    assert juliet.hears_nothing()


def test_who_is_gone_is_not_notified(network: Network) -> None:
    juliet, romeo = network.client(f"{JULIET}/balcony"), network.client("romeo@montague.lit/orchard")
    befriend(juliet, romeo)
    listen(romeo, TUNE)
    romeo.send("<presence type='unavailable'/>")
    romeo.forget()
    juliet.ask(publish(TUNE, tune("first")))
    assert romeo.hears_nothing()


def test_who_is_blocked_hears_nothing_and_reads_nothing(network: Network) -> None:
    network.serve("verona.lit", modules={**MODULES, "blocking": {}})
    prince, tybalt = (network.client(f"{name}@verona.lit/square") for name in ("prince", "tybalt"))
    befriend(prince, tybalt)
    listen(tybalt, TUNE)
    prince.ask(publish(TUNE, tune("peace"), access_model="open"))
    assert titles(tybalt) == ["peace"]
    prince.ask("<iq type='set'><block xmlns='urn:xmpp:blocking'><item jid='tybalt@verona.lit'/></block></iq>")
    tybalt.forget()
    prince.ask(publish(TUNE, tune("banished"), access_model="open"))
    assert events(tybalt) == []
    listen(tybalt, TUNE)
    assert events(tybalt) == []
    assert refusal(tybalt.ask(items(TUNE, "prince@verona.lit"))) == ("service-unavailable", "")


def test_a_hash_is_asked_for_once(network: Network) -> None:
    network.client("nurse@capulet.lit/chamber")
    juliet = network.client(f"{JULIET}/balcony", presence="")
    juliet.send(presence(TUNE))
    assert answer_caps(juliet, TUNE) == 1
    other = network.client(f"{JULIET}/garden", presence="")
    other.send(presence(TUNE))
    assert answer_caps(other, TUNE) == 0
    juliet.ask(publish(TUNE, tune("both")))
    assert titles(other) == ["both"]


def test_a_client_whose_presence_comes_to_many_is_asked_once(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    friends = [network.client(f"{name}@capulet.lit/hall") for name in ("nurse", "tybalt", "peter")]
    for friend in friends:
        befriend(juliet, friend)
    juliet.send(presence(TUNE))
    assert answer_caps(juliet, TUNE) == 1
    for friend in friends:
        friend.ask(publish(TUNE, tune("hey")))
    assert titles(juliet) == ["hey"] * 3


def test_a_hash_that_lies_counts_for_the_liar_alone(network: Network) -> None:
    villain = network.client("villain@capulet.lit/cave", presence="")
    villain.send(presence(ver=verification(TUNE)))
    assert answer_caps(villain, MOOD) == 1
    juliet = network.client(f"{JULIET}/balcony", presence="")
    juliet.send(presence(TUNE))
    assert answer_caps(juliet, TUNE) == 1
    juliet.ask(publish(TUNE, tune("truth")))
    assert titles(juliet) == ["truth"]


def test_the_legacy_format_is_asked_for_every_time(network: Network) -> None:
    for resource in ("balcony", "garden"):
        juliet = network.client(f"{JULIET}/{resource}", presence="")
        juliet.send(presence(ver="1.0", hash=""))
        assert answer_caps(juliet, TUNE) == 1
        juliet.send(presence(ver="1.0", hash=""))  # which it has told already
        assert answer_caps(juliet, TUNE) == 0
    juliet.ask(publish(TUNE, tune("old")))
    assert titles(juliet) == ["old"]


def test_a_client_that_does_not_answer_hears_nothing(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony", presence="")
    juliet.send(presence(TUNE))
    juliet.forget()
    network.advance(60)
    juliet.ask(publish(TUNE, tune("first")))
    assert juliet.hears_nothing()
    juliet.send(presence(TUNE))
    assert answer_caps(juliet, TUNE) == 1
    assert titles(juliet) == ["first"]


def test_what_presence_said_last_counts_even_if_it_is_answered_first(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony", presence="")
    juliet.send(presence(TUNE))
    juliet.send(presence(MOOD))
    juliet.flush()
    first, last = (each for each in juliet.heard if each.get("type") == "get")
    for asked, node in ((last, MOOD), (first, TUNE)):
        answer = f"<iq type='result' to='{asked.get('from')}' id='{asked.get('id')}'>{info(node)}</iq>"
        juliet.send(answer)
    juliet.forget()
    juliet.ask(publish(TUNE, tune("no more")))
    assert events(juliet) == []
    juliet.ask(publish(MOOD, f"<mood xmlns='{MOOD}'/>"))
    assert len(events(juliet)) == 1


def test_presence_that_a_room_sends_to_a_resource_does_not_count(network: Network) -> None:
    network.client(f"{JULIET}/balcony").ask(publish(TUNE, tune("first"), access_model="open"))
    room = network.stranger("rooms.evil.example/juliet")
    room.send(presence(TUNE).replace("<presence", f"<presence xmlns='jabber:client' to='{JULIET}/balcony'"))
    assert room.hears_nothing()


def test_a_stranger_who_sends_presence_hears_what_is_open(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    juliet.ask(publish(TUNE, tune("open"), access_model="open"))
    juliet.ask(publish(MOOD, f"<mood xmlns='{MOOD}'/>"))
    paris = network.client("paris@montague.lit/hall")
    listen(paris, TUNE, MOOD)
    paris.send(presence(TUNE, MOOD).replace("<presence", f"<presence to='{JULIET}'"))
    assert answer_caps(paris, TUNE, MOOD) == 1  # as her server has never met such a client
    assert titles(paris) == ["open"]


@pytest.mark.parametrize(
    ("said", "told"), [("service-unavailable", []), ("remote-server-timeout", ["second"])]
)
def test_who_is_gone_without_a_word_is_forgotten(network: Network, said: str, told: list[str]) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    juliet.ask(publish(TUNE, tune("first"), access_model="open"))
    paris = network.stranger("paris@verona.lit/hall")
    paris.send(presence(TUNE).replace("<presence", f"<presence xmlns='jabber:client' to='{JULIET}'"))
    [asked] = paris.heard
    answer = f"<iq xmlns='jabber:client' to='{JULIET}' type='result' id='{asked.get('id')}'>{info(TUNE)}</iq>"
    paris.send(answer)
    assert titles(paris) == ["first"]
    error = f"<error type='cancel'><{said} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    paris.send(f"<message xmlns='jabber:client' to='{JULIET}' type='error'>{error}</message>")
    juliet.ask(publish(TUNE, tune("second"), access_model="open"))
    assert titles(paris) == told


def test_strangers_do_not_keep_contacts_from_listening(network: Network) -> None:
    juliet, romeo = network.client(f"{JULIET}/balcony"), network.client("romeo@montague.lit/orchard")
    befriend(juliet, romeo)
    juliet.ask(publish(TUNE, tune("open"), access_model="open"))
    villain = network.stranger("villain@evil.example/cave")
    for number in range(150):
        said = presence(TUNE).replace("<presence", f"<presence xmlns='jabber:client' to='{JULIET}'")
        villain.send(said.replace("<presence", f"<presence from='villain@evil.example/{number}'", 1))
    villain.flush()
    assert len([each for each in villain.heard if each.get("type") == "get"]) < 150
    listen(romeo, TUNE)
    assert titles(romeo) == ["open"]


# -- who may read it --------------------------------------------------------------------------------


def test_contacts_may_read_and_strangers_may_not(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    romeo = network.client("romeo@montague.lit/orchard")
    paris = network.client("paris@montague.lit/hall")
    befriend(juliet, romeo)
    juliet.ask(publish(TUNE, tune("ours")))
    assert romeo.ask(items(TUNE, JULIET)).findtext(f".//{{{TUNE}}}title") == "ours"
    assert refusal(paris.ask(items(TUNE, JULIET))) == ("not-authorized", "presence-subscription-required")


def test_an_open_node_is_for_everybody_and_a_closed_one_for_its_owner(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    romeo = network.client("romeo@montague.lit/orchard")
    befriend(juliet, romeo)
    juliet.ask(publish("open", tune("all"), access_model="open"))
    juliet.ask(publish("closed", tune("mine"), access_model="whitelist"))
    paris = network.client("paris@montague.lit/hall")
    assert paris.ask(items("open", JULIET)).findtext(f".//{{{TUNE}}}title") == "all"
    assert refusal(romeo.ask(items("closed", JULIET))) == ("not-allowed", "closed-node")
    assert juliet.ask(items("closed")).findtext(f".//{{{TUNE}}}title") == "mine"


def test_a_stranger_does_not_learn_who_exists(network: Network) -> None:
    network.client(f"{JULIET}/balcony")
    paris = network.client("paris@montague.lit/hall")
    for jid in (JULIET, "nobody@capulet.lit"):
        assert refusal(paris.ask(items(TUNE, jid))) == ("service-unavailable", "")


def test_a_node_for_a_group_is_for_those_in_it(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    romeo = network.client("romeo@montague.lit/orchard")
    nurse = network.client("nurse@capulet.lit/chamber")
    befriend(juliet, romeo)
    befriend(juliet, nurse)
    item = "<item jid='romeo@montague.lit'><group>Lovers</group></item>"
    juliet.ask(f"<iq type='set'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
    juliet.ask(publish(TUNE, tune("for one"), access_model="roster", roster_groups_allowed="Lovers"))
    assert romeo.ask(items(TUNE, JULIET)).findtext(f".//{{{TUNE}}}title") == "for one"
    assert refusal(nurse.ask(items(TUNE, JULIET))) == ("not-authorized", "not-in-roster-group")


def test_nobody_else_publishes_to_an_account(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    romeo = network.client("romeo@montague.lit/orchard")
    befriend(juliet, romeo)
    juliet.ask(publish(TUNE, tune("mine")))
    forged = publish(TUNE, tune("forged")).replace("<iq", f"<iq to='{JULIET}'", 1)
    assert refusal(romeo.ask(forged)) == ("forbidden", "")
    new = publish("new", tune("forged")).replace("<iq", f"<iq to='{JULIET}'", 1)
    assert refusal(romeo.ask(new)) == ("item-not-found", "")


# -- limits, discovery ------------------------------------------------------------------------------


def test_an_account_has_limits(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    assert refusal(juliet.ask(publish(TUNE, tune("x" * 2_000)))) == ("not-acceptable", "payload-too-big")
    for number in range(5):
        juliet.ask(publish(f"node{number}", tune("x" * 1_500)))
    assert refusal(juliet.ask(publish("node5", tune("x")))) == ("resource-constraint", "")
    assert juliet.ask(publish("node4", tune("x" * 1_600))).get("type") == "result"
    many = publish("node0", tune("x" * 1_500), "another", max_items="1")
    assert juliet.ask(many).get("type") == "result"
    assert refusal(juliet.ask(publish("new", tune("x"), max_items="11"))) == ("not-acceptable", "")


def test_all_items_of_an_account_together_have_a_limit(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    answers = [
        juliet.ask(publish("n", tune("x" * 1_500), str(number), max_items="max")) for number in range(7)
    ]
    assert [each.get("type") for each in answers] == ["result"] * 5 + ["error"] * 2
    assert refusal(answers[-1]) == ("resource-constraint", "")


def test_an_account_tells_what_it_has(network: Network) -> None:
    juliet, romeo = network.client(f"{JULIET}/balcony"), network.client("romeo@montague.lit/orchard")
    befriend(juliet, romeo)
    juliet.ask(publish(TUNE, tune("x"), "tune1"))
    juliet.ask(publish("closed", tune("x"), access_model="whitelist"))
    about = "<iq type='get' to='{}'><query xmlns='http://jabber.org/protocol/disco#{}'{}/></iq>"
    answer = romeo.ask(about.format(JULIET, "info", ""))
    assert ("pubsub", "pep") in [(each.get("category"), each.get("type")) for each in answer[0]]
    assert f"{PUBSUB}#publish-options" in answer.xpath(".//@var")
    answer = romeo.ask(about.format(JULIET, "items", ""))
    assert answer.xpath(".//@node") == [TUNE]
    assert romeo.ask(about.format(JULIET, "items", f" node='{TUNE}'")).xpath(".//@name") == ["tune1"]
    [node, *_] = romeo.ask(about.format(JULIET, "info", f" node='{TUNE}'"))[0]
    assert (node.get("category"), node.get("type")) == ("pubsub", "leaf")
    assert condition(romeo.ask(about.format(JULIET, "info", " node='closed'"))) == "item-not-found"


def test_operators_see_and_delete_what_an_account_published(network: Network) -> None:
    network.client(f"{JULIET}/balcony").ask(publish(TUNE, tune("secret")))
    admin = Admin(lambda: verb_groups(network.server("capulet.lit").hosts))

    def operate(*words: str) -> Any:
        return done(admin.run(["pep", *words], {}))

    [row] = operate("list", JULIET)
    assert (row["node"], row["items"], row["access"]) == (TUNE, 1, "presence")
    assert "secret" not in str(row)
    assert operate("delete", JULIET, TUNE) == f"{TUNE} of {JULIET} is deleted"
    assert operate("list", JULIET) == []
    with pytest.raises(Refused, match="has no node"):
        operate("delete", JULIET, TUNE)
    with pytest.raises(Refused, match="no account"):
        operate("list", "nobody@capulet.lit")


def test_what_an_account_published_goes_with_it(network: Network) -> None:
    juliet = network.client(f"{JULIET}/balcony")
    juliet.ask(publish(TUNE, tune("x")))
    storage = network.server("capulet.lit").storage
    storage.forget(JULIET)
    found: list[object] = []
    storage.ordered("pubsub-items", Item).sizes(JULIET).addCallback(found.append)
    assert found == [{}]


@pytest.mark.parametrize(("allow", "heard"), [("1", ["first"]), ("0", [""])])
def test_an_owner_is_asked_and_decides_who_may_subscribe(
    network: Network, allow: str, heard: list[str]
) -> None:
    juliet, romeo = network.client(f"{JULIET}/balcony"), network.client("romeo@montague.lit/orchard")
    juliet.ask(publish(TUNE, tune("first"), access_model="authorize"))
    juliet.send("<presence/>")
    answer = romeo.ask(order(f"<subscribe node='{TUNE}' jid='{romeo.jid.bare}'/>", JULIET))
    assert answer.xpath(".//@subscription") == ["pending"]
    juliet.flush()
    [question] = [each for each in juliet.heard if each.find("{jabber:x:data}x") is not None]
    values = {each.get("var"): each[-1].text for each in question.iter("{jabber:x:data}field")}
    values["pubsub#allow"] = allow
    fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
    decision = f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"
    romeo.send(f"<message to='{JULIET}'>{decision}</message>")
    assert events(romeo) == []
    juliet.flush()
    assert juliet.heard[-1].get("from") == str(romeo.jid)  # a message like any other
    juliet.send(f"<message to='{JULIET}' id='{question.get('id')}'>{decision}</message>")
    assert titles(romeo)[-1:] == heard
