"""The Unix socket on which ``jabberctl`` reaches a running server.

One connection, one request, one answer, each a line of JSON; an answer that goes on has a line for each
row before.  The file's mode lets nobody but the
server's own user and root connect.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver

from jabberd.admin import Admin, SecretNeededError, UsageError
from jabberd.api import Live, Refused
from jabberd.lock import FileLock, HeldError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.python.failure import Failure

log = Logger()

_MODE: Final = 0o600


async def answer(
    admin: Admin,
    words: list[str],
    secrets: dict[str, str],
    follow: Callable[[Live], Deferred[None]] | None = None,
) -> dict[str, Any]:
    """Run a verb: ``{"done": data}``, ``{"refused": why}``, ``{"usage": why}`` or ``{"ask": secret}``.

    :param follow: listens to an answer that goes on; the Deferred fires when it is over.
    """
    try:
        return {"done": await _to_its_end(await admin.run(words, secrets), follow)}
    except UsageError as why:
        return {"usage": str(why)}
    except SecretNeededError as why:
        return {"ask": str(why)}
    except Refused as why:
        return {"refused": str(why)}
    except CancelledError:
        raise  # whoever asked does not wait for the answer any more
    except Exception:  # noqa: BLE001  # the operator learns that it failed, the log why
        log.failure("an operator's verb failed: {words!r}", words=words[:2])
        return {"refused": "it failed; the server's log says why"}


async def _to_its_end(done: Any, follow: Callable[[Live], Deferred[None]] | None) -> Any:
    """An answer; nothing for one that goes on, when it is over."""
    if not isinstance(done, Live):
        return done
    if follow is None:
        raise Refused("this goes on and on; ask a running server, with jabberctl or in its manhole")
    return await follow(done)


class ControlProtocol(LineOnlyReceiver):
    """One request of ``jabberctl``."""

    delimiter = b"\n"
    MAX_LENGTH = 65_536
    factory: ControlFactory
    _following: Deferred[None] | None = None

    def lineReceived(self, line: bytes) -> None:
        try:
            request = json.loads(line)
            words = [str(word) for word in request["words"]]
            secrets = {str(k): str(v) for k, v in request.get("secrets", {}).items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._say({"usage": "a request is a line of JSON with words"})
            return
        answering = Deferred.fromCoroutine(answer(self.factory.admin, words, secrets, self._follow))
        answering.addCallbacks(self._say, lambda why: why.trap(CancelledError))

    def _follow(self, live: Live) -> Deferred[None]:
        """Say each row, ``{"row": data}``, until the client hangs up."""
        self._following = live.listen(lambda row: self._write({"row": row}))
        return self._following

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002  # Twisted's
        if self._following is not None:
            self._following.cancel()

    def _write(self, said: dict[str, Any]) -> None:
        assert self.transport is not None
        self.transport.write(json.dumps(said).encode() + b"\n")

    def _say(self, answer: dict[str, Any]) -> None:
        assert self.transport is not None
        self._write(answer)
        self.transport.loseConnection()


class ControlFactory(Factory["ControlProtocol"]):
    """Makes a `ControlProtocol` for each request."""

    noisy = False

    def __init__(self, admin: Admin) -> None:
        self.protocol = ControlProtocol
        self.admin = admin


class Control(Service):
    """The socket, from the start to the stop."""

    name = "control"

    def __init__(self, reactor: Any, path: Path, admin: Admin) -> None:
        self._reactor = reactor
        self._path = path
        self._admin = admin
        self._port: Any = None
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))  # Twisted's own trusts in process ids

    def privilegedStartService(self) -> None:
        """Listen, also where a server that was killed has left its socket.

        :raises CannotListenError: another process does, or the place cannot be used.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._path.unlink(missing_ok=True)
            self._port = self._reactor.listenUNIX(str(self._path), ControlFactory(self._admin), mode=_MODE)
        except HeldError as held:
            said = f"the server with process id {held.pid} listens there; end it first, or name another"
            raise CannotListenError("unix", str(self._path), OSError(said)) from None
        except OSError as error:
            raise CannotListenError("unix", str(self._path), error) from None
        except CannotListenError as why:
            raise CannotListenError("unix", str(self._path), why.socketError) from None

    def startService(self) -> None:
        if self._port is None:
            self.privilegedStartService()
        Service.startService(self)

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening).addBoth(self._stopped)

    def _stopped(self, outcome: Any) -> Any:
        self._path.unlink(missing_ok=True)
        self._lock.release()
        return outcome
