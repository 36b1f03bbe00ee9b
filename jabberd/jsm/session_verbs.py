"""What operators can do with sessions, and what they can say to everybody who is online."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from jabberd.api import JID, E, Refused, operator
from jabberd.xmpp import ns
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.stanza import Stanza
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jabberd.jsm.manager import SessionManager
    from jabberd.jsm.session import Session

__all__ = ["Announcement", "SessionVerbs", "managers_of"]

Rows = list[dict[str, object]]

_CAPABILITIES: Final = "{http://jabber.org/protocol/caps}c"
_SHOW: Final = f"{{{ns.CLIENT}}}show"


class SessionVerbs:
    """``sessions ...``.

    :param managers: by domain.
    """

    def __init__(self, managers: Mapping[str, SessionManager]) -> None:
        self._managers = managers

    @operator("list all sessions, those of a domain, or those of an account")
    def list(self, jid: JID | None = None) -> Rows:
        """A row for each, sorted by JID.

        ``state`` is what its presence shows (RFC 6121 §4.7.2.1), ``available`` if it shows nothing,
        ``connected`` if it has sent none, and ``waiting`` while the client may come back (XEP-0198).
        ``client`` is what the client calls itself in its presence (XEP-0115 §4), if it does.
        ``queue`` counts the stanzas that have not left for the client or were not acknowledged.
        """
        return sorted(map(_row, self._of(jid)), key=lambda row: str(row["jid"]))

    @operator("count sessions and the accounts that have any")
    def count(self) -> Rows:
        """A row for each domain."""
        return [_counted(name, manager) for name, manager in sorted(self._managers.items())]

    @operator("end a session, or all sessions of an account")
    def kick(self, jid: JID, reason: str = "kicked by an operator") -> str:
        """End them with ``policy-violation`` (RFC 6120 §4.9.3.14); the client may log in again.

        :param reason: the client shows it to its user.
        """
        if not jid.localpart:
            raise Refused(f"{jid} is not an account; write it like romeo@montague.lit")
        sessions = list(self._of(jid))
        if not sessions:
            raise Refused(f"{jid} has no session")
        for session in sessions:
            session.close(StreamError("policy-violation", reason))
        return f"ended {', '.join(session.jid for session in sessions)}"

    def _of(self, jid: JID | None) -> Iterator[Session]:
        for manager in managers_of(self._managers, jid):
            for account in manager.accounts:
                if jid is None or not jid.localpart or account.jid == jid.bare:
                    for session in [*account.sessions.values()]:
                        if jid is None or not jid.resourcepart or session.jid == jid:
                            yield session


class Announcement:
    """``announce ...``.

    :param managers: by domain.
    """

    def __init__(self, managers: Mapping[str, SessionManager]) -> None:
        self._managers = managers

    @operator("say something to everybody who is online, or to those of a domain")
    def announce(self, text: str, domain: JID | None = None) -> str:
        """Send a headline (RFC 6121 §5.2.2) to each available session; nothing is kept for the others."""
        if not text:
            raise Refused("an empty message tells nobody anything")
        told = 0
        for manager in managers_of(self._managers, domain):
            body = E(ns.CLIENT, "body", None, text)
            for account in manager.accounts:
                for session in account.available:
                    message = Stanza.of("message", body, sender=manager.jid, to=session.jid, type="headline")
                    session.send(message)
                    told += 1
        return f"told {told} session{'' if told == 1 else 's'}"


def managers_of(managers: Mapping[str, SessionManager], jid: JID | None) -> list[SessionManager]:
    """All of them, or the one at whose domain the JID is.

    :raises Refused: there is no such domain.
    """
    if jid is None:
        return [*managers.values()]
    if jid.domainpart not in managers:
        raise Refused(f"{jid.domainpart} is not hosted here; hosted are {', '.join(sorted(managers))}")
    return [managers[jid.domainpart]]


def _row(session: Session) -> dict[str, object]:
    security = session.outlet.security
    return {
        "jid": session.jid,
        "state": _state(session),
        "client": _client(session),
        "priority": session.priority,
        "address": session.outlet.address,
        "tls": security.version or None,
        "cipher": security.cipher or None,
        "queue": len(session.outlet.queued),
        "since": to_stamp(datetime.fromtimestamp(session.since, UTC)),
    }


def _state(session: Session) -> str:
    if session.outlet.waits:
        return "waiting"
    if session.presence is None:
        return "connected"
    show = session.presence.child(_SHOW)
    return "available" if show is None else show.text or "available"


def _client(session: Session) -> str | None:
    said = session.presence
    capabilities = None if said is None else said.child(_CAPABILITIES)
    return None if capabilities is None else capabilities.get("node")


def _counted(name: str, manager: SessionManager) -> dict[str, object]:
    online = [account for account in manager.accounts if account.sessions]
    sessions = [session for account in online for session in account.sessions.values()]
    return {
        "domain": name,
        "accounts online": len(online),
        "sessions": len(sessions),
        "available": sum(session.presence is not None for session in sessions),
        "waiting": sum(session.outlet.waits for session in sessions),
    }
