"""RFC 6121 §8.5, every section, stanza type and situation; and what is stored offline (XEP-0160 §3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from jabberd.jsm.delivery import Plan, plan, recipients, worth_storing
from jabberd.xmpp import ns
from jabberd.xmpp.element import E
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.xmpp.element import Element


@dataclass(frozen=True)
class Session:
    """A resource; its priority is None while it is connected but not available."""

    priority: int | None


Account = dict[str, Session] | None


def account(**priorities: int | None) -> Account:
    return {resource: Session(priority) for resource, priority in priorities.items()}


# Each situation: the account's sessions, and the resource to which the stanza is addressed.
NO_ACCOUNT: Final[dict[str, tuple[Account, str]]] = {
    "no-account-bare": (None, ""),
    "no-account-full": (None, "balcony"),
}
WITHOUT_PRESENT: Final = {
    "no-session": account(),
    "one-connected": account(chamber=None),
    "one-negative": account(chamber=-1),
    "two-negative": account(chamber=-1, garden=-128),
    "negative-and-connected": account(chamber=-1, garden=None),
}
WITH_PRESENT: Final = {
    "one-of-zero": account(chamber=0),
    "one-positive": account(chamber=5),
    "three-positive": account(chamber=3, garden=1, tomb=2),
    "zero-and-negative": account(chamber=0, garden=-1),
    "positive-negative-and-connected": account(tomb=-1, garden=None, chamber=127),
}
BARE_ABSENT: Final = {f"bare-{k}": (v, "") for k, v in WITHOUT_PRESENT.items()}
BARE_PRESENT: Final = {f"bare-{k}": (v, "") for k, v in WITH_PRESENT.items()}
MATCH: Final = {
    "full-connected": (account(balcony=None), "balcony"),
    "full-negative": (account(balcony=-1), "balcony"),
    "full-zero": (account(balcony=0), "balcony"),
    "full-one-of-many": (account(chamber=9, balcony=1, garden=-1), "balcony"),
}
OTHER_ABSENT: Final = {f"other-{k}": (v, "balcony") for k, v in WITHOUT_PRESENT.items()}
OTHER_PRESENT: Final = {f"other-{k}": (v, "balcony") for k, v in WITH_PRESENT.items()}
BARE: Final = BARE_ABSENT | BARE_PRESENT
OTHER: Final = OTHER_ABSENT | OTHER_PRESENT
EVERYWHERE: Final = NO_ACCOUNT | BARE | MATCH | OTHER

NORMAL: Final = ("normal", "", "x-unknown")  # §5.2.2: no type and types not understood
MANAGING: Final = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")

# The whole of §8.5: section, stanza, types, situations, what is to happen.
Case = tuple[str, str, str, str, Plan]
RULES: Final[list[tuple[str, str, tuple[str, ...], dict[str, tuple[Account, str]], Plan]]] = [
    ("8.5.1", "iq", ("get", "set"), NO_ACCOUNT, Plan.BOUNCE),
    ("8.5.1", "message", (*NORMAL, "chat", "groupchat"), NO_ACCOUNT, Plan.BOUNCE),
    ("8.5.1", "message", ("headline",), NO_ACCOUNT, Plan.IGNORE),
    ("8.5.1", "presence", ("", "unavailable"), NO_ACCOUNT, Plan.IGNORE),
    ("8.5.1", "presence", MANAGING, NO_ACCOUNT, Plan.IGNORE),
    ("8.5.1", "presence", ("probe",), NO_ACCOUNT, Plan.PROBE),
    ("8.5.2.1.1", "message", (*NORMAL, "chat"), BARE_PRESENT, Plan.NON_NEGATIVE),
    ("8.5.2.1.1", "message", ("groupchat",), BARE_PRESENT, Plan.BOUNCE),
    ("8.5.2.1.1", "message", ("headline",), BARE_PRESENT, Plan.NON_NEGATIVE),
    ("8.5.2.1.1", "message", ("error",), BARE_PRESENT, Plan.IGNORE),
    ("8.5.2.2.1", "message", (*NORMAL, "chat"), BARE_ABSENT, Plan.STORE),
    ("8.5.2.2.1", "message", ("groupchat",), BARE_ABSENT, Plan.BOUNCE),
    ("8.5.2.2.1", "message", ("headline", "error"), BARE_ABSENT, Plan.IGNORE),
    ("8.5.2.1.2", "presence", ("", "unavailable"), BARE, Plan.AVAILABLE),
    ("8.5.2.1.2", "presence", MANAGING, BARE, Plan.SUBSCRIPTION),
    ("8.5.2.1.2", "presence", ("probe",), BARE, Plan.PROBE),
    ("8.5.2.1.3", "iq", ("get", "set"), BARE, Plan.ANSWER),
    ("8.5.3.1", "iq", ("result", "error"), MATCH, Plan.ADDRESSED),
    ("8.5.3.1", "message", (*NORMAL, "chat", "groupchat", "headline", "error"), MATCH, Plan.ADDRESSED),
    ("8.5.3.1", "presence", ("", "unavailable"), MATCH, Plan.ADDRESSED),
    ("8.5.3.1", "presence", MANAGING, MATCH, Plan.SUBSCRIPTION),
    ("8.5.3.1", "presence", ("probe",), MATCH, Plan.PROBE),
    ("8.5.3.2.1", "message", (*NORMAL, "groupchat"), OTHER, Plan.BOUNCE),
    ("8.5.3.2.1", "message", ("headline", "error"), OTHER, Plan.IGNORE),
    ("8.5.3.2.1", "message", ("chat",), OTHER_ABSENT, Plan.STORE),
    ("8.5.3.2.1", "message", ("chat",), OTHER_PRESENT, Plan.NON_NEGATIVE),
    ("8.5.3.2.2", "presence", ("", "unavailable"), OTHER, Plan.IGNORE),
    ("8.5.3.2.2", "presence", ("subscribe",), OTHER, Plan.SUBSCRIPTION),
    ("8.5.3.2.2", "presence", ("subscribed", "unsubscribe", "unsubscribed"), OTHER, Plan.IGNORE),
    ("8.5.3.2.2", "presence", ("probe",), OTHER, Plan.PROBE),
    ("8.5.3.2.3", "iq", ("get", "set"), OTHER, Plan.BOUNCE),
    # what §8.5 leaves to RFC 6120: nothing answers an error or a result
    ("6120-8.3.1", "message", ("error",), NO_ACCOUNT, Plan.IGNORE),
    ("6120-8.3.1", "presence", ("error",), NO_ACCOUNT | OTHER, Plan.IGNORE),
    ("6120-8.3.1", "presence", ("error",), BARE, Plan.AVAILABLE),  # §3.1.2: a request that failed
    ("6120-8.3.1", "presence", ("error",), MATCH, Plan.ADDRESSED),
    ("6120-8.2.3", "iq", ("result", "error"), NO_ACCOUNT | BARE | OTHER, Plan.IGNORE),
    # types that do not exist are refused, the same whoever is asked for
    ("4.7.1", "presence", ("available", "x-unknown"), EVERYWHERE, Plan.REFUSE),
    ("6120-8.2.3", "iq", ("", "x-unknown"), EVERYWHERE, Plan.REFUSE),
]


CASES: Final[list[Case]] = [
    (section, name, type, situation, expected)
    for section, name, types, situations, expected in RULES
    for type in types
    for situation in situations
]


def _id(case: Case) -> str:
    section, name, type, situation, _ = case
    return f"{section}-{name}-{type or 'no_type'}-{situation}"


@pytest.mark.rfc6121(
    "8.5.1-1",
    "8.5.1-2",
    "8.5.1-3",
    "8.5.1-4",
    "8.5.1-5",
    "8.5.2.1.1-3",
    "8.5.2.1.1-4",
    "8.5.2.1.1-5",
    "8.5.2.1.1-6",
    "8.5.2.1.2-1",
    "8.5.2.1.2-2",
    "8.5.2.1.2-3",
    "8.5.2.1.3-1",
    "8.5.2.2.1-1",
    "8.5.2.2.1-2",
    "8.5.2.2.2-1",
    "8.5.2.2.2-2",
    "8.5.2.2.3-1",
    "8.5.3.1-1",
    "8.5.3.1-2",
    "8.5.3.1-3",
    "8.5.3.1-4",
    "8.5.3.1-5",
    "8.5.3.2.1-1",
    "8.5.3.2.1-2",
    "8.5.3.2.1-5",
    "8.5.3.2.2-1",
    "8.5.3.2.2-2",
    "8.5.3.2.2-3",
    "8.5.3.2.2-4",
    "8.5.3.2.3-1",
)
def test_every_rule_of_section_8_5() -> None:
    wrong: dict[str, Plan] = {}
    for case in CASES:
        _, name, type, situation, expected = case
        sessions, resource = EVERYWHERE[situation]
        made = plan(name, type, sessions, resource)
        if made is not expected:
            wrong[_id(case)] = made
    assert wrong == {}


@pytest.mark.parametrize("situation", MATCH)
@pytest.mark.parametrize("type", ["get", "set"])
def test_8_5_3_1_a_connected_resource_is_asked_only_by_those_who_may_know_of_it(
    type: str, situation: str
) -> None:
    sessions, resource = MATCH[situation]
    assert plan("iq", type, sessions, resource, shares_presence=True) is Plan.ADDRESSED
    assert plan("iq", type, sessions, resource, shares_presence=False) is Plan.BOUNCE


@pytest.mark.parametrize("type", ["get", "set"])
def test_c5_a_stranger_cannot_tell_a_connected_resource_from_one_that_is_not(type: str) -> None:
    here, gone = plan("iq", type, account(balcony=1), "balcony"), plan("iq", type, account(), "balcony")
    assert here is gone is plan("iq", type, None, "balcony")


def test_only_iq_requests_depend_on_whether_presence_is_shared() -> None:
    types = {
        "message": (*NORMAL, "chat", "groupchat", "headline", "error"),
        "presence": ("", "unavailable", "error", "probe", *MANAGING, "x-unknown"),
        "iq": ("result", "error", "", "x-unknown"),
    }
    depending = [
        (name, type, situation)
        for name, known in types.items()
        for type in known
        for situation, (sessions, resource) in EVERYWHERE.items()
        if plan(name, type, sessions, resource, shares_presence=True)
        is not plan(name, type, sessions, resource, shares_presence=False)
    ]
    assert depending == []


def test_every_type_of_every_stanza_has_a_rule_for_every_situation() -> None:
    asked = [(name, type, situation) for _, name, type, situation, _ in CASES]
    requests = {("iq", type, situation) for type in ("get", "set") for situation in MATCH}  # tested apart
    types = {
        "message": (*NORMAL, "chat", "groupchat", "headline", "error"),
        "presence": ("", "unavailable", "error", "probe", *MANAGING, "available", "x-unknown"),
        "iq": ("get", "set", "result", "error", "", "x-unknown"),
    }
    wanted = {(n, t, situation) for n, known in types.items() for t in known for situation in EVERYWHERE}
    assert len(asked) == len(set(asked))
    assert set(asked) | requests == wanted


# Table 1 of §8.5.4 as it stands in the RFC.
TABLE_1 = """
   | ACCOUNT DOES NOT EXIST                                   |
   |  bare            |  S/E   |  S/E  |     E     |    S     |
   |  full            |  S/E   |  S/E  |    S/E    |   S/E    |
   | ACCOUNT EXISTS, BUT NO ACTIVE RESOURCES                  |
   |  bare            |  O/E   |  O/E  |     E     |    S     |
   |  full (no match) |  S/E   |  O/E  |    S/E    |   S/E    |
   | 1+ NEGATIVE RESOURCES BUT ZERO NON-NEGATIVE RESOURCES    |
   |  bare            |  O/E   |  O/E  |     E     |    S     |
   |  full match      |   D    |   D   |     D     |    D     |
   |  full no match   |  S/E   |  O/E  |    S/E    |   S/E    |
   | 1 NON-NEGATIVE RESOURCE                                  |
   |  bare            |   D    |   D   |     E     |    D     |
   |  full match      |   D    |   D   |     D     |    D     |
   |  full no match   |  S/E   |   D   |    S/E    |   S/E    |
   | 1+ NON-NEGATIVE RESOURCES                                |
   |  bare            |  M/A   |  M/A* |     E     |    A     |
   |  full match      |   D    |  D/A* |     D     |    D     |
   |  full no match   |  S/E   |  M/A* |    S/E    |   S/E    |
