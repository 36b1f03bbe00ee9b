"""Who is told that a resource is there, has changed, is gone (RFC 6121 §4), and rows C10, C12."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.api import BecameAvailable, BecameUnavailable, Module, on
from jabberd.jsm.limits import Limits
from jabberd.rates import Rate
from jabberd.testing.client import condition
from jabberd.xmpp.jid import JID
from tests.jsm.conftest import befriend

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.testing import Client, Network
    from jabberd.testing.client import Hearer
    from jabberd.testing.server import Server

AWAY = "<show>away</show><status>at Friar Laurence's cell</status>"


def shown(sender: Client | str, to: Client | str, inside: str = "", type: str = "") -> str:
    """Presence of a full JID to a bare one."""
    sender = sender if isinstance(sender, str) else sender.jid
    to = to if isinstance(to, str) else to.jid.bare
    type = type and f"type='{type}'"
    return f"<presence {type} from='{sender}' to='{to}'>{inside}</presence>"


@pytest.fixture
def friends(romeo: Client, juliet: Client) -> tuple[Client, Client]:
    befriend(romeo, juliet)
    return romeo, juliet


# --- presence that is broadcast -------------------------------------------------------------------


@pytest.mark.rfc6121("4.2.2-1", "4.2.2-2", "4.2.3-1")
def test_initial_presence_goes_to_subscribers_and_to_ones_own_resources(
    friends: tuple[Client, Client], network: Network
) -> None:
    romeo, juliet = friends
    stranger = network.client("tybalt@capulet.lit/street")
    street = network.client("romeo@montague.lit/street", presence="")
    romeo.forget()
    street.send(f"<presence>{AWAY}</presence>")
    assert romeo.receives(
        shown(street, romeo, AWAY), shown(juliet, romeo)
    )  # hers is for all of his resources
    assert juliet.receives(shown(street, juliet, AWAY))
    assert street.receives(
        shown(street, romeo, AWAY), f"<presence from='{romeo.jid}' to='{street.jid}'/>", shown(juliet, romeo)
    )
    for client in (romeo, juliet, street, stranger):
        assert client.hears_nothing()


@pytest.mark.rfc6121("4.4.2-1", "4.4.2-2")
def test_an_update_goes_where_the_first_one_went_and_asks_nobody(friends: tuple[Client, Client]) -> None:
    romeo, juliet = friends
    romeo.send(f"<presence id='p1'>{AWAY}</presence>")
    expected = shown(romeo, "{}", AWAY).replace("<presence ", "<presence id='p1' ")
    assert juliet.receives(expected.format("juliet@capulet.lit"))
    assert romeo.receives(expected.format("romeo@montague.lit"))
    assert romeo.hears_nothing()


@pytest.mark.rfc6121("11-3")
def test_who_only_subscribed_himself_shows_nothing(romeo: Client, juliet: Client) -> None:
    romeo.send("<presence type='subscribe' to='juliet@capulet.lit'/>")
    juliet.send("<presence type='subscribed' to='romeo@montague.lit'/>")
    romeo.forget()
    juliet.forget()
    romeo.send(f"<presence>{AWAY}</presence>")
    assert juliet.hears_nothing()
    juliet.send(f"<presence>{AWAY}</presence>")
    romeo.next()
    assert romeo.receives(shown(juliet, romeo, AWAY))


@pytest.mark.rfc6121("4.5.2-2", "4.5.2-3", "4.5.2-4")
def test_goodbye_is_told_to_who_was_told_the_beginning(
    friends: tuple[Client, Client], network: Network
) -> None:
    romeo, juliet = friends
    street = network.client("romeo@montague.lit/street")
    for client in (romeo, juliet, street):
        client.forget()
    street.send("<presence type='unavailable'><status>adieu</status></presence>")
    goodbye = shown(street, "{}", "<status>adieu</status>", "unavailable")
    for client in (romeo, juliet, street):
        assert client.receives(goodbye.format(client.jid.bare))
    street.close()
    for client in (romeo, juliet, street):
        assert client.hears_nothing()


@pytest.mark.rfc6121("4.5.2-1")
@pytest.mark.parametrize("end", ["close", "drop"])
def test_a_lost_connection_is_a_goodbye(friends: tuple[Client, Client], end: str) -> None:
    romeo, juliet = friends
    getattr(romeo, end)()
    assert juliet.receives(shown(romeo, juliet, type="unavailable"))
    assert juliet.hears_nothing()


def test_a_session_that_was_never_available_says_no_goodbye(
    friends: tuple[Client, Client], network: Network
) -> None:
    _, juliet = friends
    silent = network.client("romeo@montague.lit/silent", presence="")
    silent.send("<presence type='unavailable'/>")
    silent.close()
    assert juliet.hears_nothing()


@pytest.mark.rfc6121("8.5.2.1.2-1")
def test_presence_to_the_bare_jid_reaches_negative_priorities_too(juliet: Client, network: Network) -> None:
    tomb = network.client(
        "romeo@montague.lit/tomb", presence="<presence><priority>-128</priority></presence>"
    )
    connected = network.client("romeo@montague.lit/silent", presence="")
    juliet.send("<presence to='romeo@montague.lit'/>")
    assert tomb.receives(shown(juliet, "romeo@montague.lit"))
    assert connected.hears_nothing()


@pytest.mark.rfc6121("4.7.2.3-1")
@pytest.mark.parametrize("priority", ["128", "-129", "high", "", "1.5", "²", "+-1", "9" * 5000])
def test_a_priority_that_cannot_be_is_a_bad_request_and_changes_nothing(
    friends: tuple[Client, Client], priority: str
) -> None:
    romeo, juliet = friends
    romeo.send(f"<presence id='p1'><priority>{priority}</priority></presence>")
    assert condition(romeo.next()) == "bad-request"
    assert juliet.hears_nothing()
    juliet.send("<message to='romeo@montague.lit' id='m1'/>")
    assert romeo.next().get("id") == "m1"


@pytest.mark.rfc6121("4.7.2.3-1")
@pytest.mark.parametrize("priority", ["127", "-128", " 5 ", "+1", "00"])
def test_a_priority_that_can_be_is_taken(romeo: Client, priority: str) -> None:
    romeo.send(f"<presence><priority>{priority}</priority></presence>")
    assert romeo.receives(shown(romeo, romeo, f"<priority>{priority}</priority>"))


@pytest.mark.parametrize("to", ["", "to='juliet@capulet.lit'", "to='nurse@verona.lit'"])
def test_a_type_that_nobody_defined_is_a_bad_request(
    romeo: Client, juliet: Client, network: Network, to: str
) -> None:
    nurse = network.stranger("nurse@verona.lit")
    romeo.send(f"<presence type='invisible' id='p1' {to}/>")
    assert condition(romeo.next()) == "bad-request"
    assert juliet.hears_nothing()
    assert nurse.hears_nothing()


def test_errors_and_probes_for_nobody_are_forgotten(romeo: Client, juliet: Client) -> None:
    romeo.send("<presence type='error'/><presence type='probe'/>")
    assert romeo.hears_nothing()


# --- events ---------------------------------------------------------------------------------------


class Diary(Module):
    """Writes down who can be reached."""

    entries: list[str]

    async def start(self) -> None:
        """Begin anew."""
        type(self).entries = []

    @on(BecameAvailable)
    def available(self, event: BecameAvailable) -> None:
        """Somebody can."""
        self.entries.append(f"{event.session.priority}")

    @on(BecameUnavailable)
    def unavailable(self, event: BecameUnavailable) -> None:
        """Somebody cannot."""
        self.entries.append(f"gone {event.status}".rstrip())


def test_a_module_learns_when_a_session_can_be_sent_messages(network: Network) -> None:
    network.serve("montague.lit", modules={"diary": {}}, classes={"diary": Diary})
    romeo = network.client("romeo@montague.lit/orchard", presence="")
    for priority in (-1, -2, 0, 5, -1, 7):
        romeo.send(f"<presence><priority>{priority}</priority></presence>")
    romeo.send("<presence type='unavailable'><status>adieu</status></presence>")
    romeo.send("<presence/>")
    romeo.drop()
    assert Diary.entries == ["0", "7", "gone adieu", "0", "gone"]


# --- directed presence ----------------------------------------------------------------------------


@pytest.mark.rfc6121("4.6.3-2", "4.6.3-3")
def test_who_got_directed_presence_learns_of_the_end_once(romeo: Client, juliet: Client) -> None:
    romeo.send(f"<presence to='juliet@capulet.lit'>{AWAY}</presence>")
    assert juliet.receives(shown(romeo, juliet, AWAY))
    romeo.send("<presence/>")
    assert juliet.hears_nothing()  # no broadcast
    romeo.close()
    assert juliet.receives(shown(romeo, juliet, type="unavailable"))
    assert juliet.hears_nothing()


@pytest.mark.rfc6121("4.6.1-2", "4.6.3-3")
def test_who_was_told_of_the_end_directly_is_not_told_again(romeo: Client, juliet: Client) -> None:
    romeo.send("<presence to='juliet@capulet.lit'/>")
    romeo.send("<presence to='juliet@capulet.lit' type='unavailable'/>")
    juliet.forget()
    romeo.close()
    assert juliet.hears_nothing()


@pytest.mark.parametrize("type", ["unavailable", "error"])
def test_who_left_by_himself_is_not_told_at_all(romeo: Client, network: Network, type: str) -> None:
    room = network.stranger("hall@rooms.verona.lit/romeo")
    romeo.send("<presence to='hall@rooms.verona.lit/romeo'/>")
    room.forget()
    room.send(f"<presence type='{type}' to='romeo@montague.lit/orchard'/>")
    romeo.close()
    assert room.hears_nothing()


@pytest.mark.rfc6121("4.6.3-1")
def test_a_subscriber_gets_broadcast_and_direct_presence_and_one_goodbye(
    friends: tuple[Client, Client],
) -> None:
    romeo, juliet = friends
    romeo.send(f"<presence to='juliet@capulet.lit'>{AWAY}</presence>")
    assert juliet.receives(shown(romeo, juliet, AWAY))
    romeo.close()
    assert juliet.receives(shown(romeo, juliet, type="unavailable"))
    assert juliet.hears_nothing()


@pytest.mark.rfc6121("4.6.3-4")
def test_a_subscriber_who_got_nothing_but_direct_presence_learns_of_the_end(
    friends: tuple[Client, Client], network: Network
) -> None:
    _, juliet = friends
    silent = network.client("romeo@montague.lit/silent", presence="")  # §4.6.3, rule 3
    silent.send("<presence to='juliet@capulet.lit'/>")
    assert juliet.receives(shown(silent, juliet))
    silent.close()
    assert juliet.receives(shown(silent, juliet, type="unavailable"))


def test_c12_directed_presence_has_a_limit(network: Network) -> None:
    network.serve("montague.lit", "capulet.lit", limits=Limits(directed=3), modules={})
    romeo = network.client("romeo@montague.lit/orchard")
    juliet = network.client("juliet@capulet.lit/balcony")
    for number in range(3):
        romeo.send(f"<presence to='juliet@capulet.lit/{number}'/>")
    assert romeo.hears_nothing()
    romeo.send("<presence to='juliet@capulet.lit' id='p1'/>")
    assert condition(romeo.next()) == "resource-constraint"
    romeo.send("<presence to='juliet@capulet.lit/0'/>")  # again
    assert romeo.hears_nothing()
    romeo.send("<presence to='juliet@capulet.lit/0' type='unavailable'/><presence to='juliet@capulet.lit'/>")
    assert romeo.hears_nothing()
    assert juliet.receives(shown(romeo, juliet))


# --- probes ---------------------------------------------------------------------------------------


@pytest.fixture
def nurse(romeo: Client, network: Network) -> Hearer:
    """Somebody elsewhere who may see romeo's presence."""
    nurse = network.stranger("nurse@verona.lit/kitchen")
    nurse.send("<presence type='subscribe' from='nurse@verona.lit' to='romeo@montague.lit'/>")
    romeo.send("<presence type='subscribed' to='nurse@verona.lit'/>")
    nurse.forget()
    romeo.forget()
    return nurse


