"""A real server process for tests: see `jabberd.testing.process`."""

from jabberd.testing.process import PATIENCE, TWISTD, Running, command, running

__all__ = ["PATIENCE", "TWISTD", "Running", "command", "running"]
