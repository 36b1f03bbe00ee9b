"""The operator's verbs while no server runs: they work on the storage itself, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from jabberd import hosting
from jabberd.admin import Admin
from jabberd.config import Config
from jabberd.control import answer
from jabberd.router import Router
from jabberd.storage import open_storage
from jabberd.storage.ownership import InUseError, ownership

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jabberd.hosting import Host
    from jabberd.xmpp.stanza import Stanza


class _NoOne:
    """The route of a server that does not run: nobody learns anything."""

    def deliver(self, _stanza: Stanza) -> None:
        """See `jabberd.interfaces.Route`."""


def run(path: Path, words: list[str], secrets: dict[str, str]) -> dict[str, Any]:
    """Run a verb on the storage that a configuration file names; the answer is `control.answer`'s.

    :raises ConfigError: the file cannot be used.
    :raises StorageError: nor can the storage: a server may run that its socket does not lead to.
    """
    config = Config.read(path)
    url = config.settings.storage.url
    if url == "memory":
        return {"refused": "the server does not run, and what it keeps in memory is gone with it"}
    ours = ownership(url)
    try:
        ours.acquire()
        return _on_storage(config, url, words, secrets)
    except InUseError as why:
        where = config.settings.control.socket or "it has no [control] socket"
        return {"refused": f"{why}; no server answers on its socket ({where})"}
    finally:
        ours.release()


def _on_storage(config: Config, url: str, words: list[str], secrets: dict[str, str]) -> dict[str, Any]:
    secret = hosting.secret_of(url)
    storage = open_storage(url, None)
    hosts = hosting.host_domains(config, storage, Router(_NoOne()), Clock(), execute, secret)
    admin = Admin(lambda: hosting.verb_groups(hosts))
    answers: list[dict[str, Any]] = []
    Deferred.fromCoroutine(_run(admin, hosts.values(), words, secrets)).addCallback(answers.append)
    storage.close()
    return answers[0] if answers else {"refused": "only a running server can do that"}


async def _run(
    admin: Admin, hosts: Iterable[Host], words: list[str], secrets: dict[str, str]
) -> dict[str, Any]:
    for host in hosts:
        await host.modules.start()
    done = await answer(admin, words, secrets)
    for host in hosts:
        await host.modules.stop()
    return done
