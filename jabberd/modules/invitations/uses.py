"""What comes of an invitation: an account, a contact, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jabberd.api import JID, Refused, StanzaError

if TYPE_CHECKING:
    from twisted.logger import Logger

    from jabberd.api import Account, Domain, Stanza
    from jabberd.modules.invitations.ledger import Ledger

__all__ = ["Uses", "Voucher"]


class Uses:
    """Uses the invitations of a domain, each no more often than it may be."""

    def __init__(self, domain: Domain, ledger: Ledger, log: Logger) -> None:
        self._domain = domain
        self._ledger = ledger
        self._log = log

    async def create(self, key: str, jid: JID, password: str) -> None:
        """Make an account with an invitation.

        :raises StanzaError: ``item-not-found``: it was used or revoked; else as `Registrar.create` refuses.
        """
        invitation = await self._ledger.take(key, jid)
        try:  # whom an operator invites, somebody here knows
            await self._domain.registrar.create(jid, password, registered=invitation.contact)
        except Refused as why:
            await self._ledger.give_back(key, jid)
            raise StanzaError(why.condition, str(why)) from None
        try:
            await self.resolve(key, jid)
        except Exception:  # noqa: BLE001  # there is an account; the next start does the rest
            self._log.failure("{jid!r} was invited and is nobody's contact yet", jid=jid)

    async def welcome(self, key: str, account: Account, request: Stanza, who: JID) -> None:
        """Make a contact of whoever requests a subscription with an invitation of that account.

        Where somebody else was faster, the owner of the account is asked, as without an invitation.
        """
        try:
            await self._ledger.take(key, who)
        except StanzaError:
            await self._domain.redeliver(request)
            return
        try:
            await self._domain.contacts.welcome(account, request)
        except StanzaError as why:
            said = "{who!r} is no contact of {jid!r}: {why}"
            self._log.info(said, who=who, jid=account.jid, why=why.text)
            await self._ledger.give_back(key, who)
        else:
            await self._ledger.settle(key, who)

    async def resolve(self, key: str, who: JID) -> None:
        """Finish what an invitation is being used for, or give it back where nothing has come of it."""
        invitation = self._ledger.get(key)
        if invitation is None:
            return
        inviter = await self._domain.account(JID.parse(invitation.inviter)) if invitation.inviter else None
        if inviter is not None and not inviter.exists:
            inviter = None
        if invitation.account and who.domainpart == self._domain.jid:
            made = await self._domain.account(who)
            if made.exists and inviter is not None:
                await self._introduce(inviter, made)
            used = made.exists
        else:
            used = inviter is None or inviter.trusts(who)
        await (self._ledger.settle if used else self._ledger.give_back)(key, who)

    async def _introduce(self, one: Account, other: Account) -> None:
        """Make them contacts of each other, with presence both ways (XEP-0401 §4.5)."""
        contacts = self._domain.contacts
        try:
            await contacts.share(one, other.jid)
            await contacts.share(other, one.jid)
        except StanzaError as why:
            said = "{one!r} and {other!r} are no contacts: {why}"
            self._log.info(said, one=one.jid, other=other.jid, why=why.text)
            return
        contacts.show(one, other.jid)
        contacts.show(other, one.jid)


@dataclass(frozen=True)
class Voucher:
    """An invitation that a newcomer has shown; see `jabberd.modules.registration.Voucher`."""

    uses: Uses
    key: str
    username: str

    async def create(self, jid: JID, password: str) -> None:
        """See `Uses.create`."""
        await self.uses.create(self.key, jid, password)
