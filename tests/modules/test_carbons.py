"""XEP-0280."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.client import condition

if TYPE_CHECKING:
    from jabberd.testing import Client, Network

ROMEO = "romeo@montague.lit"
JULIET = "juliet@capulet.lit/balcony"
COPIES = "<iq type='set'><{} xmlns='urn:xmpp:carbons:2'/></iq>"
BODY = "<body>What man art thou?</body>"
TYPING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"


@pytest.fixture(autouse=True)
def stage(network: Network) -> None:
    network.serve("montague.lit", modules={"carbons": {}, "disco": {}, "offline": {}})
    network.stranger(JULIET)


def enter(network: Network, resource: str, priority: int = 0, *, copies: bool = True) -> Client:
    client = network.client(
        f"{ROMEO}/{resource}", presence=f"<presence><priority>{priority}</priority></presence>"
    )
    if copies:
        assert client.ask(COPIES.format("enable")).get("type") == "result"
    return client


def forget(*clients: Client) -> None:
    for client in clients:
        client.forget()


def copied(direction: str, to: Client, message: str, type: str = "chat") -> str:
    typed = f" type='{type}'" if type else ""
    message = message.replace("<message type", "<message xmlns='jabber:client' type", 1)
    return (
        f"<message from='{ROMEO}' to='{to.jid}'{typed}><{direction} xmlns='urn:xmpp:carbons:2'>"
        f"<forwarded xmlns='urn:xmpp:forward:0'>{message}</forwarded></{direction}></message>"
    )


def from_juliet(to: str, inside: str = BODY, type: str = "chat") -> str:
    typed = f" type='{type}'" if type else ""
    return f"<message xmlns='jabber:client'{typed} to='{to}' from='{JULIET}'>{inside}</message>"


def test_what_one_client_gets_the_others_see(network: Network) -> None:
    home, garden = enter(network, "home"), enter(network, "garden")
    forget(home, garden)
    message = from_juliet(home.jid)
    network.stranger(JULIET).send(message)
    assert home.receives(message)
    assert garden.receives(copied("received", garden, message))
    assert home.hears_nothing()


def test_what_all_get_is_not_copied(network: Network) -> None:
    home, garden, low = enter(network, "home"), enter(network, "garden"), enter(network, "low", -1)
    forget(home, garden)
    message = from_juliet(ROMEO)
    network.stranger(JULIET).send(message)
    assert home.receives(message)
    assert garden.receives(message)
    low.forget()
    assert home.hears_nothing()
    assert garden.hears_nothing()


def test_one_who_gets_no_messages_for_the_bare_address_gets_the_copy(network: Network) -> None:
    home, low = enter(network, "home"), enter(network, "low", -1)
    forget(home, low)
    message = from_juliet(ROMEO)
    network.stranger(JULIET).send(message)
    assert low.receives(copied("received", low, message))


def test_what_one_client_says_the_others_see(network: Network) -> None:
    home, garden = enter(network, "home", copies=False), enter(network, "garden")
    forget(home, garden)
    home.send(f"<message type='chat' to='{JULIET}'>{BODY}</message>")
    said = f"<message type='chat' to='{JULIET}' from='{home.jid}'>{BODY}</message>"
    assert network.stranger(JULIET).receives(said)
    assert garden.receives(copied("sent", garden, said))
    assert home.hears_nothing()


def test_who_did_not_ask_or_asks_no_more_gets_no_copies(network: Network) -> None:
    home, garden, cell = (
        enter(network, "home"),
        enter(network, "garden", copies=False),
        enter(network, "cell"),
    )
    for _ in range(2):
        assert cell.ask(COPIES.format("enable")).get("type") == "result"
    for _ in range(2):
        assert cell.ask(COPIES.format("disable")).get("type") == "result"
    forget(home, garden, cell)
    network.stranger(JULIET).send(from_juliet(home.jid))
    assert garden.hears_nothing()
    assert cell.hears_nothing()


@pytest.mark.parametrize(
    ("type", "inside", "seen"),
    [
        ("chat", TYPING, True),
        ("", BODY, True),
        ("normal", "<received xmlns='urn:xmpp:receipts' id='1'/>", True),
        ("normal", "<odd xmlns='urn:example:odd'/>", False),
        ("headline", BODY, False),
        ("groupchat", BODY, False),
        ("error", BODY, False),
        ("chat", BODY + "<private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/>", False),
        ("chat", BODY + "<no-copy xmlns='urn:xmpp:hints'/>", False),
        ("chat", BODY + "<x xmlns='http://jabber.org/protocol/muc#user'/>", False),
        ("normal", "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b.c'/></x>", True),
        ("normal", "<x xmlns='jabber:x:conference' jid='hall@rooms.example'/>", True),
        ("chat", BODY + "<received xmlns='urn:xmpp:carbons:2'/>", False),
    ],
)
def test_what_is_copied(network: Network, type: str, inside: str, seen: bool) -> None:
    home, garden = enter(network, "home"), enter(network, "garden")
    forget(home, garden)
    message = from_juliet(home.jid, inside, type)
    network.stranger(JULIET).send(message)
    assert home.receives(message)
    assert garden.hears_nothing() if not seen else garden.receives(copied("received", garden, message, type))


def test_a_private_word_to_somebody_in_a_room_is_seen_where_it_was_not_said(network: Network) -> None:
    home, garden = enter(network, "home"), enter(network, "garden")
    forget(home, garden)
    inside = BODY + "<x xmlns='http://jabber.org/protocol/muc#user'/>"
    home.send(f"<message type='chat' to='{JULIET}'>{inside}</message>")
    said = f"<message type='chat' to='{JULIET}' from='{home.jid}'>{inside}</message>"
    assert garden.receives(copied("sent", garden, said))


def test_what_an_account_says_to_itself_reaches_each_client_once(network: Network) -> None:
    home, garden, cell = enter(network, "home"), enter(network, "garden"), enter(network, "cell")
    forget(home, garden, cell)
    home.send(f"<message type='chat' to='{ROMEO}'>{BODY}</message>")
    said = f"<message type='chat' to='{ROMEO}' from='{home.jid}'>{BODY}</message>"
    for client in (home, garden, cell):
        assert client.receives(said)
        assert client.hears_nothing()
    home.send(f"<message type='chat' to='{garden.jid}'>{BODY}</message>")
    said = f"<message type='chat' to='{garden.jid}' from='{home.jid}'>{BODY}</message>"
    assert garden.receives(said)
    assert cell.receives(copied("received", cell, said))
    assert home.hears_nothing()


def test_a_copy_that_bounces_troubles_nobody(network: Network) -> None:
    home, garden = enter(network, "home"), enter(network, "garden")
    network.stranger(JULIET).send(from_juliet(home.jid))
    forget(home, garden)
    garden.send(f"<message type='error' to='{ROMEO}' from='{garden.jid}'/>")
    assert network.stranger(JULIET).hears_nothing()
    assert home.hears_nothing()


def test_a_forged_copy_comes_with_its_true_sender(network: Network) -> None:
    home, garden = enter(network, "home"), enter(network, "garden")
    forget(home, garden)
    forged = copied("received", home, from_juliet(home.jid)).replace(f"from='{ROMEO}'", f"from='{JULIET}'")
    network.stranger(JULIET).send(forged.replace("<message", "<message xmlns='jabber:client'", 1))
    assert home.receives(forged)
    assert garden.hears_nothing()


def test_nobody_else_asks_for_copies(network: Network) -> None:
    tybalt = network.stranger("tybalt@evil.example/alley")
    tybalt.send(
        f"<iq xmlns='jabber:client' id='1' type='set' to='{ROMEO}'><enable xmlns='urn:xmpp:carbons:2'/></iq>"
    )
    assert condition(tybalt.next()) == "service-unavailable"


def test_a_client_that_left_and_came_back_asks_anew(network: Network) -> None:
    home, garden = enter(network, "home"), enter(network, "garden")
    garden.drop()
    garden = enter(network, "garden", copies=False)
    forget(home, garden)
    network.stranger(JULIET).send(from_juliet(home.jid))
    assert garden.hears_nothing()


def test_an_error_goes_where_the_copy_of_its_message_went_and_no_other_does(network: Network) -> None:
    """§6.1: errors in response to what was eligible."""
    home, garden = enter(network, "home"), enter(network, "garden")
    tower = enter(network, "tower", copies=False)
    home.send(f"<message to='{JULIET}' type='chat' id='m1'>{BODY}</message>")
    home.send(f"<message to='{JULIET}' type='headline' id='m2'>{BODY}</message>")
    forget(home, garden, tower)
    error = "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    bounce = from_juliet(home.jid, error, "error").replace("<message ", "<message id='{}' ", 1)
    for id, sender in (("m2", JULIET), ("m3", JULIET), ("m1", "nurse@capulet.lit/gate")):
        network.stranger(sender).send(bounce.format(id).replace(JULIET, sender))
    home.forget()
    assert garden.hears_nothing()
    network.stranger(JULIET).send(bounce.format("m1"))
    assert home.receives(bounce.format("m1"))
    assert garden.receives(copied("received", garden, bounce.format("m1"), "error"))
    assert tower.hears_nothing()


def test_what_the_last_messages_were_is_forgotten_with_the_session(network: Network) -> None:
    home = enter(network, "home")
    enter(network, "garden")
    home.send(f"<message to='{JULIET}' type='chat' id='m1'>{BODY}</message>")
    module = network.server("montague.lit").hosts["montague.lit"].manager.module("carbons")
    assert len(module._copied) == 1  # type: ignore[attr-defined]
    home.drop()
    assert module._copied == {}  # type: ignore[attr-defined]


def test_of_the_last_messages_long_ids_take_no_memory(network: Network) -> None:
    home = enter(network, "home")
    enter(network, "garden")
    home.send(f"<message to='{JULIET}' type='chat' id='{'m' * 9000}'>{BODY}</message>")
    module = network.server("montague.lit").hosts["montague.lit"].manager.module("carbons")
    [copied] = module._copied.values()  # type: ignore[attr-defined]
    assert len(copied) == 1
    assert len(repr(copied)) < 1000


def test_a_copy_that_its_client_did_not_take_goes_to_nobody_who_has_the_message(network: Network) -> None:
    network.serve("mantua.lit", modules={"carbons": {}, "sm": {}, "offline": {}})
    home, garden = (network.client(f"romeo@mantua.lit/{place}") for place in ("home", "garden"))
    garden.ask(COPIES.format("enable"))
    garden.send("<enable xmlns='urn:xmpp:sm:3'/>")
    home.forget()
    home.send(f"<message type='chat' to='{JULIET}'>{BODY}</message>")
    network.stranger(JULIET).send(message := from_juliet(home.jid))
    assert home.receives(message)
    garden.drop()
    assert home.next().tag == "{jabber:client}presence"
    assert home.hears_nothing()


def test_a_copy_that_its_client_did_not_take_waits_where_nobody_has_the_message(network: Network) -> None:
    network.serve("mantua.lit", modules={"carbons": {}, "sm": {}, "offline": {}})
    home, garden = (network.client(f"romeo@mantua.lit/{place}") for place in ("home", "garden"))
    garden.ask(COPIES.format("enable"))
    garden.send("<enable xmlns='urn:xmpp:sm:3'/>")
    home.send(f"<message type='chat' to='{JULIET}'>{BODY}</message>")
    home.close()
    garden.drop()
    back = network.client("romeo@mantua.lit/garden", presence="")
    back.send("<presence/>")
    assert [each.findtext(".//{*}body") for each in back.heard if each.find(".//{*}body") is not None] == [
        "What man art thou?"
    ]
