"""``check``: whether all that a server needs is there, and what to do about what is not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from jabberd import hosting, loader
from jabberd.api import JID, Refused, operator
from jabberd.config import ConfigError
from jabberd.interfaces import StorageError
from jabberd.operating import terms
from jabberd.operating.examine import examine
from jabberd.operating.findings import Finding, reported
from jabberd.operating.handshake import places, play
from jabberd.operating.surroundings import files, keys, ports, room
from jabberd.streams import vouch
from jabberd.streams.proof import Pair
from jabberd.streams.targets import NotResolvedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from jabberd.config import Config
    from jabberd.interfaces import Storage
    from jabberd.streams.certfiles import ServerCertificate
    from jabberd.streams.federation import Federation
    from jabberd.streams.proof import Policy

__all__ = ["Check", "Running"]

_SOON: Final = timedelta(days=14)
_SRV: Final = "publish _xmpp-{service}._tcp.{domain} SRV 0 5 {port} YOUR.HOST, and addresses of that host"


@dataclass(frozen=True, slots=True)
class Running:
    """The server that runs, as far as it can differ from its files.

    :ivar bound: kind, address and port of each listener.
    :ivar shown: by domain the certificate that those see who connect.
    :ivar differences: gives a row for each option that it does not follow as a configuration says it.
    """

    bound: Callable[[], Iterable[tuple[str, str, int]]]
    shown: Mapping[str, ServerCertificate]
    differences: Callable[[Config], list[dict[str, object]]]


class Check:
    """``check``.

    :param config: gives the configuration to look at, as it is in the file now.
    :param running: None: no server runs.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        federation: Federation,
        storage: Storage,
        running: Running | None,
    ) -> None:
        self._config = config
        self._federation = federation
        self._storage = storage
        self._running = running

    @operator("examine configuration, certificates, DNS, ports, storage; or the way to another domain")
    async def check(self, federation: JID | None = None) -> list[str]:
        """A line for each thing that was looked at.

        :param federation: a domain of others, to play the handshake with.
        :raises Refused: something is wrong; the text says of each what to do.
        """
        if federation is not None:
            return reported([each async for each in play(self._federation, *self._ours(federation))])
        config = self._config()
        try:
            examine(config)
        except ConfigError as error:
            said = (line.rpartition("; ") for line in str(error).splitlines())
            return reported(Finding("configuration", wrong, remedy) for wrong, _, remedy in said)
        bound = self._running.bound() if self._running else ()
        return reported(
            [
                *self._followed(config),
                *self._certificates(config),
                *[each async for each in self._dns(config)],
                *[each async for each in self._pages(config, bound)],
                *_components(config),
                *_modules(config),
                *ports(config, {(host, port) for _, host, port in bound}),
                files(),
                *room(config.settings.storage.url),
                await self._reads(),
            ]
        )

    def _followed(self, config: Config) -> Iterator[Finding]:
        yield Finding("configuration", f"{config.name} is right")
        for row in self._running.differences(config) if self._running else ():
            remedy = "jabberctl restart" if "restart" in str(row["outcome"]) else "jabberctl config reload"
            said = f"the running server has {row['now'] or 'none'}, the file {row['then'] or 'none'}"
            yield Finding(f"configuration {row['option']}", said, remedy)

    async def _dns(self, config: Config) -> AsyncIterator[Finding]:
        """Where other servers and clients look for the domains."""
        from jabberd.streams.lookup import find_targets  # noqa: PLC0415 - twisted.names: half a MiB

        connector = self._federation.connector
        clients = any(each.kind == "c2s" for each in config.settings.listeners)
        for domain, policy in terms.policies(config.settings).items():
            if policy.proof != "off":
                remedy = _SRV.format(service="server", domain=domain, port=5269)
                found = connector.targets(domain)
                async for each in places(f"dns {domain}", found, connector.resolver, remedy):
                    yield each
            if clients and domain in config.settings.domains:
                remedy = _SRV.format(service="client", domain=domain, port=5222)
                found = find_targets(domain, connector.resolver, service="client")
                async for each in places(f"dns {domain} for clients", found, connector.resolver, remedy):
                    yield each

    async def _pages(self, config: Config, bound: Iterable[tuple[str, str, int]]) -> AsyncIterator[Finding]:
        """Whether others find the place where the domains' pages are."""
        from jabberd.streams.lookup import find_addresses  # noqa: PLC0415 - twisted.names: half a MiB

        resolver, listeners = self._federation.connector.resolver, config.settings.listeners
        if not any(each.kind == "web" for each in listeners):
            return
        doors = [*bound] or [(each.full_kind, each.address, each.port) for each in listeners]
        for name, domain in config.settings.domains.items():
            url = hosting.public_url(config.settings, name, doors)
            if url and any(map(loader.needs_pages, loader.chosen(domain.modules, domain.service))):
                host = urlsplit(url).hostname or ""
                try:
                    addresses = ", ".join(map(str, await find_addresses(host, resolver)))
                    yield Finding(f"pages {name}", f"{url} is {addresses}")
                except NotResolvedError as error:
                    remedy = f"publish addresses of {host}, or say with url where others reach them"
                    yield Finding(f"pages {name}", f"{url}: {error}", remedy)

    def _ours(self, theirs: JID) -> tuple[Pair, Policy]:
        for name in self._config().settings.domains:
            policy = self._federation.terms.hosted(name)
            if policy is not None and policy.proof != "off":
                return Pair(name, theirs.domain), policy
        raise Refused("no domain here talks to other servers: federation is off")

    def _certificates(self, config: Config) -> Iterator[Finding]:
        found = hosting.certificates(config, config.settings)
        yield from keys(found.values())
        for domain, each in found.items():
            what, expires = f"certificate {domain}", f"{each.path} expires on {each.expires:%Y-%m-%d}"
            soon = each.expires - datetime.now(UTC) < _SOON
            yield Finding(what, expires, "renew it now" if soon else "")
            chain = [one.public_bytes(Encoding.DER) for one in (each.leaf, *each.chain)]
            verdict = vouch.judge(chain, domain, self._federation.terms.trust)
            remedy = "put its authorities behind it in the file (fullchain), or get one that others trust"
            said = verdict.objection or "its chain and names are right"
            yield Finding(what, said, "" if verdict else remedy)
            shown = self._running.shown.get(domain) if self._running else None
            if shown is not None and shown.leaf != each.leaf:
                said = f"the running server shows one that expires on {shown.expires:%Y-%m-%d}"
                yield Finding(what, said, "jabberctl certificates reload")

    async def _reads(self) -> Finding:
        try:
            await self._storage.keyed("server", str).get("localhost")
        except StorageError as error:
            return Finding("storage", str(error), "see that the database runs and has room")
        return Finding("storage", "it can be read")


def _components(config: Config) -> Iterator[Finding]:
    """Whether components have a door."""
    named = ", ".join(sorted(config.settings.components))
    if named and not any(each.kind == "component" for each in config.settings.listeners):
        yield Finding("components", f"{named} cannot connect", 'add a listener of the kind "component"')


def _modules(config: Config) -> Iterator[Finding]:
    """What modules need of this machine."""
    for name, domain in config.settings.domains.items():
        found = hosting.module_settings(config, name, domain.modules, domain.service)
        for module, settings in found.items():
            for what, said, remedy in loader.module_class(module).surroundings(settings):
                yield Finding(f"{module} {name}: {what}", said, remedy)
