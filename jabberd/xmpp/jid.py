"""XMPP addresses: RFC 7622, with IDNA2008 for the domainpart and PRECIS for what stands around it."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final, NoReturn, Self

import idna

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JID", "InvalidJID", "cached", "prepare_domainpart", "prepare_localpart", "prepare_resourcepart"]

#: RFC 7622 §3.2, §3.3, §3.4: the most octets of UTF-8 in each of the three parts.
LIMIT: Final = 1023
#: Normalization may shorten, but two characters never become less than one octet: longer input is
#: refused before it costs anything.
_LONGEST_INPUT: Final = 2 * LIMIT
#: Longer texts are prepared each time, so that a flood of them cannot fill the cache with megabytes.
_LONGEST_CACHED: Final = 255

# For ASCII the profiles come down to these: most addresses need nothing else.
_ASCII_LOCALPART: Final = re.compile(r"[!#-%(-.0-9;=?A-Z\[-~]{1,1023}")
_ASCII_RESOURCEPART: Final = re.compile(r"[ -~]{1,1023}")
_LDH_LABEL: Final = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ASCII_DOMAINPART: Final = re.compile(rf"{_LDH_LABEL}(?:\.{_LDH_LABEL})*", re.ASCII | re.IGNORECASE)

#: RFC 7622 §3.3.1: characters that UsernameCaseMapped allows and a localpart may not have.
_EXCLUDED: Final = frozenset("\"&'/:<>@")


class InvalidJID(ValueError):  # noqa: N818  # reads as the condition jid-malformed does
    """The text is not an XMPP address; the message says which part is wrong, and does not repeat it."""


class JID(str):
    """An XMPP address in its prepared form: a string that knows its parts (RFC 7622 §3.1).

    Two addresses are equal if and only if their prepared texts are, so a JID may be looked up by a
    plain ``str`` and the reverse.  ``JID(text)`` is `parse`.  Immutable.

    :ivar localpart: empty if absent.
    :ivar domainpart: never empty; U-labels, not A-labels; an IPv6 address keeps its brackets.
    :ivar resourcepart: empty if absent.
    """

    __slots__ = ("_bare", "_domain", "domainpart", "localpart", "resourcepart")

    localpart: str
    domainpart: str
    resourcepart: str
    _bare: JID | None  # None: this very JID; a reference to itself would leave it to the cycle collector
    _domain: JID | None

    def __new__(cls, text: str) -> Self:
        """See `parse`."""
        return cls.parse(text)  # type: ignore[return-value]  # JID is not meant to be subclassed

    @staticmethod
    def parse(text: str) -> JID:
        """Split, prepare and check an address as it came over the wire.

        :raises InvalidJID: for any text that is not an address.
        """
        if type(text) is JID:
            return text
        return _parse_cached(text) if len(text) <= _LONGEST_CACHED else _parse(text)

    @staticmethod
    def of(localpart: str, domainpart: str, resourcepart: str = "") -> JID:
        """Put an address together from its parts, preparing each; empty means absent.

        :raises InvalidJID: if a part is wrong, or there is no domainpart.
        """
        if len(localpart) + len(domainpart) + len(resourcepart) > _LONGEST_CACHED:
            return _of(localpart, domainpart, resourcepart)
        return _of_cached(localpart, domainpart, resourcepart)

    @property
    def bare(self) -> JID:
        """``localpart@domainpart``, or the domainpart alone where there is no localpart."""
        return self._bare or self

    @property
    def domain(self) -> JID:
        """The JID of the domainpart alone."""
        return self._domain or self

    @property
    def is_bare(self) -> bool:
        """Whether there is no resourcepart; so is it for a mere domainpart."""
        return not self.resourcepart

    def with_resource(self, resourcepart: str) -> JID:
        """The same account or domain with this resourcepart; with none if empty.

        :raises InvalidJID: if it is not a resourcepart.
        """
        return _assemble(self.localpart, self.domainpart, resourcepart and prepare_resourcepart(resourcepart))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: hundreds of holders share this object.

        :raises AttributeError: always.
        """
        raise AttributeError(f"a JID does not change: {name} was to become {value!r}")


def _parse(text: str) -> JID:
    """RFC 7622 §3.2: the first ``/`` ends the bare JID, the first ``@`` before it ends the localpart."""
    bare, slash, resourcepart = text.partition("/")
    localpart, at, domainpart = bare.partition("@")
    if not at:
        localpart, domainpart = "", bare
    elif not localpart:
        raise InvalidJID("localpart: empty before '@'")
    if slash and not resourcepart:
        raise InvalidJID("resourcepart: empty after '/'")
    return _of(localpart, domainpart, resourcepart)


