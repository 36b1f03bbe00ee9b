"""What is logged, and how it is written down.

Each event of `twisted.logger` becomes one line, as text or as a flat JSON object, in which nothing can be
mistaken for anything else: whatever is not printable, in what peers call themselves too, is escaped.
`Levels` say which events are logged, `Lines` how much of them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import ILogFilterPredicate, Logger, LogLevel, LogLevelFilterPredicate, formatEvent
from twisted.python.reflect import safe_str
from zope.interface import implementer

from jabberd.api import Refused, Secret, operator
from jabberd.table import escaped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.logger import LogEvent

    from jabberd.settings import Log

__all__ = ["FORMATS", "MINUTE", "Levels", "Lines", "LogFile", "LogVerbs", "as_json", "as_text"]

log = Logger()

MINUTE: Final = 60.0  #: seconds; how often `Lines.next_minute` wants to be called
_MOST_KINDS: Final = 1_000  # that have a budget of their own
_LONGEST: Final = 4_000  # characters of a message, or of one field
#: Whatever goes through `twisted.python.log`, which knows no levels: each port of each question to DNS.
_OLD_LOG: Final = "log_legacy"
#: What `twisted.python.log` puts into events.
_LEGACY: Final = frozenset({"failure", "format", "isError", "message", "system", "time"})


# --- which ---------------------------------------------------------------------------------------


@implementer(ILogFilterPredicate)
class Levels:
    """Which events are logged: those of a namespace's level and above; see ``[log]``.

    A namespace is a Python module with all below it; the empty one stands for all without a level of
    their own.  A predicate for `twisted.logger.FilteringLogObserver`.
    """

    def __init__(self, settings: Log) -> None:
        self._predicate = LogLevelFilterPredicate()
        self._levels: dict[str, str] = {}
        self._judged: dict[tuple[str, Any], Any] = {}  # by namespace and level: most is asked again and again
        self.replace(settings)

    def set(self, namespace: str, level: str) -> None:
        """Use this level from now on.

        :param level: ``debug``, ``info``, ``warn``, ``error`` or ``critical``.
        :raises ValueError: it is none of these.
        """
        try:
            constant = LogLevel.lookupByName(level)
        except ValueError:
            names = ", ".join(each.name for each in LogLevel.iterconstants())
            raise ValueError(f"{level!r} is not a level; use one of {names}") from None
        self._predicate.setLogLevelForNamespace(namespace, constant)
        self._levels[namespace] = level
        self._judged.clear()

    def replace(self, settings: Log) -> None:
        """Use these from now on, and no others."""
        self._predicate.clearLogLevels()
        self._levels.clear()
        for namespace, level in {"": settings.level, **settings.levels}.items():
            self.set(namespace, level)

    def all(self) -> dict[str, str]:
        """The levels by namespace, sorted."""
        return dict(sorted(self._levels.items()))

    def __call__(self, event: LogEvent) -> Any:
        """A `twisted.logger.PredicateResult`."""
        name, level = event.get("log_namespace", ""), event.get("log_level")
        verdict = self._judged.get((name, level))
        if verdict is None:
            if name == _OLD_LOG and level is LogLevel.info:
                event = {**event, "log_level": LogLevel.debug}
            verdict = self._judged[name, level] = self._predicate(event)
        return verdict


class LogVerbs:
    """``log ...`` for operators."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels

    @operator("list the log levels by namespace")
    def levels(self) -> list[dict[str, str]]:
        """The first is for all namespaces without a level of their own."""
        return [{"namespace": name or "*", "level": level} for name, level in self._levels.all().items()]

    @operator("change the log level of a namespace (* for all) until the next start")
    def level(self, namespace: str, level: str) -> str:
        """Change it now."""
        try:
            self._levels.set("" if namespace == "*" else namespace, level)
        except ValueError as why:
            raise Refused(str(why)) from None
        return f"{namespace} is logged from {level} on"


# --- how -----------------------------------------------------------------------------------------


def as_text(event: LogEvent) -> str:
    """``TIME [NAMESPACE#LEVEL] MESSAGE``, and a traceback in lines that begin with a tab."""
    first = f"{_time(event)} [{event.get('log_namespace', '-')}#{_level(event)}] {_message(event)}"
    return "\n\t".join([first, *_traceback(event)]) + "\n"


