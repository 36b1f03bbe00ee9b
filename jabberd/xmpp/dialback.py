"""Server Dialback: the keys (XEP-0185) and the two elements that carry them (XEP-0220)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from jabberd.xmpp import ns
from jabberd.xmpp.element import escape_attribute, escape_text, split
from jabberd.xmpp.errors import STANZA_CONDITIONS, StreamError
from jabberd.xmpp.jid import JID, InvalidJID

if TYPE_CHECKING:
    from jabberd.xmpp.element import Element

__all__ = ["Dialback", "is_key", "make_key"]

_NAMES: Final = {"result", "verify"}
_TYPES: Final = {"", "valid", "invalid", "error"}


def make_key(secret: str, receiving: str, originating: str, stream_id: str) -> str:
    """The key that the originating domain sends to the receiving one (XEP-0185 §2), in hexadecimal.

    :param secret: known to all servers of the originating domain, and to nobody else.
    :param stream_id: the id that the receiving server gave to the stream.
    """
    inner = sha256(secret.encode()).hexdigest().encode()
    return hmac.new(inner, f"{receiving} {originating} {stream_id}".encode(), sha256).hexdigest()


def is_key(key: str, secret: str, receiving: str, originating: str, stream_id: str) -> bool:
    """Whether `make_key` gives this key; takes as long for a wrong one."""
    right = make_key(secret, receiving, originating, stream_id)
    return hmac.compare_digest(key.encode(), right.encode())


@dataclass(frozen=True, slots=True)
class Dialback:
    """A ``<db:result/>`` or ``<db:verify/>`` (XEP-0220 §2).

    :ivar name: which of the two.
    :ivar sender, to: domains.
    :ivar id: of the stream that the key is for; in ``verify`` only.
    :ivar type: empty in a request, which has a `key`.
    :ivar condition: why it failed, in an answer of type ``error``: a stanza error's condition (§2.5).
    """

    name: str
    sender: JID
    to: JID
    id: str = ""
    type: str = ""
    key: str = ""
    condition: str = ""

    @classmethod
    def read(cls, element: Element) -> Dialback:
        """Read what a peer sent in the dialback namespace.

        :raises StreamError: ``improper-addressing`` if ``from`` or ``to`` is no domain, ``bad-format`` if it
            is not one of the two elements.
        """
        _, name = split(element.tag)
        type_ = element.get("type", "")
        if name not in _NAMES or type_ not in _TYPES:
            raise StreamError("bad-format")
        return cls(
            name,
            sender=_domain(element.get("from")),
            to=_domain(element.get("to")),
            id=element.get("id", "") if name == "verify" else "",
            type=type_,
            key=(element.text or "").strip() if not type_ else "",
            condition=_condition(element) if type_ == "error" else "",
        )

    def answer(self, type: str, condition: str = "") -> Dialback:
        """The answer to this request.

        :param type: ``valid``, ``invalid`` or ``error``.
        :param condition: with ``error`` only.
        """
        return Dialback(self.name, sender=self.to, to=self.sender, id=self.id, type=type, condition=condition)

    def is_answer_to(self, request: Dialback) -> bool:
        """Whether this answers that request: anything else is unsolicited and means nothing (§3.1)."""
        return bool(self.type) and self == request.answer(self.type, self.condition)

    def to_bytes(self) -> bytes:
        """Write it with the prefix ``db``, for which the stream header must stand (§2.4.1)."""
        attrs = {"from": self.sender, "to": self.to, "id": self.id, "type": self.type}
        written = "".join(f" {name}='{escape_attribute(value)}'" for name, value in attrs.items() if value)
        content = _error(self.condition) if self.condition else escape_text(self.key)
        return f"<db:{self.name}{written}>{content}</db:{self.name}>".encode()


def _domain(address: str | None) -> JID:
    try:
        jid = JID.parse(address or "")
    except InvalidJID:
        jid = None
    if jid is None or jid != jid.domain:
        raise StreamError("improper-addressing")
    return jid


def _condition(element: Element) -> str:
    for error in element:
        for child in error:
            namespace, name = split(child.tag)
            if namespace == ns.STANZA_ERRORS and name != "text":
                return name
    return "undefined-condition"


def _error(condition: str) -> str:
    type_ = STANZA_CONDITIONS.get(condition, "cancel")  # §2.5 has one that RFC 6120 has not
    return f"<error type='{type_}'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"
