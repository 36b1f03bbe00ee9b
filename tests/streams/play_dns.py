"""Connect to domains through a name server on a socket; what came of each goes to standard output as JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from twisted.names import dns
from twisted.names.server import DNSServerFactory

from jabberd.streams.connect import Connector, RemoteServerError
from jabberd.streams.targets import Names, Target
from tests.streams.zone import Zone, srv

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory

HERE = "127.0.0.1"
LONG = "a-name-too-long-for-one-datagram.large.lit"


class Named(Factory):
    """Remembers for which target it was asked."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def buildProtocol(self, addr: object) -> Protocol:
        protocol = Protocol()
        protocol.factory = self
        return protocol


def zone(port: int) -> Zone:
    here = [dns.Record_A(HERE)]
    return Zone(
        {
            "_xmpp-server._tcp.capulet.lit": [srv("xmpp.capulet.lit", port)],
            "xmpp.capulet.lit": here,
            "_xmpp-server._tcp.none.lit": [srv(".", 0)],
            "_xmpp-server._tcp.large.lit": [srv(f"{number}.{LONG}", port, number) for number in range(40)],
            f"0.{LONG}": here,
        }
    )


async def outcome(connector: Connector, domain: str) -> str:
    def factory_for(target: Target) -> IProtocolFactory:
        return Named(target)

    try:
        protocol = await connector.connect(domain, factory_for, tls=None)
    except RemoteServerError as error:
        return error.condition
    protocol.transport.abortConnection()
    return str(protocol.factory.target.host)


async def play(reactor: Any) -> None:
    server = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface=HERE)
    names = DNSServerFactory(clients=[zone(server.getHost().port)])
    tcp = reactor.listenTCP(0, names, interface=HERE)
    port = tcp.getHost().port
    reactor.listenUDP(port, Datagrams(names), interface=HERE)  # type: ignore[no-untyped-call]  # see Mute
    connector = Connector(reactor, Names(reactor, (HERE, port)), limit=5)
    results = {
        each: await outcome(connector, each) for each in ("capulet.lit", "none.lit", "no.lit", "large.lit")
    }
    mute = reactor.listenUDP(0, Mute(), interface=HERE)
    deaf = Connector(reactor, Names(reactor, (HERE, mute.getHost().port)), limit=1)
    results["deaf"] = await outcome(deaf, "capulet.lit")
    sys.stdout.write(json.dumps(results))


class Datagrams(dns.DNSDatagramProtocol):
    """Cuts what is too long for a datagram, as other name servers do and Twisted's does not."""

    def writeMessage(self, message: dns.Message, address: tuple[str, int]) -> None:
        message.maxSize = 512
        super().writeMessage(message, address)


class Mute(dns.DNSDatagramProtocol):
    """A name server that hears and says nothing."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[no-untyped-call]  # Twisted has no types for it

    def datagramReceived(self, data: bytes, addr: object) -> None:
        pass


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(play(reactor)))