def as_json(event: LogEvent) -> str:
    """An object with ``time``, ``level``, ``namespace``, ``message``, the event's fields, ``traceback``."""
    line: dict[str, Any] = {
        "time": _time(event),
        "level": _level(event),
        "namespace": event.get("log_namespace", "-"),
        "message": _message(event),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in _LEGACY:
            line.setdefault(name, _plain(value))
    traceback = _traceback(event)
    if traceback:
        line["traceback"] = "\n".join(traceback)
    return json.dumps(line, ensure_ascii=False) + "\n"


#: What ``[log] format`` may say.
FORMATS: Final = {"text": as_text, "json": as_json}


def _time(event: LogEvent) -> str:
    """ISO 8601, in local time with its offset."""
    return datetime.fromtimestamp(event["log_time"], UTC).astimezone().isoformat(timespec="milliseconds")


def _level(event: LogEvent) -> str:
    return str(event["log_level"].name)


def _message(event: LogEvent) -> str:
    return escaped(formatEvent(event)[:_LONGEST].rstrip())


def _traceback(event: LogEvent) -> list[str]:
    """Its lines, without the values of variables."""
    failure = event.get("log_failure")
    return [] if failure is None else [escaped(line) for line in failure.getTraceback().splitlines()]


def _plain(value: object) -> str | int | None:
    """A value as JSON can show it."""
    if value is None or isinstance(value, int):  # bool too
        return value
    if isinstance(value, Secret):
        return repr(value)
    return escaped(safe_str(value)[:_LONGEST])


# --- how much ------------------------------------------------------------------------------------


class Lines:
    """Writes events as lines, but no more of one kind than a disk can bear; a quarter of it of one address.

    A kind is a namespace and a format, so that what one attacker makes the server say hides nothing else.
    What `twisted.logger.FileLogObserver` calls to format events.

    :param write: such as `as_text`.
    :param budget: characters a minute, for each kind.
    """

    def __init__(self, write: Callable[[LogEvent], str], budget: int = 128 << 10) -> None:
        self._write = write
        self._budget = budget
        self._spent: Counter[tuple[str, str]] = Counter()
        self._spent_on: Counter[tuple[str, str, str]] = Counter()  # by address, too
        self._suppressed: Counter[tuple[str, str]] = Counter()

    def __call__(self, event: LogEvent) -> str | None:
        kind = (event.get("log_namespace", ""), event.get("log_format") or "")
        if kind not in self._spent and len(self._spent) >= _MOST_KINDS:
            kind = ("", "")
        peer = (*kind, _address(event))
        if self._spent[kind] >= self._budget or self._spent_on[peer] >= self._budget / 4:
            self._suppressed[kind] += 1
            return None
        line = self._write(event)
        self._spent[kind] += len(line)
        if peer[2]:
            self._spent_on[peer] += len(line)
        return line

    def next_minute(self) -> None:
        """Begin a new minute, and log what was suppressed in the last one."""
        suppressed, self._suppressed = self._suppressed, Counter()
        self._spent = Counter()
        self._spent_on = Counter()
        for (namespace, like), count in suppressed.items():
            log.warn("suppressed {count} of {what}: {like!r}", count=count, what=namespace, like=like)


def _address(event: LogEvent) -> str:
    """Whose doing it is; empty if nobody's in particular."""
    return str(getattr(event.get("stream"), "address", "") or event.get("address", ""))


class LogFile:
    """A file that lines are added to; `reopen` it after something has moved it away.

    :raises OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()

    def _open(self) -> Any:
        return open(self._path, "a", encoding="utf-8", opener=_for_its_group)

    def write(self, text: str) -> None:
        """Add text."""
        self._file.write(text)

    def flush(self) -> None:
        """Give it to the system."""
        self._file.flush()

    def reopen(self) -> None:
        """Open what now has the name; if that cannot be, go on with the file that is open."""
        try:
            opened = self._open()
        except OSError as error:
            log.warn("{path} cannot be opened anew: {error}", path=self._path, error=error)
            return
        moved, self._file = self._file, opened  # in one step: other threads log, too
        moved.close()


def _for_its_group(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)
