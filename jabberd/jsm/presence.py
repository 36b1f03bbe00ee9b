"""Presence: who is told that a resource is there, has changed, is gone (RFC 6121 §4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from jabberd.api import BecameAvailable, BecameUnavailable, PresenceSent
from jabberd.jsm import roster, subscription
from jabberd.rates import Meter
from jabberd.xmpp import ns
from jabberd.xmpp.element import parse
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from jabberd.jsm.account import Account
    from jabberd.jsm.limits import Limits
    from jabberd.jsm.manager import SessionManager
    from jabberd.jsm.session import Session

log = Logger()

_TYPES: Final = {"", "unavailable", "error", "probe", *subscription.STANZAS}
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,9}")
_PRIORITY: Final = f"{{{ns.CLIENT}}}priority"
_STATUS: Final = f"{{{ns.CLIENT}}}status"


class Presence:
    """The presence of one domain's accounts.

    :ivar changes: how often each account tells its contacts of another presence.
    """

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager
        self.changes = Meter("presence", manager.limits.presence)

    def use(self, limits: Limits) -> None:
        """Have other limits from now on."""
        self.changes.rate = limits.presence

    # -- a client of ours says --------------------------------------------------------------------

    def said(self, session: Session, stanza: Stanza) -> Deferred[None] | None:
        """A client sent presence."""
        to, type = stanza.to, stanza.type
        if type not in _TYPES:
            raise StanzaError("bad-request")
        if type in subscription.STANZAS:
            if to is None:
                raise StanzaError("bad-request", "a subscription is with somebody")
            if to.bare == session.account.jid:
                raise StanzaError("not-allowed", "nobody is a contact of their own")
            contacts = self._manager.contacts
            return self._manager.caught(stanza, contacts.outbound(session.account, stanza, to.bare))
        if to is not None:
            return self._directed(session, stanza, to)
        if type == "":
            self._available(session, stanza)
        elif type == "unavailable":
            self.gone(session, stanza)
        return None

    def _available(self, session: Session, stanza: Stanza) -> None:
        """Initial presence or an update (§4.2, §4.4), which costs as much as there are contacts."""
        if not self.changes.take(session.account.jid, self._manager.clock.seconds()):
            raise too_many("presence changes too often")
        before = session.priority
        session.priority = _priority(stanza)
        session.presence = stanza
        account = session.account
        self._tell_subscribers(account, stanza)
        if before is None:
            self._begin(account, session)
        if session.priority < 0:
            session.unreachable()
        elif session.reachable is None:
            session.reachable = self._manager.clock.seconds()
            self._manager.fire(BecameAvailable(account, session))
        self._manager.fire(PresenceSent(account, session))

    def _begin(self, account: Account, session: Session) -> None:
        """What an initial presence asks for: who else is there, and who wants to subscribe."""
        for other in account.available:
            if other is not session and other.presence is not None:
                session.send(other.presence.with_attrs(to=session.jid))
        for item in list(account.roster.values()):
            if item.subscription in ("to", "both"):
                probe = Stanza.of("presence", sender=account.jid, to=JID.parse(item.jid), type="probe")
                self._manager.tell(probe)
        for request in roster.requests(account.roster):
            session.send(_restored(request))

    def gone(self, session: Session, stanza: Stanza | None = None) -> None:
        """It is unavailable: it said so, or (without a stanza) it was lost (§4.5, §4.6)."""
        said = stanza is not None
        if stanza is None:
            stanza = Stanza.of("presence", sender=session.jid, type="unavailable")
        was_available = session.presence is not None
        session.presence = session.priority = None
        session.unreachable()
        account = session.account
        directed, session.directed = session.directed, set()
        if was_available:
            self._tell_subscribers(account, stanza)
            if said:
                session.send(stanza.stamped(session.jid, account.jid))  # §4.5.2: "as well"
        for jid in directed:
            told = was_available and (account.trusts(jid) or jid.bare == account.jid)
            if not told:
                self._manager.tell(stanza.stamped(session.jid, jid))
        if was_available:
            session.goodbye = stanza.element().findtext(_STATUS, "") if stanza.payload else ""
            self._manager.fire(BecameUnavailable(account, session, session.goodbye))

    def _tell_subscribers(self, account: Account, stanza: Stanza) -> None:
        """Everybody who is subscribed, and the account's own available resources."""
        sender = stanza.sender
        assert sender is not None  # it was stamped
        items = account.roster.values()
        contacts = [JID.parse(item.jid) for item in items if item.subscription in ("from", "both")]
        self._manager.tell_all(account, stanza, contacts)
        for other in account.available:
            other.send(stanza.stamped(sender, account.jid))

    def _directed(self, session: Session, stanza: Stanza, to: JID) -> Deferred[None] | None:
        """Directed presence (§4.6): remembered, so that its receiver learns of the end as well."""
        if stanza.type == "" and not (session.presence is not None and session.account.trusts(to)):
            if len(session.directed) >= self._manager.limits.directed and to not in session.directed:
                raise StanzaError("resource-constraint", "too much directed presence")
            session.directed.add(to)
        elif stanza.type == "unavailable":
            session.directed.discard(to)
        return self._manager.route(stanza)

    @staticmethod
    def left(account: Account, stanza: Stanza) -> None:
        """Somebody is unavailable, or took no presence: they need not learn of the end (§4.6.1)."""
        resource = "" if stanza.to is None else stanza.to.resourcepart
        for name, session in account.sessions.items():
            if not resource or resource == name:  # others may be in the room that this one has left
                session.directed.discard(stanza.sender)

    # -- somebody wants to know ---------------------------------------------------------------------

    def probe(self, account: Account, stanza: Stanza) -> None:
        """Answer a probe (§4.3.2); an account that hides looks like one that does not exist."""
        asker, to = stanza.sender, stanza.to
        assert asker is not None  # the stream saw to it
        assert to is not None  # or the router
        session = account.sessions.get(to.resourcepart)
        trusted = account.exists and (account.trusts(asker) or asker.bare == account.jid)
        if session is not None and (_was_shown_to(session, asker) or (trusted and session.presence)):
            self._show_one(session, asker, stanza.id)
        elif not trusted:
            self._show_known(account, asker, to, stanza.id)
        elif to.resourcepart or not account.available:
            self._answer(to, asker, "unavailable", stanza.id)
        else:
            self._show_all(account, asker.bare)

    def _show_known(self, account: Account, asker: JID, to: JID, id: str) -> None:
        """Only the resources that showed themselves to somebody without a subscription (§4.6.6)."""
        sessions = () if to.resourcepart else account.sessions.values()
        known = [each for each in sessions if _was_shown_to(each, asker)]
        for session in known:
            self._show_one(session, asker, id)
        if not known:
            self._answer(account.jid, asker, "unsubscribed", id)

    def _show_one(self, session: Session, asker: JID, id: str) -> None:
        """Only that it is there: who asks for one resource is told no more (§4.3.2, §4.6.6)."""
        if session.presence is not None and session.account.trusts(asker):
            asker, id = asker.bare, session.presence.id  # §4.3.2.1
        self._manager.route(Stanza.of("presence", sender=session.jid, to=asker, id=id))

    def _show_all(self, account: Account, asker: JID) -> None:
        for session in account.available:
            assert session.presence is not None
            self._manager.route(session.presence.stamped(session.jid, asker))

    def _answer(self, sender: JID, asker: JID, type: str, id: str) -> None:
        self._manager.route(Stanza.of("presence", sender=sender, to=asker.bare, type=type, id=id))

    def of_domain(self, stanza: Stanza) -> None:
        """The domain itself is there, and hides it from nobody (RFC 6120 §10.5.1)."""
        asker, to = stanza.sender, stanza.to
        if asker is None or to is None or to.resourcepart:
            return
        if stanza.type == "subscribe":
            self._answer(to, asker, "subscribed", stanza.id)
            self._answer(to, asker, "", "")
        elif stanza.type == "probe":
            self._answer(to, asker, "", stanza.id)

    def show(self, account: Account, contact: JID, presence: str) -> None:
        """Tell one contact of every available resource: its presence, or that it is ``unavailable``."""
        for session in account.available:
            assert session.presence is not None
            stanza = session.presence
            if presence == "unavailable":
                stanza = Stanza.of("presence", type="unavailable")
            self._manager.tell(stanza.stamped(session.jid, contact))

    def hide(self, account: Account, contact: JID) -> None:
        """Tell one contact that every resource is unavailable that it may know of (§4.6)."""
        for session in account.sessions.values():
            known = session.presence is not None and account.trusts(contact)
            if known or contact in session.directed:
                session.directed.discard(contact)
                self._manager.route(Stanza.of("presence", sender=session.jid, to=contact, type="unavailable"))


def _was_shown_to(session: Session, asker: JID) -> bool:
    """Whether somebody got directed presence from that session."""
    return asker in session.directed or asker.bare in session.directed


def too_many(text: str) -> StanzaError:
    """What is said to somebody who sends more of a kind than is borne (XEP-0205 §4.6)."""
    return StanzaError("unexpected-request", text, application=(ns.ERRORS, "too-many-stanzas"))


def _priority(stanza: Stanza) -> int:
    """RFC 6121 §4.7.2.3: -128 to 127, 0 if absent."""
    if _PRIORITY not in stanza.children:
        return 0
    text = (stanza.element().findtext(_PRIORITY) or "").strip()
    if not _INTEGER.fullmatch(text) or not -128 <= int(text) <= 127:  # the RFC's figures
        raise StanzaError("bad-request", "the priority must be between -128 and 127")
    return int(text)


def _restored(data: bytes) -> Stanza:
    """A stanza that was kept as bytes."""
    return Stanza.from_element(parse(data))
