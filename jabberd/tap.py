"""What ``twistd jabberd`` starts: its options, and the service made from them.

Whatever can be wrong with a configuration ends the start with one line for each mistake and status 1.
"""

from __future__ import annotations

import gc
import io
import linecache
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, cast

from twisted.application.service import IService, MultiService, Service
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
)
from twisted.python.components import Componentized
from twisted.python.usage import Options as UsageOptions
from twisted.scripts._twistd_unix import UnixAppLogger

from jabberd import __version__
from jabberd.config import Config, ConfigError
from jabberd.garbage import look_rarely
from jabberd.interfaces import StorageError
from jabberd.logs import FORMATS, MINUTE, Levels, Lines, LogFile
from jabberd.notify import Watchdog, notify

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

_MOST_FILES = 1 << 20  # more than Linux allows by default makes setrlimit fail
_TWISTD_PIDFILE = "twistd.pid"
#: What twistd imports to see whether Trial's plug-ins are services, and nobody else here needs: a MiB.
_OF_THE_SEARCH: Final = ("twisted.trial.", "unittest.", "argparse.", "difflib.")


class Options(UsageOptions):
    """``twistd [its own options] jabberd --config FILE``."""

    optParameters: ClassVar = [["config", None, None, "The configuration file (TOML)."]]

    config: Config

    def opt_version(self) -> NoReturn:
        """Display jabberd's version and exit."""
        print(f"jabberd {__version__}")  # noqa: T201 - what was asked for
        raise SystemExit(0)

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
    """The root of all services: tells why it cannot start, and that it is about to stop.

    :param observer: to be told of the events that are logged.
    """

    def __init__(self, options: Options, observer: ILogObserver) -> None:
        MultiService.__init__(self)
        self._twistd: Any = options.parent
        self._observer = observer

    def setServiceParent(self, parent: object) -> None:
        MultiService.setServiceParent(self, parent)
        if isinstance(parent, Componentized):  # twistd logs to the observer that its application names
            parent.setComponent(ILogObserver, self._observer)

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


class Minutes(Service):
    """Tells the log's lines when a minute has passed."""

    name = "minutes"

    def __init__(self, lines: Lines, clock: Any) -> None:
        self._call = LoopingCall(lines.next_minute)
        self._call.clock = clock

    def startService(self) -> None:
        Service.startService(self)
        self._call.start(MINUTE)

    def stopService(self) -> None:
        Service.stopService(self)
        self._call.stop()


def open_log(config: Config) -> LogFile | None:
    """The log's own file, if it is to have one; if that cannot be, this is noted in the config."""
    path = config.settings.log.file
    if path is None:
        return None
    try:
        return LogFile(path)
    except OSError as error:
        config.problem(("log", "file"), f"cannot be written: {error.strerror}; choose another")
        return None


def observer(twistd: Any, file: LogFile | None, lines: Lines, reactor: Any) -> ILogObserver:
    """Who writes the log: into that file, which SIGUSR1 opens anew, or where twistd was told to."""
    if file is not None:
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.reopen))
        return FileLogObserver(cast("Any", file), lines)
    theirs = UnixAppLogger(twistd)._getLogObserver()  # noqa: SLF001 - as twistd itself would
    if not isinstance(theirs, FileLogObserver):
        return LegacyLogObserverWrapper(theirs)  # syslog has a form of its own
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that it cannot show costs no line
    theirs.formatEvent = lines
    return theirs


def raise_file_limit() -> None:
    """Let this process have as many sockets as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def forget_the_search() -> None:
    """Let go of what twistd has imported in its search for plug-ins; who needs it later imports it anew."""
    if Path(sys.argv[0]).name != "twistd":
        return  # somebody else's process, who may use it
    for name in list(sys.modules):
        if f"{name}.".startswith(_OF_THE_SEARCH):
            del sys.modules[name]
    vars(sys.modules["twisted"]).pop("trial", None)
    sys.path_importer_cache.clear()  # what is in each folder: the next import looks again
    linecache.clearcache()  # the source of what attrs made
    gc.collect()


def makeService(options: Options) -> IService:
    """What twistd starts and stops."""
    forget_the_search()  # before more is imported, which takes its place
    from twisted.internet import reactor  # noqa: PLC0415 - not before twistd has installed the chosen one

    from jabberd.hosting import settings_of  # noqa: PLC0415 - as below
    from jabberd.service import assemble  # noqa: PLC0415 - it imports all of the server

    raise_file_limit()
    try:
        settings = settings_of(options.config).log
        levels, file = Levels(settings), open_log(options.config)
        lines = Lines(FORMATS[settings.format], settings.budget)
        assembled = assemble(options.config, reactor, levels)
    except (ConfigError, StorageError) as error:
        raise SystemExit(str(error)) from None
    writer = observer(options.parent, file, lines, reactor)
    server: MultiService = Server(options, FilteringLogObserver(writer, [levels]))
    server.addService(Minutes(lines, reactor))
    server.addService(assembled)
    server.addService(Watchdog(reactor))
    look_rarely()
    return server
