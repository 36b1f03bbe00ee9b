"""PRECIS (RFC 8264): the two profiles that XMPP needs, in time that grows with the text and no faster.

precis-i18n derives the property of each character anew, and judges each of a thousand Arabic digits by the
whole text, as it does each katakana middle dot: that is a million steps for one address of a stranger's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from precis_i18n import get_profile
from precis_i18n.context import context_rule_error
from precis_i18n.derived import CONTEXTJ, CONTEXTO, FREE_PVAL, PVALID, derived_property

if TYPE_CHECKING:
    from precis_i18n.profile import Profile

__all__ = ["USERNAME", "opaque_string", "username"]

USERNAME: Final = get_profile("UsernameCaseMapped")
_OPAQUE: Final = get_profile("OpaqueString")
_UNICODE: Final = USERNAME.base.ucd

#: RFC 5892 A.7 to A.9: these stand or fall with the whole text, wherever they are in it.
_BY_THE_WHOLE: Final = frozenset(
    ["\u30fb", *map(chr, range(0x660, 0x66A)), *map(chr, range(0x6F0, 0x6FA))],
)


def username(text: str) -> str:
    """Enforce UsernameCaseMapped (RFC 8265 §3.3).

    :raises ValueError: if the text is empty or has a character that is not allowed, or not there.
    """
    return _enforced(USERNAME, text, (PVALID,))


def opaque_string(text: str) -> str:
    """Enforce OpaqueString (RFC 8265 §4.2).

    :raises ValueError: if the text is empty or has a character that is not allowed, or not there.
    """
    return _enforced(_OPAQUE, text, (PVALID, FREE_PVAL))


def _enforced(profile: Profile, text: str, allowed: tuple[str, ...]) -> str:
    """RFC 8264 §7: the rules in order, twice with the same outcome, and then the string class."""
    prepared = profile.apply_five_rules(text) if text else ""
    if not prepared or profile.apply_five_rules(prepared) != prepared:
        raise ValueError("empty, or not the same when it is prepared again")
    for character in set(prepared):
        derived = _derived(character)
        if derived in allowed:
            continue
        if derived not in (CONTEXTJ, CONTEXTO) or not _fits(prepared, character):
            raise ValueError("has a character that is not allowed, or not allowed there")
    return prepared


@lru_cache(maxsize=4096)
def _derived(character: str) -> str:
    return derived_property(ord(character), _UNICODE)[0]


def _fits(text: str, character: str) -> bool:
    """Whether the text allows a character that depends on what stands around it (RFC 5892, appendix A)."""
    if character in _BY_THE_WHOLE:
        return not context_rule_error(text, text.index(character), _UNICODE)
    places = (place for place, each in enumerate(text) if each == character)
    return not any(context_rule_error(text, place, _UNICODE) for place in places)
