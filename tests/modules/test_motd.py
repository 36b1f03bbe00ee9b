"""The message of the day, and the welcome message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.api import AccountCreated, Refused
from jabberd.interfaces import LoginPolicy
from jabberd.modules.motd import Motd
from jabberd.modules.welcome import Welcome
from jabberd.storage import open_storage
from jabberd.testing.outcome import done
from jabberd.xmpp import ns

if TYPE_CHECKING:
    from jabberd.jsm.manager import SessionManager
    from jabberd.testing import Network
    from jabberd.testing.client import Client

ROMEO = "romeo@montague.lit"


@pytest.fixture
def manager(network: Network) -> SessionManager:
    return network.serve("montague.lit").hosts["montague.lit"].manager


@pytest.fixture
def motd(manager: SessionManager) -> Motd:
    module = manager.module("motd")
    assert isinstance(module, Motd)
    return module


@pytest.fixture
def welcome(manager: SessionManager) -> Welcome:
    module = manager.module("welcome")
    assert isinstance(module, Welcome)
    return module


def come(network: Network, jid: str, presence: str = "<presence/>") -> Client:
    client = network.client(jid, presence="")
    client.send(presence)
    return client


def told(client: Client) -> list[str]:
    """The bodies of the messages that came from the domain."""
    client.flush()
    messages = [each for each in client.heard if each.tag == f"{{{ns.CLIENT}}}message"]
    client.forget()
    assert {each.get("from") for each in messages} <= {"montague.lit"}
    return [str(each.findtext("{*}body")) for each in messages]


def test_everybody_is_told_once_now_or_when_they_come(network: Network, motd: Motd) -> None:
    romeo = come(network, f"{ROMEO}/orchard")
    assert done(motd.set("A plague on both your houses")) == "told 1 account, the others when they come"
    assert told(romeo) == ["A plague on both your houses"]
    assert told(come(network, f"{ROMEO}/phone")) == []
    for expected in (["A plague on both your houses"], []):
        benvolio = come(network, "benvolio@montague.lit/street")
        assert told(benvolio) == expected
        benvolio.close()


def test_another_message_is_told_to_all_again_a_correction_is_not(network: Network, motd: Motd) -> None:
    romeo = come(network, f"{ROMEO}/orchard")
    done(motd.set("A plague"))
    assert told(romeo) == ["A plague"]
    done(motd.edit("A plague o' both your houses"))
    assert told(romeo) == []
    assert told(come(network, "benvolio@montague.lit/street")) == ["A plague o' both your houses"]
    done(motd.set("Peace"))
    assert told(romeo) == ["Peace"]


def test_a_message_after_a_deletion_is_another_one(network: Network, motd: Motd) -> None:
    romeo = come(network, f"{ROMEO}/orchard")
    done(motd.set("A plague"))
    done(motd.delete())
    assert told(romeo) == ["A plague"]
    assert told(come(network, "benvolio@montague.lit/street")) == []
    done(motd.set("A plague"))
    assert told(romeo) == ["A plague"]


def test_who_wants_no_messages_is_told_when_they_want_some(network: Network, motd: Motd) -> None:
    shy = "<presence><priority>-1</priority></presence>"
    romeo, mercutio = come(network, f"{ROMEO}/phone", shy), network.client("mercutio@montague.lit/street", "")
    assert done(motd.set("A plague")) == "told 0 accounts, the others when they come"
    assert told(romeo) == told(mercutio) == []
    for each in (romeo, mercutio):
        each.send("<presence/>")
        assert told(each) == ["A plague"]


def test_every_session_of_an_account_is_told_that_is_there(network: Network, motd: Motd) -> None:
    both = [come(network, f"{ROMEO}/{each}") for each in ("orchard", "phone")]
    assert done(motd.set("A plague")) == "told 1 account, the others when they come"
    assert [told(each) for each in both] == [["A plague"], ["A plague"]]


def test_the_message_and_who_was_told_are_kept(network: Network, motd: Motd, manager: SessionManager) -> None:
    romeo = come(network, f"{ROMEO}/orchard")
    done(motd.set("A plague"))
    assert told(romeo) == ["A plague"]
    romeo.close()
    done(motd.stop())
    done(motd.start())
    manager.accounts.drop(ROMEO)
    assert motd.show() == "A plague"
    assert told(come(network, f"{ROMEO}/orchard")) == []
    assert told(come(network, "benvolio@montague.lit/street")) == ["A plague"]


def test_without_a_message_there_is_nothing_to_show_edit_or_delete(motd: Motd) -> None:
    missing = r"^montague\.lit has no message of the day$"
    with pytest.raises(Refused, match=missing):
        motd.show()
    for verb in (motd.edit("A plague"), motd.delete()):
        with pytest.raises(Refused, match=missing):
            done(verb)


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_message_is_refused(motd: Motd, welcome: Welcome, text: str) -> None:
    done(motd.set("A plague"))
    for verb in (motd.set, motd.edit, welcome.set):
        with pytest.raises(Refused, match=r"^an empty message"):
            done(verb(text))
    assert motd.show() == "A plague"


def test_a_guest_is_told_and_nothing_is_kept_of_it(network: Network) -> None:
    storage = open_storage("memory", None)
    server = network.serve(
        "verona.lit", policy=LoginPolicy(require_tls=False, anonymous=True), storage=storage
    )
    module = server.hosts["verona.lit"].manager.module("motd")
    assert isinstance(module, Motd)
    done(module.set("A plague"))
    guest = network.connected("verona.lit")
    guest.open()
    guest.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'>=</auth>")
    guest.forget()
    guest.open()
    guest.bind()
    guest.send("<presence/>")
    guest.flush()
    assert "A plague" in [each.findtext("{*}body") for each in guest.heard]
    guest.close()
    assert done(storage.keyed("motd-told", int).owners("verona.lit")) == []


# --- welcome -------------------------------------------------------------------------------------


def test_a_newcomer_is_welcomed_once(network: Network, welcome: Welcome, manager: SessionManager) -> None:
    done(welcome.set("Welcome, gentlemen"))
    manager.fire(AccountCreated(manager.jid.parse(ROMEO)))
    assert told(come(network, f"{ROMEO}/orchard")) == ["Welcome, gentlemen"]
    assert told(come(network, f"{ROMEO}/phone")) == []


def test_who_was_here_before_the_message_is_no_newcomer(network: Network, welcome: Welcome) -> None:
    romeo = come(network, f"{ROMEO}/orchard")
    done(welcome.set("Welcome, gentlemen"))
    assert told(romeo) == []
    assert told(come(network, f"{ROMEO}/phone")) == []


def test_who_was_made_before_the_message_and_comes_after_it_is_welcomed(
    network: Network, welcome: Welcome, manager: SessionManager
) -> None:
    manager.fire(AccountCreated(manager.jid.parse(ROMEO)))
    done(welcome.set("Welcome, gentlemen"))
    assert told(come(network, f"{ROMEO}/orchard")) == ["Welcome, gentlemen"]


def test_who_came_while_there_was_no_message_is_a_newcomer_no_more(
    network: Network, welcome: Welcome, manager: SessionManager
) -> None:
    manager.fire(AccountCreated(manager.jid.parse(ROMEO)))
    come(network, f"{ROMEO}/orchard").close()
    done(welcome.set("Welcome, gentlemen"))
    assert told(come(network, f"{ROMEO}/orchard")) == []


def test_the_welcome_message_is_kept_until_it_is_deleted(welcome: Welcome) -> None:
    done(welcome.set("Welcome, gentlemen"))
    done(welcome.start())
    assert welcome.show() == "Welcome, gentlemen"
    assert done(welcome.delete()) == "the welcome message is deleted"
    done(welcome.start())
    missing = r"^montague\.lit has no welcome message$"
    with pytest.raises(Refused, match=missing):
        welcome.show()
    with pytest.raises(Refused, match=missing):
        done(welcome.delete())
