"""What operators can say to a running server: ``config``, ``certificates``, ``domains``, ``modules``."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jabberd import loader
from jabberd.api import JID, Refused, operator
from jabberd.operating.backup import Backup
from jabberd.operating.certificates import listed
from jabberd.operating.check import Check, Running
from jabberd.operating.ending import Ending, Rebirth
from jabberd.operating.examine import Examination, examined
from jabberd.operating.limits import LimitVerbs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jabberd.operating.reload import Reload

__all__ = ["operating_verbs"]

Rows = list[dict[str, object]]


def operating_verbs(reload: Reload) -> list[tuple[str, str, object]]:
    """Who has verbs, as `jabberd.admin.Admin` wants it: noun, domain, object."""
    parts = reload.parts
    running = Running(parts.bound, parts.shown.table, reload.compare)
    return [
        ("", "", Backup(reload.config.settings.storage.url, parts.run)),
        ("", "", _ending(reload)),
        ("", "", Check(reload.read, parts.federation, parts.storage, running)),
        ("config", "", ConfigVerbs(reload)),
        ("limits", "", LimitVerbs(reload)),
        ("certificates", "", CertificateVerbs(reload)),
        ("domains", "", DomainVerbs(reload)),
        ("modules", "", ModuleVerbs(reload)),
    ]


def _ending(reload: Reload) -> Ending:
    parts = reload.parts
    return Ending(
        parts.hosts,
        parts.reactor,
        end=lambda: os.kill(os.getpid(), signal.SIGTERM),
        again=Rebirth(parts.reactor),
        examine=lambda: examined(reload.read().path),
    )


class ConfigVerbs(Examination):
    """``config ...``."""

    def __init__(self, reload: Reload) -> None:
        super().__init__(reload.config.path)
        self._reload = reload

    @operator("show what differs between the running server and its configuration file")
    def diff(self) -> Rows:
        """Option by option, with what a reload would do."""
        return self._reload.compare(self._reload.read())

    @operator("follow the configuration file as it is now")
    async def reload(self) -> Rows:
        """What differed, and whether it was applied or needs a restart; a bad file changes nothing."""
        return await self._reload.follow(self._reload.read())


class CertificateVerbs:
    """``certificates ...``."""

    def __init__(self, reload: Reload) -> None:
        self._reload = reload

    @operator("list the certificates that are shown, with the days until they expire")
    def list(self) -> Rows:
        """A row for each domain that has one, those that expire first ahead."""
        return listed(self._reload.parts.shown.table, datetime.now(UTC))

    @operator("read the certificate folders again")
    async def reload(self) -> Rows:
        """Those who connect from now on see what is there now; a bad folder changes nothing."""
        await self._reload.follow(self._reload.config.changed())
        return self.list()


class DomainVerbs:
    """``domains ...``."""

    def __init__(self, reload: Reload) -> None:
        self._reload = reload

    @operator("list the domains that are hosted here")
    def list(self) -> Rows:
        """With who is online, and what other servers have to prove."""
        parts = self._reload.parts
        return [
            {
                "domain": name,
                "sessions": sum(len(account.sessions) for account in host.manager.accounts),
                "modules": len(host.modules.registry.modules),
                "federation": parts.policies[name].proof,
                "certificate": name in parts.shown.table,
            }
            for name, host in sorted(parts.hosts.items())
        ]

    @operator("host one more domain, as the configuration file says or else with defaults")
    async def add(self, domain: JID) -> str:
        """The next reload or start follows the file alone."""
        if domain in self._reload.parts.hosts:
            raise Refused(f"{domain} is hosted already")
        table = self._reload.read().table.get("domains", {}).get(domain)
        await self._reload.follow(self._reload.config.changed(("domains", domain), table or {}))
        return f"{domain} is hosted; {_file('domain', known=table is not None)}"

    @operator("host a domain no more; nothing of it is deleted")
    async def remove(self, domain: JID) -> str:
        """Its clients and other servers are told ``host-gone``."""
        if domain not in self._reload.parts.hosts:
            raise Refused(
                f"{domain} is not hosted here; hosted are {', '.join(sorted(self._reload.parts.hosts))}"
            )
        table = self._reload.read().table.get("domains", {}).get(domain)
        await self._reload.follow(self._reload.config.changed(("domains", domain)))
        return f"{domain} is gone; {_file('domain', known=table is None)}"


class ModuleVerbs:
    """``modules ...``."""

    def __init__(self, reload: Reload) -> None:
        self._reload = reload

    def _chosen(self, domain: JID, switches: Mapping[str, bool]) -> list[str]:
        return loader.chosen(switches, self._reload.config.settings.domains[domain].service)

    @operator("list the modules of a domain, or of all")
    def list(self, domain: JID | None = None) -> Rows:
        """``replaceable`` says whether it can be unloaded, and its code reloaded, without a restart."""
        hosts = self._reload.parts.hosts
        if domain is not None and domain not in hosts:
            raise Refused(f"{domain} is not hosted here; hosted are {', '.join(sorted(hosts))}")
        return [
            {
                "domain": name,
                "module": module.name,
                "xep": module.xep,
                "version": module.version or None,
                "replaceable": module.replaceable,
            }
            for name in ([domain] if domain else sorted(hosts))
            for module in hosts[name].manager.modules
        ]

    @operator("switch a module on")
    async def load(self, domain: JID, module: str) -> str:
        """With its settings in the configuration file, or else with defaults."""
        if module in self._of(domain):
            raise Refused(f"{module} is loaded already")
        named = self._reload.read().modules().get(domain, {})
        await self._switch(domain, module, self._settings(domain, module) or True)
        return f"{module} is loaded; {_file('module', known=module in self._chosen(domain, named))}"

    @operator("switch a module off")
    async def unload(self, domain: JID, module: str) -> str:
        """Streams stay."""
        self._known(domain, module)
        named = self._reload.read().modules().get(domain, {})
        await self._switch(domain, module, False)
        return f"{module} is unloaded; {_file('module', known=module not in self._chosen(domain, named))}"

    @operator("load the code of a module again, where it holds no sessions")
    async def reload(self, domain: JID, module: str) -> str:
        """With the modules that require it; settings come with ``config reload``."""
        known = self._known(domain, module)
        if not known.replaceable:
            raise Refused(f"needs restart: {module} holds sessions")
        again = [module]
        for each in known.domain.modules:  # each comes after those that it requires
            if not set(again).isdisjoint(each.requires):
                again.append(each.name)
        await self._reload.follow(self._reload.config.changed(), anew=[(domain, name) for name in again])
        return f"loaded again: {', '.join(again)}"

    def _settings(self, domain: JID, module: str) -> object:
        """What the file says of it, if it is a table."""
        table: Any = self._reload.read().table
        for key in ("domains", domain, "modules", module):
            table = table.get(key, {}) if isinstance(table, dict) else {}
        return table if isinstance(table, dict) else None

    async def _switch(self, domain: JID, module: str, wanted: object) -> None:
        config = self._reload.config.changed(("domains", domain, "modules", module), wanted)
        late = [
            row for row in self._reload.compare(config) if str(row["outcome"]).startswith("needs restart: ")
        ]
        if late:
            raise Refused(str(late[0]["outcome"]))
        await self._reload.follow(config)

    def _of(self, domain: JID) -> dict[str, Any]:
        hosts = self._reload.parts.hosts
        if domain not in hosts:
            raise Refused(f"{domain} is not hosted here; hosted are {', '.join(sorted(hosts))}")
        return hosts[domain].modules.registry.modules

    def _known(self, domain: JID, module: str) -> Any:
        known = self._of(domain)
        if module not in known:
            loaded = ", ".join(known)
            others = ", ".join(each for each in loader.available() if each not in known)
            raise Refused(f"{module} is not loaded; loaded are {loaded}; there are also {others or 'none'}")
        return known[module]


def _file(what: str, *, known: bool) -> str:
    if known:
        return "the configuration file says so, too"
    return f"the configuration file does not say so of this {what}: the next reload or start follows the file"
