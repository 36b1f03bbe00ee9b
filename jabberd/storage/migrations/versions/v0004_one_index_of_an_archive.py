"""One index for all questions to an archive: each that a row is in costs more to write than the row."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Rows of one owner in order, each with its peer: whoever asks for one peer's looks through these."""
    for name in ("archive_peer", "archive_waiting", "archive_owner"):
        op.drop_index(name, "archive")
    op.create_index("archive_owner", "archive", ["owner", "store", "id", "peer"])
    op.create_index(
        "archive_waiting",
        "archive",
        ["owner", "store", "waiting", "id"],
        sqlite_where=sa.text("waiting = 1"),
        postgresql_where=sa.text("waiting = 1"),
    )
