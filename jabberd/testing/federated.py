"""The way between servers of one `Network` as it is in the world: TLS, EXTERNAL, links and queues."""

from __future__ import annotations

from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.names.error import DNSNameError

from jabberd.settings import Federation as Settings
from jabberd.storage.memory import MemoryStorage
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
from jabberd.testing.server import authority, certificate
from jabberd.xmpp.errors import StreamError

if TYPE_CHECKING:
    from jabberd.router import Router
    from jabberd.testing.internet import Internet

__all__ = ["Federated"]

PORT: Final = 5269


class Federated:
    """One server's links to others, and its door for theirs.

    :param hosts: where each domain of the network is; this server's domains are added.
    :ivar route: the default route of its router.
    :ivar policies: by domain, what it asks of others.
    """

    def __init__(self, internet: Internet, clock: Any, hosts: dict[str, Target], *domains: str) -> None:
        address = f"192.0.2.{len(hosts) + 1}"
        hosts.update((domain, Target(address, PORT)) for domain in domains)
        self.policies = {domain: Policy() for domain in domains}
        self._terms = Terms(
            hosted=self.policies.get,
            contexts=Contexts("xmpp-server", {domain: certificate(domain) for domain in domains}),
            trust=_trust(),
            secret=f"secret of {', '.join(domains)}",
            streams=StreamSettings(),
            clock=clock,
        )
        connector = Connector(clock, _NoNames(), hosts=hosts, endpoint=internet.endpoint)
        self.route = Federation(
            self._terms, connector, Settings(), Spool(MemoryStorage().archive("spool of links"))
        )
        self._internet = internet
        self._address = address

    def join(self, router: Router) -> None:
        """Take what comes from other servers to this one's router."""
        self.route.join(router)
        self.door = ServerFactory(self._terms, router, self.route)
        self._internet.listen(self._address, PORT, self.door)

    def close(self) -> None:
        """End all links."""
        self.route.close(1.0)
        self.door.close_all(StreamError("system-shutdown"))


def _trust() -> Trust:
    with NamedTemporaryFile(suffix=".pem") as file:
        file.write(authority.certificate_pem())
        file.flush()
        return Trust([file.name])


class _NoNames:
    """A name server that knows nobody."""

    def lookupService(self, *_: object, **__: object) -> Deferred[Any]:
        return fail(DNSNameError())

    lookupAddress = lookupIPV6Address = lookupService
