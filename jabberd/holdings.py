"""What the server holds at this moment: the operators' ``memory`` and ``queues``.

Everything is counted when it is asked for, by looking at what there is.  Sizes are those of the bytes
held; what Python needs around them is not in them, as ``what`` says of each.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from jabberd.api import operator
from jabberd.xmpp import jid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jabberd.hosting import Host
    from jabberd.interfaces import Storage
    from jabberd.jsm.session import Session
    from jabberd.streams.clients import ClientFactory
    from jabberd.streams.federation import Federation
    from jabberd.streams.protocol import StreamProtocol
    from jabberd.streams.servers import ServerFactory
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Holdings"]

_STATM: Final = Path("/proc/self/statm")

Row = dict[str, object]


class _Queue(NamedTuple):
    waiting: int
    name: str
    size: int | None


class Holdings:
    """What is where."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        clients: ClientFactory,
        servers: ServerFactory,
        federation: Federation,
        storage: Storage,
    ) -> None:
        self._hosts = hosts
        self._clients = clients
        self._servers = servers
        self._federation = federation
        self._storage = storage

    @operator("show what holds how much: streams, sessions, queues, caches")
    def memory(self) -> list[Row]:
        """A row for each kind: how many there are, and their bytes as far as these are cheap to know."""
        links = self._federation.links.values()
        outgoing = [each.stream for each in links if each.stream is not None and not each.stream.receiving]
        accounts = [account for host in self._hosts.values() for account in host.manager.accounts]
        queued = [stanza for session in self._sessions() for stanza in session.outlet.queued]
        figures = self._storage.figures()
        addresses, most = jid.cached()
        return [
            _streams("streams of clients", self._clients.streams),
            _streams("streams of servers", self._servers.streams),
            _streams("streams to servers", outgoing),
            _row("sessions", sum(1 for _ in self._sessions())),
            _row("stanzas unsent or unacknowledged (payloads)", len(queued), _size(queued)),
            _row(
                "stanzas waiting for links",
                sum(link.waiting for link in links),
                sum(link.waiting_size for link in links),
            ),
            _row("accounts loaded", len(accounts)),
            _row("roster items of those", sum(len(account.roster) for account in accounts)),
            _row(f"addresses in the cache, of {most}", addresses),
            _row("writes waiting for the storage", figures.writes),
            _row("reads waiting for the storage", figures.reads),
            *_process(),
        ]

    @operator("show the longest queues: of sessions, links, streams, the storage")
    def queues(self, most: int = 20) -> list[Row]:
        """Those in which something waits, longest first."""
        waiting = sorted((queue for queue in self._queues() if queue.waiting), reverse=True)
        return [{"queue": each.name, "waiting": each.waiting, "bytes": each.size} for each in waiting[:most]]

    def _queues(self) -> Iterator[_Queue]:
        for session in self._sessions():
            queued = session.outlet.queued
            yield _Queue(len(queued), f"to {session.jid}", _size(queued))
        for link in self._federation.links.values():
            yield _Queue(link.waiting, str(link), link.waiting_size)
        for stream in (*self._clients.streams, *self._servers.streams):
            yield _Queue(stream.backlog[0], f"inbox of {stream}", None)
        figures = self._storage.figures()
        yield _Queue(figures.writes, "writes of the storage", None)
        yield _Queue(figures.reads, "reads of the storage", None)

    def _sessions(self) -> Iterator[Session]:
        for host in self._hosts.values():
            for account in host.manager.accounts:
                yield from account.sessions.values()


def _row(what: str, count: int | None, size: int | None = None) -> Row:
    return {"what": what, "count": count, "bytes": size}


def _streams(what: str, streams: Iterable[StreamProtocol]) -> Row:
    held = [stream.held for stream in streams]
    return _row(f"{what} (unfinished input, unread output)", len(held), sum(held))


def _size(stanzas: Iterable[Stanza]) -> int:
    return sum(len(stanza.payload) for stanza in stanzas)


def _process() -> Iterator[Row]:
    """The whole process, where the system tells (Linux)."""
    if _STATM.exists():
        resident = int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        yield _row("the whole process (resident)", None, resident)
