"""The Unix socket on which ``jabberctl`` reaches a running server.

One connection, one request, one answer, each a line of JSON; an answer that goes on has a line for each
row before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver

from jabberd.admin import Admin, SecretNeededError, UsageError
from jabberd.api import Live, Refused
from jabberd.interfaces import StorageError
from jabberd.local import LocalSocket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.python.failure import Failure

log = Logger()


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
    except StorageError as why:
        log.warn("an operator's verb failed: {words!r}: {why}", words=words[:2], why=why)
        return {"refused": f"the storage failed: {why}"}
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
        self._socket = LocalSocket(reactor, path, ControlFactory(admin))
        self._listening = False

    def privilegedStartService(self) -> None:
        """See `LocalSocket.listen`."""
        self._socket.listen()
        self._listening = True

    def startService(self) -> None:
        if not self._listening:
            self.privilegedStartService()
        Service.startService(self)

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        self._listening = False
        return self._socket.stopListening()
