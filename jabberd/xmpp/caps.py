"""Entity capabilities (XEP-0115): what somebody can do, named by a hash."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from jabberd.xmpp.element import parse_content
from jabberd.xmpp.forms import NS as DATA
from jabberd.xmpp.ns import XML

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.xmpp.element import Element
    from jabberd.xmpp.stanza import Stanza

NS: Final = "http://jabber.org/protocol/caps"
C: Final = f"{{{NS}}}c"
INFO: Final = "http://jabber.org/protocol/disco#info"

#: The hashes that we can check, as XEP-0300 calls them.
HASHES: Final = {"sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
_USUAL: Final = 1_000  #: bytes of presence; what is longer is not remembered
_FIELD: Final = f"{{{DATA}}}field"
_VALUE: Final = f"{{{DATA}}}value"


class Caps(NamedTuple):
    """What presence says (§6.1); ``hash`` is empty in the legacy format."""

    hash: str
    ver: str
    node: str


def announced(presence: Stanza) -> Caps | None:
    """What a presence stanza announces; None if that is nothing.

    The same presence goes to many: what it says is read once.
    """
    if C not in presence.children:
        return None
    return _announced(presence.payload) if len(presence.payload) <= _USUAL else _read(presence.payload)


def _read(payload: bytes) -> Caps | None:
    told = parse_content(payload).find(C)
    if told is None or not told.get("ver"):
        return None
    return Caps(told.get("hash", ""), told.get("ver", ""), told.get("node", ""))


_announced = lru_cache(maxsize=1_000)(_read)


def features(info: Element) -> frozenset[str]:
    """The features in a disco#info answer."""
    return frozenset(each.get("var", "") for each in info.iterfind(f"{{{INFO}}}feature"))


def verification(info: Element, hash: str = "sha-1") -> str:
    """The verification string of a disco#info answer (§5.1).

    :raises ValueError: the answer is ill-formed (§5.4), or the hash is none of `HASHES`.
    """
    if hash not in HASHES:
        raise ValueError(f"{hash} is no hash that we know")
    identities = [_identity(each) for each in info.iterfind(f"{{{INFO}}}identity")]
    found = [each.get("var", "") for each in info.iterfind(f"{{{INFO}}}feature")]
    forms = [form for each in info.iterfind(f"{{{DATA}}}x") if (form := _form(each))]
    for several in (identities, found, [form[0] for form in forms]):
        if len(set(several)) < len(several):
            raise ValueError("something is there twice")
    parts = [*_sorted(identities), *_sorted(found)]
    parts += [part for form in sorted(forms, key=lambda form: form[0].encode()) for part in form]
    told = "".join(f"{part}<" for part in parts).encode()
    return b64encode(hashlib.new(HASHES[hash], told, usedforsecurity=False).digest()).decode()


def _identity(each: Element) -> str:
    lang = each.get(f"{{{XML}}}lang", "")
    return "/".join((each.get("category", ""), each.get("type", ""), lang, each.get("name", "")))


def _form(form: Element) -> list[str]:
    """FORM_TYPE, then each field's name with its values; nothing for a form without a (hidden) FORM_TYPE.

    :raises ValueError: several values in FORM_TYPE.
    """
    values = {each.get("var", ""): _values(each) for each in form.iterfind(_FIELD)}
    hidden = form.find(f"{_FIELD}[@var='FORM_TYPE'][@type='hidden']")
    if hidden is None:
        return []
    kind = set(values.pop("FORM_TYPE"))
    if len(kind) != 1:
        raise ValueError("a form is of one type")
    return [*kind, *(part for var in _sorted(values) for part in (var, *values[var]))]


def _values(field: Element) -> list[str]:
    return _sorted(each.text or "" for each in field.iterfind(_VALUE))


def _sorted(texts: Iterable[str]) -> list[str]:
    """By octets (``i;octet``)."""
    return sorted(texts, key=str.encode)