def _of(localpart: str, domainpart: str, resourcepart: str) -> JID:
    return _assemble(
        localpart and prepare_localpart(localpart),
        prepare_domainpart(domainpart),
        resourcepart and prepare_resourcepart(resourcepart),
    )


_parse_cached: Final = lru_cache(maxsize=8192)(_parse)
_of_cached: Final = lru_cache(maxsize=1024)(_of)


def cached() -> tuple[int, int]:
    """How many addresses the cache of `JID.parse` holds, and how many at most."""
    info = _parse_cached.cache_info()
    return info.currsize, info.maxsize or 0


def _assemble(localpart: str, domainpart: str, resourcepart: str) -> JID:
    """The JID of parts that are prepared; its bare JID and its domain come from the cache, shared."""
    bare = f"{localpart}@{domainpart}" if localpart else domainpart
    jid = str.__new__(JID, f"{bare}/{resourcepart}" if resourcepart else bare)
    assign = super(JID, jid).__setattr__
    assign("localpart", localpart)
    assign("domainpart", domainpart)
    assign("resourcepart", resourcepart)
    assign("_bare", JID.parse(bare) if resourcepart else None)
    assign("_domain", JID.parse(domainpart) if localpart or resourcepart else None)
    return jid


#: Letters whose lower case IDNA does not know: they are folded to upper case (RFC 5892 §2.2).
_CHEROKEE: Final = {ord(chr(letter).lower()): letter for letter in range(0x13A0, 0x13F6)}


def prepare_localpart(text: str) -> str:
    """Enforce UsernameCaseMapped (RFC 8265 §3.3) less the characters of RFC 7622 §3.3.1.

    :raises InvalidJID: if the text cannot be a localpart.
    """
    if _ASCII_LOCALPART.fullmatch(text):
        return text.lower()
    from jabberd.xmpp.precis import username  # noqa: PLC0415 - its tables take half a MiB

    prepared = _enforce(username, text, "localpart")
    if not _EXCLUDED.isdisjoint(prepared):  # judged last: width mapping makes '@' of U+FF20
        raise InvalidJID("localpart: has a character that RFC 7622 §3.3.1 excludes")
    return prepared


def prepare_resourcepart(text: str) -> str:
    """Enforce OpaqueString (RFC 8265 §4.2), as RFC 7622 §3.4 asks.

    :raises InvalidJID: if the text cannot be a resourcepart.
    """
    if _ASCII_RESOURCEPART.fullmatch(text):
        return text
    from jabberd.xmpp.precis import opaque_string  # noqa: PLC0415 - the same

    return _enforce(opaque_string, text, "resourcepart")


def prepare_domainpart(text: str) -> str:
    """Lower case, no final dot, A-labels made U-labels, an IPv6 address in its short form (RFC 7622 §3.2).

    :raises InvalidJID: if the text can be neither a host name nor an IP address.
    """
    text = text.removesuffix(".")
    if len(text) <= LIMIT and _ASCII_DOMAINPART.fullmatch(text):
        return text.lower()
    return _enforce(_ipv6_literal if text.startswith("[") else _u_labels, text, "domainpart")


def _enforce(rule: Callable[[str], str], text: str, part: str) -> str:
    """Apply a rule within the limits of a part's size, and name the part in the error."""
    if not text:
        raise InvalidJID(f"{part}: empty")
    try:
        prepared = rule(text) if len(text) <= _LONGEST_INPUT else text
        size = len(prepared.encode())
    except ValueError as error:
        raise InvalidJID(f"{part}: has a character that is not allowed, or not allowed there") from error
    if size > LIMIT:
        raise InvalidJID(f"{part}: longer than {LIMIT} octets")
    return prepared


def _ipv6_literal(text: str) -> str:
    """``[address]`` in the form of RFC 5952; a zone has no meaning to others and is refused."""
    if not text.endswith("]") or "%" in text:
        raise ValueError("not an IP literal")
    return f"[{IPv6Address(text[1:-1])}]"


def _u_labels(text: str) -> str:
    """Map as RFC 5895 §2 says (case, width, NFC, the ideographic full stop), then IDNA2008 by the label."""
    from jabberd.xmpp.precis import USERNAME  # noqa: PLC0415 - the same

    lowered = USERNAME.width_mapping_rule(text.lower().translate(_CHEROKEE))
    mapped = USERNAME.normalization_rule(lowered).replace("\u3002", ".")
    if len(mapped.encode()) > LIMIT:  # each label costs the square of its length
        return mapped
    labels = [idna.ulabel(label) for label in mapped.split(".")]
    for label in labels:
        idna.alabel(label)  # refuses what would be longer than 63 octets in DNS
    return ".".join(labels)
