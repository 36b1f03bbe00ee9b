"""The end of a server, said by an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jabberd.api import Refused, operator
from jabberd.jsm.session_verbs import Announcement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jabberd.hosting import Host

__all__ = ["Ending"]

_AFTER: Final = 0.5  # seconds, for the answer and the message to leave


class Ending:
    """``shutdown``.

    :param end: what SIGTERM does.
    """

    def __init__(self, hosts: Mapping[str, Host], clock: Any, end: Callable[[], object]) -> None:
        self._hosts = hosts
        self._clock = clock
        self._end = end

    @operator("end the server; a message goes to everybody who is online first")
    def shutdown(self, message: str = "") -> str:
        """In good order, as after SIGTERM."""
        told = ""
        if message:
            managers = {name: host.manager for name, host in self._hosts.items()}
            told = f"{Announcement(managers).announce(message)}; "
        self._clock.callLater(_AFTER, self._end)
        return f"{told}the server ends"

    @operator("put a backup in place of the storage, while no server runs")
    def restore(self, file: str, overwrite: str = "") -> str:  # noqa: ARG002  # as it is said without a server
        """Not now.

        :raises Refused: always.
        """
        raise Refused("a server runs on this storage; end it first: jabberctl shutdown")
