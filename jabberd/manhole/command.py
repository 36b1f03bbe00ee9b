"""One verb on the command line of ``ssh``: its words, its answer, its exit status."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from jabberd.control import answer
from jabberd.manhole.audit import loggable
from jabberd.table import one_line, render

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from jabberd.api import Live
    from jabberd.manhole.session import Session
    from jabberd.manhole.terminal import Window

__all__ = ["Command"]

log = Logger()

_DONE: Final = 0
_REFUSED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130  # as a shell says of what Ctrl-C ended
_LINE: Final = 4096  # bytes of a secret


class Command:
    """A verb that is being run for a session.

    A secret that it needs is the first line of standard input, which nothing here shows.  With a terminal
    the answer fits its width.
    """

    def __init__(self, session: Session, words: str, window: Window | None) -> None:
        self._session = session
        self._window = window
        self._typed = b""
        self._ended = False
        self._asked: Deferred[str] | None = None
        self._work = Deferred.fromCoroutine(self._run(words))
        self._work.addErrback(self._failed)

    # --- from the client -------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Standard input; with a terminal Ctrl-C is a byte of it."""
        if self._window is not None and b"\x03" in data:
            self._work.cancel()
        else:
            self._typed = (self._typed + data.replace(b"\r", b"\n"))[:_LINE]
            self._answer_question()

    def eof(self) -> None:
        """Standard input has ended."""
        self._ended = True
        self._answer_question()

    def resized(self) -> None:
        """Nothing that was shown depends on it."""

    def lost(self) -> None:
        """The client is gone."""
        self._work.cancel()

    # --- the verb --------------------------------------------------------------------------------

    async def _run(self, command: str) -> None:
        try:
            await deferLater(self._session.avatar.clock, 0)  # the client learns first that it may
            answered = await self._answered(command)
        except CancelledError:
            self._session.end(_INTERRUPTED)
            return
        if "done" in answered:
            text = self._rendered(answered["done"])
            self._session.out(self._encoded(text + "\n" * bool(text)))
            self._session.end(_DONE)
        else:
            self._say(answered.get("refused") or answered["usage"], "\n")
            self._session.end(_REFUSED if "refused" in answered else _USAGE)

    def _failed(self, why: Failure) -> None:
        log.failure("a command in the manhole failed", why)
        self._session.end(_REFUSED)

    async def _answered(self, command: str) -> dict[str, Any]:
        """See `jabberd.control.answer`; secrets are asked for."""
        admin, who = self._session.avatar.admin, self._session.avatar.who
        try:
            words = shlex.split(command)
        except ValueError as why:
            return {"usage": f"{why} in {command!r}"}
        log.info("manhole: {who}: {words}", who=who, words=loggable(words, admin))
        secrets: dict[str, str] = {}
        while "ask" in (answered := await answer(admin, words, secrets, self._follow)):
            name = answered["ask"]
            try:
                secrets[name] = await self._ask(f"{name} for {words[-1]}: ")
            except EOFError:
                return {"refused": f"no {name} was given; nothing was done"}
        return answered

    def _follow(self, live: Live) -> Deferred[None]:
        return live.listen(lambda row: self._session.show(self._encoded(one_line(row) + "\n")))

    async def _ask(self, question: str) -> str:
        self._say(question)
        asked: Deferred[str] = Deferred()
        self._asked = asked
        self._answer_question()
        secret = await asked
        self._say("", "\n" * (self._window is not None))
        return secret

    def _answer_question(self) -> None:
        """With the next line, if there is a question and a line."""
        line, end, rest = self._typed.partition(b"\n")
        if self._asked is None or not (end or self._ended):
            return
        asked, self._asked, self._typed = self._asked, None, rest
        if line or end:
            asked.callback(line.decode("utf-8", "replace"))
        else:
            asked.errback(EOFError())

    # --- to the client ---------------------------------------------------------------------------

    def _rendered(self, data: object) -> str:
        if self._window is None:
            return render(data)
        return render(data, self._window.width, colour=self._window.colour)

    def _say(self, text: str, end: str = "") -> None:
        self._session.err(self._encoded(render(text) + end))

    def _encoded(self, text: str) -> bytes:
        return (text.replace("\n", "\r\n") if self._window else text).encode()
