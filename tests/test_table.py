"""What verbs answer, as text for people: on a terminal, in a pipe, and with villains among the data."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jabberd.table import cells, cut, escaped, one_line, render

SESSIONS = [
    {"jid": "romeo@montague.lit/orchard", "queue": 0, "tls_version": "TLSv1.3", "client": None},
    {"jid": "juliet@capulet.lit/balcony", "queue": 12, "tls_version": "TLSv1.2", "client": "Gajim"},
]


def test_rows_become_columns_with_their_keys_above_and_numbers_to_the_right() -> None:
    assert render(SESSIONS) == (
        "jid                         queue  tls version  client\n"
        "romeo@montague.lit/orchard      0  TLSv1.3      -\n"
        "juliet@capulet.lit/balcony     12  TLSv1.2      Gajim"
    )


def test_the_widest_columns_give_way_where_the_terminal_is_narrow() -> None:
    assert render(SESSIONS, 40) == (
        "jid           queue  tls version  client\n"
        "romeo@monta…      0  TLSv1.3      -\n"
        "juliet@capu…     12  TLSv1.2      Gajim"
    )


def test_what_is_too_wide_for_columns_becomes_paragraphs() -> None:
    assert render(SESSIONS[1:] * 2, 20) == (
        "jid          juliet@capulet.lit/balcony\nqueue        12\ntls version  TLSv1.2\nclient       Gajim\n"
        "\n"
        "jid          juliet@capulet.lit/balcony\nqueue        12\ntls version  TLSv1.2\nclient       Gajim"
    )


def test_rows_need_not_have_the_same_keys() -> None:
    assert render([{"a": 1}, {"b": True}]) == "a  b\n1  -\n-  yes"


def test_other_data_has_a_line_for_each_thing() -> None:
    assert render(["romeo@montague.lit", "juliet@capulet.lit"]) == "romeo@montague.lit\njuliet@capulet.lit"
    assert render({"sessions": 2, "domains": ["montague.lit", "capulet.lit"], "of": {"a": 1}}) == (
        "sessions  2\ndomains   montague.lit, capulet.lit\nof\n  a  1"
    )
    assert render({"jid": "romeo@montague.lit", "sessions": SESSIONS[:1]}) == (
        "jid       romeo@montague.lit\n"
        "sessions\n"
        "  jid                         queue  tls version  client\n"
        "  romeo@montague.lit/orchard      0  TLSv1.3      -"
    )
    assert render("two\nlines") == "two\nlines"
    assert [render(None), render([]), render({}), render(4), render(False)] == ["", "", "", "4", "no"]


def test_rows_that_come_one_by_one_have_a_line_each() -> None:
    assert one_line({"what": "said", "id": None, "children": ["body", "x"], "on": "\x1b"}) == (
        "said  -  body,x  \\x1b"
    )
    assert one_line("ding") == "ding"


def test_colour_is_for_terminals_and_moves_no_column() -> None:
    coloured = render(SESSIONS, 80, colour=True)
    assert coloured.startswith("\x1b[1mjid ")
    assert coloured.replace("\x1b[1m", "").replace("\x1b[0m", "") == render(SESSIONS, 80)
    assert render({"a": 1}, colour=True) == "\x1b[2ma\x1b[0m  1"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("romeo\n@montague.lit", r"romeo\n@montague.lit"),
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("tfel\u202e", r"tfel\u202e"),
        ("a\u200bb", r"a\u200bb"),
        ("\ud800", r"\ud800"),
        ("Jérôme 茱麗葉", "Jérôme 茱麗葉"),
    ],
)
def test_what_peers_choose_cannot_move_the_cursor(said: str, shown: str) -> None:
    assert escaped(said) == shown
    assert render([said]) == shown
    assert render([{"client": said}]) == f"client\n{shown}"
    assert render([{said: 1}]).split("\n")[0].strip() == shown


def test_wide_and_combining_characters_take_the_cells_that_a_terminal_gives_them() -> None:
    assert [cells("romeo"), cells("茱麗葉"), cells("e\u0301")] == [5, 6, 1]
    assert render([{"name": "茱麗葉", "n": "x"}, {"name": "nurse", "n": "y"}]) == (
        "name    n\n茱麗葉  x\nnurse   y"
    )
    assert cut("茱麗葉", 5) == "茱麗…"
    assert cut("茱麗葉", 4) == "茱…"


@given(
    rows=st.lists(st.dictionaries(st.sampled_from("abcd"), st.text(max_size=40)), min_size=1, max_size=4),
    width=st.integers(min_value=30, max_value=60),
)
def test_no_line_of_a_table_is_wider_than_the_terminal(rows: list[dict[str, str]], width: int) -> None:
    assert all(cells(line) <= width for line in render(rows, width).split("\n"))


def test_it_stands_on_the_standard_library_alone() -> None:
    code = "import sys; before = set(sys.modules); import jabberd.table; print(set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "jabberd.table" in loaded
    assert not any(name in loaded for name in ("twisted", "sqlalchemy", "msgspec"))