"""
CONDITIONS: Final[dict[str, tuple[Account, str]]] = {
    "ACCOUNT DOES NOT EXIST": (None, "balcony"),
    "ACCOUNT EXISTS, BUT NO ACTIVE RESOURCES": (account(), "balcony"),
    "1+ NEGATIVE RESOURCES BUT ZERO NON-NEGATIVE RESOURCES": (account(balcony=-1, garden=-2), "balcony"),
    "1 NON-NEGATIVE RESOURCE": (account(balcony=0), "balcony"),
    "1+ NON-NEGATIVE RESOURCES": (account(balcony=0, garden=7), "balcony"),
}
LETTERS: Final = {
    Plan.STORE: "O",
    Plan.BOUNCE: "E",
    Plan.IGNORE: "S",
    Plan.ADDRESSED: "D",
    Plan.NON_NEGATIVE: "A",
}


def _table_1() -> Iterator[tuple[str, str, str, str]]:
    condition = ""
    for line in TABLE_1.strip().splitlines():
        first, *cells = (cell.strip() for cell in line.strip().strip("|").split("|"))
        if not cells:
            condition = first
        for type, cell in zip(("normal", "chat", "groupchat", "headline"), cells, strict=False):
            yield condition, first, type, cell.rstrip("*")


@pytest.mark.rfc6121("5.2.2-2", "8.5.3.2.1-4")
@pytest.mark.parametrize(
    ("condition", "address", "type", "allowed"),
    [pytest.param(*row, id=f"8.5.4-{row[0]}-{row[1]}-{row[2]}") for row in _table_1()],
)
def test_the_plan_is_one_that_table_1_allows(condition: str, address: str, type: str, allowed: str) -> None:
    sessions, connected = CONDITIONS[condition]
    resource = {"bare": "", "full no match": "tomb", "full (no match)": "tomb"}.get(address, connected)
    letter = LETTERS[plan("message", type, sessions, resource)]
    if condition == "1 NON-NEGATIVE RESOURCE" and letter == "A":
        letter = "D"  # all of one
    assert letter in allowed.split("/")


@pytest.mark.rfc6121("8.5.2.1.1-2")
def test_a_message_to_the_bare_jid_reaches_every_resource_of_non_negative_priority() -> None:
    sessions = {"a": Session(0), "b": Session(-1), "c": Session(None), "d": Session(9)}
    assert recipients(plan("message", "chat", sessions), sessions) == [sessions["a"], sessions["d"]]


def test_presence_to_the_bare_jid_reaches_every_available_resource() -> None:
    sessions = {"a": Session(0), "b": Session(-1), "c": Session(None)}
    assert recipients(plan("presence", "", sessions), sessions) == [sessions["a"], sessions["b"]]


def test_a_stanza_to_a_full_jid_reaches_that_resource_only() -> None:
    sessions = {"a": Session(0), "b": Session(None)}
    assert recipients(plan("message", "chat", sessions, "b"), sessions, "b") == [sessions["b"]]


@pytest.mark.parametrize(
    "other", [p for p in Plan if p not in (Plan.ADDRESSED, Plan.NON_NEGATIVE, Plan.AVAILABLE)]
)
def test_a_plan_that_is_no_delivery_reaches_nobody(other: Plan) -> None:
    assert recipients(other, {"a": Session(0)}, "a") == []


# -- offline storage ------------------------------------------------------------------------------

BODY = E(ns.CLIENT, "body", None, "Wherefore art thou?")
COMPOSING = E("http://jabber.org/protocol/chatstates", "composing")
ACTIVE = E("http://jabber.org/protocol/chatstates", "active")
THREAD = E(ns.CLIENT, "thread", None, "t1")
NO_STORE = E("urn:xmpp:hints", "no-store")
ORIGIN_ID = E("urn:xmpp:sid:0", "origin-id", {"id": "1"})
RECEIPT = E("urn:xmpp:receipts", "received", {"id": "1"})
SUBJECT = E(ns.CLIENT, "subject", None, "Tonight")


def _contents(value: list[Element] | bool) -> str:
    if isinstance(value, bool):
        return "stored" if value else "not_stored"
    return "+".join(child.tag.rpartition("}")[2] for child in value) or "empty"


@pytest.mark.parametrize("type", ["", "normal", "chat", "x-unknown"])
@pytest.mark.parametrize(
    ("children", "worth"),
    [
        ([BODY], True),
        ([SUBJECT], True),
        ([RECEIPT], True),
        ([BODY, ACTIVE], True),
        ([ACTIVE, BODY, THREAD], True),
        ([], False),
        ([COMPOSING], False),
        ([COMPOSING, THREAD], False),
        ([COMPOSING, NO_STORE, ORIGIN_ID], False),
    ],
    ids=_contents,
)
def test_xep_0160_a_message_is_stored_unless_it_only_says_that_somebody_types(
    type: str, children: list[Element], worth: bool
) -> None:
    assert worth_storing(Stanza.of("message", *children, type=type)) is worth


@pytest.mark.parametrize("type", ["groupchat", "headline", "error"])
def test_xep_0160_other_types_are_never_stored(type: str) -> None:
    assert not worth_storing(Stanza.of("message", BODY, type=type))
