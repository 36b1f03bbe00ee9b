"""XEP-0386: a resource is bound while its client logs in, and what it wants is switched on with it."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from jabberd.api import JID, LOGIN, E, Element, Login, Module, StanzaError, inline
from jabberd.xmpp import ns
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.jid import InvalidJID, prepare_resourcepart

if TYPE_CHECKING:
    from jabberd.interfaces import Security

NS: Final = "urn:xmpp:bind:0"
_TAG: Final = f"{{{NS}}}tag"
_LONGEST_TAG: Final = 100


class Bind2(Module, xep=386, version="1.1.0"):
    """Binds a resource within XEP-0388."""

    after = ("sm",)  # a session that is resumed has its resource already

    def inline_features(self, security: Security) -> tuple[Element, ...]:  # the same for all
        """Offer to bind, with all that other modules can do meanwhile (§3.1)."""
        features = [E(NS, "feature", {"var": each}) for each in self.domain.inlines]
        return (E(NS, "bind", None, *([E(NS, "inline", None, *features)] if features else [])),)

    @inline(NS, "bind", at=LOGIN)
    async def bind(self, login: Login, request: Element) -> Element | None:
        """Bind, unless a session was resumed (§3.2)."""
        if login.session is not None:
            return None
        try:
            resource = self._resource(login, (request.findtext(_TAG) or "").strip())
            await self._end_earlier(login)
            session = await login.open(resource)
        except StanzaError as error:
            return E(NS, "failed", None, E(ns.STANZA_ERRORS, error.condition))
        return E(NS, "bound", None, *await self.domain.inlined(session, request))

    def _resource(self, login: Login, tag: str) -> str:
        """The tag and something of ours: the same again for the same installation (§3.2.1)."""
        client = login.client
        own = secrets.token_urlsafe(9)
        if client.agent.id:
            known = f"{client.agent.id} of {client.username}@{self.domain.jid}"
            own = urlsafe_b64encode(sha256(known.encode()).digest()[:9]).decode()
        try:
            return prepare_resourcepart(f"{tag}/{own}") if tag and len(tag) <= _LONGEST_TAG else own
        except InvalidJID:
            return own

    async def _end_earlier(self, login: Login) -> None:
        """What the same installation has left behind is of no use to it (§3.2)."""
        client = login.client
        if not client.agent.id:
            return
        account = await self.domain.account(JID.of(client.username, self.domain.jid))
        for session in list(account.sessions.values()):
            if session.client.agent.id == client.agent.id:
                session.close(StreamError("conflict", "replaced by a new connection"))
