"""The prompt: what an operator types is Python, run inside the server, with ``admin`` at hand.

Whatever can be waited for is waited for, while the server goes on; Ctrl-C ends the waiting.
"""

from __future__ import annotations

import builtins
import io
import keyword
import pydoc
import re
from pprint import pformat
from typing import TYPE_CHECKING, Any, Final, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from jabberd import __version__
from jabberd.admin import UsageError
from jabberd.api import Live, Refused
from jabberd.manhole.audit import masked
from jabberd.manhole.nouns import Answer, Listing, Sentence, UnknownWordError, nouns
from jabberd.manhole.python import complete, evaluate, told
from jabberd.manhole.terminal import Terminal, Window
from jabberd.table import escaped, one_line, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.python.failure import Failure

    from jabberd.admin import Admin
    from jabberd.manhole.line import History

__all__ = ["Console"]

log = Logger()

_GREETING: Final = f"jabberd {__version__}: `admin` shows the verbs, Tab completes, Ctrl-D leaves."
_PROMPTS: Final = (">>> ", "... ")
_SOURCE: Final = 100_000  # characters of one piece of Python
_LOGGED: Final = 10_000  # and how many of them are logged
_ROWS: Final = 1000  # of one answer that are shown,
_SHOWN: Final = 200_000  # and characters
_RED: Final = "\x1b[31m{}\x1b[0m"


