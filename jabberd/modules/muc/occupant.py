"""Somebody who is in a room: a nickname, and the sessions of one account behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jabberd.api import JID
    from jabberd.modules.muc.privileges import Role

__all__ = ["Occupant", "Visit", "fold"]


def fold(nick: str) -> str:
    """What two nicknames have in common that nobody shall confuse (§7.2.8, §14.6): case and blanks differ."""
    return " ".join(nick.casefold().split())


class Visit:
    """One session of an occupant.

    :ivar jid: its full JID.
    :ivar children: Clark names of what its last available presence holds, as others may see it, and
        ``payload``: its bytes.
    :ivar lang: of that presence.
    """

    __slots__ = ("children", "jid", "lang", "payload")

    def __init__(self, jid: JID, children: tuple[str, ...], payload: bytes, lang: str) -> None:
        self.jid = jid
        self.children = children
        self.payload = payload
        self.lang = lang


class Occupant:
    """Everybody who has one nickname in one room; they are sessions of one account (§7.2.8).

    :ivar jid: the occupant JID.
    :ivar account: the bare JID behind it.
    :ivar id: its occupant id (XEP-0421), and ``mark``: the element that says so, as bytes.
    :ivar visits: by full JID; the last one is whose presence the others see.
    :ivar asked: when it asked for voice last, in seconds since 1970.
    :ivar shown: whether the others were told of it.
    """

    __slots__ = ("account", "asked", "id", "jid", "mark", "role", "shown", "visits")

    def __init__(self, jid: JID, account: JID, role: Role, id: str) -> None:
        self.jid = jid
        self.account = account
        self.role = role
        self.id = id
        self.mark = f"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{id}'/>".encode()
        self.visits: dict[JID, Visit] = {}
        self.asked = 0.0
        self.shown = False

    @property
    def nick(self) -> str:
        """Its nickname."""
        return self.jid.resourcepart

    @property
    def main(self) -> Visit:
        """The visit whose presence the others see: the one that told of itself last."""
        return next(reversed(self.visits.values()))
