"""Presence subscriptions: who may see whose presence (RFC 6121 §3 and appendix A), as one table.

Everything is told from one side, the *user's*; the other side is the *contact*.  A stanza is
*outbound* when the user sends it and *inbound* when the contact does.  Nothing here keeps
anything: the caller looks a row up, stores the new state and does what the row says.

Where §3.2.3 and §3.3.3 say less than the tables of appendix A (a request that is denied or taken
back before it was approved), the tables hold: §3 refers to them for "complete details".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

Subscription = Literal["none", "to", "from", "both"]

#: The presence types that manage subscriptions, in the order of the columns below.
STANZAS: Final = ("subscribe", "unsubscribe", "subscribed", "unsubscribed")


class State(Enum):
    """The nine states of A.1, each as what a roster keeps of it.

    A pending inbound request is kept, but no client ever sees it in a roster.

    :ivar subscription: the roster item's ``subscription``.
    :ivar ask: whether the item has ``ask='subscribe'``: the user has asked, the contact has not answered.
    :ivar pending_in: whether the contact has asked and the user has not answered.
    """

    NONE = ("none", False, False)
    NONE_OUT = ("none", True, False)
    NONE_IN = ("none", False, True)
    NONE_OUT_IN = ("none", True, True)
    TO = ("to", False, False)
    TO_IN = ("to", False, True)
    FROM = ("from", False, False)
    FROM_OUT = ("from", True, False)
    BOTH = ("both", False, False)

    def __init__(self, subscription: Subscription, ask: bool, pending_in: bool) -> None:
        self.subscription: Subscription = subscription
        self.ask = ask
        self.pending_in = pending_in

    @classmethod
    def of(cls, subscription: Subscription, *, ask: bool, pending_in: bool) -> State:
        """The state of which a roster keeps these.

        :raises KeyError: there is no such state, such as "Both" with a request pending.
        """
        return _BY_PARTS[subscription, ask, pending_in]

    @property
    def shows_user(self) -> bool:
        """Whether the contact may see the user's presence: "From", "From + Pending Out" or "Both"."""
        return self.subscription in ("from", "both")


_BY_PARTS: Final = {(state.subscription, state.ask, state.pending_in): state for state in State}


@dataclass(frozen=True, slots=True)
class Transition:
    """What one subscription stanza does to one side.

    Outbound, in this order: ``presence`` if it is unavailable (§3.2.2), the push, the stanza itself,
    ``presence`` if it is available (§3.1.5).  Inbound: the stanza itself, the push (§3.1.6), the
    reply, ``presence``.

    :ivar state: the state afterwards.
    :ivar approved: whether the contact is pre-approved afterwards (§3.4).  Once given, a
        pre-approval lasts until the user sends ``unsubscribed`` or removes the contact.
    :ivar forward: outbound: route the stanza on.  Inbound: deliver it, a ``subscribe`` to the user's
        available resources, the others to the interested ones.
    :ivar push: the item that clients see has changed: a roster push (§2.1.6) and a new roster version.
    :ivar reply: ``subscribed`` if the server answers so in the user's name, else empty.
    :ivar presence: what to send to the contact from each available resource of the user: its
        current presence (``available``), ``unavailable``, or nothing (empty).
    """

    state: State
    approved: bool
    forward: bool
    push: bool
    reply: Literal["", "subscribed"] = ""
    presence: Literal["", "available", "unavailable"] = ""


(NONE, NONE_OUT, NONE_IN, NONE_OUT_IN, TO, TO_IN, FROM, FROM_OUT, BOTH) = State
MUST: Final = True
NOT: Final = False  # the RFC's "MUST NOT" and "SHOULD NOT" alike
SAME: Final = None  # no state change

_Row = tuple[bool, State | None]
_Table = dict[State, tuple[_Row, _Row, _Row, _Row]]

# fmt: off
# (the columns stand under each other, so that they can be compared with the RFC's)

#: A.2: is the user's stanza routed on, and what is the new state?
OUTBOUND: Final[_Table] = {
    #             subscribe            unsubscribe       subscribed         unsubscribed
    #             A.2.1, table 2       A.2.2, table 3    A.2.3, table 4     A.2.4, table 5
    NONE:        ((MUST, NONE_OUT),    (MUST, SAME),     (NOT, SAME),       (NOT, SAME)),
    NONE_OUT:    ((MUST, SAME),        (MUST, NONE),     (NOT, SAME),       (NOT, SAME)),
    NONE_IN:     ((MUST, NONE_OUT_IN), (MUST, SAME),     (MUST, FROM),      (MUST, NONE)),
    NONE_OUT_IN: ((MUST, SAME),        (MUST, NONE_IN),  (MUST, FROM_OUT),  (MUST, NONE_OUT)),
    TO:          ((MUST, SAME),        (MUST, NONE),     (NOT, SAME),       (NOT, SAME)),
    TO_IN:       ((MUST, SAME),        (MUST, NONE_IN),  (MUST, BOTH),      (MUST, TO)),
    FROM:        ((MUST, FROM_OUT),    (MUST, SAME),     (NOT, SAME),       (MUST, NONE)),
    FROM_OUT:    ((MUST, SAME),        (MUST, FROM),     (NOT, SAME),       (MUST, NONE_OUT)),
    BOTH:        ((MUST, SAME),        (MUST, FROM),     (NOT, SAME),       (MUST, TO)),
}

