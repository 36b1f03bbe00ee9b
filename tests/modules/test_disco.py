"""XEP-0030."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred, succeed

from jabberd.interfaces import neighbours
from jabberd.loader import LoadError, module_class
from jabberd.modules.disco import page_of
from jabberd.operating.change import Change
from jabberd.testing.outcome import done
from jabberd.xmpp.rsm import PageWanted
from tests.rehearsal import Player, Rehearsal

if TYPE_CHECKING:
    from jabberd.testing import Network

INFO = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"


def ask(client: Player, to: str, namespace: str, node: str = "") -> bytes:
    given = f" node='{node}'" if node else ""
    return client.ask(f"<iq type='get' to='{to}'><query xmlns='{namespace}'{given}/></iq>").payload


def test_the_domain_is_a_server_with_the_features_of_its_modules() -> None:
    with Rehearsal({"disco": {"name": "House of Montague"}, "ping": {}, "offline": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        assert ask(romeo, "montague.lit", INFO).decode() == (
            f"<query xmlns='{INFO}'>"
            "<identity category='server' type='im' name='House of Montague'/>"
            f"<feature var='{INFO}'/>"
            f"<feature var='{ITEMS}'/>"
            "<feature var='msgoffline'/>"
            "<feature var='urn:xmpp:ping'/>"
            "</query>"
        )


def test_it_has_the_services_that_were_configured() -> None:
    items = {"rooms.montague.lit": "Rooms", "irc.montague.lit": "IRC"}
    with Rehearsal({"disco": {"items": items}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        assert ask(romeo, "montague.lit", ITEMS).decode() == (
            f"<query xmlns='{ITEMS}'>"
            "<item jid='rooms.montague.lit' name='Rooms'/><item jid='irc.montague.lit' name='IRC'/></query>"
        )


def test_it_has_no_items_by_default() -> None:
    with Rehearsal({"disco": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        assert ask(romeo, "montague.lit", ITEMS).decode() == f"<query xmlns='{ITEMS}'/>"


def test_an_item_that_is_no_domain_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(LoadError, match=r"disco: its setting items.*romeo"):
        Rehearsal({"disco": {"items": {"romeo@montague.lit": "Romeo"}}})


def test_an_account_is_registered_and_has_the_features_of_accounts() -> None:
    with Rehearsal({"disco": {}, "ping": {}, "version": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        assert ask(romeo, "romeo@montague.lit", INFO).decode() == (
            f"<query xmlns='{INFO}'><identity category='account' type='registered'/>"
            f"<feature var='{INFO}'/><feature var='{ITEMS}'/><feature var='urn:xmpp:ping'/></query>"
        )


def test_an_anonymous_account_says_so() -> None:
    with Rehearsal({"disco": {}}) as stage:
        client = stage.let_in()
        assert b"<identity category='account' type='anonymous'/>" in ask(
            client, client.session.jid.bare, INFO
        )


def test_the_items_of_an_account_are_its_available_resources() -> None:
    with Rehearsal({"disco": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        stage.login("romeo@montague.lit/phone")  # sends no presence
        romeo.say("<presence/>")
        assert ask(romeo, "romeo@montague.lit", ITEMS).decode() == (
            f"<query xmlns='{ITEMS}'><item jid='romeo@montague.lit/orchard'/></query>"
        )


@pytest.mark.parametrize("namespace", [INFO, ITEMS])
@pytest.mark.parametrize("node", ["", "http://jabber.org/protocol/commands"])
def test_a_stranger_cannot_tell_an_account_from_none(namespace: str, node: str) -> None:
    with Rehearsal({"disco": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        stage.create("benvolio@montague.lit")
        answer = ask(romeo, "benvolio@montague.lit", namespace, node)
        if namespace == INFO:
            assert b"<service-unavailable" in answer
        else:
            mirrored = f" node='{node}'" if node else ""
            assert answer.decode() == f"<query xmlns='{ITEMS}'{mirrored}/>"
        assert answer == ask(romeo, "nobody@montague.lit", namespace, node)


def test_of_the_items_of_a_resource_a_stranger_learns_nothing() -> None:
    with Rehearsal({"disco": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        stage.login("benvolio@montague.lit/street").say("<presence/>")
        for full in ("benvolio@montague.lit/street", "benvolio@montague.lit/x", "nobody@montague.lit/x"):
            assert b"<service-unavailable" in ask(romeo, full, ITEMS)


def test_a_subscriber_is_told_about_the_account() -> None:
    with Rehearsal({"disco": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        stage.receive("<presence type='subscribe' from='juliet@capulet.lit' to='romeo@montague.lit'/>")
        romeo.say("<presence type='subscribed' to='juliet@capulet.lit'/>")
        stage.abroad.clear()
        stage.receive(
            "<iq type='get' id='info2' from='juliet@capulet.lit/balcony' to='romeo@montague.lit'>"
            f"<query xmlns='{INFO}'/></iq>"
        )
        assert b"category='account'" in stage.abroad[0].payload


@pytest.mark.parametrize("to", ["montague.lit", "romeo@montague.lit"])
@pytest.mark.parametrize("namespace", [INFO, ITEMS])
def test_a_node_that_nobody_knows_is_not_found(namespace: str, to: str) -> None:
    with Rehearsal({"disco": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        assert b"<item-not-found" in ask(romeo, to, namespace, "urn:example:nowhere")


def test_modules_that_come_and_go_are_asked_for_their_nodes_while_they_are_there(network: Network) -> None:
    def knows_commands() -> bool:
        node = "http://jabber.org/protocol/commands"
        told = romeo.ask(f"<iq type='get' to='montague.lit'><query xmlns='{INFO}' node='{node}'/></iq>")
        return told.get("type") == "result"

    def change(*names: str) -> None:
        change = Change(host, {name: module_class(name).Config() for name in names})
        done(change.start())
        change.commit()
        done(change.finish())

    host = network.serve("montague.lit", modules={"disco": {}}).hosts["montague.lit"]
    romeo = network.client("romeo@montague.lit/orchard")
    assert not knows_commands()
    change("disco", "commands")
    assert knows_commands()
    change("disco")
    assert not knows_commands()


def test_a_node_without_a_name_is_none_and_is_mirrored() -> None:
    with Rehearsal({"disco": {}}) as stage:
        romeo = stage.login("romeo@montague.lit/orchard")
        answer = romeo.ask(f"<iq type='get' to='montague.lit'><query xmlns='{ITEMS}' node=''/></iq>")
        assert answer.payload.decode() == f"<query xmlns='{ITEMS}' node=''/>"


@pytest.mark.parametrize("last", [False, True])
def test_a_small_page_of_what_is_mostly_hidden_is_found_in_few_steps(*, last: bool) -> None:
    kept = {f"n{number:04}": number in (2500, 2501) for number in range(5000)}
    read: list[int] = []

    def some(*, after: str, before: str, limit: int, last: bool) -> Deferred[dict[str, bool]]:
        found = neighbours(kept, after, before, limit, last=last)
        read.append(len(found))
        return succeed(found)

    page = PageWanted(most=1, last=last)
    rows, more = done(page_of(some, bool, page, 500))
    assert ([name for name, _ in rows], more) == (["n2501" if last else "n2500"], True)
    assert len(read) < 15
    assert max(read) <= 1000
