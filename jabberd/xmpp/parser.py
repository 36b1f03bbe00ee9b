"""From bytes to events: the stream parser (RFC 6120 §4, §11), without input or output.

Between two stanzas it holds no expat parser, so that an idle stream costs next to nothing: one
is made when bytes arrive, primed with this stream's own header, and dropped at the next stanza
boundary.  It never calls back: `StreamParser.feed` returns what happened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from jabberd.xmpp import ns
from jabberd.xmpp.boundaries import START_TAG, Boundaries, Found, Limits, end_of
from jabberd.xmpp.element import Element, content_of, escape_attribute, parse_document
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.stanza import EXPAT_LANG, LANG, NAMES, TIED, Stanza, rescoped, short_names

if TYPE_CHECKING:
    from collections.abc import Sequence

_RAW_NAME: Final = re.compile(rb"<([^\s/>]+)")
#: An unfinished tag longer than this is not read again before it may have ended: expat would start
#: over at its beginning each time.
_PATIENT_FROM: Final = 1024


class Scope(NamedTuple):
    """The tags that first-level elements stand between: they declare the stream's namespaces."""

    opening: bytes
    closing: bytes

    def open(self, raw: bytes) -> Element:
        """Read one first-level element as a tree."""
        element = parse_document(self.opening + raw + self.closing)[0]
        element.tail = None
        return element


@dataclass(frozen=True, slots=True)
class Header:
    """The peer opened its stream (RFC 6120 §4.7).

    :ivar content_ns: the default namespace that the header declares, empty for none.
    :ivar prefixes: the other namespaces it declares, by prefix.
    """

    to: str
    sender: str
    id: str
    version: str
    lang: str
    content_ns: str
    prefixes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Nonza:
    """A first-level element that is not a stanza, such as ``<starttls/>`` or ``<r/>``."""

    name: str
    attrs: dict[str, str]
    raw: bytes
    scope: Scope

    def element(self) -> Element:
        """Open it."""
        return self.scope.open(self.raw)


class StreamEnd:
    """The peer said ``</stream:stream>``."""


Event = Header | Stanza | Nonza | StreamEnd | StreamError


