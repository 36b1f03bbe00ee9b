"""Other modules for a running domain: prepared first, then there between two turns of the reactor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from twisted.logger import Logger

from jabberd import loader
from jabberd.registry import LoadError, Registry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from types import ModuleType

    from jabberd.api import Module, Settings
    from jabberd.hosting import Host

__all__ = ["Change"]

log = Logger()


class Change:
    """From the modules that a domain has to those that it shall have.

    A module that stays keeps its instance and its state, and gets its new settings.

    :param wanted: by name the settings of all that it shall have.
    :param anew: those of which a new instance takes over, made from their code as it is now.
    :ivar later: by name, why that needs a restart; these modules stay as they are.
    :raises LoadError: it cannot be; nothing has changed.
    """

    def __init__(self, host: Host, wanted: Mapping[str, Settings], anew: Collection[str] = ()) -> None:
        self.later: dict[str, str] = {}
        self._host = host
        self._settings = wanted
        self._now = dict(host.modules.registry.modules)
        self._fresh: list[Module] = []
        self._started: list[Module] = []
        modules = {each.name: each for each in self._chosen(wanted, anew)}
        order = loader.in_order({name: type(module) for name, module in modules.items()})
        self._next = [modules[name] for name in order]
        self._leaving = [each for each in self._now.values() if each not in self._next]
        self._registry = Registry(self._next)

    def _chosen(self, wanted: Mapping[str, Settings], anew: Collection[str]) -> Iterator[Module]:
        for name, module in self._now.items():
            if (name in anew or name not in wanted) and not module.replaceable:
                self.later[name] = "holds sessions"
                yield module
            elif name in anew:
                yield self._made(name, _imported_anew(name, type(module)))
            elif name in wanted:
                yield module
        for name in wanted:
            if name not in self._now:
                cls = loader.module_class(name)
                if loader.has_residents(cls):
                    self.later[name] = (
                        "keeps in memory what accounts that are loaded already were loaded without"
                    )
                else:
                    yield self._made(name, cls)

    def _made(self, name: str, cls: type[Module]) -> Module:
        settings = vars(self._settings[name])  # which may be of a class that the old code had
        module = loader.made(name, cls, self._host.manager, settings)
        self._fresh.append(module)
        return module

    async def start(self) -> None:
        """Start what is new; it is not asked anything yet.

        :raises LoadError: one does not start; none of them runs then.
        """
        for module in [each for each in self._next if each in self._fresh]:
            try:
                await module.start()
            except Exception as error:
                log.failure("module {name} does not start", name=module.name)
                await self.undo()
                raise LoadError(module.name, f"does not start ({type(error).__name__}: {error})") from error
            self._started.append(module)

    async def undo(self) -> None:
        """Stop what was started."""
        for module in reversed(self._started):
            await _stop(module)

    def commit(self) -> None:
        """Have them take over, all at once."""
        for module in self._next:
            if module.name in self._settings and module not in self._fresh and module.name not in self.later:
                before, module.config = module.config, self._settings[module.name]
                if module.config != before:
                    _tell(module, before)
        self._host.modules.become(self._next, self._registry)
        self._host.manager.registry = self._registry
        self._host.manager.offers.clear()

    async def finish(self) -> None:
        """Stop those that left."""
        for module in self._started:
            try:
                await module.ready()
            except Exception:  # noqa: BLE001  # it serves already
                log.failure("module {name} is not ready", name=module.name)
        self._host.manager.offers.clear()  # some know only now what they offer
        for module in reversed(self._leaving):
            await _stop(module)


def _tell(module: Module, before: Settings) -> None:
    try:
        module.reconfigured(before)
    except Exception:  # noqa: BLE001  # the others follow their settings, too
        log.failure("module {name} does not follow its settings", name=module.name)


async def _stop(module: Module) -> None:
    try:
        await module.stop()
    except Exception:  # noqa: BLE001  # the others have something to end, too
        log.failure("module {name} did not stop as it should", name=module.name)


def _imported_anew(name: str, cls: type[Module]) -> type[Module]:
    """The class of a module, from its files as they are now.

    :raises LoadError: they cannot be used; the code that was loaded before stays.
    """
    place = cls.__module__
    old: dict[str, ModuleType] = {
        each: sys.modules.pop(each) for each in [*sys.modules] if f"{each}.".startswith(f"{place}.")
    }
    try:
        return loader.module_class(name)
    except LoadError:
        sys.modules.update(old)
        raise
