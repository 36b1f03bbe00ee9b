"""XEP-0485: the domain tells of itself in a node of its publish-subscribe service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

import jabberd
from jabberd.api import DomainName, Duration, E, Module, Settings, Stanza, StanzaError
from jabberd.pubsub.names import NODE_CONFIG, NS
from jabberd.pubsub.options import submitted
from jabberd.xmpp.forms import Field, Form

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IDelayedCall

    from jabberd.api import JID, Element

SERVER_INFO: Final = "http://jabber.org/network/serverinfo"
INFO: Final = "urn:xmpp:serverinfo:0"
_NODE: Final = "serverinfo"
_VERSION: Final = "jabber:iq:version"
_BEGIN: Final = 5.0  #: seconds after the start, when all domains are there
_OPTIONS: Final = {"access_model": "open", "max_items": "1", "title": "What this server is"}


class ServerInfo(Module, xep=485, version="1.0.0"):
    """Publishes which domain this is and what software serves it; with whom it talks is nobody's business.

    Where that is found, a form tells (§3).
    """

    requires = ("disco",)
    features = (INFO,)

    class Config(Settings):
        """Where and how often it is told.

        :ivar service: the publish-subscribe service; None: the first of those below this domain.
        :ivar interval: between two publications.
        """

        service: DomainName | None = None
        interval: Duration = 3600.0

    config: Config
    _timer: IDelayedCall | None = None

    async def ready(self) -> None:
        """Begin soon."""
        self._timer = self.domain.clock.callLater(_BEGIN, self._tell)

    async def stop(self) -> None:
        """Tell no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = self.domain.clock.callLater(self.config.interval, self._tell)
        told = Deferred.fromCoroutine(self._publish())
        told.addErrback(lambda why: self.log.failure("cannot publish what this server is", why))

    def extensions(self) -> Iterable[Element]:
        """See `jabberd.modules.disco.Extends`."""
        service = self._service()
        if service is not None:
            where = f"xmpp:{service}?;node={_NODE}"
            yield Form(SERVER_INFO, (Field("serverinfo-pubsub-node", values=(where,)),)).element("result")

    def _service(self) -> JID | None:
        return self.config.service or next(iter(self.domain.services), None)

    async def _publish(self) -> None:
        service = self._service()
        if service is None:
            self.log.warn(
                "{domain} has no publish-subscribe service to tell of itself", domain=self.domain.jid
            )
            return
        created = E(NS, "create", {"node": _NODE}), E(NS, "configure", None, submitted(_OPTIONS, NODE_CONFIG))
        try:
            await self._ask(service, *created)
        except StanzaError as why:
            if why.condition != "conflict":  # it is there already
                self._refused(service, why)
                return
        item = E(NS, "item", {"id": "current"}, self._about())
        try:
            await self._ask(service, E(NS, "publish", {"node": _NODE}, item))
        except StanzaError as why:
            self._refused(service, why)

    def _about(self) -> Element:
        name, version = (E(_VERSION, tag, None, text) for tag, text in _software())
        software = E(_VERSION, "query", None, name, version)
        return E(INFO, "serverinfo", None, E(INFO, "domain", {"name": self.domain.jid}), software)

    async def _ask(self, service: JID, *inside: Element) -> None:
        pubsub = E(NS, "pubsub", None, *inside)
        await self.domain.ask(Stanza.of("iq", pubsub, sender=self.domain.jid, to=service, type="set"))

    def _refused(self, service: JID, why: StanzaError) -> None:
        self.log.warn(
            "{service} does not take what {domain} tells of itself: {why}",
            service=service,
            domain=self.domain.jid,
            why=why.condition,
        )


def _software() -> tuple[tuple[str, str], tuple[str, str]]:
    return ("name", "jabberd"), ("version", jabberd.__version__)
