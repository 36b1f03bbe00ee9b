"""XEP-0191."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from jabberd.api import JID
from jabberd.testing.client import condition
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from jabberd.modules.blocking import Blocking
    from jabberd.testing import Client, Network

NS = "urn:xmpp:blocking"
ROMEO = "romeo@montague.lit"
TYBALT = "tybalt@evil.example/alley"
NURSE = "nurse@capulet.lit/gate"
MODULES: dict[str, dict[str, object]] = {
    name: {} for name in ("blocking", "offline", "disco", "ping", "sid", "archive", "carbons", "caps", "pep")
}


@pytest.fixture
def romeo(network: Network) -> Client:
    network.serve("montague.lit", modules={**MODULES, "blocking": {"most": 5}})
    network.stranger(TYBALT)
    network.stranger(NURSE)
    return network.client(f"{ROMEO}/orchard")


def change(client: Client, verb: str, *jids: str) -> str:
    """Block or unblock; the condition with which that was refused, or nothing."""
    items = "".join(f"<item jid='{jid}'/>" for jid in jids)
    return condition(client.ask(f"<iq type='set'><{verb} xmlns='{NS}'>{items}</{verb}></iq>"))


def blocklist(client: Client) -> list[str]:
    answer = client.ask(f"<iq type='get'><blocklist xmlns='{NS}'/></iq>")
    return [str(item.get("jid")) for item in answer[0]]


def subscribed(network: Network, client: Client, contact: str) -> None:
    """Let a contact see the client's presence, and the other way round."""
    stranger = network.stranger(contact)
    bare = JID.parse(contact).bare
    stranger.send(f"<presence xmlns='jabber:client' from='{bare}' to='{ROMEO}' type='subscribe'/>")
    client.send(f"<presence to='{bare}' type='subscribed'/><presence to='{bare}' type='subscribe'/>")
    stranger.send(f"<presence xmlns='jabber:client' from='{bare}' to='{ROMEO}' type='subscribed'/>")
    stranger.forget()
    client.forget()


def hears(
    network: Network, sender: str, inside: str = "<body>hi!</body>", name: str = "message", **attrs: str
) -> str:
    """What Romeo's enemy is answered: a condition."""
    stranger = network.stranger(sender)
    stranger.forget()
    shown = "".join(
        f" {key.rstrip('_')}='{value}'" for key, value in {"to": ROMEO, "id": "1", **attrs}.items()
    )
    stranger.send(f"<{name} xmlns='jabber:client'{shown}>{inside}</{name}>")
    return condition(stranger.heard.pop()) if stranger.heard else ""


# -- the list ---------------------------------------------------------------------------------------


def test_the_list_grows_and_shrinks(romeo: Client) -> None:
    assert blocklist(romeo) == []
    assert change(romeo, "block", "tybalt@evil.example", "Paris@Capulet.lit") == ""
    assert blocklist(romeo) == ["paris@capulet.lit", "tybalt@evil.example"]
    assert change(romeo, "block", "tybalt@evil.example") == ""
    assert change(romeo, "unblock", "paris@capulet.lit", "nobody@capulet.lit") == ""
    assert blocklist(romeo) == ["tybalt@evil.example"]
    assert change(romeo, "unblock") == ""
    assert blocklist(romeo) == []


def test_clients_that_asked_for_the_list_learn_what_changes(romeo: Client, network: Network) -> None:
    garden, cell = network.client(f"{ROMEO}/garden"), network.client(f"{ROMEO}/cell")
    blocklist(garden)
    for client in (romeo, garden, cell):
        client.forget()
    change(romeo, "block", "tybalt@evil.example")
    change(romeo, "unblock")
    for inside in (
        f"<block xmlns='{NS}'><item jid='tybalt@evil.example'/></block>",
        f"<unblock xmlns='{NS}'/>",
    ):
        push = f"<iq type='set' id='*' from='{ROMEO}' to='{garden.jid}'>{inside}</iq>"
        assert garden.receives(push)
    assert cell.hears_nothing()
    assert romeo.hears_nothing()


@pytest.mark.parametrize(
    ("jids", "error"),
    [
        ([], "bad-request"),
        (["@"], "jid-malformed"),
        (["tybalt@evil.example", ""], "jid-malformed"),
        ([f"u{number}@evil.example" for number in range(6)], "resource-constraint"),
    ],
)
def test_f13_what_cannot_be_blocked_changes_nothing(romeo: Client, jids: list[str], error: str) -> None:
    assert change(romeo, "block", *jids) == error
    assert blocklist(romeo) == []


