"""The configuration that a running server follows, and how it comes to follow another one."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jabberd.api import Refused
from jabberd.config import Config, ConfigError
from jabberd.operating.options import differences, only_at_start, options
from jabberd.operating.plan import Plan
from jabberd.operating.shown import UnusableError
from jabberd.registry import LoadError

if TYPE_CHECKING:
    from collections.abc import Collection

    from jabberd.operating.parts import Parts

__all__ = ["Hangup", "Reload"]

log = Logger()

Rows = list[dict[str, object]]


class Reload:
    """Changes a running server to follow a configuration.

    :ivar config: the one that it follows, but for options that need a restart.
    """

    def __init__(self, config: Config, parts: Parts) -> None:
        self.config = config
        self.parts = parts
        self._options = options(config)
        self._busy = False

    def read(self) -> Config:
        """The file as it is now.

        :raises Refused: it cannot be read.
        """
        if self.config.path is None:
            raise Refused("the configuration did not come from a file")
        try:
            return Config.read(self.config.path)
        except ConfigError as error:
            raise _refused(error) from None

    def compare(self, config: Config) -> Rows:
        """What would change, option by option, and how.

        :raises Refused: it is wrong; the text has a line for each mistake.
        """
        try:
            return self._rows(Plan(self.parts, config), options(config))
        except ConfigError as error:
            raise _refused(error) from None

    async def follow(self, config: Config, anew: Collection[tuple[str, str]] = ()) -> Rows:
        """Become so, as far as it goes without a restart; the rows are those of `compare`.

        :param anew: domain and name of modules whose code is loaded again.
        :raises Refused: it is wrong; nothing has changed.
        """
        if self._busy:
            raise Refused("another change is under way; try again")
        self._busy = True
        try:
            plan, wanted = Plan(self.parts, config, anew), options(config)
            await plan.start()
            await _committed(plan)
        except (ConfigError, LoadError, UnusableError) as error:
            raise _refused(error) from None
        finally:
            self._busy = False
        rows = self._rows(plan, wanted)
        self.config = config
        for name in [str(row["option"]) for row in rows if row["outcome"] == "applied"]:
            self._take(name, wanted)
        await plan.finish()
        return rows

    def _take(self, name: str, wanted: dict[str, str | None]) -> None:
        """Remember that the option, with all below it, is as wanted."""
        below = (name, f"{name}.")
        kept = {key: value for key, value in self._options.items() if not _in(key, below)}
        self._options = kept | {key: value for key, value in wanted.items() if _in(key, below)}

    def _rows(self, plan: Plan, wanted: dict[str, str | None]) -> Rows:
        return [_row(plan, *each) for each in differences(self._options, wanted)]


async def _committed(plan: Plan) -> None:
    try:
        plan.commit()
    except UnusableError:
        await plan.undo()
        raise


def _in(option: str, below: tuple[str, str]) -> bool:
    return option == below[0] or option.startswith(below[1])


def _row(plan: Plan, option: str, now: str | None, then: str | None) -> dict[str, object]:
    why = plan.needs_restart(option)
    outcome = "needs restart" if why or only_at_start(option) else "applied"
    return {"option": option, "now": now, "then": then, "outcome": f"{outcome}: {why}" if why else outcome}


def _refused(error: Exception) -> Refused:
    return Refused(f"refused, and nothing was changed:\n{error}")


class Hangup(Service):
    """SIGHUP reads the configuration file again; the log tells what came of it."""

    name = "hangup"

    def __init__(self, reload: Reload, reactor: Any) -> None:
        self._reload = reload
        self._reactor = reactor

    def startService(self) -> None:
        """Listen to it from now on."""
        Service.startService(self)
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.hung_up))

    def hung_up(self) -> None:
        """Follow the file as it is now."""
        Deferred.fromCoroutine(self._follow()).addErrback(lambda why: log.failure("a reload failed", why))

    async def _follow(self) -> None:
        try:
            rows = await self._reload.follow(self._reload.read())
        except Refused as why:
            log.warn("{why}", why="; ".join(str(why).splitlines()))
            return
        log.info("the configuration was read again: {count} options differ", count=len(rows))
        for row in rows:
            log.info("{option}: {outcome}", **row)
