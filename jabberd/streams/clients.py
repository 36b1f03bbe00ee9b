"""The door that clients come through: who is hosted, how many from where, who has gone silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from jabberd.streams.addresses import Addresses, ip
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
    from jabberd.settings import Limits
    from jabberd.streams.protocol import StreamSettings

log = Logger()

_PING: Final = "urn:xmpp:ping"


class ClientFactory(Factory):
    """Makes a `C2SStream` for every client, and keeps the limits that concern several of them.

    :param addresses: who comes from where, if others than clients count as well.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        streams: StreamSettings,
        limits: Limits,
        creators: Callable[[str], IOpenSSLServerConnectionCreator | None],
        security: Callable[[object], Security],
        addresses: Addresses | None = None,
    ) -> None:
        self.clock = clock
        self.hosts: Mapping[str, SessionHost] = {}
        self.streams: set[C2SStream] = set()
        self.addresses = addresses or Addresses(clock, limits)
        self._stream_settings = streams
        self._limits = limits
        self._creators = creators
        self._security = security
        self._sweep = LoopingCall(self.sweep)
        self._sweep.clock = clock

    @property
    def traffic(self) -> Traffic:
        """What went over all its streams."""
        return self._stream_settings.traffic

    @property
    def attempts(self) -> int:
        """See `jabberd.streams.c2s.Door`."""
        return self._limits.login_attempts

    def use(self, streams: StreamSettings, limits: Limits) -> None:
        """Have other limits: ``streams`` for those to come, the others for all."""
        self._stream_settings, self._limits = streams, limits
        self.addresses.use(limits)
        if self._sweep.running:
            self._sweep.stop()
            self._start_sweeping()

    def _start_sweeping(self) -> None:
        self._sweep.start(min(self._limits.idle_timeout, self._limits.answer_timeout) / 4, now=False)

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
        address = ip(addr)
        if not self.addresses.admit(address):
            return Unwelcome()
        stream = C2SStream(self, self._stream_settings, self.clock)
        stream.address = address
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
        return self.addresses.may_try(address, account)

    def failed(self, address: str, account: str) -> None:
        """See `jabberd.streams.c2s.Door`."""
        self.addresses.failed(address, account)

    def may_register(self, address: str) -> bool:
        """See `jabberd.streams.c2s.Door`."""
        return self.addresses.may_register(address)

    def closed(self, stream: C2SStream) -> None:
        """See `jabberd.streams.c2s.Door`."""
        self.streams.discard(stream)
        self.addresses.leave(stream.address)

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
            if now - stream.asked >= self._limits.answer_timeout:
                stream.close(StreamError("connection-timeout"))
        elif now - stream.heard >= self._limits.idle_timeout:
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
