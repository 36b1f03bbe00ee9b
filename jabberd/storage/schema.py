"""The schema: made or brought up to date at start, all of it or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text
from twisted.logger import Logger

from jabberd.interfaces import StorageError
from jabberd.storage.batch import reason

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

log = Logger()

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def revisions(folder: Path) -> list[str]:
    """The revisions that a folder of migrations knows, oldest first, told by the files' names."""
    return sorted(file.stem[1:].partition("_")[0] for file in folder.glob("versions/v*.py"))


def bring_up_to_date(engine: Engine, folder: Path = MIGRATIONS) -> None:
    """Make the tables, or change them to the newest schema, in one transaction.

    :raises StorageError: the database is newer than this code, or a migration failed and nothing changed.
    """
    known = revisions(folder)
    with engine.begin() as connection:
        found = revision(connection)
        if found == known[-1]:
            return
        if found and found not in known:
            raise StorageError(
                f"the database has schema {found}, newer than {known[-1]}, the newest that this jabberd"
                " knows; run the newer jabberd, or restore the backup made before it ran"
            )
        log.info("bringing the database from schema {found} to {newest}", found=found, newest=known[-1])
        try:
            _migrate(connection, folder)
        except Exception as error:
            raise StorageError(
                f"the database stays at schema {found}, for bringing it to {known[-1]} failed:"
                f" {reason(error)}; run the older jabberd and report this"
            ) from error


def revision(connection: Connection) -> str | None:
    """The schema that the database has; None if it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _migrate(connection: Connection, folder: Path) -> None:
    # Alembic costs 6 MiB: imported only when there is something to do
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    command.upgrade(config, "head")
