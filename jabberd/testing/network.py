"""Servers and clients in memory, with one clock: see `jabberd.testing` for an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock

from jabberd.testing.client import Client, Hearer, read
from jabberd.testing.component import Component
from jabberd.testing.federated import Federated
from jabberd.testing.internet import Internet
from jabberd.testing.server import Server, trusting
from jabberd.testing.wire import Pipe
from jabberd.xmpp.errors import StanzaError
from jabberd.xmpp.jid import JID
from jabberd.xmpp.stanza import Stanza

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IProtocol, IProtocolFactory

    from jabberd.streams.targets import Target

__all__ = ["Network", "Stranger"]


class Stranger(Hearer):
    """Somebody at a domain that no server here hosts, as federation would let them speak."""

    def __init__(self, jid: JID, network: Network) -> None:
        super().__init__(network.flush)
        self.jid = jid
        self._network = network

    def send(self, xml: str) -> None:
        """Send a stanza, with a ``to``; unless it has a ``from`` it gets the true one."""
        stanza = Stanza.from_standalone(xml.encode())
        if stanza.sender is None:
            stanza = stanza.stamped(self.jid)
        assert stanza.to is not None
        self._network.server(stanza.to.domainpart).router.route(stanza)
        self.flush()


class Network(Internet):
    """Servers, clients and strangers, and the connections between them.

    Everything is done when a call returns; time stands still but for `advance`.

    :ivar federated: the way to others of each server that was started so.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        super().__init__(self.clock)
        self.servers: list[Server] = []
        self._clients: list[Client] = []
        self._strangers: dict[JID, Stranger] = {}
        self.federated: list[Federated] = []
        self._hosts: dict[str, Target] = {}

    def serve(self, *domains: str, federate: bool = False, **options: Any) -> Server:
        """Start a server for these domains.

        :param federate: reach others that do by real streams; if not, stanzas are handed over directly.
        :param options: see `Server`.
        """
        if not federate:
            self.servers.append(Server(self.clock, self, *domains, **options))
            return self.servers[-1]
        others = [*options.get("components", ()), *options.get("services", ())]
        federated = Federated(self, self.clock, self._hosts, *domains, *others)
        self.federated.append(federated)
        self.servers.append(Server(self.clock, federated.route, *domains, **options))
        federated.join(self.servers[-1].router)
        return self.servers[-1]

    def server(self, domain: str) -> Server:
        """The server of a domain; started with the default settings if there is none yet."""
        hosting = (server for server in self.servers if domain in server.hosts)
        return next(hosting, None) or self.serve(domain)

    def client(self, jid: str, presence: str = "<presence/>", **how: Any) -> Client:
        """Log a client in, whose account is made if there is none, and let it send its presence.

        What it hears meanwhile is forgotten.

        :param how: see `connected`.
        """
        client = self.connected(jid, **how)
        client.enter(trusting(client.jid.domainpart))
        if presence:
            client.send(presence)
        client.forget()
        return client

    def component(self, domain: str, *, begin: bool = True) -> Component:
        """Connect a component, and let it shake hands; what it hears meanwhile is not forgotten.

        :param begin: False: it does not say anything yet.
        """
        server = next(each for each in self.servers if domain in each.components.components)
        component = Component(JID.parse(domain), self.flush)
        self.join(component, server.components)
        self._clients.append(component)
        if begin:
            component.begin()
        return component

    def connected(self, jid: str, password: str = "secret", address: str = "127.0.0.1") -> Client:  # noqa: S107  # everybody's, in a play
        """Connect a client that does not say anything yet; its account is made if there is none.

        :param address: where it comes from.
        """
        full = JID.parse(jid)
        server = self.server(full.domainpart)
        if full.localpart:
            server.create(full.bare, password)
        client = Client(full, password, self.flush)
        self.join(client, server.door, address)
        self._clients.append(client)
        return client

    def join(self, client: IProtocol, factory: IProtocolFactory, address: str = "127.0.0.1") -> None:
        """Connect a protocol to a factory of a server; one that the factory does not want is closed."""
        kind = IPv6Address if ":" in address else IPv4Address
        server = factory.buildProtocol(kind("TCP", address, 49152)) or _Unwanted()
        self.pipes.append(Pipe(client, server, self.clock, client_address=address))

    def stranger(self, jid: str) -> Stranger:
        """Somebody at a domain that no server here hosts."""
        stranger = Stranger(JID.parse(jid), self)
        return self._strangers.setdefault(stranger.jid.bare, stranger)

    def deliver(self, stanza: Stanza) -> Deferred[None] | None:
        """The way from one server to another, and to strangers; see `jabberd.interfaces.Route`."""
        assert stanza.to is not None  # the router looked at it
        for server in self.servers:
            if stanza.to.domainpart in server.router.domains:
                return server.router.route(stanza)
        stranger = self._strangers.get(stanza.to.bare)
        if stranger is None:
            raise StanzaError("remote-server-not-found")
        stranger.heard.append(read(stanza.to_bytes().decode()))
        return None

    def advance(self, seconds: float) -> None:
        """Let time pass, and everybody act when their time has come."""
        end = self.clock.seconds() + seconds
        while (due := min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)) < end:
            self.clock.rightNow = due
            self.clock.advance(0)  # whatever is due, also where no connection takes a turn
            self.flush()
        self.clock.rightNow = end
        self.clock.advance(0)
        self.flush()

    def close(self) -> None:
        """Let everybody go.

        :raises AssertionError: somebody left a stream, a session or a timer behind.
        """
        for client in self._clients:
            if client.connected:
                client.drop()
        for server in self.servers:
            server.stop()
        for federated in self.federated:
            federated.close()
        self.flush()
        assert not self.clock.getDelayedCalls(), f"timers are left: {self.clock.getDelayedCalls()}"


class _Unwanted(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()
