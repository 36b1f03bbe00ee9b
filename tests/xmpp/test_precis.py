"""PRECIS as the library has it, and cheaper."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from precis_i18n import get_profile

from jabberd.xmpp import precis
from jabberd.xmpp.jid import InvalidJID, prepare_domainpart
from jabberd.xmpp.precis import opaque_string, username

if TYPE_CHECKING:
    from collections.abc import Callable

#: Letters, marks and digits of several scripts, what depends on its neighbours, what is never allowed.
ODD = (
    "aZ\u00e9\u0301ßΣςﬁⅣⅷ \u0661\u06f1\u0660\u06f0\u0627بب\u064bאת\u05f3\u05f4l·l\u03b1\u0375か"
    "カ漢・\u200c\u200d\u094dक\u00ad\u0345\u3000\u00a0\uff5aｱ\u1100\uffff\u0378\u07fa\u0640😀☃\n"
)
TEXTS = st.text(st.sampled_from(ODD) | st.characters(codec="utf-8"), max_size=12)


def outcome(rule: Callable[[str], str], text: str) -> str | None:
    try:
        return rule(text)
    except ValueError:
        return None


@pytest.mark.rfc7622("5-1")
@pytest.mark.parametrize(
    ("ours", "profile"), [(username, "UsernameCaseMapped"), (opaque_string, "OpaqueString")]
)
@given(text=TEXTS)
@settings(max_examples=3 * settings().max_examples)
@example("l·l·l")
@example("l·")
@example("カ・・")
@example("・・")
@example("\u0660\u06f1")
@example("ب\u064b\u200cب")
@example("\u200c")
@example("क\u094d\u200d\u200d")
@example("")
def test_any_text_becomes_what_the_library_makes_of_it(
    ours: Callable[[str], str], profile: str, text: str
) -> None:
    assert outcome(ours, text) == outcome(get_profile(profile).enforce, text)


@pytest.mark.parametrize("text", ["・" * 2000 + "日", "\u0660" * 2000, "\u06f0" * 2000, "é日本語" * 500])
def test_a_character_is_judged_once_however_often_it_comes(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Two thousand middle dots in a password took five seconds."""
    judged: Counter[str] = Counter()

    def count(name: str) -> None:
        true = getattr(precis, name)

        def counted(*args: object) -> object:
            judged[name] += 1
            return true(*args)

        monkeypatch.setattr(precis, name, counted)

    count("context_rule_error")
    count("derived_property")
    precis._derived.cache_clear()
    assert opaque_string(text) == text
    assert judged["derived_property"] == len(set(text))
    assert judged["context_rule_error"] <= 1


def test_a_domain_that_is_too_long_is_refused_before_its_labels_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []
    monkeypatch.setattr("jabberd.xmpp.jid.idna.ulabel", looked.append)
    with pytest.raises(InvalidJID, match="longer than 1023"):
        prepare_domainpart(".".join(["・" * 20 + "日"] * 20))
    assert looked == []
