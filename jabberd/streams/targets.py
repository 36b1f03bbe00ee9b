"""Places to connect to, and whom to ask for them; what is asked: see `jabberd.streams.lookup`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IResolver

__all__ = ["Names", "NotResolvedError", "Resolver", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A place to connect to.

    :ivar host: a name in A-labels, or an IP address without brackets.
    :ivar direct: TLS starts with the connection (XEP-0368), not by STARTTLS.
    """

    host: str
    port: int
    direct: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NotResolvedError(Exception):
    """DNS leads nowhere: there is no such domain or host, or it has no XMPP service; the text says which."""


class Resolver(Protocol):
    """Answers questions to DNS: what we need of Twisted's `IResolver`."""

    def lookupService(self, name: str, timeout: Sequence[int]) -> Any:
        """SRV records."""

    def lookupAddress(self, name: str, timeout: Sequence[int]) -> Any:
        """A records."""

    def lookupIPV6Address(self, name: str, timeout: Sequence[int]) -> Any:
        """AAAA records."""


class Names:
    """The `Resolver` of a server: Twisted's own, imported and made with the first question.

    :param server: the IP address and port of the name server; None: those that the system asks.
    """

    def __init__(self, reactor: Any, server: tuple[str, int] | None = None) -> None:
        self._reactor = reactor
        self._server = server

    @cached_property
    def _chain(self) -> IResolver:
        from jabberd.streams.lookup import resolver_chain  # noqa: PLC0415 - twisted.names: half a MiB

        return resolver_chain(self._reactor, self._server)

    def lookupService(self, name: str, timeout: Sequence[int]) -> Any:
        """See `Resolver`."""
        return self._chain.lookupService(name, timeout)

    def lookupAddress(self, name: str, timeout: Sequence[int]) -> Any:
        """See `Resolver`."""
        return self._chain.lookupAddress(name, timeout)

    def lookupIPV6Address(self, name: str, timeout: Sequence[int]) -> Any:
        """See `Resolver`."""
        return self._chain.lookupIPV6Address(name, timeout)
