"""Every rule of the RFCs has its proof, and the documents show it."""

from __future__ import annotations

import pytest

from tests.rfc.statements import DOCUMENTS, ROOT
from tests.rfc.tables import Rules, order, proofs, table


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_rule_is_proved_by_a_test(name: str) -> None:
    assert set(Rules.read(name).must) - set(proofs(name)) == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_test_names_a_rule_that_there_is_not(name: str) -> None:
    assert set(proofs(name)) - set(Rules.read(name).must) == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_rule_has_one_number_and_one_place(name: str) -> None:
    rules = Rules.read(name)
    for part in (rules.must, rules.otherwise, rules.should):
        assert list(part) == sorted(part, key=order)
    numbers = [*rules.must, *rules.otherwise, *rules.should]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_document_is_what_would_be_written_now(name: str) -> None:
    assert (ROOT / f"docs/{name}.md").read_text() == table(name), "run `make docs`"
