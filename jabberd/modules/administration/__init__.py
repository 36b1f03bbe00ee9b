"""XEP-0133: service administration with any client, by ad-hoc commands.

Each command calls the operators' verb that ``jabberctl`` calls too; they are in ``accounts``, ``lists``
and ``everybody``, and what they share is the ``desk``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.api import JID, AccountDeleted, Keyed, Module, Refused, on, operator
from jabberd.modules.administration.accounts import AccountCommands
from jabberd.modules.administration.desk import Desk
from jabberd.modules.administration.everybody import EndCommands, MessageCommands
from jabberd.modules.administration.lists import ListCommands

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.modules.commands import Command

__all__ = ["Administration"]

Rows = list[dict[str, object]]


class Administration(Module, xep=133, version="1.3.0"):
    """Commands for the admins of a domain, about this domain alone.

    Admins are those that the domain's setting ``admins`` names and those that were added by a verb.  What
    concerns the whole server is for those whom the settings of all its domains name.  What a verb refuses
    is told in a note of type ``error`` (XEP-0050 §3.6).
    """

    requires = ("commands", "last")
    noun = "admins"

    added = Keyed("admins", of=bool)  # by bare JID, under the domain

    async def start(self) -> None:
        """Read who was added."""
        self._added = set(await self.added.all(self.domain.jid))
        desk = Desk(self.domain, self.operates)
        self._ends = EndCommands(desk)
        self._commands = (AccountCommands(desk), ListCommands(desk), MessageCommands(desk), self._ends)

    async def stop(self) -> None:
        """A shutdown that waits is off."""
        self._ends.forget()

    @property
    def commands(self) -> Iterable[Command]:
        """See `jabberd.modules.commands.Offers`."""
        for group in self._commands:
            yield from group

    @on(AccountDeleted)
    async def forget(self, event: AccountDeleted) -> None:
        """Whoever gets the name next is somebody else."""
        if event.jid in self._added:
            self._added.discard(event.jid)
            await self.added.change(self.domain.jid, {event.jid: None})

    def reserves(self, jid: JID) -> bool:
        """See `jabberd.modules.registration.Reserves`: one may be named here before there is an account."""
        return self.operates(jid)

    def operates(self, who: JID) -> bool:
        """Whether somebody may administer the domain."""
        return who.bare in self.domain.operators.domain or who.bare in self._added

    @operator("list who may administer a domain with their clients")
    def list(self, domain: JID) -> Rows:  # which says whose verb is meant
        """A row for each, and whether the configuration file says so or an operator did."""
        named = self.domain.operators.domain
        return [
            {"jid": jid, "by": "configuration file" if jid in named else "an operator"}
            for jid in sorted(named | self._added)
        ]

    @operator("let somebody administer a domain with their client")
    async def add(self, domain: JID, jid: JID) -> str:
        """From now on, and after a restart.

        :raises Refused: it is no account, or may do so already.
        """
        if not jid.localpart:
            raise Refused(f"{jid} is not an account; write it like romeo@montague.lit")
        if self.operates(jid):
            raise Refused(f"{jid.bare} is an admin of {domain} already")
        await self.added.put(domain, jid.bare, value=True)
        self._added.add(jid.bare)
        return f"{jid.bare} is an admin of {domain}"

    @operator("take back that somebody may administer a domain")
    async def remove(self, domain: JID, jid: JID) -> str:
        """At once.

        :raises Refused: the configuration file says it, or nobody does.
        """
        if jid.bare in self.domain.operators.domain:
            raise Refused(f"the configuration file names {jid.bare} as an admin of {domain}; change it there")
        if jid.bare not in self._added:
            raise Refused(f"{jid.bare} is no admin of {domain}")
        await self.added.change(domain, {jid.bare: None})
        self._added.discard(jid.bare)
        return f"{jid.bare} is no admin of {domain} any more"
