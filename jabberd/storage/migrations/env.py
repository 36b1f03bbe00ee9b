"""Alembic runs this; the connection, its transaction begun, comes from `jabberd.storage.schema`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
