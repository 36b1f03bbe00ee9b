"""What a message is, by what it carries, and what becomes of it for that: one table.

Who archives, keeps, copies or hurries a message asks here, and nobody decides by themselves.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from jabberd.xmpp import ns

if TYPE_CHECKING:
    from jabberd.xmpp.stanza import Stanza

__all__ = ["BODY", "COPIES", "ROOM", "Treatment", "invites", "treatment"]

BODY: Final = f"{{{ns.CLIENT}}}body"
ROOM: Final = "{http://jabber.org/protocol/muc#user}x"  #: a message that a room has to do with (XEP-0045)
_HINTS: Final = "{urn:xmpp:hints}"  # XEP-0334
_STORE: Final = f"{_HINTS}store"
_NO_STORE: Final = f"{_HINTS}no-store"
_NO_ARCHIVE: Final = f"{_HINTS}no-permanent-store"
_CARBONS: Final = "{urn:xmpp:carbons:2}"  # XEP-0280
COPIES: Final = frozenset({f"{_CARBONS}received", f"{_CARBONS}sent"})  #: what copies carry
_NO_COPY: Final = COPIES | {f"{_HINTS}no-copy", f"{_CARBONS}private"}
_TELLING: Final = _NO_COPY | {_STORE, _NO_STORE, _NO_ARCHIVE, ROOM}


class Treatment(NamedTuple):
    """What becomes of a message.

    :ivar archived: it belongs into the archives of those who have it (XEP-0313 §5.1.1).
    :ivar waits: it is kept for somebody who is not there (XEP-0160 §3).
    :ivar copied: an account's other resources have it, too (XEP-0280 §6.1).
    :ivar urgent: somebody who does not look at their client is to have it at once (XEP-0352).
    :ivar speaks: it says something to people: worth waking a device for (XEP-0357).
    """

    archived: bool
    waits: bool
    copied: bool
    urgent: bool
    speaks: bool


def _row(text: str) -> Treatment:
    return Treatment(*(letter == "x" for letter in text.split()))


# fmt: off
# What it carries, the most telling first: the first of these that is among its children decides.
_CONTENTS: Final[tuple[tuple[tuple[str, ...], Treatment], ...]] = (
    #                                                       archived waits copied urgent speaks
    ((BODY,                                                                      # RFC 6121 §5.2.3
      "{jabber:x:encrypted}x",                                                   # XEP-0027
      "{urn:xmpp:openpgp:0}openpgp",                                             # XEP-0373
      "{eu.siacs.conversations.axolotl}encrypted", "{urn:xmpp:omemo:2}encrypted",  # XEP-0384
      "{jabber:x:conference}x",                                                  # XEP-0249
      "{urn:xmpp:jingle-message:0}propose",                                      # XEP-0353
      ),                                                  _row("x       x     x      x      x")),
    (("{urn:xmpp:jingle-message:0}retract", "{urn:xmpp:jingle-message:0}accept",
      "{urn:xmpp:jingle-message:0}reject", "{urn:xmpp:jingle-message:0}proceed",
      "{urn:xmpp:jingle-message:0}finish",
      "{urn:xmpp:message-retract:1}retract",                                     # XEP-0424 §5
      "{urn:xmpp:reactions:0}reactions",                                         # XEP-0444 §4.1
      "{urn:xmpp:fasten:0}apply-to",                                             # XEP-0422
      ),                                                  _row("x       x     x      x      .")),
    (("{urn:xmpp:chat-markers:0}displayed", "{urn:xmpp:chat-markers:0}received",  # XEP-0333
      "{urn:xmpp:receipts}received",                                             # XEP-0184
      ),                                                  _row("x       x     x      .      .")),
    (("{http://jabber.org/protocol/pubsub#event}event",), _row(".       .     .      .      .")),  # XEP-0163
)
_NOTHING: Final =  _row(".       .     x      .      .")  # but chat states, and how to treat it
_OTHER: Final =    _row(".       x     .      x      .")
_ERROR: Final =    _row(".       .     .      x      .")  # whatever it carries (XEP-0334 §5)
# fmt: on

_TEXT: Final = _CONTENTS[0][1]
_RANKS: Final = {name: rank for rank, (names, _) in enumerate(_CONTENTS) for name in names}

#: Says that somebody is typing, how to treat the message, or what its id is, but nothing by itself.
_NO_CONTENT: Final = (
    f"{{{ns.CLIENT}}}thread",
    "{http://jabber.org/protocol/chatstates}",  # XEP-0085
    _HINTS,
    "{urn:xmpp:sid:0}",  # XEP-0359
    f"{{{ns.DELAY}}}",  # XEP-0203
)


def treatment(message: Stanza) -> Treatment:
    """What becomes of a message; for most of them no payload is opened."""
    type, children = message.type, message.children
    if type == "error":
        return _ERROR
    found = _TEXT if BODY in children else _found(message)
    if not _TELLING.isdisjoint(children):
        found = _told(message, found)
    if type in ("groupchat", "headline"):  # a room keeps and repeats what is said there
        found = _repeated(found, type == "headline" and _STORE in children)
    return found


@cache
def _repeated(found: Treatment, archived: bool) -> Treatment:  # for the cache
    """Kept by those who said it, if at all."""
    return found._replace(archived=archived, waits=False, copied=False)


def _found(message: Stanza) -> Treatment:
    """By the most telling of its children."""
    children = message.children
    rank = min((_RANKS[child] for child in children if child in _RANKS), default=None)
    if rank is not None:
        return _CONTENTS[rank][1]
    if all(child.startswith(_NO_CONTENT) for child in children):
        return _NOTHING
    return _OTHER._replace(copied=message.type == "chat")  # XEP-0280 §6.1


def _told(message: Stanza, found: Treatment) -> Treatment:
    """What the sender's hints, or a room's invitation, make of it."""
    children = message.children
    if invites(message):
        found = _TEXT
    if _STORE in children:
        found = found._replace(archived=True, waits=True)
    if _NO_ARCHIVE in children:
        found = found._replace(archived=False)
    if _NO_STORE in children:
        found = found._replace(archived=False, waits=False)
    if not _NO_COPY.isdisjoint(children):
        found = found._replace(copied=False)
    return found


def invites(message: Stanza) -> bool:
    """Whether a room passes somebody's invitation on (XEP-0045 §7.8.2)."""
    room = message.child(ROOM)
    return room is not None and room.find("{*}invite") is not None
