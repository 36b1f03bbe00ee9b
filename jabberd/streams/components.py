"""Components (XEP-0114): programs of their own that serve a domain, over a stream that they open to us."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha1
from typing import TYPE_CHECKING, ClassVar, Final

from twisted.internet.protocol import Factory
from twisted.logger import Logger

from jabberd.api import ComponentConnected, operator
from jabberd.streams.addresses import Addresses, ip
from jabberd.streams.lanes import Lanes
from jabberd.streams.protocol import StreamProtocol, Unwelcome
from jabberd.streams.s2s import domain_of
from jabberd.xmpp import ns, stream
from jabberd.xmpp.errors import StanzaError, StreamError
from jabberd.xmpp.stanza import check_iq

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IReactorTime

    from jabberd.measure import Traffic
    from jabberd.router import Router
    from jabberd.streams.protocol import StreamSettings
    from jabberd.xmpp.jid import JID
    from jabberd.xmpp.parser import Header, Nonza
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Component", "ComponentFactory", "ComponentStream", "ComponentVerbs"]

log = Logger()

Rows = list[dict[str, object]]

_HANDSHAKE: Final = f"{{{ns.COMPONENT}}}handshake"


class Component:
    """The route of a component's domain, whether it is connected or not.

    :ivar stream: the one over which it is connected.
    """

    def __init__(self, jid: JID, secret: str) -> None:
        self.jid = jid
        self.stream: ComponentStream | None = None
        self._secret = secret

    def deliver(self, stanza: Stanza) -> Deferred[None] | None:
        """See `jabberd.interfaces.Route`."""
        if self.stream is None:
            raise StanzaError("remote-server-timeout", "the component is not connected")
        self.stream.send(stanza)
        return None

    @property
    def connected(self) -> bool:
        """See `jabberd.router.Program`."""
        return self.stream is not None

    def dismiss(self, error: StreamError) -> None:
        """End its stream, if it is connected; it may come back at once if it knows the secret."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close(error)

    def change(self, secret: str) -> None:
        """Share another secret with it; whoever has shown the old one has to show the new one."""
        if not hmac.compare_digest(secret.encode(), self._secret.encode()):
            self._secret = secret
            self.dismiss(StreamError("reset", "the secret has changed"))

    def knows(self, stream_id: str, proof: str) -> bool:
        """Whether who says this has the secret; compared in constant time."""
        ours = sha1(f"{stream_id}{self._secret}".encode(), usedforsecurity=False).hexdigest()
        return hmac.compare_digest(ours.encode(), proof.strip().encode())


class ComponentStream(StreamProtocol):
    """One stream that a component opened.

    :ivar component: what it is, once it has shown that it has the secret.
    """

    content_ns: ClassVar[str] = ns.COMPONENT
    kind: ClassVar[str] = "component"

    def __init__(self, door: ComponentFactory, settings: StreamSettings, clock: IReactorTime) -> None:
        super().__init__(settings, clock)
        self.door = door
        self.component: Component | None = None
        self._claimed: Component | None = None
        self._lanes = Lanes(door.router.route)

    # -- the stream's life --------------------------------------------------------------------------

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.setTcpKeepAlive(True)  # a component may be silent for long

    def on_over(self) -> None:
        if self.component is not None and self.component.stream is self:
            self.component.stream = None
        for stanza in self.unsent():
            if not self._was_shown(stanza):
                self.door.router.bounce(stanza, StanzaError("remote-server-timeout"))

    def _was_shown(self, stanza: Stanza) -> bool:
        """Whether it is presence for the component itself: whoever it is of may not know it (XEP-0356 §2)."""
        return stanza.name == "presence" and self.component is not None and stanza.to == self.component.jid

    def on_end(self, why: str) -> None:
        self.door.closed(self)
        if self.component is not None:
            log.info("{stream}: {domain!r} is gone ({why})", stream=self, domain=self.component.jid, why=why)

    def our_header(self) -> bytes:
        if not self.id:
            self.id = secrets.token_hex(16)
        self.header_sent = True
        sender = self._claimed.jid if self._claimed else ""
        return stream.header(ns.COMPONENT, sender=sender, id=self.id, version="")

    def on_header(self, header: Header) -> None:
        self._claimed = self.door.components.get(domain_of(header.to) or "")
        if self._claimed is None:
            raise StreamError("host-unknown")
        self.write(self.our_header())

    def on_nonza(self, nonza: Nonza) -> None:
        if nonza.name == stream.ERROR:
            self.close()
        elif nonza.name != _HANDSHAKE or self.component is not None:
            raise StreamError("unsupported-stanza-type")
        else:
            self._shake(nonza.element().text or "")

    def _shake(self, proof: str) -> None:
        """Let it in (§3), unless it has not the secret or is here already."""
        claimed = self._claimed
        assert claimed is not None  # the header came first
        if not claimed.knows(self.id, proof):
            log.warn("{stream}: a wrong secret for {domain!r}", stream=self, domain=claimed.jid)
            raise StreamError("not-authorized")
        if claimed.stream is not None:
            raise StreamError("conflict", "that component is connected already")
        self.component, claimed.stream = claimed, self
        self.negotiated()
        self.allow(self.settings.after)
        self.write(b"<handshake/>")
        log.info("{stream}: {domain!r} is connected", stream=self, domain=claimed.jid)
        self.door.tell(ComponentConnected(claimed.jid))

    # -- stanzas ------------------------------------------------------------------------------------

    def on_stanza(self, stanza: Stanza) -> Deferred[None] | None:
        component, router = self.component, self.door.router
        if component is None:
            raise StreamError("not-authorized")
        if not (stanza.attrs.get("to") and stanza.attrs.get("from")):
            raise StreamError("improper-addressing")
        if _domain_of_sender(stanza) != component.jid:
            raise StreamError("invalid-from")
        try:
            _ = stanza.to  # it is an address
            if stanza.name == "iq":
                check_iq(stanza)
        except StanzaError as error:
            return router.bounce(stanza.with_attrs(to=component.jid), error)
        return self._lanes.take(stanza)

    def send(self, stanza: Stanza) -> None:
        """Put a stanza on the stream; it bounces if it cannot leave."""
        self.settings.traffic.sent[stanza.name] += 1
        self.write(stanza.to_scope(ns.COMPONENT), stanza)


