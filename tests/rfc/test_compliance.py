"""What docs/compliance.md says is true: every module, file and test that it names is there."""

from __future__ import annotations

import pytest

from tests.rfc.compliance import PAGE, Suite, declared, defined, table
from tests.rfc.statements import ROOT

SUITE = Suite.read()


def test_the_document_is_what_would_be_written_now() -> None:
    assert PAGE.read_text() == table(), "run `make docs`"


@pytest.mark.parametrize("name", SUITE.proofs)
def test_every_test_that_it_names_is_there(name: str) -> None:
    assert [test for test in SUITE.proofs[name] if test.name not in defined(test.path)] == []


def test_what_is_there_is_proved_and_what_is_owed_is_not() -> None:
    there = SUITE.specifications() & (SUITE.elsewhere.keys() | declared().keys())
    assert {name for name, tests in SUITE.proofs.items() if tests} == there


def test_what_no_module_declares_is_in_a_file_that_is_there() -> None:
    assert [place.path for place in SUITE.elsewhere.values() if not (ROOT / place.path).is_file()] == []
    assert SUITE.elsewhere.keys() & declared().keys() == set()


def test_a_module_that_follows_a_xep_says_which_version() -> None:
    assert [name for name, place in declared().items() if not place.version] == []


def test_a_file_that_is_not_there_has_no_tests() -> None:
    assert defined("tests/rfc/test_there_is_none.py") == set()


def test_levels_are_those_of_the_document() -> None:
    levels = {level for rows in SUITE.rows.values() for level, *_ in rows.values()}
    assert levels == {"Core", "Advanced"}
