"""XEP-0280: all clients of an account see both sides of its conversations."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from jabberd.api import (
    ACCOUNT,
    IQ,
    Account,
    Element,
    Module,
    Session,
    SessionClosed,
    Stage,
    Stanza,
    StanzaError,
    answers,
    filters,
    inline,
    on,
)
from jabberd.xmpp.content import ROOM, invites, treatment
from jabberd.xmpp.forward import forwarded, wrapped

if TYPE_CHECKING:
    from collections.abc import Container

NS: Final = "urn:xmpp:carbons:2"
_RECENT: Final = 50  # messages of a client for whose errors the others are told


@runtime_checkable
class Identifies(Protocol):
    """A module that knows under which id a message just said is archived."""

    def identified(self, stanza: Stanza, account: Account) -> Stanza:
        """The message with its ``<stanza-id/>``, if it has one."""


class Carbons(Module, xep=280, version="1.0.1"):
    """Copies messages to the other clients of an account, where these asked for it."""

    after = ("displayed", "blocking", "archive")
    features = (NS,)
    account_features = (NS,)
    replaceable = False  # it knows who asked

    async def start(self) -> None:
        """Nobody has asked yet."""
        self._enabled: set[Session] = set()
        #: What each said last: to whom, and the hash of which id, which may have 16 KiB.
        self._copied: dict[Session, deque[tuple[str, int]]] = {}

    async def ready(self) -> None:
        """See who archives."""
        self._archives = self.domain.having(Identifies)

    @answers.set(NS, "enable", to=ACCOUNT)
    def enable(self, request: IQ) -> None:
        """Send copies to this client from now on (§4)."""
        self.turn_on(_asking(request))

    @answers.set(NS, "disable", to=ACCOUNT)
    def disable(self, request: IQ) -> None:
        """Send it none any more (§5)."""
        self._enabled.discard(_asking(request))

    @inline(NS, "enable")
    def turn_on(self, session: Session, request: Element | None = None) -> None:
        """Send copies to this session from now on, also where it is just being bound (XEP-0386 §4)."""
        self._enabled.add(session)

    @on(SessionClosed)
    def forget(self, event: SessionClosed) -> None:
        """Its client is gone."""
        self._enabled.discard(event.session)
        self._copied.pop(event.session, None)

    @filters(Stage.SAID, "message")
    def copy_said(self, stanza: Stanza, session: Session) -> Stanza:
        """What one client says goes to the others (§8), with the id that it has in the archive.

        What an account says to itself reaches them anyway.
        """
        account = session.account
        several = len(account.sessions) > 1 or not session.jid.resourcepart  # said by none of them
        if several and stanza.to is not None and stanza.to.bare != account.jid:
            others = self._others(account, (session,))
            if others and treatment(stanza).copied:
                shown = stanza
                for each in self._archives:
                    shown = each.identified(shown, account)
                self._send("sent", shown, account, others)
                if stanza.id and session.jid.resourcepart:
                    copied = self._copied.setdefault(session, deque(maxlen=_RECENT))
                    copied.append((stanza.to.bare, hash(stanza.id)))
        return stanza

    @filters(Stage.COPY, "message")
    def copy_received(self, stanza: Stanza, account: Account, recipients: list[Session]) -> Stanza:
        """What one client gets goes to those that did not get it (§7), but never back to who said it.

        What somebody says to one in a room goes to every client that is in the room (§6.1).  An error goes
        where a copy of what it is about went.
        """
        if len(account.sessions) > len(recipients):
            others = [
                each for each in self._others(account, recipients) if each.jid != stanza.attrs.get("from")
            ]
            if others and self._is_copied(stanza, recipients):
                self._send("received", stanza, account, others)
        return stanza

    def _is_copied(self, stanza: Stanza, recipients: list[Session]) -> bool:
        """§6.1."""
        if stanza.type == "error":
            about = (stanza.sender.bare if stanza.sender is not None else "", hash(stanza.id))
            return any(about in self._copied.get(each, ()) for each in recipients)
        return treatment(stanza).copied and not (ROOM in stanza.children and not invites(stanza))

    def _others(self, account: Account, got: Container[Session]) -> list[Session]:
        return [each for each in account.sessions.values() if each in self._enabled and each not in got]

    @staticmethod
    def _send(direction: str, stanza: Stanza, account: Account, sessions: list[Session]) -> None:
        inside = forwarded(stanza.to_standalone())
        child = b"<%s xmlns='urn:xmpp:carbons:2'>%s</%s>" % (direction.encode(), inside, direction.encode())
        for session in sessions:
            name = f"{{{NS}}}{direction}"
            session.send(wrapped(name, child, sender=account.jid, to=session.jid, type=stanza.type))


def _asking(request: IQ) -> Session:
    """The session that asks.

    :raises StanzaError: it is none of this account's.
    """
    assert request.account is not None
    session = request.account.sessions.get(request.sender.resourcepart)
    if session is None:
        raise StanzaError("not-allowed")
    return session
