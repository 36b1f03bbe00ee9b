"""XEP-0356: components that act in the name of a domain's accounts, as far as its operator lets them."""

from __future__ import annotations

import secrets
from dataclasses import field
from typing import TYPE_CHECKING, Final, cast

from jabberd.api import (
    IQ,
    JID,
    Account,
    Apart,
    BecameUnavailable,
    ComponentConnected,
    DomainName,
    Module,
    PresenceSent,
    RosterChanged,
    Sealed,
    Settings,
    Stage,
    Stanza,
    StanzaError,
    Turns,
    diverts,
    filters,
    on,
    told,
)
from jabberd.modules.privilege.grants import NOTHING, NS, Grant, advertised
from jabberd.modules.privilege.presence import Audience
from jabberd.xmpp import forward, ns
from jabberd.xmpp.element import split
from jabberd.xmpp.stanza import check_iq

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from jabberd.api import Answer

_ROSTER: Final = f"{{{ns.ROSTER}}}query"
_PRIVILEGE: Final = f"{{{NS}}}privilege"
_IQ: Final = f"{{{NS}}}privileged_iq"
_MOST: Final = 1000  #: questions of one component that wait for an answer
#: What clients and components believe of their server alone: it tells what others have said, or may do.
_SERVERS_OWN: Final = frozenset(
    {
        "{urn:xmpp:carbons:2}sent",
        "{urn:xmpp:carbons:2}received",
        "{urn:xmpp:mam:2}result",
        "{urn:xmpp:delegation:2}delegation",
        _PRIVILEGE,
    }
)
_FORBIDDEN: Final = "the operator has not granted that"