@pytest.mark.rfc6121("4.3.2-3", "4.6.6-1")
def test_a_subscriber_who_probes_sees_every_available_resource(
    romeo: Client, nurse: Hearer, network: Network
) -> None:
    network.client("romeo@montague.lit/street", presence=f"<presence id='x'>{AWAY}</presence>")
    network.client("romeo@montague.lit/silent", presence="")
    nurse.forget()
    network.stranger("nurse@verona.lit").send("<presence type='probe' id='p1' to='romeo@montague.lit'/>")
    assert nurse.receives(
        "<presence from='romeo@montague.lit/orchard' to='nurse@verona.lit'/>",
        f"<presence id='x' from='romeo@montague.lit/street' to='nurse@verona.lit'>{AWAY}</presence>",
    )
    assert nurse.hears_nothing()


def test_a_subscriber_who_probes_somebody_absent_is_told_so(
    romeo: Client, nurse: Hearer, network: Network
) -> None:
    romeo.close()
    nurse.forget()
    network.stranger("nurse@verona.lit").send("<presence type='probe' id='p1' to='romeo@montague.lit'/>")
    assert nurse.receives(
        "<presence type='unavailable' id='p1' from='romeo@montague.lit' to='nurse@verona.lit'/>"
    )


@pytest.mark.rfc6121("4.3.2-1", "11-1")
@pytest.mark.parametrize("to", ["romeo@montague.lit", "romeo@montague.lit/orchard", "nobody@montague.lit"])
def test_c10_a_stranger_who_probes_learns_nothing(
    romeo: Client, network: Network, unharmed: Callable[[], None], to: str
) -> None:
    tybalt = network.stranger("tybalt@evil.example/street")
    tybalt.send(f"<presence type='probe' id='p1' to='{to}'/>")
    bare = JID.parse(to).bare
    assert tybalt.receives(f"<presence type='unsubscribed' id='p1' from='{bare}' to='tybalt@evil.example'/>")
    assert tybalt.hears_nothing()
    assert romeo.hears_nothing()
    unharmed()


