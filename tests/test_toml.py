"""The line index agrees with the standard library about every key, and with the eye about its line."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from jabberd.toml import Keys, index

if TYPE_CHECKING:
    from collections.abc import Iterator


def paths(value: object, path: Keys = ()) -> Iterator[Keys]:
    """Everything in a parsed document that has a place of its own."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from paths(item, (*path, place))


def at(source: str) -> dict[Keys, int]:
    """The index, after a look that it has exactly what the standard library has."""
    lines = index(source)
    assert set(lines) == set(paths(tomllib.loads(source)))
    return lines


def test_texts_over_several_lines_hold_no_keys() -> None:
    lines = at('''# a comment with [brackets] = and "quotes
title = """
[not.a.table]
x = 1
""\\"" \\""" # still the text
"""  # over
raw = \'\'\'
[[nor.this]] """ \\\'\'\'
quotes = """two at the end: """""
after = 1
''')
    assert lines == {(): 1, ("title",): 2, ("raw",): 7, ("quotes",): 9, ("after",): 10}


def test_quoted_and_dotted_keys_are_told_apart() -> None:
    lines = at("""
[domains."montague.lit"]
'a "b" c' = 'x' # ]
"\\u00e9\\"" = "\\" # }"
[ domains . "capulet.lit" . modules ]
a.b . c = 3
a."d.e" = 1979-05-27 07:32:00Z
""")
    capulet = ("domains", "capulet.lit", "modules")
    assert lines[("domains",)] == lines["domains", "montague.lit"] == 2
    assert lines["domains", "montague.lit", 'a "b" c'] == 3
    assert lines["domains", "montague.lit", 'é"'] == 4
    assert lines[capulet] == lines[capulet[:-1]] == 5
    assert lines[*capulet, "a"] == lines[*capulet, "a", "b", "c"] == 6
    assert lines[*capulet, "a", "d.e"] == 7


def test_a_header_that_comes_after_its_children_is_where_the_table_stands() -> None:
    lines = at("[a.b]\nx = 1\n[a]\ny = 2\n")
    assert lines == {(): 1, ("a",): 3, ("a", "b"): 1, ("a", "b", "x"): 2, ("a", "y"): 4}


def test_inline_tables_and_lists_are_followed_inside() -> None:
    lines = at("""
tls = { mode = "}#", "key.with.dots" = 1, deep = { a.b = [] }, none = {} }
list = [
  1, # one ]
  "two ]",
  # nothing
  { a = 1, b = [ 5,
    6 ] } , [
    true ],
]
end = 0
""")
    assert lines["tls", "deep", "a", "b"] == lines["tls", "key.with.dots"] == 2
    assert [lines["list", place] for place in range(4)] == [4, 5, 7, 8]
    assert lines["list", 2, "b"] == lines["list", 2, "b", 0] == 7
    assert lines["list", 2, "b", 1] == 8
    assert lines["list", 3, 0] == 9
    assert lines[("end",)] == 11


def test_tables_under_arrays_of_tables_belong_to_the_newest_item() -> None:
    lines = at("""
[[admins]]
jid = "romeo@montague.lit"
[admins.where]
city = "Verona"
[[admins]]
[[admins.keys]]
n = 1
[[ "admins" . keys ]]
n = 2
""")
    assert lines[("admins",)] == lines["admins", 0] == 2
    assert lines["admins", 0, "where", "city"] == 5
    assert lines["admins", 1] == 6
    assert lines["admins", 1, "keys"] == 7
    assert lines["admins", 1, "keys", 1] == 9
    assert lines["admins", 1, "keys", 1, "n"] == 10


def test_windows_line_ends_count_once() -> None:
    assert at("a = 1\r\n\r\n[b]\r\nc = [\r\n2]\r\n")["b", "c", 0] == 5


NAMES = st.sampled_from(["a", "b-1", '"c.d"', "'e'", '"\\""', '"[f]"', '"#"', '"="'])
KEYS = st.lists(NAMES, min_size=1, max_size=3).map(" . ".join)
SCALARS = st.sampled_from(
    [
        "1",
        "-2.5e3",
        "true",
        "1979-05-27",
        "inf",
        '""',
        "''",
        '"a]#\\"\\\\"',
        "'\\'",
        '"""\n[x]\nk = 1 \\""" """',
        "'''\n[[y]]\n''' # c",
        '"""""""',
        "''''''''",
    ]
)
VALUES = st.recursive(
    SCALARS.filter(lambda text: "#" not in text[-4:]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ # ]\n" + ",\n".join(items) + "]")
        | st.lists(st.tuples(KEYS, inner), max_size=2).map(
            lambda pairs: "{ " + ", ".join(f"{key} = {value}" for key, value in pairs) + " }"
        )
    ),
    max_leaves=5,
)
LINES = st.one_of(
    st.tuples(KEYS, VALUES | SCALARS).map(" = ".join),
    KEYS.map("[{}]".format),
    KEYS.map("[[ {} ]] # [".format),
    st.sampled_from(["", "# [c]", "\t"]),
)


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_every_valid_document_is_indexed_without_gap_or_surplus(source: str) -> None:
    try:
        tomllib.loads(source)
    except tomllib.TOMLDecodeError:
        return
    assert all(1 <= line <= source.count("\n") + 1 for line in at(source).values())
