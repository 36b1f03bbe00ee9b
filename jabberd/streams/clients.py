"""The door that clients come through: who is hosted, how many from where, who has gone silent."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from jabberd.streams.c2s import C2SStream
from jabberd.streams.protocol import Unwelcome
from jabberd.xmpp.element import E
from jabberd.xmpp.errors import StreamError
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator, IReactorTime

    from jabberd.interfaces import Security, SessionHost
    from jabberd.measure import Traffic
    from jabberd.streams.protocol import StreamSettings

log = Logger()

_PING: Final = "urn:xmpp:ping"
_MOST_REMEMBERED: Final = 10_000  # addresses and accounts with failed logins


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Limits of all client connections together.

    :ivar per_address: connections from one IP address at a time.
    :ivar attempts: failed logins on one stream until it is closed.
    :ivar failures: wrong passwords of one account from one address within ``forgiven`` seconds; then that
        address, and nobody else, has to wait before it may log in to that account.
    :ivar silence: seconds after which a silent client is asked whether it is still there; it has
        ``patience`` seconds to answer (RFC 6120 §4.6.3).
    """

    per_address: int = 100
    attempts: int = 3
    failures: int = 10
    forgiven: float = 300.0
    silence: float = 300.0
    patience: float = 60.0


class ClientFactory(Factory):
    """Makes a `C2SStream` for every client, and keeps the limits that concern several of them."""

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        streams: StreamSettings,
        settings: DoorSettings,
        creators: Callable[[str], IOpenSSLServerConnectionCreator | None],
        security: Callable[[object], Security],
    ) -> None:
        self.clock = clock
        self.hosts: Mapping[str, SessionHost] = {}
        self.attempts = settings.attempts
        self.streams: set[C2SStream] = set()
        self._stream_settings = streams
        self._settings = settings
        self._creators = creators
        self._security = security
        self._connections: Counter[str] = Counter()
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._sweep = LoopingCall(self.sweep)
        self._sweep.clock = clock

    @property
    def traffic(self) -> Traffic:
        """What went over all its streams."""
        return self._stream_settings.traffic

    def use(self, streams: StreamSettings, settings: DoorSettings) -> None:
        """Have other limits: ``streams`` for those to come, the others for all."""
        self._stream_settings, self._settings = streams, settings
        self.attempts = settings.attempts
        if self._sweep.running:
            self._sweep.stop()
            self._start_sweeping()

    def _start_sweeping(self) -> None:
        self._sweep.start(min(self._settings.silence, self._settings.patience) / 4, now=False)

    # -- from Twisted -------------------------------------------------------------------------------

    def doStart(self) -> None:
        super().doStart()  # type: ignore[no-untyped-call]  # Twisted's
        if not self._sweep.running:
            self._start_sweeping()

    def doStop(self) -> None:
        super().doStop()  # type: ignore[no-untyped-call]  # Twisted's
        if self.numPorts == 0 and self._sweep.running:
            self._sweep.stop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        host = unmapped(getattr(addr, "host", "") or "")
        if self._connections[host] >= self._settings.per_address:
            log.info("too many connections from {address}: one more refused", address=host)
            return Unwelcome()
        stream = C2SStream(self, self._stream_settings, self.clock)
        stream.address = host
        self._connections[host] += 1
        self.streams.add(stream)
        return stream

    # -- the door -----------------------------------------------------------------------------------

    def host(self, domain: str) -> SessionHost | None:
        """See `jabberd.streams.c2s.Door`."""
        if domain:
            return self.hosts.get(domain)
        return next(iter(self.hosts.values())) if len(self.hosts) == 1 else None

    def creator(self, domain: str) -> IOpenSSLServerConnectionCreator | None:
        """See `jabberd.streams.c2s.Door`."""
        return self._creators(domain)

    def security(self, transport: object) -> Security:
        """See `jabberd.streams.c2s.Door`."""
        return self._security(transport)

    def may_try(self, address: str, account: str) -> bool:
        """See `jabberd.streams.c2s.Door`."""
        return self._failed(address, account)[0] < self._settings.failures

    def failed(self, address: str, account: str) -> None:
        """See `jabberd.streams.c2s.Door`."""
        count, since = self._failed(address, account)
        self._failures[address, account] = (count + 1, since)
        self._failures.move_to_end((address, account))
        if len(self._failures) > _MOST_REMEMBERED:
            self._failures.popitem(last=False)

    def _failed(self, address: str, account: str) -> tuple[int, float]:
        """How often, and since when."""
        now = self.clock.seconds()
        count, since = self._failures.get((address, account), (0, now))
        return (count, since) if now - since <= self._settings.forgiven else (0, now)

    def closed(self, stream: C2SStream) -> None:
        """See `jabberd.streams.c2s.Door`."""
        self.streams.discard(stream)
        self._connections[stream.address] -= 1
        if self._connections[stream.address] <= 0:
            del self._connections[stream.address]

    # -- silence ------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Ask clients that have been silent for long; drop those that were asked and stayed silent."""
        now = self.clock.seconds()
        for stream in list(self.streams):
            try:
                self._look_after(stream, now)
            except Exception:  # noqa: BLE001  # the others are still to be looked after, also next time
                log.failure("{stream}: cannot ask whether the client is there", stream=stream)

    def _look_after(self, stream: C2SStream, now: float) -> None:
        if stream.session is None or stream.ended:
            return
        if stream.asked > stream.heard:
            if now - stream.asked >= self._settings.patience:
                stream.close(StreamError("connection-timeout"))
        elif now - stream.heard >= self._settings.silence:
            stream.asked = now
            self._ask(stream)

    def _ask(self, stream: C2SStream) -> None:
        """Ping (XEP-0199 §4.1); any answer shows that the client is there."""
        assert stream.session is not None
        assert stream.host is not None
        ping = Stanza.of(
            "iq",
            E(_PING, "ping"),
            to=stream.session.jid,
            sender=stream.host.jid,
            type="get",
            id=f"alive-{stream.id}",
        )
        stream.session.send(ping)  # not past the session: whoever acknowledges counts it

    def close_all(self, error: StreamError) -> None:
        """Tell every client why, and end its stream."""
        for stream in list(self.streams):
            stream.close(error)


def unmapped(address: str) -> str:
    """An IPv4 address as itself, also where a dual-stack listener shows it as ``::ffff:192.0.2.1``."""
    return address.removeprefix("::ffff:") if "." in address else address
