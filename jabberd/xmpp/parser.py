"""From bytes to events: the stream parser (RFC 6120 §4, §11), without input or output.

Between two stanzas it holds no expat parser, so that an idle stream costs next to nothing: one
is made when bytes arrive, primed with this stream's own header, and dropped at the next stanza
boundary.  It never calls back: `StreamParser.feed` returns what happened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from jabberd.xmpp import ns
from jabberd.xmpp.boundaries import START_TAG, Boundaries, Found, Limits, end_of
from jabberd.xmpp.element import Element, content_of, escape_attribute, parse_document
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.shortcut import LONGEST, empty_element
from jabberd.xmpp.stanza import EXPAT_LANG, LANG, NAMES, TIED, Stanza, rescoped, short_names

if TYPE_CHECKING:
    from collections.abc import Sequence

_RAW_NAME: Final = re.compile(rb"<([^\s/>]+)")
_TAGS: Final = re.compile(rb"<!\[CDATA\[.*?]]>|" + START_TAG.pattern, re.DOTALL)
_WHITE: Final = b" \t\r\n"
#: A piece of a document type where there can be none; expat only says that it is no tag.
_DECLARATION: Final = re.compile(rb"<![A-Z]")
#: A declaration in the payload that may give the content namespace a prefix, which nobody else gets to
#: see (RFC 6120 §4.8.5); the name may hide behind character references.
_PREFIXED: Final = re.compile(rb"""xmlns:[^\s=<>:"'/]*\s*=\s*["'][^"'<]*(?:jabber:client|&)""")
#: RFC 5646 §2.1, and much shorter than what a header has room for: each stanza without one gets it.
_LANGUAGE: Final = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,8}")
#: RFC 6120 §4.8.3: what streams of one kind or another are about.
_CONTENT: Final = frozenset({ns.CLIENT, ns.SERVER, "jabber:component:accept", "jabber:component:connect"})
#: The names of stanzas by their Clark names, of each kind of stream.
_STANZAS: Final = {space: {f"{{{space}}}{name}": name for name in NAMES} for space in _CONTENT}
#: Each stanza is looked through for all prefixes of its stream, and read between their declarations.
_MOST_PREFIXES: Final = 20
_LESS: Final = ord("<")
#: Expat is not shown half a tag that is shorter than this: it would start over at the tag's beginning
#: each time, and where reparse deferral cannot be switched off (a patched libexpat under a Python that
#: does not know it) it would withhold the end of a stanza until more comes.
_PATIENCE: Final = 1024


class Scope(NamedTuple):
    """The tags that first-level elements stand between: they declare the stream's namespaces."""

    opening: bytes
    closing: bytes

    def open(self, raw: bytes) -> Element:
        """Read one first-level element as a tree."""
        return parse_document(self.opening + raw + self.closing)[0]


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


class Nonza(NamedTuple):
    """A first-level element that is not a stanza, such as ``<starttls/>`` or ``<r/>``."""

    name: str
    attrs: dict[str, str]
    raw: bytes
    scope: Scope

    def element(self) -> Element:
        """Open it; for one that is empty or has plain text alone all is known without reading it again."""
        raw = self.raw
        tags = raw.count(b"<")
        if LANG in self.attrs or tags > 2 or b"&" in raw or b"\r" in raw:
            return self.scope.open(raw)
        element = Element(self.name, self.attrs)
        if tags == 2:  # its own
            opened = START_TAG.match(raw)
            assert opened is not None  # expat has seen this tag
            element.text = raw[opened.end() : raw.rindex(b"<")].decode() or None
        return element


class StreamEnd:
    """The peer said ``</stream:stream>``."""


Event = Header | Stanza | Nonza | StreamEnd | StreamError


#: Headers that were read, with what they mean to a stream of that content namespace.  None that says who it
#: is from: whoever says the same would tell by the time whether somebody of that name was here.
HEADERS: Final[dict[tuple[str, bytes], tuple[Scope, tuple[bytes, ...], str, Header]]] = {}
_MOST_HEADERS: Final = 64
_LONGEST_HEADER: Final = 300  # bytes


