"""The router tells whose domain it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from twisted.logger import Logger

from jabberd.xmpp.errors import StanzaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from twisted.internet.defer import Deferred

    from jabberd.interfaces import Route
    from jabberd.xmpp.stanza import Stanza

log = Logger()


@runtime_checkable
class Program(Protocol):
    """The route of a domain that a program of its own serves (XEP-0114)."""

    @property
    def connected(self) -> bool:
        """Whether the program is there."""


@runtime_checkable
class Wide(Protocol):
    """The route of a domain that takes many stanzas of a kind for less than each of them costs."""

    def road(self, pattern: Stanza) -> Callable[[Stanza], object]:
        """What delivers stanzas of the same name and type as that one, within this turn.

        It does what `Route.deliver` does, but nobody learns when one has a home.
        """


class Router:
    """Hands every stanza to the route of the domain that it is addressed to.

    What is not ours goes the default route, federation.  The table of routes is replaced, never
    edited, so that a domain can come and go between two stanzas.
    """

    def __init__(self, default: Route) -> None:
        self._routes: Mapping[str, Route] = {}
        self._default = default

    @property
    def domains(self) -> tuple[str, ...]:
        """The domainparts that have a route of their own, sorted."""
        return tuple(sorted(self._routes))

    @property
    def routes(self) -> Mapping[str, Route]:
        """The routes of their own that domains have."""
        return self._routes

    def connected(self, domain: str) -> bool:
        """Whether a component serves the domain, and is connected."""
        route = self._routes.get(domain)
        return isinstance(route, Program) and route.connected

    def add(self, domain: str, route: Route) -> None:
        """From now on this route takes what is addressed to the domain (by its domainpart)."""
        self._routes = {**self._routes, domain: route}

    def remove(self, domain: str) -> None:
        """From now on the domain is none of ours."""
        self._routes = {name: route for name, route in self._routes.items() if name != domain}

    def route(self, stanza: Stanza) -> Deferred[None] | None:
        """Send an addressed stanza on its way; see *Home* in `jabberd.interfaces`.

        An error on the way goes back to the sender, unless the stanza is itself an answer
        (RFC 6120 §8.3.1).
        """
        to = stanza.to
        assert to is not None  # who receives a stanza sees to it (RFC 6120 §10.3, §8.1.1.2)
        try:
            return self._routes.get(to.domainpart, self._default).deliver(stanza)
        except Exception as error:  # noqa: BLE001  # one of the four places where errors are caught
            return self._not_delivered(stanza, error)

    def spread(self, copies: Iterable[Stanza]) -> None:
        """Send stanzas of the same name and type on their way, such as copies of one.

        It is as if each was routed, but nobody learns when they have a home.
        """
        roads: dict[str, Callable[[Stanza], object]] = {}
        for copy in copies:
            assert copy.to is not None  # as in `route`
            domain = copy.to.domainpart
            deliver = roads.get(domain)
            if deliver is None:
                route = self._routes.get(domain, self._default)
                deliver = roads[domain] = route.road(copy) if isinstance(route, Wide) else route.deliver
            try:
                deliver(copy)
            except Exception as error:  # noqa: BLE001  # as in `route`: one that fails spares the others
                self._not_delivered(copy, error)

    def _not_delivered(self, stanza: Stanza, error: Exception) -> Deferred[None] | None:
        if not isinstance(error, StanzaError):
            log.failure("cannot deliver a {name} to {to!r}", name=stanza.name, to=stanza.to)
            error = StanzaError("internal-server-error")
        return self.bounce(stanza, error)

    def bounce(self, stanza: Stanza, error: StanzaError) -> Deferred[None] | None:
        """Tell the sender why its stanza was not delivered; silence for what must not be answered."""
        if stanza.type in ("error", "result") or not stanza.attrs.get("from"):
            return None
        return self.route(stanza.error(error))