@pytest.mark.rfc6121("4.3.2-4", "4.6.6-2")
def test_who_got_directed_presence_may_probe_that_resource(romeo: Client, network: Network) -> None:
    network.client("romeo@montague.lit/street")
    room = network.stranger("hall@rooms.verona.lit/romeo")
    romeo.send(f"<presence to='hall@rooms.verona.lit/romeo'>{AWAY}</presence>")
    room.forget()
    probe = "<presence type='probe' id='p1' to='romeo@montague.lit/{}'/>"
    room.send(probe.format("orchard"))
    assert room.receives(
        "<presence id='p1' from='romeo@montague.lit/orchard' to='hall@rooms.verona.lit/romeo'/>"
    )
    room.send(probe.format("street"))
    assert room.next().get("type") == "unsubscribed"
    romeo.close()
    room.forget()
    room.send(probe.format("orchard"))
    assert room.next().get("type") == "unsubscribed"


@pytest.mark.rfc6121("4.6.6-3")
@pytest.mark.parametrize("there", [True, False], ids=["available", "connected"])
def test_who_got_directed_presence_and_probes_the_account_is_shown_what_it_knows(
    network: Network, romeo: Client, there: bool
) -> None:
    kind = "<presence/>" if there else ""
    balcony = network.client("romeo@montague.lit/balcony", presence=kind)
    room = network.stranger("hall@rooms.verona.lit/romeo")
    for client in (romeo, balcony):
        client.send(f"<presence to='hall@rooms.verona.lit/romeo'>{AWAY}</presence>")
    network.client("romeo@montague.lit/street")
    room.forget()
    room.send("<presence type='probe' id='p1' to='romeo@montague.lit'/>")
    for name in ("orchard", "balcony"):
        assert room.receives(
            f"<presence id='p1' from='romeo@montague.lit/{name}' to='hall@rooms.verona.lit/romeo'/>"
        )
    assert room.hears_nothing()
    romeo.send("<presence type='unavailable' to='hall@rooms.verona.lit/romeo'/>")
    balcony.close()
    room.forget()
    room.send("<presence type='probe' id='p1' to='romeo@montague.lit'/>")
    assert room.next().get("type") == "unsubscribed"


