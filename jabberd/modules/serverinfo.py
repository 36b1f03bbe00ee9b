"""XEP-0485: the domain tells of itself in a node of its publish-subscribe service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, gatherResults

import jabberd
from jabberd.api import JID, DomainName, Duration, E, Module, Settings, Stanza, StanzaError
from jabberd.modules.disco import Disco
from jabberd.pubsub.names import NODE_CONFIG, NS, OWNER
from jabberd.pubsub.options import submitted
from jabberd.xmpp.forms import Field, Form

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IDelayedCall

    from jabberd.api import Element

SERVER_INFO: Final = "http://jabber.org/network/serverinfo"
INFO: Final = "urn:xmpp:serverinfo:0"
_NODE: Final = "serverinfo"
_DISCO: Final = "http://jabber.org/protocol/disco#info"
_MOST: Final = 300  #: domains of which is told: an item has so much room
_WAYS: Final = {"in": "incoming", "out": "outgoing"}
_VERSION: Final = "jabber:iq:version"
_BEGIN: Final = 5.0  #: seconds after the start, when all domains are there
_REFUSALS: Final = frozenset({"forbidden", "not-allowed", "not-authorized"})
_OPTIONS: Final = {"access_model": "open", "max_items": "1", "title": "What this server is"}


class ServerInfo(Module, xep=485, version="1.0.0"):
    """Publishes which domain this is and what software serves it, and with whom it talks if that is wished.

    Where that is found, a form tells (§3).  The node may be somebody else's, who could tell in it what he
    likes (§7): as long as it is, neither the form nor the feature says that this domain publishes there.
    """

    requires = ("disco",)
    features: tuple[str, ...] = (INFO,)

    class Config(Settings):
        """Where and how often it is told.

        :ivar service: the publish-subscribe service; None: the first of those below this domain.
        :ivar interval: between two publications.
        :ivar federation: whether it is told with how many domains this one is connected, and how; the names
            of those that publish likewise are told, too (§7).
        """

        service: DomainName | None = None
        interval: Duration = 3600.0
        federation: bool = False

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
        if service is not None and self.features:
            where = f"xmpp:{service}?;node={_NODE}"
            yield Form(SERVER_INFO, (Field("serverinfo-pubsub-node", values=(where,)),)).element("result")

    def _service(self) -> JID | None:
        return self.config.service or next(iter(self.domain.services_by("pubsub")), None)

    async def _publish(self) -> None:
        service = self._service()
        if service is None:
            self.log.warn(
                "{domain} has no publish-subscribe service to tell of itself", domain=self.domain.jid
            )
            return
        try:
            ours = await self._made(service)
            self._vouch(ours=ours)
            if not ours:
                self._warn(
                    service, f"the node {_NODE} is somebody else's; delete it, or let the domain own it"
                )
                return
            item = E(NS, "item", {"id": "current"}, self._about(await self._federation()))
            await self._ask(service, E(NS, "pubsub", None, E(NS, "publish", {"node": _NODE}, item)))
        except StanzaError as why:
            if why.condition in _REFUSALS:
                self._vouch(ours=False)
            self._warn(service, why.condition)

    async def _made(self, service: JID) -> bool:
        """Make the node (§5), if it is not there; whether it belongs to this domain."""
        configure = E(NS, "configure", None, submitted(_OPTIONS, NODE_CONFIG))
        try:
            await self._ask(service, E(NS, "pubsub", None, E(NS, "create", {"node": _NODE}), configure))
        except StanzaError as why:
            if why.condition != "conflict":
                raise
            return await self._owns(service)
        return True

    async def _owns(self, service: JID) -> bool:
        """Whether this domain owns the node: its owners alone are shown how it is configured."""
        asked = E(OWNER, "pubsub", None, E(OWNER, "configure", {"node": _NODE}))
        try:
            await self._ask(service, asked, type="get")
        except StanzaError as why:
            return why.condition != "forbidden"  # not every service shows it
        return True

    def _vouch(self, *, ours: bool) -> None:
        """Advertise what is in the node as this domain's own, or not."""
        features = (INFO,) if ours else ()
        if features != self.features:
            self.features = features
            disco = self.domain.module("disco")
            assert isinstance(disco, Disco)
            disco.changed()

    def _about(self, federation: Iterable[Element]) -> Element:
        name, version = (E(_VERSION, tag, None, text) for tag, text in _software())
        software = E(_VERSION, "query", None, name, version)
        domain = E(INFO, "domain", {"name": self.domain.jid}, *federation)
        return E(INFO, "serverinfo", None, domain, software)

    async def _federation(self) -> list[Element]:
        """With whom this domain is connected (§4); nothing if that is not to be told."""
        if not self.config.federation:
            return []
        ways: dict[JID, set[str]] = {}
        for row in await self.domain.operators.call("links", "list", {"domain": None}):
            if row["ours"] == self.domain.jid and row["state"] == "up" and len(ways) < _MOST:
                way = "bidi" if row["bidi"] else _WAYS[row["way"]]
                ways.setdefault(JID.parse(row["theirs"]), set()).add(way)
        named = await gatherResults([Deferred.fromCoroutine(self._agrees(each)) for each in ways])
        remote = (
            E(
                INFO,
                "remote-domain",
                {"name": domain if agrees else None},
                *(E(INFO, "connection", {"type": type}) for type in sorted(types)),
            )
            for (domain, types), agrees in zip(ways.items(), named, strict=True)
        )
        return [E(INFO, "federation", None, *remote)]

    async def _agrees(self, domain: JID) -> bool:
        """Whether a domain publishes likewise, and so may be named (§7)."""
        question = Stanza.of("iq", E(_DISCO, "query"), sender=self.domain.jid, to=domain, type="get")
        try:
            answer = await self.domain.ask(question)
        except StanzaError:
            return False
        found = answer.child(f"{{{_DISCO}}}query")
        return found is not None and any(each.get("var") == INFO for each in found)

    async def _ask(self, service: JID, pubsub: Element, type: str = "set") -> None:
        await self.domain.ask(Stanza.of("iq", pubsub, sender=self.domain.jid, to=service, type=type))

    def _warn(self, service: JID, why: str) -> None:
        self.log.warn(
            "{service} does not take what {domain} tells of itself: {why}",
            service=service,
            domain=self.domain.jid,
            why=why,
        )


def _software() -> tuple[tuple[str, str], tuple[str, str]]:
    return ("name", "jabberd"), ("version", jabberd.__version__)
