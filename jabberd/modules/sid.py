"""XEP-0359: ids that an archive gave are true; others in our accounts' names are taken away."""

from __future__ import annotations

from typing import Final

from jabberd.api import JID, Account, Module, Session, Stage, Stanza, filters
from jabberd.xmpp.jid import InvalidJID

NS: Final = "urn:xmpp:sid:0"
STANZA_ID: Final = f"{{{NS}}}stanza-id"


class StanzaIds(Module, xep=359, version="0.7.0"):
    """Takes away each ``<stanza-id/>`` that others wrote in the name of an account or its domain (§3)."""

    features = (NS,)
    account_features = (NS,)
    _last: tuple[bytes, frozenset[str]] = (b"", frozenset())

    @filters(Stage.SAID, "message", children=[STANZA_ID])
    def discard_said(self, stanza: Stanza, session: Session) -> Stanza:
        """A client gives no ids in the name of its account."""
        return self._honest(stanza, session.account.jid)

    @filters(Stage.REFUSE, "message", children=[STANZA_ID])
    def discard_forged(self, stanza: Stanza, account: Account) -> Stanza:
        """Nobody gives an account ids in its own name."""
        return self._honest(stanza, account.jid)

    def _honest(self, stanza: Stanza, account: JID) -> Stanza:
        givers = self._givers(stanza)
        if account not in givers and self.domain.jid not in givers:
            return stanza
        forged = {account, self.domain.jid}
        ids = stanza.element().iterfind(STANZA_ID)
        honest = [each for each in ids if _by(each.get("by", "")) not in forged]
        return stanza.without([STANZA_ID]).with_child(*honest)

    def _givers(self, stanza: Stanza) -> frozenset[str]:
        """In whose names there are ids; the copies of what a room says share their payload: one is read."""
        payload, givers = self._last
        if payload is not stanza.payload:
            givers = frozenset(_by(each.get("by", "")) for each in stanza.element().iterfind(STANZA_ID))
            self._last = stanza.payload, givers
        return givers


def _by(text: str) -> str:
    """The bare JID, however it is spelt; what is none is nobody's."""
    try:
        return JID.parse(text).bare
    except InvalidJID:
        return ""
