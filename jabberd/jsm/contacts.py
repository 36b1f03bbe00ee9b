"""Rosters as accounts use them: queries and changes by clients, pushes, subscriptions (RFC 6121 §2, §3)."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from jabberd.api import RosterChanged
from jabberd.jsm import roster, subscription
from jabberd.jsm.presence import too_many
from jabberd.jsm.written import WrittenRosters
from jabberd.rates import Meter
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd import api
    from jabberd.api import IQ
    from jabberd.jsm.account import Account, Residents
    from jabberd.jsm.limits import Limits
    from jabberd.jsm.manager import SessionManager
    from jabberd.jsm.roster import RosterItem
    from jabberd.jsm.session import Session
    from jabberd.jsm.subscription import Transition
    from jabberd.xmpp.element import Element, Sealed


class Contacts:
    """The rosters of one domain's accounts, and what changes them."""

    def __init__(self, manager: SessionManager, store: Residents[RosterItem]) -> None:
        self._manager = manager
        self._store = store
        self._written = WrittenRosters()
        self._ours = Meter("subscriptions", manager.limits.subscriptions)
        self._theirs = Meter("server_subscriptions", manager.limits.server_subscriptions)

    def use(self, limits: Limits) -> None:
        """Have other limits from now on."""
        self._ours.rate, self._theirs.rate = limits.subscriptions, limits.server_subscriptions

    @property
    def meters(self) -> tuple[Meter, ...]:
        """Who asks for how many subscriptions: accounts of ours, other domains."""
        return self._ours, self._theirs

    @property
    def _limits(self) -> roster.Limits:
        return self._manager.limits.roster

    # -- what clients ask ---------------------------------------------------------------------------

    def get(self, request: IQ) -> Sealed | None:
        """A roster get (§2.2), with versioning (§2.6): an empty result, then pushes of what changed."""
        account, session = self._asker(request)
        session.interested = True
        ver = request.payload.get("ver")
        changed = None if ver is None else roster.changed_since(account.roster, ver)
        if changed is None:
            return self._written.result(account.jid, account.roster)
        self._manager.clock.callLater(0, self._catch_up, account, session, ver)  # behind the result
        return None

    def _catch_up(self, account: Account, session: Session, ver: str) -> None:
        """Push what has changed since that version: all of it, if a contact was removed meanwhile."""
        changed = roster.changed_since(account.roster, ver)
        for item in roster.listed(account.roster) if changed is None else changed:
            self._push_to(session, roster.push(item))

    async def set(self, request: IQ) -> None:
        """A roster set: add or change (§2.3, §2.4) or remove (§2.5) one contact."""
        account, _ = self._asker(request)
        await self.apply(account, request.payload)

    # -- what modules read and change ----------------------------------------------------------------

    def listed(self, account: api.Account) -> Sealed:
        """See `jabberd.api.domain.Contacts`."""
        return roster.result(cast("Account", account).roster)

    async def apply(self, of: api.Account, query: Element) -> None:
        """See `jabberd.api.domain.Contacts`."""
        account = cast("Account", of)
        wanted = roster.parse_set(query, account.jid, self._limits)
        if wanted.remove:
            await self._remove(account, wanted.jid)
            return
        changes = roster.updated(account.roster, wanted, self._limits)
        await self._store.change(account.jid, changes)
        item = changes[wanted.jid]
        assert item is not None  # it was updated
        self._push(account, roster.push(item))

    async def _remove(self, account: Account, contact: JID) -> None:
        """Remove a contact, and end what there was between the two (§2.5.2)."""
        changes = roster.removed(account.roster, contact)
        state = account.roster[contact].state
        await self._store.change(account.jid, changes)
        last = changes[roster.LAST_REMOVAL]
        assert last is not None  # there is one now
        self._push(account, roster.removal_push(contact, last.version))
        for type, step in subscription.removal(state):
            if step.presence:
                self._manager.presence.show(account, contact, step.presence)
            self._manager.tell(Stanza.of("presence", sender=account.jid, to=contact, type=type))

    # -- what modules change -------------------------------------------------------------------------

    async def share(self, account: api.Account, contact: JID, group: str = "") -> None:
        """See `jabberd.api.domain.Contacts`."""
        ours = cast("Account", account)
        await self._change(ours, contact, roster.shared(ours.roster, contact, group, self._limits))

    async def welcome(self, account: api.Account, request: Stanza) -> None:
        """See `jabberd.api.domain.Contacts`."""
        ours, contact = cast("Account", account), request.sender
        assert contact is not None  # it was asked for by somebody
        await self.inbound(ours, request, contact.bare, welcome=True)
        item = ours.roster.get(contact.bare)
        if item is None or not item.state.shows_user:
            raise too_many("too many requests for a subscription")
        if item.state is subscription.State.FROM:
            ask = Stanza.of("presence", sender=ours.jid, to=contact.bare, type="subscribe")
            await self.outbound(ours, ask, contact.bare)

    async def unshare(self, account: api.Account, contact: JID, group: str) -> None:
        """See `jabberd.api.domain.Contacts`."""
        ours = cast("Account", account)
        await self._change(ours, contact, roster.unshared(ours.roster, contact, group))

    async def _change(self, account: Account, contact: JID, changes: roster.Changes) -> None:
        """Store what was changed of one contact, and tell the account's clients."""
        if not changes:
            return
        await self._store.change(account.jid, changes)
        item = changes[contact]
        if item is not None:
            self._push(account, roster.push(item))
            return
        self._push(account, roster.removal_push(contact, roster.version(account.roster)))
        self._manager.presence.show(account, contact, "unavailable")

    def show(self, account: api.Account, contact: JID) -> None:
        """See `jabberd.api.domain.Contacts`."""
        if account.trusts(contact):
            self._manager.presence.show(cast("Account", account), contact, "available")

    def hide(self, account: api.Account, contact: JID) -> None:
        """See `jabberd.api.domain.Contacts`."""
        self._manager.presence.hide(cast("Account", account), contact)

    def watchers(self, account: api.Account) -> list[JID]:
        """See `jabberd.api.domain.Contacts`."""
        ours = cast("Account", account)
        subscribers = [JID.parse(item.jid) for item in ours.roster.values() if item.state.shows_user]
        directed = [jid for session in ours.sessions.values() for jid in session.directed]
        return list(dict.fromkeys((*subscribers, *directed)))

    def _asker(self, request: IQ) -> tuple[Account, Session]:
        account = self._manager.accounts.get(request.sender.bare)
        session = account.sessions.get(request.sender.resourcepart) if account else None
        if account is None or session is None:
            raise StanzaError("service-unavailable")
        return account, session

    # -- subscriptions ------------------------------------------------------------------------------

    async def outbound(self, account: Account, stanza: Stanza, contact: JID) -> None:
        """The user sends a subscription stanza (§3, A.2)."""
        now = self._manager.clock.seconds()
        if stanza.type == "subscribe" and not self._ours.take(account.jid, now):
            raise too_many("too many requests for a subscription")
        rows = account.roster
        step = _step(subscription.outbound, stanza, rows.get(contact))
        changes = roster.moved(rows, contact, step, self._limits)
        await self._store.change(account.jid, changes)
        if step.presence == "unavailable":
            self._manager.presence.show(account, contact, step.presence)
        self._announce(account, step, changes.get(contact))
        if step.forward:  # behind the push: the answer, which may come at once, has a push of its own
            self._manager.route(stanza.stamped(account.jid, contact))
        if step.presence == "available":
            self._manager.presence.show(account, contact, step.presence)

    async def inbound(self, account: Account, stanza: Stanza, contact: JID, *, welcome: bool = False) -> None:
        """The contact sends a subscription stanza (§3, A.3).

        Too many requests are forgotten in silence: they find out nothing about who has an account here.

        :param welcome: whether a request is granted as if it had been pre-approved, this time.
        """
        if stanza.type == "subscribe" and not self._may_ask(contact):
            return
        rows = account.roster
        item = rows.get(contact)
        step = _welcomed(stanza, item) if welcome else _step(subscription.inbound, stanza, item)
        if step.state.pending_in and not roster.may_ask(rows, contact, self._limits):
            return
        stanza = stanza.stamped(contact, account.jid)
        request = roster.request_bytes(stanza, self._limits) if stanza.type == "subscribe" else b""
        changes = roster.moved(rows, contact, step, self._limits, request)
        await self._store.change(account.jid, changes)
        if step.forward:
            self._deliver(account, stanza)
        self._announce(account, step, changes.get(contact))
        if step.reply:
            reply = Stanza.of("presence", sender=account.jid, to=contact, type=step.reply, id=stanza.id)
            self._manager.route(reply)
        if step.presence:
            self._manager.presence.show(account, contact, step.presence)

    async def disapprove(self, contact: JID) -> None:
        """Nobody pre-approves whose account was deleted (§3.4): whoever gets the name asks, as others do."""
        for owner in await self._store.having(self._manager.jid, contact):
            account = await self._manager.accounts.load(JID.parse(owner))
            await self._change(account, contact, roster.disapproved(account.roster, contact))

    def _may_ask(self, contact: JID) -> bool:
        """Whether one more request of the contact's domain is borne; those of ours are counted by account."""
        if self._manager.is_local(contact):
            return True
        return self._theirs.take(contact.domainpart, self._manager.clock.seconds())

    @staticmethod
    def _deliver(account: Account, stanza: Stanza) -> None:
        """A request goes to the available resources (§3.1.3), the others to the interested ones."""
        for session in list(account.sessions.values()):
            if session.presence is not None if stanza.type == "subscribe" else session.interested:
                session.send(stanza)

    # -- pushes -------------------------------------------------------------------------------------

    def _announce(self, account: Account, step: Transition, item: RosterItem | None) -> None:
        if step.push and item is not None:
            self._push(account, roster.push(item))

    def _push(self, account: Account, query: Sealed) -> None:
        self._manager.fire(RosterChanged(account, query))
        for session in list(account.sessions.values()):
            if session.interested:
                self._push_to(session, query)

    @staticmethod
    def _push_to(session: Session, query: Sealed) -> None:
        session.send(Stanza.of("iq", query, to=session.jid, type="set", id=f"push{secrets.token_hex(4)}"))


def _step(side: Callable[..., Transition], stanza: Stanza, item: RosterItem | None) -> Transition:
    """What the stanza does to a subscription; one with somebody not in the roster is in state "None"."""
    if item is None:
        return side(stanza.type, subscription.State.NONE, approved=False)
    return side(stanza.type, item.state, approved=item.approved)


def _welcomed(stanza: Stanza, item: RosterItem | None) -> Transition:
    """What an inbound request does that is granted; who was not pre-approved, is not afterwards."""
    state, approved = (item.state, item.approved) if item else (subscription.State.NONE, False)
    step = subscription.inbound(stanza.type, state, approved=True)
    return replace(step, approved=approved)