def test_nobody_reads_or_changes_the_list_of_another(romeo: Client, network: Network) -> None:
    for verb in ("block", "unblock"):
        inside = f"<{verb} xmlns='{NS}'><item jid='juliet@capulet.lit'/></{verb}>"
        assert hears(network, TYBALT, inside, "iq", type="set") == "service-unavailable"
    assert hears(network, TYBALT, f"<blocklist xmlns='{NS}'/>", "iq", type="get") == "service-unavailable"
    assert blocklist(romeo) == []


def test_the_domain_says_that_it_can(romeo: Client) -> None:
    info = "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    assert NS in romeo.ask(info).xpath(".//@var")


def test_an_operator_sees_the_list(romeo: Client, network: Network) -> None:
    change(romeo, "block", "tybalt@evil.example")
    module = network.server("montague.lit").hosts["montague.lit"].manager.module("blocking")
    assert done(cast("Blocking", module).list(JID(ROMEO))) == [{"blocked": "tybalt@evil.example"}]


# -- what comes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocked", ["tybalt@evil.example", TYBALT, "evil.example"])
def test_what_comes_from_them_is_answered_as_if_nobody_were_there(
    romeo: Client, network: Network, blocked: str
) -> None:
    change(romeo, "block", blocked)
    for type in ("chat", "normal", "headline", *(() if blocked == TYBALT else ("groupchat",))):
        assert hears(network, TYBALT, type=type) == "service-unavailable"
        assert hears(network, TYBALT, to=romeo.jid, type=type) == "service-unavailable"
    for type in ("get", "set"):
        assert (
            hears(network, TYBALT, "<ping xmlns='urn:xmpp:ping'/>", "iq", type=type) == "service-unavailable"
        )
    silent = [("message", "error"), ("iq", "result"), ("iq", "error")]
    silent += [("presence", type) for type in ("unavailable", "subscribe", "subscribed", "probe", "error")]
    for name, type in silent:
        assert hears(network, TYBALT, "", name, type=type) == ""
    assert hears(network, TYBALT, "", "presence") == ""
    assert romeo.hears_nothing()
    assert hears(network, NURSE) == ""
    assert romeo.next().findtext("{*}body") == "hi!"


@pytest.mark.parametrize(
    "blocked", ["tybalt@evil.example/street", "other@evil.example", "example", "evil.example/alley"]
)
def test_others_still_come(romeo: Client, network: Network, blocked: str) -> None:
    change(romeo, "block", blocked)
    assert hears(network, TYBALT) == ""
    assert romeo.next().findtext("{*}body") == "hi!"


def test_what_they_say_is_neither_kept_nor_archived(romeo: Client, network: Network) -> None:
    change(romeo, "block", "tybalt@evil.example")
    romeo.close()
    assert hears(network, TYBALT, type="chat") == "service-unavailable"
    back = network.client(f"{ROMEO}/orchard", presence="")
    answer = back.ask("<iq type='set'><query xmlns='urn:xmpp:mam:2'/></iq>")
    assert answer.find(".//{*}first") is None
    assert answer.find("{urn:xmpp:mam:2}fin") is not None


def test_it_holds_when_the_account_comes_back(romeo: Client, network: Network) -> None:
    change(romeo, "block", "tybalt@evil.example")
    romeo.close()
    network.client(f"{ROMEO}/orchard")
    assert hears(network, TYBALT) == "service-unavailable"


def test_afterwards_they_come_again(romeo: Client, network: Network) -> None:
    change(romeo, "block", "tybalt@evil.example", "evil.example")
    change(romeo, "unblock", "tybalt@evil.example")
    assert hears(network, TYBALT) == "service-unavailable"
    change(romeo, "unblock")
    assert hears(network, TYBALT) == ""


def test_an_account_does_not_block_itself_or_its_server(romeo: Client, network: Network) -> None:
    garden = network.client(f"{ROMEO}/garden")
    change(romeo, "block", ROMEO, "montague.lit", garden.jid)
    romeo.forget()
    garden.send(f"<message to='{romeo.jid}'><body>hi!</body></message>")
    assert romeo.next().findtext("{*}body") == "hi!"
    assert (
        romeo.ask("<iq type='get' to='montague.lit'><ping xmlns='urn:xmpp:ping'/></iq>").get("type")
        == "result"
    )
    mercutio = network.client("mercutio@montague.lit/square")
    mercutio.send(f"<message to='{romeo.jid}'><body>hi!</body></message>")
    assert condition(mercutio.next()) == "service-unavailable"


# -- what goes --------------------------------------------------------------------------------------


