"""A name server on a loopback port, whose number goes to standard output; it ends with its standard input."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor, stdio
from twisted.internet.protocol import Protocol
from twisted.names import dns
from twisted.names.server import DNSServerFactory

from tests.streams.zone import Zone, srv

HERE: list[object] = [dns.Record_A("127.0.0.1")]
ZONE: dict[str, list[object]] = {
    "_xmpp-client._tcp.montague.lit": [srv("xmpp.montague.lit", 5222)],
    "_xmpps-client._tcp.montague.lit": [srv("xmpp.montague.lit", 5223, 1)],
    "_xmpp-server._tcp.montague.lit": [srv("xmpp.montague.lit", 5269)],
    "xmpp.montague.lit": HERE,
    "_xmpp-client._tcp.example.org": [srv("xmpp.example.org", 5222)],
    "xmpp.example.org": HERE,
    "example.org": HERE,
    "_xmpp-server._tcp.capulet.lit": [srv("xmpp.montague.lit", 5269)],
}


class UntilTheEnd(Protocol):
    """Ends the process with its input."""

    def connectionLost(self, reason: object = None) -> None:
        running.stop()


running: Any = reactor

if __name__ == "__main__":
    stdio.StandardIO(UntilTheEnd())
    protocol = dns.DNSDatagramProtocol(DNSServerFactory(clients=[Zone(ZONE)]))
    port = running.listenUDP(0, protocol, interface="127.0.0.1")
    sys.__stdout__.write(f"{port.getHost().port}\n")  # type: ignore[union-attr]  # it is there
    sys.__stdout__.flush()  # type: ignore[union-attr]  # it is there
    running.run()
