"""What streams between servers have in common.

`jabberd.streams.incoming` receives stanzas, `jabberd.streams.outgoing` sends them: a stream carries
stanzas one way only (RFC 6120 §2.5), unless both sides want it turned around (XEP-0288).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from twisted.logger import Logger

from jabberd.streams import tls, vouch
from jabberd.streams.proof import Rules
from jabberd.streams.protocol import StreamProtocol
from jabberd.xmpp import ns
from jabberd.xmpp.jid import JID, InvalidJID

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from jabberd.streams.proof import Policy
    from jabberd.streams.protocol import StreamSettings
    from jabberd.streams.tls import Contexts
    from jabberd.streams.vouch import Trust
    from jabberd.xmpp.dialback import Dialback

__all__ = ["ServerStream", "Terms", "Timer", "domain_of"]

log = Logger()


@dataclass(frozen=True, slots=True)
class Terms:
    """What all streams with other servers share.

    :ivar hosted: the policy of a domain of ours, by domainpart; None if it is not hosted here.
    :ivar contexts: TLS with the domains' certificates; None if there is none.
    :ivar trust: the authorities that certificates must come from.
    :ivar rules: whom our domains talk to.
    :ivar secret: what dialback keys are made from (XEP-0185 §2); nobody else knows it.
    :ivar bidi: whether stanzas may go both ways on one stream (XEP-0288).
    :ivar unacked: the most stanzas that a peer may leave unacknowledged, ``unacked_size`` bytes together.
    """

    hosted: Callable[[str], Policy | None]
    contexts: Contexts | None
    trust: Trust
    secret: str
    streams: StreamSettings
    clock: IReactorTime
    rules: Rules = field(default_factory=Rules)
    bidi: bool = True
    unacked: int = 10_000
    unacked_size: int = 16 << 20


class ServerStream(StreamProtocol):
    """A stream with another server, in either direction.

    :cvar receiving: whether they opened it.
    """

    content_ns: ClassVar[str] = ns.SERVER
    holding: ClassVar[frozenset[str]] = frozenset()
    receiving: ClassVar[bool]

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms.streams, terms.clock)
        self.terms = terms

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.setTcpKeepAlive(True)

    def handshakeCompleted(self) -> None:
        self.security = tls.security(self.transport, server=self.receiving)

    def __str__(self) -> str:
        """As it stands in the log; a stream of ours has an id of the peer's choice."""
        return f"{type(self).__name__} {self.id[:40]!a} {self.address}"

    def vouched(self, domain: JID) -> bool:
        """Whether the peer's certificate vouches for the domain."""
        verdict = vouch.judge(self.security.peer_chain, domain, self.terms.trust)
        if not verdict:
            log.info(
                "{stream}: the certificate does not vouch for {domain!r}: {objection}",
                stream=self,
                domain=domain,
                objection=verdict.objection,
            )
        return bool(verdict)

    def say(self, said: Dialback) -> None:
        """Send a dialback element."""
        self.write(said.to_bytes())


class Timer:
    """Calls ``action`` once, some seconds after it was last started."""

    __slots__ = ("_action", "_call", "_clock")

    def __init__(self, clock: IReactorTime, action: Callable[[], None]) -> None:
        self._clock = clock
        self._action = action
        self._call: IDelayedCall | None = None

    @property
    def running(self) -> bool:
        """Whether the call is still to come."""
        return self._call is not None

    @property
    def left(self) -> float:
        """The seconds until the call; 0 if none is to come."""
        return max(0.0, self._call.getTime() - self._clock.seconds()) if self._call else 0.0

    def start(self, seconds: float) -> None:
        """Begin anew."""
        self.stop()
        self._call = self._clock.callLater(seconds, self._fire)

    def stop(self) -> None:
        """Do not call."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _fire(self) -> None:
        self._call = None
        self._action()


def domain_of(address: str) -> JID | None:
    """The domain that a stream header names; None if it names none."""
    with suppress(InvalidJID):
        jid = JID.parse(address)
        return jid if jid == jid.domain else None
    return None
