"""The end of a server, said by an operator."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jabberd.api import Refused, operator
from jabberd.jsm.session_verbs import Announcement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jabberd.hosting import Host

__all__ = ["Ending", "Rebirth"]

_AFTER: Final = 0.5  # seconds, for the answer and the message to leave


class Ending:
    """``shutdown`` and ``restart``.

    :param end: what SIGTERM does.
    :param again: the same, and then this process becomes a new server.
    :param examine: whether a server would start; it raises `Refused` if none would.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        clock: Any,
        *,
        end: Callable[[], object],
        again: Callable[[], object],
        examine: Callable[[], object],
    ) -> None:
        self._hosts = hosts
        self._clock = clock
        self._end = end
        self._again = again
        self._examine = examine

    @operator("end the server; a message goes to everybody who is online first")
    def shutdown(self, message: str = "") -> str:
        """In good order, as after SIGTERM."""
        self._clock.callLater(_AFTER, self._end)
        return f"{self._told(message)}the server ends"

    @operator("end the server and start it again; a message goes to everybody who is online first")
    def restart(self, message: str = "") -> str:
        """In good order, as the same process with the same arguments: new code, all settings of the file.

        :raises Refused: it would not start with its configuration file as it is now.
        """
        self._examine()
        self._clock.callLater(_AFTER, self._again)
        return f"{self._told(message)}the server restarts"

    def _told(self, message: str) -> str:
        if not message:
            return ""
        managers = {name: host.manager for name, host in self._hosts.items()}
        return f"{Announcement(managers).announce(message)}; "

    @operator("put a backup in place of the storage, while no server runs")
    def restore(self, file: str, overwrite: str = "") -> str:  # noqa: ARG002  # as it is said without a server
        """Not now.

        :raises Refused: always.
        """
        raise Refused("a server runs on this storage; end it first: jabberctl shutdown")


class Rebirth:
    """Ends the reactor and runs this program again in the same process, as it was run.

    To be made before twistd goes to the background, where it may change the folder.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._folder = Path.cwd()

    def __call__(self) -> None:
        atexit.register(self._run)  # behind twistd, which removes its pid file; not after a signal
        self._reactor.stop()

    def _run(self) -> None:
        os.chdir(self._folder)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # no shell: the arguments are our own
