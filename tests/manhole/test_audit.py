"""What of a line stands in the log: everything but secrets."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from jabberd.manhole.audit import loggable, masked
from jabberd.manhole.nouns import nouns
from tests.manhole.seat import Treasury, verbs


def logged(source: str) -> str:
    admin: Any = nouns(verbs(Treasury()), lambda *_: Deferred())
    return masked(source, {"admin": admin, "pay": admin.treasury.pay, "t": admin.treasury}, admin)


@pytest.mark.parametrize(
    "source",
    [
        "admin.treasury.open()",
        "await admin.treasury.pay('romeo@montague.lit')",
        "admin.treasury.pay('romeo@montague.lit', ducats=3)",
        "x['client'].strip('a')",
        "'wherefore'",
        "1 +",
        "for x in y:\n  print(x)\n",
    ],
)
def test_a_line_without_a_secret_is_logged_as_it_is(source: str) -> None:
    assert logged(source) == source


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("admin.treasury.pay('r@m', 'SECRET')", "admin.treasury.pay('r@m', ***)"),
        ("admin.treasury.pay('r@m', 'SECRET', 3)", "admin.treasury.pay('r@m', ***, 3)"),
        (
            "await admin.treasury.pay(jid='r@m', word='SECRET')",
            "await admin.treasury.pay(jid='r@m', word=***)",
        ),
        ("t.pay('ü@m', 'SEC' + f'{1}RET')", "t.pay('ü@m', ***)"),
        ("pay('r@m',\n  '''SEC\nRET''')", "pay('r@m',\n  ***)"),
        ("pay(*['r@m', 'SECRET'])", "pay(***)"),
        ("pay('r@m', **{'word': 'SECRET'})", "pay('r@m', **" + "***)"),
        ("pay('r@m', 'a', 1, 'SECRET')", "pay('r@m', ***, 1, ***)"),
        ("p = admin.treasury.pay; p('r@m', 'SECRET')", "p = admin.treasury.pay; p(***, ***)"),
        ("admin.treasury.pay.__call__('r@m', 'SECRET')", "admin.treasury.pay.__call__(***, ***)"),
        ("admin.treasury.pya('r@m', 'SECRET')", "admin.treasury.pya(***, ***)"),
        ("admin.tresury.pay('r@m', word='SECRET')", "admin.tresury.pay(***, word=***)"),
        ("password = 'SECRET'", "password = ***"),
        ("(my_secret := 'SECRET')", "(my_secret := ***)"),
        ("login(password='SECRET')", "login(password=***)"),
        ("admin.treasury.pay('r@m' 'SECRET'", "(not Python)"),
        ("password 'SECRET'", "(not Python)"),
        ("[pay('r@m', pay('r@m', 'SECRET'))]", "[pay('r@m', ***)]"),
    ],
)
def test_secrets_are_masked_however_they_are_given(source: str, told: str) -> None:
    assert logged(source) == told
    assert "SECRET" not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("treasury open", "treasury open"),
        ("treasury pay r@m 3", "treasury pay r@m 3"),
        ("treasury pay r@m 3 SECRET", "treasury pay r@m 3 ***"),
        ("tresury pay r@m SECRET", "tresury pay ***"),
        ("watch r@m", "watch r@m"),
        ("wacht r@m x", "wacht r@m ***"),
        ("treasury", "treasury"),
        ("", ""),
        ("evil\x1b[2J", r"evil\x1b[2J"),
    ],
)
def test_of_words_no_more_is_logged_than_the_verb_takes(words: str, told: str) -> None:
    assert loggable(words.split(), verbs(Treasury())) == told
