"""A change that makes a chat message dearer is seen in that change: machine instructions are counted."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "instructions.py"


@pytest.fixture(scope="module")
def guard() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.mark.process
@pytest.mark.parametrize("kind", ["chat", "archived", "modern", "login", "fast", "resumption"])
def test_it_costs_as_many_instructions_as_is_stored_for_this_build(guard: dict[str, Any], kind: str) -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed: on Debian, apt-get install valgrind")
    count = guard["counted"](kind)
    assert count > 10_000  # something was counted
    assert guard["verdict"](count, guard["stored"]().get(guard["build"](), {}), kind) is None


@pytest.mark.parametrize("count", [951, 1000, 1049])
def test_less_than_five_percent_more_or_less_are_no_news(guard: dict[str, Any], count: int) -> None:
    assert guard["verdict"](count, {"chat": 1000}, "chat") is None


def test_what_got_dearer_or_cheaper_is_told(guard: dict[str, Any]) -> None:
    assert "costs 6.0% more instructions" in guard["verdict"](1060, {"chat": 1000}, "chat")
    assert "costs 6.0% less" in guard["verdict"](940, {"chat": 1000}, "chat")


def test_a_build_that_was_never_counted_has_nothing_to_be_compared_with(guard: dict[str, Any]) -> None:
    assert guard["verdict"](1, {}, "chat") is None