class Console(Terminal):
    """One operator at the prompt.

    :param who: for the log.
    :param namespace: what there is besides ``admin``.
    :param leave: ends the session.
    """

    def __init__(
        self,
        who: str,
        admin: Admin,
        namespace: Mapping[str, Any],
        window: Window,
        history: History,
        leave: Callable[[], None],
    ) -> None:
        Terminal.__init__(self, window, history)
        self.prompt = _PROMPTS[0]
        self._who = who
        self._leave = leave
        self._source = ""
        self._work: Deferred[None] | None = None
        self._nouns = nouns(admin, self._ask)
        self._namespace = {
            **dict.fromkeys(("breakpoint", "input", "license"), _would_wait_at_the_wrong_terminal),
            **namespace,
            "__name__": "__manhole__",
            "admin": self._nouns,
            "print": self._print,
            "help": self._help,
            "exit": _exit,
            "quit": _exit,
        }

    def connectionMade(self) -> None:
        self.put(_GREETING)

    def connectionLost(self, reason: Failure) -> None:
        Terminal.connectionLost(self, reason)
        if self._work is not None:
            self._work.cancel()

    # --- lines -----------------------------------------------------------------------------------

    def entered(self, line: str) -> None:
        self._source += line
        if len(self._source) > _SOURCE:
            self._take_source()
            self.drop()
            return
        try:
            whole = complete(self._source)
        except (SyntaxError, ValueError, OverflowError) as error:
            self._remember(self._take_source())
            self._show_error(error)
            return
        if whole:
            self._run(self._take_source())
        else:
            self._source += "\n"
            self.prompt = _PROMPTS[1]

    def _take_source(self) -> str:
        source, self._source = self._source, ""
        self.prompt = _PROMPTS[0]
        return source

    def _remember(self, source: str) -> None:
        """Keep the lines in the log and in the history, unless there is a secret in them."""
        loggable = masked(source, self._namespace, self._nouns)
        if source.strip():
            log.info("manhole: {who}: {line}", who=self._who, line=escaped(loggable)[:_LOGGED])
        for line in source.split("\n") if loggable == source else ():
            self._history.add(line)
        self._history.rest()

    def interrupted(self) -> None:
        self._take_source()
        if self._work is not None:
            self._work.cancel()

    def ended(self) -> None:
        self._leave()

    def completed(self, before: str) -> tuple[str, list[str]]:
        *path, beginning = re.findall(r"[\w.]*$", before)[0].split(".")
        if not path and not beginning:
            return "", [" " * 4]
        return beginning, [
            name
            for name in _names(path, self._namespace)
            if name.startswith(beginning) and (beginning or not name.startswith("_"))
        ]

    # --- running ---------------------------------------------------------------------------------

    def _run(self, source: str) -> None:
        self._remember(source)
        self.busy = True
        self._work = Deferred.fromCoroutine(self._evaluate(source))
        self._work.addErrback(lambda why: log.failure("the manhole failed", why))
        self._work.addBoth(self._rest)

    def _rest(self, _: object) -> None:
        self._work = None
        self.idle()

    async def _evaluate(self, source: str) -> None:
        try:
            await self._show(await evaluate(source, self._namespace))
        except SystemExit:
            self._leave()
        except CancelledError:
            self.put("cancelled")
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the operator is told of each
            self._show_error(error)

    async def _show(self, value: object) -> None:
        """Show a value; of one that goes on, every row until its end."""
        if isinstance(value, Live):
            await value.listen(lambda row: self._put_bounded(one_line(row)))
        elif value is not None:
            self._namespace["_"] = value
            self._put_bounded(self._shown(value))

    def _shown(self, value: object) -> str:
        if isinstance(value, Listing):
            value = value.__table__()
        elif not isinstance(value, Answer):
            return _lines(pformat(value, width=self._window.width, sort_dicts=False))
        more = len(value) - _ROWS if isinstance(value, list) else 0
        if isinstance(value, list) and more > 0:
            value = value[:_ROWS]
        text = render(value, self._window.width, colour=self._window.colour)
        return f"{text}\n... and {more} more" if more > 0 else text or "none"

    def _show_error(self, error: BaseException) -> None:
        expected = isinstance(error, Refused | UsageError | UnknownWordError)
        text = _lines(str(error) if expected else told(error))
        *before, last = text.split("\n")
        self._put_bounded("\n".join([*before, _RED.format(last) if self._window.colour else last]))

    def _put_bounded(self, text: str) -> None:
        more = len(text) - _SHOWN
        self.put(f"{text[:_SHOWN]}\n... and {more} characters more" if more > 0 else text)

    # --- what the operator finds at the prompt ---------------------------------------------------

    async def _ask(self, name: str, what: str) -> str:
        while True:
            first = await self.ask(f"{name} for {what}: ")
            if first == await self.ask("once more: "):
                return first
            self.put("they differ; again, please")

    def _print(self, *values: object, **options: Any) -> None:
        """Print, as the builtin does, but here."""
        page = io.StringIO()
        print(*values, **{"file": page, **options})  # noqa: T201  # not to the server's output
        if "file" not in options:
            self._put_bounded(_lines(page.getvalue().removesuffix("\n")))

    def _help(self, thing: object = None) -> None:
        """Show what can be done with something, or all verbs."""
        thing = self._nouns if thing is None else thing
        if isinstance(thing, Sentence):
            text = f"{thing.usage}\n\n{thing.__doc__}"
        else:
            text = repr(thing) if isinstance(thing, Listing) else pydoc.plain(pydoc.render_doc(thing))
        self._put_bounded(_lines(text))


def _lines(text: str) -> str:
    return "\n".join(map(escaped, text.split("\n")))


def _names(path: list[str], namespace: Mapping[str, Any]) -> list[str]:
    """What can stand behind a path like ``["admin", "accounts"]``."""
    if not path:
        return sorted({*namespace, *dir(builtins), *keyword.kwlist})
    try:
        thing = namespace[path[0]] if path[0] in namespace else getattr(builtins, path[0])
        for name in path[1:]:
            thing = getattr(thing, name)
        return dir(thing)
    except Exception:  # noqa: BLE001  # it has no such attribute, or one that fails
        return []


def _exit() -> NoReturn:
    """Leave the manhole; the server goes on."""
    raise SystemExit


def _would_wait_at_the_wrong_terminal(*_: object) -> NoReturn:
    """Refuse: the builtin would wait for the server's own terminal, and the server with it."""
    raise Refused("that would make the whole server wait at its own terminal")
