"""Whether a server would start with a configuration file."""

from __future__ import annotations

from secrets import token_bytes
from typing import TYPE_CHECKING

from twisted.internet.defer import execute
from twisted.internet.task import Clock

from jabberd import hosting
from jabberd.api import Refused
from jabberd.config import Config, ConfigError
from jabberd.operating import terms
from jabberd.router import Router
from jabberd.storage import open_storage

if TYPE_CHECKING:
    from pathlib import Path

    from jabberd.xmpp.stanza import Stanza

__all__ = ["NoOne", "examine", "examined"]


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
    memory = open_storage("memory", None)
    hosting.host_domains(config, memory, Router(NoOne()), Clock(), execute, token_bytes(32))


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
