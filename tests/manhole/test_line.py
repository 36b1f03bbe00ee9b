"""The line that is typed: editing, history, and its picture."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.manhole.line import History, Line, drawn
from jabberd.table import cells


def line(text: str) -> Line:
    """A line with its cursor where the bar is."""
    before, _, after = text.partition("|")
    typed = Line(before + after)
    typed.cursor = len(before)
    return typed


def shown(typed: Line) -> str:
    return f"{typed.text[: typed.cursor]}|{typed.text[typed.cursor :]}"


@pytest.mark.parametrize(
    ("before", "edit", "after"),
    [
        ("ro|meo", Line.left, "r|omeo"),
        ("|romeo", Line.left, "|romeo"),
        ("ro|meo", Line.right, "rom|eo"),
        ("romeo|", Line.right, "romeo|"),
        ("ro|meo", Line.home, "|romeo"),
        ("ro|meo", Line.end, "romeo|"),
        ("ro|meo", Line.backspace, "r|meo"),
        ("|romeo", Line.backspace, "|romeo"),
        ("ro|meo", Line.delete, "ro|eo"),
        ("romeo|", Line.delete, "romeo|"),
        ("ro|meo", Line.delete_to_end, "ro|"),
        ("ro|meo", Line.delete_to_start, "|meo"),
        ("o romeo  |romeo", Line.delete_word, "o |romeo"),
        ("romeo|", Line.delete_word, "|"),
        ("|", Line.delete_word, "|"),
    ],
)
def test_keys_edit_as_they_do_in_a_shell(before: str, edit: type[Line], after: str) -> None:
    typed = line(before)
    edit(typed)  # type: ignore[arg-type]  # an unbound method
    assert shown(typed) == after


def test_the_history_goes_back_and_forth_and_keeps_what_was_being_typed() -> None:
    history = History()
    for each in ("one", "two", "two", "  "):
        history.add(each)
    assert [history.move(-1, "draft"), history.move(-1, ""), history.move(-1, "")] == ["two", "one", None]
    assert [history.move(1, ""), history.move(1, ""), history.move(1, "")] == ["two", "draft", None]


def test_the_history_forgets_the_oldest() -> None:
    history = History()
    for number in range(600):
        history.add(str(number))
    assert (len(history.lines), history.lines[0]) == (500, "100")


def test_a_short_line_is_drawn_whole_with_the_cursor_in_its_place() -> None:
    assert drawn(">>> ", line("1 +|2"), 80, colour=False) == "\r>>> 1 +2\x1b[K\r\x1b[7C"


def test_a_long_line_is_shown_around_the_cursor() -> None:
    assert drawn(">>> ", line("abcdefghijklmnopqrst|uvwxyz"), 15, colour=False) == (
        "\r>>> klmnopqrst\x1b[K\r\x1b[14C"
    )
    assert drawn(">>> ", line("|abcdefghijklmnopqrstuvwxyz"), 15, colour=False) == (
        "\r>>> abcdefghij\x1b[K\r\x1b[4C"
    )


def test_python_is_coloured_also_while_it_is_incomplete() -> None:
    assert drawn("", line("if 12: 'a|"), 80, colour=True) == (
        "\r\x1b[35mif\x1b[0m \x1b[36m12\x1b[0m: \x1b[32m'a\x1b[0m\x1b[K\r\x1b[9C"
    )
    assert "\x1b[2m# two" in drawn("", line("one # two|"), 80, colour=True)


@given(
    text=st.text(st.sampled_from("ab '\"#1茱e\u0301if("), max_size=60),
    place=st.integers(0, 60),
    width=st.integers(20, 40),
)
def test_no_picture_is_wider_than_the_terminal_and_colours_change_no_character(
    text: str, place: int, width: int
) -> None:
    typed = Line(text)
    typed.cursor = min(place, len(text))
    plain = drawn(">>> ", typed, width, colour=False)
    row = plain[1:].split("\x1b")[0]
    assert cells(row) < width
    assert row[4:] in text
    assert re.sub(r"\x1b\[\d*m", "", drawn(">>> ", typed, width, colour=True)) == plain
