"""RFC 6121 §3 and appendix A over whole streams: every state and stanza, both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.jsm.roster import RosterItem
from jabberd.jsm.subscription import State
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.jsm.test_subscription import ROWS, Row

if TYPE_CHECKING:
    from jabberd.jsm.account import Account
    from jabberd.testing import Client, Network
    from jabberd.testing.network import Stranger
    from jabberd.testing.server import Server

NURSE = "nurse@verona.lit"
ASKED = "<presence type='subscribe' from='nurse@verona.lit' to='romeo@montague.lit'/>"
GET = "<iq type='get'><query xmlns='jabber:iq:roster'/></iq>"


class House:
    """Romeo, who has asked for his roster, and a nurse at another server; between them any state."""

    def __init__(self, network: Network) -> None:
        self.server: Server = network.serve("montague.lit", modules={})
        self.romeo: Client = network.client("romeo@montague.lit/orchard")
        self.nurse: Stranger = network.stranger(NURSE)
        self.contacts = self.server.hosts["montague.lit"].manager.contacts
        self.romeo.ask(GET)

    @property
    def account(self) -> Account:
        [account] = self.server.hosts["montague.lit"].manager.accounts
        return account

    def put(self, state: State, *, approved: bool = False, listed: bool = True) -> None:
        """Let this be what romeo's roster keeps of the nurse."""
        request = ASKED if state.pending_in else ""
        item = RosterItem(NURSE, "", (), state.subscription, state.ask, approved, request, listed, 1)
        done(self.contacts._store.change(self.account.jid, {NURSE: item}))

    @property
    def kept(self) -> tuple[State, bool]:
        """The state, and whether the nurse is pre-approved."""
        item = self.account.roster.get(NURSE)
        return (State.NONE, False) if item is None else (item.state, item.approved)

    def pushed(self) -> list[tuple[str | None, ...]]:
        """The items of the pushes that romeo has heard, which are taken; the rest stays."""
        self.romeo.flush()
        pushes = [each for each in self.romeo.heard if each.tag.endswith("}iq")]  # type: ignore[union-attr, arg-type]  # a str
        self.romeo.heard = [each for each in self.romeo.heard if each not in pushes]
        return [tuple(map(each[0][0].get, ("jid", "subscription", "ask", "approved"))) for each in pushes]


@pytest.fixture
def house(network: Network) -> House:
    return House(network)


def shown(state: State, approved: bool) -> tuple[str | None, ...]:
    """A state as a pushed item has it."""
    ask = "subscribe" if state.ask else None
    return NURSE, state.subscription, ask, "true" if approved else None


OUTBOUND = [row for row in ROWS if row.direction == "outbound"]
INBOUND = [row for row in ROWS if row.direction == "inbound"]


@pytest.mark.rfc6121("A.2-1", "3-1", "3.1.5-1", "3.2.2-2", "3.3.2-2", "3.3.2-3", "3.3.2-4")
@pytest.mark.rfc6121("3.4.2-1", "3.4.2-2", "3.4.2-3", "3.4.2-4", "3.2.2-1", "3.2.2-3", "3.2.2-5")
@pytest.mark.parametrize("approved", [False, True], ids=["-", "approved"])
@pytest.mark.parametrize("row", OUTBOUND, ids=str)
def test_what_romeo_sends_is_routed_and_changes_his_roster(house: House, row: Row, approved: bool) -> None:
    house.put(row.old, approved=approved)
    house.romeo.send(f"<presence type='{row.stanza}' to='{NURSE}/kitchen' id='s1'/>")
    sees, saw = row.new.shows_user, row.old.shows_user
    if saw and not sees:
        assert house.nurse.receives(
            f"<presence type='unavailable' from='romeo@montague.lit/orchard' to='{NURSE}'/>"
        )
    if row.forward:
        assert house.nurse.receives(
            f"<presence type='{row.stanza}' from='romeo@montague.lit' to='{NURSE}' id='s1'/>"
        )
    if sees and not saw:
        assert house.nurse.receives(f"<presence from='romeo@montague.lit/orchard' to='{NURSE}'/>")
    assert house.nurse.hears_nothing()
    after = row.transition(approved).approved
    assert house.kept == (row.new, after)
    before = shown(row.old, approved)
    now = shown(row.new, after)
    assert house.pushed() == ([] if now == before else [now])
    assert house.romeo.hears_nothing()


