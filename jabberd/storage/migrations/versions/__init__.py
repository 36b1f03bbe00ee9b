"""One file per revision of the schema, named ``v`` + revision + ``_`` + what it does."""
