"""Whether a server would start with a configuration file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING

from twisted.internet.defer import execute
from twisted.internet.task import Clock

from jabberd import hosting, manhole
from jabberd.api import Refused, operator
from jabberd.config import Config, ConfigError
from jabberd.operating import terms
from jabberd.router import Router
from jabberd.storage import open_storage

if TYPE_CHECKING:
    from jabberd.xmpp.stanza import Stanza

__all__ = ["Examination", "NoOne", "examine", "examined"]


class NoOne:
    """The route of a server that does not run: nobody learns anything."""

    def deliver(self, _stanza: Stanza) -> None:
        """See `jabberd.interfaces.Route`."""


def examine(config: Config) -> None:
    """Look for every mistake that would stop a start; nothing is opened, bound or changed.

    :raises ConfigError: with all that were found.
    """
    hosting.certificates(config, hosting.settings_of(config))
    hosting.check_pages(config, hosting.settings_of(config))
    terms.trust(config)
    terms.client_trust(config)
    manhole.examine(config)
    _examine_log(config)
    memory = open_storage("memory", None)
    hosting.host_domains(config, memory, Router(NoOne()), Clock(), execute, token_bytes(32))


def _examine_log(config: Config) -> None:
    """As `jabberd.tap.open_log`, which makes the file."""
    path = config.settings.log.file
    if path is None:
        return
    error = _not_written(path)
    if error:
        config.problem(("log", "file"), f"cannot be written: {os.strerror(error)}; choose another")


def _not_written(path: Path) -> int:
    """Why a file cannot be written or made, as an errno; 0: it can."""
    try:
        if not path.parent.is_dir():
            return errno.ENOENT
        if path.is_dir():
            return errno.EISDIR
        there = path.exists()
    except OSError:  # a folder on the way may not be entered
        return errno.EACCES
    return 0 if os.access(path if there else path.parent, os.W_OK) else errno.EACCES


def examined(path: Path | None) -> str:
    """Examine a file.

    :raises Refused: with a line for each mistake in it.
    """
    if path is None or not path.is_absolute():
        raise Refused(f"write the whole path of {path}, from / on")
    try:
        examine(Config.read(path))
    except ConfigError as error:
        raise Refused(str(error)) from None
    return f"{path} is right"


class Examination:
    """``config check``: the verb of ``config`` that needs no server.

    :param path: the file that is examined where none is named.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @operator("examine a configuration file (the server's own if none is named)")
    def check(self, file: str | None = None) -> str:
        """Every mistake that would stop a start is found, in modules and certificates too."""
        return examined(Path(file) if file else self._path)
