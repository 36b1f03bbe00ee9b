"""XEP-0490: what has been read, told along with a message (§5.2, server assist)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from twisted.internet.defer import Deferred

from jabberd.api import Module, Session, Stage, Stanza, filters

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from jabberd.modules.pep import Pep

NS: Final = "urn:xmpp:mds:displayed:0"
DISPLAYED: Final = f"{{{NS}}}displayed"
_OPTIONS: Final = {
    "persist_items": "true",
    "max_items": "max",
    "send_last_published_item": "never",
    "access_model": "whitelist",
}


class Displayed(Module, xep=490, version="1.0.1"):
    """Takes a client's ``<displayed/>`` out of its message and publishes it for its other clients."""

    requires = ("pep",)
    account_features = ("urn:xmpp:mds:server-assist:0",)

    @filters(Stage.SAID, "message", children=[DISPLAYED])
    def take(self, stanza: Stanza, session: Session) -> Stanza:
        """The item is called as the message is addressed; what cannot be published is only taken out."""
        told = stanza.child(DISPLAYED)
        if told is not None and stanza.to is not None and not session.account.anonymous:
            pep = cast("Pep", self.domain.module("pep"))
            published = Deferred.fromCoroutine(
                pep.publish(session.account, NS, str(stanza.to), told, **_OPTIONS)
            )
            published.addErrback(self._missed)
        return stanza.without([DISPLAYED])

    def _missed(self, why: Failure) -> None:
        self.log.info("what was read is not published: {why}", why=why.value)
