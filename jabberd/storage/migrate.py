"""Migrations in a process of their own: what Alembic takes, 10 MiB, goes with it.

``python -m jabberd.storage.migrate`` reads the URL of a storage and brings that up to date.
"""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.logger import Logger

from jabberd.interfaces import StorageError
from jabberd.storage import open_storage

__all__ = ["migrate"]

log = Logger()


def migrate(url: str) -> None:
    """Bring a storage up to date without importing what that needs; without a process if it is so already.

    Blocks until that is done.

    :param url: as `open_storage` takes it.
    :raises StorageError: as `open_storage` does.
    """
    if url == "memory":
        return
    found, newest = _schemas(url)
    if found == newest:
        return
    done = subprocess.run(
        [sys.executable, "-m", "jabberd.storage.migrate"],
        input=url,  # not an argument: it may have a password
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise StorageError(last or f"the migration was ended by signal {-done.returncode}; start again")
    log.info("the database was brought from schema {found} to {newest}", found=found, newest=newest)


def _schemas(url: str) -> tuple[str | None, str]:
    """The one that the database has, and the newest."""
    from jabberd.storage.engine import engines, explained  # noqa: PLC0415 - SQLAlchemy: not for "memory"
    from jabberd.storage.schema import MIGRATIONS, revision, revisions  # noqa: PLC0415 - the same

    _, reading = engines(url)
    try:
        with explained(reading), reading.connect() as connection:
            return revision(connection), revisions(MIGRATIONS)[-1]
    finally:
        reading.dispose()


def main() -> None:
    """Do it in this process; a `StorageError` is the last line on standard error, with status 1."""
    try:
        open_storage(sys.stdin.read(), None).close()
    except StorageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
