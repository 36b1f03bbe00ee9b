"""The operator's verbs while no server runs: they work on the storage itself, at once."""

from __future__ import annotations

from secrets import token_bytes
from time import time
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from jabberd import hosting
from jabberd.admin import Admin
from jabberd.config import Config
from jabberd.control import answer
from jabberd.operating import terms
from jabberd.operating.backup import Backup, Restore
from jabberd.operating.check import Check
from jabberd.operating.examine import Examination, NoOne
from jabberd.operating.shown import Shown
from jabberd.router import Router
from jabberd.storage import open_storage
from jabberd.storage.ownership import InUseError, ownership
from jabberd.streams.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from jabberd.hosting import Host


def run(path: Path, words: list[str], secrets: dict[str, str]) -> dict[str, Any]:
    """Run a verb on the storage that a configuration file names; the answer is `control.answer`'s.

    :raises ConfigError: the file cannot be used.
    :raises StorageError: nor can the storage: a server may run that its socket does not lead to.
    """
    if words[:2] == ["config", "check"]:  # it needs no storage, and may be about a mistake in the file
        return _at_once(Admin(lambda: [("config", "", Examination(path.absolute()))]), words)
    config = Config.read(path)
    url = config.settings.storage.url
    if url == "memory" and words[:1] != ["check"]:
        return {"refused": "the server does not run, and what it keeps in memory is gone with it"}
    ours = ownership(url)
    try:
        ours.acquire()
        if words[:1] == ["check"]:
            return _checked(config, words)
        if words[:1] == ["restore"]:  # before the storage is opened, which would make one
            return _at_once(Admin(lambda: [("", "", Restore(url))]), words)
        return _on_storage(config, url, words, secrets)
    except InUseError as why:
        where = config.settings.control.socket or "it has no [control] socket"
        return {"refused": f"{why}; no server answers on its socket ({where})"}
    finally:
        ours.release()


def _checked(config: Config, words: list[str]) -> dict[str, Any]:
    """Examine everything, as a server would meet it; a reactor asks DNS and other servers."""
    from twisted.internet import reactor  # noqa: PLC0415  # no other verb needs one

    running: Any = reactor
    settings = config.settings
    shown = Shown(hosting.certificates(config, settings), settings.tls.minimum)
    trust = terms.trust(config)
    storage = open_storage(settings.storage.url, None)
    spool = Spool(storage.archive("spool of links"))  # nothing is sent: it stays as it is
    policies = terms.policies(settings)
    way = terms.federation(settings, shown, policies, trust, token_bytes(32), running, tuple, spool)
    check = Check(config.changed, way, storage, None)
    admin = Admin(lambda: [("", "", check)])
    answers: list[dict[str, Any]] = []

    def begin() -> None:
        checking = Deferred.fromCoroutine(answer(admin, words, {})).addCallback(answers.append)
        checking.addBoth(lambda _: running.stop())

    running.callWhenRunning(begin)
    running.run(installSignalHandlers=False)
    return answers[0]


def _at_once(admin: Admin, words: list[str]) -> dict[str, Any]:
    answers: list[dict[str, Any]] = []
    Deferred.fromCoroutine(answer(admin, words, {})).addCallback(answers.append)
    return answers[0]


def _on_storage(config: Config, url: str, words: list[str], secrets: dict[str, str]) -> dict[str, Any]:
    secret = hosting.secret_of(url)
    storage = open_storage(url, None)
    clock = Clock()
    clock.advance(time())  # and there it stands still
    hosts = hosting.host_domains(config, storage, Router(NoOne()), clock, execute, secret)
    listening = [(each.full_kind, each.address, each.port) for each in config.settings.listeners]
    for host in hosts.values():
        host.manager.url = hosting.public_url(config.settings, host.manager.jid, listening)
    groups = [
        *hosting.verb_groups(hosts),
        ("config", "", Examination(config.path)),
        ("", "", Backup(url, execute)),
        ("", "", Restore(url)),
    ]
    where = config.settings.control.socket
    lacking = f"while no server answers on {where}" if where else "without a control.socket"
    admin = Admin(lambda: groups, lambda noun: hosting.lacking(hosts, noun) or lacking)
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
