"""RFC 6121 appendix A and §3, row by row, and what must hold for any conversation of two servers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.jsm.subscription import STANZAS, State, Transition, inbound, outbound, removal

if TYPE_CHECKING:
    from collections.abc import Callable

RFC_NAMES = {
    "None": State.NONE,
    "None + Pending Out": State.NONE_OUT,
    "None + Pending In": State.NONE_IN,
    "None + Pending Out+In": State.NONE_OUT_IN,
    "To": State.TO,
    "To + Pending In": State.TO_IN,
    "From": State.FROM,
    "From + Pending Out": State.FROM_OUT,
    "Both": State.BOTH,
}

# The tables as they stand in the RFC.
APPENDIX_A = {
    ("outbound", "subscribe"): """
   |  "None"                  |  MUST [1] |  "None + Pending Out"     |
   |  "None + Pending Out"    |  MUST     |  no state change          |
   |  "None + Pending In"     |  MUST [1] |  "None + Pending Out+In"  |
   |  "None + Pending Out+In" |  MUST     |  no state change          |
   |  "To"                    |  MUST     |  no state change          |
   |  "To + Pending In"       |  MUST     |  no state change          |
   |  "From"                  |  MUST [1] |  "From + Pending Out"     |
   |  "From + Pending Out"    |  MUST     |  no state change          |
   |  "Both"                  |  MUST     |  no state change          |
""",
    ("outbound", "unsubscribe"): """
   |  "None"                  |  MUST    |  no state change          |
   |  "None + Pending Out"    |  MUST    |  "None"                   |
   |  "None + Pending In"     |  MUST    |  no state change          |
   |  "None + Pending Out+In" |  MUST    |  "None + Pending In"      |
   |  "To"                    |  MUST    |  "None"                   |
   |  "To + Pending In"       |  MUST    |  "None + Pending In"      |
   |  "From"                  |  MUST    |  no state change          |
   |  "From + Pending Out"    |  MUST    |  "From"                   |
   |  "Both"                  |  MUST    |  "From"                   |
""",
    ("outbound", "subscribed"): """
   |  "None"                  |  M.N.    |  pre-approval [1]         |
   |  "None + Pending Out"    |  M.N.    |  pre-approval [1]         |
   |  "None + Pending In"     |  MUST    |  "From"                   |
   |  "None + Pending Out+In" |  MUST    |  "From + Pending Out"     |
   |  "To"                    |  M.N.    |  pre-approval [1]         |
   |  "To + Pending In"       |  MUST    |  "Both"                   |
   |  "From"                  |  M.N.    |  no state change          |
   |  "From + Pending Out"    |  M.N.    |  no state change          |
   |  "Both"                  |  M.N.    |  no state change          |
""",
    ("outbound", "unsubscribed"): """
   |  "None"                  |  S.N.    |  no state change [1]      |
   |  "None + Pending Out"    |  S.N.    |  no state change [1]      |
   |  "None + Pending In"     |  MUST    |  "None"                   |
   |  "None + Pending Out+In" |  MUST    |  "None + Pending Out"     |
   |  "To"                    |  S.N.    |  no state change [1]      |
   |  "To + Pending In"       |  MUST    |  "To"                     |
   |  "From"                  |  MUST    |  "None"                   |
   |  "From + Pending Out"    |  MUST    |  "None + Pending Out"     |
   |  "Both"                  |  MUST    |  "To"                     |
""",
    ("inbound", "subscribe"): """
   |  "None"                  |  MUST [1]  |  "None + Pending In"     |
   |  "None + Pending Out"    |  MUST      |  "None + Pending Out+In" |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  S.N.      |  no state change         |
   |  "To"                    |  MUST      |  "To + Pending In"       |
   |  "To + Pending In"       |  S.N.      |  no state change         |
   |  "From"                  |  S.N. [2]  |  no state change         |
   |  "From + Pending Out"    |  S.N. [2]  |  no state change         |
   |  "Both"                  |  S.N. [2]  |  no state change         |
""",
    ("inbound", "unsubscribe"): """
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  S.N.      |  no state change         |
   |  "None + Pending In"     |  MUST [1]  |  "None"                  |
   |  "None + Pending Out+In" |  MUST [1]  |  "None + Pending Out"    |
   |  "To"                    |  S.N.      |  no state change         |
   |  "To + Pending In"       |  MUST [1]  |  "To"                    |
   |  "From"                  |  MUST [1]  |  "None"                  |
   |  "From + Pending Out"    |  MUST [1]  |  "None + Pending Out"    |
   |  "Both"                  |  MUST [1]  |  "To"                    |
