"""The ledger of `make rooms` sees what was lost, doubled or reordered."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


def _ledger() -> Any:
    """The benchmarks are no package."""
    path = Path(__file__).parents[1] / "benchmarks" / "ledger.py"
    spec = importlib.util.spec_from_file_location("ledger", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ledger"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LEDGER = _ledger()

CLERK, JULIET = 0, 1


def presence(who: int, *codes: int, type: str = "", nick: int = 1) -> str:
    statuses = "".join(f"<status code='{code}'/>" for code in codes)
    kind = f" type='{type}'" if type else ""
    return f"<presence from='orchard@rooms.lit/{who}-{nick}'{kind}><x>{statuses}</x></presence>"


def said(number: int, type: str = "groupchat") -> str:
    return f"<message id='t5.{CLERK}.{number}' type='{type}' from='orchard@rooms.lit/0-1'><body/></message>"


#: What both hear while Juliet comes, hears the second and third message of four, and goes.
CLERKS = [
    presence(CLERK, 110),
    *(said(0), presence(JULIET), said(1), said(2), presence(JULIET, type="unavailable"), said(3)),
]
HERS = [presence(CLERK), presence(JULIET, 110), said(1), said(2), presence(JULIET, 110, type="unavailable")]


def faults(hers: list[str], said_so_far: int = 4, clerks: list[str] = CLERKS) -> list[str]:
    ledger = LEDGER.Ledger()
    ledger.clerks["orchard"] = CLERK
    ledger.said["orchard", CLERK] = said_so_far
    for who, what in ((CLERK, clerks), (JULIET, hers)):
        found, rest = LEDGER.stanzas("".join(what).encode())
        assert rest == b""
        for each in found:
            ledger.heard(who, each)
    found_faults: list[str] = ledger.check()
    return found_faults


def test_nothing_is_wrong_where_everybody_heard_what_was_said_meanwhile() -> None:
    assert faults(HERS) == []


@pytest.mark.parametrize(
    ("hers", "fault"),
    [
        ([*HERS[:2], *HERS[3:]], "1 heard 1 of 2"),
        ([*HERS[:3], HERS[2], *HERS[3:]], "1 heard 3 of 2"),
        ([*HERS[:2], HERS[3], HERS[2], HERS[4]], "in another order"),
        ([*HERS, said(3)], "from outside"),
        ([*HERS, presence(JULIET, 110)], "was there 2 times, seen 1 times"),
        ([HERS[1], *HERS[2:4]], "sees others than the clerk"),
    ],
    ids=["lost", "doubled", "reordered", "after leaving", "a stay that nobody saw", "somebody missing"],
)
def test_what_is_wrong_shows(hers: list[str], fault: str) -> None:
    assert fault in "; ".join(faults(hers))


def test_what_was_taken_and_never_reflected_shows() -> None:
    assert faults(HERS, said_so_far=5) == ["orchard: of 0's 5 were heard [0, 1, 2, 3]"]


def test_what_was_refused_is_not_missed() -> None:
    assert faults([*HERS, said(4, "error")], said_so_far=5) == []


def test_a_new_nickname_is_the_same_stay() -> None:
    renamed = presence(JULIET, 303, type="unavailable"), presence(JULIET, nick=2)
    hers = presence(JULIET, 303, 110, type="unavailable"), presence(JULIET, 110, nick=2)
    gone = presence(JULIET, type="unavailable", nick=2)
    clerks = [*CLERKS[:4], *renamed, CLERKS[4], gone, CLERKS[6]]
    assert (
        faults([*HERS[:3], *hers, HERS[3], presence(JULIET, 110, type="unavailable", nick=2)], clerks=clerks)
        == []
    )


def test_a_stanza_that_is_not_whole_waits_for_its_end() -> None:
    whole = said(0).encode()
    found, rest = LEDGER.stanzas(whole + whole[:30])
    assert ([each.id for each in found], rest) == (["t5.0.0"], whole[:30])
