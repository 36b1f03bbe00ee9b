"""The public test kit: whole conversations in memory, with no socket, no running reactor, no real time."""

from jabberd.testing.network import Network
from jabberd.testing.rehearsal import Client, Rehearsal
from jabberd.testing.wire import Pipe, Wire

__all__ = ["Client", "Network", "Pipe", "Rehearsal", "Wire"]