""",
    ("inbound", "subscribed"): """
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  MUST      |  "To"                    |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  MUST      |  "To + Pending In"       |
   |  "To"                    |  S.N.      |  no state change         |
   |  "To + Pending In"       |  S.N.      |  no state change         |
   |  "From"                  |  S.N.      |  no state change         |
   |  "From + Pending Out"    |  MUST      |  "Both"                  |
   |  "Both"                  |  S.N.      |  no state change         |
""",
    ("inbound", "unsubscribed"): """
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  MUST      |  "None"                  |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  MUST      |  "None + Pending In"     |
   |  "To"                    |  MUST      |  "None"                  |
   |  "To + Pending In"       |  MUST      |  "None + Pending In"     |
   |  "From"                  |  S.N.      |  no state change         |
   |  "From + Pending Out"    |  MUST      |  "From"                  |
   |  "Both"                  |  MUST      |  "From"                  |
""",
}
LOOK_UP = {"outbound": outbound, "inbound": inbound}


@dataclass(frozen=True)
class Row:
    """One line of the RFC's tables: ``outcome`` is "no state change", "pre-approval" or a state's name."""

    direction: str
    stanza: str
    old: State
    forward: bool
    outcome: str

    def __str__(self) -> str:
        return f"A-{self.direction}-{self.stanza}-{self.old.name}"

    @property
    def new(self) -> State:
        return RFC_NAMES.get(self.outcome, self.old)

    def transition(self, approved: bool) -> Transition:
        return LOOK_UP[self.direction](self.stanza, self.old, approved=approved)


def _rows() -> list[Row]:
    rows: list[Row] = []
    for (direction, stanza), table in APPENDIX_A.items():
        for line in table.strip().splitlines():
            old, forward, outcome = (
                cell.split("[")[0].strip().strip('"') for cell in line.strip().strip("|").split("|")
            )
            rows.append(Row(direction, stanza, RFC_NAMES[old], forward == "MUST", outcome))
    return rows


ROWS = _rows()


def broken(holds: Callable[[Row, bool], bool]) -> list[str]:
    """The rows for which it does not hold, with and without a pre-approval."""
    return [
        f"{row} {'approved' if approved else ''}"
        for row in ROWS
        for approved in (False, True)
        if not holds(row, approved)
    ]


def _auto_approved(row: Row, approved: bool) -> bool:
    return approved and (row.direction, row.stanza) == ("inbound", "subscribe") and not row.old.shows_user


def test_the_rfc_tables_have_a_row_for_each_state_stanza_and_direction() -> None:
    assert len({(row.direction, row.stanza, row.old) for row in ROWS}) == len(ROWS) == 9 * 4 * 2


@pytest.mark.rfc6121("3.1.6-1", "3.2.3-1", "3.3.3-1", "A.2-1", "A.3-1")
def test_every_row_of_appendix_a_is_kept() -> None:
    def kept(row: Row, approved: bool) -> bool:
        step = row.transition(approved)
        if _auto_approved(row, approved):
            return not step.forward and step.state.shows_user
        return (step.forward, step.state) == (row.forward, row.new)

    assert broken(kept) == []


@pytest.mark.rfc6121("3.2.2-2", "3.4.2-3")
def test_a_pre_approval_comes_with_subscribed_and_goes_with_unsubscribed() -> None:
    def kept(row: Row, approved: bool) -> bool:
        if row.outcome == "pre-approval":
            expected = True
        elif (row.direction, row.stanza) == ("outbound", "unsubscribed"):
            expected = False  # A.2.4 [1]
        else:
            expected = approved
        return row.transition(approved).approved is expected

    assert broken(kept) == []


def test_a_push_is_sent_exactly_when_what_clients_see_of_the_item_changes() -> None:
    def pushed(row: Row, approved: bool) -> bool:
        step = row.transition(approved)
        seen_before = (row.old.subscription, row.old.ask, approved)
        seen_after = (step.state.subscription, step.state.ask, step.approved)
        return step.push is (seen_before != seen_after)

    assert broken(pushed) == []


@pytest.mark.rfc6121("3.1.3-1", "3.1.3-3")
def test_the_server_answers_only_a_subscribe_that_is_already_granted_or_pre_approved() -> None:
    def answered(row: Row, approved: bool) -> bool:
        asked = (row.direction, row.stanza) == ("inbound", "subscribe")  # §3.1.3, A.3.1 [2]
        granted = row.old.shows_user or approved
        return row.transition(approved).reply == ("subscribed" if asked and granted else "")

    assert broken(answered) == []


@pytest.mark.rfc6121("3.2.2-1", "3.2.2-3", "3.3.3-3")
def test_presence_is_sent_when_the_contact_gains_or_loses_the_view_of_it() -> None:
    def sent(row: Row, approved: bool) -> bool:
        step = row.transition(approved)
        if step.reply or (step.state.shows_user and not row.old.shows_user):
            return step.presence == "available"  # §3.1.5
        if row.old.shows_user and not step.state.shows_user:
            return step.presence == "unavailable"  # §3.2.2, §3.3.3
        return not step.presence

    assert broken(sent) == []


@pytest.mark.rfc6121("3.4.2-6")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (State.NONE, State.FROM),
        (State.NONE_OUT, State.FROM_OUT),
        (State.NONE_IN, State.FROM),
        (State.NONE_OUT_IN, State.FROM_OUT),
        (State.TO, State.BOTH),
        (State.TO_IN, State.BOTH),
    ],
    ids=lambda state: state.name,
)
def test_a_pre_approved_subscribe_is_granted_without_the_user_seeing_it(old: State, new: State) -> None:
    assert inbound("subscribe", old, approved=True) == Transition(  # §3.4.2
        new, approved=True, forward=False, push=True, reply="subscribed", presence="available"
    )


def test_a_denied_stranger_learns_nothing_of_the_users_presence() -> None:
    denied = outbound("unsubscribed", State.NONE_IN, approved=False)
    assert (denied.forward, denied.state, denied.presence) == (True, State.NONE, "")


def test_a_presence_type_that_is_no_subscription_stanza_has_no_row() -> None:
    with pytest.raises(KeyError):
        inbound("probe", State.NONE, approved=False)


def test_a_1_each_state_is_kept_in_a_roster_as_its_name_says() -> None:
    for name, state in RFC_NAMES.items():
        subscription, _, pending = name.partition(" + Pending ")
        assert (state.subscription, state.ask, state.pending_in) == (
            subscription.lower(),
            "Out" in pending,
            "In" in pending,
        )


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_a_state_is_found_again_by_what_the_roster_keeps_of_it(state: State) -> None:
    assert State.of(state.subscription, ask=state.ask, pending_in=state.pending_in) is state


def test_a_mutual_subscription_with_a_request_pending_is_no_state() -> None:
    with pytest.raises(KeyError):
        State.of("both", ask=True, pending_in=False)


@pytest.mark.rfc6121("2.5.2-2", "2.5.2-3", "2.5.2-4")
@pytest.mark.parametrize(
    ("state", "sent"),
    [
        (State.NONE, []),
        (State.NONE_OUT, ["unsubscribe"]),
        (State.NONE_IN, ["unsubscribed"]),
        (State.NONE_OUT_IN, ["unsubscribe", "unsubscribed"]),
        (State.TO, ["unsubscribe"]),  # §2.5.2 rule 1
        (State.TO_IN, ["unsubscribe", "unsubscribed"]),
        (State.FROM, ["unsubscribed"]),  # §2.5.2 rule 2
        (State.FROM_OUT, ["unsubscribe", "unsubscribed"]),
        (State.BOTH, ["unsubscribe", "unsubscribed"]),  # §2.5.2 rule 3
    ],
    ids=lambda value: value.name if isinstance(value, State) else "",
)
def test_removing_a_contact_ends_every_subscription_and_request(state: State, sent: list[str]) -> None:
    steps = removal(state)
    assert [stanza for stanza, _ in steps] == sent
    assert all(step.forward for _, step in steps)
    assert not steps or steps[-1][1].state is State.NONE
    went_dark = [stanza for stanza, step in steps if step.presence == "unavailable"]
    assert went_dark == (["unsubscribed"] if state.shows_user else [])


# -- conversations --------------------------------------------------------------------------------

MIRROR = {
    State.NONE: State.NONE,
    State.NONE_OUT: State.NONE_IN,
    State.NONE_IN: State.NONE_OUT,
    State.NONE_OUT_IN: State.NONE_OUT_IN,
    State.TO: State.FROM,
    State.TO_IN: State.FROM_OUT,
    State.FROM: State.TO,
    State.FROM_OUT: State.TO_IN,
    State.BOTH: State.BOTH,
}
states = st.sampled_from(list(State))
stanzas = st.sampled_from(STANZAS)


@dataclass
class Side:
    """One account's view of the other, and what is on its way to the other in order."""

    state: State = State.NONE
    approved: bool = False
    sent: deque[str] = field(default_factory=deque)

    def say(self, stanza: str) -> None:
        step = outbound(stanza, self.state, approved=self.approved)
        self.state, self.approved = step.state, step.approved
        if step.forward:
            self.sent.append(stanza)

    def remove(self) -> None:
        self.sent.extend(stanza for stanza, _ in removal(self.state))
        self.state, self.approved = State.NONE, False

    def act(self, action: str) -> None:
        if action == "remove":
            self.remove()
        else:
            self.say(action)

    def hear_from(self, other: Side) -> None:
        step = inbound(other.sent.popleft(), self.state, approved=self.approved)
        self.state, self.approved = step.state, step.approved
        if step.reply:
            self.sent.append(step.reply)


