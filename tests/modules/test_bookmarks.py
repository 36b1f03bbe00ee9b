"""Bookmarks: one list, read and written in three ways (XEP-0402 §6.3), and what is displayed (XEP-0490)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from jabberd.interfaces import LoginPolicy
from jabberd.modules.pep import Pep
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.modules.test_private import query
from tests.pubsub.play import JULIET, befriend, events, items, listen, order, presence, publish, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

    from jabberd.testing.client import Client

NEW, OLD = "urn:xmpp:bookmarks:1", "storage:bookmarks"
MDS = "urn:xmpp:mds:displayed:0"
VCARD = "<iq type='set'><vCard xmlns='vcard-temp'/></iq>"
ORCHARD = "orchard@rooms.montague.lit"
STREET = "street@rooms.montague.lit"
MODULES = ("disco", "caps", "pep", "private", "bookmarks", "displayed", "carbons", "vcard")
EXTENSIONS = f"<extensions xmlns='{NEW}'><state xmlns='urn:state' minimized='true'/></extensions>"
PRIVATE = {"access_model": "whitelist", "max_items": "max", "send_last_published_item": "never"}


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.serve("capulet.lit", modules={name: {} for name in MODULES})
    yield network
    network.close()


@pytest.fixture
def juliet(network: Network) -> Client:
    return network.client(f"{JULIET}/balcony")


def bookmark(juliet: Client, jid: str, inside: str = "", autojoin: str = "true") -> None:
    payload = (
        f"<conference xmlns='{NEW}' name='Here' autojoin='{autojoin}'><nick>J</nick>{inside}</conference>"
    )
    assert juliet.ask(publish(NEW, payload, jid, **PRIVATE)).get("type") == "result"


def bookmark_as_it_is(juliet: Client, jid: str) -> None:
    """Whatever the options of the node are."""
    assert juliet.ask(publish(NEW, f"<conference xmlns='{NEW}'/>", jid)).get("type") == "result"


def pep(network: Network) -> Pep:
    found = network.server("capulet.lit").hosts["capulet.lit"].manager.module("pep")
    assert isinstance(found, Pep)
    return found


def private(juliet: Client) -> _Element:
    return juliet.ask(query("get", f"<storage xmlns='{OLD}'/>"))[0][0]


def storage(*jids: str, more: str = "") -> str:
    rooms = "".join(
        f"<conference jid='{jid}' name='Here' autojoin='1'><nick>J</nick></conference>" for jid in jids
    )
    return f"<storage xmlns='{OLD}'>{rooms}{more}</storage>"


def rooms(answer: _Element) -> list[tuple[str | None, ...]]:
    """Of each bookmark in the old format: where, how it is called, whether it is joined, the nickname."""
    return [
        (each.get("jid"), each.get("name"), each.get("autojoin"), each.findtext(f"{{{OLD}}}nick"))
        for each in answer.iter(f"{{{OLD}}}conference")
    ]


def test_what_is_published_is_seen_in_private_storage_and_in_the_old_node(juliet: Client) -> None:
    assert rooms(private(juliet)) == []
    bookmark(juliet, ORCHARD)
    bookmark(juliet, STREET, autojoin="false")
    expected = [(ORCHARD, "Here", "true", "J"), (STREET, "Here", "false", "J")]
    assert rooms(private(juliet)) == expected
    assert rooms(juliet.ask(items(OLD))) == expected


@pytest.mark.parametrize("way", ["private", "node"])
def test_what_old_clients_keep_is_published_and_retracted(network: Network, juliet: Client, way: str) -> None:
    def keep(*jids: str, more: str = "") -> None:
        kept = storage(*jids, more=more)
        asked = query("set", kept) if way == "private" else publish(OLD, kept, "current", **PRIVATE)
        assert juliet.ask(asked).get("type") == "result"

    bookmark(juliet, ORCHARD, EXTENSIONS)
    other = network.client(f"{JULIET}/garden", presence="")
    listen(other, NEW)
    events(other)
    keep(ORCHARD, STREET, more="<url xmlns='storage:bookmarks' url='https://capulet.lit/' name='Home'/>")
    [told] = events(other)
    assert told.xpath(".//@id")[-1] == STREET  # nothing is told of what has not changed
    kept = juliet.ask(items(NEW))
    assert kept.xpath(".//@minimized") == ["true"]
    assert kept.xpath(".//@id")[1:] == [ORCHARD, STREET]
    assert private(juliet).xpath(".//@url") == ["https://capulet.lit/"]
    keep(STREET)
    [told] = events(other)
    assert told.find(".//{*}retract") is not None
    assert juliet.ask(items(NEW)).xpath(".//@id")[1:] == [STREET]
    assert private(juliet).xpath(".//@url") == []


def test_a_node_that_old_clients_made_is_the_owners_alone(network: Network, juliet: Client) -> None:
    nurse = network.client("nurse@capulet.lit/chamber")
    befriend(juliet, nurse)
    juliet.ask(query("set", storage(ORCHARD)))
    assert refusal(nurse.ask(items(NEW, JULIET))) == ("not-allowed", "closed-node")
    assert condition(nurse.ask(items(OLD, JULIET))) == "item-not-found"
    paris = network.client("paris@capulet.lit/hall")
    assert condition(paris.ask(items(OLD, JULIET))) == "service-unavailable"


def test_what_is_kept_in_private_is_not_shown_to_contacts_by_a_node_that_was_made_carelessly(
    network: Network, juliet: Client
) -> None:
    """§6.2: it is private data, whatever a client without publish-options made of the node."""
    nurse = network.client("nurse@capulet.lit/chamber")
    befriend(juliet, nurse)
    juliet.ask(publish(NEW, f"<conference xmlns='{NEW}'/>", ORCHARD))
    assert nurse.ask(items(NEW, JULIET)).get("type") == "result"
    juliet.ask(query("set", storage(ORCHARD, STREET)))
    assert refusal(nurse.ask(items(NEW, JULIET))) == ("not-allowed", "closed-node")
    assert juliet.ask(items(NEW)).xpath(".//@id")[1:] == [ORCHARD, STREET]


def test_clients_that_listen_to_the_old_node_hear_of_changes(network: Network, juliet: Client) -> None:
    old = network.client(f"{JULIET}/garden", presence="")
    listen(old, OLD)
    bookmark(juliet, ORCHARD)
    [told] = events(old)
    assert rooms(told) == [(ORCHARD, "Here", "true", "J")]
    juliet.ask(order(f"<retract node='{NEW}'><item id='{ORCHARD}'/></retract>"))
    [told] = events(old)
    assert rooms(told) == []


def test_a_list_that_is_kept_as_a_whole_is_told_once(network: Network, juliet: Client) -> None:
    """Else each of many rooms would have all of them read and sent again."""
    old = network.client(f"{JULIET}/garden", presence="")
    listen(old, OLD)
    juliet.ask(query("set", storage(ORCHARD)))
    assert len(events(old)) == 1
    juliet.ask(query("set", storage(STREET, "court@rooms.montague.lit")))
    [told] = events(old)
    assert len(rooms(told)) == 2
    juliet.ask(query("set", storage(STREET, "court@rooms.montague.lit")))
    assert events(old) == []


def test_what_another_client_changes_while_nothing_is_to_be_replaced_is_told(
    network: Network, juliet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = network.client(f"{JULIET}/garden", presence="")
    listen(old, OLD)
    payload = f"<conference xmlns='{NEW}' name='Here' autojoin='true'><nick>J</nick></conference>"
    juliet.ask(publish(NEW, payload, ORCHARD, max_items="max"))
    old.forget()
    nodes, reached, going_on = pep(network).pubsub.nodes, list[object](), Deferred[None]()
    configure = nodes.configure

    async def slow(*args: Any) -> None:
        reached.append(args)
        await going_on
        await configure(*args)

    monkeypatch.setattr(nodes, "configure", slow)
    old.send(query("set", storage(ORCHARD)).replace("<iq ", "<iq id='b' "))
    assert reached
    bookmark_as_it_is(juliet, STREET)
    going_on.callback(None)
    assert [len(rooms(each)) for each in events(old)] == [2]


def test_a_list_has_no_more_rooms_than_there_may_be_items(network: Network) -> None:
    modules: dict[str, dict[str, int]] = {name: {} for name in MODULES}
    network.serve("verona.lit", modules={**modules, "pep": {"items": 2}})
    romeo = network.client("romeo@verona.lit/square")
    few = [f"{name}@rooms.verona.lit" for name in "ab"]
    assert condition(romeo.ask(query("set", storage(*few)))) == ""
    assert condition(romeo.ask(query("set", storage(*few, STREET)))) == "resource-constraint"
    assert [room[0] for room in rooms(private(romeo))] == few


def test_what_makes_no_sense_in_the_old_format_is_passed_over(juliet: Client) -> None:
    odd = f"<storage xmlns='{OLD}'><conference/><conference jid='@'/><conference jid='{ORCHARD}'/></storage>"
    assert juliet.ask(query("set", odd)).get("type") == "result"
    assert rooms(private(juliet)) == [(ORCHARD, None, None, None)]
    assert condition(juliet.ask(order(f"<create node='{OLD}'/>"))) == "not-allowed"
    assert condition(juliet.ask(publish(OLD, "<x xmlns='urn:x'/>"))) == "not-allowed"


def test_what_was_read_is_taken_out_of_a_message_and_published(network: Network, juliet: Client) -> None:
    nurse = network.client("nurse@capulet.lit/chamber")
    other = network.client(f"{JULIET}/garden", presence="")
    listen(other, MDS)
    other.ask("<iq type='set'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    other.forget()
    id = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{JULIET}' id='1'/>"
    displayed = f"<displayed xmlns='{MDS}'>{id}</displayed>"
    juliet.send(f"<message to='nurse@capulet.lit' type='chat'><body>ay</body>{displayed}</message>")
    assert nurse.receives(
        f"<message from='{juliet.jid}' to='nurse@capulet.lit' type='chat'><body>ay</body></message>"
    )
    told, carbon = other.next(), other.next()
    assert told.xpath(".//@id")[1:] == ["nurse@capulet.lit", "1"]
    assert carbon.find(f".//{{{MDS}}}displayed") is None
    juliet.send(
        f"<message to='nurse@capulet.lit' type='chat'><body>no</body><displayed xmlns='{MDS}'/></message>"
    )
    assert nurse.next().findtext("{jabber:client}body") == "no"
    closed = juliet.ask("<iq type='get'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>"
                        f"<configure node='{MDS}'/></pubsub></iq>")  # fmt: skip
    assert "whitelist" in closed.xpath(".//*[@var='pubsub#access_model']/*/text()")


def test_what_was_read_is_not_archived(network: Network) -> None:
    network.serve(
        "verona.lit", modules={name: {} for name in ("disco", "caps", "pep", "sid", "archive", "displayed")}
    )
    romeo = network.client("romeo@verona.lit/square")
    romeo.send(f"<message to='page@verona.lit'><body>ay</body><displayed xmlns='{MDS}'/></message>")
    rows = done(network.server("verona.lit").storage.archive("archive").rows("romeo@verona.lit"))
    assert [b"<body>ay</body>" in row.stanza for row in rows] == [True]
    assert not any(MDS.encode() in row.stanza for row in rows)


def test_nothing_is_asked_of_guests_and_nothing_of_theirs_is_kept(network: Network) -> None:
    policy = LoginPolicy(anonymous=True, require_tls=False)
    network.serve("verona.lit", modules={name: {} for name in MODULES}, policy=policy)
    guest = network.connected("verona.lit")
    guest.open()
    guest.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'>=</auth>")
    guest.forget()
    guest.open()
    guest.bind()
    guest.send(presence(NEW))
    guest.forget()
    assert guest.hears_nothing()
    for asked in (publish(NEW, "<x xmlns='urn:x'/>"), query("set", storage(ORCHARD)), VCARD):
        assert condition(guest.ask(asked)) == "service-unavailable"