@pytest.mark.rfc6121("4.3.2-4", "4.3.2-5")
def test_a_subscriber_who_probes_one_resource_learns_only_whether_it_is_there(
    romeo: Client, nurse: Hearer, network: Network
) -> None:
    street = network.client("romeo@montague.lit/street", presence=f"<presence id='x'>{AWAY}</presence>")
    network.client("romeo@montague.lit/silent", presence="")
    nurse.forget()
    kitchen = network.stranger("nurse@verona.lit/kitchen")
    probe = "<presence type='probe' id='p1' to='romeo@montague.lit/{}'/>"
    shown_one = "<presence {} from='romeo@montague.lit/{}' to='nurse@verona.lit'/>"
    kitchen.send(probe.format("street"))
    assert nurse.receives(shown_one.format("id='x'", "street"))
    kitchen.send(probe.format("silent"))
    assert nurse.receives(shown_one.format("id='p1' type='unavailable'", "silent"))
    kitchen.send(probe.format("gone"))
    assert nurse.receives(shown_one.format("id='p1' type='unavailable'", "gone"))
    street.send("<presence type='unavailable'/>")
    nurse.forget()
    kitchen.send(probe.format("street"))
    assert nurse.receives(shown_one.format("id='p1' type='unavailable'", "street"))


@pytest.mark.rfc6121("4.3-2")
def test_a_client_may_probe_by_itself(friends: tuple[Client, Client], network: Network) -> None:
    romeo, juliet = friends
    juliet.send("<presence type='probe' id='p1' to='romeo@montague.lit'/>")
    assert juliet.receives(shown(romeo, juliet))
    nurse = network.stranger("nurse@verona.lit")
    juliet.send("<presence type='probe' id='p2' to='nurse@verona.lit'/>")
    assert nurse.next().get("type") == "probe"
    for to in ("to='nobody@capulet.lit'", "to='capulet.lit'", ""):
        juliet.send(f"<presence type='probe' id='p3' {to}/>")
    assert "error" not in [each.get("type") for each in juliet.heard]


