"""What fuzzing found so far, tried again: ``make fuzz`` looks for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = sorted(Path(__file__).with_name("corpus").glob("*/*"))
MOST = 256 << 10  # bytes of it all


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_was_found_does_harm(target: str) -> None:
    for file in CORPUS:
        if file.parent.name == target:
            try:
                TARGETS[target](file.read_bytes())
            except BaseException as error:
                error.add_note(f"it is in {file}")
                raise


def test_every_target_has_a_corpus_and_it_is_small() -> None:
    assert {file.parent.name for file in CORPUS} == set(TARGETS)
    assert sum(file.stat().st_size for file in CORPUS) < MOST
