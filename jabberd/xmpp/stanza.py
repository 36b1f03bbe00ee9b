"""The stanza: an envelope and a sealed payload.

A stanza that only passes through is never made a tree: its payload stays the bytes that the
sender wrote.  Stanzas are values: nobody changes one, `Stanza.with_attrs` and its kin give a new
one that shares the payload.

Inside the server there is one world: every stanza is in ``jabber:client``, names are in Clark
notation, and the payload can stand wherever ``jabber:client`` is the default namespace.  The
stream parser brings it into that shape, `Stanza.to_bytes` out of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from jabberd.xmpp import ns
from jabberd.xmpp.boundaries import Boundaries, Limits, end_of
from jabberd.xmpp.element import (
    NOT_IN_XML,
    Element,
    Sealed,
    attributes,
    content_of,
    escape_attribute,
    is_plain,
    parse_content,
    serialize_content,
    split,
)
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID, InvalidJID

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

NAMES: Final = frozenset({"message", "presence", "iq"})
LANG: Final = "xml:lang"
EXPAT_LANG: Final = f"{ns.XML}}}lang"  # its Clark name without the first brace

#: In attributes as they are written between single quotes; the quotes themselves are counted.
_NEEDS_CARE = re.compile(rf"[&<>\"\t\n\r{{{NOT_IN_XML}]")
#: What keeps a payload from being forwarded as it is between content namespaces: an element with a
#: prefix, whose unprefixed children are then in the stanza's namespace; a declaration that names a
#: content namespace, or may do so behind a character reference.
TIED = re.compile(rb"""<[^\s/<>!"'&:]*:|xmlns\s*=\s*["'][^"']*(?:jabber:(?:client|server|component)|&)""")
_UNLIMITED = Limits(size=1 << 62, tag=1 << 62, depth=1 << 30, elements=1 << 30)
_UNREAD: Final = JID.parse("not.read.yet.invalid")  # by identity: an address that nobody asked for so far
_INSIDE = b"<_ xmlns='jabber:client'>"
_DECLARED: Final = f" xmlns='{ns.CLIENT}'"


class Stanza:
    """A message, presence or iq (RFC 6120 §8).

    :ivar name: ``message``, ``presence`` or ``iq``.
    :ivar attrs: the start tag's attributes by name (``xml:lang`` under that name); never changed.
    :ivar children: the Clark names of the direct child elements, in order.
    :ivar payload: the bytes between start and end tag.
    """

    __slots__ = ("_bytes", "_element", "_sender", "_shown", "_to", "attrs", "children", "name", "payload")

    def __init__(self, name: str, attrs: dict[str, str], children: tuple[str, ...], payload: bytes) -> None:
        self.name = name
        self.attrs = attrs
        self.children = children
        self.payload = payload
        self._to: JID | None = _UNREAD
        self._sender: JID | None = _UNREAD
        self._bytes: bytes | None = None
        self._shown: str | None = None  # the attributes, as `to_standalone` wrote them
        self._element: Element | None = None

    @classmethod
    def of(
        cls,
        name: str,
        *children: Element | Sealed,
        to: JID | None = None,
        sender: JID | None = None,
        type: str = "",
        id: str = "",
        lang: str = "",
    ) -> Stanza:
        """Build a stanza of our own: ``Stanza.of("iq", query, to=romeo, type="result", id="r1")``."""
        given = {"from": sender, "to": to, "id": id, "type": type, LANG: lang}
        attrs = {name: str(value) for name, value in given.items() if value}
        return cls(name, attrs, tuple(c.tag for c in children), serialize_content(children))

    @classmethod
    def from_standalone(cls, data: bytes) -> Stanza:
        """What `to_standalone` wrote; the payload stays sealed."""
        inside = Boundaries.inside(_INSIDE, _UNLIMITED)
        before = inside.fed
        inside.feed(data)
        [found] = inside.found
        opened, closed, end = end_of(data, found.start - before, found.mark - before)
        if end == len(data):
            inside.found.clear()
            inside.put_by(_INSIDE)
        else:
            inside.forget()
        name = found.name.removeprefix(f"{{{ns.CLIENT}}}")
        return cls(name, short_names(found.attrs), tuple(found.children), data[opened:closed])

    @classmethod
    def from_element(cls, element: Element) -> Stanza:
        """The stanza that a tree is, such as one inside another (XEP-0297), with all its attributes."""
        lang = _qualified(LANG)
        attrs = {LANG if name == lang else name: value for name, value in element.attrib.items()}
        tags, content = tuple(child.tag for child in element), serialize_content(element)
        return cls(split(element.tag)[1], attrs, tags, content)

    def __repr__(self) -> str:
        return f"<{self.name} {self.type} to={self.attrs.get('to')!r} from={self.attrs.get('from')!r}>"

    # -- the envelope -----------------------------------------------------------------------------

    @property
    def to(self) -> JID | None:
        """Whom it is addressed to; None if nobody was named.

        :raises StanzaError: ``jid-malformed``.
        """
        if self._to is _UNREAD:
            self._to = _address(self.attrs.get("to"))
        return self._to

    @property
    def sender(self) -> JID | None:
        """Its ``from``; None if it has none.

        :raises StanzaError: ``jid-malformed``.
        """
        if self._sender is _UNREAD:
            self._sender = _address(self.attrs.get("from"))
        return self._sender

    @property
    def type(self) -> str:
        """The ``type`` attribute, empty if absent."""
        return self.attrs.get("type", "")

    @property
    def id(self) -> str:
        """The ``id`` attribute, empty if absent."""
        return self.attrs.get("id", "")

    @property
    def lang(self) -> str:
        """The ``xml:lang`` attribute, empty if absent."""
        return self.attrs.get(LANG, "")

    # -- the payload ------------------------------------------------------------------------------

    def element(self) -> Element:
        """Open the payload: the whole stanza as a tree.  Made once and shared: do not change it."""
        if self._element is None:
            root = parse_content(self.payload)
            root.tag = f"{{{ns.CLIENT}}}{self.name}"
            root.attrib.update({_qualified(k): v for k, v in self.attrs.items()})
            self._element = root
        return self._element

    def child(self, name: str) -> Element | None:
        """The first direct child of that Clark name, opened; None if there is none."""
        return self.element().find(name) if name in self.children else None

    # -- new stanzas from this one ----------------------------------------------------------------

    def with_attrs(
        self,
        *,
        to: JID | None = None,
        sender: JID | None = None,
        type: str | None = None,
        id: str | None = None,
    ) -> Stanza:
        """The same payload in another envelope; what is not given (or None) stays."""
        given = {"to": to, "from": sender, "type": type, "id": id}
        attrs = {**self.attrs, **{k: v for k, v in given.items() if v is not None}}
        return Stanza(self.name, attrs, self.children, self.payload)

    def stamped(self, sender: JID, to: JID | None = None) -> Stanza:
        """The same stanza from its true sender (RFC 6120 §8.1.2.1), and to ``to`` if that is given."""
        attrs = self.attrs.copy()
        attrs["from"] = sender
        new = Stanza(self.name, attrs, self.children, self.payload)
        new._sender = sender  # known already: spares the look-up
        if to is not None:
            attrs["to"] = to
            new._to = to
        else:
            new._to = self._to
        return new

    def copies(self, sender: JID, recipients: Collection[JID]) -> Iterator[Stanza]:
        """The same stanza from somebody to each of these; it is written once, but for the address."""
        attrs = {name: value for name, value in self.attrs.items() if name != "to"}
        attrs["from"] = sender
        head = f"<{self.name}{_shown(attrs)} to='".encode()
        tail = b"'>" + self.payload + f"</{self.name}>".encode() if self.payload else b"'/>"
        plain = is_plain("".join(recipients))  # nearly always, and asked once
        for to in recipients:
            copy = Stanza(self.name, {**attrs, "to": to}, self.children, self.payload)
            copy._sender, copy._to = sender, to
            copy._bytes = head + (to if plain else escape_attribute(to)).encode() + tail
            yield copy

    def with_child(self, *added: Element) -> Stanza:
        """The same stanza with elements added at its end; the payload stays sealed."""
        payload = self.payload + serialize_content(added)
        return Stanza(self.name, self.attrs, self.children + tuple(c.tag for c in added), payload)

    def with_sealed(self, name: str, child: bytes) -> Stanza:
        """The same stanza with a child of that Clark name added at its end, given as its bytes."""
        new = Stanza(self.name, self.attrs, (*self.children, name), self.payload + child)
        new._shown = self._shown
        return new

    def without(self, names: Iterable[str]) -> Stanza:
        """The same stanza without the direct children of these Clark names; the rest stays sealed."""
        return self.select(set(self.children).difference(names))

    def select(self, names: Iterable[str]) -> Stanza:
        """The same stanza with only the direct children of these Clark names."""
        wanted = set(names)
        if wanted.issuperset(self.children):
            return self
        payload = b"".join(data for name, data in self.pieces() if not name or name in wanted)
        return Stanza(self.name, self.attrs, tuple(c for c in self.children if c in wanted), payload)

    def pieces(self) -> list[tuple[str, bytes]]:
        """The payload cut at its direct children: ``(Clark name, bytes)``; text has an empty name."""
        inside = Boundaries(_UNLIMITED, _INSIDE)
        inside.feed(self.payload)
        out: list[tuple[str, bytes]] = []
        at = 0
        for found in inside.found:
            _, _, end = end_of(self.payload, found.start, found.mark)
            out += [("", self.payload[at : found.start]), (found.name, self.payload[found.start : end])]
            at = end
        inside.forget()
        return [*out, ("", self.payload[at:])]

    def reply(self, *children: Element | Sealed) -> Stanza:
        """The result of an iq, back to its sender (RFC 6120 §8.2.3)."""
        return self._answer("result", children)

    def error(self, error: StanzaError, by: JID | None = None) -> Stanza:
        """The error for this stanza (RFC 6120 §8.3): condition, id, swapped addresses, not its payload.

        :param by: who says so, when it is not the one addressed.
        """
        beside = () if error.beside is None else (error.beside,)
        return self._answer("error", (*beside, error_element(error, by)))

    def _answer(self, type: str, children: tuple[Element | Sealed, ...]) -> Stanza:
        attrs = {"type": type}
        for theirs, ours in (("to", "from"), ("from", "to"), ("id", "id")):
            if theirs in self.attrs:
                attrs[ours] = self.attrs[theirs]
        if self.name == "iq":
            attrs.setdefault("id", "")  # §8.3.1, rule 3
        return Stanza(self.name, attrs, tuple(c.tag for c in children), serialize_content(children))

    # -- out of the server ------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """As it stands on a stream whose default namespace is ``jabber:client``; made once."""
        if self._bytes is None:
            self._bytes = self._write(self._shown or _shown(self.attrs), self.payload)
        return self._bytes

    def to_standalone(self) -> bytes:
        """As it stands anywhere, its namespace declared: in an archive row, inside a forwarded message."""
        self._shown = self._shown or _shown(self.attrs)
        return self._write(_DECLARED + self._shown, self.payload)

    def to_scope(self, namespace: str) -> bytes:
        """As it stands on a stream with another content namespace, such as ``jabber:server``.

        Children in the content namespace move with the stanza (RFC 6120 §4.8.3); those of a foreign
        element, such as a forwarded message (XEP-0297), stay what they are.
        """
        if not TIED.search(self.payload):
            return self.to_bytes()
        moved = rescoped(self.element(), ns.CLIENT, namespace)
        return self._write(_shown(self.attrs), content_of(moved, namespace))

    def _write(self, attrs: str, payload: bytes) -> bytes:
        if not payload:
            return f"<{self.name}{attrs}/>".encode()
        return f"<{self.name}{attrs}>".encode() + payload + f"</{self.name}>".encode()


def _shown(attrs: dict[str, str]) -> str:
    """The attributes as they are written, each with a blank before it."""
    shown = "".join([f" {name}='{value}'" for name, value in attrs.items()])
    if shown.count("'") != 2 * len(attrs) or _NEEDS_CARE.search(shown):
        return attributes(attrs)
    return shown


def error_element(error: StanzaError, by: JID | None = None) -> Element:
    """The ``<error/>`` child of an error stanza (RFC 6120 §8.3.2)."""
    element = Element(f"{{{ns.CLIENT}}}error", {"type": error.type})
    if by is not None:
        element.set("by", by)
    condition = Element(f"{{{ns.STANZA_ERRORS}}}{error.condition}")
    condition.text = error.uri or None
    element.append(condition)
    if error.text:
        text = Element(f"{{{ns.STANZA_ERRORS}}}text", {f"{{{ns.XML}}}lang": "en"})
        text.text = error.text
        element.append(text)
    if error.application:
        namespace, local = error.application
        element.append(Element(f"{{{namespace}}}{local}", {**error.details}))
        element[-1].extend(error.inside)
    return element


def rescoped(element: Element, old: str, new: str) -> Element:
    """A copy whose content-namespace elements have moved, but for those inside a foreign element."""
    mark = f"{{{old}}}"
    if not element.tag.startswith(mark):
        return element
    copy = Element(f"{{{new}}}{element.tag[len(mark) :]}", element.attrib)
    copy.text, copy.tail = element.text, element.tail
    copy.extend(rescoped(child, old, new) for child in element)
    return copy


def _address(text: str | None) -> JID | None:
    if text is None:
        return None
    try:
        return JID.parse(text)
    except InvalidJID:
        raise StanzaError("jid-malformed") from None


def short_names(attrs: dict[str, str]) -> dict[str, str]:
    """Attribute names as a stanza has them, from expat's ``namespace}name``."""
    return {
        LANG if name == EXPAT_LANG else "{" + name if "}" in name else name: value
        for name, value in attrs.items()
    }


def _qualified(name: str) -> str:
    return f"{{{ns.XML}}}lang" if name == LANG else name


def check_iq(stanza: Stanza) -> None:
    """Refuse an iq that is not one (RFC 6120 §8.2.3).

    :raises StanzaError: ``bad-request``.
    """
    if not stanza.id:
        raise StanzaError("bad-request", "an iq needs an id")
    if stanza.type in ("get", "set"):
        if len(stanza.children) != 1:
            raise StanzaError("bad-request", "a question has exactly one child element")
    elif stanza.type not in ("result", "error"):
        raise StanzaError("bad-request", "an iq is a get, set, result or error")
