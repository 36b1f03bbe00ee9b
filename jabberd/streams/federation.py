"""Federation: the default route, to everybody who is not ours.

One `Link` for each pair of a domain of ours and one of theirs: it queues, connects, sends, and gives
back what cannot leave.  Federation finds the link, opens streams for it, and verifies the dialback
keys that incoming streams bring.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from jabberd.streams.connect import RemoteServerError
from jabberd.streams.incoming import NotVerifiedError
from jabberd.streams.link import Link, Setback
from jabberd.streams.outgoing import OutgoingStream
from jabberd.streams.proof import LinkError, Pair, Policy
from jabberd.streams.s2s import Timer
from jabberd.xmpp.errors import StanzaError, StreamError
from jabberd.xmpp.stanza import Stanza
from jabberd.xmpp.timestamp import delayed

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IAddress, IReactorTime

    from jabberd.settings import Federation as Settings
    from jabberd.streams.acks import Acks
    from jabberd.streams.connect import Connector
    from jabberd.streams.incoming import IncomingStream
    from jabberd.streams.intake import Inside
    from jabberd.streams.managed import ManagedStream
    from jabberd.streams.parcel import Parcel
    from jabberd.streams.s2s import Terms
    from jabberd.streams.spool import Spool
    from jabberd.streams.targets import Target
    from jabberd.xmpp.jid import JID

__all__ = ["Federation", "secured"]

log = Logger()

_MOST_SETBACKS: Final = 1_000
_SWEEP: Final = 0.5  # seconds between looks at what has no home
_SPOOLED_AFTER: Final = 1.0  # seconds without one
_LOST: Final = (ConnectionClosed, SSL.Error, CancelledError)


class Federation:
    """See above.  Implements `jabberd.interfaces.Route`.

    :ivar inside: where stanzas of other servers go, and what is sent back: the router.
    :ivar connector: how their servers are found.
    :ivar homeless_size: bytes of all stanzas that have no home yet.
    :ivar verifying: keys of others that are asked about just now.
    :ivar spool: where messages go that find no home in time.
    :ivar links: those that there are, by pair.
    :ivar setbacks: the last failures of those that there were, by pair.
    """

    inside: Inside

    def __init__(self, terms: Terms, connector: Connector, settings: Settings, spool: Spool) -> None:
        self.terms = terms
        self.settings = settings
        self.spool = spool
        self.links: dict[tuple[str, str], Link] = {}
        self.setbacks: OrderedDict[tuple[str, str], Setback] = OrderedDict()
        self.connector = connector
        self.homeless_size = 0
        self.verifying = 0
        self._turned: dict[Pair, IncomingStream] = {}  # streams of theirs that stanzas may go back on
        self._idle: dict[Pair, Link] = {}  # nothing but a failure to remember, oldest first
        self._unfinished: Counter[JID] = Counter()  # links by those who began them
        self._closing = False
        self._kept: list[Deferred[None]] = []  # on their way to the spool while this server stops
        self._left: Deferred[None] | None = None
        self._sweeping = Timer(terms.clock, self._sweep)

    @property
    def clock(self) -> IReactorTime:
        """What time it is."""
        return self.terms.clock

    def join(self, inside: Inside) -> None:
        """Hand on there what comes in, and what goes back; before the first stanza."""
        self.inside = inside

    def use(self, terms: Terms, connector: Connector, settings: Settings) -> None:
        """Have other terms for the streams to come, and other limits for all links."""
        self.terms, self.settings, self.connector = terms, settings, connector

    def deliver(self, stanza: Stanza) -> Deferred[None] | None:
        """Send the stanza to the server of its domain; what cannot leave bounces, now or later.

        See *Home* in `jabberd.interfaces`, and `jabberd.streams.parcel.Parcel`.

        :raises StanzaError: it cannot even wait.
        """
        link = self._link(stanza)
        try:
            return link.send(stanza)
        except StanzaError:
            if link.state == "idle":  # nothing would ever end it
                link.cut()
            raise

    def _link(self, stanza: Stanza) -> Link:
        sender, to = stanza.sender, stanza.to
        assert sender is not None  # who receives a stanza sees to it
        assert to is not None
        link = self.links.get((sender.domainpart, to.domainpart))
        if link is None:
            link = self._new_link(Pair(sender.domain, to.domain))
        elif link.pair not in self._idle:
            return link
        self._begun_by(link, sender.bare)
        return link

    def _begun_by(self, link: Link, account: JID) -> None:
        """Count the link for whoever begins it, until it stands or has failed."""
        if self._unfinished[account] >= self.settings.unfinished:
            if link.state == "idle":
                link.cut()
            raise StanzaError("resource-constraint", "you have begun too many links to other servers")
        self._idle.pop(link.pair, None)
        self._unfinished[account] += 1
        link.begun_by = account

    @property
    def most_unfinished(self) -> int:
        """How many links one account has begun that do not stand, at most."""
        return max(self._unfinished.values(), default=0)

    def idle(self, link: Link) -> None:
        """See `jabberd.streams.link.Switchboard`."""
        self.finished(link)
        self._idle[link.pair] = link

    def finished(self, link: Link) -> None:
        """See `jabberd.streams.link.Switchboard`."""
        account, link.begun_by = link.begun_by, None
        if account is not None:
            self._unfinished[account] -= 1
            if not self._unfinished[account]:
                del self._unfinished[account]

    def _new_link(self, pair: Pair) -> Link:
        if self._closing:
            raise StanzaError("remote-server-timeout", "this server is about to stop")
        policy = self.terms.hosted(pair.ours)
        if policy is None or policy.proof == "off":
            raise StanzaError("not-allowed", f"{pair.ours} talks to no other servers")
        if not self.terms.rules.allow(*pair):
            raise StanzaError("not-allowed", f"{pair.ours} does not talk to {pair.theirs}")
        if len(self.links) >= self.settings.links and self._idle:
            next(iter(self._idle.values())).cut()
        if len(self.links) >= self.settings.links:
            raise StanzaError("resource-constraint", "there are too many links to other servers")
        link = self.links[pair] = Link(self, pair)
        return link

    # -- for links ----------------------------------------------------------------------------------

    def hold(self, size: int) -> bool:
        """See `jabberd.streams.link.Switchboard`."""
        if self.homeless_size + size > self.settings.homeless_size:
            return False
        self.homeless_size += size
        if not self._sweeping.running:
            self._sweeping.start(_SWEEP)
        return True

    def release(self, size: int) -> None:
        """See `jabberd.streams.link.Switchboard`."""
        self.homeless_size -= size

    def give_back(self, parcel: Parcel, error: StanzaError) -> None:
        """See `jabberd.streams.link.Switchboard`."""
        if self._closing and parcel.stanza.name == "message":
            self._kept.append(self.spool.write(parcel))
            return
        home = self.inside.bounce(parcel.stanza, error)
        if home is None:
            parcel.settle()
        else:
            home.addCallback(parcel.settle)

    def forget(self, link: Link) -> None:
        """See `jabberd.streams.link.Switchboard`."""
        self.links.pop(link.pair, None)
        self._idle.pop(link.pair, None)
        self.finished(link)
        if not self.homeless_size:
            self._sweeping.stop()
        if link.setback is not None:
            self.setbacks[link.pair] = link.setback
            self.setbacks.move_to_end(link.pair)
            if len(self.setbacks) > _MOST_SETBACKS:
                self.setbacks.popitem(last=False)
        self._tell_left()

    def _sweep(self) -> None:
        """Look after what has no home, as long as there is anything."""
        self.spool.tidy()
        now = self.clock.seconds()
        for link in list(self.links.values()):
            link.sweep(now - _SPOOLED_AFTER, now - self.settings.queue_age)
        if self.homeless_size:
            self._sweeping.start(_SWEEP)

    async def read_back(self, domain: JID) -> None:
        """Send what the last process took from this domain of ours, and did not see through."""
        async for row in self.spool.rows(domain):
            stanza = delayed(Stanza.from_standalone(row.stanza), row.stamp, domain)
            try:
                self._link(stanza).send_again(stanza, row)
            except StanzaError as error:
                self.inside.bounce(stanza, error)
                self.spool.remove(domain, row.id)

    def open(self, pair: Pair, before: Acks | None, *, resume: bool) -> Deferred[ManagedStream]:
        """See `jabberd.streams.link.Switchboard`."""
        turned = None if resume else self._turned.get(pair)
        if turned is not None and not turned.ended and turned.rider is None:
            return succeed(turned)
        return Deferred.fromCoroutine(self._authenticated(pair, before))

    async def _authenticated(self, pair: Pair, before: Acks | None) -> ManagedStream:
        policy = self.terms.hosted(pair.ours)
        if policy is None:
            raise LinkError("remote-server-timeout", f"{pair.ours} is not hosted here any more")
        stream = await self._connected(pair, policy)
        try:
            await stream.authenticate(self.inside)
            await stream.manage(before)
        except _LOST as error:
            if not stream.ended:
                stream.abort()
            raise LinkError("remote-server-timeout", _reason(error), passing=True) from error
        return stream

    async def _connected(self, pair: Pair, policy: Policy) -> OutgoingStream:
        """A stream that is as safe as the policy wants.

        :raises LinkError: there is none to be had.
        """
        contexts = self.terms.contexts

        def factory_for(target: Target) -> _Factory:
            return _Factory(
                lambda: OutgoingStream(
                    self.terms, pair, policy, direct=target.direct, patience=self.settings.queue_age
                )
            )

        try:
            stream: OutgoingStream = await self.connector.connect(
                pair.theirs,
                factory_for,
                tls=contexts.initiator(pair.ours, pair.theirs, direct=True) if contexts else None,
                ready=secured,
            )
        except RemoteServerError as error:
            passing = error.condition == "remote-server-timeout"
            raise LinkError(error.condition, str(error), passing=passing) from error
        except CancelledError as error:
            raise LinkError("remote-server-timeout", "no answer so far", passing=True) from error
        if stream.failure:
            raise stream.failure
        return stream

    # -- for incoming streams -----------------------------------------------------------------------

    def turned(self, stream: IncomingStream, pair: Pair) -> None:
        """See `jabberd.streams.incoming.Door`: what waits for that pair takes it."""
        self._turned[pair] = stream
        link = self.links.get(pair)
        if link is not None:
            link.retry()

    def closed(self, stream: IncomingStream) -> None:
        """See `jabberd.streams.incoming.Door`."""
        for pair in [pair for pair in stream.turned if self._turned.get(pair) is stream]:
            del self._turned[pair]

    async def verify(self, pair: Pair, stream_id: str, key: str) -> bool:
        """See `jabberd.streams.incoming.Door`: on a connection of its own, which ends with the answer."""
        policy = self.terms.hosted(pair.ours)
        if policy is None or self.verifying >= self.settings.verifications:
            raise NotVerifiedError("resource-constraint")
        self.verifying += 1
        try:
            return await self._verify(pair, Policy("dialback", policy.require_tls), stream_id, key)
        except LinkError as error:
            log.info("cannot verify a key of {theirs!r}: {why}", theirs=pair.theirs, why=error.why)
            not_found = error.condition == "remote-server-not-found"
            raise NotVerifiedError(error.condition if not_found else "remote-connection-failed") from error
        except _LOST as error:
            log.info("cannot verify a key of {theirs!r}: {why}", theirs=pair.theirs, why=_reason(error))
            raise NotVerifiedError("remote-server-timeout") from error
        finally:
            self.verifying -= 1

    async def _verify(self, pair: Pair, policy: Policy, stream_id: str, key: str) -> bool:
        stream = await self._connected(pair, policy)
        try:
            return await stream.verify(stream_id, key)
        finally:
            stream.close()

    # -- the end ------------------------------------------------------------------------------------

    def close(self, limit: float) -> Deferred[None]:
        """End all links; fires when they are gone.

        What waits for an attempt under way goes out first; messages that are left after ``limit`` seconds
        stay in the spool, and leave when the server is back.
        """
        left: Deferred[None] = Deferred()
        self._closing, self._left = True, left
        cutting = Timer(self.clock, self._cut)
        cutting.start(limit)
        left.addBoth(lambda _: cutting.stop())
        for link in list(self.links.values()):
            link.close(StreamError("system-shutdown"))
        self._tell_left()
        return left

    def _tell_left(self) -> None:
        if not self.links and self._left is not None:
            left, self._left = self._left, None
            DeferredList(self._kept).addCallback(lambda _: left.callback(None))

    def _cut(self) -> None:
        for link in list(self.links.values()):
            link.cut()


class _Factory(Factory):
    """Makes a stream for each connection."""

    noisy = False

    def __init__(self, make: Callable[[], OutgoingStream]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> OutgoingStream:  # noqa: ARG002  # Twisted's
        return self._make()


async def secured(stream: OutgoingStream) -> None:
    """Wait until the peer has made its offer; a failure that may pass lets the next place be tried."""
    try:
        await stream.secured
    except LinkError as error:
        if error.passing:
            raise ConnectionDone(error.why) from error


def _reason(error: BaseException) -> str:
    return f"the connection was lost: {str(error).rstrip('.') or type(error).__name__}"
