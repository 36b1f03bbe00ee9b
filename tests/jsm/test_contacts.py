"""Rosters and subscriptions as clients see them (RFC 6121 §2, §3), and row C7 of the abuse cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred, fail

from jabberd.interfaces import StorageError
from jabberd.jsm import roster
from jabberd.jsm.limits import Limits
from jabberd.rates import Rate
from jabberd.testing.client import condition
from jabberd.xmpp.jid import JID
from tests.jsm.conftest import befriend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jabberd.jsm.roster import RosterItem
    from jabberd.testing import Client, Network
    from jabberd.testing.client import Hearer
    from jabberd.testing.server import Server
    from tests.conftest import LoggedErrors

NURSE = "<item jid='nurse@capulet.lit' name='Nurse'><group>Servants</group></item>"
PUSH = "<iq type='set' id='*' to='{}'><query xmlns='jabber:iq:roster' ver='{}'>{}</query></iq>"


def get(client: Client, ver: str | None = None) -> list[tuple[str, ...]]:
    """The roster: contact, subscription, ask, name, groups."""
    attribute = "" if ver is None else f" ver='{ver}'"
    answer = client.ask(f"<iq type='get'><query xmlns='jabber:iq:roster'{attribute}/></iq>")
    assert answer.get("type") == "result"
    return [
        tuple(
            value
            for value in (
                item.get("jid", ""),
                item.get("subscription", ""),
                item.get("ask", ""),
                item.get("name", ""),
                *(group.text or "" for group in item),
            )
            if value
        )
        for query in answer
        for item in query
    ]


def set(client: Client, *items: str) -> str:
    """The condition with which the change is refused; empty if it is not."""
    answer = client.ask(f"<iq type='set'><query xmlns='jabber:iq:roster'>{''.join(items)}</query></iq>")
    return condition(answer)


def push(client: Client, item: str, ver: int | str = "*") -> str:
    return PUSH.format(client.jid, ver, item)


def presence(type: str, sender: Client, to: Client, inside: str = "") -> str:
    return f"<presence type='{type}' from='{sender.jid.bare}' to='{to.jid.bare}'>{inside}</presence>"


def available(sender: Client, to: Client) -> str:
    return f"<presence from='{sender.jid}' to='{to.jid.bare}'/>"


def unavailable(sender: Client, to: Client) -> str:
    return f"<presence type='unavailable' from='{sender.jid}' to='{to.jid.bare}'/>"


# --- the roster -----------------------------------------------------------------------------------


@pytest.mark.rfc6121("2-1", "2.1.4-1", "2.3.2-1")
def test_a_roster_is_empty_at_first_and_keeps_what_is_set(romeo: Client, network: Network) -> None:
    assert get(romeo) == []
    assert set(romeo, NURSE) == ""
    romeo.drop()
    again = network.client("romeo@montague.lit/orchard")
    assert get(again) == [("nurse@capulet.lit", "none", "Nurse", "Servants")]


@pytest.mark.rfc6120("8.1.3-1")
@pytest.mark.rfc6121("2.1.6-1", "2.2-1", "2.3.2-2", "2.4.1-1", "2.4.2-1", "2.6.3-3")
def test_a_change_is_pushed_to_who_has_asked_for_the_roster(romeo: Client, network: Network) -> None:
    street = network.client("romeo@montague.lit/street", presence="")
    indifferent = network.client("romeo@montague.lit/tomb")
    romeo.forget()
    get(romeo)
    get(street)
    set(romeo, NURSE)
    item = NURSE.replace("name", "subscription='none' name")
    for client in (romeo, street):
        assert client.receives(push(client, item, 1))
        assert client.hears_nothing()
    assert indifferent.hears_nothing()
    set(street, "<item jid='nurse@capulet.lit'/>")
    assert romeo.receives(push(romeo, "<item jid='nurse@capulet.lit' subscription='none'/>", 2))


@pytest.mark.rfc6121("2.5.2-1", "2.5.2-4")
def test_a_removal_is_pushed_and_ends_the_subscriptions(romeo: Client, juliet: Client) -> None:
    befriend(romeo, juliet)
    get(romeo)
    get(juliet)
    assert set(romeo, "<item jid='juliet@capulet.lit' subscription='remove'/>") == ""
    assert romeo.receives(push(romeo, "<item jid='juliet@capulet.lit' subscription='remove'/>"))
    assert get(romeo) == []
    assert juliet.receives(
        presence("unsubscribe", romeo, juliet),
        push(juliet, "<item jid='romeo@montague.lit' subscription='to'/>"),
        unavailable(romeo, juliet),
        presence("unsubscribed", romeo, juliet),
        push(juliet, "<item jid='romeo@montague.lit' subscription='none'/>"),
    )
    assert juliet.hears_nothing()
    assert romeo.receives(unavailable(juliet, romeo))
    assert romeo.hears_nothing()


@pytest.mark.rfc6121("2.6.3-1", "2.6.3-2", "2.6.3-4")
def test_a_client_that_knows_the_roster_gets_what_has_changed_behind_an_empty_result(
    romeo: Client, network: Network
) -> None:
    for name in ("juliet", "nurse", "mercutio"):
        set(romeo, f"<item jid='{name}@capulet.lit'/>")
    street = network.client("romeo@montague.lit/street", presence="")
    street.send("<iq type='get' id='r1'><query xmlns='jabber:iq:roster' ver='1'/></iq>")
    assert street.receives(
        "<iq type='result' id='r1' from='romeo@montague.lit' to='romeo@montague.lit/street'/>",
        push(street, "<item jid='nurse@capulet.lit' subscription='none'/>", 2),
        push(street, "<item jid='mercutio@capulet.lit' subscription='none'/>", 3),
    )
    assert get(street, "3") == []
    assert street.hears_nothing()
    assert len(get(street, "")) == 3
    assert len(get(street, "77")) == 3
    set(romeo, "<item jid='nurse@capulet.lit' subscription='remove'/>")
    street.forget()
    assert len(get(street, "3")) == 2
    assert street.hears_nothing()


def test_a_change_that_comes_between_the_result_and_the_pushes_is_not_lost(
    verona: Server, romeo: Client, network: Network
) -> None:
    contacts = verona.hosts["montague.lit"].manager.contacts
    caught_up: list[tuple[object, ...]] = []
    for name in ("juliet", "nurse"):
        set(romeo, f"<item jid='{name}@capulet.lit'/>")
    street = network.client("romeo@montague.lit/street", presence="")
    romeo.forget()
    contacts._catch_up, true = lambda *args: caught_up.append(args), contacts._catch_up  # type: ignore[method-assign]  # the turn that is to come
    assert get(street, "1") == []
    set(romeo, "<item jid='nurse@capulet.lit' name='Angelica'/>")
    set(romeo, "<item jid='juliet@capulet.lit' subscription='remove'/>")
    true(*caught_up[0])  # type: ignore[arg-type]  # as it was called
    network.flush()
    street.receives(
        push(street, "<item jid='nurse@capulet.lit' name='Angelica' subscription='none'/>", 3),
        push(street, "<item jid='juliet@capulet.lit' subscription='remove'/>", 4),
        push(street, "<item jid='nurse@capulet.lit' name='Angelica' subscription='none'/>", 3),
    )


LONG = "x" * 1024


@pytest.mark.rfc6121("2.1.5-1", "2.3.3-1", "2.3.3-3", "2.3.3-4", "2.5.3-1")
@pytest.mark.parametrize(
    ("items", "error"),
    [
        ("", "bad-request"),
        ("<item jid='a@capulet.lit'/><item jid='b@capulet.lit'/>", "bad-request"),
        ("<item/>", "bad-request"),
        ("<item jid='a@capulet.lit'><group>A</group><group>A</group></item>", "bad-request"),
        ("<item jid='@@'/>", "jid-malformed"),
        ("<item jid='a@capulet.lit'><group/></item>", "not-acceptable"),
        (f"<item jid='a@capulet.lit'><group>{LONG}</group></item>", "not-acceptable"),
        (f"<item jid='a@capulet.lit' name='{LONG}'/>", "not-acceptable"),
        ("<item jid='stranger@capulet.lit' subscription='remove'/>", "item-not-found"),
        ("<item jid='romeo@montague.lit'/>", "not-allowed"),
    ],
)
def test_c7_a_wrong_roster_set_is_refused_and_changes_nothing(
    romeo: Client, unharmed: Callable[[], None], items: str, error: str
) -> None:
    set(romeo, NURSE)
    before = get(romeo)
    assert set(romeo, items) == error
    assert romeo.hears_nothing()
    assert get(romeo) == before
    unharmed()


#: What is said to who sets somebody else's roster: of a full JID the same whether it is connected or not.
OTHERS = {
    "juliet@capulet.lit": "forbidden",
    "nobody@capulet.lit": "forbidden",
    "juliet@capulet.lit/balcony": "service-unavailable",
    "juliet@capulet.lit/nowhere": "service-unavailable",
}


@pytest.mark.rfc6121("2-2", "2.1.5-2", "2.3.3-2")
def test_c7_nobody_sets_the_roster_of_somebody_else(
    romeo: Client, juliet: Client, unharmed: Callable[[], None]
) -> None:
    get(juliet)
    for other, said in OTHERS.items():
        answer = romeo.ask(
            f"<iq type='set' to='{other}'><query xmlns='jabber:iq:roster'>{NURSE}</query></iq>"
        )
        assert condition(answer) == said
        answer = romeo.ask(f"<iq type='get' to='{other}'><query xmlns='jabber:iq:roster'/></iq>")
        assert condition(answer) == "service-unavailable"
    assert juliet.hears_nothing()
    assert get(juliet) == []
    unharmed()


def test_a_full_roster_takes_no_more(network: Network) -> None:
    network.serve("montague.lit", limits=Limits(roster=roster.Limits(items=1)))
    romeo = network.client("romeo@montague.lit/orchard")
    assert set(romeo, NURSE) == ""
    assert set(romeo, "<item jid='juliet@capulet.lit'/>") == "resource-constraint"
    romeo.send("<presence type='subscribe' to='juliet@capulet.lit' id='p1'/>")
    assert condition(romeo.next()) == "resource-constraint"


@pytest.mark.rfc6121("2.3.3-1")
def test_a_change_that_cannot_be_stored_is_undone_and_not_pushed(
    verona: Server,
    romeo: Client,
    juliet: Client,
    logged_errors: LoggedErrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set(romeo, NURSE)
    get(romeo)
    romeo.forget()
    keyed = verona.hosts["montague.lit"].manager.contacts._store._keyed

    def change(_: object, owner: str, changes: Mapping[str, RosterItem | None]) -> Deferred[None]:
        return fail(StorageError("the disk is full"))

    monkeypatch.setattr(type(keyed), "change", change)
    assert set(romeo, NURSE.replace("Nurse", "Angelica")) == "resource-constraint"
    assert set(romeo, "<item jid='nurse@capulet.lit' subscription='remove'/>") == "resource-constraint"
    romeo.send("<presence type='subscribe' to='juliet@capulet.lit' id='p1'/>")
    assert condition(romeo.next()) == "resource-constraint"
    assert romeo.hears_nothing()
    assert juliet.hears_nothing()
    assert get(romeo) == [("nurse@capulet.lit", "none", "Nurse", "Servants")]
    assert len(logged_errors.take()) == 3


# --- subscriptions --------------------------------------------------------------------------------


@pytest.fixture
def interested(romeo: Client, juliet: Client) -> tuple[Client, Client]:
    get(romeo)
    get(juliet)
    return romeo, juliet


def ask(one: Client, other: Client) -> None:
    one.send(f"<presence type='subscribe' to='{other.jid.bare}'><status>Hist!</status></presence>")


def say(type: str, one: Client, other: Hearer, to: str) -> None:
    one.send(f"<presence type='{type}' to='{to}'/>")


@pytest.mark.rfc6121(
    "3.1.2-2",
    "3.1.2-6",
    "3.1.3-1",
    "3.1.3-2",
    "3.1.3-7",
    "3.1.5-1",
    "3.1.5-2",
    "3.1.5-3",
    "3.1.6-1",
    "3.1.6-2",
    "3.1.6-3",
)
def test_a_request_is_delivered_and_granted(interested: tuple[Client, Client]) -> None:
    romeo, juliet = interested
    ask(romeo, juliet)
    assert romeo.receives(push(romeo, "<item jid='juliet@capulet.lit' subscription='none' ask='subscribe'/>"))
    assert juliet.receives(presence("subscribe", romeo, juliet, "<status>Hist!</status>"))
    assert romeo.hears_nothing()
    assert juliet.hears_nothing()
    assert get(juliet) == []  # a request alone is no contact
    juliet.send("<presence type='subscribed' to='romeo@montague.lit'/>")
    assert juliet.receives(push(juliet, "<item jid='romeo@montague.lit' subscription='from'/>"))
    assert romeo.receives(
        presence("subscribed", juliet, romeo),
        push(romeo, "<item jid='juliet@capulet.lit' subscription='to'/>"),
        available(juliet, romeo),
    )
    assert romeo.hears_nothing()
    assert juliet.hears_nothing()
    ask(juliet, romeo)
    romeo.send("<presence type='subscribed' to='juliet@capulet.lit'/>")
    assert get(romeo) == [("juliet@capulet.lit", "both")]
    assert get(juliet) == [("romeo@montague.lit", "both")]


@pytest.mark.rfc6121("3.2.2-4")
def test_a_request_is_denied(interested: tuple[Client, Client]) -> None:
    romeo, juliet = interested
    ask(romeo, juliet)
    romeo.forget()
    juliet.forget()
    juliet.send("<presence type='unsubscribed' to='romeo@montague.lit'/>")
    assert romeo.receives(
        presence("unsubscribed", juliet, romeo),
        push(romeo, "<item jid='juliet@capulet.lit' subscription='none'/>"),
    )
    assert romeo.hears_nothing()
    assert juliet.hears_nothing()
    assert get(juliet) == []


@pytest.mark.rfc6121("3.1.3-4", "3.1.3-5", "3.1.3-6")
def test_a_request_waits_for_somebody_who_is_not_there_until_it_is_answered(
    romeo: Client, network: Network, verona: Server
) -> None:
    verona.create(JID.parse("juliet@capulet.lit"), "secret")
    for _ in range(2):
        romeo.send(
            "<presence type='subscribe' to='juliet@capulet.lit' xml:lang='it'>"
            "<status>&lt;3</status></presence>"
        )
    for resource in ("balcony", "tomb"):
        for host in verona.hosts.values():
            host.manager.accounts.drop("juliet@capulet.lit")  # it is kept in the storage
        juliet = network.client(f"juliet@capulet.lit/{resource}", presence="")
        assert juliet.hears_nothing()
        juliet.send("<presence/>")
        assert juliet.receives(
            f"<presence from='{juliet.jid}' to='juliet@capulet.lit'/>",
            "<presence type='subscribe' from='romeo@montague.lit' to='juliet@capulet.lit' xml:lang='it'>"
            "<status>&lt;3</status></presence>",
        )
        assert juliet.hears_nothing()
        juliet.close()
    juliet = network.client("juliet@capulet.lit/balcony")
    juliet.send("<presence type='subscribed' to='romeo@montague.lit'/>")
    juliet.close()
    juliet = network.client("juliet@capulet.lit/balcony", presence="")
    juliet.send("<presence/>")
    juliet.next()
    assert juliet.hears_nothing()


@pytest.mark.rfc6121("3.2.2-3", "3.2.2-4", "3.2.2-5", "3.2.3-1", "3.2.3-2", "3.2.3-3")
def test_a_subscription_is_cancelled_by_the_contact(interested: tuple[Client, Client]) -> None:
    romeo, juliet = interested
    befriend(romeo, juliet)
    juliet.send("<presence type='unsubscribed' to='romeo@montague.lit'/>")
    assert juliet.receives(push(juliet, "<item jid='romeo@montague.lit' subscription='to'/>"))
    assert romeo.receives(
        unavailable(juliet, romeo),
        presence("unsubscribed", juliet, romeo),
        push(romeo, "<item jid='juliet@capulet.lit' subscription='from'/>"),
    )
    juliet.send("<presence><show>away</show></presence>")
    assert romeo.hears_nothing()


@pytest.mark.rfc6121("3.3.2-1", "3.3.2-4", "3.3.3-1", "3.3.3-2", "3.3.3-3")
def test_a_subscription_is_ended_by_the_subscriber(interested: tuple[Client, Client]) -> None:
    romeo, juliet = interested
    befriend(romeo, juliet)
    romeo.send("<presence type='unsubscribe' to='juliet@capulet.lit'/>")
    assert romeo.receives(
        push(romeo, "<item jid='juliet@capulet.lit' subscription='from'/>"), unavailable(juliet, romeo)
    )
    assert juliet.receives(
        presence("unsubscribe", romeo, juliet),
        push(juliet, "<item jid='romeo@montague.lit' subscription='to'/>"),
    )
    assert romeo.hears_nothing()
    assert juliet.hears_nothing()


@pytest.mark.rfc6121("3.4.2-4", "3.4.2-5", "3.4.2-6")
def test_a_pre_approved_request_is_granted_without_a_question(interested: tuple[Client, Client]) -> None:
    romeo, juliet = interested
    juliet.send("<presence type='subscribed' to='romeo@montague.lit'/>")
    assert juliet.receives(
        push(juliet, "<item jid='romeo@montague.lit' subscription='none' approved='true'/>")
    )
    assert romeo.hears_nothing()
    ask(romeo, juliet)
    assert juliet.receives(
        push(juliet, "<item jid='romeo@montague.lit' subscription='from' approved='true'/>")
    )
    assert juliet.hears_nothing()
    romeo.next()
    assert romeo.receives(
        presence("subscribed", juliet, romeo),
        push(romeo, "<item jid='juliet@capulet.lit' subscription='to'/>"),
        available(juliet, romeo),
    )


@pytest.mark.rfc6121("3-1", "3.1.2-4")
def test_requests_go_between_bare_jids_whatever_the_client_writes(interested: tuple[Client, Client]) -> None:
    romeo, juliet = interested
    romeo.send("<presence type='subscribe' to='juliet@capulet.lit/tomb' from='romeo@montague.lit/orchard'/>")
    assert juliet.receives(presence("subscribe", romeo, juliet))


def test_nobody_subscribes_to_themselves(romeo: Client) -> None:
    get(romeo)
    for to in ("romeo@montague.lit", "romeo@montague.lit/street"):
        romeo.send(f"<presence type='subscribe' to='{to}' id='p1'/>")
        assert condition(romeo.next()) == "not-allowed"
    assert romeo.hears_nothing()
    assert get(romeo) == []


def test_a_subscription_is_with_somebody(romeo: Client) -> None:
    romeo.send("<presence type='subscribe' id='p1'/>")
    assert condition(romeo.next()) == "bad-request"


def test_only_so_many_strangers_may_wait(network: Network) -> None:
    server = network.serve("montague.lit", limits=Limits(roster=roster.Limits(requests=2)), modules={})
    server.create(JID.parse("romeo@montague.lit"), "secret")
    for number in range(3):
        network.stranger(f"stranger{number}@evil.example").send(
            "<presence type='subscribe' to='romeo@montague.lit'/>"
        )
    romeo = network.client("romeo@montague.lit/orchard", presence="")
    romeo.send("<presence/>")
    assert [each.get("from") for each in romeo.heard[1:]] == [
        "stranger0@evil.example",
        "stranger1@evil.example",
    ]


@pytest.mark.rfc6120("10.1-5")
def test_a_stanza_behind_a_request_does_not_overtake_it(
    romeo: Client, juliet: Client, verona: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: Deferred[None] = Deferred()
    store = verona.hosts["montague.lit"].manager.contacts._store
    true = store.change
    monkeypatch.setattr(
        store, "change", lambda owner, changes: true(owner, changes).addCallback(lambda _: stored)
    )
    ask(romeo, juliet)
    romeo.send("<message to='juliet@capulet.lit' id='m1'/>")
    assert juliet.hears_nothing()
    stored.callback(None)
    assert juliet.next().get("type") == "subscribe"
    assert juliet.next().get("id") == "m1"


# --- with other servers ---------------------------------------------------------------------------


@pytest.mark.rfc6121("3.1.6-4", "3.2.3-4", "3.3.3-4", "8.5.3.2.2-3")
def test_c10_a_permission_that_nobody_asked_for_is_ignored(
    romeo: Client, network: Network, unharmed: Callable[[], None]
) -> None:
    get(romeo)
    tybalt = network.stranger("tybalt@evil.example/street")
    for type in ("subscribed", "unsubscribed", "unsubscribe"):
        tybalt.send(f"<presence type='{type}' to='romeo@montague.lit'/>")
        tybalt.send(f"<presence type='{type}' to='romeo@montague.lit/orchard'/>")
    assert romeo.hears_nothing()
    assert tybalt.hears_nothing()
    assert get(romeo) == []
    unharmed()


@pytest.mark.rfc6121("3-1", "3.1.2-3", "3.1.2-4", "3.1.5-1", "3.1.5-3", "3.1.6-2")
def test_a_subscription_across_servers(romeo: Client, network: Network) -> None:
    get(romeo)
    nurse = network.stranger("nurse@verona.lit/kitchen")
    romeo.send("<presence type='subscribe' to='nurse@verona.lit' id='s1'/>")
    assert nurse.receives(
        "<presence type='subscribe' to='nurse@verona.lit' from='romeo@montague.lit' id='s1'/>"
    )
    romeo.forget()
    nurse.send("<presence type='subscribed' from='nurse@verona.lit' to='romeo@montague.lit'/>")
    nurse.send("<presence to='romeo@montague.lit'/>")
    assert romeo.receives(
        "<presence type='subscribed' from='nurse@verona.lit' to='romeo@montague.lit'/>",
        push(romeo, "<item jid='nurse@verona.lit' subscription='to'/>"),
        "<presence from='nurse@verona.lit/kitchen' to='romeo@montague.lit'/>",
    )
    nurse.send("<presence type='subscribe' from='nurse@verona.lit' to='romeo@montague.lit'/>")
    romeo.send("<presence type='subscribed' to='nurse@verona.lit'/>")
    assert nurse.receives(
        "<presence type='subscribed' to='nurse@verona.lit' from='romeo@montague.lit'/>",
        "<presence to='nurse@verona.lit' from='romeo@montague.lit/orchard'/>",
    )
    nurse.send("<presence type='unsubscribe' from='nurse@verona.lit' to='romeo@montague.lit'/>")
    assert nurse.receives(
        "<presence type='unavailable' to='nurse@verona.lit' from='romeo@montague.lit/orchard'/>"
    )


@pytest.mark.rfc6121("3.1.3-3")
def test_who_asks_again_for_what_he_has_is_told_so(romeo: Client, network: Network) -> None:
    tybalt = network.stranger("tybalt@evil.example")
    ask = "<presence type='subscribe' to='romeo@montague.lit' id='again'/>"
    tybalt.send(ask)
    romeo.send("<presence type='subscribed' to='tybalt@evil.example'/>")
    romeo.forget()
    tybalt.forget()
    tybalt.send(ask)  # RFC 6121 §3.1.3: his server has lost it
    assert tybalt.receives(
        "<presence type='subscribed' from='romeo@montague.lit' to='tybalt@evil.example' id='again'/>",
        "<presence from='romeo@montague.lit/orchard' to='tybalt@evil.example'/>",
    )
    assert romeo.hears_nothing()


# --- floods --------------------------------------------------------------------------------------


def test_c12_an_account_asks_for_only_so_many_subscriptions(network: Network) -> None:
    network.serve("montague.lit", limits=Limits(subscriptions=Rate(3, 60)))
    tybalt = network.client("tybalt@montague.lit/street")
    stranger = network.stranger("juliet@capulet.lit")
    for number in range(3):
        tybalt.send(f"<presence type='subscribe' to='girl{number}@montague.lit'/>")
    tybalt.forget()
    tybalt.send("<presence type='subscribe' to='juliet@capulet.lit' id='4'/>")
    assert tybalt.receives(
        "<presence type='error' id='4' from='juliet@capulet.lit' to='tybalt@montague.lit/street'>"
        "<error type='wait'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>"
        "too many requests for a subscription</text>"
        "<too-many-stanzas xmlns='urn:xmpp:errors'/></error></presence>"
    )
    assert stranger.hears_nothing()
    network.client("romeo@montague.lit/orchard").send("<presence type='subscribe' to='juliet@capulet.lit'/>")
    assert stranger.next().get("type") == "subscribe"  # others may
    network.advance(20)
    tybalt.send("<presence type='subscribe' to='juliet@capulet.lit'/>")
    assert stranger.next().get("type") == "subscribe"


def test_c12_one_domain_asks_for_only_so_many_subscriptions_and_learns_nothing(network: Network) -> None:
    server = network.serve("montague.lit", limits=Limits(server_subscriptions=Rate(3, 60)))
    romeo = network.client("romeo@montague.lit/orchard")
    for number in range(5):
        villain = network.stranger(f"bot{number}@evil.example")
        villain.send("<presence type='subscribe' to='romeo@montague.lit'/>")
        assert villain.hears_nothing()
    assert [romeo.next().get("from") for _ in range(3)] == [f"bot{n}@evil.example" for n in range(3)]
    assert romeo.hears_nothing()
    network.stranger("juliet@capulet.lit").send("<presence type='subscribe' to='romeo@montague.lit'/>")
    assert romeo.next().get("from") == "juliet@capulet.lit"
    assert server.hosts["montague.lit"].manager.contacts.meters[1].refused == 2
