"""The SASL exchange on a stream: one for clients and servers, for RFC 6120 §6 and for XEP-0388."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jabberd.xmpp import ns, sasl, stream
from jabberd.xmpp.element import E, serialize
from jabberd.xmpp.errors import SASLFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jabberd.xmpp.parser import Nonza

__all__ = ["Authenticated", "Exchange"]

log = Logger()


class Authenticated(Protocol):
    """Whoever an exchange is for; as text, its stream."""

    @property
    def ended(self) -> bool:
        """Whether the stream has ended."""

    def write(self, data: bytes) -> None:
        """Put bytes on the stream."""

    async def authenticated(self, success: sasl.Success) -> None:
        """The peer is who it says: tell it, and go on."""

    def refused(self, failure: SASLFailure) -> None:
        """The peer was told that it is not; it may try again."""


class Exchange:
    """The exchanges of one stream, one after the other.

    :param namespace: of the elements, which says how they are written: `ns.SASL` or `ns.SASL2`.
    """

    def __init__(self, stream: Authenticated, namespace: str = ns.SASL) -> None:
        self._stream = stream
        self._namespace = namespace
        self._mechanism: sasl.Mechanism | None = None

    @property
    def running(self) -> bool:
        """Whether it is the peer's turn to answer a challenge."""
        return self._mechanism is not None

    def begin(self, choose: Callable[[], sasl.Mechanism], initial: str | None) -> Deferred[None]:
        """Start the mechanism that the peer chose; an exchange that is running is given up (RFC 6120 §6.4.2).

        :param choose: makes it; may raise `SASLFailure`.
        :param initial: the initial response as it was sent; None if there was no element for it.
        """
        return Deferred.fromCoroutine(self._step(self._begin(choose, initial)))

    def respond(self, nonza: Nonza) -> Deferred[None]:
        """Take ``<response/>``."""
        return Deferred.fromCoroutine(self._step(self._respond(nonza)))

    def abort(self, _: Nonza) -> None:
        """Take ``<abort/>``."""
        self.refuse(SASLFailure("aborted"))

    async def _begin(
        self, choose: Callable[[], sasl.Mechanism], initial: str | None
    ) -> sasl.Challenge | sasl.Success:
        self._mechanism = None
        self._mechanism = choose()
        return await self._mechanism.begin(None if initial is None else self._decoded(initial))

    async def _respond(self, nonza: Nonza) -> sasl.Challenge | sasl.Success:
        if self._mechanism is None:
            raise SASLFailure("malformed-request", "there was no challenge")
        return await self._mechanism.respond(self._decoded(nonza.element().text or "") or b"")

    def _decoded(self, text: str) -> bytes | None:
        if self._namespace == ns.SASL:
            return sasl.decode_base64(text)
        return sasl.decode_base64(text.strip()) or b""  # XEP-0388 §2.2: no text is no data

    async def _step(self, doing: Awaitable[sasl.Challenge | sasl.Success]) -> None:
        try:
            step = await doing
        except SASLFailure as failure:
            self.refuse(failure)
            return
        except Exception:  # noqa: BLE001  # such as a storage that is away: the peer may try again
            log.failure("{stream}: cannot check who this is", stream=self._stream)
            self.refuse(SASLFailure("temporary-auth-failure"))
            return
        if self._stream.ended:
            return
        if isinstance(step, sasl.Challenge):
            self._stream.write(serialize(E(self._namespace, "challenge", None, self.encoded(step.data))))
            return
        self._mechanism = None
        await self._stream.authenticated(step)

    def encoded(self, data: bytes) -> str:
        """Data as it stands in an element."""
        return b64encode(data).decode() or ("=" if self._namespace == ns.SASL else "")

    def refuse(self, failure: SASLFailure) -> None:
        """The exchange has failed."""
        self._mechanism = None
        self._stream.write(serialize(stream.sasl_failure(failure, self._namespace)))
        self._stream.refused(failure)
