"""The manhole: a way into the running server over SSH, for its operators.

Whoever gets in owns the process.  It is off unless the configuration says otherwise, listens where only
this machine can reach it, knows no passwords, and writes every line into the log with whose key it was.

- ``ssh``       who is let in
- ``keys``      the files of keys
- ``session``   a prompt or one verb
- ``console``   Python at the prompt, on a ``terminal`` that edits a ``line``
- ``nouns``     ``admin`` at the prompt; ``audit`` keeps secrets out of the log
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from jabberd.local import LocalSocket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jabberd.admin import Admin
    from jabberd.config import Config
    from jabberd.manhole.ssh import Doorway
    from jabberd.settings import Manhole as Settings

__all__ = ["examine", "manhole"]

log = Logger()


def manhole(config: Config, reactor: Any, admin: Admin, namespace: Mapping[str, Any]) -> list[Service]:
    """The services that the configuration wants: one, or none.

    :param namespace: what there is at the prompt besides ``admin``.
    :raises ConfigError: it cannot be had.
    """
    settings = config.settings.manhole
    if settings is None:
        return []
    examine(config)
    config.check()
    from jabberd.manhole import keys, ssh  # noqa: PLC0415  # not before it is wanted: it is large

    made: list[Service] = []
    try:
        key = keys.host_key(settings.host_key)
        doorway = ssh.Doorway(reactor, settings.authorized_keys, key, admin, namespace)
        made.append(Manhole(reactor, settings, doorway, keys.fingerprint(key.blob())))
    except keys.KeyFileError as why:
        config.problem(("manhole", "host_key"), str(why))
    config.check()
    return made


def examine(config: Config) -> None:
    """Note in the config why it cannot be had, as far as that shows before the server's own key is made."""
    settings = config.settings.manhole
    if settings is None:
        return
    try:
        from jabberd.manhole import keys  # noqa: PLC0415  # as above
    except ImportError as missing:
        config.problem(("manhole",), f"{missing}; {sys.executable} -m pip install 'twisted[conch]'")
        return
    try:
        keys.authorized(settings.authorized_keys)
    except keys.KeyFileError as why:
        config.problem(("manhole", "authorized_keys"), str(why))


class Manhole(Service):
    """The port or the socket, from the start to the stop."""

    name = "manhole"

    def __init__(self, reactor: Any, settings: Settings, doorway: Doorway, fingerprint: str) -> None:
        self._reactor = reactor
        self._settings = settings
        self._doorway = doorway
        self._fingerprint = fingerprint
        self._port: Any = None

    def privilegedStartService(self) -> None:
        socket = self._settings.socket
        if socket is None:
            address = self._settings.address
            self._port = self._reactor.listenTCP(self._settings.port, self._doorway, interface=address)
            place = f"{address} port {self._port.getHost().port}"
        else:
            local = LocalSocket(self._reactor, socket, self._doorway)
            local.listen()
            self._port = local
            place = str(socket)
        log.info("manhole: at {place}, host key {key}", place=place, key=self._fingerprint)

    def startService(self) -> None:
        if self._port is None:
            self.privilegedStartService()
        Service.startService(self)

    def stopService(self) -> Deferred[Any]:
        Service.stopService(self)
        self._doorway.close_all()
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening)
