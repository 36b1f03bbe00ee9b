"""Who is there, of those who show the service their presence (XEP-0060 §12.4, §12.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.api import JID, Stanza
from jabberd.xmpp import ns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_MOST: Final = 20_000  #: bare JIDs that are remembered
_MOST_EACH: Final = 50  #: resources that are remembered of one bare JID
_STATES: Final = frozenset({"away", "chat", "dnd", "xa"})


class Presences:
    """What presence the service has got since it was started.

    :param jid: the address of the service; ``route``: sends a stanza on its way.
    """

    def __init__(self, jid: JID, route: Callable[[Stanza], object]) -> None:
        self._jid = jid
        self._route = route
        self._known: dict[str, dict[JID, str]] = {}

    def shows(self, who: JID) -> Collection[str]:
        """The states of who is there at an address; see `jabberd.pubsub.venue.Venue`."""
        known = self._known.get(who.bare, {})
        if who.is_bare:
            return known.values()
        return [known[who]] if who in known else ()

    def knows(self, who: JID) -> bool:
        """Whether presence of that bare JID counts."""
        return who.bare in self._known

    def expect(self, who: JID) -> None:
        """Let presence of that bare JID count, which it has shown without having been asked."""
        if self._has_room(who):
            self._known.setdefault(who.bare, {})

    def came(self, who: JID, presence: Stanza) -> bool:
        """Somebody is there; returns whether that is news.  Who is not watched does not count."""
        known = self._known.get(who.bare)
        if known is None or (who not in known and len(known) >= _MOST_EACH):
            return False
        new = who not in known
        show = presence.element().findtext(f"{{{ns.CLIENT}}}show") or ""
        known[who] = show if show in _STATES else "online"
        return new

    def went(self, who: JID) -> list[JID]:
        """Somebody is gone, at a bare JID all of them; returns who was there: these, and nobody else's."""
        known = self._known.get(who.bare, {})
        gone = [*known] if who.is_bare else [each for each in (who,) if each in known]
        for each in gone:
            del known[each]
        return gone

    def watch(self, who: JID) -> None:
        """Ask to see somebody's presence, who agrees or does not (§12.5)."""
        self._ask("subscribe", who)

    def forget(self, who: JID) -> None:
        """They do not show it any more; they may be asked again."""
        self._known.pop(who.bare, None)

    def unwatch(self, who: JID) -> None:
        """Want to see it no more."""
        if self._known.pop(who.bare, None) is not None:
            self._send("unsubscribe", who)

    def look(self, who: JID) -> None:
        """Ask anew, after a start, whether somebody is there who agreed before."""
        self._ask("probe", who)

    def _ask(self, type: str, who: JID) -> None:
        """Once, until the next start."""
        if who.bare not in self._known and self._has_room(who):
            self._known[who.bare] = {}
            self._send(type, who)

    def _has_room(self, who: JID) -> bool:
        """Whether one more is remembered, in the place of one that has shown nothing if need be."""
        if len(self._known) >= _MOST and who.bare not in self._known:
            silent = next((each for each, there in self._known.items() if not there), None)
            if silent is None:
                return False
            del self._known[silent]
        return True

    def _send(self, type: str, who: JID) -> None:
        self._route(Stanza.of("presence", sender=self._jid, to=JID.parse(who.bare), type=type))
