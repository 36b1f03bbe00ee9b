"""Finds modules, puts them in order, binds what they declare, starts them and stops them.

A module is found by its name: ``jabberd.modules.NAME`` holds one `Module` subclass, or an installed
package offers one by an entry point of the group ``jabberd.modules``.
"""

from __future__ import annotations

import pkgutil
import sys
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from jabberd import modules
from jabberd.api import Archive, Keyed, Module, Ordered
from jabberd.api.declarations import PageDeclared
from jabberd.registry import LoadError, Registry
from jabberd.typed import read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.metadata import EntryPoints

    from jabberd.api import Domain, Settings

__all__ = [
    "BESIDE",
    "DEFAULT",
    "ENTRY_POINTS",
    "LoadError",
    "Modules",
    "available",
    "chosen",
    "has_residents",
    "in_order",
    "made",
    "module_class",
    "needs_pages",
]

log = Logger()

ENTRY_POINTS: Final = "jabberd.modules"

#: What every domain has that does not switch it off.
DEFAULT: Final = (
    "disco",
    "ping",
    "version",
    "time",
    "last",
    "offline",
    "session",
    "sm",
    "bind2",
    "fast",
    "cam",
    "commands",
    "motd",
    "registration",
    "welcome",
    "administration",
    "sid",
    "carbons",
    "retraction",
    "blocking",
    "reports",
    "csi",
    "push",
    "caps",
    "pep",
    "private",
    "bookmarks",
    "vcard",
    "avatars",
    "displayed",
    "contact",
)


#: The same for a domain without accounts, which a module serves.
SERVICE_DEFAULT: Final = ("commands", "disco", "ping", "version", "time")

#: What belongs to such a service beside the module that serves it.
BESIDE: Final = {
    "muc": (
        "muc_retraction",
        "muc_moderation",
        "muc_avatars",
        "muc_search",
        "muc_hats",
        "muc_slow",
        "muc_activity",
        "muc_versions",
        "muc_tokens",
    )
}


def chosen(switches: Mapping[str, bool], service: str = "") -> list[str]:
    """The names of a domain's modules: the default ones and those switched on, less those switched off.

    :param service: the module that serves the domain, if it has no accounts.
    """
    usual = (*SERVICE_DEFAULT, service, *BESIDE.get(service, ())) if service else DEFAULT
    return [name for name in dict.fromkeys((*usual, *switches)) if switches.get(name, True)]


def available() -> list[str]:
    """The names of all modules that can be found, sorted."""
    return sorted(_in_tree() | {each.name for each in _offered()})


def module_class(name: str) -> type[Module]:
    """The module of that name; one of ours cannot be replaced by somebody else's.

    :raises LoadError: there is none, there are several, or it cannot be imported.
    """
    try:
        found = _ours(name) if _is_ours(name) else _theirs(name)
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(name, f"cannot be imported ({type(error).__name__}: {error}); repair it") from error
    if len(found) != 1:
        raise LoadError(name, f"there are {len(found)} modules of this name; there must be one")
    return found[0]


def _is_ours(name: str) -> bool:
    """Whether the folder has it; it is not read for what has been imported, as domains are many."""
    return ("." not in name and f"{modules.__name__}.{name}" in sys.modules) or name in _in_tree()


def _in_tree() -> set[str]:
    return {found.name for found in pkgutil.iter_modules(modules.__path__)}


def _ours(name: str) -> list[type[Module]]:
    """The modules that are defined in the file or package of that name."""
    place = import_module(f"{modules.__name__}.{name}")
    return [
        value
        for value in vars(place).values()
        if _is_module(value) and f"{value.__module__}.".startswith(f"{place.__name__}.")
    ]


def _theirs(name: str) -> list[type[Module]]:
    found = [offered.load() for offered in _offered() if offered.name == name]
    if not found:
        raise LoadError(name, f"there is no such module; {_suggestion(name, available())}")
    if not all(map(_is_module, found)):
        raise LoadError(name, f"its entry point names {found[0]!r}; name a subclass of jabberd.api.Module")
    return found


