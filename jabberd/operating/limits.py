"""``limits ...``: which limits are in force, and who is held back by them."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from jabberd.api import operator
from jabberd.jsm.limits import held_back, meters
from jabberd.operating.options import options
from jabberd.rates import HeldBack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jabberd.operating.reload import Reload
    from jabberd.streams.protocol import StreamProtocol

__all__ = ["LimitVerbs"]

#: The tables in which every number is a limit, of size, count, rate or time; a port is none.
_NUMBERS: Final = re.compile(r"(federation|log\.budget|domains\..*\.modules)\b.*(?<!\.port)")

Rows = list[dict[str, object]]


class LimitVerbs:
    """``limits ...``."""

    def __init__(self, reload: Reload) -> None:
        self._reload = reload
        self._parts = reload.parts

    @operator("list the limits in force, with how often each was met since the start")
    def show(self, part: str = "") -> Rows:
        """``held`` counts who is held back now; ``met`` is empty where nobody counts.

        :param part: what stands in the names of those that are listed, such as ``upload``.
        """
        met, held = self.met(), Counter(each.limit for each in self._held())
        configured = options(self._reload.config).items()
        in_force = {name: value for name, value in configured if _is_limit(name, value)}
        in_force["connections in all"] = self._all()
        return [
            {"limit": name, "value": value, "held": held[key] or None, "met": met.get(key)}
            for name, value in in_force.items()
            if part in name
            for key in [name.removeprefix("limits.")]
        ]

    def _all(self) -> str:
        """How many connections there is room for: it follows from the system's limit of open files."""
        return str(self._parts.clients.addresses.most or "any number")

    @operator("list who is held back at this moment, by which limit")
    def held(self, most: int = 100) -> Rows:
        """Addresses, accounts, domains and streams; of accounts those that are in memory."""
        rows = [each._asdict() for each in self._held()]
        return rows[:most]

    def _held(self) -> Iterator[HeldBack]:
        parts = self._parts
        yield from parts.clients.addresses.held()
        yield from _slowed("rate", parts.clients.streams)
        yield from _slowed("server_rate", parts.servers.streams)
        for host in parts.hosts.values():
            yield from held_back(host.manager)

    def met(self) -> dict[str, int]:
        """How often each limit was met since the start, of those that are counted."""
        parts = self._parts
        addresses = parts.clients.addresses
        met = {each.limit: each.refused for each in addresses.meters}
        met["connections"] = addresses.refused["connections"]
        met["connections in all"] = addresses.refused["files"]
        met["rate"] = parts.clients.traffic.slowed
        met["server_rate"] = parts.servers.traffic.slowed
        for host in parts.hosts.values():
            for meter in meters(host.manager):
                met[meter.limit] = met.get(meter.limit, 0) + meter.refused
            for module in host.manager.modules:
                for name, count in module.met.items():
                    met[f'domains."{host.manager.jid}".modules.{module.name}.{name}'] = count
        return met


def _is_limit(option: str, value: str | None) -> bool:
    number = value is not None and value[:1].isdigit()
    return option.startswith("limits.") or (number and _NUMBERS.fullmatch(option) is not None)


def _slowed(limit: str, streams: Iterable[StreamProtocol]) -> Iterator[HeldBack]:
    for stream in streams:
        if stream.slowed:
            yield HeldBack(limit, str(stream), f"for {stream.slowed:.1f} s")
