"""The welcome message: what a new account is told when it comes for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.api import AccountCreated, BecameAvailable, E, Keyed, Module, Refused, Stanza, on, operator
from jabberd.xmpp import ns

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


class Welcome(Module):
    """Keeps one message for the newcomers of the domain (XEP-0133 §4.27 and §4.28)."""

    kept = Keyed("welcome", of=str)
    due = Keyed("welcome-due", of=bool, resident=True)  # under the empty key, until an account has come

    async def start(self) -> None:
        """Read it: every newcomer will ask."""
        self._text = await self.kept.get(self.domain.jid)

    @operator("tell something to every new account when it comes for the first time")
    async def set(self, text: str) -> str:
        """In place of what was there."""
        if not text.strip():
            raise Refused("an empty message welcomes nobody; delete it instead")
        await self._keep(text)
        return "newcomers are told that from now on"

    @operator("show the welcome message")
    def show(self) -> str:
        """Its text.

        :raises Refused: there is none.
        """
        if self._text is None:
            raise Refused(f"{self.domain.jid} has no welcome message")
        return self._text

    @operator("delete the welcome message")
    async def delete(self) -> str:
        """Tell newcomers nothing.

        :raises Refused: there is none.
        """
        self.show()
        await self._keep(None)
        return "the welcome message is deleted"

    @on(AccountCreated)
    async def expect(self, event: AccountCreated) -> None:
        """Remember who is new, also while there is no message."""
        await self.due.put(event.jid, "", value=True)

    @on(BecameAvailable)
    def greet(self, event: BecameAvailable) -> Deferred[None] | None:
        """Welcome a newcomer, who is none any more."""
        account = event.account
        if not self.due.of(account):
            return None
        known = self.due.change(account.jid, {"": None})  # in memory at once: another session may come
        if self._text is not None:
            body = E(ns.CLIENT, "body", {}, self._text)
            self.domain.route(Stanza.of("message", body, sender=self.domain.jid, to=account.jid))
        return known

    async def _keep(self, text: str | None) -> None:
        await self.kept.change(self.domain.jid, {"": text})
        self._text = text