@pytest.mark.rfc6121("4.3.2-2")
def test_a_refused_probe_leaves_a_pre_approval_as_it_is(romeo: Client, network: Network) -> None:
    nurse = network.stranger("nurse@verona.lit")
    romeo.send("<presence type='subscribed' to='nurse@verona.lit'/>")
    nurse.send("<presence type='probe' to='romeo@montague.lit'/>")
    assert nurse.next().get("type") == "unsubscribed"
    answer = romeo.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    assert [item.get("approved") for item in answer[0]] == ["true"]


@pytest.mark.rfc6121("4.5.2-5")
def test_presence_after_a_goodbye_is_an_initial_one(friends: tuple[Client, Client]) -> None:
    romeo, juliet = friends
    romeo.send("<presence type='unavailable'/>")
    romeo.forget()
    juliet.forget()
    romeo.send(f"<presence>{AWAY}</presence>")
    assert juliet.receives(shown(romeo, juliet, AWAY))
    assert romeo.receives(shown(romeo, romeo, AWAY), shown(juliet, romeo))  # she was probed


@pytest.mark.rfc6121("4.2.3-1", "4.4.3-1", "4.5.3-1", "3.1.6-3")
@pytest.mark.parametrize("type", ["", "unavailable"])
def test_presence_that_comes_in_reaches_all_available_resources(
    romeo: Client, network: Network, type: str
) -> None:
    nurse = network.stranger("nurse@verona.lit/kitchen")
    street = network.client(
        "romeo@montague.lit/street", presence="<presence><priority>-1</priority></presence>"
    )
    silent = network.client("romeo@montague.lit/silent", presence="")
    romeo.forget()
    kind = type and f"type='{type}'"
    nurse.send(f"<presence {kind} to='romeo@montague.lit'>{AWAY}</presence>")
    for client in (romeo, street):
        assert client.receives(shown("nurse@verona.lit/kitchen", "romeo@montague.lit", AWAY, type))
    assert silent.hears_nothing()


