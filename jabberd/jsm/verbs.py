"""What operators can do with the accounts of a domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.api import JID, Refused, Secret, operator
from jabberd.jsm import roster
from jabberd.jsm.registrar import Registrar, refusals
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from jabberd.jsm.credentials import Accounts
    from jabberd.jsm.manager import SessionManager

Names = list[str]
Rows = list[dict[str, object]]


class AccountVerbs:
    """``accounts ...`` for one domain."""

    def __init__(self, manager: SessionManager, accounts: Accounts) -> None:
        self._manager = manager
        self._accounts = accounts
        self._registrar = Registrar(manager, accounts)

    @operator("make an account")
    async def create(self, jid: JID, password: Secret) -> str:
        """Make an account; its password is asked for."""
        _localpart(jid)
        await self._registrar.see_that_it_is_free(jid)
        await self._registrar.create(jid, password)
        return f"{jid} was made"

    @operator("list the accounts of a domain")
    async def list(self, domain: JID) -> list[str]:  # noqa: ARG002  # it says whose verb is meant
        """The bare JIDs of all accounts, sorted."""
        return await self._accounts.list()

    @operator("list the accounts that are disabled")
    async def disabled(self, domain: JID) -> Names:  # noqa: ARG002  # as above
        """Their bare JIDs, sorted."""
        return await self._accounts.disabled()

    @operator("set another password; open sessions stay")
    async def password(self, jid: JID, password: Secret) -> str:
        """Replace the password, which is asked for."""
        _localpart(jid)
        await self._registrar.set_password(jid, password)
        return f"{jid} has a new password"

    @operator("let nobody log in to an account, and end its sessions")
    async def disable(self, jid: JID) -> str:
        """Keep everything of it, messages that still come included, until it is enabled again."""
        with refusals(jid):
            await self._accounts.disable(_localpart(jid))
        account = await self._manager.account(jid)
        account.disabled = True
        for session in list(account.sessions.values()):
            session.close(StreamError("not-authorized", "the account is disabled"))
        return f"{jid} is disabled"

    @operator("undo a disable")
    async def enable(self, jid: JID) -> str:
        """Let its owner log in again."""
        with refusals(jid):
            await self._accounts.enable(_localpart(jid))
        (await self._manager.account(jid)).disabled = False
        return f"{jid} is enabled"

    @operator("show what is known of an account")
    async def show(self, jid: JID) -> dict[str, object]:
        """When it was made, whether it is disabled and since when, who of it is online."""
        record = await self._accounts.record(_localpart(jid))
        if record is None:
            raise Refused(f"there is no account {jid}")
        account = await self._manager.account(jid)
        return {
            "jid": jid,
            "created": to_stamp(record.created),
            "disabled": record.disabled and to_stamp(record.disabled),
            "sessions": [session.jid for session in account.sessions.values()],
            "contacts": len(roster.listed(account.roster)),
        }

    @operator("list the contacts of an account")
    async def roster(self, jid: JID) -> Rows:
        """A row for each contact that its clients see, by JID."""
        if not await self._accounts.exists(_localpart(jid)):
            raise Refused(f"there is no account {jid}")
        items = roster.listed((await self._manager.account(jid)).roster)
        return [
            {
                "jid": item.jid,
                "name": item.name,
                "subscription": item.subscription,
                "groups": [*item.groups],
            }
            for item in sorted(items, key=lambda item: item.jid)
        ]

    @operator("delete an account with everything it owns")
    async def delete(self, jid: JID) -> str:
        """End its sessions, end its subscriptions, and remove all that is stored of it."""
        _localpart(jid)
        await self._registrar.delete(jid)
        return f"{jid} is deleted"

    @operator("list the names of deleted accounts that are kept back")
    async def kept(self, domain: JID) -> Rows:  # noqa: ARG002  # as above
        """A row for each, by name: nobody can make an account of it, unless it is released."""
        return [
            {
                "jid": held.jid,
                "deleted": to_stamp(held.deleted),
                "until": "forever" if held.until is None else to_stamp(held.until),
            }
            for held in await self._accounts.names.list()
        ]

    @operator("let anybody have the name of a deleted account that is kept back")
    async def release(self, jid: JID) -> str:
        """Whoever makes an account of it may be taken for who had it.

        :raises Refused: it is not kept back.
        """
        _localpart(jid)
        if await self._accounts.names.release(jid) is None:
            raise Refused(f"the name of {jid} is not kept back")
        return f"anybody can have the name of {jid}"


def _localpart(jid: JID) -> str:
    if not jid.localpart or jid.resourcepart:
        raise Refused(f"{jid} is not an account; write it like romeo@montague.lit")
    return jid.localpart
