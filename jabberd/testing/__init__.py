"""The public test kit: whole conversations in memory, with no socket, no running reactor, no real time."""

from jabberd.testing.network import Network
from jabberd.testing.rehearsal import Player, Rehearsal
from jabberd.testing.wire import Pipe, Wire

__all__ = ["Network", "Pipe", "Player", "Rehearsal", "Wire"]
