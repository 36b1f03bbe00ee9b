"""Servers in memory that federate with each other over real TLS, and peers that follow a script."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory

from jabberd.certificates import Issued, issue, make_ca
from jabberd.router import Router
from jabberd.settings import Federation as Settings
from jabberd.storage.memory import MemoryStorage
from jabberd.streams.certfiles import ServerCertificate
from jabberd.streams.connect import Connector
from jabberd.streams.federation import Federation
from jabberd.streams.proof import Policy
from jabberd.streams.protocol import StreamSettings
from jabberd.streams.s2s import Terms
from jabberd.streams.servers import ServerFactory
from jabberd.streams.spool import Spool
from jabberd.streams.targets import Target
from jabberd.streams.tls import Contexts
from jabberd.streams.vouch import Trust
from jabberd.testing.internet import Internet
from jabberd.xmpp import ns, stream
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza
from tests.streams.zone import Zone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from jabberd.streams.incoming import IncomingStream

CA = make_ca()
#: As public authorities are today: for servers only, the intermediate one too.
INTERMEDIATE = issue(CA, "Verona CA", authority=True)
CERTIFICATES = {
    name: issue(INTERMEDIATE, name) for name in ("montague.lit", "capulet.lit", "verona.lit", "evil.example")
}
HOSTS = {
    "montague.lit": Target("192.0.2.1", 5269),
    "capulet.lit": Target("192.0.2.2", 5269),
    "verona.lit": Target("192.0.2.3", 5269),
    "evil.example": Target("192.0.2.66", 5269),
}
DIRECT = 5270
EXTERNAL = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
DIALBACK = f"<dialback xmlns='{ns.DIALBACK_FEATURE}'><errors/></dialback>"


def trust(*authorities: Issued) -> Trust:
    with NamedTemporaryFile(suffix=".pem") as file:
        file.write(b"".join(each.certificate_pem() for each in authorities))
        file.flush()
        return Trust([file.name])


def contexts(certificates: Mapping[str, Issued]) -> Contexts:
    served = {
        domain: ServerCertificate(each.certificate, each.chain, each.key, Path(domain), Path(domain))
        for domain, each in certificates.items()
    }
    return Contexts("xmpp-server", served)


TRUST = trust(CA)


class World:
    """Time, the network, and where everybody is."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.internet = Internet(self.clock)
        self.hosts = dict(HOSTS)

    def serve(
        self,
        domain: str,
        policy: Policy = Policy(),  # noqa: B008  # frozen
        also: Mapping[str, Policy] | None = None,
        **options: Any,
    ) -> Server:
        """Start a server for that domain and for others, where the first one is."""
        server = Server(self, {domain: policy, **(also or {})}, **options)
        target = self.hosts[domain]
        self.internet.listen(target.host, target.port, server.factory)
        if server.terms.contexts:
            acceptor = server.terms.contexts.acceptor()
            wrapped = TLSMemoryBIOFactory(acceptor, False, server.factory, self.clock)
            self.internet.listen(target.host, DIRECT, wrapped)
        return server

    def advance(self, seconds: float, step: float = 1.0) -> None:
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            self.internet.flush()
            seconds -= step


class Server:
    """One server: what it takes for its own domains is kept in ``heard``.

    :ivar home: what its domains answer when a stanza is delivered, by id; see *Home* in `jabberd.interfaces`.
    """

    def __init__(
        self,
        world: World,
        domains: Mapping[str, Policy],
        *,
        certificates: Mapping[str, Issued] | None = None,
        trusted: Trust = TRUST,
        settings: Settings | None = None,
        streams: StreamSettings | None = None,
        zone: Zone | None = None,
        unacked: int = 10_000,
        bidi: bool = True,
        listening: Iterable[tuple[str, int]] = (),
    ) -> None:
        self.world = world
        self.domains = dict(domains)
        self.heard: list[Stanza] = []
        self.home: dict[str, Deferred[None]] = {}
        shown = certificates if certificates is not None else {each: CERTIFICATES[each] for each in domains}
        self.terms = Terms(
            hosted=self.domains.get,
            contexts=contexts(shown) if shown else None,
            trust=trusted,
            secret=f"secret of {', '.join(domains)}",
            streams=streams or StreamSettings(),
            clock=world.clock,
            unacked=unacked,
            bidi=bidi,
        )
        connector = Connector(
            world.clock,
            zone or Zone({}),
            hosts=world.hosts,
            listening=lambda: listening,
            limit=30.0,
            endpoint=world.internet.endpoint,
        )
        self.spool = MemoryStorage().archive("spool of links")
        self.federation = Federation(self.terms, connector, settings or Settings(), Spool(self.spool))
        self.router = Router(self.federation)
        self.federation.join(self.router)
        for domain in domains:
            self.router.add(domain, self)
        self.factory = ServerFactory(self.terms, self.router, self.federation)

    def deliver(self, stanza: Stanza) -> Deferred[None] | None:
        self.heard.append(stanza)
        return self.home.get(stanza.id)

    def send(self, xml: str) -> None:
        self.router.route(Stanza.from_standalone(xml.encode()))
        self.world.internet.flush()

    def message(self, sender: str, to: str, id: str = "m1") -> None:
        self.send(
            f"<message xmlns='{ns.CLIENT}' from='{sender}' to='{to}' id='{id}'><body>hi!</body></message>"
        )

    @property
    def bodies(self) -> list[str]:
        """The ids of what was heard."""
        return [stanza.id for stanza in self.heard]

    @property
    def errors(self) -> list[tuple[str, str, str]]:
        """Of the errors heard: id, condition and type; they are taken."""
        taken, self.heard = self.heard, []
        return [_error(stanza) for stanza in taken if stanza.type == "error"]

    @property
    def incoming(self) -> list[IncomingStream]:
        return list(self.factory.streams)

    @property
    def proofs(self) -> dict[tuple[str, str], str]:
        return {pair: proof for each in self.factory.streams for pair, proof in each.pairs.items()}


