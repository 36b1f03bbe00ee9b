"""Accounts in memory: what their owners stored, who is online.

An account is loaded with *one* query, at the first stanza that needs it, and stays while it has
sessions; others make room for each other in a bounded cache.
"""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from twisted.internet.defer import Deferred, succeed

from jabberd.interfaces import neighbours

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from twisted.python.failure import Failure

    from jabberd import api, interfaces
    from jabberd.jsm.credentials import AccountRecord
    from jabberd.jsm.roster import RosterItem
    from jabberd.jsm.session import Session
    from jabberd.xmpp.jid import JID

T = TypeVar("T")

#: The store of account records: whoever has one exists.
ACCOUNTS = "account"
ROSTER = "roster"


#: The values of a store in which an account has none: most have none in most stores.
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Account:
    """One bare JID of ours, loaded.

    :ivar exists: False for an address that nobody registered.
    :ivar disabled: nobody can log in to it; who disables it says so here, too.
    :ivar created: when it was made; None if it was not, or is anonymous.
    :ivar registered: see `AccountRecord`.
    :ivar anonymous: it ends with its only session, and nothing of it is stored (XEP-0175).
    :ivar stored: the values of its resident stores, ``{store: {key: value}}``, but for those that are empty.
    """

    __slots__ = (
        "__weakref__",
        "anonymous",
        "created",
        "disabled",
        "exists",
        "jid",
        "registered",
        "sessions",
        "stored",
    )

    def __init__(self, jid: JID, *, exists: bool, disabled: bool = False, anonymous: bool = False) -> None:
        self.jid = jid
        self.exists = exists
        self.disabled = disabled
        self.anonymous = anonymous
        self.created: datetime | None = None
        self.registered = False
        self.sessions: dict[str, Session] = {}
        self.stored: dict[str, dict[str, Any]] = {}

    @property
    def roster(self) -> Mapping[str, RosterItem]:
        """Its roster's rows (`jabberd.jsm.roster`), by contact."""
        return self.stored.get(ROSTER, _NOTHING)

    @property
    def available(self) -> list[Session]:
        """Its sessions that have sent presence."""
        return [session for session in self.sessions.values() if session.presence is not None]

    def trusts(self, contact: JID) -> bool:
        """Whether the contact may see this account's presence (subscription *from* or *both*)."""
        item = self.roster.get(contact.bare)
        return item is not None and item.state.shows_user

    def sees(self, contact: JID) -> bool:
        """Whether this account may see the contact's presence (subscription *to* or *both*)."""
        item = self.roster.get(contact.bare)
        return item is not None and item.subscription in ("to", "both")

    def knows(self, contact: JID) -> bool:
        """Whether the contact is in the account's roster, whatever the subscription."""
        item = self.roster.get(contact.bare)
        return item is not None and item.listed

    def groups(self, contact: JID) -> tuple[str, ...]:
        """The roster groups that the contact is in."""
        item = self.roster.get(contact.bare)
        return tuple(item.groups) if item is not None else ()


