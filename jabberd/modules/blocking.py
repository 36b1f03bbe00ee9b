"""XEP-0191: nothing goes to those whom an account blocks, and nothing of theirs comes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from jabberd.api import (
    ACCOUNT,
    IQ,
    JID,
    Account,
    E,
    Element,
    Keyed,
    Module,
    Session,
    SessionClosed,
    Settings,
    Stage,
    Stanza,
    StanzaError,
    answers,
    filters,
    on,
    operator,
)
from jabberd.xmpp.jid import InvalidJID

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

NS: Final = "urn:xmpp:blocking"
_ITEM: Final = f"{{{NS}}}item"
_BLOCKED: Final = ("urn:xmpp:blocking:errors", "blocked")


@dataclass(frozen=True)
class Blocked:
    """An account has blocked somebody.

    :ivar item: what it said of that; see XEP-0377.
    """

    account: Account
    jid: JID
    item: Element


class Blocking(Module, xep=191, version="1.3"):
    """Blocks politely: to those who are blocked the account seems to be offline, and subscriptions stay (§4).

    Nobody can block the account's own clients, or its domain itself, which answers for it.
    """

    features = (NS,)
    replaceable = False  # it knows which clients follow the list
    counted = ("most",)

    class Config(Settings):
        """How much can be blocked.

        :ivar most: addresses that one account blocks.
        """

        most: Annotated[int, Meta(ge=1)] = 1000

    config: Config

    blocked = Keyed("blocklist", of=bool, resident=True)  # by address

    async def start(self) -> None:
        """Nobody follows a list yet."""
        self._following: set[Session] = set()

    # -- the list -----------------------------------------------------------------------------------

    @answers.get(NS, "blocklist", to=ACCOUNT)
    def show(self, request: IQ) -> Element:
        """Tell the list, and from now on its changes (§3.2)."""
        account = request.account
        assert account is not None
        session = account.sessions.get(request.sender.resourcepart)
        if session is not None:
            self._following.add(session)
        return E(NS, "blocklist", None, *_items(sorted(self.blocked.of(account))))

    @on(SessionClosed)
    def forget(self, event: SessionClosed) -> None:
        """Its client is gone."""
        self._following.discard(event.session)

    @answers.set(NS, "block", to=ACCOUNT)
    async def block(self, request: IQ) -> None:
        """Block those whom the items name (§3.3); whoever knew that the account is there sees it leave."""
        account = request.account
        assert account is not None
        items = {_jid(item): item for item in request.payload.iterfind(_ITEM)}
        if not items:
            raise StanzaError("bad-request", "say whom")
        before = frozenset(self.blocked.of(account))
        if len(before | items.keys()) > self.config.most:
            raise self.limited("most", f"at most {self.config.most} addresses")
        await self.blocked.change(account.jid, dict.fromkeys(items, True))
        for contact in self._between(account, before, items):
            self.domain.contacts.hide(account, contact)
        self._push(account, E(NS, "block", None, *_items(items)))
        for jid, item in items.items():
            self.domain.fire(Blocked(account, jid, item))

    @answers.set(NS, "unblock", to=ACCOUNT)
    async def unblock(self, request: IQ) -> None:
        """Block these, or all, no more (§3.4, §3.5); whoever may know sees the account come."""
        account = request.account
        assert account is not None
        before = frozenset(self.blocked.of(account))
        items = [_jid(item) for item in request.payload.iterfind(_ITEM)]
        gone = before.intersection(items) if items else before
        await self.blocked.change(account.jid, dict.fromkeys(gone))
        for contact in self._between(account, self.blocked.of(account), gone):
            self.domain.contacts.show(account, contact)
        self._push(account, E(NS, "unblock", None, *_items(items)))

    def _between(self, account: Account, fewer: Container[str], more: Container[str]) -> list[JID]:
        """Those who know of the account and are on the second list alone."""
        watchers = self.domain.contacts.watchers(account)
        return [
            jid
            for jid in watchers
            if _matches(jid, more) and not _matches(jid, fewer) and not self._exempt(jid, account)
        ]

    def _push(self, account: Account, change: Element) -> None:
        for session in account.sessions.values():
            if session in self._following:
                id = secrets.token_hex(6)
                push = Stanza.of("iq", change, sender=account.jid, to=session.jid, type="set", id=id)
                session.send(push)

    # -- what it does -------------------------------------------------------------------------------

    def _blocks(self, account: Account, jid: JID | None) -> bool:
        blocked = self.blocked.of(account)
        return bool(blocked) and jid is not None and _matches(jid, blocked) and not self._exempt(jid, account)

    def _exempt(self, jid: JID, account: Account) -> bool:
        return jid.bare == account.jid or jid == self.domain.jid

    @filters(Stage.SAID)
    def refuse_said(self, stanza: Stanza, session: Session) -> Stanza:
        """Nothing goes to those who are blocked (§3.3)."""
        if self.blocked.of(session.account) and self._blocks(session.account, stanza.to):
            raise StanzaError("not-acceptable", type="cancel", application=_BLOCKED)
        return stanza

    @filters(Stage.REFUSE)
    def refuse(self, stanza: Stanza, account: Account) -> Stanza | None:
        """Nothing comes from them: they learn what they would of an account that is offline (§3.3)."""
        if not self.blocked.of(account) or not self._blocks(account, stanza.sender):
            return stanza  # nearly always by the first question
        if stanza.name == "presence" or self._blocks_in_room(account, stanza):
            return None
        raise StanzaError("service-unavailable")

    def _blocks_in_room(self, account: Account, stanza: Stanza) -> bool:
        """Whether somebody in a room is blocked and the room is not: it puts out whom it cannot reach."""
        sender, blocked = stanza.sender, self.blocked.of(account)
        if stanza.type != "groupchat" or sender is None:
            return False
        return sender in blocked and not (sender.bare in blocked or sender.domainpart in blocked)

    @filters(Stage.TELLING)
    def keep_from(self, stanza: Stanza, account: Account) -> Stanza | None:
        """They are told nothing, such as presence."""
        return None if self.blocked.of(account) and self._blocks(account, stanza.to) else stanza

    @operator("list whom an account blocks")
    async def list(self, jid: JID) -> list[dict[str, str]]:
        """In alphabetical order."""
        return [{"blocked": each} for each in sorted(await self.blocked.all(jid.bare))]


def _matches(jid: JID, blocked: Container[str]) -> bool:
    """§5: that address; an account with all its resources; a domain with all that belongs to it."""
    return jid in blocked or jid.bare in blocked or jid.domainpart in blocked


def _jid(item: Element) -> JID:
    try:
        return JID.parse(item.get("jid", ""))
    except InvalidJID:
        raise StanzaError("jid-malformed") from None


def _items(jids: Iterable[str]) -> list[Element]:
    return [E(NS, "item", {"jid": jid}) for jid in jids]
