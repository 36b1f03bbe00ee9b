"""Where elements begin and end: expat reads ahead of everybody else and tells the byte offsets.

One `Boundaries` reads the inside of one element (a stream, or the payload of a stanza).  It
records the elements directly inside it, each with its attributes, the names of its own children
and its place in the bytes; what stands deeper is only checked.  Everything that XMPP restricts
(RFC 6120 §11.1) is refused here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple
from xml.parsers import expat

from jabberd.xmpp.errors import StreamError

#: A start tag with everything up to its real ``>``; quoted values may hold ``>``.
START_TAG = re.compile(rb"""<[^>'"]*(?:(?:"[^"]*"|'[^']*')[^>'"]*)*>""")
#: More characters than any namespace name in use.  Names in a tree and namespaces in what is written
#: repeat it for each element: without a limit 50 KB of ``<p:a/>`` become 100 MB.
_LONGEST_NAMESPACE = 256
_MOST_SPARE = 8
_MOST_READ = 4_096  # bytes
_DEFERS = hasattr(expat.XMLParserType, "SetReparseDeferralEnabled")  # expat >= 2.6

#: Whole tokens and text, to the last byte.  Nothing can be read in two ways: it soon shows that something is
#: cut off.  No possessive quantifiers: with those Python before 3.11.5 takes half a tag for a whole one.
_TOKENS = re.compile(
    rb"""[^<]*(?:(?:<!\[CDATA\[[^\]]*(?:](?!]>)[^\]]*)*]]>|<(?!!)[^>'"]*(?:(?:"[^"]*"|'[^']*')[^>'"]*)*>)[^<]*)*"""
)


def _withholds() -> bool:
    """Whether expat keeps back the end of what came in pieces, and Python does not know how to forbid it.

    A distribution may give an old Python a newer expat, or an old expat with this change (Debian 12 does).
    """
    ended: list[str] = []
    parser = expat.ParserCreate("UTF-8")
    parser.EndElementHandler = ended.append
    for byte in b"<s><ab></ab>":
        parser.Parse(bytes((byte,)), False)
    return not _DEFERS and not ended


_WITHHOLDS = _withholds()

_CONDITIONS = {
    expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]: "restricted-xml",
    expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING]: "unsupported-encoding",
    expat.errors.codes[expat.errors.XML_ERROR_INCORRECT_ENCODING]: "unsupported-encoding",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one first-level element may be at most.

    :ivar size: bytes from ``<`` to ``>`` of the whole element.
    :ivar tag: bytes of one tag; kept far below ``size`` because expat reads an unfinished tag again
        and again.
    :ivar depth: elements inside each other, the first-level one counting as 1; at least 2.
    :ivar elements: elements in all.
    """

    size: int = 262_144
    tag: int = 16_384
    depth: int = 128
    elements: int = 10_000


class Found(NamedTuple):
    """A first-level element: ``name`` and ``children`` in Clark notation.

    ``start`` is the offset of its ``<`` (the primer does not count); ``mark`` is where expat saw
    its end: *before* ``</name>``, but *after* ``<name/>``, so `end_of` looks at the bytes to know.
    """

    name: str
    attrs: dict[str, str]
    children: list[str]
    start: int
    mark: int


class Boundaries:
    """Finds first-level elements in pieces of bytes; ``primer`` is the start tag they stand inside."""

    __slots__ = (
        "_attrs",
        "_children",
        "_expat",
        "_left",
        "_limits",
        "_primed",
        "_start",
        "_unread",
        "depth",
        "fed",
        "found",
        "over",
        "prefixes",
        "root",
    )

    def __init__(self, limits: Limits, primer: bytes = b"") -> None:
        """Make a parser; without a primer the root element itself is still to come (and is recorded)."""
        self._limits = limits
        self._left = limits.elements
        self._primed = len(primer)
        self._unread = b""  # where expat withholds: what it may have kept back
        self.depth = 0
        self.fed = 0
        self.over = False  # the element around has ended
        self.found: list[Found] = []
        self.root: tuple[str, dict[str, str], int] | None = None
        self.prefixes: list[tuple[str | None, str]] = []
        self._expat = parser = expat.ParserCreate("UTF-8", "}", intern=None)  # None: no names are kept
        if _DEFERS:  # else it withholds the end of a stanza that came in pieces until more comes
            parser.SetReparseDeferralEnabled(False)
        if primer:
            parser.Parse(primer, False)
            self.depth = 1
        else:
            parser.XmlDeclHandler = _declaration
            parser.StartDoctypeDeclHandler = _restricted
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        parser.StartNamespaceDeclHandler = self._declared
        parser.CommentHandler = parser.ProcessingInstructionHandler = _restricted

    @classmethod
    def inside(cls, primer: bytes, limits: Limits) -> Boundaries:
        """Give one that is primed; perhaps one that was put by, since making it costs as much as a stanza."""
        spare = _spare.pop(primer, None)
        if spare is None:
            return cls(limits, primer)
        spare._limits = limits  # noqa: SLF001  # one of ours
        return spare

    def put_by(self, primer: bytes) -> None:
        """It is done with between two first-level elements, and met no error: the next one may have it.

        Few are kept, and none that has read much: expat keeps every name that it was told.
        """
        if _WITHHOLDS or primer in _spare or len(_spare) == _MOST_SPARE or self.fed > _MOST_READ:
            self.forget()
        else:
            _spare[primer] = self

    def feed(self, data: bytes | bytearray) -> None:
        """Read on.  What was completed is in `found`, also when an error is raised.

        What follows the end of the element around is not looked at.

        :raises StreamError: ``not-well-formed``, ``restricted-xml``, ``unsupported-encoding`` or
            ``policy-violation`` (too deep, too many elements, too long a namespace name).
        """
        self.fed += len(data)
        self._parse(data)
        if _WITHHOLDS:
            self._coax(bytes(data))

    def _coax(self, data: bytes) -> None:
        """Have expat read what it keeps back though it is whole: blanks behind it do for more input."""
        self._unread += data
        unread = self._unread
        if not self.over and unread.endswith(b">") and _TOKENS.fullmatch(unread):
            blanks = b" " * (len(unread) + 1)
            self._parse(blanks)
            self._primed += len(blanks)  # what comes next is not behind them
            self._unread = b""

    def _parse(self, data: bytes | bytearray) -> None:
        try:
            self._expat.Parse(data, False)
        except (expat.ExpatError, StreamError) as why:
            if self.over:
                return
            if isinstance(why, StreamError):
                raise
            raise StreamError(_CONDITIONS.get(why.code, "not-well-formed")) from None

    @property
    def position(self) -> int:
        """Where the first thing begins whose end expat has not seen, such as half a tag."""
        return self._expat.CurrentByteIndex - self._primed

    @property
    def stopped(self) -> int:
        """Where `feed` met what it has raised an error for."""
        return self._expat.ErrorByteIndex - self._primed

    def forget(self) -> None:
        """Let go of expat; it and this object hold each other, which only a collection would end."""
        parser = self._expat
        parser.StartElementHandler = parser.EndElementHandler = parser.StartNamespaceDeclHandler = None

    def _started(self, name: str, attrs: dict[str, str]) -> None:
        depth = self.depth
        self.depth = depth + 1
        if depth == 2:
            self._children.append("{" + name if "}" in name else name)
        elif depth == 1:
            self._attrs = attrs
            self._children: list[str] = []
            self._start = self._expat.CurrentByteIndex - self._primed
            self._left = self._limits.elements
        elif depth == 0:
            place = self._expat.CurrentByteIndex - self._primed
            self.root = "{" + name if "}" in name else name, attrs, place
        elif depth > self._limits.depth:
            raise StreamError("policy-violation", "elements are nested too deeply")
        if not self._left:
            raise StreamError("policy-violation", "too many elements")
        self._left -= 1

    def _ended(self, name: str) -> None:
        self.depth = depth = self.depth - 1
        if depth == 1:
            mark = self._expat.CurrentByteIndex - self._primed
            clark = "{" + name if "}" in name else name
            self.found.append(Found(clark, self._attrs, self._children, self._start, mark))
        elif depth == 0:
            self.over = True

    def _declared(self, prefix: str | None, uri: str | None) -> None:
        if uri and len(uri) > _LONGEST_NAMESPACE:
            raise StreamError("policy-violation", "a namespace name is too long")
        if self.depth == 0:
            self.prefixes.append((prefix, uri or ""))


_spare: Final[dict[bytes, Boundaries]] = {}  # by primer; what is in use is not here


def end_of(data: bytes | bytearray, start: int, mark: int) -> tuple[int, int, int]:
    """The places of a first-level element in its bytes: end of its start tag, of its content, of all.

    ``start`` and ``mark`` are as in `Found`, counted from the beginning of ``data``.
    """
    if not data.startswith(b"</", mark):
        return mark, mark, mark  # without an end tag; else it may still be that of what is around
    tag = START_TAG.match(data, start)
    assert tag is not None  # expat has seen this tag
    opened = tag.end()
    if data.endswith(b"/>", 0, opened):  # the start tag is all there is
        return opened, opened, opened
    return opened, mark, data.index(b">", mark) + 1


def _restricted(*_: object) -> None:
    raise StreamError("restricted-xml")


def _declaration(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() != "utf-8":
        raise StreamError("unsupported-encoding")
