"""Shared contact groups: a school class, a team, in the rosters of all its members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from jabberd.api import (
    JID,
    AccountDeleted,
    Keyed,
    Module,
    Refused,
    Settings,
    StanzaError,
    on,
    operator,
)

if TYPE_CHECKING:
    from jabberd.api import Account


Rows = list[dict[str, object]]

_LONGEST: Final = 200  # characters of a group's name


@dataclass(frozen=True)
class Group:
    """Who is in a group: bare JIDs of this domain, in the order in which they came."""

    members: tuple[str, ...] = ()


class Groups(Module):
    """Keeps every two members of a group in each other's rosters, with presence both ways.

    The contacts are like any others (RFC 6121 §2): their owners may rename, regroup and remove them.
    """

    counted = ("limit",)

    class Config(Settings):
        """How large a group may get.

        :ivar limit: members; each has a contact for each other one.
        """

        limit: Annotated[int, Meta(ge=2)] = 200

    config: Config

    kept = Keyed("groups", of=Group)

    @operator("put an account into a shared group, which is made if there is none")
    async def add(self, jid: JID, group: str) -> str:
        """Every member gets it as a contact, and it every member.

        :raises Refused: there is no such account, the group is full, or a roster is.
        """
        if not group.strip() or len(group) > _LONGEST:
            raise Refused(f"a group's name has between 1 and {_LONGEST} characters")
        account = await self._account(jid)
        members = await self._members(group)
        if account.jid not in members:
            if len(members) >= self.config.limit:
                self.met["limit"] += 1
                raise Refused(f"{group} has {len(members)} members already; see the module's limit")
            members = (*members, account.jid)
            await self.kept.put(self.domain.jid, group, Group(members=members))
        for member in members:
            if member != account.jid:
                await self._introduce(account, await self.domain.account(JID.parse(member)), group)
        return f"{account.jid} is in {group}, with {len(members) - 1} others"

    @operator("take an account out of a shared group")
    async def remove(self, jid: JID, group: str) -> str:
        """The others lose it as a contact, and it them, unless they are in another group of the roster.

        :raises Refused: it is not in it.
        """
        members = await self._members(group)
        if jid.bare not in members:
            raise Refused(f"{jid.bare} is not in {group}")
        left = tuple(member for member in members if member != jid.bare)
        await self.kept.change(self.domain.jid, {group: Group(members=left) if left else None})
        account = await self.domain.account(jid)
        for member in left:
            other = await self.domain.account(JID.parse(member))
            await self.domain.contacts.unshare(account, other.jid, group)
            await self.domain.contacts.unshare(other, account.jid, group)
        return f"{jid.bare} is no longer in {group}"

    @operator("list the shared groups of a domain")
    async def list(self) -> Rows:
        """A row for each, by name."""
        kept = await self.kept.all(self.domain.jid)
        return [{"group": name, "members": [*group.members]} for name, group in sorted(kept.items())]

    @on(AccountDeleted)
    async def forget(self, event: AccountDeleted) -> None:
        """Who does not exist is in no group, and no contact of those who are in it for that reason alone."""
        kept = await self.kept.all(self.domain.jid)
        changes = {
            name: Group(members=tuple(each for each in group.members if each != event.jid))
            for name, group in kept.items()
            if event.jid in group.members
        }
        await self.kept.change(
            self.domain.jid, {name: group if group.members else None for name, group in changes.items()}
        )
        for name, group in changes.items():
            for member in group.members:
                other = await self.domain.account(JID.parse(member))
                await self.domain.contacts.unshare(other, event.jid, name)

    async def _introduce(self, one: Account, other: Account, group: str) -> None:
        """To each other; then they see each other."""
        contacts = self.domain.contacts
        try:
            await contacts.share(one, other.jid, group)
            await contacts.share(other, one.jid, group)
        except StanzaError as error:
            raise Refused(f"{one.jid} and {other.jid} cannot share a group: {error.text}") from None
        contacts.show(one, other.jid)
        contacts.show(other, one.jid)

    async def _members(self, group: str) -> tuple[str, ...]:
        known = await self.kept.get(self.domain.jid, group)
        return known.members if known else ()

    async def _account(self, jid: JID) -> Account:
        account = await self.domain.account(jid)
        if not account.exists:
            raise Refused(f"there is no account {jid}")
        return account
