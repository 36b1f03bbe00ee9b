"""What ``twistd jabberd`` starts: its options, and the service made from them.

Whatever can be wrong with a configuration ends the start with one line for each mistake and status 1.
"""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.application.service import IService, MultiService
from twisted.internet.error import CannotListenError
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
)
from twisted.python.components import Componentized
from twisted.python.usage import Options as UsageOptions
from twisted.scripts._twistd_unix import UnixAppLogger

from jabberd.config import Config, ConfigError
from jabberd.interfaces import StorageError
from jabberd.notify import Watchdog, notify

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from jabberd.settings import Log

_MOST_FILES = 1 << 20  # more than Linux allows by default makes setrlimit fail
_TWISTD_PIDFILE = "twistd.pid"


class Options(UsageOptions):
    """``twistd [its own options] jabberd --config FILE``."""

    optParameters: ClassVar = [["config", None, None, "The configuration file (TOML)."]]

    config: Config

    def postOptions(self) -> None:
        if self["config"] is None:
            raise SystemExit("jabberd: --config FILE is missing; `jabberctl config example` prints one")
        try:
            self.config = Config.read(self["config"])
        except ConfigError as error:
            raise SystemExit(str(error)) from None
        twistd: Any = self.parent
        if twistd["nodaemon"] and twistd["pidfile"] == _TWISTD_PIDFILE:
            twistd["pidfile"] = ""  # else two servers could not run in one folder


class Server(MultiService):
    """The root of all services: tells why it cannot start, and that it is about to stop."""

    def __init__(self, options: Options) -> None:
        MultiService.__init__(self)
        self._twistd: Any = options.parent
        self._log = options.config.settings.log

    def setServiceParent(self, parent: object) -> None:
        MultiService.setServiceParent(self, parent)
        if isinstance(parent, Componentized):  # twistd logs to the observer that its application names
            observer = UnixAppLogger(self._twistd)._getLogObserver()  # noqa: SLF001 - as twistd itself would
            parent.setComponent(ILogObserver, filtered(observer, self._log))

    def privilegedStartService(self) -> None:
        self._start(lambda: MultiService.privilegedStartService(self))

    def startService(self) -> None:
        self._start(lambda: MultiService.startService(self))

    def stopService(self) -> Deferred[None]:
        notify(STOPPING="1")
        stopped: Deferred[None] = MultiService.stopService(self)
        return stopped

    def _start(self, start: Callable[[], None]) -> None:
        try:
            start()
        except (ConfigError, StorageError, CannotListenError) as error:
            if not self._twistd["nodaemon"]:  # the parent process waits to be told, by an ordinary exception
                raise
            print(error, file=sys.__stderr__)  # sys.stderr writes to twistd's log by now
            raise SystemExit(1) from None


def filtered(observer: ILogObserver, settings: Log) -> ILogObserver:
    """The observer, for events of the wanted levels only."""
    predicate = LogLevelFilterPredicate(LogLevel.lookupByName(settings.level))
    for namespace, level in settings.levels.items():
        predicate.setLogLevelForNamespace(namespace, LogLevel.lookupByName(level))
    return FilteringLogObserver(observer, [predicate])


def raise_file_limit() -> None:
    """Let this process have as many sockets as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def makeService(options: Options) -> IService:
    """What twistd starts and stops."""
    from twisted.internet import reactor  # noqa: PLC0415 - not before twistd has installed the chosen one

    from jabberd.service import assemble  # noqa: PLC0415 - it imports all of the server

    raise_file_limit()
    try:
        assembled = assemble(options.config, reactor)
    except (ConfigError, StorageError) as error:
        raise SystemExit(str(error)) from None
    server: MultiService = Server(options)
    server.addService(assembled)
    server.addService(Watchdog(reactor))
    return server
