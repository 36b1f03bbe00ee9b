"""XEP-0489: other servers learn how far a domain knows the owner of an account, and so how to treat it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

from jabberd.api import (
    ACCOUNT,
    ANYONE,
    IQ,
    DomainName,
    E,
    Module,
    Settings,
    Stage,
    StanzaError,
    answers,
    filters,
)
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from jabberd.api import JID, Account, Element, Session, Stanza
    from jabberd.modules.administration import Administration

NS: Final = "urn:xmpp:raa:0"
_INFO: Final = f"{{{NS}}}info"
_RECENT: Final = timedelta(days=30)  # §5
_MOST_TRUST: Final = 100
_EMBEDS: Final = {"message": {"", "normal", "chat", "headline"}, "presence": {"", "subscribe"}}


class Affiliations(Module, xep=489, version="0.1.0"):
    """Says of accounts whether they are anonymous, registered by their owners, members' or admins'.

    Who asks is told, and what accounts say to those who are no contacts of theirs says it, too.  Of a
    registered account it is told on which day it was made; later on, the trust in it is as many days as it is
    old, at most 100.
    """

    requires = ("disco", "administration")
    features = (NS, *(f"{NS}#embed-{each}" for each in ("presence-sub", "presence-directed", "message")))

    class Config(Settings):
        """Who is told what.

        :ivar servers: the domains that are told, beside this one; None: all.
        :ivar admins: whether they are told who is an admin; else admins are members.
        """

        servers: tuple[DomainName, ...] | None = None
        admins: bool = False

    config: Config

    @answers.get(NS, "query", to=ACCOUNT, by=ANYONE)
    def tell(self, request: IQ) -> Element:
        """Answer who asks (§4.2), if they are told.

        :raises StanzaError: ``service-unavailable``, as for an account that does not exist.
        """
        account = request.account
        assert account is not None  # it is asked at accounts
        if not (account.exists and self._tells(request.sender)):
            raise StanzaError("service-unavailable")
        return self._info(account)

    @filters(Stage.SAID, "message", "presence")
    def embed(self, stanza: Stanza, session: Session) -> Stanza:
        """Say it to those who are no contacts (§4.3, §5), and nothing that a client says of itself (§7.2)."""
        if _INFO in stanza.children:
            stanza = stanza.without([_INFO])
        to, account = stanza.to, session.account
        if to is None or stanza.type not in _EMBEDS[stanza.name] or to.bare == account.jid:
            return stanza
        if account.sees(to) or not self._tells(to):
            return stanza
        return stanza.with_child(self._info(account))

    def _tells(self, other: JID) -> bool:
        servers = self.config.servers
        return servers is None or other.domainpart == self.domain.jid or other.domainpart in servers

    def _info(self, account: Account) -> Element:
        """What is known of an account (§4.1)."""
        if account.anonymous:
            return E(NS, "info", {"affiliation": "anonymous"})
        if cast("Administration", self.domain.module("administration")).operates(account.jid):
            return E(NS, "info", {"affiliation": "admin" if self.config.admins else "member"})
        if not account.registered or account.created is None:
            return E(NS, "info", {"affiliation": "member"})
        age = self.now() - account.created
        if age < _RECENT:
            day = account.created.replace(hour=0, minute=0, second=0, microsecond=0)
            return E(NS, "info", {"affiliation": "registered", "since": to_stamp(day)})
        return E(NS, "info", {"affiliation": "registered", "trust": str(min(age.days, _MOST_TRUST))})