def test_f13_nothing_goes_to_them(romeo: Client, network: Network) -> None:
    change(romeo, "block", "evil.example")
    romeo.send(f"<message to='{TYBALT}' id='m1' type='chat'><body>hi!</body></message>")
    answer = romeo.next()
    assert (answer.get("type"), answer.get("from"), condition(answer)) == ("error", TYBALT, "not-acceptable")
    assert answer.find(".//{urn:xmpp:blocking:errors}blocked") is not None
    assert answer[0].get("type") == "cancel"
    ping = f"<iq type='get' to='{TYBALT}'><ping xmlns='urn:xmpp:ping'/></iq>"
    assert condition(romeo.ask(ping)) == "not-acceptable"
    for presence in (f"<presence to='{TYBALT}'/>", "<presence to='tybalt@evil.example' type='subscribe'/>"):
        romeo.send(presence)
        assert condition(romeo.next()) == "not-acceptable"
    romeo.send(f"<iq type='result' id='1' to='{TYBALT}'/>")
    assert romeo.hears_nothing()
    assert network.stranger(TYBALT).hears_nothing()
    archived = romeo.ask("<iq type='set'><query xmlns='urn:xmpp:mam:2'/></iq>")
    assert archived.find(".//{*}first") is None


# -- presence ---------------------------------------------------------------------------------------


def test_who_is_blocked_sees_the_account_leave_and_come_back(romeo: Client, network: Network) -> None:
    subscribed(network, romeo, TYBALT)
    subscribed(network, romeo, NURSE)
    tybalt = network.stranger(TYBALT)
    change(romeo, "block", "tybalt@evil.example")
    assert tybalt.receives(f"<presence type='unavailable' from='{romeo.jid}' to='tybalt@evil.example'/>")
    romeo.send("<presence><status>in love</status></presence>")
    assert tybalt.hears_nothing()
    assert network.stranger(NURSE).next().findtext("{*}status") == "in love"
    tybalt.send(f"<presence xmlns='jabber:client' to='{ROMEO}' type='probe'/>")
    assert tybalt.hears_nothing()
    change(romeo, "unblock", "tybalt@evil.example")
    assert tybalt.next().findtext("{*}status") == "in love"
    assert network.stranger(NURSE).hears_nothing()


def test_a_session_that_comes_or_goes_is_hidden_from_them(romeo: Client, network: Network) -> None:
    subscribed(network, romeo, TYBALT)
    change(romeo, "block", "evil.example")
    network.stranger(TYBALT).forget()
    romeo.close()
    garden = network.client(f"{ROMEO}/garden")  # nor is Tybalt asked whether he is there
    garden.drop()
    assert network.stranger(TYBALT).hears_nothing()


def test_who_got_presence_directly_sees_it_end(romeo: Client, network: Network) -> None:
    romeo.send(f"<presence to='{TYBALT}'/>")
    tybalt = network.stranger(TYBALT)
    tybalt.forget()
    change(romeo, "block", "evil.example")
    assert tybalt.receives(f"<presence type='unavailable' from='{romeo.jid}' to='{TYBALT}'/>")
    romeo.close()
    assert tybalt.hears_nothing()


def test_subscriptions_stay(romeo: Client, network: Network) -> None:
    subscribed(network, romeo, TYBALT)
    change(romeo, "block", "tybalt@evil.example")
    item = romeo.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")[0][0]
    assert (item.get("jid"), item.get("subscription")) == ("tybalt@evil.example", "both")


def test_who_has_never_seen_the_account_learns_nothing(romeo: Client, network: Network) -> None:
    change(romeo, "block", "tybalt@evil.example")
    change(romeo, "unblock", "tybalt@evil.example")
    assert network.stranger(TYBALT).hears_nothing()


def test_blocking_again_or_more_widely_says_no_second_goodbye(romeo: Client, network: Network) -> None:
    subscribed(network, romeo, TYBALT)
    change(romeo, "block", "tybalt@evil.example")
    network.stranger(TYBALT).forget()
    change(romeo, "block", "evil.example", "tybalt@evil.example")
    change(romeo, "unblock", "tybalt@evil.example")
    assert network.stranger(TYBALT).hears_nothing()


def test_what_is_published_is_kept_from_them(romeo: Client, network: Network) -> None:
    subscribed(network, romeo, TYBALT)
    change(romeo, "block", "evil.example")
    network.stranger(TYBALT).forget()
    mood = "<item><mood xmlns='http://jabber.org/protocol/mood'/></item>"
    published = romeo.ask(
        "<iq type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
        f"<publish node='http://jabber.org/protocol/mood'>{mood}</publish></pubsub></iq>"
    )
    assert published.get("type") == "result"
    assert network.stranger(TYBALT).hears_nothing()
