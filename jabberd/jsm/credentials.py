"""Accounts and their credentials: SCRAM keys only, never a password."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from twisted.internet.defer import DeferredLock

from jabberd.jsm.account import ACCOUNTS
from jabberd.jsm.names import NAMES, Names
from jabberd.jsm.threads import Overloaded
from jabberd.xmpp.errors import SASLFailure
from jabberd.xmpp.jid import JID, prepare_localpart
from jabberd.xmpp.scram import HASHES, ITERATIONS, ScramKeys, derive, stand_in, verify_password

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from jabberd.interfaces import Storage
    from jabberd.jsm.names import DeletedName

T = TypeVar("T")

__all__ = ["AccountExists", "AccountRecord", "Accounts", "NoSuchAccount"]

#: Which keys a PLAIN password is compared with.
_CHECKED: Final = "SHA-256"
_LEAST_SECRET: Final = 16


class AccountExists(Exception):  # noqa: N818  # the operator asked for what there is already
    """There is an account of that name; the argument is its bare JID."""


class NoSuchAccount(Exception):  # noqa: N818  # as above
    """There is no account of that name; the argument is the bare JID that it would have."""


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """What is stored of an account, under its bare JID.

    :ivar keys: one for each hash function.
    :ivar disabled: since when nobody can log in to it; None if one can.
    :ivar registered: whether somebody made it for themselves, whom nobody here need know.
    """

    keys: tuple[ScramKeys, ...]
    created: datetime
    disabled: datetime | None = None
    registered: bool = False


class Run(Protocol):
    """Does work where it may take its time, as `BoundedThreads.run` does."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]: ...


def _now() -> datetime:
    return datetime.now(UTC)


