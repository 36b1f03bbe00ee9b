"""The message of the day: what every account is told once, now or when it comes next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twisted.internet.defer import gatherResults

from jabberd.api import BecameAvailable, E, Keyed, Module, Refused, Stanza, on, operator
from jabberd.xmpp import ns

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from jabberd.api import Account


@dataclass(frozen=True, slots=True)
class Message:
    """What is told.

    :ivar text: empty: nothing.
    :ivar version: who has been told this one is not told again.
    """

    text: str = ""
    version: int = 0


class Motd(Module):
    """Keeps one message for the domain until it is deleted (XEP-0133 §4.24 to §4.26)."""

    kept = Keyed("motd", of=Message)
    told = Keyed("motd-told", of=int, resident=True)  # the version, under the empty key

    async def start(self) -> None:
        """Read it: many will ask."""
        self._message = await self.kept.get(self.domain.jid) or Message()

    @operator("tell something to everybody once: now, or when they come")
    async def set(self, text: str) -> str:
        """In place of what was there, also to those who were told that."""
        await self._keep(Message(_checked(text), self._message.version + 1))
        told = [kept for account in self.domain.online if (kept := self._tell(account)) is not None]
        await gatherResults(told, consumeErrors=True)
        return f"told {len(told)} account{'' if len(told) == 1 else 's'}, the others when they come"

    @operator("correct the message of the day; who was told it is not told again")
    async def edit(self, text: str) -> str:
        """Change the text alone.

        :raises Refused: there is none.
        """
        self._wanted()
        await self._keep(replace(self._message, text=_checked(text)))
        return "the message of the day is another one for those who were not told"

    @operator("show the message of the day")
    def show(self) -> str:
        """Its text.

        :raises Refused: there is none.
        """
        return self._wanted()

    @operator("delete the message of the day")
    async def delete(self) -> str:
        """Tell nobody any more.

        :raises Refused: there is none.
        """
        self._wanted()
        await self._keep(replace(self._message, text=""))
        return "the message of the day is deleted"

    @on(BecameAvailable)
    def greet(self, event: BecameAvailable) -> Deferred[None] | None:
        """Tell who was not told yet."""
        return self._tell(event.account)

    def _wanted(self) -> str:
        if not self._message.text:
            raise Refused(f"{self.domain.jid} has no message of the day")
        return self._message.text

    async def _keep(self, message: Message) -> None:
        await self.kept.put(self.domain.jid, "", message)
        self._message = message

    def _tell(self, account: Account) -> Deferred[None] | None:
        """Tell an account that was not told and has somebody there to read; fires when that is kept."""
        message = self._message
        if not message.text or self.told.of(account).get("") == message.version or not _there(account):
            return None
        kept = self.told.put(account.jid, "", message.version)  # in memory at once: another session may come
        body = E(ns.CLIENT, "body", {}, message.text)
        self.domain.route(Stanza.of("message", body, sender=self.domain.jid, to=account.jid))
        return kept


def _there(account: Account) -> bool:
    return any(each.priority is not None and each.priority >= 0 for each in account.sessions.values())


def _checked(text: str) -> str:
    if not text.strip():
        raise Refused("an empty message tells nobody anything; delete it instead")
    return text