def _offered() -> EntryPoints:
    """What installed packages offer."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - our own modules need nothing of it

    return entry_points(group=ENTRY_POINTS)


def _is_module(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Module) and value is not Module


def _suggestion(name: str, known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 - only where there is a mistake

    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"


class Modules:
    """The modules of one domain, from their configuration to their end.

    Whatever can be wrong with them is found when this is made, before the reactor runs.

    :param configured: for each module's name its settings, as an instance of its ``Config`` or as a table.
    :param classes: modules that need not be looked for, by name.
    :ivar registry: what they declared.
    """

    def __init__(
        self,
        domain: Domain,
        configured: Mapping[str, Settings | Mapping[str, object]],
        classes: Mapping[str, type[Module]] | None = None,
    ) -> None:
        """Make all modules.

        :raises LoadError: for the first thing that is wrong.
        """
        found = classes or {}
        wanted = {name: found.get(name) or module_class(name) for name in configured}
        self._modules = [made(name, wanted[name], domain, configured[name]) for name in in_order(wanted)]
        self._started: list[Module] = []
        self.registry = Registry(self._modules)

    async def start(self) -> None:
        """Start them, each after those it requires; if one fails, stop those already started."""
        try:
            for module in self._modules:
                await module.start()
                self._started.append(module)
            for module in self._modules:
                await module.ready()
        except Exception:
            await self.stop()
            raise

    def become(self, modules: Iterable[Module], registry: Registry) -> None:
        """Have these from now on; they are started, and are stopped with `stop`."""
        self._modules = list(modules)
        self._started = list(self._modules)
        self.registry = registry

    async def stop(self) -> None:
        """Stop those that were started, in the opposite order; one that fails does not keep the others."""
        while self._started:
            module = self._started.pop()
            try:
                await module.stop()
            except Exception:  # noqa: BLE001  # the others have something to end, too
                log.failure("module {name} did not stop as it should", name=module.name)


def check_service(loaded: Modules, service: str) -> None:
    """See that a domain is served by the module that shall serve it, and by no other.

    :raises LoadError: it is not.
    """
    serves = loaded.registry.serves
    if serves is None and service:
        raise LoadError(service, "serves no domain; it is no service")
    found: str = "" if serves is None else serves.__self__.name  # type: ignore[attr-defined]  # it is bound
    if found != service:
        raise LoadError(found, f'serves a whole domain; write service = "{found}" for a domain of its own')


def in_order(classes: Mapping[str, type[Module]]) -> list[str]:
    """The names so that each comes after those that it requires or follows; the same order every time."""
    for name, cls in classes.items():
        for required in cls.requires:
            if required not in classes:
                raise LoadError(name, f"requires {required}, which is missing; {_remedy(required, classes)}")
    try:
        return list(TopologicalSorter(_before(classes)).static_order())
    except CycleError as error:
        circle: list[str] = error.args[1][::-1]
        raise LoadError(
            circle[0], f"requires itself: {' requires '.join(circle)}; break the circle"
        ) from None


def _before(classes: Mapping[str, type[Module]]) -> dict[str, list[str]]:
    """For each name those that are started before it."""
    return {
        name: [*cls.requires, *(other for other in cls.after if other in classes)]
        for name, cls in classes.items()
    }


def _remedy(required: str, present: Iterable[str]) -> str:
    known = available()
    return f"switch {required} on" if required in known else _suggestion(required, {*known, *present})


def made(name: str, cls: type[Module], domain: Domain, settings: Settings | Mapping[str, object]) -> Module:
    """An instance for the domain.

    :raises LoadError: its settings or stores are wrong.
    """
    config = _validated(name, cls.Config, settings)
    try:
        stores = {attribute: domain.bind(declared) for attribute, declared in _stores(cls)}
    except ValueError as error:
        raise LoadError(name, f"{error}; rename the store") from None
    return cls(name, domain, config, stores, Logger(namespace=f"{modules.__name__}.{name}"))


def _validated(name: str, cls: type[Settings], settings: object) -> Settings:
    if isinstance(settings, cls):
        return settings
    told: list[str] = []
    config = read(cls, settings, lambda keys, said: told.append(f"{'.'.join(map(str, keys))} {said}"))
    if config is None:
        raise LoadError(name, f"its setting {told[0]}")
    return config


def needs_pages(name: str) -> bool:
    """Whether a module gives pages without which it is of no use, and can be imported at all."""
    try:
        declarations = module_class(name).declarations
    except LoadError:
        return False
    return any(isinstance(declared, PageDeclared) and declared.needed for _, declared in declarations)


def has_residents(cls: type[Module]) -> bool:
    """Whether accounts are loaded with what the module keeps of them."""
    return any(isinstance(declared, Keyed) and declared.resident for _, declared in _stores(cls))


def _stores(cls: type[Module]) -> Iterable[tuple[str, Keyed[object] | Archive | Ordered[object]]]:
    for attribute in dir(cls):
        declared = getattr(cls, attribute, None)
        if isinstance(declared, Keyed | Archive | Ordered):
            yield attribute, declared