class AccountCache:
    """The loaded accounts of one domain, at most ``most`` of them beside those that have sessions."""

    def __init__(self, storage: interfaces.Storage, most: int = 10_000) -> None:
        self._storage = storage
        self._most = most
        self._loaded: OrderedDict[str, Account] = OrderedDict()
        self._loading: dict[str, list[Deferred[Account]]] = {}
        self._stale: set[str] = set()  # of those that are being read, who was made or deleted meanwhile
        self._stores = [ACCOUNTS]

    def __iter__(self) -> Iterator[Account]:
        return iter(list(self._loaded.values()))

    def __len__(self) -> int:
        return len(self._loaded)

    def make_resident(self, store: str) -> None:
        """From now on accounts are loaded with their values of that store."""
        if store not in self._stores:
            self._stores.append(store)

    def get(self, jid: str) -> Account | None:
        """The account of a bare JID, if it is loaded."""
        account = self._loaded.get(jid)
        if account is not None and not account.sessions:
            self._loaded.move_to_end(jid)
        return account

    def load(self, jid: JID) -> Deferred[Account]:
        """The account of a bare JID.  Who asks first is answered first; one query serves them all."""
        account = self.get(jid)
        if account is not None:
            return succeed(account)
        answer: Deferred[Account] = Deferred()
        waiting = self._loading.setdefault(jid, [])
        waiting.append(answer)
        if len(waiting) == 1:
            self._read(jid)
        return answer

    def _read(self, jid: JID) -> None:
        query = self._storage.load(jid, self._stores)
        query.addCallbacks(self._found, self._not_read, callbackArgs=(jid,), errbackArgs=(jid,))

    def add(self, account: Account) -> None:
        """Keep an account that was not loaded from the store."""
        self._loaded[account.jid] = account

    def drop(self, jid: str) -> None:
        """Forget what is in memory: the next one who asks reads it anew, and so does who has asked before."""
        self._loaded.pop(jid, None)
        if jid in self._loading:
            self._stale.add(jid)

    def _found(self, values: dict[str, dict[str, object]], jid: JID) -> None:
        if jid in self._stale:
            self._stale.discard(jid)
            self._read(jid)
            return
        record = cast("AccountRecord | None", values.pop(ACCOUNTS).get(""))
        account = Account(jid, exists=record is not None, disabled=bool(record and record.disabled))
        if record is not None:
            account.created, account.registered = record.created, record.registered
        account.stored = {store: kept for store, kept in values.items() if kept}
        self._loaded[jid] = account
        self._make_room()
        for answer in self._loading.pop(jid):
            answer.callback(account)

    def _not_read(self, why: Failure, jid: JID) -> None:
        self._stale.discard(jid)
        for answer in self._loading.pop(jid):
            answer.errback(why)

    def _make_room(self) -> None:
        """Let those go that nobody has asked for the longest and that have no sessions."""
        for _ in range(len(self._loaded) - self._most):
            jid, account = next(iter(self._loaded.items()))
            if account.sessions:
                self._loaded.move_to_end(jid)
            else:
                del self._loaded[jid]


class Residents(Generic[T]):
    """A keyed store whose values are in memory while their account is; see `jabberd.api.Resident`.

    A change is seen in memory at once, so that the next one builds on it; it is undone there if it
    cannot be stored.
    """

    def __init__(self, accounts: AccountCache, keyed: interfaces.Keyed[T], name: str) -> None:
        self._accounts = accounts
        self._keyed = keyed
        self._name = name
        accounts.make_resident(name)

    def of(self, account: api.Account) -> Mapping[str, T]:
        return account.stored.get(self._name, _NOTHING)  # type: ignore[attr-defined,no-any-return]  # one of ours

    def get(self, owner: str, key: str = "") -> Deferred[T | None]:
        account = self._accounts.get(owner)
        return self._keyed.get(owner, key) if account is None else succeed(self.of(account).get(key))

    def all(self, owner: str) -> Deferred[dict[str, T]]:
        account = self._accounts.get(owner)
        return self._keyed.all(owner) if account is None else succeed(dict(self.of(account)))

    def put(self, owner: str, key: str, value: T) -> Deferred[None]:
        return self.change(owner, {key: value})

    def change(self, owner: str, changes: Mapping[str, T | None]) -> Deferred[None]:
        account = self._accounts.get(owner)
        if account is None:
            return self._keyed.change(owner, changes)
        undo = self._apply(account, changes)
        if account.anonymous:
            return succeed(None)
        return self._keyed.change(owner, changes).addErrback(self._undo, account, undo)

    def owners(self, domain: str) -> Deferred[list[str]]:
        return self._keyed.owners(domain)

    def having(self, domain: str, key: str) -> Deferred[list[str]]:
        return self._keyed.having(domain, key)

    def page(
        self, domain: str, after: str = "", limit: int = 1000, *, before: str = "", last: bool = False
    ) -> Deferred[dict[str, T]]:
        return self._keyed.page(domain, after, limit, before=before, last=last)

    def some(
        self, owner: str, *, after: str = "", before: str = "", limit: int = 1000, last: bool = False
    ) -> Deferred[dict[str, T]]:
        account = self._accounts.get(owner)
        if account is not None and account.anonymous:  # nothing of it is stored
            return succeed(neighbours(self.of(account), after, before, limit, last=last))
        return self._keyed.some(owner, after=after, before=before, limit=limit, last=last)

    def _undo(self, why: Failure, account: Account, undo: Mapping[str, T | None]) -> Failure:
        self._apply(account, undo)
        return why

    def _apply(self, account: Account, changes: Mapping[str, T | None]) -> dict[str, T | None]:
        """Make the changes in memory; returns those that would take them back."""
        return _apply(account.stored.setdefault(self._name, {}), changes)


def _apply(values: dict[str, T], changes: Mapping[str, T | None]) -> dict[str, T | None]:
    undo = {key: values.get(key) for key in changes}
    for key, value in changes.items():
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
    return undo