class StreamParser:
    """Reads one stream.  After a restart (RFC 6120 §4.3.3) a new one is made.

    :param content_ns: ``jabber:client`` or ``jabber:server``: what the stream must be about.
    """

    __slots__ = (
        "_buffer",
        "_content_ns",
        "_ended",
        "_lang",
        "_prefixes",
        "_reading",
        "_scope",
        "_seen",
        "limits",
    )

    def __init__(self, content_ns: str, limits: Limits) -> None:
        self.limits = limits
        self._content_ns = content_ns
        self._lang = ""
        self._prefixes: tuple[bytes, ...] = ()
        self._scope: Scope | None = None
        self._reading: Boundaries | None = None
        self._buffer: bytes | bytearray = b""  # what belongs to no event yet
        self._seen = 0  # how much of the buffer, from its beginning, `_reading` was fed
        self._ended = False

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished element are held; 0 between two stanzas."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Event]:
        """Read on; a `StreamError` or `StreamEnd` is the last event: what is fed after it is ignored."""
        events: list[Event] = []
        if not self._ended:
            try:
                self._read(data, events)
            except StreamError as error:
                error.__traceback__ = error.__context__ = None  # they know this frame, and it the error
                self._end(error, events)
        return events

    def _read(self, data: bytes, events: list[Event]) -> None:
        if len(data) <= LONGEST and not self._buffer and self._scope is not None:
            short = empty_element(data)
            if short is not None:
                events.append(Nonza(*short, data, self._scope))
                return
        if not self._buffer:
            if self._scope is None and self._opens_as_others_do(data, events):
                return
            self._buffer = data.lstrip(_WHITE)  # white space keeps a connection alive (§4.6.1)
        else:
            if type(self._buffer) is not bytearray:
                self._buffer = bytearray(self._buffer)
            self._buffer += data
        buffer, seen = self._buffer, self._seen
        if self._scope is None or not buffer.startswith(b"<"):
            self._check_beginning(buffer)
        end = buffer.rfind(b">", seen) + 1
        if len(buffer) - (end or seen) > _PATIENCE:
            end = len(buffer)
        if end:
            self._parse(buffer[seen:end], events)
        if len(self._buffer) > self.limits.size:
            raise _too_big()

    def _opens_as_others_do(self, data: bytes, events: list[Event]) -> bool:
        """Take a header that was read on another stream, to the last byte: clients of a kind say the same."""
        known = HEADERS.get((self._content_ns, data)) if len(data) <= self.limits.tag else None
        if known is None:
            return False
        self._scope, self._prefixes, self._lang, header = known
        events.append(header)
        return True

    def _parse(self, data: bytes | bytearray, events: list[Event]) -> None:
        """Let expat read on in the buffer, and go when that ends at a stanza boundary."""
        reading = self._reading
        if reading is None:
            opening = self._scope.opening if self._scope else b""
            reading = Boundaries.inside(opening, self.limits) if opening else Boundaries(self.limits)
            self._reading = reading
        self._seen += len(data)
        try:
            reading.feed(data)
        except StreamError:
            place = reading.stopped - reading.fed + self._seen
            if _DECLARATION.match(self._buffer, max(0, place - 2)):
                raise StreamError("restricted-xml") from None
            raise
        finally:
            self._collect(reading, events)
        if reading.depth == 1 and not self._seen:
            self._put_by(reading)
        elif reading.over:
            self._end(StreamEnd(), events)
        elif reading.fed - reading.position + len(self._buffer) - self._seen > self.limits.tag:
            raise StreamError("policy-violation", "a tag is too big")

    def _collect(self, reading: Boundaries, events: list[Event]) -> None:
        """Turn what was found into events and take it out of the buffer."""
        used = header = 0
        if self._scope is None:
            if reading.root is None:
                return
            used = header = self._opened(*reading.root, reading.prefixes, events)
        buffer, base = self._buffer, reading.fed - self._seen
        for found in reading.found:
            start = found.start - base
            if start != used and not buffer[used:start].isspace():
                raise StreamError("bad-format", "there is text between the stanzas")
            opened, closed, used = end_of(buffer, start, found.mark - base)
            raw = bytes(buffer[start:used])
            if len(raw) > self.limits.size:
                raise _too_big()
            if len(raw) > self.limits.tag:
                self._check_tags(raw)
            events.append(self._event(found, raw, opened - start, closed - start))
        if used:  # else nothing is copied: a big stanza may come in very small pieces
            reading.found.clear()
            self._buffer = rest = buffer[used:].lstrip(_WHITE)
            self._seen = max(0, self._seen - len(buffer) + len(rest))
            if not (reading.over and used == header and buffer[:used].endswith(b"/>")):
                self._check_beginning(rest)  # what comes behind an empty root is nobody's business

    def _check_beginning(self, buffer: bytes | bytearray) -> None:
        """Only a tag may begin here; it is also the place to notice UTF-16, which expat would read."""
        if not buffer or (buffer[0] == _LESS and self._scope is not None):
            return
        if self._scope is not None:
            raise StreamError("bad-format", "there is text between the stanzas")
        if buffer.startswith((b"\x00", b"<\x00", b"\xfe", b"\xff")):
            raise StreamError("unsupported-encoding")
        if buffer[0] != _LESS:
            raise StreamError("not-well-formed")

    def _check_tags(self, raw: bytes) -> None:
        """The rule for a tag that came in pieces must also hold for one that came at once."""
        for tag in _TAGS.findall(raw):
            if len(tag) > self.limits.tag and not tag.startswith(b"<!"):
                raise StreamError("policy-violation", "a tag is too big")

    def _end(self, last: Event, events: list[Event]) -> None:
        self._drop()
        self._buffer = b""
        self._ended = True
        events.append(last)

    def _put_by(self, reading: Boundaries) -> None:
        """Between two stanzas expat knows nothing of this stream but the header that it was primed with."""
        self._reading = None
        if self._scope is not None and reading.root is None:
            reading.put_by(self._scope.opening)
        else:
            reading.forget()

    def _drop(self) -> None:
        if self._reading is not None:
            self._reading.forget()
        self._reading = None

    def __del__(self) -> None:
        """A connection may be lost in the middle of a stanza."""
        self._drop()

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
        if default not in ("", ns.STREAM, self._content_ns):
            raise StreamError("invalid-namespace", f"this stream is about {self._content_ns}")
        if tag.end() > self.limits.tag:
            raise StreamError("policy-violation", "a tag is too big")
        if len(declared) > _MOST_PREFIXES:
            raise StreamError("policy-violation", "too many namespaces are declared")
        self._scope = _scope(qualified.group(1), tuple(declared))
        self._prefixes = tuple(f"{prefix}:".encode() for prefix in prefixes)
        lang = attrs.get(EXPAT_LANG, "")
        self._lang = lang if _LANGUAGE.fullmatch(lang) else ""
        to, sender, id, version = (attrs.get(key, "") for key in ("to", "from", "id", "version"))
        header = Header(to, sender, id, version, self._lang, default, prefixes)
        events.append(header)
        self._remember(header, bytes(self._buffer[: tag.end()]))
        return tag.end()

    def _remember(self, header: Header, data: bytes) -> None:
        """For `_opens_as_others_do`; an empty root is no stream that goes on."""
        assert self._scope is not None
        if header.sender or header.id or len(data) > _LONGEST_HEADER or data.endswith(b"/>"):
            return
        if len(HEADERS) >= _MOST_HEADERS:
            HEADERS.clear()
        HEADERS[self._content_ns, data] = self._scope, self._prefixes, self._lang, header

    def _event(self, found: Found, raw: bytes, opened: int, closed: int) -> Stanza | Nonza:
        name, attrs = found.name, found.attrs
        local = _STANZAS[self._content_ns].get(name)
        if local is None:
            return self._nonza(name, attrs, raw)
        if self._is_sealed(raw, opened, closed):
            for each in attrs:
                if "}" in each:
                    attrs = short_names(attrs)
                    break
            children = found.children
            if self._content_ns != ns.CLIENT:
                children = [_moved(child, name.rpartition("}")[0]) for child in children]
            stanza = Stanza(local, attrs, tuple(children), raw[opened:closed])
        else:
            stanza = self._rewritten(raw, local)
        if self._lang and LANG not in stanza.attrs:
            stanza.attrs[LANG] = self._lang  # §8.1.5
        return stanza

    def _nonza(self, name: str, attrs: dict[str, str], raw: bytes) -> Nonza:
        assert self._scope is not None
        namespace = name.rpartition("}")[0][1:]
        if namespace in _CONTENT and namespace != self._content_ns:
            raise StreamError("invalid-namespace", f"this stream is about {self._content_ns}")
        return Nonza(name, short_names(attrs) if attrs else attrs, raw, self._scope)

    def _is_sealed(self, raw: bytes, opened: int, closed: int) -> bool:
        """Whether the payload means the same wherever ``jabber:client`` is the default namespace."""
        declared = raw.find(b"xmlns:")
        if declared > 0 and (declared < opened or _PREFIXED.search(raw, opened, closed)):
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
        payload = content_of(element)
        if len(payload) > self.limits.size:  # prefixes became declarations
            raise _too_big()
        return Stanza(local, attrs, tuple(child.tag for child in element), payload)


@lru_cache(maxsize=64)  # nearly all clients declare the same: one copy for all of them
def _scope(qualified: bytes, declared: tuple[tuple[str | None, str], ...]) -> Scope:
    shown = "".join(
        f" xmlns{':' + prefix if prefix else ''}='{escape_attribute(uri)}'" for prefix, uri in declared
    )
    return Scope(b"<%s%s>" % (qualified, shown.encode()), b"</%s>" % qualified)


def _moved(name: str, namespace: str) -> str:
    return f"{{{ns.CLIENT}{name[len(namespace) :]}" if name.startswith(namespace + "}") else name


def _too_big() -> StreamError:
    """XEP-0205 §4.5."""
    return StreamError("policy-violation", "the stanza is too big", application=(ns.ERRORS, "stanza-too-big"))
