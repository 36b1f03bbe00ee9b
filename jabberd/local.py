"""A Unix socket of the server: nobody but its own user and root can connect to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError

from jabberd.lock import FileLock, HeldError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LocalSocket"]

_MODE: Final = 0o600


class LocalSocket:
    """A socket at a path, one server's at a time.

    :param factory: makes the protocol of each connection.
    """

    def __init__(self, reactor: Any, path: Path, factory: Any) -> None:
        self._reactor = reactor
        self._path = path
        self._factory = factory
        self._port: Any = None
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))  # Twisted's own trusts in process ids

    def listen(self) -> None:
        """Listen, also where a server that was killed has left its socket.

        :raises CannotListenError: another process does, or the place cannot be used.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            if self._path.exists() and not self._path.is_socket():
                raise self._error(OSError("there is a file, and no socket; name another place"))
            self._path.unlink(missing_ok=True)
            self._port = self._reactor.listenUNIX(str(self._path), self._factory, mode=_MODE)
        except HeldError as held:
            said = f"the server with process id {held.pid} listens there; end it first, or name another"
            raise self._error(OSError(said)) from None
        except OSError as error:
            remedy = "give its folder to the user that jabberd runs as, or name another place"
            raise self._error(OSError(f"{error.strerror or error}; {remedy}")) from None
        except CannotListenError as why:
            raise self._error(why.socketError) from None

    def stopListening(self) -> Deferred[Any]:
        """Take no more connections, and leave nothing in the way of the next server."""
        return maybeDeferred(self._port.stopListening).addBoth(self._stopped)

    def _error(self, why: OSError) -> CannotListenError:
        return CannotListenError("unix", str(self._path), why)

    def _stopped(self, outcome: Any) -> Any:
        self._path.unlink(missing_ok=True)
        self._lock.release()
        return outcome
