"""What becomes of a stanza for one of our accounts: RFC 6121 §8.5, as one table.

The table says nothing of blocking: whoever refuses somebody's stanzas does so before (§8.1).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from jabberd.xmpp import ns
from jabberd.xmpp.content import treatment
from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jabberd.xmpp.stanza import Stanza


class Plan(Enum):
    """What to do with a stanza.  Whoever gets it, its ``to`` stays as it is (§8.5.2.1.1)."""

    ADDRESSED = "deliver it to the resource of its full JID"
    NON_NEGATIVE = "deliver it to each available resource of non-negative priority: there is one"
    AVAILABLE = "deliver it to each available resource: there may be none"
    STORE = "keep it if it is worth_storing, bounce it if that fails (XEP-0160 §2)"
    BOUNCE = "answer with service-unavailable"
    REFUSE = "answer with bad-request"
    IGNORE = "forget it"
    ANSWER = "the server answers this request in the account's name (§8.5.2.1.3)"
    PROBE = "answer the probe (§4.3.2): an account that does not exist, like one that hides from the sender"
    SUBSCRIPTION = "handle it as sent to the bare JID (§3, jabberd.jsm.subscription)"


class Resource(Protocol):
    """A session of the account, as far as the plan depends on it."""

    @property
    def priority(self) -> int | None:
        """The presence priority (§4.7.2.3); None while the resource is connected but not available."""


R = TypeVar("R", bound=Resource)

(_ADDRESSED, _NON_NEG, _AVAILABLE, _STORE, _BOUNCE, _REFUSE, _IGNORE, _ANSWER, _PROBE, _SUBSCR) = Plan
_Row = tuple[Plan, Plan, Plan, Plan, Plan, Plan, Plan]

# The columns: there is no such account; or the stanza is for its bare JID; or for a full JID that is
# connected, by somebody with whom the account shares its presence or by a stranger; or for a full
# JID that is not.  "Absent": no resource is available with a non-negative priority.
(_NOBODY, _BARE_ABSENT, _BARE_PRESENT, _SHARING, _STRANGER, _OTHER_ABSENT, _OTHER_PRESENT) = range(7)

# fmt: off
# (the columns stand under each other, to be compared with §8.5.4)
_TABLE: Final[dict[str, dict[str, _Row]]] = {
    "message": {
        # to:            no account  bare JID    bare JID    connected   connected   other       other
        #                            absent      present     sharing     stranger    absent      present
        # section        8.5.1       8.5.2.2.1   8.5.2.1.1   8.5.3.1     8.5.3.1     8.5.3.2.1   8.5.3.2.1
        "normal":       (_BOUNCE,    _STORE,     _NON_NEG,   _ADDRESSED, _ADDRESSED, _BOUNCE,    _BOUNCE),
        "chat":         (_BOUNCE,    _STORE,     _NON_NEG,   _ADDRESSED, _ADDRESSED, _STORE,     _NON_NEG),
        "groupchat":    (_BOUNCE,    _BOUNCE,    _BOUNCE,    _ADDRESSED, _ADDRESSED, _BOUNCE,    _BOUNCE),
        "headline":     (_IGNORE,    _IGNORE,    _NON_NEG,   _ADDRESSED, _ADDRESSED, _IGNORE,    _IGNORE),
        "error":        (_IGNORE,    _IGNORE,    _IGNORE,    _ADDRESSED, _ADDRESSED, _IGNORE,    _IGNORE),
    },
    "presence": {
        # section        8.5.1       8.5.2.2.2   8.5.2.1.2   8.5.3.1     8.5.3.1     8.5.3.2.2   8.5.3.2.2
        "":             (_IGNORE,    _AVAILABLE, _AVAILABLE, _ADDRESSED, _ADDRESSED, _IGNORE,    _IGNORE),
        "unavailable":  (_IGNORE,    _AVAILABLE, _AVAILABLE, _ADDRESSED, _ADDRESSED, _IGNORE,    _IGNORE),
        "error":        (_IGNORE,    _AVAILABLE, _AVAILABLE, _ADDRESSED, _ADDRESSED, _IGNORE,    _IGNORE),
        "probe":        (_PROBE,     _PROBE,     _PROBE,     _PROBE,     _PROBE,     _PROBE,     _PROBE),
        "subscribe":    (_IGNORE,    _SUBSCR,    _SUBSCR,    _SUBSCR,    _SUBSCR,    _SUBSCR,    _SUBSCR),
        "subscribed":   (_IGNORE,    _SUBSCR,    _SUBSCR,    _SUBSCR,    _SUBSCR,    _IGNORE,    _IGNORE),
        "unsubscribe":  (_IGNORE,    _SUBSCR,    _SUBSCR,    _SUBSCR,    _SUBSCR,    _IGNORE,    _IGNORE),
        "unsubscribed": (_IGNORE,    _SUBSCR,    _SUBSCR,    _SUBSCR,    _SUBSCR,    _IGNORE,    _IGNORE),
    },
    "iq": {
        # section        8.5.1       8.5.2.2.3   8.5.2.1.3   8.5.3.1     8.5.3.1     8.5.3.2.3   8.5.3.2.3
        "get":          (_BOUNCE,    _ANSWER,    _ANSWER,    _ADDRESSED, _BOUNCE,    _BOUNCE,    _BOUNCE),
        "set":          (_BOUNCE,    _ANSWER,    _ANSWER,    _ADDRESSED, _BOUNCE,    _BOUNCE,    _BOUNCE),
        "result":       (_IGNORE,    _IGNORE,    _IGNORE,    _ADDRESSED, _ADDRESSED, _IGNORE,    _IGNORE),
        "error":        (_IGNORE,    _IGNORE,    _IGNORE,    _ADDRESSED, _ADDRESSED, _IGNORE,    _IGNORE),
    },
}
# fmt: on

#: An unknown type makes a message a "normal" one (§5.2.2); a presence (§4.7.1) or iq (RFC 6120 §8.2.3) is
#: refused.
_UNKNOWN_TYPE: Final[dict[str, _Row]] = {
    "message": _TABLE["message"]["normal"],
    "presence": (_REFUSE,) * 7,
    "iq": (_REFUSE,) * 7,
}


def plan(
    name: str,
    type: str,
    sessions: Mapping[str, Resource] | None,
    resource: str = "",
    *,
    shares_presence: bool = False,
) -> Plan:
    """Decide what becomes of a stanza for an account of ours.

    Where the RFC leaves a choice: a message to the bare JID goes to every resource of non-negative
    priority; what cannot be delivered is stored rather than bounced and bounced rather than dropped
    (a room learns so that an occupant is gone), but a headline is dropped.  Nothing answers an error
    or a result (RFC 6120 §8.2.3, §8.3.1): results for the account itself, such as those for roster
    pushes, were matched before with what was asked.

    :param name: ``message``, ``presence`` or ``iq``.
    :param type: the stanza's type, empty if it has none.
    :param sessions: the account's sessions by resourcepart; None if there is no such account.
    :param resource: the resourcepart to which the stanza is addressed, empty for the bare JID.
    :param shares_presence: whether the sender may know that the addressed resource is online: it is
        subscribed, or got directed presence, or belongs to the same account.  Asked of an iq only.
    """
    row = _TABLE[name].get(type) or _UNKNOWN_TYPE[name]
    if sessions is None:
        return row[_NOBODY]
    if resource in sessions:
        return row[_SHARING if shares_presence else _STRANGER]
    for session in sessions.values():
        if session.priority is not None and session.priority >= 0:
            return row[_OTHER_PRESENT if resource else _BARE_PRESENT]
    return row[_OTHER_ABSENT if resource else _BARE_ABSENT]


def reaches(name: str, type: str) -> bool:
    """Whether a stanza goes to the connected resource that it is addressed to, whoever sends it."""
    row = _TABLE[name].get(type) or _UNKNOWN_TYPE[name]
    return row[_SHARING] is row[_STRANGER] is _ADDRESSED


def recipients(plan: Plan, sessions: Mapping[str, R], resource: str = "") -> list[R]:
    """The sessions to which that plan delivers; none for a plan that does not deliver."""
    if plan is _ADDRESSED:
        return [sessions[resource]]
    if plan is _NON_NEG:
        return [s for s in sessions.values() if s.priority is not None and s.priority >= 0]
    if plan is _AVAILABLE:
        return [s for s in sessions.values() if s.priority is not None]
    return []


def worth_storing(message: Stanza) -> bool:
    """Whether a message that found nobody is to be kept for later (XEP-0160 §3)."""
    return treatment(message).waits


def refusal(stanza: Stanza) -> StanzaError:
    """What is said of an account that does not exist, and of one that does not tell (RFC 6121 §8.5.1).

    The same goes for a full JID, whether somebody is connected there or not (§8.5.3.1, §8.5.3.2.3).
    """
    full = stanza.to is not None and stanza.to.resourcepart
    if not full and stanza.type == "set" and stanza.children[:1] == (f"{{{ns.ROSTER}}}query",):
        return StanzaError("forbidden")  # RFC 6121 §2.3.3: a roster is its owner's to change
    return StanzaError("service-unavailable")
