"""Commands about accounts and their sessions (XEP-0133 §4.1 to §4.10), and lists of them (§4.13 to §4.22)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jabberd.api import JID, E, Element, Refused, Secret, StanzaError
from jabberd.modules.administration.desk import Desk, form, note, result
from jabberd.modules.commands import Command, Result
from jabberd.xmpp import ns
from jabberd.xmpp.forms import Field, Submission

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterator, Mapping

__all__ = ["AccountCommands"]

#: What a session's presence shows while somebody sits before it; see ``sessions list``.
_ACTIVE: Final = frozenset({"available", "chat", "dnd"})
_MOST: Final = {each: each for each in ("25", "50", "75", "100", "150", "200")}

_ACCOUNT: Final = Field("accountjid", "jid-single", "Account", required=True)
_ACCOUNTS: Final = Field("accountjids", "jid-multi", "Accounts", required=True)
_PASSWORD: Final = Field("password", "text-private", "Password", required=True)
_AGAIN: Final = Field("password-verify", "text-private", "Password, once more", required=True)
_RELEASE: Final = Field(  # named as XEP-0068 §3.4 wants fields of others in a form of the XSF
    "{urn:jabberd:names}release",
    "boolean",
    "Also if it is the name of a deleted account, which is kept back",
    ("false",),
)
_MAX: Final = Field("max_items", "list-single", "How many are shown", ("25",), options=_MOST)


class AccountCommands:
    """Those about accounts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._call = desk.call

    def __iter__(self) -> Iterator[Command]:
        command = self._desk.command
        yield command("add-user", "Add a user", self._add, _ACCOUNT, _PASSWORD, _AGAIN, _RELEASE)
        yield self._for_each("delete-user", "Delete users", "accounts", "delete")
        yield self._for_each("disable-user", "Disable users", "accounts", "disable")
        yield self._for_each("reenable-user", "Re-enable users", "accounts", "enable")
        yield self._for_each("end-user-session", "End users' sessions", "sessions", "kick")
        yield command("change-user-password", "Change a password", self._password, _ACCOUNT, _PASSWORD)
        yield command("get-user-roster", "Show users' rosters", self._rosters, _ACCOUNTS)
        yield command("get-user-lastlogin", "Show users' last login", self._last_login, _ACCOUNTS)
        either = (replace(_ACCOUNT, required=False), replace(_ACCOUNTS, required=False))
        yield command("user-stats", "Show users' statistics", self._statistics, *either)
        yield from self._about("registered", self._registered, "get-registered-users-list")
        yield from self._about("disabled", self._disabled, "get-disabled-users-list")
        yield from self._about("online", self._online, "get-online-users-list")
        yield from self._about("active", self._active, "get-active-users")
        yield from self._about("idle", self._idle, "get-idle-users")

    def _for_each(self, node: str, name: str, noun: str, verb: str) -> Command:
        """A command that is a verb for each of several accounts; a note for each tells how that went.

        Of an account a full JID means the same as its bare one, of a session it means that one alone.
        """

        async def run(filled: Submission) -> Result:
            notes = []
            for jid in filled.jids(_ACCOUNTS.var):
                whom = jid.bare if noun == "accounts" else jid
                try:
                    notes.append(("info", str(await self._call(noun, verb, jid=whom))))
                except Refused as why:
                    notes.append(("error", str(why)))
            return Result(notes=tuple(notes))

        return self._desk.command(node, name, run, _ACCOUNTS)

    def _about(self, who: str, find: Callable[[], Awaitable[list[str]]], node: str) -> Iterator[Command]:
        """Two commands: how many they are, and who they are."""

        async def number(_filled: Submission) -> Result:
            return result(Field(f"{who}usersnum", label=f"{who} users", values=(str(len(await find())),)))

        async def names(filled: Submission) -> Result:
            found, most = await find(), int(filled.text(_MAX.var))
            notes = (("info", f"{len(found) - most} more are not shown"),) if len(found) > most else ()
            return result(Field(f"{who}userjids", "jid-multi", f"{who} users", (*found[:most],)), notes=notes)

        yield self._desk.command(f"get-{who}-users-num", f"Count {who} users", number)
        yield self._desk.command(node, f"List {who} users", names, _MAX)

    async def _add(self, filled: Submission) -> Result:
        """Make an account (§4.1).

        :raises StanzaError: ``conflict``: it exists (§6).
        :raises Refused: the passwords differ, or the name of a deleted account is kept back.
        """
        jid, password = filled.jid(_ACCOUNT.var), filled.text(_PASSWORD.var)
        if password != filled.text(_AGAIN.var):
            raise Refused("the passwords differ")
        if jid.domainpart == self._desk.domain.jid and (await self._desk.domain.account(jid)).exists:
            raise StanzaError("conflict", f"{jid.bare} exists already")
        if filled.flag(_RELEASE.var):
            with suppress(Refused):  # it is not kept back
                await self._call("accounts", "release", jid=jid)
        return note(await self._call("accounts", "create", jid=jid, password=Secret(password)))

    async def _password(self, filled: Submission) -> Result:
        password = Secret(filled.text(_PASSWORD.var))
        return note(await self._call("accounts", "password", jid=filled.jid(_ACCOUNT.var), password=password))

    async def _rosters(self, filled: Submission) -> Result:
        """A result for each account, with its roster inside (§4.8)."""
        forms = []
        for jid in filled.jids(_ACCOUNTS.var):
            items = await self._call("accounts", "roster", jid=jid)
            shown = form(Field(_ACCOUNTS.var, "jid-multi", values=(jid,)))
            shown.append(E(ns.ROSTER, "query", {}, *map(_item, items)))
            forms.append(shown)
        return Result((*forms,))

    async def _last_login(self, filled: Submission) -> Result:
        """The accounts that were ever there, and in the same order since when (§4.9)."""
        logins, notes = {}, []
        for jid in filled.jids(_ACCOUNTS.var):
            try:
                last = (await self._call("accounts", "last", jid=jid))["login"]
            except Refused as why:
                notes.append(("error", str(why)))
                continue
            if last:
                logins[jid] = last
            else:
                notes.append(("info", f"{jid} has never logged in"))
        fields = (
            Field(_ACCOUNTS.var, "jid-multi", values=(*logins,)),
            Field("lastlogin", "text-multi", values=(*logins.values(),)),
        )
        return Result((form(*fields),), (*notes,))

    async def _statistics(self, filled: Submission) -> Result:
        """A result for each account; beside the one of §4.10 there may be several, as in other commands.

        :raises StanzaError: ``not-acceptable``: none is named.
        """
        named = (*filled.jids(_ACCOUNT.var), *filled.jids(_ACCOUNTS.var))
        if not named:
            raise StanzaError("not-acceptable", f"{_ACCOUNT.var} is missing")
        return Result(tuple([await self._described(jid) for jid in dict.fromkeys(map(_bare, named))]))

    async def _described(self, jid: JID) -> Element:
        """Where from and with which resources it is online, and how many contacts it has."""
        known = await self._call("accounts", "show", jid=jid)
        sessions = await self._call("sessions", "list", jid=jid)
        return form(
            Field(_ACCOUNT.var, _ACCOUNT.type, values=(jid,)),
            Field(
                "ipaddresses",
                "text-multi",
                "IP addresses",
                (*dict.fromkeys(each["address"] for each in sessions),),
            ),
            Field("rostersize", label="Roster size", values=(str(known["contacts"]),)),
            Field(
                "onlineresources",
                "text-multi",
                "Resources",
                (*(each["jid"].resourcepart for each in sessions),),
            ),
        )

    # -- who there is -------------------------------------------------------------------------------

    async def _registered(self) -> list[str]:
        return [*await self._call("accounts", "list", domain=self._desk.domain.jid)]

    async def _disabled(self) -> list[str]:
        return [*await self._call("accounts", "disabled", domain=self._desk.domain.jid)]

    async def _online(self, states: Container[str] | None = None) -> list[str]:
        """Who has a session, or one in these states."""
        rows = await self._call("sessions", "list", jid=self._desk.domain.jid)
        return [*dict.fromkeys(row["jid"].bare for row in rows if states is None or row["state"] in states)]

    async def _active(self) -> list[str]:
        return await self._online(_ACTIVE)

    async def _idle(self) -> list[str]:
        """Who is online, but away with all sessions, not available, or waited for."""
        active = set(await self._active())
        return [each for each in await self._online() if each not in active]


def _bare(jid: JID) -> JID:
    return jid.bare


def _item(row: Mapping[str, Any]) -> Element:
    attrs = {"jid": row["jid"], "name": row["name"] or None, "subscription": row["subscription"]}
    return E(ns.ROSTER, "item", attrs, *(E(ns.ROSTER, "group", {}, group) for group in row["groups"]))