def _domain_of_sender(stanza: Stanza) -> str:
    try:
        return stanza.sender.domainpart if stanza.sender is not None else ""
    except StanzaError:
        return ""


class ComponentFactory(Factory):
    """Makes a stream for every component that connects; their domains are routed to them.

    :param given: by domain, the secret that its component shares with us.
    :param addresses: who comes from where, others than components included.
    :ivar tell: is told of what happens, for the domains of this server.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        streams: StreamSettings,
        given: Mapping[JID, str],
        router: Router,
        addresses: Addresses,
    ) -> None:
        self.router = router
        self.components: dict[str, Component] = {}
        self.streams: set[ComponentStream] = set()
        self.tell: Callable[[ComponentConnected], None] = lambda _: None
        self._clock = clock
        self._settings = streams
        self._addresses = addresses
        self.use(given)

    @property
    def traffic(self) -> Traffic:
        """What went over all streams with components."""
        return self._settings.traffic

    def use(self, given: Mapping[JID, str], streams: StreamSettings | None = None) -> None:
        """Serve these components from now on; those that stay as they were notice nothing.

        :param streams: for the streams to come; None: as before.
        """
        self._settings = streams or self._settings
        for name in [each for each in self.components if each not in given]:
            self._end(name, self.components.pop(name))
        for jid, secret in given.items():
            known = self.components.get(jid)
            if known is not None:
                known.change(secret)
            else:
                self.components[jid] = component = Component(jid, secret)
                self.router.add(jid, component)

    def _end(self, name: str, component: Component) -> None:
        """RFC 6120 §4.9.3.5; a domain of that name may have taken its place already."""
        if self.router.routes.get(name) is component:
            self.router.remove(name)
        component.dismiss(StreamError("host-gone"))

    def buildProtocol(self, addr: IAddress | None) -> ComponentStream | Unwelcome:
        address = ip(addr)
        if not self._addresses.admit(address):
            return Unwelcome()
        made = ComponentStream(self, self._settings, self._clock)
        made.address = address
        self.streams.add(made)
        return made

    def closed(self, stream: ComponentStream) -> None:
        """That stream is gone."""
        self.streams.discard(stream)
        self._addresses.leave(stream.address)

    def close_all(self, error: StreamError) -> None:
        """Tell every component why, and end its stream."""
        for each in list(self.streams):
            each.close(error)


class ComponentVerbs:
    """``components ...``."""

    def __init__(self, factory: ComponentFactory, clock: IReactorTime) -> None:
        self._factory = factory
        self._clock = clock

    @operator("list the components, and which of them are connected")
    def list(self) -> Rows:
        """By domain, where each is connected from and since how many seconds."""
        now = self._clock.seconds()
        return [
            {
                "component": component.jid,
                "address": component.stream and component.stream.address,
                "seconds": component.stream and int(now - component.stream.since),
            }
            for component in self._factory.components.values()
        ]