class Privilege(Module, xep=356, version="0.4.1"):
    """Lets components read and change rosters, send messages, ask questions and hear presence.

    Only a component of this server that is connected has privileges, and only at its own address: whoever
    else asks is answered as if there were none.
    """

    after = ("delegation",)

    class Config(Settings):
        """Who may do what.

        :ivar entities: by the domain of a component, what it may do in the name of this domain's accounts.
        """

        entities: dict[DomainName, Grant] = field(default_factory=dict)

    config: Config

    async def start(self) -> None:
        """Nobody's presence was told yet."""
        self._audience = Audience(self._send, self._listening)
        self._turns = Turns(self.domain.jid, _MOST)

    async def ready(self) -> None:
        """Components that are there already learn what they may do."""
        for entity, grant in self.config.entities.items():
            self._welcome(entity, grant)

    async def stop(self) -> None:
        """Components that stay learn that they may do nothing any more."""
        for entity, grant in self.config.entities.items():
            self._advertise(entity, NOTHING, grant)

    def reconfigured(self, before: Settings) -> None:
        """Components whose privileges have changed learn it."""
        known, now = cast("Privilege.Config", before).entities, self.config.entities
        for entity in dict.fromkeys((*known, *now)):
            old, new = known.get(entity, NOTHING), now.get(entity, NOTHING)
            if old != new:
                self._welcome(entity, new, old)

    @on(ComponentConnected)
    def connected(self, event: ComponentConnected) -> None:
        """It learns what it may do (§4.2), and who is there (§8)."""
        self._welcome(event.jid, self.config.entities.get(event.jid, NOTHING))

    def _welcome(self, entity: JID, grant: Grant, before: Grant = NOTHING) -> None:
        self._advertise(entity, grant, before)
        if grant.presence not in ("none", before.presence) and self.domain.connected(entity):
            self._audience.catch_up(entity, self.domain.online, contacts=grant.presence == "roster")

    def _advertise(self, entity: JID, grant: Grant, before: Grant) -> None:
        told = advertised(grant, before)
        if told is not None:
            message = Stanza.of("message", told, sender=self.domain.jid, id=secrets.token_hex(8))
            self._send(message, entity)

    def _send(self, stanza: Stanza, entity: JID) -> None:
        """What has no reader is not sent: it would come back to somebody who knows nothing of it."""
        sender = stanza.sender
        assert sender is not None  # the domain, an account or a contact
        if self.domain.connected(entity):
            self.domain.route(stanza.stamped(sender, entity))

    def _grant(self, sender: JID | None) -> Grant | None:
        """What a component may do; None: that is none of ours, and nobody is told that there are any."""
        if sender is None or not self.domain.connected(sender):
            return None
        return self.config.entities.get(sender, NOTHING)

    # -- rosters ------------------------------------------------------------------------------------

    @diverts
    def divert(self, stanza: Stanza, account: Account | None) -> Callable[[IQ], object] | None:
        """What a component asks an account that only its owner may ask."""
        asked = stanza.children[0]
        if account is None or asked not in (_ROSTER, _IQ) or self._grant(stanza.sender) is None:
            return None
        return self.roster if asked == _ROSTER else self.ask

    async def roster(self, request: IQ) -> Answer:
        """Read a roster or change it (§4.3)."""
        account, grant = request.account, self._grant(request.sender)
        assert account is not None  # it was not diverted else
        if grant is None or grant.roster not in (request.type, "both"):
            raise StanzaError("forbidden", _FORBIDDEN)
        if request.type == "get":
            return self.domain.contacts.listed(account)
        await self.domain.contacts.apply(account, request.payload)
        return None

    @on(RosterChanged)
    def push(self, event: RosterChanged) -> None:
        """Components that may read rosters see what changes in them (§4.4)."""
        for entity, grant in self.config.entities.items():
            if grant.pushed:
                id = f"push{secrets.token_hex(4)}"
                self._send(Stanza.of("iq", event.query, sender=event.account.jid, type="set", id=id), entity)

    # -- messages -----------------------------------------------------------------------------------

    @told(NS, "privilege")
    async def speak(self, stanza: Stanza) -> None:
        """Send a message in the name of the domain or an account (§5.3)."""
        grant = self._grant(stanza.sender)
        if grant is None:
            raise StanzaError("service-unavailable")
        if grant.message != "outgoing":
            raise StanzaError("forbidden", _FORBIDDEN)
        privilege = stanza.child(_PRIVILEGE)
        assert privilege is not None  # it was declared
        found = privilege.find(f"{{{forward.NS}}}forwarded/{{{ns.CLIENT}}}message")
        if found is None:
            raise StanzaError("bad-request", "a message in jabber:client has to be forwarded")
        message = Stanza.from_element(found)
        if message.to is None:
            raise StanzaError("bad-request", "the message is for nobody")
        if not _SERVERS_OWN.isdisjoint(message.children):
            raise StanzaError("forbidden", "only the server itself says that")
        home = await self._said(message, message.sender)
        if home is not None:
            await home

    async def _said(self, message: Stanza, sender: JID | None) -> Deferred[None] | None:
        """Send it as the domain, or as the bare JID of an account of it (§5.1)."""
        if sender is None or sender.resourcepart or sender.domainpart != self.domain.jid:
            raise StanzaError("forbidden", "that is neither this domain nor an account of it")
        if not sender.localpart:
            return self.domain.route(message)
        account = await self.domain.account(sender)
        if not account.exists:
            raise StanzaError("forbidden", "there is no such account")
        return self.domain.say(account, message)

    # -- questions ----------------------------------------------------------------------------------

    @filters(Stage.REFUSE, "iq", children=[_IQ])
    def refuse(self, stanza: Stanza, account: Account) -> Stanza:
        """A question in somebody's name is asked at their bare JID, and nowhere else (§6.3)."""
        elsewhere = stanza.to is None or bool(stanza.to.resourcepart) or not account.exists
        if elsewhere and stanza.type in ("get", "set") and self._grant(stanza.sender) is not None:
            raise StanzaError("forbidden", "that is not the bare JID of an account")
        return stanza

    def ask(self, request: IQ) -> Apart:
        """Ask a question in the name of an account (§6.3), and bring the answer back."""
        grant, account = self._grant(request.sender), request.account
        assert account is not None  # it was not diverted else
        found = [each for each in request.payload if each.tag == f"{{{ns.CLIENT}}}iq"]
        if grant is None or len(found) != 1 or len(request.payload) != 1:
            raise StanzaError("forbidden", "it has to hold one iq in jabber:client")
        question = Stanza.from_element(found[0])
        check_iq(question)
        if question.type != request.type or question.sender not in (None, account.jid):
            raise StanzaError("forbidden", "the type or the sender is another one inside")
        if not grant.may_ask(split(question.children[0])[0], question.type):
            raise StanzaError("forbidden", _FORBIDDEN)
        asked = question.stamped(account.jid, question.to or account.jid)
        return Apart(self._asked(asked, request.sender))

    async def _asked(self, question: Stanza, component: JID) -> Sealed:
        with self._turns.turn(component):
            try:
                answer = await self.domain.ask(question)
            except StanzaError as error:
                answer = question.error(error)
        inside = forward.forwarded(answer.with_attrs(id=question.id).to_standalone())
        return Sealed(_PRIVILEGE, b"<privilege xmlns='%s'>%s</privilege>" % (NS.encode(), inside))

    # -- presence -----------------------------------------------------------------------------------

    def _listening(self, contacts: bool) -> list[JID]:
        wanted = "roster" if contacts else "managed_entity"
        return [entity for entity, grant in self.config.entities.items() if grant.presence == wanted]

    @on(PresenceSent)
    def came(self, event: PresenceSent) -> None:
        """Somebody has shown themselves (§7.3)."""
        self._audience.began(event.session)

    @on(BecameUnavailable)
    def left(self, event: BecameUnavailable) -> None:
        """Somebody is gone (§7.3)."""
        self._audience.ended(event.session, event.status)

    @filters(Stage.REFUSE, "presence")
    def overhear(self, stanza: Stanza, account: Account) -> Stanza:
        """What an account's contacts say of themselves, whether the account is there or not (§7.4)."""
        if stanza.type in ("", "unavailable") and self._listening(True):
            sender = stanza.sender
            if sender is not None and sender.resourcepart and account.exists and account.knows(sender):
                self._audience.heard(stanza)
        return stanza
