"""Archived stanzas are found by the other side's address, and may wait for somebody to take them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add two columns and the ways to find rows by them."""
    op.add_column("archive", sa.Column("resource", sa.Text, nullable=False, server_default=""))
    op.add_column("archive", sa.Column("waiting", sa.Integer, nullable=False, server_default="0"))
    op.create_index("archive_peer", "archive", ["owner", "store", "peer", "id"])
    op.create_index(
        "archive_waiting",
        "archive",
        ["owner", "store", "id"],
        sqlite_where=sa.text("waiting = 1"),
        postgresql_where=sa.text("waiting = 1"),
    )
