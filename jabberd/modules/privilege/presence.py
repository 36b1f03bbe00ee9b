"""Who is there, for components that may know it (XEP-0356 §7)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from jabberd.api import E, Stanza
from jabberd.xmpp import ns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jabberd.api import JID, Account, Session

__all__ = ["Audience"]

_MOST: Final = 10_000  #: contacts that are remembered
_MOST_SIZE: Final = 16 << 20  #: bytes of what they have said


class Audience:
    """Tells components of presence: of accounts its beginning and its end, of contacts all that changes.

    The same presence of somebody who is a contact of many is told once (§8).

    :param send: sends a stanza to a component that is connected.
    :param listening: gives the components that may hear of accounts, or of their contacts too.
    """

    def __init__(self, send: Callable[[Stanza, JID], None], listening: Callable[[bool], list[JID]]) -> None:
        self._send = send
        self._listening = listening
        self._there: set[JID] = set()
        self._last: OrderedDict[JID, Stanza] = OrderedDict()  # of contacts; and of accounts, for those
        self._size = 0

    def began(self, session: Session) -> None:
        """A session has shown itself: for the first time (§7.1 knows nothing of updates) or anew."""
        if session.presence is None or session.jid in self._there:
            return
        self._there.add(session.jid)
        self._tell(session.presence)

    def ended(self, session: Session, status: str) -> None:
        """A session that had shown itself is unavailable."""
        self._there.discard(session.jid)
        said = [E(ns.CLIENT, "status", None, status)] if status else []
        self._tell(Stanza.of("presence", *said, sender=session.jid, type="unavailable"))

    def _tell(self, stanza: Stanza) -> None:
        for component in self._listening(False):
            self._send(stanza, component)
        self.heard(stanza)

    def heard(self, stanza: Stanza) -> None:
        """A contact of an account is there, has changed or is gone."""
        sender = stanza.sender
        assert sender is not None  # whoever routed it saw to it
        components = self._listening(True)
        if components and self._is_news(sender, stanza):
            for component in components:
                self._send(stanza, component)

    def _is_news(self, sender: JID, stanza: Stanza) -> bool:
        last = self._last.pop(sender, None)
        if last is not None:
            self._size -= len(last.payload)
        if stanza.type == "unavailable":
            return last is not None
        self._last[sender] = stanza
        self._size += len(stanza.payload)
        while len(self._last) > _MOST or self._size > _MOST_SIZE:
            self._size -= len(self._last.popitem(last=False)[1].payload)
        return last is None or last.payload != stanza.payload

    def catch_up(self, component: JID, online: Iterable[Account], *, contacts: bool) -> None:
        """Tell a component that has just come what it would know if it had been there (§8)."""
        there = {
            session.jid: session.presence
            for account in online
            for session in account.sessions.values()
            if session.presence is not None
        }
        self._there.update(there)
        for stanza in ({**self._last, **there} if contacts else there).values():
            self._send(stanza, component)
