"""XEP-0424: who takes a message back leaves a tombstone in the archives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from jabberd.api import JID, Account, Archive, Module, Session, Span, Stage, Stanza, filters
from jabberd.archive.tombstones import NS, RETRACT, is_buried, tombstone
from jabberd.xmpp.element import escape_attribute

if TYPE_CHECKING:
    from jabberd.api import ArchiveRow

_TOGETHER: Final = 100  # rows that are looked through at a time
_MOST: Final = 2000  # and at most, of the newest of a conversation


class Retraction(Module, xep=424, version="0.4.2"):
    """Buries what was taken back, in the archives of both sides; the retraction itself is archived (§5).

    Only who said something can take it back.  It is looked for among the newest of the conversation.
    """

    after = ("blocking", "archive")
    features = (NS, f"{NS}#tombstone")
    account_features = (NS, f"{NS}#tombstone")

    messages = Archive("archive")

    async def ready(self) -> None:
        """Without an archive there is nothing to bury, and nothing to tell."""
        self._archives = any(module.name == "archive" for module in self.domain.modules)
        if not self._archives:
            vars(self).update(features=(), account_features=())

    @filters(Stage.SAID, "message", children=[RETRACT])
    def said(self, stanza: Stanza, session: Session) -> Stanza:
        """An account takes back what it said to somebody."""
        if stanza.to is not None and stanza.to.bare != session.account.jid:
            self._take_back(stanza, session.account, stanza.to)
        return stanza

    @filters(Stage.REFUSE, "message", children=[RETRACT])
    def received(self, stanza: Stanza, account: Account) -> Stanza:
        """Somebody takes back what they said to an account, whether or not it is there."""
        if stanza.sender is not None and account.exists:
            self._take_back(stanza, account, stanza.sender)
        return stanza

    def _take_back(self, stanza: Stanza, account: Account, peer: JID) -> None:
        named = stanza.child(RETRACT)
        wanted = "" if named is None else named.get("id", "")
        if not (self._archives and wanted and stanza.id) or stanza.sender is None:
            return
        if stanza.type not in ("error", "groupchat"):
            buried = Deferred.fromCoroutine(self._bury(stanza, account.jid, peer.bare, wanted))
            buried.addErrback(lambda why: self.log.failure("a message cannot be buried", why))

    async def _bury(self, retraction: Stanza, owner: JID, peer: JID, wanted: str) -> None:
        """Replace what its author, and no other, takes back by a tombstone (§4)."""
        archive = self.messages
        await archive.mark(owner, [], waiting=False)  # what was said just before is in the archive now
        assert retraction.sender is not None  # see above
        span = Span(peer=peer)
        for _ in range(_MOST // _TOGETHER):
            rows = await archive.newest(owner, span, _TOGETHER)
            for row in reversed(rows):
                said = _saying(row, wanted, retraction.sender.bare)
                if said is not None:
                    stone = tombstone(said, retraction.id, self.now())
                    await archive.replace(owner, row.id, stone.to_standalone())
                    return
            if len(rows) < _TOGETHER:
                return
            span = Span(peer=peer, before=rows[0].id)


def _saying(row: ArchiveRow, wanted: str, author: JID) -> Stanza | None:
    """The message in a row, if it has that id and is that author's, and was not taken back yet."""
    if escape_attribute(wanted).encode() not in row.stanza:
        return None
    said = Stanza.from_standalone(row.stanza)
    if said.id != wanted or said.sender is None or said.sender.bare != author:
        return None
    return None if is_buried(said) else said
