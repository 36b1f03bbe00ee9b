"""The public test kit: whole conversations in memory, with no socket, no running reactor, no real time."""

from jabberd.testing.wire import Pipe, Wire

__all__ = ["Pipe", "Wire"]