@pytest.mark.rfc6121("A.3-1", "3.1.6-1", "3.1.6-2", "3.1.6-4", "3.2.3-1", "3.2.3-2", "3.2.3-4")
@pytest.mark.rfc6121("3.3.3-1", "3.3.3-2", "3.3.3-3", "3.3.3-4", "3.1.3-1", "3.1.3-2", "3.1.3-3", "3.4.2-6")
@pytest.mark.parametrize("approved", [False, True], ids=["-", "approved"])
@pytest.mark.parametrize("row", INBOUND, ids=str)
def test_what_the_nurse_sends_is_delivered_and_changes_romeos_roster(
    house: House, row: Row, approved: bool
) -> None:
    house.put(row.old, approved=approved)
    house.nurse.send(f"<presence type='{row.stanza}' to='romeo@montague.lit' id='s1'/>")
    step = row.transition(approved)
    said = [each.get("type") for each in house.romeo.heard]
    if row.forward and not step.reply:
        assert said[0] == row.stanza  # before the push
        assert house.romeo.heard.pop(0).get("from") == NURSE
    assert house.kept == (step.state, approved)
    now = shown(step.state, approved)
    assert house.pushed() == ([] if now == shown(row.old, approved) else [now])
    assert house.romeo.hears_nothing()
    if step.reply:
        assert house.nurse.receives(
            f"<presence type='subscribed' from='romeo@montague.lit' to='{NURSE}' id='s1'/>"
        )
    if step.presence:
        kind = "" if step.presence == "available" else f"type='{step.presence}'"
        assert house.nurse.receives(f"<presence {kind} from='romeo@montague.lit/orchard' to='{NURSE}'/>")
    assert house.nurse.hears_nothing()


@pytest.mark.rfc6121("3.1.3-2", "3.1.5-2", "3.1.5-3", "3.1.6-2", "3.1.6-3", "3.2.2-3", "3.2.2-5", "3.2.3-2")
@pytest.mark.rfc6121("3.2.3-3")
def test_all_resources_have_their_part(network: Network) -> None:
    """Two of each are interested and available; a third one is neither."""
    network.serve("montague.lit", modules={})
    romeos, nurses = (
        [network.client(f"{name}@montague.lit/{n}") for n in ("a", "b")] for name in ("romeo", "nurse")
    )
    silent = [network.client(f"{name}@montague.lit/c", presence="") for name in ("romeo", "nurse")]
    for client in (*romeos, *nurses):
        client.ask(GET)
        client.forget()
    romeos[0].send("<presence type='subscribe' to='nurse@montague.lit'/>")
    assert [kinds(each) for each in romeos] == [["push"]] * 2
    assert [kinds(each) for each in nurses] == [["subscribe"]] * 2
    nurses[0].send("<presence type='subscribed' to='romeo@montague.lit'/>")
    assert [kinds(each) for each in romeos] == [["subscribed", "push", "a", "b"]] * 2
    assert [kinds(each) for each in nurses] == [["push"]] * 2
    nurses[0].send("<presence type='unsubscribed' to='romeo@montague.lit'/>")
    assert [kinds(each) for each in romeos] == [["gone a", "gone b", "unsubscribed", "push"]] * 2
    assert [kinds(each) for each in nurses] == [["push"]] * 2
    assert [kinds(each) for each in silent] == [[], []]


@pytest.mark.rfc6121("8.5.2.1.2-2", "8.5.2.2.2-1", "8.5.3.1-4", "8.5.3.2.2-3")
@pytest.mark.parametrize(
    ("stanza", "old", "new"),
    [
        ("subscribed", State.NONE_OUT, State.TO),
        ("unsubscribe", State.FROM, State.NONE),
        ("unsubscribed", State.TO, State.NONE),
    ],
)
def test_only_a_resource_that_is_not_there_keeps_a_subscription_from_changing(
    house: House, stanza: str, old: State, new: State
) -> None:
    for there in (True, False):
        for resource, after in (("/gone", old), ("/orchard", new if there else old), ("", new)):
            house.put(old)
            house.nurse.send(f"<presence type='{stanza}' to='romeo@montague.lit{resource}' id='s1'/>")
            assert house.kept[0] is after, (there, resource)
        house.romeo.close()


