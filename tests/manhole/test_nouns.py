"""``admin`` at the prompt follows from the table of verbs."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from jabberd.admin import UsageError
from jabberd.api import Refused
from jabberd.manhole.nouns import UnknownWordError, nouns
from jabberd.testing.outcome import done
from tests.manhole.seat import SECRET, Treasury, verbs

ROMEO = "romeo@montague.lit"


@pytest.fixture
def asked() -> list[tuple[str, str]]:
    """The secrets that were asked for."""
    return []


@pytest.fixture
def admin(asked: list[tuple[str, str]]) -> Any:
    async def ask(name: str, what: str) -> str:
        asked.append((name, what))
        return SECRET

    return nouns(verbs(Treasury()), ask)


def test_it_shows_every_verb_with_its_arguments_and_its_help(admin: Any) -> None:
    assert repr(admin) == (
        "verb                                     help\n"
        "admin.treasury.all_of_it()               list what there is\n"
        "admin.treasury.debtors()                 list nobody\n"
        "admin.treasury.open()                    wait until the vault opens\n"
        "admin.treasury.pay(jid, word, ducats=1)  pay somebody\n"
        "admin.treasury.spill()                   fail\n"
        "admin.watch(jid)                         watch somebody"
    )
    assert repr(admin.treasury).count("\n") == 5
    assert repr(admin.watch) == "verb              help\nadmin.watch(jid)  watch somebody"


def test_its_attributes_are_the_nouns_and_verbs(admin: Any) -> None:
    assert dir(admin) == ["treasury", "watch"]
    assert dir(admin.treasury) == ["all_of_it", "debtors", "open", "pay", "spill"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("tresury", "there is no admin.tresury; there are: treasury"),
        ("treasury.opne", "there is no admin.treasury.opne; there are: open"),
        ("xyz", "there is no admin.xyz; there are: treasury, watch"),
    ],
)
def test_a_wrong_word_names_those_that_come_near(admin: Any, path: str, said: str) -> None:
    with pytest.raises(UnknownWordError, match=f"^{said}$"):
        attrgetter(path)(admin)


def test_arguments_go_by_place_or_name_and_are_read_like_words(admin: Any) -> None:
    assert done(admin.treasury.pay(ROMEO, SECRET, 3)) == f"{ROMEO} has 3 more"
    assert done(admin.treasury.pay(word=SECRET, jid=ROMEO, ducats="4")) == f"{ROMEO} has 4 more"
    assert done(admin.treasury.debtors()) == []


def test_a_secret_that_is_left_out_is_asked_for(admin: Any, asked: list[tuple[str, str]]) -> None:
    assert done(admin.treasury.pay(ROMEO, ducats=2)) == f"{ROMEO} has 2 more"
    assert done(admin.treasury.pay(ROMEO, None, None)) == f"{ROMEO} has 1 more"
    assert asked == [("word", ROMEO)] * 2


def test_a_secret_is_asked_for_only_when_all_else_is_right(admin: Any, asked: list[tuple[str, str]]) -> None:
    with pytest.raises(UsageError, match="DUCATS 'many' is not a number"):
        done(admin.treasury.pay(ROMEO, ducats="many"))
    with pytest.raises(TypeError, match="missing a required argument: 'jid'"):
        admin.treasury.pay()
    with pytest.raises(TypeError, match="unexpected keyword argument 'pounds'"):
        admin.treasury.pay(ROMEO, pounds=3)
    assert asked == []


def test_a_refusal_reaches_whoever_called(admin: Any) -> None:
    with pytest.raises(Refused, match="that is not the word"):
        done(admin.treasury.pay(ROMEO, "friend"))


def test_a_call_that_takes_time_gives_a_deferred() -> None:
    treasury = Treasury()
    admin: Any = nouns(verbs(treasury), lambda *_: Deferred())
    opening = admin.treasury.open()
    treasury.opened.callback("open")
    assert done(opening) == "open"