class Accounts:
    """The accounts of one domain; implements `jabberd.xmpp.identity.Credentials`.

    Localparts are prepared here; one that cannot be raises `jabberd.xmpp.jid.InvalidJID`.

    :param secret: from which the keys of unknown accounts come; at least 16 octets, kept over restarts.
    :param run: where PBKDF2 is computed.
    :param iterations: for new keys.
    :ivar names: those of accounts that were deleted.
    """

    def __init__(
        self,
        domain: JID,
        storage: Storage,
        run: Run,
        secret: bytes,
        *,
        iterations: int = ITERATIONS,
        now: Callable[[], datetime] = _now,
    ) -> None:
        if len(secret) < _LEAST_SECRET:
            raise ValueError(f"a secret of {len(secret)} octets can be guessed")
        self._domain = domain
        self._storage = storage
        self._store = storage.keyed(ACCOUNTS, AccountRecord)
        self.names = Names(domain, storage, now)
        self._run = run
        self._secret = secret
        self._iterations = iterations
        self._now = now
        self._changing = DeferredLock()  # what is read must still be so when it is written back

    async def keys(self, username: str, hash_name: str) -> ScramKeys:
        """See `jabberd.interfaces.Credentials.keys`."""
        owner = self._owner(username)
        unknown = stand_in(self._secret, owner, hash_name, self._iterations)
        record = await self._store.get(owner)
        if record is None or record.disabled:
            return unknown
        return next((keys for keys in record.keys if keys.hash_name == hash_name), unknown)

    async def check(self, username: str, password: str) -> bool:
        """See `jabberd.interfaces.Credentials.check`.

        :raises SASLFailure: ``temporary-auth-failure`` while too many passwords wait to be checked.
        """
        keys = await self.keys(username, _CHECKED)
        try:
            return await self._run(partial(verify_password, keys, password))
        except Overloaded:
            raise SASLFailure("temporary-auth-failure") from None

    async def record(self, localpart: str) -> AccountRecord | None:
        """What is stored of an account; None if there is none."""
        return await self._store.get(self._owner(localpart))

    async def exists(self, localpart: str) -> bool:
        """Whether there is such an account, disabled or not."""
        return await self.record(localpart) is not None

    async def create(self, localpart: str, password: str, *, registered: bool = False) -> JID:
        """Make an account, which has nothing: what came late for one that was deleted goes as well.

        :param registered: see `AccountRecord`.
        :returns: its bare JID.
        :raises AccountExists: and leaves that account alone; or the name of a deleted one is kept back.
        :raises InvalidPassword: see `jabberd.xmpp.scram.prepare_password`.
        :raises Overloaded: see `BoundedThreads.run`.
        """
        owner = self._owner(localpart)
        await self._see_that_it_is_free(owner)
        keys = await self._derived(password)  # others need not wait for it
        async with self._changing:
            await self._see_that_it_is_free(owner)
            record = AccountRecord(keys, self._now(), registered=registered)
            await self._storage.save(owner, {ACCOUNTS: {"": record}}, anew=True)
        return JID.parse(owner)

    async def _see_that_it_is_free(self, owner: str) -> None:
        found = await self._storage.load(owner, (ACCOUNTS, NAMES))  # one look: both take the same time
        deleted = cast("DeletedName | None", found[NAMES].get(""))
        if found[ACCOUNTS] or self.names.judged(owner, deleted) is not None:
            raise AccountExists(owner)

    async def set_password(self, localpart: str, password: str) -> None:
        """Replace the keys; sessions that are open stay open.

        :raises NoSuchAccount: see also `create`.
        """
        known = await self.record(localpart)
        keys = await self._derived(password)  # somebody else may have got the name meanwhile
        if known is None:
            raise NoSuchAccount(self._owner(localpart))
        await self._change(localpart, lambda record: replace(record, keys=keys), known.created)

    async def disable(self, localpart: str) -> None:
        """Let nobody log in any more, and keep everything.

        :raises NoSuchAccount:
        """
        await self._change(localpart, lambda record: replace(record, disabled=record.disabled or self._now()))

    async def enable(self, localpart: str) -> None:
        """Undo `disable`.

        :raises NoSuchAccount:
        """
        await self._change(localpart, lambda record: replace(record, disabled=None))

    async def delete(self, localpart: str) -> None:
        """Remove the account with everything it owns, all at once or nothing; its name is kept back.

        :raises NoSuchAccount:
        """
        owner = self._owner(localpart)
        async with self._changing:
            await self.names.sweep()
            if await self._store.get(owner) is None:
                raise NoSuchAccount(owner)
            await self._storage.save(owner, self.names.left(), anew=True)

    async def disabled(self) -> list[str]:
        """The bare JIDs of those that are disabled, sorted; every record is read for it, a page at a time."""
        found: list[str] = []
        page = await self._store.page(self._domain)
        while page:
            found += [owner for owner, record in page.items() if record.disabled]
            page = await self._store.page(self._domain, after=[*page][-1])
        return sorted(found)

    async def list(self) -> list[str]:
        """The bare JIDs of all accounts, sorted."""
        return await self._store.owners(self._domain)

    async def _change(
        self,
        localpart: str,
        change: Callable[[AccountRecord], AccountRecord],
        made: datetime | None = None,
    ) -> None:
        """Replace a record by what ``change`` makes of it.

        :param made: when the account was made that is meant; None: whenever.
        """
        owner = self._owner(localpart)
        async with self._changing:
            record = await self._store.get(owner)
            if record is None or made not in (None, record.created):
                raise NoSuchAccount(owner)
            await self._store.put(owner, "", change(record))

    async def _derived(self, password: str) -> tuple[ScramKeys, ...]:
        return await self._run(partial(_derive_each, password, self._iterations))

    def _owner(self, localpart: str) -> str:
        return f"{prepare_localpart(localpart)}@{self._domain}"


def _derive_each(password: str, iterations: int) -> tuple[ScramKeys, ...]:
    return tuple(derive(password, hash_name, iterations=iterations) for hash_name in HASHES)
