"""XEP-0133: service administration with any client, by ad-hoc commands.

Each command calls the operators' verb that ``jabberctl`` calls too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred

from jabberd.api import JID, E, Element, Module, Refused, Secret, StanzaError
from jabberd.modules.commands import Command, Result
from jabberd.xmpp import ns
from jabberd.xmpp.forms import Field, Form, Submission

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping

    from twisted.internet.interfaces import IDelayedCall

NS: Final = "http://jabber.org/protocol/admin"

#: What a session's presence shows while somebody sits before it; see ``sessions list``.
_ACTIVE: Final = frozenset({"available", "chat", "dnd"})
_MOST: Final = {each: each for each in ("25", "50", "75", "100", "150", "200")}
_DELAYS: Final = {
    "0": "At once",
    "30": "30 seconds",
    "60": "1 minute",
    "120": "2 minutes",
    "300": "5 minutes",
}

_ACCOUNT: Final = Field("accountjid", "jid-single", "Account", required=True)
_ACCOUNTS: Final = Field("accountjids", "jid-multi", "Accounts", required=True)
_PASSWORD: Final = Field("password", "text-private", "Password", required=True)
_AGAIN: Final = Field("password-verify", "text-private", "Password, once more", required=True)
_TEXT: Final = Field("announcement", "text-multi", "What everybody is told", required=True)
_WARNING: Final = Field("announcement", "text-multi", "What everybody is told at once")
_DELAY: Final = Field("delay", "list-single", "How long from now", ("30",), options=_DELAYS)
_MAX: Final = Field("max_items", "list-single", "How many are shown", ("25",), options=_MOST)


class Administration(Module, xep=133, version="1.3.0"):
    """Commands for the accounts that the domain's setting ``admins`` names, about this domain alone.

    What concerns the whole server is for those who are admins of all its domains.  What a verb refuses
    is told in a note of type ``error`` (XEP-0050 §3.6).
    """

    requires = ("commands", "last")
    _end: IDelayedCall | None = None

    async def stop(self) -> None:
        """A shutdown that waits is off."""
        self._forget_end()

    @property
    def commands(self) -> Iterable[Command]:
        """See `jabberd.modules.commands.Offers`."""
        yield self._command("add-user", "Add a user", self._add, _ACCOUNT, _PASSWORD, _AGAIN)
        yield self._for_each("delete-user", "Delete users", "accounts", "delete")
        yield self._for_each("disable-user", "Disable users", "accounts", "disable")
        yield self._for_each("reenable-user", "Re-enable users", "accounts", "enable")
        yield self._for_each("end-user-session", "End users' sessions", "sessions", "kick")
        yield self._command("change-user-password", "Change a password", self._password, _ACCOUNT, _PASSWORD)
        yield self._command("get-user-roster", "Show users' rosters", self._rosters, _ACCOUNTS)
        yield self._command("get-user-lastlogin", "Show users' last login", self._last_login, _ACCOUNTS)
        yield self._command("user-stats", "Show a user's statistics", self._statistics, _ACCOUNT)
        yield from self._about("registered", self._registered, "get-registered-users-list")
        yield from self._about("disabled", self._disabled, "get-disabled-users-list")
        yield from self._about("online", self._online, "get-online-users-list")
        yield from self._about("active", self._active, "get-active-users")
        yield from self._about("idle", self._idle, "get-idle-users")
        yield self._command("announce", "Announce something to everybody online", self._announce, _TEXT)
        yield self._command("shutdown", "Shut the server down", self._shutdown, _DELAY, _WARNING, server=True)

    # -- kinds of commands --------------------------------------------------------------------------

    def _command(
        self,
        node: str,
        name: str,
        run: Callable[[Submission], Awaitable[Result]],
        *fields: Field,
        server: bool = False,
    ) -> Command:
        """A command with a form of these fields; without fields it runs at once."""

        async def told(_who: JID, filled: Submission) -> Result:
            try:
                return await run(filled)
            except Refused as why:
                return Result(notes=(("error", str(why)),))

        form = Form(NS, fields, name, "Fill in this form and send it.")
        allowed = self._operates_server if server else self._operates
        return Command(f"{NS}#{node}", name, allowed, told, (form,) if fields else ())

    def _for_each(self, node: str, name: str, noun: str, verb: str) -> Command:
        """A command that is a verb for each of several accounts; a note for each tells how that went."""

        async def run(filled: Submission) -> Result:
            notes = []
            for jid in filled.jids(_ACCOUNTS.var):
                try:
                    notes.append(("info", str(await self._call(noun, verb, jid=jid))))
                except Refused as why:
                    notes.append(("error", str(why)))
            return Result(notes=tuple(notes))

        return self._command(node, name, run, _ACCOUNTS)

    def _about(self, who: str, find: Callable[[], Awaitable[list[str]]], node: str) -> Iterator[Command]:
        """Two commands: how many they are, and who they are."""

        async def number(_filled: Submission) -> Result:
            return _result(Field(f"{who}usersnum", label=f"{who} users", values=(str(len(await find())),)))

        async def names(filled: Submission) -> Result:
            found, most = await find(), int(filled.text(_MAX.var))
            notes = (("info", f"{len(found) - most} more are not shown"),) if len(found) > most else ()
            return _result(
                Field(f"{who}userjids", "jid-multi", f"{who} users", (*found[:most],)), notes=notes
            )

        yield self._command(f"get-{who}-users-num", f"Count {who} users", number)
        yield self._command(node, f"List {who} users", names, _MAX)

    def _operates(self, who: JID) -> bool:
        return who.bare in self.domain.operators.domain

    def _operates_server(self, who: JID) -> bool:
        return who.bare in self.domain.operators.server

    async def _call(self, noun: str, verb: str, **arguments: object) -> Any:
        """Have an operators' verb do it, for this domain.

        :raises Refused: it cannot be done, or is about another domain.
        """
        for value in arguments.values():
            if isinstance(value, JID) and value.domainpart != self.domain.jid:
                raise Refused(f"{value} is not at {self.domain.jid}")
        return await self.domain.operators.call(noun, verb, arguments)

    # -- accounts -----------------------------------------------------------------------------------

    async def _add(self, filled: Submission) -> Result:
        """Make an account (§4.1).

        :raises StanzaError: ``not-acceptable``: the passwords differ; ``conflict``: it exists.
        """
        jid, password = filled.jid(_ACCOUNT.var), filled.text(_PASSWORD.var)
        if password != filled.text(_AGAIN.var):
            raise StanzaError("not-acceptable", "the passwords differ")
        if jid.domainpart == self.domain.jid and (await self.domain.account(jid)).exists:
            raise StanzaError("conflict", f"{jid.bare} exists already")
        return _note(await self._call("accounts", "create", jid=jid, password=Secret(password)))

    async def _password(self, filled: Submission) -> Result:
        password = Secret(filled.text(_PASSWORD.var))
        return _note(
            await self._call("accounts", "password", jid=filled.jid(_ACCOUNT.var), password=password)
        )

    async def _rosters(self, filled: Submission) -> Result:
        """A result for each account, with its roster inside (§4.8)."""
        forms = []
        for jid in filled.jids(_ACCOUNTS.var):
            items = await self._call("accounts", "roster", jid=jid)
            form = _form(Field(_ACCOUNTS.var, "jid-multi", values=(jid,)))
            form.append(E(ns.ROSTER, "query", {}, *map(_item, items)))
            forms.append(form)
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
        return Result((_form(*fields),), (*notes,))

    async def _statistics(self, filled: Submission) -> Result:
        """Where from and with which resources it is online, and how many contacts it has (§4.10)."""
        jid = filled.jid(_ACCOUNT.var).bare
        known = await self._call("accounts", "show", jid=jid)
        sessions = await self._call("sessions", "list", jid=jid)
        return _result(
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
        return [*await self._call("accounts", "list", domain=self.domain.jid)]

    async def _disabled(self) -> list[str]:
        return [*await self._call("accounts", "disabled", domain=self.domain.jid)]

    async def _online(self, states: Container[str] | None = None) -> list[str]:
        """Who has a session, or one in these states."""
        rows = await self._call("sessions", "list", jid=self.domain.jid)
        return [*dict.fromkeys(row["jid"].bare for row in rows if states is None or row["state"] in states)]

    async def _active(self) -> list[str]:
        return await self._online(_ACTIVE)

    async def _idle(self) -> list[str]:
        """Who is online, but away with all sessions, not available, or waited for."""
        active = await self._active()
        return [each for each in await self._online() if each not in active]

    # -- everybody ----------------------------------------------------------------------------------

    async def _announce(self, filled: Submission) -> Result:
        text = filled.text(_TEXT.var)
        return _note(await self._call("", "announce", text=text, domain=self.domain.jid))

    async def _shutdown(self, filled: Submission) -> Result:
        """Another one takes the place of one that waits; see also `stop`."""
        text, seconds = filled.text(_WARNING.var), int(filled.text(_DELAY.var))
        told = await self._call("", "announce", text=text) if text else "nobody was told"
        self._forget_end()
        self._end = self.domain.clock.callLater(seconds, self._shut_down)
        return _note(f"the server ends in {seconds} s; {told}")

    def _shut_down(self) -> None:
        ending = Deferred.fromCoroutine(self._call("", "shutdown"))
        ending.addErrback(lambda why: self.log.failure("the server did not end", why))

    def _forget_end(self) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()


def _note(said: object) -> Result:
    return Result(notes=(("info", str(said)),))


def _form(*fields: Field) -> Element:
    return Form(NS, fields).element("result")


def _result(*fields: Field, notes: tuple[tuple[str, str], ...] = ()) -> Result:
    return Result((_form(*fields),), notes)


def _item(row: Mapping[str, Any]) -> Element:
    attrs = {"jid": row["jid"], "name": row["name"] or None, "subscription": row["subscription"]}
    return E(ns.ROSTER, "item", attrs, *(E(ns.ROSTER, "group", {}, group) for group in row["groups"]))
