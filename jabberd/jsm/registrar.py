"""Accounts come and go: for operators, and for their owners."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jabberd.api import JID, AccountCreated, AccountDeleted, Refused
from jabberd.jsm import subscription
from jabberd.jsm.credentials import AccountExists, NoSuchAccount
from jabberd.jsm.manager import SessionManager
from jabberd.jsm.threads import Overloaded
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.scram import InvalidPassword
from jabberd.xmpp.stanza import Stanza
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from jabberd import api
    from jabberd.jsm.account import Account
    from jabberd.jsm.credentials import Accounts

__all__ = ["Registrar", "refusals"]

log = Logger()

_DELETED: Final = StreamError("not-authorized", "the account was deleted")


class Registrar:
    """See `jabberd.api.Registrar`."""

    def __init__(self, manager: SessionManager, accounts: Accounts) -> None:
        self._manager = manager
        self._accounts = accounts

    async def create(self, jid: JID, password: str, *, registered: bool = False) -> None:
        """See `jabberd.api.Registrar`."""
        await _to_its_end(self._create(jid, password, registered=registered))

    async def _create(self, jid: JID, password: str, *, registered: bool) -> None:
        with refusals(jid):
            created = await self._accounts.create(jid.localpart, password, registered=registered)
        self._manager.accounts.drop(created)  # it was known not to exist
        self._manager.fire(AccountCreated(created))

    async def see_that_it_is_free(self, jid: JID) -> None:
        """See `jabberd.api.Registrar`."""
        if await self._accounts.exists(jid.localpart):
            raise Refused(f"{jid} exists already", "conflict")
        held = await self._accounts.names.held(jid.bare)
        if held is not None:
            until = "" if held.until is None else f" until {to_stamp(held.until)}"
            said = f"{jid} was deleted at {to_stamp(held.deleted)}, and its name is kept back{until}"
            way = f"to let somebody else have it all the same: accounts release {jid}"
            raise Refused(f"{said}; {way}", "conflict")

    async def set_password(self, jid: JID, password: str) -> None:
        """See `jabberd.api.Registrar`."""
        with refusals(jid):
            await self._accounts.set_password(jid.localpart, password)

    async def delete(self, jid: JID, last: api.Session | None = None) -> None:
        """See `jabberd.api.Registrar`."""
        await _to_its_end(self._delete(jid, last))

    async def _delete(self, jid: JID, last: api.Session | None) -> None:
        known = await self._accounts.exists(jid.localpart)
        account = await self._manager.account(jid)
        if not known or not account.exists:  # it is being deleted
            raise Refused(f"there is no account {jid}", "item-not-found")
        contacts = list(account.roster.values())
        account.exists = False  # from now on nothing is kept for it any more
        for session in [each for each in account.sessions.values() if each is not last]:
            session.close(_DELETED)
        try:
            with refusals(jid):
                await self._accounts.delete(jid.localpart)
        except BaseException:
            account.exists = True
            raise
        self._left_behind(account)
        for item in contacts:
            for type, _ in subscription.removal(item.state):
                self._manager.route(
                    Stanza.of("presence", sender=account.jid, to=JID.parse(item.jid), type=type)
                )
        self._manager.fire_everywhere(AccountDeleted(account.jid))
        Deferred.fromCoroutine(self._disapproved(account.jid)).addErrback(
            lambda why: log.failure("{jid!r} may still be pre-approved", why, jid=account.jid)
        )

    async def _disapproved(self, jid: JID) -> None:
        for domain in self._manager.hosted:
            if isinstance(domain, SessionManager) and domain.has_accounts:
                await domain.contacts.disapprove(jid)

    def _left_behind(self, account: Account) -> None:
        """Forget it in memory, with whoever came while it was loaded once more before all of it was gone."""
        loaded = self._manager.accounts.get(account.jid)
        self._manager.accounts.drop(account.jid)
        if loaded is not None and loaded is not account:
            loaded.exists = False
            for session in list(loaded.sessions.values()):
                session.close(_DELETED)


def _to_its_end(work: Coroutine[Any, Any, None]) -> Deferred[None]:
    """Whoever cancels it stops waiting for it: what is being stored cannot be called back."""
    result: Deferred[None] = Deferred()
    Deferred.fromCoroutine(work).chainDeferred(result)
    return result


@contextmanager
def refusals(jid: JID) -> Iterator[None]:
    """Say why something cannot be done with an account."""
    try:
        yield
    except AccountExists:
        raise Refused(f"{jid} exists already", "conflict") from None
    except NoSuchAccount:
        raise Refused(f"there is no account {jid}", "item-not-found") from None
    except InvalidPassword as why:
        raise Refused(f"the password cannot be used: {why}", "not-acceptable") from None
    except Overloaded:
        said = "the server has too many passwords to work on; try again later"
        raise Refused(said, "resource-constraint") from None
