from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from jabberd.testing import Network
from tests.testing.test_wire import Listener

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress


class Greeter(Listener):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(f"hello {self.transport.getPeer().host}".encode())  # type: ignore[attr-defined]  # an IP address


class Closed(Factory):
    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return None


@pytest.fixture
def network() -> Network:
    return Network(Clock())


def joined(network: Network, host: str) -> Listener:
    connecting: Deferred[Listener] = network.connect(host, 5269, Factory.forProtocol(Listener))
    return connecting.result  # type: ignore[return-value]  # it has fired


@pytest.mark.parametrize(("host", "peer"), [("192.0.2.1", b"127.0.0.1"), ("2001:db8::1", b"::1")])
def test_a_client_reaches_whoever_listens(network: Network, host: str, peer: bytes) -> None:
    network.listen(host, 5269, Factory.forProtocol(Greeter))
    first, second = joined(network, host), joined(network, host)
    network.flush()
    assert first.heard == second.heard == b"hello " + peer
    assert [pipe.client.protocol for pipe in network.pipes] == [first, second]


async def test_where_nobody_listens_a_connection_is_refused(network: Network) -> None:
    network.listen("192.0.2.1", 5269, Factory.forProtocol(Greeter))
    with pytest.raises(RefusedError):
        await network.connect("192.0.2.1", 5222, Factory.forProtocol(Listener))


def test_a_silent_address_never_answers(network: Network) -> None:
    network.silent.add(("192.0.2.1", 5269))
    connecting: Deferred[object] = network.connect("192.0.2.1", 5269, Factory.forProtocol(Listener))
    network.flush()
    assert not connecting.called


def test_a_server_that_builds_no_protocol_closes(network: Network) -> None:
    network.listen("192.0.2.1", 5269, Closed())
    client = joined(network, "192.0.2.1")
    network.flush()
    assert isinstance(client.ended, ConnectionDone)


def test_endless_talk_fails_the_test(network: Network) -> None:
    class Echo(Greeter):
        def dataReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.write(data)

    network.listen("192.0.2.1", 5269, Factory.forProtocol(Echo))
    network.connect("192.0.2.1", 5269, Factory.forProtocol(Echo))
    with pytest.raises(AssertionError, match="still talk"):
        network.flush(turns=50)
