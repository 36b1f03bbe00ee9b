"""XEP-0198: acknowledgements, and streams that go on after a lost connection.

What is sent to a client that acknowledges is kept until it does.  What it has not acknowledged
after half a second is written to a *spool*, which is read back at the next start, so that a message
taken from its sender survives this process; what a client never acknowledges goes to another
resource or waits for the account.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Final, Protocol, runtime_checkable

from msgspec import Meta
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.task import LoopingCall

from jabberd.api import (
    LOGIN,
    Archive,
    Duration,
    E,
    Element,
    Module,
    Settings,
    Size,
    Stanza,
    StanzaError,
    inline,
    nonza,
)
from jabberd.modules.sm.kept import NS, ROUND, Acknowledged
from jabberd.modules.sm.sent import Row, Sent
from jabberd.xmpp import ns
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.timestamp import delayed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.failure import Failure

    from jabberd.api import Account, Login, Session
    from jabberd.interfaces import Outlet, Security

_SPOOLED_AFTER: Final = 0.5  # seconds without an acknowledgement: before another server would spool it, too
_PATIENCE: Final = 30.0  # seconds for which what is nowhere but in memory waits for a storage that fails
_BATCH: Final = 50  # rows of the spool that are read at a time
_SWEEP: Final = 0.25
_DELAY: Final = f"{{{ns.DELAY}}}delay"
_DIGITS: Final = 20  # of a number that is looked at, with zeros before it
_MOST_PAST: Final = 10_000  # sessions of which is remembered how much had arrived
_ALL_HOME: Final = 5.0  # seconds that what was said before may take to find a home, while its client resumes


@runtime_checkable
class Stores(Protocol):
    """A module whose store still has some of what it sends."""

    def still_stored(self, stanza: Stanza, account: Account) -> bool:
        """Whether what it has sent to that account stays there until it has a home."""


class StreamManagement(Module, xep=198, version="1.6.3"):
    """Acknowledges stanzas, and lets a client resume a session whose connection was lost."""

    stream_features = (E(NS, "sm"),)
    replaceable = False
    counted = ("queue", "queue_size")

    class Config(Settings):
        """How long and how much is kept.

        :ivar resumable: how long a session waits for its client after a lost connection.
        :ivar queue: the most stanzas that a client may leave unacknowledged, ``queue_size`` together.
        """

        resumable: Duration = 600.0
        queue: Annotated[int, Meta(ge=1)] = 1000
        queue_size: Size = 16 << 20

    config: Config

    spool = Archive("spool")

    async def start(self) -> None:
        """Look after what is late."""
        self._kept: dict[str, Acknowledged] = {}
        self._all: set[Acknowledged] = set()
        #: Username and count, by id, of sessions whose clients may come too late.
        self._past: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._homeless: list[Sent] = []  # the storage could not take them where they belong
        self._rows: dict[int, Row] = {}  # by identity of the stanza
        self._needless: list[int] = []  # rows of the spool that could not be removed yet
        self._sweep = LoopingCall(self._look_after)
        self._sweep.clock = self.domain.clock
        self._sweep.start(_SWEEP, now=False)

    async def ready(self) -> None:
        """Deliver what the last process took but did not see acknowledged."""
        last = 0
        while rows := await self.spool.rows(self.domain.jid, after=last, limit=_BATCH):
            for row in rows:
                stanza = Stanza.from_standalone(row.stanza)
                self._rehome(Sent(self, stanza, Row(stanza, row.id), row.stamp))
            last = rows[-1].id

    async def stop(self) -> None:
        """Stop looking after what is late; sessions have ended by now."""
        self._sweep.stop()

    # -- what a client says -------------------------------------------------------------------------

    @nonza(NS, "enable")
    def enable(self, session: Session, request: Element) -> None:
        """Start to count (§3)."""
        if isinstance(session.outlet, Acknowledged):
            session.outlet.say(_failed("unexpected-request"))
            raise StreamError("policy-violation", "stream management is enabled already")
        session.outlet.say(self.enable_inline(session, request))

    @inline(NS, "enable")
    def enable_inline(self, session: Session, request: Element) -> Element:
        """Start to count as soon as a resource is bound (§9.1)."""
        wanted = request.get("resume") in ("true", "1")
        kept = Acknowledged(self, session, resumable=self._patience(request) if wanted else 0.0)
        session.outlet = session.keeper = kept
        self._all.add(kept)
        if kept.id:
            self._kept[kept.id] = kept
        return E(NS, "enabled", kept.enabled())

    def _patience(self, request: Element) -> float:
        """For how long the session waits for its client: as it likes, but not longer than for others (§3)."""
        liked = _number(request.get("max", ""))
        return min(liked or self.config.resumable, self.config.resumable)

    @nonza(NS, "r")
    def requested(self, session: Session, _request: Element) -> None:
        """Say at once how many stanzas have a home (§4)."""
        self._of(session).answer()

    @nonza(NS, "a")
    def acknowledged(self, session: Session, answer: Element) -> None:
        """The client has got so many (§4)."""
        self._of(session).acknowledged(_count(answer))

    @nonza(NS, "resume")
    def resume_late(self, session: Session, _request: Element) -> None:
        """A session that has a resource already cannot become another one (§5)."""
        session.outlet.say(_failed("unexpected-request"))

    @nonza(NS, "enable", bound=False, newcomers=True)
    def enable_early(self, _username: str, outlet: Outlet, _request: Element) -> None:
        """Nothing is counted before a resource is bound, let alone before the login (§3)."""
        outlet.say(_failed("unexpected-request"))

    @nonza(NS, "resume", bound=False, newcomers=True)
    async def resume(self, username: str, outlet: Outlet, request: Element) -> Session | None:
        """Go on with a session whose connection was lost (§5); unknown and foreign ones look the same.

        Who has not logged in yet is told so (§3).
        """
        if not username:
            outlet.say(_failed("unexpected-request"))
            return None
        try:
            kept = await self._resumable(username, request)
        except StanzaError as why:
            outlet.say(_failed(why.condition, self._past_count(username, request)))
            return None
        outlet.say(kept.resume(outlet, _count(request)))
        kept.resend()
        return kept.session

    @inline(NS, "resume", at=LOGIN)
    async def resume_inline(self, login: Login, request: Element) -> Element:
        """The same while the client logs in (§9.2)."""
        try:
            kept = await self._resumable(login.client.username, request)
        except StanzaError as why:
            return _failed(why.condition, self._past_count(login.client.username, request))
        login.session = kept.session
        resumed = kept.resume(login.outlet, _count(request))
        kept.resend()
        return resumed

    async def _resumable(self, username: str, request: Element) -> Acknowledged:
        """That session: all that its client said before has a home by then.

        Else the client would not find it counted, say it again, and somebody would get it twice.

        :raises StanzaError: ``item-not-found``: it is not there; ``bad-request``: no count was given.
        """
        kept = self._kept_for(username, request)
        if _number(request.get("h", "")) is None:
            raise StanzaError("bad-request")
        kept.part()
        home = kept.all_home()
        try:
            if not home.called:
                await home.addTimeout(_ALL_HOME, self.domain.clock)
        except DeferredTimeoutError:
            self.log.info("{jid!r} resumes before all it said has a home", jid=kept.session.jid)
        return self._kept_for(username, request)

    def inline_features(self, security: Security) -> tuple[Element, ...]:  # the same for all
        """A session can be resumed while its client logs in (§9.2)."""
        return (E(NS, "sm"),)

    def _kept_for(self, username: str, request: Element) -> Acknowledged:
        kept = self._kept.get(request.get("previd", ""))
        if kept is None or kept.session.jid.localpart != username:
            raise StanzaError("item-not-found")
        return kept

    def _past_count(self, username: str, request: Element) -> int | None:
        """How much had arrived of a client that comes too late to resume (§5): it need not say that again."""
        owner, count = self._past.get(request.get("previd", ""), ("", 0))
        return count if owner == username else None

    @staticmethod
    def _of(session: Session) -> Acknowledged:
        if not isinstance(session.outlet, Acknowledged):
            raise StreamError("policy-violation", "stream management is not enabled")
        return session.outlet

    # -- what nobody acknowledged -------------------------------------------------------------------

    def forget(self, kept: Acknowledged, *, handled: int | None) -> None:
        """The session has ended.

        :param handled: how much had arrived, if its client may still come and want to resume it.
        """
        self._all.discard(kept)
        self._kept.pop(kept.id, None)
        if handled is not None:
            self._past[kept.id] = kept.session.jid.localpart, handled
            if len(self._past) > _MOST_PAST:
                self._past.popitem(last=False)

    def redeliver(self, sent: Sequence[Sent], owner: Session) -> None:
        """Treat what was never acknowledged as for an unavailable resource (§4)."""
        for each in sent:
            stanza = each.stanza
            if stanza.name == "message":
                alone = self._still_stored(stanza, owner.account)
                if self.domain.others_have(stanza, owner, each.at, alone=alone):
                    each.dropped()
                else:
                    each.stanza = stanza.with_attrs(to=owner.jid.bare)
                    self._rehome(each)
            elif stanza.name == "iq" and stanza.type in ("get", "set") and stanza.sender is not None:
                self.domain.route(stanza.error(StanzaError("service-unavailable")))

    def _rehome(self, sent: Sent) -> None:
        """Find another home for a message, now or, as long as there is hope, once the storage takes it."""
        home = self.domain.redeliver(delayed(sent.stanza, sent.stamp, self.domain.jid))
        home.addCallbacks(sent.settled, self._not_rehomed, errbackArgs=(sent,))

    def _not_rehomed(self, why: Failure, sent: Sent) -> None:
        now = self.domain.clock.seconds()
        if sent.failing is None:
            sent.failing = now
        if sent.is_spooled or now < sent.failing + _PATIENCE:
            self._homeless.append(sent)
            return
        self.log.failure("a message for {to!r} has nowhere to wait", why, to=sent.stanza.to)
        if sent.stanza.sender is not None and sent.stanza.type != "error":
            self.domain.route(sent.stanza.error(StanzaError("internal-server-error")))
        sent.settled()

    def _look_after(self) -> None:
        homeless, self._homeless = self._homeless, []
        for sent in homeless:
            self._rehome(sent)
        needless, self._needless = self._needless, []
        if needless:
            self._unspool(needless)
        before = self.domain.clock.seconds() - _SPOOLED_AFTER
        late = [(sent, kept.session.account) for kept in self._all for sent in kept.late(before)]
        for sent, account in sorted(late, key=lambda each: each[0].at):  # the order of delivery
            if not self._still_stored(sent.stanza, account):
                self._spool(sent, account)

    def _still_stored(self, stanza: Stanza, account: Account) -> bool:
        """What had waited stays there until it has a home; in the spool, too, it would come twice."""
        return _DELAY in stanza.children and any(
            each.still_stored(stanza, account) for each in self.domain.having(Stores)
        )

    def _spool(self, sent: Sent, account: Account) -> None:
        known = self._rows.get(id(sent.stanza))
        if known is not None:  # another session of the account was sent it as well
            sent.share(known)
            return
        row = self._rows[id(sent.stanza)] = Row(sent.stanza)
        sent.share(row)
        stanza = sent.stanza.with_attrs(to=account.jid)
        written = self.spool.append(self.domain.jid, account.jid, sent.stamp, stanza.to_standalone())
        written.addCallbacks(self._spooled, self._not_spooled, (row,), errbackArgs=(row,))

    def _spooled(self, id: int, row: Row) -> None:
        row.id = id
        for sent in list(row.sharers):
            sent.spooled()
        self.left(row)

    def _not_spooled(self, why: Failure, row: Row) -> None:
        """Try again, unless it has found a home: its sender waits for one."""
        self.log.failure("a message cannot be spooled", why)
        self._unshared(row)
        for sent in row.sharers:
            sent.row, sent.spooling = None, False

    def left(self, row: Row) -> None:
        """A message in the spool may have better homes now, everywhere."""
        if row.id is not None and not row.sharers:
            self._unshared(row)
            self._unspool([row.id])

    def _unshared(self, row: Row) -> None:
        """Nobody shares it from now on; what the last process left is not shared, but may be sent anew."""
        if self._rows.get(id(row.stanza)) is row:
            del self._rows[id(row.stanza)]

    def _unspool(self, rows: list[int]) -> None:
        self.spool.remove(self.domain.jid, rows).addErrback(self._not_removed, rows)

    def _not_removed(self, why: Failure, rows: list[int]) -> None:
        """Try again: what stays there is delivered once more after the next start."""
        self.log.failure("the spool cannot be emptied", why)
        self._needless += rows


def _count(element: Element) -> int:
    count = _number(element.get("h", ""))
    if count is None:
        raise StreamError("policy-violation", "h is a number below 2^32")
    return count


def _number(text: str) -> int | None:
    """An unsignedInt; None: it is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS) or int(text) >= ROUND:
        return None
    return int(text)


def _failed(condition: str, handled: int | None = None) -> Element:
    attrs = None if handled is None else {"h": str(handled)}
    return E(NS, "failed", attrs, E(ns.STANZA_ERRORS, condition))