def kinds(client: Client) -> list[str]:
    """What a client has heard, which is taken: types, resources of who is there, pushes."""
    client.flush()
    heard, client.heard = client.heard, []
    told = []
    for each in heard:
        type, resource = each.get("type", ""), each.get("from", "").partition("/")[2]
        shown = {"set": "push", "unavailable": f"gone {resource}", "": resource}
        told.append(shown.get(type, type))
    return told


@pytest.mark.rfc6121("2.5.2-1", "2.5.2-2", "2.5.2-3", "2.5.2-4")
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_removing_the_nurse_ends_what_there_was(house: House, state: State) -> None:
    house.put(state)
    answer = house.romeo.ask(
        "<iq type='set'><query xmlns='jabber:iq:roster'>"
        f"<item jid='{NURSE}' subscription='remove'/></query></iq>"
    )
    assert answer.get("type") == "result"
    assert house.pushed() == [(NURSE, "remove", None, None)]
    assert house.kept == (State.NONE, False)
    sent = [each.get("type") for each in house.nurse.heard]
    wanted = []
    if state.subscription in ("to", "both") or state.ask:
        wanted.append("unsubscribe")
    if state.shows_user:
        wanted.append("unavailable")
    if state.shows_user or state.pending_in:
        wanted.append("unsubscribed")
    assert sent == wanted


@pytest.mark.rfc6121("3.3.3-5", "3.1.3-7", "A.1-1")
def test_a_strangers_request_is_no_item_and_leaves_no_trace_when_it_is_taken_back(house: House) -> None:
    house.nurse.send(f"<presence type='subscribe' to='romeo@montague.lit' from='{NURSE}'/>")
    assert house.romeo.next().get("type") == "subscribe"
    assert len(house.romeo.ask(GET)[0]) == 0
    assert house.kept == (State.NONE_IN, False)
    house.nurse.send(f"<presence type='unsubscribe' to='romeo@montague.lit' from='{NURSE}'/>")
    assert house.pushed() == []
    assert NURSE not in house.account.roster


@pytest.mark.rfc6121("3.1.3-5")
def test_a_request_comes_again_at_each_new_availability(house: House, network: Network) -> None:
    house.nurse.send(f"<presence type='subscribe' to='romeo@montague.lit' id='s1' from='{NURSE}'/>")
    for _ in range(2):
        again = network.client("romeo@montague.lit/street", presence="")
        again.send("<presence/>")
        assert [each.get("id") for each in again.heard if each.get("type") == "subscribe"] == ["s1"]
        again.close()


@pytest.mark.rfc6121("3.1.1-1")
@pytest.mark.parametrize("first", ["set", "subscribe"])
def test_a_roster_set_and_a_request_may_come_in_either_order(house: House, first: str) -> None:
    item = (
        f"<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='{NURSE}' name='N'/></query></iq>"
    )
    request = f"<presence type='subscribe' to='{NURSE}'/>"
    for said in (item, request) if first == "set" else (request, item):
        house.romeo.send(said)
    assert house.kept == (State.NONE_OUT, False)
    assert house.account.roster[NURSE].name == "N"
    assert [each.get("type") for each in house.nurse.heard] == ["subscribe"]


@pytest.mark.rfc6121("3.1.2-1")
@pytest.mark.parametrize("to", ["@@", "nurse@", "nurse@verona.lit/"])
def test_a_request_to_no_address_is_refused_and_changes_nothing(house: House, to: str) -> None:
    house.romeo.send(f"<presence type='subscribe' to='{to}' id='s1'/>")
    assert condition(house.romeo.next()) == "jid-malformed"
    assert house.romeo.hears_nothing()
    assert house.account.roster == {}


@pytest.mark.rfc6121("3.1.2-5", "3.1.2-6", "4.7.1-1")
def test_a_request_that_cannot_be_routed_is_told(house: House) -> None:
    house.romeo.send("<presence type='subscribe' to='nobody@nowhere.example' id='s1'/>")
    assert house.pushed() == [("nobody@nowhere.example", "none", "subscribe", None)]
    error = house.romeo.next()
    assert (condition(error), error.get("id")) == ("remote-server-not-found", "s1")
    assert error.get("from") == "nobody@nowhere.example"
