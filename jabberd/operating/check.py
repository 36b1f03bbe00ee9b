"""``check``: whether all that a server needs is there, and what to do about what is not."""

from __future__ import annotations

import errno
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from jabberd import hosting
from jabberd.api import JID, Refused, operator
from jabberd.config import ConfigError
from jabberd.interfaces import StorageError
from jabberd.operating.examine import examine
from jabberd.operating.findings import Finding, reported
from jabberd.operating.handshake import places, play
from jabberd.streams import vouch
from jabberd.streams.proof import Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from jabberd.config import Config
    from jabberd.interfaces import Storage
    from jabberd.settings import Listener
    from jabberd.streams.federation import Federation
    from jabberd.streams.proof import Policy

__all__ = ["Check"]

_SOON: Final = timedelta(days=14)
_SRV: Final = "publish _xmpp-server._tcp.{domain} SRV 0 5 5269 YOUR.HOST, and addresses of that host"


class Check:
    """``check``.

    :param config: gives the configuration to look at.
    :param bound: kind, address and port of each listener of the running server; None: none runs.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        federation: Federation,
        storage: Storage,
        bound: Callable[[], Iterable[tuple[str, str, int]]] | None,
    ) -> None:
        self._config = config
        self._federation = federation
        self._storage = storage
        self._bound = bound

    @operator("examine configuration, certificates, DNS, ports, storage; or the way to another domain")
    async def check(self, federation: JID | None = None) -> list[str]:
        """A line for each thing that was looked at.

        :param federation: a domain of others, to play the handshake with.
        :raises Refused: something is wrong; the text says of each what to do.
        """
        if federation is not None:
            return reported([each async for each in play(self._federation, *self._ours(federation))])
        config = self._config().changed()
        try:
            examine(config)
        except ConfigError as error:
            lines = str(error).splitlines()
            return reported(Finding("configuration", line, "correct it") for line in lines)
        found = [Finding("configuration", f"{config.name} is right"), *self._certificates(config)]
        for domain, policy in config.settings.domains.items():
            if policy.federation != "off":
                found += [each async for each in places(self._federation, domain, _SRV.format(domain=domain))]
        return reported([*found, *self._ports(config), await self._reads()])

    def _ours(self, theirs: JID) -> tuple[Pair, Policy]:
        for name in self._config().settings.domains:
            policy = self._federation.terms.hosted(name)
            if policy is not None and policy.proof != "off":
                return Pair(name, theirs.domain), policy
        raise Refused("no domain here talks to other servers: federation is off")

    def _certificates(self, config: Config) -> Iterator[Finding]:
        for domain, each in hosting.certificates(config, config.settings).items():
            what, expires = f"certificate {domain}", f"{each.path} expires on {each.expires:%Y-%m-%d}"
            soon = each.expires - datetime.now(UTC) < _SOON
            yield Finding(what, expires, "renew it now" if soon else "")
            chain = [one.public_bytes(Encoding.DER) for one in (each.leaf, *each.chain)]
            verdict = vouch.judge(chain, domain, self._federation.terms.trust)
            remedy = "put its authorities behind it in the file (fullchain), or get one that others trust"
            said = verdict.objection or "its chain and names are right"
            yield Finding(what, said, "" if verdict else remedy)

    async def _reads(self) -> Finding:
        try:
            await self._storage.keyed("server", str).get("localhost")
        except StorageError as error:
            return Finding("storage", str(error), "see that the database runs and has room")
        return Finding("storage", "it can be read")

    def _ports(self, config: Config) -> Iterator[Finding]:
        held = {(host, port) for _, host, port in self._bound()} if self._bound else set()
        for listener in config.settings.listeners:
            what = f"port {listener.address} {listener.port}"
            if (listener.address, listener.port) in held:
                yield Finding(what, f"this server listens there ({listener.kind})")
            elif listener.port == 0:
                yield Finding(what, "the system chooses one")
            else:
                yield _tried(what, listener)


def _tried(what: str, listener: Listener) -> Finding:
    """Whether the port can be bound."""
    family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((listener.address, listener.port))
            trial.listen()
        except OSError as error:
            remedy = {
                errno.EADDRINUSE: "end the program that holds it, or choose another",
                errno.EACCES: "choose one above 1023, or give the server CAP_NET_BIND_SERVICE",
                errno.EADDRNOTAVAIL: "write an address that this machine has",
            }
            return Finding(what, str(error.strerror), remedy.get(error.errno or 0, "choose another"))
    return Finding(what, f"it is free ({listener.kind})")