def settle(one: Side, other: Side) -> None:
    """Deliver everything that is on its way, and what that leads to; an endless echo fails."""
    for _ in range(1000):
        if one.sent:
            other.hear_from(one)
        elif other.sent:
            one.hear_from(other)
        else:
            return
    pytest.fail("the servers never stop answering each other")


@pytest.mark.rfc6121("3.1.3-1")
@given(states.filter(lambda state: not state.shows_user), st.lists(stanzas, max_size=12))
def test_nothing_that_a_contact_sends_lets_it_see_a_user_who_did_not_approve(
    state: State, sent: list[str]
) -> None:
    for stanza in sent:
        step = inbound(stanza, state, approved=False)
        assert not step.state.shows_user
        assert not step.approved
        assert step.presence != "available"
        assert not step.reply
        state = step.state


@given(states, st.booleans(), st.lists(st.tuples(st.booleans(), stanzas), max_size=12))
def test_a_contact_comes_to_see_the_user_only_by_an_approval(
    state: State, approved: bool, sent: list[tuple[bool, str]]
) -> None:
    for by_user, stanza in sent:
        step = (outbound if by_user else inbound)(stanza, state, approved=approved)
        if step.state.shows_user and not state.shows_user:
            assert approved or (by_user and stanza == "subscribed")
        assert step.approved <= (approved or (by_user and stanza == "subscribed"))
        state, approved = step.state, step.approved


