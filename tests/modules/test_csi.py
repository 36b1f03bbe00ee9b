"""XEP-0352."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Client, Network

CSI = "urn:xmpp:csi:0"
ROMEO = "romeo@montague.lit"
INACTIVE, ACTIVE = f"<inactive xmlns='{CSI}'/>", f"<active xmlns='{CSI}'/>"
STATES = "http://jabber.org/protocol/chatstates"


@pytest.fixture
def romeo(network: Network) -> Client:
    modules = ("sm", "offline", "sid", "archive", "carbons", "ping")
    network.serve("montague.lit", modules={"csi": {"most": 20}, **{name: {} for name in modules}})
    romeo = network.client(f"{ROMEO}/orchard")
    romeo.send(INACTIVE)
    return romeo


def presence(network: Network, sender: str, status: str, type: str = "") -> None:
    typed = f" type='{type}'" if type else ""
    network.stranger(sender).send(
        f"<presence xmlns='jabber:client' to='{ROMEO}'{typed}><status>{status}</status></presence>"
    )


def message(
    network: Network, inside: str, sender: str = "juliet@capulet.lit/balcony", type: str = "chat"
) -> None:
    network.stranger(sender).send(
        f"<message xmlns='jabber:client' type='{type}' to='{ROMEO}'>{inside}</message>"
    )


def statuses(heard: list[_Element]) -> list[str]:
    found = [each.findtext("{*}status") or each.findtext("{*}body") or "" for each in heard]
    heard.clear()
    return found


def test_the_stream_offers_it(network: Network) -> None:
    network.serve("montague.lit", modules={"csi": {}})
    romeo = network.connected(f"{ROMEO}/orchard")
    romeo.open()
    romeo.login()
    assert romeo.open().find(f"{{{CSI}}}csi") is not None


def test_presence_waits_and_only_the_last_of_each_is_sent(romeo: Client, network: Network) -> None:
    juliet, nurse = "juliet@capulet.lit/balcony", "nurse@capulet.lit/gate"
    presence(network, juliet, "up")
    presence(network, nurse, "busy")
    presence(network, juliet, "gone", "unavailable")
    assert romeo.hears_nothing()
    romeo.send(ACTIVE)
    assert statuses(romeo.heard) == ["busy", "gone"]
    presence(network, juliet, "back")
    assert statuses(romeo.heard) == ["back"]


def test_a_message_brings_what_waited_before_it(romeo: Client, network: Network) -> None:
    presence(network, "juliet@capulet.lit/balcony", "up")
    message(network, "<body>hi!</body>")
    assert statuses(romeo.heard) == ["up", "hi!"]
    presence(network, "juliet@capulet.lit/balcony", "away")
    assert romeo.hears_nothing()  # still inactive


@pytest.mark.parametrize(
    ("inside", "type"),
    [
        (f"<composing xmlns='{STATES}'/>", "chat"),
        ("<received xmlns='urn:xmpp:receipts' id='1'/>", "chat"),
        ("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", "chat"),
        ("<event xmlns='http://jabber.org/protocol/pubsub#event'/>", "headline"),
    ],
)
def test_what_says_nothing_waits(romeo: Client, network: Network, inside: str, type: str) -> None:
    message(network, inside, type=type)
    assert romeo.hears_nothing()
    romeo.send(ACTIVE)
    assert len(romeo.heard) == 1


def test_what_is_in_no_archive_does_not_wait_where_a_power_cut_would_take_it(network: Network) -> None:
    network.serve("montague.lit", modules={"csi": {}, "sm": {}, "offline": {}})
    romeo = network.client(f"{ROMEO}/orchard")
    romeo.send(INACTIVE)
    message(network, f"<composing xmlns='{STATES}'/>")
    message(network, "<received xmlns='urn:xmpp:receipts' id='1'/>")
    assert [each[0].tag for each in romeo.heard] == [f"{{{STATES}}}composing", "{urn:xmpp:receipts}received"]


def test_only_what_somebody_does_last_in_a_chat_is_sent(romeo: Client, network: Network) -> None:
    hint = "<no-store xmlns='urn:xmpp:hints'/>"
    for state in ("composing", "paused", "gone"):
        message(network, f"<{state} xmlns='{STATES}'/>{hint}")
    romeo.send(ACTIVE)
    [told] = romeo.heard
    assert told.find(f"{{{STATES}}}gone") is not None


def test_subscriptions_do_not_wait(romeo: Client, network: Network) -> None:
    network.stranger("juliet@capulet.lit/balcony").send(
        f"<presence xmlns='jabber:client' to='{ROMEO}' type='subscribe'/>"
    )
    assert [each.get("type") for each in romeo.heard] == ["subscribe"]


def test_everything_is_on_its_way_before_the_next_answer(romeo: Client, network: Network) -> None:
    presence(network, "juliet@capulet.lit/balcony", "up")
    romeo.send(ACTIVE + "<iq type='get' id='p' to='montague.lit'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert [each.get("id") for each in romeo.heard] == [None, "p"]


def test_an_answer_brings_what_waited(romeo: Client, network: Network) -> None:
    presence(network, "juliet@capulet.lit/balcony", "up")
    romeo.send("<iq type='get' id='p' to='montague.lit'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert [each.get("id") for each in romeo.heard] == [None, "p"]


def test_not_more_than_so_many_wait(romeo: Client, network: Network) -> None:
    for number in range(21):
        presence(network, f"friend{number}@capulet.lit/home", str(number))
    assert statuses(romeo.heard) == [str(number) for number in range(21)]


def test_a_copy_is_as_urgent_as_what_was_copied(romeo: Client, network: Network) -> None:
    romeo.ask("<iq type='set'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    garden = network.client(f"{ROMEO}/garden")
    romeo.forget()
    juliet = network.stranger("juliet@capulet.lit/balcony")
    garden.send(f"<message to='{juliet.jid}' type='chat'><composing xmlns='{STATES}'/></message>")
    assert romeo.hears_nothing()
    garden.send(f"<message to='{juliet.jid}' type='chat'><body>hi!</body></message>")
    assert len(romeo.heard) == 3  # with the presence of the other client


def test_a_client_that_is_told_twice_keeps_what_waits(romeo: Client, network: Network) -> None:
    presence(network, "juliet@capulet.lit/balcony", "up")
    romeo.send(INACTIVE)
    romeo.send(ACTIVE * 2)
    assert statuses(romeo.heard) == ["up"]


def test_a_client_that_comes_back_is_active(romeo: Client, network: Network) -> None:
    romeo.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    id = romeo.next().get("id")
    presence(network, "juliet@capulet.lit/balcony", "up")
    romeo.drop()
    presence(network, "nurse@capulet.lit/gate", "here")
    back = network.connected(f"{ROMEO}/orchard")
    back.open()
    back.login()
    back.open()
    back.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>")
    assert [each.findtext("{*}status") for each in back.heard if each.findtext("{*}status")] == [
        "up",
        "here",
    ]
    back.forget()
    presence(network, "nurse@capulet.lit/gate", "away")
    assert "away" in statuses(back.heard)


def test_a_message_that_waited_for_a_client_that_left_has_another_home(
    romeo: Client, network: Network
) -> None:
    message(network, "<received xmlns='urn:xmpp:receipts' id='1'/>")
    presence(network, "juliet@capulet.lit/balcony", "up")
    romeo.drop()
    back = network.client(f"{ROMEO}/garden", presence="")
    back.send("<presence/>")
    receipts = [each for each in back.heard if each.find("{urn:xmpp:receipts}received") is not None]
    assert len(receipts) == 1


def test_a_message_that_waited_for_a_client_that_left_comes_behind_what_came_before(
    romeo: Client, network: Network
) -> None:
    romeo.send("<enable xmlns='urn:xmpp:sm:3'/>")
    message(network, "<body>hi!</body>")
    message(network, "<received xmlns='urn:xmpp:receipts' id='1'/>")
    romeo.drop()
    back = network.client(f"{ROMEO}/garden", presence="")
    back.send("<presence/>")
    assert [each[0].tag for each in back.heard if each.tag == "{jabber:client}message"] == [
        "{jabber:client}body",
        "{urn:xmpp:receipts}received",
    ]
