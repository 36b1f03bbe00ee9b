"""A switch against messages from strangers, for each account or a whole domain."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from jabberd.api import (
    JID,
    Account,
    Keyed,
    Module,
    Refused,
    Session,
    Settings,
    Stage,
    Stanza,
    StanzaError,
    filters,
    operator,
)

_MOST_ADDRESSED: Final = 10_000


class Strangers(Module):
    """Refuses messages of those who are no contacts, where an account or its domain wants that.

    Known are the contacts in the roster, the account itself and its domain, and whomever it wrote to or sent
    presence to itself, such as rooms, since the server was started.  Subscription requests still come.  A
    stranger gets what an account that does not exist would answer (RFC 6121 §8.5.1).
    """

    class Config(Settings):
        """What holds for accounts for which nothing else was said.

        :ivar refuse: whether strangers are refused.
        """

        refuse: bool = False

    config: Config

    choices = Keyed("strangers", of=bool, resident=True)  # whether to refuse, under the empty key

    async def start(self) -> None:
        """Nobody has written to anybody yet."""
        self._addressed: OrderedDict[tuple[str, str], None] = OrderedDict()

    @filters(Stage.SAID, "message", "presence")
    def remember(self, stanza: Stanza, session: Session) -> Stanza:
        """Whom somebody writes to is no stranger any more."""
        if stanza.to is not None:
            pair = (session.jid.bare, stanza.to.bare)
            self._addressed[pair] = None
            self._addressed.move_to_end(pair)
            if len(self._addressed) > _MOST_ADDRESSED:
                self._addressed.popitem(last=False)
        return stanza

    @filters(Stage.REFUSE, "message")
    def refuse_strangers(self, stanza: Stanza, account: Account) -> Stanza | None:
        """Refuse what comes from a stranger; errors are answers to what the account itself said."""
        if stanza.type == "error" or not self._refuses(account) or self._knows(account, stanza.sender):
            return stanza
        if stanza.type == "headline":
            return None
        raise StanzaError("service-unavailable")

    def _refuses(self, account: Account) -> bool:
        return account.exists and self.choices.of(account).get("", self.config.refuse)

    def _knows(self, account: Account, sender: JID | None) -> bool:
        if sender is None or sender == self.domain.jid or sender.bare == account.jid:
            return True
        return account.knows(sender) or (account.jid, sender.bare) in self._addressed

    @operator("let an account get no messages from strangers")
    async def refuse(self, jid: JID) -> str:
        """Whatever holds for its domain."""
        return await self._choose(jid, refuse=True)

    @operator("let an account get messages from strangers")
    async def admit(self, jid: JID) -> str:
        """Whatever holds for its domain."""
        return await self._choose(jid, refuse=False)

    @operator("show whether an account gets messages from strangers, and who says so")
    async def show(self, jid: JID) -> dict[str, object]:
        """What holds for it now."""
        account = await self._account(jid)
        chosen = "" in self.choices.of(account)
        return {
            "jid": account.jid,
            "strangers": "refused" if self._refuses(account) else "admitted",
            "by": "its own choice" if chosen else f"the default of {self.domain.jid}",
        }

    async def _choose(self, jid: JID, *, refuse: bool) -> str:
        account = await self._account(jid)
        await self.choices.put(account.jid, "", refuse)
        return f"{account.jid} gets {'no ' if refuse else ''}messages from strangers"

    async def _account(self, jid: JID) -> Account:
        account = await self.domain.account(jid)
        if not account.exists:
            raise Refused(f"there is no account {jid}")
        return account