#: A.3: is the contact's stanza delivered to the user, and what is the new state?
INBOUND: Final[_Table] = {
    #             subscribe            unsubscribe       subscribed         unsubscribed
    #             A.3.1, table 6       A.3.2, table 7    A.3.3, table 8     A.3.4, table 9
    NONE:        ((MUST, NONE_IN),     (NOT, SAME),      (NOT, SAME),       (NOT, SAME)),
    NONE_OUT:    ((MUST, NONE_OUT_IN), (NOT, SAME),      (MUST, TO),        (MUST, NONE)),
    NONE_IN:     ((NOT, SAME),         (MUST, NONE),     (NOT, SAME),       (NOT, SAME)),
    NONE_OUT_IN: ((NOT, SAME),         (MUST, NONE_OUT), (MUST, TO_IN),     (MUST, NONE_IN)),
    TO:          ((MUST, TO_IN),       (NOT, SAME),      (NOT, SAME),       (MUST, NONE)),
    TO_IN:       ((NOT, SAME),         (MUST, TO),       (NOT, SAME),       (MUST, NONE_IN)),
    FROM:        ((NOT, SAME),         (MUST, NONE),     (NOT, SAME),       (NOT, SAME)),
    FROM_OUT:    ((NOT, SAME),         (MUST, NONE_OUT), (MUST, BOTH),      (MUST, FROM)),
    BOTH:        ((NOT, SAME),         (MUST, TO),       (NOT, SAME),       (MUST, FROM)),
}
# fmt: on

#: §3.4.2 and A.3.1 [1]: where an inbound "subscribe" leads, without a question, if it is pre-approved.
PRE_APPROVED: Final[dict[State, State]] = {
    NONE: FROM,
    NONE_OUT: FROM_OUT,
    NONE_IN: FROM,
    NONE_OUT_IN: FROM_OUT,
    TO: BOTH,
    TO_IN: BOTH,
}


def _outbound(stanza: str, old: State, approved: bool) -> Transition:
    forward, new = OUTBOUND[old][STANZAS.index(stanza)]
    after = approved
    if stanza == "subscribed" and not forward and not old.shows_user:
        after = True  # A.2.3 [1]: nobody has asked yet, so this is a pre-approval
    elif stanza == "unsubscribed":
        after = False  # A.2.4 [1], §3.2.2
    return _transition(old, new or old, approved, after, forward=forward)


def _inbound(stanza: str, old: State, approved: bool) -> Transition:
    forward, new = INBOUND[old][STANZAS.index(stanza)]
    if stanza != "subscribe":
        # A.3.2 [1] would have "unsubscribe" answered with "unsubscribed".  It tells the contact nothing
        # new, and if the contact has asked again meanwhile, it would cancel that later request there.
        return _transition(old, new or old, approved, approved, forward=forward)
    if old.shows_user:  # A.3.1 [2]; they lost track of it, so they lack the presence as well
        return Transition(old, approved, forward, push=False, reply="subscribed", presence="available")
    if approved:
        granted = PRE_APPROVED[old]
        return _transition(old, granted, approved, approved, forward=False, reply="subscribed")
    return _transition(old, new or old, approved, approved, forward=forward)


def _transition(
    old: State,
    new: State,
    approved: bool,
    approved_after: bool,
    *,
    forward: bool,
    reply: Literal["", "subscribed"] = "",
) -> Transition:
    push = (old.subscription, old.ask, approved) != (new.subscription, new.ask, approved_after)
    presence: Literal["", "available", "unavailable"] = ""
    if old.shows_user != new.shows_user:
        presence = "available" if new.shows_user else "unavailable"  # §3.1.5; §3.2.2, §3.3.3
    return Transition(new, approved_after, forward, push, reply, presence)


_Key = tuple[str, State, bool]
_KEYS: Final = [
    (stanza, state, approved) for stanza in STANZAS for state in State for approved in (False, True)
]
_OUTBOUND: Final[dict[_Key, Transition]] = {key: _outbound(*key) for key in _KEYS}
_INBOUND: Final[dict[_Key, Transition]] = {key: _inbound(*key) for key in _KEYS}


def outbound(stanza: str, state: State, *, approved: bool) -> Transition:
    """What it means that the user sends this to the contact.

    A contact that is not in the roster is in the state "None" (A.1).

    :param stanza: one of `STANZAS`.
    :param approved: whether the contact is pre-approved so far (§3.4).
    """
    return _OUTBOUND[stanza, state, approved]


def inbound(stanza: str, state: State, *, approved: bool) -> Transition:
    """What it means that the contact sends this to the user.

    An ``unsubscribed`` that our server sends by itself, in answer to a probe (§4.3.2), is none of the
    user's stanzas: it must not go through `outbound`, where it would cancel a pre-approval.

    :param stanza: one of `STANZAS`.
    :param approved: whether the contact is pre-approved so far (§3.4).
    """
    return _INBOUND[stanza, state, approved]


def removal(state: State) -> tuple[tuple[str, Transition], ...]:
    """The stanzas that the server sends in the user's name when the contact is removed (§2.5.2), in order.

    Each with what it does; the pushes give way to the one that says ``remove``.  Requests without
    an answer are ended as well, the user's own and the contact's, else the two rosters would differ.
    """
    sent: list[tuple[str, Transition]] = []
    for stanza in ("unsubscribe", "unsubscribed"):
        step = outbound(stanza, state, approved=False)
        if step.state is not state:
            sent.append((stanza, step))
            state = step.state
    return tuple(sent)
