"""What fuzzing found so far, tried again: ``make fuzz`` looks for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = sorted(Path(__file__).with_name("corpus").glob("*/*"))
MOST = 256 << 10  # bytes of it all


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: f"{file.parent.name}-{file.name[:12]}")
def test_nothing_that_was_found_does_harm(file: Path) -> None:
    TARGETS[file.parent.name](file.read_bytes())


def test_every_target_has_a_corpus_and_it_is_small() -> None:
    assert {file.parent.name for file in CORPUS} == set(TARGETS)
    assert sum(file.stat().st_size for file in CORPUS) < MOST
