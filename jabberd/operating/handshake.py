"""The way to another server, step by step: what a link does when it opens, told as it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.protocol import Factory

from jabberd.operating.findings import Finding
from jabberd.streams import vouch
from jabberd.streams.connect import RemoteServerError
from jabberd.streams.federation import secured
from jabberd.streams.outgoing import OutgoingStream
from jabberd.streams.proof import LinkError, Pair
from jabberd.streams.targets import NotResolvedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from twisted.internet.interfaces import IAddress

    from jabberd.streams.federation import Federation
    from jabberd.streams.proof import Policy
    from jabberd.streams.targets import Resolver, Target

__all__ = ["places", "play"]

_DNS: Final = "tell its operator, or say where its server is in [federation.hosts]"
_CONNECT: Final = "see that your firewall lets you out to that port; else tell its operator"
_TLS: Final = "tell its operator; without TLS it needs require_tls = false of your domain"
_CERTIFICATE: Final = (
    "tell its operator; or trust its authority in federation.authorities,"
    ' or take dialback (federation = "either")'
)
_PROOF: Final = (
    "see that it trusts your certificate's authority, or that DNS leads it to your server (dialback)"
)


async def places(
    what: str, found: Awaitable[list[Target]], resolver: Resolver, remedy: str
) -> AsyncIterator[Finding]:
    """Where a server may be: a finding for each place that was found, and its addresses."""
    from jabberd.streams.lookup import find_addresses  # noqa: PLC0415 - twisted.names: half a MiB

    try:
        targets = await found
    except NotResolvedError as error:
        yield Finding(what, str(error), remedy)
        return
    for target in targets:
        how = "TLS at once" if target.direct else "STARTTLS"
        try:
            addresses = await find_addresses(target.host, resolver)
        except NotResolvedError as error:
            yield Finding(what, f"{target} ({how}): {error}", remedy)
        else:
            yield Finding(what, f"{target} ({how}) is {', '.join(map(str, addresses))}")


async def play(federation: Federation, pair: Pair, policy: Policy) -> AsyncIterator[Finding]:
    """Open a stream as far as it goes, and end it."""
    connector = federation.connector
    where = places(f"dns {pair.theirs}", connector.targets(pair.theirs), connector.resolver, _DNS)
    found = [finding async for finding in where]
    for finding in found:
        yield finding
    if all(finding.remedy for finding in found):
        return
    contexts = federation.terms.contexts

    def factory_for(target: Target) -> _Factory:
        return _Factory(federation, pair, policy, target)

    tls = contexts.initiator(pair.ours, pair.theirs, direct=True) if contexts else None
    try:
        stream = await federation.connector.connect(pair.theirs, factory_for, tls=tls, ready=secured)
    except RemoteServerError as error:
        for attempt in error.attempts:
            yield Finding("connect", str(attempt), _CONNECT)
        if not error.attempts:
            yield Finding("connect", str(error), _CONNECT)
        return
    async for finding in _judged(federation, stream):
        yield finding


async def _judged(federation: Federation, stream: OutgoingStream) -> AsyncIterator[Finding]:
    security = stream.security
    yield Finding("connect", f"{stream.address} answers")
    if not security.encrypted:
        yield Finding("tls", "it is not encrypted", _TLS if stream.policy.require_tls else "")
    else:
        yield Finding("tls", f"{security.version} {security.cipher}")
        verdict = vouch.judge(security.peer_chain, stream.pair.theirs, federation.terms.trust)
        remedy = "" if verdict or stream.policy.dialback else _CERTIFICATE
        yield Finding("certificate", verdict.objection or f"it vouches for {stream.pair.theirs}", remedy)
    if stream.failure:
        yield Finding("stream", stream.failure.why, "tell its operator what the lines above say")
        return
    try:
        await stream.authenticate()
    except LinkError as error:
        yield Finding("authentication", error.why, _PROOF)
    except Exception as error:  # noqa: BLE001  # whatever the connection was lost for
        yield Finding("authentication", f"the connection was lost: {error}", _PROOF)
    else:
        yield Finding("authentication", f"it takes our {stream.proof}")
    if not stream.ended:
        stream.close()


class _Factory(Factory):
    """Makes the stream for each connection."""

    noisy = False

    def __init__(self, federation: Federation, pair: Pair, policy: Policy, target: Target) -> None:
        self._federation = federation
        self._pair = pair
        self._policy = policy
        self._target = target

    def buildProtocol(self, addr: IAddress | None) -> OutgoingStream:  # noqa: ARG002  # Twisted's
        patience = self._federation.settings.queue_age
        return OutgoingStream(
            self._federation.terms, self._pair, self._policy, direct=self._target.direct, patience=patience
        )
