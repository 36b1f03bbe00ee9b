"""Questions of one occupant to another, who must not learn each other's address (XEP-0045 §18.4)."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jabberd.api import JID, Stanza, StanzaError
from jabberd.modules.muc.names import PING, PUBSUB, VCARD
from jabberd.xmpp.ns import CLIENT
from jabberd.xmpp.stanza import check_iq

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from jabberd.modules.muc.room import Room

__all__ = ["Relay", "elsewhere", "nameless"]

_PING: Final = f"{{{PING}}}ping"
_DISCO: Final = "{http://jabber.org/protocol/disco#"
#: What an account answers itself, whoever of its clients is in the room.
_OF_ACCOUNTS: Final = (f"{{{VCARD}}}", f"{{{PUBSUB}}}")
_ERROR: Final = f"{{{CLIENT}}}error"
_PATIENCE: Final = 60.0  # seconds
_MOST: Final = 5_000  # questions that wait for an answer
_MOST_EACH: Final = 50


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that waits: who asked with which id, and whom."""

    asker: JID
    id: str
    asked: JID
    timer: IDelayedCall


def nameless(error: Stanza) -> Stanza:
    """An error without ``by`` (RFC 6120 §8.3.1), for somebody who must not learn whom it is from."""
    found = error.child(_ERROR)
    if found is None or found.get("by") is None:
        return error
    found.attrib.pop("by")
    return error.without([_ERROR]).with_child(found)


def elsewhere(stanza: Stanza) -> StanzaError:
    """What to say to somebody who asks an occupant and is not in the room (§6.6 for disco)."""
    asks = any(each.startswith(_DISCO) for each in stanza.children)
    return StanzaError("bad-request" if asks else "not-acceptable", "you are not in the room", type="cancel")


class Relay:
    """The questions of one service that wait for their answers."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[tuple[JID, str], _Asked] = {}
        self._askers: Counter[JID] = Counter()

    def ask(self, room: Room, stanza: Stanza, nick: str) -> None:
        """Pass a question on to an occupant; a ping to oneself is answered at once (XEP-0410 §3.3).

        :raises StanzaError: ``not-acceptable``: the asker is not in the room, for disco ``bad-request``
            (§6.6); ``item-not-found``: nobody has that nickname; ``resource-constraint``.
        """
        check_iq(stanza)
        sender, child = stanza.sender, stanza.children[0]
        assert sender is not None
        occupant = room.visits.get(sender)
        if occupant is None:
            raise elsewhere(stanza)
        target = room.occupant(nick)
        if target is None:
            raise StanzaError("item-not-found")
        if target is occupant and child == _PING:
            room.service.route(stanza.reply())
            return
        to = target.account if child.startswith(_OF_ACCOUNTS) else next(iter(target.visits))
        if len(self._waiting) >= _MOST or self._askers[sender] >= _MOST_EACH:
            raise StanzaError("resource-constraint", "too many questions wait for their answers")
        id = secrets.token_hex(8)
        timer = self._clock.callLater(_PATIENCE, self._taken, (to, id))
        self._waiting[to, id] = _Asked(sender, stanza.id, target.jid, timer)
        self._askers[sender] += 1
        room.service.route(stanza.with_attrs(id=id).stamped(occupant.jid, to))

    def _taken(self, key: tuple[JID, str]) -> _Asked | None:
        asked = self._waiting.pop(key, None)
        if asked is not None:
            self._askers[asked.asker] -= 1
            if not self._askers[asked.asker]:
                del self._askers[asked.asker]
        return asked

    def answered(self, room: Room, stanza: Stanza) -> None:
        """Pass an answer on to whoever asked; what nobody asked is forgotten."""
        assert stanza.sender is not None
        asked = self._taken((stanza.sender, stanza.id))
        if asked is None:
            return
        asked.timer.cancel()
        told = nameless(stanza) if stanza.type == "error" else stanza
        room.service.route(told.with_attrs(id=asked.id).stamped(asked.asked, asked.asker))

    def end(self) -> None:
        """Wait for nothing any more."""
        for each in self._waiting.values():
            each.timer.cancel()
        self._waiting.clear()
        self._askers.clear()