actions = st.sampled_from([*STANZAS, "remove"])


@given(states, st.booleans(), st.booleans(), st.lists(st.tuples(st.booleans(), actions), max_size=12))
def test_two_servers_that_take_turns_stay_mirror_images(
    state: State, approved: bool, other_approved: bool, said: list[tuple[bool, str]]
) -> None:
    romeo, juliet = Side(state, approved), Side(MIRROR[state], other_approved)
    for by_romeo, action in said:
        (romeo if by_romeo else juliet).act(action)
        settle(romeo, juliet)
        assert juliet.state is MIRROR[romeo.state]


@given(
    states,
    st.booleans(),
    st.booleans(),
    st.lists(st.one_of(actions, st.sampled_from(["deliver", "answer"])), max_size=16),
)
def test_what_one_user_sends_in_a_row_ends_in_mirror_images_however_slow_the_link(
    state: State, approved: bool, other_approved: bool, events: list[str]
) -> None:
    # But for asking again for what one has: the answer (§3.1.3) may come after a later "unsubscribe"
    # and "subscribe" and be taken for the answer to that.
    romeo, juliet = Side(state, approved), Side(MIRROR[state], other_approved)
    for event in events:
        if event == "deliver":
            if romeo.sent:
                juliet.hear_from(romeo)
        elif event == "answer":
            if juliet.sent:
                romeo.hear_from(juliet)
        elif event != "subscribe" or romeo.state.subscription not in ("to", "both"):
            romeo.act(event)
    settle(romeo, juliet)
    assert juliet.state is MIRROR[romeo.state]


def test_asking_again_right_after_unsubscribing_leaves_one_request_to_answer() -> None:
    romeo, juliet = Side(State.TO), Side(State.FROM)
    romeo.say("unsubscribe")
    romeo.say("subscribe")  # before anything of Juliet's server can be back
    settle(romeo, juliet)
    assert (romeo.state, juliet.state) == (State.NONE_OUT, State.NONE_IN)
