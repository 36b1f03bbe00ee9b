"""The roster of RFC 6121 §2: sets and their errors, results, pushes, versions, and what is stored."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.jsm import roster
from jabberd.jsm.roster import LAST_REMOVAL, Changes, Limits, RosterItem, RosterSet
from jabberd.jsm.subscription import STANZAS, State, inbound, outbound
from jabberd.storage.values import Values
from jabberd.xmpp import ns
from jabberd.xmpp.element import NOT_IN_XML, E, Sealed, parse, serialize
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from jabberd.jsm.subscription import Transition
    from jabberd.xmpp.element import Element

ROMEO = JID.parse("romeo@montague.lit")
JULIET = JID.parse("juliet@capulet.lit")
NURSE = JID.parse("nurse@capulet.lit")
LIMITS = Limits(items=3, requests=2, request_size=200, text=10, groups=3)
REQUEST = b"<presence from='romeo@montague.lit' to='juliet@capulet.lit' type='subscribe'/>"
WAITING = REQUEST.decode()
VALUES = Values("roster", RosterItem)

Rows = dict[str, RosterItem]


def query(inside: str) -> Element:
    return parse(f"<query xmlns='jabber:iq:roster'>{inside}</query>".encode())


def set_of(inside: str) -> RosterSet:
    return roster.parse_set(query(inside), JULIET, LIMITS)


def refusal(inside: str) -> str:
    with pytest.raises(StanzaError) as refused:
        set_of(inside)
    return refused.value.condition


def apply(rows: Rows, changes: Changes) -> Rows:
    left = {jid: item for jid, item in rows.items() if jid not in changes}
    return left | {jid: item for jid, item in changes.items() if item is not None}


def written(element: Element | Sealed) -> str:
    return serialize(parse(element.data) if isinstance(element, Sealed) else element).decode()


def shown(item: RosterItem) -> Element:
    return parse(roster.push(item).data)[0]


# -- roster sets ----------------------------------------------------------------------------------


def test_a_set_names_a_contact_its_handle_and_its_groups() -> None:
    asked = set_of(
        "<item jid='Nurse@Capulet.lit' name='Nurse'><group>Servants</group><group>Home</group></item>"
    )
    assert asked == RosterSet(NURSE, "Nurse", ("Servants", "Home"))


def test_a_set_without_name_or_groups_clears_them() -> None:
    assert set_of("<item jid='nurse@capulet.lit' name=''/>") == set_of("<item jid='nurse@capulet.lit'/>")
    assert set_of("<item jid='nurse@capulet.lit'/>") == RosterSet(NURSE)


@pytest.mark.rfc6121("2.1.2.5-1")
@pytest.mark.parametrize("subscription", ["none", "to", "from", "both", "Remove", ""])
def test_a_client_cannot_set_subscription_ask_or_approved(subscription: str) -> None:
    asked = set_of(f"<item jid='{NURSE}' subscription='{subscription}' ask='subscribe' approved='true'/>")
    assert asked == RosterSet(NURSE)


def test_a_set_may_remove_a_contact_whatever_else_it_says() -> None:
    asked = set_of(f"<item jid='{NURSE}' subscription='remove'><group/><group/></item>")
    assert asked == RosterSet(NURSE, remove=True)
    assert not RosterSet(NURSE).remove


@pytest.mark.parametrize(
    ("inside", "condition"),
    [
        pytest.param("", "bad-request", id="C7-no_item"),
        pytest.param("<item jid='a@b.lit'/><item jid='c@d.lit'/>", "bad-request", id="C7-two_items"),
        pytest.param("<item xmlns='urn:x' jid='a@b.lit'/>", "bad-request", id="C7-item_of_another_namespace"),
        pytest.param("<item/>", "bad-request", id="C7-no_jid"),
        pytest.param("<item jid=''/>", "bad-request", id="C7-empty_jid"),
        pytest.param("<item jid='@@'/>", "jid-malformed", id="C3-no_jid_at_all"),
        pytest.param(
            "<item jid='a@b.lit'><group>x</group><group>x</group></item>", "bad-request", id="C7-double_group"
        ),
        pytest.param("<item jid='a@b.lit'><group/></item>", "not-acceptable", id="C7-empty_group"),
        pytest.param(
            "<item jid='a@b.lit'><group>12345678901</group></item>", "not-acceptable", id="C7-long_group"
        ),
        pytest.param("<item jid='a@b.lit' name='12345678901'/>", "not-acceptable", id="C7-long_name"),
        pytest.param(
            "<item jid='a@b.lit'><group>1</group><group>2</group><group>3</group><group>4</group></item>",
            "not-acceptable",
            id="P-too_many_groups",
        ),
        pytest.param("<item jid='juliet@capulet.lit'/>", "not-allowed", id="2.3.3-oneself"),
        pytest.param("<item jid='juliet@capulet.lit/balcony'/>", "not-allowed", id="2.3.3-own_resource"),
    ],
)
def test_a_wrong_set_is_refused(inside: str, condition: str) -> None:
    assert refusal(inside) == condition


def test_the_longest_name_and_the_longest_and_most_groups_are_taken() -> None:
    groups = "<group>1234567890</group><group>1</group><group>2</group>"
    asked = set_of(f"<item jid='a@b.lit' name='1234567890'>{groups}</item>")
    assert (asked.name, asked.groups) == ("1234567890", ("1234567890", "1", "2"))


# -- results and pushes ---------------------------------------------------------------------------


@pytest.mark.rfc6121("2.1.2.3-1")
def test_an_item_shows_what_clients_may_know() -> None:
    item = RosterItem(NURSE, "Nurse", ("Servants",), "from", ask=True, approved=True, version=7)
    assert written(roster.push(item)) == (
        "<query xmlns='jabber:iq:roster' ver='7'>"
        "<item jid='nurse@capulet.lit' name='Nurse' subscription='from' ask='subscribe' approved='true'>"
        "<group>Servants</group></item></query>"
    )


def test_a_plain_item_shows_no_more_than_it_has() -> None:
    assert roster.item_xml(RosterItem(NURSE)) == "<item jid='nurse@capulet.lit' subscription='none'/>"


@given(name=st.text(), groups=st.lists(st.text(min_size=1)))
def test_a_name_and_groups_come_out_as_they_went_in(name: str, groups: list[str]) -> None:
    kept = [re.sub(f"[{NOT_IN_XML}]", "\ufffd", text) for text in (name, *groups)]
    item = shown(RosterItem(NURSE, name, tuple(groups)))
    assert [item.get("name", ""), *(group.text or "" for group in item)] == kept


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_a_1_an_item_never_shows_that_a_request_is_pending(state: State) -> None:
    item = RosterItem(
        NURSE,
        subscription=state.subscription,
        ask=state.ask,
        pending_in=WAITING if state.pending_in else "",
    )
    assert item.state is state
    seen_by_clients = shown(item)
    assert (seen_by_clients.get("subscription"), seen_by_clients.get("ask")) == (
        state.subscription,
        "subscribe" if state.ask else None,
    )
    assert roster.item_xml(item) == roster.item_xml(replace(item, pending_in=""))


def test_a_removal_is_pushed_with_the_jid_alone() -> None:
    assert written(roster.removal_push(NURSE, 8)) == (
        "<query xmlns='jabber:iq:roster' ver='8'>"
        "<item jid='nurse@capulet.lit' subscription='remove'/></query>"
    )


def test_an_empty_roster_is_an_empty_query() -> None:
    assert written(roster.result({})) == "<query xmlns='jabber:iq:roster' ver='0'/>"


def test_a_result_has_each_contact_but_no_stranger_and_no_mark_of_a_removal() -> None:
    rows: Rows = {
        NURSE: RosterItem(NURSE, version=2),
        ROMEO: RosterItem(ROMEO, pending_in=WAITING, listed=False),
        LAST_REMOVAL: RosterItem(LAST_REMOVAL, listed=False, version=3),
    }
    assert written(roster.result(rows)) == (
        "<query xmlns='jabber:iq:roster' ver='3'><item jid='nurse@capulet.lit' subscription='none'/></query>"
    )


# -- changes --------------------------------------------------------------------------------------


def test_a_contact_is_added_in_the_next_version() -> None:
    rows: Rows = {ROMEO: RosterItem(ROMEO, version=4)}
    assert roster.updated(rows, RosterSet(NURSE, "Nurse", ("Servants",)), LIMITS) == {
        NURSE: RosterItem(NURSE, "Nurse", ("Servants",), version=5)
    }


def test_an_update_replaces_name_and_groups_and_leaves_the_subscription() -> None:
    rows: Rows = {ROMEO: RosterItem(ROMEO, "Romeo", ("Friends",), "both", approved=True, version=4)}
    assert roster.updated(rows, RosterSet(ROMEO, groups=("Lovers",)), LIMITS) == {
        ROMEO: RosterItem(ROMEO, "", ("Lovers",), "both", approved=True, version=5)
    }


@pytest.mark.rfc6121("A.1-1")
def test_a_stranger_who_has_asked_becomes_a_contact_whose_request_still_waits() -> None:
    rows: Rows = {ROMEO: RosterItem(ROMEO, pending_in=WAITING, listed=False)}
    assert roster.updated(rows, RosterSet(ROMEO, "Romeo"), LIMITS) == {
        ROMEO: RosterItem(ROMEO, "Romeo", pending_in=WAITING, version=1)
    }


def test_a_full_roster_takes_no_new_contact_but_changes_those_it_has() -> None:
    rows: Rows = {f"{n}@b.lit": RosterItem(f"{n}@b.lit", version=n) for n in range(LIMITS.items)}
    rows["stranger@b.lit"] = RosterItem("stranger@b.lit", pending_in=WAITING, listed=False)
    with pytest.raises(StanzaError, match="resource-constraint"):
        roster.updated(rows, RosterSet(NURSE), LIMITS)
    with pytest.raises(StanzaError, match="resource-constraint"):
        roster.moved(rows, NURSE, outbound("subscribe", State.NONE, approved=False), LIMITS)
    with pytest.raises(StanzaError, match="resource-constraint"):
        roster.moved(rows, "stranger@b.lit", outbound("subscribed", State.NONE_IN, approved=False), LIMITS)
    assert roster.updated(rows, RosterSet(JID.parse("1@b.lit"), "One"), LIMITS)
    assert roster.moved(rows, "1@b.lit", outbound("subscribe", State.NONE, approved=False), LIMITS)


def test_a_removal_leaves_only_its_version_behind() -> None:
    rows: Rows = {NURSE: RosterItem(NURSE, version=1), ROMEO: RosterItem(ROMEO, version=2)}
    rows = apply(rows, roster.removed(rows, NURSE))
    assert rows.keys() == {ROMEO, LAST_REMOVAL}
    assert roster.version(rows) == 3
    assert roster.listed(rows) == [RosterItem(ROMEO, version=2)]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param({}, id="C7-stranger"),
        pytest.param({NURSE: RosterItem(NURSE, pending_in=WAITING, listed=False)}, id="C7-one_who_asked"),
    ],
)
def test_a_stranger_cannot_be_removed(rows: Rows) -> None:
    with pytest.raises(StanzaError, match="item-not-found"):
        roster.removed(rows, NURSE)


@pytest.mark.rfc6121("3.1.3-7", "A.1-1")
def test_3_1_3_a_request_is_kept_but_adds_no_contact() -> None:
    changes = roster.moved({}, ROMEO, inbound("subscribe", State.NONE, approved=False), LIMITS, REQUEST)
    assert changes == {ROMEO: RosterItem(ROMEO, pending_in=WAITING, listed=False)}
    rows = apply({}, changes)
    assert roster.requests(rows) == [REQUEST]
    assert roster.listed(rows) == []
    assert roster.version(rows) == 0


def test_3_1_3_of_several_requests_the_first_is_kept() -> None:
    rows: Rows = {ROMEO: RosterItem(ROMEO, pending_in=WAITING, listed=False)}
    assert (
        roster.moved(rows, ROMEO, inbound("subscribe", State.NONE_IN, approved=False), LIMITS, b"<presence/>")
        == {}
    )


@pytest.mark.rfc6121("3.3.3-5")
@pytest.mark.parametrize(
    "step",
    [
        inbound("unsubscribe", State.NONE_IN, approved=False),
        outbound("unsubscribed", State.NONE_IN, approved=False),
    ],
)
def test_3_3_3_a_request_taken_back_or_denied_leaves_no_trace_of_a_stranger(step: Transition) -> None:
    rows: Rows = {ROMEO: RosterItem(ROMEO, pending_in=WAITING, listed=False)}
    assert roster.moved(rows, ROMEO, step, LIMITS) == {ROMEO: None}


def test_3_1_5_an_approval_makes_the_stranger_a_contact() -> None:
    rows: Rows = {ROMEO: RosterItem(ROMEO, pending_in=WAITING, listed=False)}
    changes = roster.moved(rows, ROMEO, outbound("subscribed", State.NONE_IN, approved=False), LIMITS)
    assert changes == {ROMEO: RosterItem(ROMEO, subscription="from", version=1)}


def test_3_1_2_a_request_of_ones_own_adds_the_contact() -> None:
    changes = roster.moved({}, ROMEO, outbound("subscribe", State.NONE, approved=False), LIMITS)
    assert changes == {ROMEO: RosterItem(ROMEO, ask=True, version=1)}


def test_3_4_2_a_pre_approval_adds_the_contact() -> None:
    changes = roster.moved({}, ROMEO, outbound("subscribed", State.NONE, approved=False), LIMITS)
    assert changes == {ROMEO: RosterItem(ROMEO, approved=True, version=1)}


@pytest.mark.parametrize("stanza", ["unsubscribe", "unsubscribed"])
def test_parting_from_a_stranger_adds_nothing(stanza: str) -> None:
    assert roster.moved({}, ROMEO, outbound(stanza, State.NONE, approved=False), LIMITS) == {}


def test_a_request_without_its_stanza_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        roster.moved({}, ROMEO, inbound("subscribe", State.NONE, approved=False), LIMITS)


def test_only_so_many_strangers_may_ask_but_contacts_always_may() -> None:
    rows: Rows = {
        NURSE: RosterItem(NURSE, pending_in=WAITING),
        LAST_REMOVAL: RosterItem(LAST_REMOVAL, listed=False, version=1),
        "1@evil.example": RosterItem("1@evil.example", pending_in=WAITING, listed=False),
    }
    assert roster.may_ask(rows, ROMEO, LIMITS)
    rows["2@evil.example"] = RosterItem("2@evil.example", pending_in=WAITING, listed=False)
    assert not roster.may_ask(rows, ROMEO, LIMITS)
    assert roster.may_ask(rows, NURSE, LIMITS)
    assert roster.may_ask(rows, "1@evil.example", LIMITS)


def test_a_request_is_kept_whole_unless_it_is_too_large() -> None:
    hello = E(ns.CLIENT, "status", None, "It is the east")
    request = Stanza.of("presence", hello, to=JULIET, sender=ROMEO, type="subscribe", id="s1")
    assert roster.request_bytes(request, LIMITS) == request.to_bytes()
    exact = Limits(request_size=len(request.to_bytes()))
    assert roster.request_bytes(request, exact) == request.to_bytes()
    large = request.with_child(E(ns.CLIENT, "status", None, "x" * 200))
    assert roster.request_bytes(large, LIMITS) == (
        b"<presence from='romeo@montague.lit' to='juliet@capulet.lit' type='subscribe'/>"
    )


# -- versions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ver", ["", "x", "-1", "1.0", " 3", "٣", "9" * 5000, "4"])
def test_2_6_3_a_client_whose_version_is_none_of_ours_gets_the_whole_roster(ver: str) -> None:
    assert roster.changed_since({NURSE: RosterItem(NURSE, version=3)}, ver) is None


@pytest.mark.rfc6121("2.6.3-2", "2.6.3-4")
def test_2_6_3_a_client_that_missed_changes_gets_them_in_order() -> None:
    rows: Rows = {f"{n}@b.lit": RosterItem(f"{n}@b.lit", version=n) for n in (4, 1, 3, 2)}
    missed = roster.changed_since(rows, "2")
    assert missed is not None
    assert [item.version for item in missed] == [3, 4]
    assert roster.changed_since(rows, "0") == sorted(rows.values(), key=lambda item: item.version)


def test_2_6_3_a_client_that_missed_nothing_gets_nothing() -> None:
    assert roster.changed_since({NURSE: RosterItem(NURSE, version=3)}, "3") == []


def test_2_6_3_a_client_that_missed_a_removal_gets_the_whole_roster() -> None:
    rows: Rows = {NURSE: RosterItem(NURSE, version=1), ROMEO: RosterItem(ROMEO, version=2)}
    rows = apply(rows, roster.removed(rows, NURSE))
    assert roster.changed_since(rows, "2") is None
    assert roster.changed_since(rows, "3") == []


contacts = st.sampled_from(["1@b.lit", "2@b.lit", "3@b.lit"])
events = st.one_of(
    st.tuples(st.just("update"), contacts),
    st.tuples(st.just("remove"), contacts),
    st.tuples(st.sampled_from([f"in {s}" for s in STANZAS] + [f"out {s}" for s in STANZAS]), contacts),
)


def happen(rows: Rows, event: str, contact: str) -> Rows:
    if event == "update":
        return apply(rows, roster.updated(rows, RosterSet(JID.parse(contact), "x"), Limits()))
    item = rows.get(contact)
    if event == "remove":
        return apply(rows, roster.removed(rows, contact)) if item and item.listed else rows
    direction, stanza = event.split()
    state, approved = (item.state, item.approved) if item else (State.NONE, False)
    step = (inbound if direction == "in" else outbound)(stanza, state, approved=approved)
    return apply(rows, roster.moved(rows, contact, step, Limits(), REQUEST))


def seen(rows: Rows) -> dict[str, str]:
    return {item.jid: roster.item_xml(item) for item in roster.listed(rows)}


@pytest.mark.rfc6121("2.1.1-1", "2.6.3-1")
@given(st.lists(events, max_size=30))
def test_a_client_that_comes_back_at_any_version_ends_with_the_true_roster(
    happened: list[tuple[str, str]],
) -> None:
    rows: Rows = {}
    caches = {0: seen(rows)}
    for event, contact in happened:
        before = rows
        rows = happen(rows, event, contact)
        at = roster.version(rows)
        assert at in (roster.version(before), roster.version(before) + 1)
        if seen(before) != seen(rows):
            assert at not in caches
        caches[at] = seen(rows)
        if contact in rows:
            assert rows[contact].listed or rows[contact].state is State.NONE_IN
    for ver, cache in caches.items():
        missed = roster.changed_since(rows, str(ver))
        if missed is not None:
            cache |= {item.jid: roster.item_xml(item) for item in missed}
            assert len({item.version for item in missed}) == len(missed)
            assert cache == seen(rows)


# -- storage --------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        RosterItem,
        jid=st.sampled_from([NURSE, "a@b.lit", ""]),
        name=texts,
        groups=st.lists(texts, max_size=3).map(tuple),
        subscription=st.sampled_from(["none", "to", "from", "both"]),
        ask=st.booleans(),
        approved=st.booleans(),
        pending_in=texts,
        listed=st.booleans(),
        version=st.integers(0, 2**62),
    )
)
def test_an_item_comes_back_from_json_as_it_was(item: RosterItem) -> None:
    assert VALUES.load("", VALUES.dump(item)) == item
