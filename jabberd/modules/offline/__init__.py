"""XEP-0160: messages wait for somebody who is not there.

Each is delivered with a note of when it came (XEP-0203).
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from hashlib import sha256
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, TypeVar, runtime_checkable

from msgspec import Meta
from twisted.internet.defer import Deferred, fail, succeed

from jabberd.api import (
    Account,
    Archive,
    BecameAvailable,
    Element,
    Module,
    Session,
    Settings,
    Size,
    Stage,
    Stanza,
    StanzaError,
    StorageError,
    filters,
    on,
    undelivered,
)
from jabberd.modules.offline.emptied import Emptied
from jabberd.modules.offline.loads import Load, Loads
from jabberd.modules.offline.under_way import UnderWay
from jabberd.xmpp import ns
from jabberd.xmpp.element import escape_attribute
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from twisted.python.failure import Failure

    from jabberd.api import JID
    from jabberd.interfaces import ArchiveRow
    from jabberd.modules.offline.under_way import Given

T = TypeVar("T")

DELAY: Final = f"{{{ns.DELAY}}}delay"
_AGAIN: Final = 1.0  # seconds until a storage that failed is asked again
BATCH: Final = 100  #: messages that are read, sent and removed at a time


@runtime_checkable
class Waits(Protocol):
    """A module in whose own store messages can wait, too: they are not stored twice."""

    def wait(self, stanza: Stanza, account: Account) -> Deferred[None] | None:
        """Store a message until it is `taken`; None: it does not belong there."""

    async def waiting(self, account: Account, limit: int) -> list[ArchiveRow]:
        """The oldest that wait, marked as such."""

    def size_waiting(self, owner: JID) -> Deferred[tuple[int, int]]:
        """How many wait, and how many bytes they take."""

    def taken(self, account: Account, ids: Iterable[int]) -> Deferred[None]:
        """These have another home."""


class Offline(Module, xep=160, version="1.0.1"):
    """Stores messages for those who are offline, and delivers them in order once they are back."""

    after = ("archive",)
    features = ("msgoffline",)
    replaceable = False  # two that deliver to one account would deliver twice
    counted = ("limit", "size")

    class Config(Settings):
        """What may be stored.

        :ivar limit: the most messages that wait for one account, ``size`` together; more are refused.
        """

        limit: Annotated[int, Meta(ge=1)] = 500
        size: Size = 10 << 20

    config: Config

    messages = Archive("offline")

    async def start(self) -> None:
        """Know nothing yet of what waits."""
        self._loads = Loads(self._count)
        self._emptied = Emptied()
        self._news: dict[str, bool] = {}  # of accounts being delivered to: whether to look again
        #: Of these accounts: row and identity of the payload, by the hash of a stanza with its note.
        self._seen: dict[str, dict[bytes, tuple[int, int]]] = {}
        self._under_way: defaultdict[str, UnderWay] = defaultdict(UnderWay)

    @property
    def _others(self) -> Sequence[Waits]:
        """Where else messages may wait, as it is now: modules come and go."""
        return self.domain.having(Waits)

    # -- while nobody is there ----------------------------------------------------------------------

    @undelivered
    def keep(self, stanza: Stanza, account: Account) -> Deferred[None]:
        """Store a message; fires when it is durable.

        The messages of one account are stored in the order in which they came, also while its older
        ones are still being counted.  Fails with ``service-unavailable`` if too much waits (§2), with
        `StorageError` if it cannot be stored or the storage does not tell how much waits.  One that a
        client was sent and did not take stays where it was.
        """
        owner = account.jid
        if owner in self._under_way and self._under_way[owner].returned(stanza):
            return succeed(None)
        if owner in self._seen:
            self._unseen(stanza, self._seen[owner])
        load = self._loads.get(owner)
        if load is None:
            counted = self._loads.counted(owner)  # perhaps it is known until now that nothing waits
            self._emptied.storing(owner)
            kept = counted.addCallback(self._store, stanza, account)
        else:
            self._emptied.storing(owner)
            kept = self._store(load, stanza, account)
        return kept.addBoth(self._stored, owner)

    @staticmethod
    def _unseen(stanza: Stanza, seen: dict[bytes, tuple[int, int]]) -> None:
        """What comes back though its row is gone is no second copy, when it is read again."""
        digest = _digest(stanza)
        if digest in seen and seen[digest][1] == id(stanza.payload):
            del seen[digest]

    def still_stored(self, stanza: Stanza, account: Account) -> bool:
        """See `jabberd.modules.sm.Stores`."""
        return account.jid in self._under_way and stanza in self._under_way[account.jid]

    def _store(self, load: Load, stanza: Stanza, account: Account) -> Deferred[None]:
        if not account.exists:  # any more: whoever gets its name later is somebody else
            return fail(StanzaError("service-unavailable"))
        size = len(stanza.payload)
        if load.count >= self.config.limit or load.size + size > self.config.size:
            self.met["limit" if load.count >= self.config.limit else "size"] += 1
            return fail(StanzaError("service-unavailable"))
        load.count += 1
        load.size += size
        return self._append(stanza, account)

    def _stored(self, outcome: T, owner: str) -> T:
        self._emptied.stored(owner)
        return outcome

    def _append(self, stanza: Stanza, account: Account) -> Deferred[None]:
        appended, known = self._wait(stanza, account), (account,)
        return appended.addCallbacks(self._appended, self._not_appended, known, errbackArgs=known)

    def _wait(self, stanza: Stanza, account: Account) -> Deferred[Any]:
        for each in self._others:
            waits = each.wait(stanza, account)
            if waits is not None:
                return waits
        peer = stanza.sender.bare if stanza.sender else ""
        return self.messages.append(account.jid, peer, self.now(), stanza.to_standalone())

    def _appended(self, _: object, account: Account) -> None:
        if _receiver(account) or account.jid in self._under_way:  # came while the message was being stored
            delivered = Deferred.fromCoroutine(self._deliver(account))
            delivered.addErrback(lambda why: self.log.failure("messages were not delivered", why))

    def _not_appended(self, why: Failure, account: Account) -> Failure:
        self._loads.forget(account.jid)
        return why

    async def _count(self, owner: JID) -> Load:
        """Fails with `StorageError` if the storage does not tell."""
        load = Load()
        if owner in self._emptied:
            return load
        try:
            for found in [self.messages.size(owner), *(each.size_waiting(owner) for each in self._others)]:
                count, size = await found
                load.count += count
                load.size += size
        except Exception:  # noqa: BLE001  # whatever it is, those who wait for this are told
            self.log.failure("the messages of {owner!r} cannot be counted", owner=owner)
            raise StorageError("what waits cannot be counted") from None
        return load

    # -- when somebody is back ----------------------------------------------------------------------

    @on(BecameAvailable)
    def welcome(self, event: BecameAvailable) -> Awaitable[None] | None:
        """Deliver what came in the meantime (§2)."""
        owner = event.account.jid
        idle = owner in self._emptied and owner not in self._under_way and owner not in self._news
        return None if idle else self._deliver(event.account)

    async def _deliver(self, account: Account) -> None:
        """Deliver what waits: once at a time, or messages would be sent twice; another call looks again."""
        owner = account.jid
        if owner in self._news:
            self._news[owner] = True
            return
        self._news[owner] = True
        try:
            while self._news[owner]:
                self._news[owner] = False
                await self._empty(account)
        except StorageError:
            self.log.failure("what waits for {owner!r} waits for the storage", owner=owner)
            self.domain.clock.callLater(_AGAIN, self._appended, None, account)
        finally:
            del self._news[owner]
            self._seen.pop(owner, None)

    async def _empty(self, account: Account) -> None:
        """Send in order, no faster than the client reads, and remove only what has another home.

        What could not be removed is, before anything else is sent: or it would be sent again.  What is there
        twice is sent once: a power cut came when it was stored here and not yet removed from the spool.
        """
        await self._remove(account)
        seen = self._seen[account.jid] = {}
        while _receiver(account) and (rows := await self._waiting(account)):
            sent: list[tuple[Given, Deferred[None] | None]] = []
            for row in rows:
                session = _receiver(account)
                if session is None:
                    break
                stanza = self._delayed(row)
                given = self._under_way[account.jid].give(row, stanza)
                digest = _digest(stanza)
                given.over = bool(stanza.id) and seen.get(digest, (row.id,))[0] != row.id
                if not given.over:
                    seen[digest] = row.id, id(stanza.payload)
                    sent.append((given, session.send(stanza)))
                    await session.drained()
            await self._settled(account, sent)
            self._loads.forget(account.jid)

    async def _settled(self, account: Account, sent: list[tuple[Given, Deferred[None] | None]]) -> None:
        """Remove what has another home, and soon: after a power cut it would be sent again."""
        for given, home in sent:
            if home is not None and not home.called:
                with suppress(StorageError):  # then it is tried again below
                    await self._remove(account)
                await home
            given.over = True
        await self._remove(account)

    async def _waiting(self, account: Account) -> list[ArchiveRow]:
        """The oldest of all that wait, wherever they do; where nothing does, that is asked once."""
        if account.jid in self._emptied:
            return []
        self._emptied.look(account.jid)
        try:
            rows = await self._read(account)
        except BaseException:
            self._emptied.found(account.jid)
            raise
        if rows:
            self._emptied.found(account.jid)
        return rows

    async def _read(self, account: Account) -> list[ArchiveRow]:
        rows = await self.messages.rows(account.jid, limit=BATCH)
        for each in self._others:
            rows = sorted(rows + await each.waiting(account, BATCH), key=attrgetter("id"))
        return rows[:BATCH]

    async def _remove(self, account: Account) -> None:
        under_way = self._under_way.get(account.jid)
        if under_way is None:
            return
        if rows := under_way.remove():
            for each in self._others:
                await each.taken(account, [row.id for row in rows if row.waiting])
            await self.messages.remove(account.jid, [row.id for row in rows if not row.waiting])
            under_way.removed()
        if not under_way:
            del self._under_way[account.jid]

    def _delayed(self, row: ArchiveRow) -> Stanza:
        """With a note of when it came, unless it was delivered before and has one."""
        stanza = Stanza.from_standalone(row.stanza)
        if DELAY in stanza.children and any(map(self._is_ours, stanza.element().findall(DELAY))):
            return stanza
        return stanza.with_sealed(
            DELAY,
            f"<delay xmlns='{ns.DELAY}' from='{escape_attribute(self.domain.jid)}'"
            f" stamp='{to_stamp(row.stamp)}'>Offline Storage</delay>".encode(),
        )

    @filters(Stage.REFUSE, "message", children=[DELAY])
    def discard_forged(self, stanza: Stanza, account: Account) -> Stanza:
        """Take away delay notes that others wrote in the name of this domain (XEP-0203 §5)."""
        notes = stanza.element().findall(DELAY)
        honest = [note for note in notes if not self._is_ours(note)]
        if len(honest) == len(notes) or stanza.sender == self.domain.jid:
            return stanza
        return stanza.without([DELAY]).with_child(*honest)

    def _is_ours(self, note: Element) -> bool:
        return note.get("from", "").lower() == self.domain.jid


def _digest(stanza: Stanza) -> bytes:
    return sha256(stanza.to_standalone()).digest()


def _receiver(account: Account) -> Session | None:
    """A session that takes what is for the bare JID: available, of non-negative priority."""
    sessions = account.sessions.values()
    return next((each for each in sessions if each.priority is not None and each.priority >= 0), None)