class StreamParser:
    """Reads one stream.  After a restart (RFC 6120 §4.3.3) a new one is made.

    :param content_ns: ``jabber:client`` or ``jabber:server``: what the stream must be about.
    """

    __slots__ = ("_base", "_buffer", "_content_ns", "_lang", "_prefixes", "_reading", "_scope", "limits")

    def __init__(self, content_ns: str, limits: Limits) -> None:
        self.limits = limits
        self._content_ns = content_ns
        self._lang = ""
        self._prefixes: tuple[bytes, ...] = ()
        self._scope: Scope | None = None
        self._reading: Boundaries | None = None
        self._buffer: bytes | bytearray = b""  # what belongs to no event yet
        self._base = 0  # where the buffer begins, in the bytes that this parser has read

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished element are held; 0 between two stanzas."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Event]:
        """Read on; a `StreamError` or `StreamEnd` is the last event: nothing may be fed after it."""
        events: list[Event] = []
        try:
            self._read(data, events)
        except StreamError as error:
            events.append(error)
        return events

    def _read(self, data: bytes, events: list[Event]) -> None:
        reading = self._reading
        if reading is None:
            if self._scope is None:
                _refuse_wide_characters(data)
                data = data.lstrip()  # white space that kept the old stream alive (§4.6.1)
            reading = self._reading = Boundaries(self.limits, self._scope.opening if self._scope else b"")
            self._buffer, self._base = data, 0
        else:
            if type(self._buffer) is not bytearray:
                self._buffer = bytearray(self._buffer)
            self._buffer += data
            if self._unfinished(reading) > _PATIENT_FROM + len(data) and b">" not in data:
                self._check_sizes(reading)
                return
            data = bytes(self._buffer[reading.fed - self._base :])
        try:
            reading.feed(data)
        finally:
            self._collect(reading, events)
        self._settle(reading, events)

    def _unfinished(self, reading: Boundaries) -> int:
        return self._base + len(self._buffer) - reading.position

    def _check_sizes(self, reading: Boundaries) -> None:
        if len(self._buffer) > self.limits.size:
            raise StreamError("policy-violation", "the stanza is too big")
        if self._unfinished(reading) > self.limits.tag:
            raise StreamError("policy-violation", "a tag is too big")

    def _collect(self, reading: Boundaries, events: list[Event]) -> None:
        """Turn what was found into events and take it out of the buffer."""
        used = 0
        if self._scope is None:
            if reading.root is None:
                return
            used = self._opened(*reading.root, reading.prefixes, events)
        buffer, base = self._buffer, self._base
        for found in reading.found:
            start = found.start - base
            if start != used and not buffer[used:start].isspace():
                raise StreamError("bad-format", "there is text between the stanzas")
            opened, closed, used = end_of(buffer, start, found.mark - base)
            if used - start > self.limits.size:
                raise StreamError("policy-violation", "the stanza is too big")
            raw = bytes(buffer[start:used])
            events.append(self._event(found, raw, opened - start, closed - start))
        reading.found.clear()
        if used:
            self._buffer = buffer[used:]
            self._base = base + used

    def _settle(self, reading: Boundaries, events: list[Event]) -> None:
        """After all was read: drop the parser at a stanza boundary, or check how much is unfinished."""
        rest = self._buffer
        if reading.depth == 1 and (not rest or rest.isspace()):
            self._drop()
        elif reading.depth == 0 and self._scope is not None:
            self._drop()
            events.append(StreamEnd())
        else:
            self._check_sizes(reading)
            if reading.depth == 1 and rest.lstrip()[:1] != b"<":
                raise StreamError("bad-format", "there is text between the stanzas")

    def _drop(self) -> None:
        if self._reading is not None:
            self._reading.forget()
        self._reading = None
        self._buffer = b""

    def _opened(
        self,
        name: str,
        attrs: dict[str, str],
        start: int,
        declared: Sequence[tuple[str | None, str]],
        events: list[Event],
    ) -> int:
        """The header is whole: check it (§4.8) and remember what it declared; returns where it ends."""
        namespace, _, local = name.rpartition("}")
        tag = START_TAG.match(self._buffer, start)
        qualified = _RAW_NAME.match(self._buffer, start)
        assert tag is not None  # expat has seen this tag
        assert qualified is not None
        default = next((uri for prefix, uri in declared if prefix is None), "")
        prefixes = {prefix: uri for prefix, uri in declared if prefix}
        if local != "stream":
            raise StreamError("bad-format", "the root element is not a stream")
        if namespace[1:] != ns.STREAM:
            raise StreamError("invalid-namespace", "the root element is in the wrong namespace")
        if default not in ("", self._content_ns):
            raise StreamError("invalid-namespace", f"this stream is about {self._content_ns}")
        self._scope = _scope(qualified.group(1), declared)
        self._prefixes = tuple(f"{prefix}:".encode() for prefix in prefixes)
        self._lang = attrs.get(EXPAT_LANG, "")
        to, sender, id, version = (attrs.get(key, "") for key in ("to", "from", "id", "version"))
        events.append(Header(to, sender, id, version, self._lang, default, prefixes))
        return tag.end()

    def _event(self, found: Found, raw: bytes, opened: int, closed: int) -> Stanza | Nonza:
        assert self._scope is not None
        namespace, _, local = found.name.rpartition("}")
        if local not in NAMES or namespace[1:] != self._content_ns:
            return Nonza(found.name, found.attrs, raw, self._scope)
        attrs = found.attrs
        if self._is_sealed(raw, local, opened, closed):
            for name in attrs:
                if "}" in name:
                    attrs = short_names(attrs)
                    break
            children = found.children
            if self._content_ns != ns.CLIENT:
                children = [_moved(name, namespace) for name in children]
            stanza = Stanza(local, attrs, tuple(children), raw[opened:closed])
        else:
            stanza = self._rewritten(raw, local)
        if self._lang and LANG not in stanza.attrs:
            stanza.attrs[LANG] = self._lang  # §8.1.5
        return stanza

    def _is_sealed(self, raw: bytes, local: str, opened: int, closed: int) -> bool:
        """Whether the payload means the same wherever ``jabber:client`` is the default namespace."""
        if not raw.startswith(local.encode(), 1) or raw.find(b"xmlns:", 0, opened) > 0:
            return False
        for prefix in self._prefixes:
            if prefix in raw:
                return False
        return self._content_ns == ns.CLIENT or not TIED.search(raw, opened, closed)

    def _rewritten(self, raw: bytes, local: str) -> Stanza:
        """Read the stanza as a tree and write it anew, with no debt to its stream."""
        assert self._scope is not None
        element = rescoped(self._scope.open(raw), self._content_ns, ns.CLIENT)
        attrs = short_names({name[1:] if name[0] == "{" else name: v for name, v in element.attrib.items()})
        return Stanza(local, attrs, tuple(child.tag for child in element), content_of(element))


def _scope(qualified: bytes, declared: Sequence[tuple[str | None, str]]) -> Scope:
    shown = "".join(
        f" xmlns{':' + prefix if prefix else ''}='{escape_attribute(uri)}'" for prefix, uri in declared
    )
    key = (qualified, shown)
    scope = _SCOPES.get(key)
    if scope is None:
        scope = Scope(b"<%s%s>" % (qualified, shown.encode()), b"</%s>" % qualified)
        if len(_SCOPES) < _MOST_SCOPES:
            _SCOPES[key] = scope
    return scope


#: Nearly all clients declare the same: one copy for all of them.
_SCOPES: Final[dict[tuple[bytes, str], Scope]] = {}
_MOST_SCOPES: Final = 64


def _moved(name: str, namespace: str) -> str:
    return f"{{{ns.CLIENT}{name[len(namespace) :]}" if name.startswith(namespace + "}") else name


def _refuse_wide_characters(data: bytes) -> None:
    """UTF-16, which expat would accept at a byte order mark (RFC 6120 §11.6: UTF-8 alone)."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in data[:4]:
        raise StreamError("unsupported-encoding")
