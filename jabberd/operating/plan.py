"""From one configuration to another without a restart: all that can fail comes before the first change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jabberd import hosting
from jabberd.operating import terms
from jabberd.operating.change import Change
from jabberd.registry import LoadError
from jabberd.xmpp.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Collection

    from jabberd.config import Config
    from jabberd.hosting import Host
    from jabberd.operating.parts import Parts

__all__ = ["Plan"]


class Plan:
    """What a server becomes.

    :param anew: domain and name of modules whose code is loaded again.
    :raises ConfigError: it cannot become so.
    """

    def __init__(self, parts: Parts, config: Config, anew: Collection[tuple[str, str]] = ()) -> None:
        self.settings = hosting.settings_of(config)
        self._parts = parts
        self._certificates = hosting.certificates(config, self.settings)
        self._trust = terms.trust(config)
        self._client_trust = terms.client_trust(config)
        self._changes: dict[str, Change] = {}
        self._coming: dict[str, Host] = {}
        self._started: list[Change | Host] = []
        domains = self.settings.domains
        modules = {
            name: hosting.module_settings(config, name, each.modules, each.service)
            for name, each in domains.items()
        }
        hosting.check_pages(config, self.settings)
        config.check()
        for name in domains:
            if name not in parts.hosts:
                self._coming[name] = parts.host(config, name, modules[name])
                continue
            if domains[name].service != parts.hosts[name].service:
                config.problem(
                    ("domains", name, "service"), "cannot change while the server runs; restart it"
                )
                continue
            fresh = [module for domain, module in anew if domain == name]
            try:
                self._changes[name] = Change(parts.hosts[name], modules[name], fresh)
            except LoadError as error:
                config.problem(("domains", name, "modules", error.module), error.said)
        config.check()

    def needs_restart(self, option: str) -> str:
        """Why the option, one of those that differ, does not change with `commit`; empty if it does."""
        if ".certificates" in option and not self._parts.shown.can_show(self._certificates):
            return "the server began without TLS" if self._certificates else "the server began with TLS"
        for name, change in self._changes.items():
            for module, why in change.later.items():
                table = f'domains."{name}".modules.{module}'
                if option == table or option.startswith(f"{table}."):
                    return why
        return ""

    async def start(self) -> None:
        """Start what is new.

        :raises LoadError: a module does not start; all is as it was.
        """
        try:
            for change in self._changes.values():
                await change.start()
                self._started.append(change)
            for host in self._coming.values():
                await _started(host)
                self._started.append(host)
        except LoadError:
            await self.undo()
            raise

    async def undo(self) -> None:
        """Stop what was started."""
        while self._started:
            each = self._started.pop()
            await (each.undo() if isinstance(each, Change) else each.modules.stop())

    def commit(self) -> None:
        """Change everything, within one turn of the reactor.

        :raises UnusableError: a certificate cannot be shown; all is as it was.
        """
        parts = self._parts
        if self._certificates and parts.shown.can_show(self._certificates):
            parts.shown.replace(self._certificates, self.settings.tls.minimum)
        parts.levels.replace(self.settings.log)
        self._change_streams()
        for change in self._changes.values():
            change.commit()
        self._leaving = [parts.hosts[name] for name in parts.hosts if name not in self.settings.domains]
        for name, host in self._coming.items():
            parts.hosts[name] = host
            parts.router.add(name, host.manager)
        for host in self._leaving:
            self._dismiss(host)
        self._change_components()
        parts.policies.update(terms.policies(self.settings))
        for host in parts.hosts.values():
            hosting.settle(host, self.settings, self._client_trust)
            host.manager.url = hosting.public_url(self.settings, host.manager.jid, parts.bound())
        parts.let_operate(self.settings)
        parts.clients.hosts = hosting.open_hosts(parts.hosts)

    async def finish(self) -> None:
        """Stop what is not needed any more."""
        for change in self._changes.values():
            await change.finish()
        for host in self._leaving:
            await host.modules.stop()

    def _change_streams(self) -> None:
        settings, parts = self.settings, self._parts
        if parts.relay is not None:
            parts.relay.patience = settings.limits.negotiation_timeout
        parts.clients.use(terms.client_streams(settings, parts.clients.traffic), settings.limits)
        old = parts.federation.terms
        shared = replace(
            old,
            trust=self._trust,
            streams=terms.server_streams(settings, old.streams.traffic),
            bidi=settings.federation.bidi,
            unacked=settings.federation.unacknowledged,
            unacked_size=settings.federation.unacknowledged_size,
        )
        parts.servers.use(shared, settings.federation)
        asks_the_same = parts.federation.settings.resolver == settings.federation.resolver
        resolver = parts.federation.connector.resolver if asks_the_same else None
        connector = terms.connector(settings, parts.reactor, parts.bound, resolver)
        parts.federation.use(shared, connector, settings.federation)

    def _change_components(self) -> None:
        """Behind the domains: what was a component may have become one, and the other way."""
        settings, components = self.settings, self._parts.components
        for name in [each for each in components.components if each not in settings.components]:
            self._sever(name)
        components.use(terms.secrets(settings), terms.server_streams(settings, components.traffic))

    def _dismiss(self, host: Host) -> None:
        """End a domain: RFC 6120 §4.9.3.5.  Whoever saw its users' presence learns that they are gone."""
        parts, name, gone = self._parts, host.manager.jid, StreamError("host-gone")
        parts.clients.hosts = {each: of for each, of in parts.clients.hosts.items() if each != name}
        host.manager.close_all(gone)
        for client in [each for each in parts.clients.streams if each.host is host.manager]:
            client.close(gone)
        self._sever(name)
        parts.router.remove(name)
        del parts.hosts[name]

    def _sever(self, name: str) -> None:
        """End what there is between other servers and a domain of ours that is no more."""
        parts, gone = self._parts, StreamError("host-gone")
        for (ours, _), link in [*parts.federation.links.items()]:
            if ours == name:
                link.close(gone)
        for server in [*parts.servers.streams]:
            if any(ours == name for ours, _ in server.pairs):
                server.close(gone)
        parts.policies.pop(name, None)


async def _started(host: Host) -> None:
    try:
        await host.modules.start()
    except Exception as error:
        raise LoadError("?", f"does not start at {host.manager.jid} ({error})") from error