def _error(stanza: Stanza) -> tuple[str, str, str]:
    error = stanza.child(f"{{{ns.CLIENT}}}error")
    assert error is not None
    return stanza.id, error[0].tag.rpartition("}")[2], error.get("type", "")


class Peer(Protocol):
    """Another server, which says what it is told to say.

    :ivar heard: what the other side said since the last look.
    """

    def __init__(self, world: World, ours: str = "evil.example", theirs: str = "montague.lit") -> None:
        self.world = world
        self.ours, self.theirs = ours, theirs
        self.heard = ""
        self.closed = False
        self.secured = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True

    def dataReceived(self, data: bytes) -> None:
        self.heard += data.decode()

    def say(self, xml: str) -> str:
        """Say it and hear the answer."""
        self.heard = ""
        assert self.transport is not None
        self.transport.write(xml.encode())
        self.world.internet.flush()
        return self.heard

    def open(self, **attrs: str) -> str:
        """Say our stream header."""
        head = stream.header(ns.SERVER, sender=JID(self.ours), to=JID(self.theirs)).decode()
        return self.say(attrs.get("header", head))

    def encrypt(self, certificate: Issued | None = None, **attrs: str) -> str:
        """Start TLS and open the stream anew."""
        assert "<proceed" in self.say(f"<starttls xmlns='{ns.TLS}'/>")
        shown = certificate or CERTIFICATES[self.ours]
        initiator = contexts({self.ours: shown}).initiator(self.ours, self.theirs, direct=False)
        transport: Any = self.transport
        transport.startTLS(initiator)
        return self.open(**attrs)

    def authenticate(self) -> None:
        """From connection to proof by certificate."""
        self.open()
        assert "EXTERNAL" in self.encrypt()
        assert "<success" in self.say(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>")
        self.open()

    # -- as the one who was connected to

    def header(self, *, id: str = "s1", attrs: str = "version='1.0'") -> str:
        return (
            f"<stream:stream xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}' xmlns:db='{ns.DIALBACK}'"
            f" from='{self.ours}' to='{self.theirs}' id='{id}' {attrs}>"
        )

    def greet(self, *features: str, **header: str) -> str:
        """Say our stream header and features, and hear what they lead to."""
        return self.say(self.header(**header) + f"<stream:features>{''.join(features)}</stream:features>")

    def accept_tls(
        self,
        certificate: Issued | None = None,
        offers: Iterable[str] = (f"<starttls xmlns='{ns.TLS}'/>",),
    ) -> None:
        """Offer STARTTLS and go through with it; the other side's new header is heard then."""
        assert f"<starttls xmlns='{ns.TLS}'/>" in self.greet(*offers)
        assert self.transport is not None
        self.transport.write(f"<proceed xmlns='{ns.TLS}'/>".encode())
        self.heard = ""
        transport: Any = self.transport
        shown = certificate or CERTIFICATES[self.ours]
        transport.startTLS(contexts({self.ours: shown}).acceptor())
        self.world.internet.flush()

    def accept(self) -> None:
        """Take the other side for what it says it is."""
        self.accept_tls()
        assert "mechanism='EXTERNAL'" in self.greet(EXTERNAL)
        assert "<stream:stream" in self.say(f"<success xmlns='{ns.SASL}'/>")
        self.greet()

    @property
    def id(self) -> str:
        """The stream id that we were given last."""
        return str(re.findall(r"id='(\w+)'", self.heard)[-1])


def connect(world: World, server: Server, **names: str) -> Peer:
    """A peer that connects to a server."""
    peer = Peer(world, **names)
    target = world.hosts[next(iter(server.domains))]
    world.internet.connect(target.host, target.port, _Made(peer))
    world.internet.flush()
    return peer


class Listening(Factory):
    """A peer that others connect to; says nothing by itself.

    :ivar peers: one for each connection.
    """

    noisy = False

    def __init__(self, world: World, domain: str = "evil.example") -> None:
        self.world = world
        self.domain = domain
        self.peers: list[Peer] = []
        target = world.hosts[domain]
        world.internet.listen(target.host, target.port, self)

    def buildProtocol(self, addr: object) -> Peer:
        self.peers.append(Peer(self.world, self.domain))
        return self.peers[-1]


class _Made(Factory):
    noisy = False

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def buildProtocol(self, addr: object) -> Peer:
        return self._peer


__all__ = ["CA", "CERTIFICATES", "Listening", "Peer", "Server", "StanzaError", "World", "connect", "trust"]
