"""XEP-0313: an account's messages, both sides, kept on the server and read by pages.

An archived message is a row with the bytes that passed, sealed; its id is in the message that the
account's clients get (XEP-0359).  A message that came while nobody was there is a row that waits,
until somebody has taken it (XEP-0160).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from jabberd.api import (
    ACCOUNT,
    IQ,
    JID,
    Account,
    Archive,
    ArchiveRow,
    Duration,
    Element,
    Keyed,
    Module,
    Refused,
    Session,
    Settings,
    Span,
    Stage,
    Stanza,
    StanzaError,
    answers,
    bound,
    filters,
    operator,
)
from jabberd.archive import pages
from jabberd.archive.pages import NS
from jabberd.archive.retention import Retention, trim
from jabberd.archive.uids import Uids
from jabberd.modules.archive.choices import Choices, Default
from jabberd.xmpp.content import treatment
from jabberd.xmpp.element import E
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from twisted.python.failure import Failure

STANZA_ID: Final = "{urn:xmpp:sid:0}stanza-id"
_SWEEP: Final = 6 * 3600.0  # seconds between two looks at what is too old
_DAY: Final = 86400
_MOST_DAYS: Final = 36500
_TOGETHER: Final = 500  # rows that are changed at once


class _Taken:
    """A message that is being archived.

    :ivar stored: fires when it is durable; None: nothing of it was given to the storage yet.
    """

    __slots__ = ("stamp", "stanza", "stored", "written")

    def __init__(self, stanza: Stanza, stamp: datetime) -> None:
        self.stanza = stanza
        self.stamp = stamp
        self.written = stanza.to_standalone()
        self.stored: Deferred[int] | None = None


class MessageArchive(Module, xep=313, version="1.1.3"):
    """Archives an account's messages as it wants (XEP-0441), and answers questions about them."""

    requires = ("sid",)
    after = ("displayed", "blocking")
    features = (NS,)
    account_features = (NS, f"{NS}#extended", f"{NS}#groupchat-field")

    class Config(Settings):
        """What is archived, for how long, and how much of it is told at once.

        :ivar default: what is archived of accounts that have not chosen: all messages (``always``), those
            from and to contacts (``roster``), none (``never``).
        :ivar age: how long messages stay.
        :ivar messages: the most that stay of one account.
        :ivar page: the most that answer one question.
        """

        default: Default = "always"
        age: Duration = 365.0 * _DAY
        messages: Annotated[int, Meta(ge=1)] = 100_000
        page: Annotated[int, Meta(ge=1, le=1000)] = 250

    config: Config

    messages = Archive("archive")
    choices = Keyed("archive-choices", of=Choices, resident=True)
    retentions = Keyed("archive-retention", of=Retention)

    async def start(self) -> None:
        """Look after what is too old."""
        self.uids = Uids(self.domain.key("archive ids"))
        self._said: tuple[Stanza, int] | None = None
        self._taken: _Taken | None = None
        self._sweeping = False
        self._sweep = LoopingCall(self._look_after)
        self._sweep.clock = self.domain.clock
        self._sweep.start(_SWEEP, now=False)

    async def stop(self) -> None:
        """Stop looking."""
        self._sweep.stop()

    # -- what passes --------------------------------------------------------------------------------

    @filters(Stage.SAID, "message")
    def archive_said(self, stanza: Stanza, session: Session) -> Stanza:
        """What an account says to others; what it says to itself, it gets."""
        account, to = session.account, stanza.to
        if to is not None and to.bare != account.jid and self._archives(stanza, account, to):
            self._said = stanza, self._append(stanza, account, to)
        return stanza

    @filters(Stage.REWRITE, "message")
    def archive_received(self, stanza: Stanza, account: Account) -> Stanza:
        """What an account gets; its clients learn the id (§3.2)."""
        if stanza.type == "groupchat":
            return stanza  # as `treatment` would say, for every copy: the room has an archive
        peer = stanza.sender
        if peer is None or not self._archives(stanza, account, peer):
            return stanza
        if self._id_in(stanza, account) is not None:
            return stanza  # it is delivered anew
        return self._with_id(stanza, account, self._append(stanza, account, peer))

    def identified(self, stanza: Stanza, account: Account) -> Stanza:
        """See `jabberd.modules.carbons.Identifies`."""
        said = self._said
        return stanza if said is None or said[0] is not stanza else self._with_id(stanza, account, said[1])

    def _archives(self, stanza: Stanza, account: Account, peer: JID) -> bool:
        if not treatment(stanza).archived or account.anonymous or not account.exists:
            return False
        chosen = self.choices.of(account).get("")
        if chosen is None:
            default = self.config.default
            return default == "always" or Choices(default).want(account, peer)
        return chosen.want(account, peer)

    def _append(self, stanza: Stanza, account: Account, peer: JID) -> int:
        """Archive it; what both sides archive is written once, taken at one moment, and stored together."""
        taken = self._taken
        if taken is None or taken.stanza is not stanza:
            taken = self._taken = _Taken(stanza, self.now())
        stamp, before = taken.stamp, taken.stored
        id = self.messages.new_id(stamp)
        stored = self.messages.append(account.jid, peer, stamp, taken.written, id=id, beside=before)
        if stored is not before:
            taken.stored = stored
            self.domain.hold(stored, self._not_archived)
        return id

    def _not_archived(self, why: Failure) -> None:
        """It has been delivered all the same."""
        self.log.failure("a message cannot be archived", why)

    def _id_in(self, stanza: Stanza, account: Account) -> int | None:
        """The id that this archive gave the message before; others cannot have forged it (see ``sid``)."""
        if STANZA_ID not in stanza.children:
            return None
        ids = (each for each in stanza.element().iterfind(STANZA_ID) if each.get("by") == account.jid)
        return next((self.uids.id(account.jid, each.get("id", "")) for each in ids), None)

    def _with_id(self, stanza: Stanza, account: Account, id: int) -> Stanza:
        jid = account.jid  # no bare JID has anything to be escaped
        child = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{jid}' id='{self.uids.text(jid, id)}'/>"
        return stanza.with_sealed(STANZA_ID, child.encode())

    def _identified(self, row: ArchiveRow, account: Account) -> bytes:
        return self._with_id(Stanza.from_standalone(row.stanza), account, row.id).to_standalone()

    # -- what waits for somebody (see `jabberd.modules.offline`) --------------------------------------

    def wait(self, stanza: Stanza, account: Account) -> Deferred[None] | None:
        """Archive what nobody was there to get, as waiting; None: it does not belong into this archive."""
        peer = stanza.sender
        if peer is None or not self._archives(stanza, account, peer):
            return None
        id = self._id_in(stanza, account)
        return Deferred.fromCoroutine(self._wait(stanza, account, peer, id))

    async def _wait(self, stanza: Stanza, account: Account, peer: JID, id: int | None) -> None:
        if id is not None:
            await self.messages.mark(account.jid, [id], waiting=True)
            if await self.messages.ids(account.jid, Span(ids=(id,)), limit=1):
                return
            stanza = _without_id(stanza, account)  # it could not be stored when it came
        stamp = self.now() if id is None else pages.moment(id)
        await self.messages.append(account.jid, peer, stamp, stanza.to_standalone(), id=id, waiting=True)

    async def waiting(self, account: Account, limit: int) -> list[ArchiveRow]:
        """The oldest that wait, each with its id."""
        rows = await self.messages.rows(account.jid, span=Span(waiting=True), limit=limit)
        return [replace(row, stanza=self._identified(row, account)) for row in rows]

    def size_waiting(self, owner: JID) -> Deferred[tuple[int, int]]:
        """How many wait, and how many bytes they take."""
        return self.messages.size(owner, Span(waiting=True))

    def taken(self, account: Account, ids: Iterable[int]) -> Deferred[None]:
        """Somebody has got these."""
        return self.messages.mark(account.jid, ids, waiting=False)

    # -- questions ----------------------------------------------------------------------------------

    def _caught_up(self, account: Account) -> Deferred[None]:
        """Wait until all is in the archive that passed before: what is asked for now must not miss it.

        Changes are made in the order in which they were asked for, and so is this one, which changes nothing.
        """
        return self.messages.mark(account.jid, [], waiting=False)

    @answers.get(NS, "query", to=ACCOUNT)
    def fields(self, request: IQ) -> Element:
        """What can be asked (§4.1.5)."""
        return E(NS, "query", None, pages.fields())

    @answers.get(NS, "metadata", to=ACCOUNT)
    async def metadata(self, request: IQ) -> Element:
        """Where the archive begins and ends (§5)."""
        assert request.account is not None
        await self._caught_up(request.account)
        return await pages.metadata(self.messages, request.account.jid, self.uids)

    @bound
    async def begin(self, session: Session) -> Element | None:
        """Tell a client that is just being bound where the archive ends; it will read it (XEP-0386 §4).

        What is archived does not wait for it then.
        """
        account = session.account
        if account.anonymous:
            return None
        await self._caught_up(account)
        while ids := await self.messages.ids(account.jid, Span(waiting=True), limit=_TOGETHER):
            await self.taken(account, ids)
        return await pages.metadata(self.messages, account.jid, self.uids)

    @answers.set(NS, "query", to=ACCOUNT)
    async def query(self, request: IQ) -> Element:
        """Send a page of the archive (§4), no faster than the client reads.

        What it has got in this way does not wait for anybody any more.
        """
        account = request.account
        assert account is not None
        session = account.sessions.get(request.sender.resourcepart)
        if session is None:
            raise StanzaError("forbidden")
        asked = pages.Query.read(request.payload, account.jid, self.uids, self.config.page)
        await self._caught_up(account)
        page = await pages.page(self.messages, account.jid, self.uids, asked)
        for row in page.rows:
            session.send(pages.result(row, asked, self.uids, sender=account.jid, to=session.jid))
            await session.drained()
        await self.taken(account, [row.id for row in page.rows if row.waiting])
        return page.fin

    @answers.get(NS, "prefs", to=ACCOUNT)
    def preferences(self, request: IQ) -> Element:
        """What the account wants archived (XEP-0441 §2.1)."""
        assert request.account is not None
        chosen = self.choices.of(request.account).get("")
        return (chosen or Choices(self.config.default)).element()

    @answers.set(NS, "prefs", to=ACCOUNT)
    async def prefer(self, request: IQ) -> Element:
        """Archive that from now on."""
        assert request.account is not None
        chosen = Choices.read(request.payload)
        await self.choices.put(request.account.jid, "", chosen)
        return chosen.element()

    # -- what is too old ----------------------------------------------------------------------------

    def _look_after(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            Deferred.fromCoroutine(self._trim_all()).addErrback(
                lambda why: self.log.failure("old messages cannot be removed", why)
            )

    async def _trim_all(self) -> None:
        try:
            for jid in await self.domain.registered():
                await self._trim(jid)
        finally:
            self._sweeping = False

    async def _trim(self, jid: JID) -> int:
        return await trim(self.messages, jid, await self._retention(jid), self.now())

    async def _retention(self, jid: JID) -> Retention:
        return await self.retentions.get(jid) or Retention(self.config.age, self.config.messages)

    @operator("show how much of an account is archived, and for how long")
    async def show(self, jid: JID) -> dict[str, object]:
        """Its archive and what holds for it now."""
        account = await self._account(jid)
        retention = await self._retention(account.jid)
        ends = [
            (await self.messages.ids(account.jid, Span(), limit=1, newest=newest)) for newest in (False, True)
        ]
        oldest, newest = (to_stamp(pages.moment(ids[0])) if ids else "" for ids in ends)
        return {
            "jid": account.jid,
            "messages": await self.messages.count(account.jid),
            "oldest": oldest,
            "newest": newest,
            "days": retention.age / _DAY,
            "most": retention.messages,
        }

    @operator(
        "keep an account's messages for so many days, and the newest so many; both 0: as its domain does"
    )
    async def retain(self, jid: JID, days: int, messages: int) -> str:
        """From now on, whatever holds for its domain."""
        account = await self._account(jid)
        if (days, messages) == (0, 0):
            await self.retentions.change(account.jid, {"": None})
        elif not 1 <= days <= _MOST_DAYS or messages < 1:
            raise Refused(f"days and messages are numbers above 0, and days {_MOST_DAYS} at most")
        else:
            await self.retentions.put(account.jid, "", Retention(float(days) * _DAY, messages))
        return f"{account.jid}: {await self._trim(account.jid)} messages removed"

    async def _account(self, jid: JID) -> Account:
        account = await self.domain.account(jid)
        if not account.exists:
            raise Refused(f"there is no account {jid}")
        return account


def _without_id(stanza: Stanza, account: Account) -> Stanza:
    """Without the id that the account's archive gave it."""
    others = [each for each in stanza.element().findall(STANZA_ID) if each.get("by") != account.jid]
    return stanza.without([STANZA_ID]).with_child(*others)
