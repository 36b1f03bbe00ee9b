"""A server process that is killed, started again, locked out of its database and short of disk."""

from __future__ import annotations

import asyncio
import resource
import signal
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jabberd.jsm.account import ACCOUNTS
from jabberd.jsm.credentials import AccountRecord
from jabberd.storage import open_storage
from jabberd.xmpp.scram import HASHES, MINIMUM_ITERATIONS, derive
from jabberd.xmpp.stanza import Stanza
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.running import Running

PASSWORD = "wherefore art thou"
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = {c2s}
direct_tls = true
[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = {s2s}
[domains."{domain}"]
[domains."{domain}".modules.sm]
resumable = "4 s"
[tls]
certificates = "certs"
[federation]
authorities = ["certs/ca.crt"]
queue_age = "{queue_age} s"
bidi = {bidi}
[federation.hosts]
"{peer}" = "127.0.0.1:{peer_port}"
[storage]
url = "sqlite:{domain}.db"
[limits]
connections = 5000
connection_attempts = "100000 per s"
"""


class Server:
    """One domain's server.

    :ivar kills: how often it was killed.
    :ivar logs: the files with all that it printed, one for each start.
    """

    def __init__(self, folder: Path, domain: str) -> None:
        self.domain = domain
        self.database = folder / f"{domain}.db"
        self.kills = 0
        self.logs: list[Path] = []
        self._config = folder / f"{domain}.toml"
        self._entered: AbstractContextManager[Running] | None = None
        self._running: Running | None = None

    def configure(self, **values: object) -> None:
        """Write the configuration: see `CONFIG`."""
        self._config.write_text(CONFIG.format(domain=self.domain, **values))

    def create(self, accounts: Iterable[str]) -> None:
        """Make these accounts; it must not run."""
        storage = open_storage(f"sqlite:///{self.database}", None)
        records = storage.keyed(ACCOUNTS, AccountRecord)
        keys = tuple(derive(PASSWORD, name, b"salt of the test", MINIMUM_ITERATIONS) for name in HASHES)
        for jid in accounts:
            records.put(jid, "", AccountRecord(keys, datetime.now(UTC)))
        storage.close()

    async def start(self) -> None:
        """Start, and wait until it is ready."""
        self._entered = running(self._config)
        self._running = await asyncio.to_thread(self._entered.__enter__)

    async def _exited(self) -> None:
        """The process has ended; keep its log, and look at its database."""
        assert self._running is not None
        assert self._entered is not None
        await asyncio.to_thread(self._running.process.wait)
        self._entered.__exit__(None, None, None)
        self._entered = None
        kept = self._running.log.with_suffix(f".{len(self.logs)}.log")
        self.logs.append(self._running.log.rename(kept))
        assert self.verdict() == "ok", f"the database of {self.domain} after its end: {self.verdict()}"

    async def kill(self) -> None:
        """End it as a power cut would."""
        assert self._running is not None
        self.kills += 1
        self._running.process.send_signal(signal.SIGKILL)
        await self._exited()

    async def stop(self) -> None:
        """End it in good order, if it runs."""
        if self._entered is not None and self._running is not None:
            self._running.process.terminate()
            await self._exited()

    def verdict(self) -> str:
        """What SQLite says of its file."""
        connection = sqlite3.connect(self.database)
        try:
            return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
        finally:
            connection.close()

    async def lock(self, seconds: float) -> None:
        """Let somebody else write to its database for so long."""
        connection = sqlite3.connect(self.database, isolation_level=None, timeout=0.0)
        try:
            for _ in range(200):
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    break
                except sqlite3.OperationalError:  # it writes itself just now
                    await asyncio.sleep(0.01)
            await asyncio.sleep(seconds)
        finally:
            connection.close()

    async def fill_disk(self, seconds: float) -> None:
        """No file of its may grow for so long."""
        assert self._running is not None
        process, kind = self._running.process, resource.RLIMIT_FSIZE
        unlimited = resource.prlimit(process.pid, kind)
        resource.prlimit(process.pid, kind, (1024, unlimited[1]))
        await asyncio.sleep(seconds)
        if process.poll() is None:
            resource.prlimit(process.pid, kind, unlimited)

    def kept(self) -> list[str]:
        """The ids of the messages in its database that wait there for somebody."""
        connection = sqlite3.connect(self.database)
        try:
            waiting = "SELECT stanza FROM archive WHERE store != 'archive' OR waiting = 1"
            rows = connection.execute(waiting).fetchall()
        finally:
            connection.close()
        return [Stanza.from_standalone(row).id or "" for (row,) in rows]
