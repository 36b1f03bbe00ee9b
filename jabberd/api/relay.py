"""Bytestreams between two clients (XEP-0065), as a module sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bytestream", "BytestreamTerms", "Relay"]


@dataclass(frozen=True, slots=True)
class BytestreamTerms:
    """How much may pass between two connections.

    :ivar rate: octets a second, of each side.
    :ivar size: octets of both sides together.
    :ivar idle: seconds of silence after which it ends.
    """

    rate: int
    size: int
    idle: float


class Bytestream(Protocol):
    """Two connections that are one (XEP-0065)."""

    carried: int  #: octets that have passed, both ways together

    def close(self) -> None:
        """End both connections at once."""


class Relay(Protocol):
    """Where clients connect for bytestreams."""

    @property
    def place(self) -> tuple[str, int] | None:
        """Address and port of the listener; None: there is none."""

    def waiting(self, digest: str) -> int:
        """How many connections, of two, have given that digest (hexadecimal) and wait."""

    def activate(self, digest: str, terms: BytestreamTerms, ended: Callable[[], None]) -> Bytestream:
        """Make one of the two connections that wait for that digest.

        :param ended: is called once, when both are gone.
        """
