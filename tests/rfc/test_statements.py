"""Every MUST and SHOULD of the RFCs has its rule, its tests, or the reason why it is not for this server."""

from __future__ import annotations

from typing import Final

import pytest

from tests.rfc.compliance import defined
from tests.rfc.statements import DOCUMENTS, Statement, Statements, read
from tests.rfc.tables import Rules


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_statement_names_rules_that_there_are(name: str) -> None:
    rules = Rules.read(name)
    there = {*rules.must, *rules.otherwise, *rules.should}
    named = {number for each in Statements.read(name).all for number in each.rules}
    assert named - there == set()
    assert there - named == set(), "no statement demands these"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_statement_has_rules_or_proofs_or_is_not_for_us(name: str) -> None:
    said = Statements.read(name).all
    assert [each for each in said if not (each.rules or each.proofs or each.why_not)] == []
    assert [each for each in said if not each.words] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_must_be_has_a_rule_that_says_so(name: str) -> None:
    """A test alone, or a reason why it is not followed, is enough for a SHOULD and no more."""
    rules = Rules.read(name)
    said = [each for each in Statements.read(name).all if each.demands and not each.why_not]
    assert [each for each in said if not set(each.rules) - rules.should.keys()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_test_that_a_statement_names_is_there(name: str) -> None:
    named = {test for each in Statements.read(name).all for test in each.proofs}
    assert [test for test in named if test.name not in defined(test.path)] == []


TEXT: Final = """\
Table of Contents
   1.  Introduction ................... 1
1.  Introduction
   A server MUST answer, and
Author                Standards Track                   [Page 1]

RFC 1                   Answers                March 1999
   SHOULD be polite.  It MUST NOT shout.
2.  Words
   MUST means must.
A.  More
   A client SHALL ask.
"""
SAID: Final = (
    Statement("1", "server MUST answer,", rules=("1-1",)),
    Statement("1", "SHOULD be polite. It MUST NOT shout.", rules=("1-2",)),
    Statement("A", "client SHALL ask", why_not="client"),
)
LEFT_OUT: Final = {"2": "words"}


def test_a_text_is_read_by_sections_without_its_pages() -> None:
    assert read(TEXT)["1"] == (
        "1. Introduction A server MUST answer, and SHOULD be polite. It MUST NOT shout."
    )


def test_a_text_is_compared_with_what_is_said_of_it() -> None:
    whole = Statements(LEFT_OUT, SAID)
    assert list(whole.differences(TEXT)) == []
    assert whole.count() == {"ours": 3, "client": 1}
    assert [each.demands for each in SAID] == [True, True, True]
    [told] = Statements(LEFT_OUT, (SAID[0], SAID[2])).differences(TEXT.replace("MUST NOT", "may not"))
    assert told.startswith("1: no quote covers:")
    assert "SHOULD be polite" in told
    odd = Statements(LEFT_OUT, (*SAID, Statement("1", "MUST sing"), Statement("7", "MUST")))
    assert list(odd.differences(TEXT)) == ["1: 0 times there: MUST sing", "7: there is no such section"]
