"""Commands that concern everybody (XEP-0133 §4.23 to §4.28), and the server's end (§4.30, §4.31)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from jabberd.api import Refused
from jabberd.modules.administration.desk import note
from jabberd.xmpp.forms import Field, Submission

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IDelayedCall

    from jabberd.modules.administration.desk import Desk
    from jabberd.modules.commands import Command, Result

log = Logger()

__all__ = ["EndCommands", "MessageCommands"]

_DELAYS: Final = {
    "0": "At once",
    "30": "30 seconds",
    "60": "1 minute",
    "90": "90 seconds",
    "120": "2 minutes",
    "180": "3 minutes",
    "240": "4 minutes",
    "300": "5 minutes",
}
_TEXT: Final = Field("announcement", "text-multi", "What everybody is told", required=True)
_WARNING: Final = Field("announcement", "text-multi", "What everybody is told at once")
_DELAY: Final = Field("delay", "list-single", "How long from now", ("30",), options=_DELAYS)


class MessageCommands:
    """An announcement, and the two messages that stand; those of a module that is off are not there."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __iter__(self) -> Iterator[Command]:
        yield self._desk.command("announce", "Announce something to everybody online", self._announce, _TEXT)
        there = {module.name for module in self._desk.domain.modules}
        if "motd" in there:
            yield self._sets("set-motd", "Set the message of the day", "motd", "set", prefilled=False)
            yield self._sets("edit-motd", "Edit the message of the day", "motd", "edit")
            yield self._deletes("delete-motd", "Delete the message of the day", "motd")
        if "welcome" in there:
            yield self._sets("set-welcome", "Set the welcome message", "welcome", "set")
            yield self._deletes("delete-welcome", "Delete the welcome message", "welcome")

    async def _announce(self, filled: Submission) -> Result:
        text = filled.text(_TEXT.var)
        return note(await self._desk.call("", "announce", text=text, domain=self._desk.domain.jid))

    def _sets(self, node: str, name: str, noun: str, verb: str, *, prefilled: bool = True) -> Command:
        """A command that sets a message; its form shows the one that there is."""
        field = partial(Field, noun, "text-multi", name, required=True)

        async def shown() -> tuple[Field, ...]:
            text = await self._text(noun) if prefilled else ""
            return (field(values=tuple(text.split("\n")) if text else ()),)

        async def run(filled: Submission) -> Result:
            domain = self._desk.domain.jid
            return note(await self._desk.call(noun, verb, DOMAIN=domain, text=filled.text(noun)))

        return self._desk.command(node, name, run, opening=shown)

    def _deletes(self, node: str, name: str, noun: str) -> Command:
        async def run(_filled: Submission) -> Result:
            return note(await self._desk.call(noun, "delete", DOMAIN=self._desk.domain.jid))

        return self._desk.command(node, name, run)

    async def _text(self, noun: str) -> str:
        try:
            return str(await self._desk.call(noun, "show", DOMAIN=self._desk.domain.jid))
        except Refused:  # there is none
            return ""


class EndCommands:
    """The end of the server, at once or later; a later one takes the place of one that waits."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._end: IDelayedCall | None = None

    def __iter__(self) -> Iterator[Command]:
        for verb, name in (("restart", "Restart the server"), ("shutdown", "Shut the server down")):
            yield self._desk.command(verb, name, partial(self._ends, verb), _DELAY, _WARNING, server=True)

    def forget(self) -> None:
        """Whatever waits is off."""
        if self._end is not None and self._end.active():
            self._end.cancel()

    async def _ends(self, verb: str, filled: Submission) -> Result:
        text, seconds = filled.text(_WARNING.var), int(filled.text(_DELAY.var))
        told = await self._desk.call("", "announce", text=text) if text else "nobody was told"
        self.forget()
        self._end = self._desk.domain.clock.callLater(seconds, self._now, verb)
        return note(f"the server {'ends' if verb == 'shutdown' else 'restarts'} in {seconds} s; {told}")

    def _now(self, verb: str) -> None:
        ending = Deferred.fromCoroutine(self._desk.call("", verb))
        ending.addErrback(lambda why: log.failure("the server did not {verb}", why, verb=verb))
