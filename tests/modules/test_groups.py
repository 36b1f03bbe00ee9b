"""Shared contact groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.admin import Admin
from jabberd.api import Refused
from jabberd.hosting import verb_groups
from jabberd.testing import Network
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.testing.client import Client

ROMEO, BENVOLIO, MERCUTIO = (f"{name}@montague.lit" for name in ("romeo", "benvolio", "mercutio"))
ROSTER = "<iq type='get'><query xmlns='jabber:iq:roster'/></iq>"


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.serve("montague.lit", modules={"groups": {"limit": 3}, "offline": {}})
    yield network
    network.close()


def groups(network: Network, *words: str) -> Any:
    return operate(network, "groups", *words)


def operate(network: Network, *words: str) -> Any:
    answer = done(Admin(lambda: verb_groups(network.server("montague.lit").hosts)).run([*words], {}))
    network.flush()
    return answer


def roster(client: Client) -> dict[str, tuple[str, str, list[str]]]:
    """By contact: the name, the subscription and the groups."""
    return {
        item.get("jid", ""): (item.get("name", ""), item.get("subscription", ""), [str(g.text) for g in item])
        for item in client.ask(ROSTER)[0]
    }


def together(network: Network) -> tuple[Client, Client]:
    """Two who are online, have asked for their rosters, and were put into a class."""
    clients = network.client(f"{ROMEO}/orchard"), network.client(f"{BENVOLIO}/street")
    for client in clients:
        client.ask(ROSTER)
        assert groups(network, "add", client.jid.bare, "class 7b").startswith(
            f"{client.jid.bare} is in class 7b"
        )
    return clients


def test_members_are_in_each_others_rosters_and_see_each_other_at_once(network: Network) -> None:
    romeo, benvolio = together(network)
    assert romeo.receives(
        "<iq type='set' id='*' to='romeo@montague.lit/orchard'><query xmlns='jabber:iq:roster' ver='*'>"
        "<item jid='benvolio@montague.lit' name='benvolio' subscription='both'><group>class 7b</group></item>"
        "</query></iq>",
        f"<presence from='{BENVOLIO}/street' to='{ROMEO}'/>",
    )
    assert romeo.hears_nothing()
    benvolio.forget()
    assert roster(benvolio) == {ROMEO: ("romeo", "both", ["class 7b"])}
    romeo.send("<presence><show>away</show></presence>")
    assert benvolio.next().findtext("{jabber:client}show") == "away"


def test_groups_are_listed_and_who_is_added_twice_is_in_once(network: Network) -> None:
    together(network)
    groups(network, "add", ROMEO, "actors")
    assert groups(network, "add", ROMEO, "class 7b") == f"{ROMEO} is in class 7b, with 1 others"
    assert groups(network, "list", "montague.lit") == [
        {"group": "actors", "members": [ROMEO]},
        {"group": "class 7b", "members": [ROMEO, BENVOLIO]},
    ]


def test_a_contact_keeps_its_name_and_its_own_groups(network: Network) -> None:
    romeo = network.client(f"{ROMEO}/orchard")
    romeo.ask(
        "<iq type='set'><query xmlns='jabber:iq:roster'><item jid='benvolio@montague.lit' name='Ben'>"
        "<group>friends</group></item></query></iq>"
    )
    romeo, _ = together(network)
    romeo.forget()
    assert roster(romeo) == {BENVOLIO: ("Ben", "both", ["friends", "class 7b"])}
    groups(network, "remove", BENVOLIO, "class 7b")
    romeo.forget()
    assert roster(romeo) == {BENVOLIO: ("Ben", "both", ["friends"])}


def test_who_is_taken_out_is_out_of_the_rosters_and_out_of_sight(network: Network) -> None:
    romeo, benvolio = together(network)
    romeo.forget()
    benvolio.forget()
    assert groups(network, "remove", BENVOLIO, "class 7b") == f"{BENVOLIO} is no longer in class 7b"
    unseen = [each.get("type") for each in romeo.heard if str(each.tag).endswith("presence")]
    assert unseen == ["unavailable"]
    romeo.forget()
    benvolio.forget()
    assert (roster(romeo), roster(benvolio)) == ({}, {})
    benvolio.send("<presence><show>dnd</show></presence>")
    assert romeo.hears_nothing()
    with pytest.raises(Refused, match=r"^benvolio@montague\.lit is not in class 7b$"):
        groups(network, "remove", BENVOLIO, "class 7b")
    groups(network, "remove", ROMEO, "class 7b")
    assert groups(network, "list", "montague.lit") == []


def test_a_deleted_account_is_in_no_group(network: Network) -> None:
    romeo, _ = together(network)
    operate(network, "accounts", "delete", BENVOLIO)
    assert groups(network, "list", "montague.lit") == [{"group": "class 7b", "members": [ROMEO]}]
    romeo.forget()
    network.client(f"{BENVOLIO}/street")
    assert roster(romeo) == {}


def test_who_is_a_contact_in_another_group_as_well_stays_one_when_the_account_is_deleted(
    network: Network,
) -> None:
    romeo, _ = together(network)
    item = f"<item jid='{BENVOLIO}'><group>class 7b</group><group>friends</group></item>"
    romeo.ask(f"<iq type='set'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
    operate(network, "accounts", "delete", BENVOLIO)
    assert roster(romeo)[BENVOLIO][1:] == ("none", ["friends"])


def test_a_group_has_a_limit_and_a_name_and_members_that_exist(network: Network) -> None:
    together(network)
    for name in ("mercutio", "paris"):
        network.client(f"{name}@montague.lit/street")
    groups(network, "add", MERCUTIO, "class 7b")
    for words, said in (
        (("paris@montague.lit", "class 7b"), "class 7b has 3 members already"),
        (("nobody@montague.lit", "class 7b"), "there is no account nobody@montague.lit"),
        ((ROMEO, " "), "a group's name has between 1 and 200 characters"),
    ):
        with pytest.raises(Refused, match=said):
            groups(network, "add", *words)
