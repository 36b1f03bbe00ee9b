"""How much is said in a room (XEP-0502)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.modules.muc_activity import Activity, Counts
from jabberd.storage import open_storage
from jabberd.testing import Network
from tests.modules.muc.play import ROOM, ROOMS, ask, configure, create, say, texts

if TYPE_CHECKING:
    from jabberd.testing.client import Client

HOUR = 3600.0
FIELD = "{urn:xmpp:muc-activity}message-activity"
INFO = f"<iq type='get' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"


@pytest.fixture
def modules() -> dict[str, dict[str, object]]:
    return {"muc_activity": {}}


def activity(who: Client) -> list[str]:
    """What the room tells."""
    return texts(who.ask(INFO), f".//x:field[@var='{FIELD}']/x:value/text()")


def later(network: Network, hours: int) -> Client:
    """Romeo, who has come again after so many hours."""
    network.advance(hours * HOUR)
    return network.client(f"romeo@montague.lit/{network.clock.seconds()}")


def test_what_is_said_in_an_hour_is_told_afterwards(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo", persistentroom="1")
    for _ in range(6):
        say(romeo, "He jests at scars")
    assert activity(romeo) == []  # nobody knows yet
    assert activity(later(network, 1)) == ["6.00"]
    assert activity(later(network, 1)) == ["3.00"]


def test_only_the_last_day_counts() -> None:
    said = Counts(7, (6,))
    assert said.at(7 + 24).rate(24) == 0.25
    assert said.at(7 + 25).rate(24) == 0
    assert len(said.at(10**6).counts) == 25


def test_corrections_and_what_has_no_body_do_not_count(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo", persistentroom="1")
    say(romeo, "He jests at scars")
    say(romeo, "He jests", inside="<replace xmlns='urn:xmpp:message-correct:0' id='m'/>")
    romeo.send(f"<message to='{ROOM}' type='groupchat'><store xmlns='urn:xmpp:hints'/></message>")
    romeo.send(f"<message to='{ROOM}/Romeo' type='chat'><body>psst</body></message>")
    assert activity(later(network, 1)) == ["1.00"]


@pytest.mark.parametrize(
    "closed",
    [
        {"persistentroom": "0"},
        {"publicroom": "0"},
        {"membersonly": "1"},
        {"passwordprotectedroom": "1", "roomsecret": "rose"},
    ],
    ids=lambda each: next(iter(each)),
)
def test_rooms_that_not_everybody_may_enter_tell_nothing(
    network: Network, romeo: Client, closed: dict[str, Any]
) -> None:
    create(romeo, "Romeo", persistentroom="1")
    say(romeo, "He jests at scars")
    romeo = later(network, 1)
    assert activity(romeo) == ["1.00"]
    configure(romeo, **closed)
    assert activity(romeo) == []


def test_a_new_room_of_the_name_begins_with_nothing(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo", persistentroom="1")
    say(romeo, "He jests at scars")
    ask(romeo, "<destroy/>", part="owner")
    create(romeo, "Romeo", persistentroom="1")
    assert activity(later(network, 1)) == ["0.00"]


def test_a_server_that_serves_nobody_stores_nothing(network: Network) -> None:
    """Such as one that operators' commands start for a moment, without a clock."""
    kept = network.server("montague.lit").hosts[ROOMS].manager.module("muc_activity")
    assert isinstance(kept, Activity)
    network.close()
    assert kept.kept.all(ROOMS).result == {}


def test_counts_survive_a_restart() -> None:
    storage = open_storage("memory", None)
    told: list[list[str]] = []
    for _ in range(2):
        network = Network()
        network.clock.rightNow = 1_000 + HOUR * len(told)
        service: dict[str, dict[str, object]] = {"disco": {}, "muc": {}, "muc_activity": {}}
        network.serve("montague.lit", services={ROOMS: service}, storage=storage)
        romeo = network.client("romeo@montague.lit/orchard")
        if not told:
            create(romeo, "Romeo", persistentroom="1")
            say(romeo, "He jests at scars")
        told.append(activity(romeo))
        network.close()
    assert told == [[], ["1.00"]]
