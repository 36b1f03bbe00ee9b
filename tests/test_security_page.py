"""docs/security.md is true: its tests and settings exist, its defaults are in force, no row is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jabberd.settings import Limits

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
#: The rows of abuses, by letter: how many there are.
ROWS = {"A": 18, "B": 16, "C": 12, "D": 11, "E": 5, "F": 15, "G": 7, "H": 6}


def abuses() -> dict[str, str]:
    """By row, what stands in its last column."""
    found = re.findall(r"^\| ([A-H]\d+) \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert len(found) == len(dict(found)), "a row stands there twice"
    return dict(found)


def defined() -> set[str]:
    """The names of all tests."""
    return {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }


def test_no_row_is_left_out() -> None:
    assert set(abuses()) == {f"{letter}{n}" for letter, most in ROWS.items() for n in range(1, most + 1)}


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 100
    assert named - defined() == set()


@pytest.mark.parametrize("row", sorted(abuses()))
def test_every_row_has_a_test_or_says_why_it_has_none(row: str) -> None:
    assert re.search(r"`test_\w+`|owed: \w+", abuses()[row])


def test_every_limit_is_on_the_page() -> None:
    table = PAGE.partition("## Limits")[2].partition("Fixed,")[0]
    assert set(vars(Limits())) - set(re.findall(r"`(\w+)`", table)) == set()


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("stanza_before_login",), "8 KiB, 32, 16"),
        (("connections", "connection_attempts"), "100, 600 per min"),
        (("login_failures",), "10 per 5 min"),
        (("presence", "directed_presence"), "60 per min, 1000"),
    ],
)
def test_the_defaults_on_the_page_are_those_of_the_example(names: tuple[str, ...], shown: str) -> None:
    example = (ROOT / "etc" / "jabberd.toml").read_text()
    for name, value in zip(names, shown.split(", "), strict=False):
        assert re.search(rf'^#{name} = "?{re.escape(value)}"?\s', example, re.MULTILINE), name
    assert re.search(rf"`{names[0]}`[^|]*\| {re.escape(shown)} \|", PAGE)
