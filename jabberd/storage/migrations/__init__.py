"""What Alembic needs to change the tables; `jabberd.storage.schema` drives it."""