@pytest.mark.rfc6121("4.6.1-1")
def test_a_subscription_comes_before_directed_presence(romeo: Client, juliet: Client) -> None:
    juliet.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    romeo.send("<presence to='juliet@capulet.lit'/>")
    juliet.send("<presence type='subscribe' to='romeo@montague.lit'/>")
    romeo.send("<presence type='subscribed' to='juliet@capulet.lit'/>")
    juliet.forget()
    romeo.send(f"<presence>{AWAY}</presence>")
    assert juliet.receives(shown(romeo, juliet, AWAY))
    romeo.send("<presence type='unsubscribed' to='juliet@capulet.lit'/>")
    assert juliet.receives(shown(romeo, juliet, type="unavailable"))
    assert juliet.next().get("type") == "unsubscribed"
    juliet.forget()
    romeo.send("<presence/>")
    assert juliet.hears_nothing()


def test_ones_own_resources_learn_of_the_end_once(romeo: Client, network: Network) -> None:
    street = network.client("romeo@montague.lit/street")
    for to in ("romeo@montague.lit", "romeo@montague.lit/street"):
        romeo.send(f"<presence to='{to}'/>")
    street.forget()
    romeo.close()
    assert street.receives(shown(romeo, street, type="unavailable"))
    assert street.hears_nothing()


@pytest.mark.rfc6121("4.7.2.3-2")
def test_no_priority_is_priority_0(juliet: Client, network: Network) -> None:
    orchard = network.client(
        "romeo@montague.lit/orchard", presence="<presence><priority>-1</priority></presence>"
    )
    orchard.send("<presence/>")
    orchard.forget()
    juliet.send("<message to='romeo@montague.lit' id='m1'/>")
    assert orchard.next().get("id") == "m1"


def test_a_subscription_that_the_other_side_has_lost_is_found_out_at_the_next_login(
    verona: Server, romeo: Client, juliet: Client, network: Network
) -> None:
    befriend(romeo, juliet)
    [account] = [a for a in verona.hosts["capulet.lit"].manager.accounts if a.jid == "juliet@capulet.lit"]
    del account.stored["roster"]["romeo@montague.lit"]
    romeo.close()
    romeo = network.client("romeo@montague.lit/orchard")
    answer = romeo.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    assert [item.get("subscription") for item in answer[0]] == ["from"]


@pytest.mark.rfc6121("4.2.2-3", "4.3-1")
def test_the_presence_of_contacts_elsewhere_is_asked_for_at_login(romeo: Client, network: Network) -> None:
    nurse = network.stranger("nurse@verona.lit/kitchen")
    romeo.send("<presence type='subscribe' to='nurse@verona.lit'/>")
    nurse.send("<presence type='subscribed' from='nurse@verona.lit' to='romeo@montague.lit'/>")
    romeo.close()
    nurse.forget()
    network.client("romeo@montague.lit/street")
    assert nurse.receives("<presence type='probe' from='romeo@montague.lit' to='nurse@verona.lit'/>")
    network.client("romeo@montague.lit/silent", presence="")
    assert nurse.hears_nothing()


def test_within_one_domain_presence_flows_the_same_way(romeo: Client, network: Network) -> None:
    benvolio = network.client("benvolio@montague.lit/street")
    befriend(romeo, benvolio)
    romeo.send(f"<presence>{AWAY}</presence>")
    assert benvolio.receives(shown(romeo, benvolio, AWAY))
    romeo.drop()
    assert benvolio.receives(shown(romeo, benvolio, type="unavailable"))


# --- floods --------------------------------------------------------------------------------------


def test_c12_an_account_changes_its_presence_only_so_often(network: Network) -> None:
    network.serve("montague.lit", limits=Limits(presence=Rate(3, 60)))
    tybalt = network.client("tybalt@montague.lit/street")
    for _ in range(2):
        tybalt.send("<presence><status>Peace?</status></presence>")
    tybalt.forget()
    tybalt.send("<presence id='4'><status>I hate the word.</status></presence>")
    refusal = tybalt.next()
    assert (refusal.get("type"), refusal.get("id")) == ("error", "4")
    assert condition(refusal) == "unexpected-request"
    assert refusal.find(".//{urn:xmpp:errors}too-many-stanzas") is not None
    tybalt.send("<presence to='nurse@capulet.lit'/>")  # that is another limit's
    tybalt.send("<presence type='unavailable'/>")  # to leave is always allowed
    network.advance(20)
    tybalt.forget()
    tybalt.send("<presence/>")
    assert tybalt.next().get("type") is None
