"""XEP-0352: a client says that nobody looks at it, and what can wait does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from msgspec import Meta

from jabberd.api import (
    E,
    Element,
    Module,
    Session,
    SessionClosed,
    SessionResumed,
    Settings,
    Stage,
    Stanza,
    filters,
    inline,
    nonza,
    on,
)
from jabberd.xmpp.content import COPIES, treatment
from jabberd.xmpp.forward import unwrapped

if TYPE_CHECKING:
    from collections.abc import Hashable

NS: Final = "urn:xmpp:csi:0"
_STANZA_ID: Final = "{urn:xmpp:sid:0}stanza-id"
_CHAT_STATES: Final = "{http://jabber.org/protocol/chatstates}"


class Held(NamedTuple):
    """What waits for a client, and since when."""

    stanza: Stanza
    since: float


class ClientState(Module, xep=352, version="1.0.0"):
    """Holds back, in order, what nobody need see at once, until a client is active or gets something urgent.

    Of somebody's presence, and of what somebody is just doing in a chat, only the last is sent.  What must
    not be lost waits only where the account's archive has it, too.
    """

    stream_features = (E(NS, "csi"),)
    replaceable = False  # it knows who is inactive, and what waits

    class Config(Settings):
        """How much is held back.

        :ivar most: stanzas that wait for one client; with one more all of them are sent.
        """

        most: Annotated[int, Meta(ge=1)] = 500

    config: Config

    async def start(self) -> None:
        """Everybody is active (§5)."""
        self._inactive: dict[Session, dict[Hashable, Held]] = {}

    @nonza(NS, "inactive")
    @inline(NS, "inactive")
    def rest(self, session: Session, element: Element) -> None:
        """Hold back what can wait (§4.2)."""
        self._inactive.setdefault(session, {})

    @nonza(NS, "active")
    def wake(self, session: Session, element: Element) -> None:
        """Send all that waited (§4.2), before anything else happens (§5.1)."""
        self._flush(session)
        self._inactive.pop(session, None)

    @on(SessionResumed)
    def resume(self, event: SessionResumed) -> None:
        """A stream begins in the active state (§5)."""
        self._flush(event.session)
        self._inactive.pop(event.session, None)

    @on(SessionClosed)
    def close(self, event: SessionClosed) -> None:
        """Find another home for messages that waited."""
        for held in self._inactive.pop(event.session, {}).values():
            stanza = held.stanza
            if stanza.name != "message" or not treatment(stanza).waits:
                continue
            if not self.domain.others_have(stanza, event.session, held.since):
                self.domain.redeliver(stanza).addErrback(
                    lambda why: self.log.failure("a message that waited has no other home", why)
                )

    @filters(Stage.SENDING)
    def hold(self, stanza: Stanza, session: Session) -> Stanza | None:
        """Hold it back, or send it behind all that waited."""
        waiting = self._inactive.get(session)
        if waiting is None:
            return stanza
        if _urgent(stanza) or _is_nowhere_else(stanza, session):
            self._flush(session)
            return stanza
        key = _key(stanza)
        waiting.pop(key, None)  # its place is at the end
        waiting[key] = Held(stanza, self.domain.clock.seconds())
        if len(waiting) > self.config.most:
            self._flush(session)
        return None

    def _flush(self, session: Session) -> None:
        waiting = self._inactive.get(session)
        if waiting:
            self._inactive[session] = {}
            for held in waiting.values():
                session.outlet.send(held.stanza)


def _urgent(stanza: Stanza) -> bool:
    """Questions and answers are, subscriptions are; of messages, see `jabberd.xmpp.content`."""
    if stanza.name == "presence":
        return stanza.type not in ("", "unavailable")
    return stanza.name == "iq" or treatment(_content(stanza)).urgent


def _is_nowhere_else(stanza: Stanza, session: Session) -> bool:
    """Whether a power cut would take what must not be lost: it is not in the account's archive, either."""
    if stanza.name != "message" or not treatment(stanza).waits or not COPIES.isdisjoint(stanza.children):
        return False
    ids = stanza.element().iterfind(_STANZA_ID) if _STANZA_ID in stanza.children else ()
    return not any(each.get("by") == session.jid.bare for each in ids)


def _content(message: Stanza) -> Stanza:
    """The message, or the one of which it is a copy."""
    for name in COPIES:
        if name in message.children:
            return unwrapped(message, name) or message
    return message


def _key(stanza: Stanza) -> Hashable:
    """What the stanza takes the place of: equal for those of which only the last matters."""
    if stanza.name == "presence":
        return "presence", stanza.attrs.get("from")
    if any(child.startswith(_CHAT_STATES) for child in stanza.children) and not treatment(stanza).waits:
        return "chat state", stanza.attrs.get("from")
    return stanza
