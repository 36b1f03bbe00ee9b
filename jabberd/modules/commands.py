"""XEP-0050: commands that somebody runs at the domain, step by step, with forms.

Those who live here find and run the same commands at their own account as well, which is where a client
asks that leaves ``to`` out (RFC 6120 §10.3.3).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Final, Protocol, runtime_checkable

from msgspec import Meta

from jabberd.api import (
    ACCOUNT,
    ANYONE,
    DOMAIN,
    IQ,
    JID,
    Duration,
    E,
    Element,
    Module,
    Settings,
    StanzaError,
    answers,
)
from jabberd.xmpp import forms
from jabberd.xmpp.forms import Form, Submission

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from jabberd.api import Account

NS: Final = "http://jabber.org/protocol/commands"
_INFO: Final = "http://jabber.org/protocol/disco#info"
_ITEMS: Final = "http://jabber.org/protocol/disco#items"
_ACTIONS: Final = ("execute", "next", "prev", "complete", "cancel")
_REMEMBERED: Final = 1000  # ids of executions that have ended


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a command.

    :ivar payload: shown to whoever ran it, such as the element of a form of type ``result``.
    :ivar notes: for them to read, each with its severity: ``info``, ``warn`` or ``error`` (§4.3).
    """

    payload: tuple[Element, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """What can be run.

    :ivar allowed: whether this full JID may see and run it.
    :ivar run: does it, for this full JID, with what was filled in; it may raise `StanzaError`.
    :ivar forms: to be filled in before, one after the other; without any it runs at once.
    :ivar opening: makes a form that comes ahead of those, for this full JID, with how things are at that
        moment; it may raise `StanzaError`, too.
    """

    node: str
    name: str
    allowed: Callable[[JID], bool]
    run: Callable[[JID, Submission], Awaitable[Result]]
    forms: tuple[Form, ...] = ()
    opening: Callable[[JID], Awaitable[Form]] | None = None


@runtime_checkable
class Offers(Protocol):
    """A module that has commands."""

    @property
    def commands(self) -> Iterable[Command]:
        """Its commands; the nodes are unique in a domain."""


@dataclass(slots=True)
class Execution:
    """A command that waits for a form; what §3.3 calls a session.

    :ivar filled: what came back, a submission for each form so far.
    :ivar until: when it is given up, by the domain's clock.
    """

    id: str
    who: JID
    command: Command
    until: float
    filled: list[Submission] = field(default_factory=list)

    @property
    def actions(self) -> list[str]:
        """What can be done now, what ``execute`` means first (§3.4)."""
        last = len(self.filled) == len(self.command.forms) - 1
        return ["complete" if last else "next", *(["prev"] if self.filled else [])]

    @property
    def form(self) -> Form:
        """What it waits for."""
        return self.command.forms[len(self.filled)]


class Commands(Module, xep=50, version="1.3.0"):
    """Runs the commands of all modules that are `Offers`, for those who may.

    Somebody who may run none finds an empty list, and whatever they try to run is ``forbidden``.
    """

    requires = ("disco",)
    features = (NS,)
    counted = ("open",)

    class Config(Settings):
        """How long and for how many forms are waited for.

        :ivar timeout: after which a form that does not come back is given up.
        :ivar open: commands of one account that wait for a form; with one more the oldest is given up.
        """

        timeout: Duration = 600.0
        open: Annotated[int, Meta(ge=1)] = 10

    config: Config

    async def start(self) -> None:
        """Nothing waits yet."""
        self._open: dict[str, Execution] = {}
        self._ended: dict[str, JID] = {}

    # -- discovery ----------------------------------------------------------------------------------

    def node_info(self, node: str, asker: JID) -> Iterable[Element] | None:
        """See `jabberd.modules.disco.Nodes`; §2.2."""
        if node == NS:
            return _described("command-list", None, ())
        command = self._commands(asker).get(node)
        if command is not None:
            return _described("command-node", command.name, (NS, forms.NS))
        if self._is_offered(node):
            raise StanzaError("forbidden")
        return None

    def node_items(self, node: str, asker: JID) -> Iterable[Element] | None:
        """See `jabberd.modules.disco.Nodes`; §2.2."""
        commands = self._commands(asker)
        if node in commands:
            return ()
        if node != NS:
            return None
        jid = self.domain.jid
        return [
            E(_ITEMS, "item", {"jid": jid, "node": each.node, "name": each.name})
            for each in commands.values()
        ]

    async def account_node(self, account: Account, node: str, asker: JID) -> Iterable[Element] | None:
        """See `jabberd.modules.disco.AccountNodes`; the owner's own commands."""
        return self.node_info(node, asker) if asker.bare == account.jid else None

    async def account_items(self, account: Account, node: str, asker: JID) -> Iterable[Element] | None:
        """See `jabberd.modules.disco.AccountNodes`; the owner's own commands."""
        return self.node_items(node, asker) if asker.bare == account.jid else None

    # -- running ------------------------------------------------------------------------------------

    @answers.set(NS, "command", to=DOMAIN, by=ANYONE)
    @answers.set(NS, "command", to=ACCOUNT)
    async def command(self, request: IQ) -> Element:
        """Begin a command, or go on with one (§2.4).

        :raises StanzaError: see §4.4.
        """
        asked = request.payload
        allowed = self._commands(request.sender)
        if not allowed:
            raise StanzaError("forbidden")
        command = allowed.get(node := asked.get("node", ""))
        if command is None:
            raise StanzaError("forbidden" if self._is_offered(node) else "item-not-found")
        action = asked.get("action", "execute")
        if action not in _ACTIONS:
            raise _bad("malformed-action", f"there is no action {action}")
        self._give_up()
        id = asked.get("sessionid")
        if id is None and action == "execute":
            return await self._begin(command, request.sender)
        return await self._go_on(self._found(id or "", command, request.sender), action, asked)

    async def _begin(self, command: Command, who: JID) -> Element:
        if command.opening is not None:
            command = replace(command, forms=(await command.opening(who), *command.forms))
        execution = Execution(secrets.token_urlsafe(16), who, command, 0.0)
        if not command.forms:
            return await self._complete(execution)
        waiting = [each for each in self._open.values() if each.who.bare == who.bare]
        if len(waiting) >= self.config.open:
            self.met["open"] += 1
            self._end(min(waiting, key=lambda each: each.until))
        return self._ask(execution)

    async def _go_on(self, execution: Execution, action: str, asked: Element) -> Element:
        if action == "cancel":
            self._end(execution)
            return _told(execution, "canceled")
        if action == "execute":
            action = execution.actions[0]
        if action not in execution.actions:
            raise _bad("bad-action", f"only {', '.join(execution.actions)} or cancel is possible now")
        if action == "prev":
            execution.filled.pop()
            return self._ask(execution)
        execution.filled.append(_filled(execution.form, asked))
        if action == "next":
            return self._ask(execution)
        self._end(execution)
        return await self._complete(execution)

    def _ask(self, execution: Execution) -> Element:
        execution.until = self.domain.clock.seconds() + self.config.timeout
        self._open[execution.id] = execution
        actions = E(
            NS, "actions", {"execute": execution.actions[0]}, *(E(NS, name) for name in execution.actions)
        )
        return _told(execution, "executing", actions, execution.form.element())

    async def _complete(self, execution: Execution) -> Element:
        self.log.info("{who!r} runs {node}", who=execution.who, node=execution.command.node)
        values = {var: value for each in execution.filled for var, value in each.values.items()}
        result = await execution.command.run(execution.who, Submission(values))
        notes = (E(NS, "note", {"type": type}, text) for type, text in result.notes)
        return _told(execution, "completed", *notes, *result.payload)

    # -- what waits ---------------------------------------------------------------------------------

    def _found(self, id: str, command: Command, who: JID) -> Execution:
        """The execution of that id, if it is this requester's and of this command (§3.3)."""
        execution = self._open.get(id)
        if execution is not None and (execution.who, execution.command.node) == (who, command.node):
            return execution
        if self._ended.get(id) == who:
            raise StanzaError(
                "not-allowed", "that has ended; begin anew", application=(NS, "session-expired")
            )
        raise _bad("bad-sessionid", "there is no such session")

    def _give_up(self) -> None:
        """End what nobody came back to."""
        now = self.domain.clock.seconds()
        for execution in [each for each in self._open.values() if each.until <= now]:
            self._end(execution)

    def _end(self, execution: Execution) -> None:
        """Forget all but the id, so that somebody who comes late learns why."""
        del self._open[execution.id]
        self._ended[execution.id] = execution.who
        while len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def _commands(self, who: JID) -> dict[str, Command]:
        return {each.node: each for each in self._offered() if each.allowed(who)}

    def _is_offered(self, node: str) -> bool:
        """Whether somebody may run that command."""
        return any(each.node == node for each in self._offered())

    def _offered(self) -> Iterator[Command]:
        for module in self.domain.having(Offers):
            yield from module.commands


def _filled(form: Form, asked: Element) -> Submission:
    """What was filled in; ``type='cancel'`` counts as ``submit`` (§3.5.1).

    :raises StanzaError: ``bad-request`` with ``bad-payload``.
    """
    submitted = asked.find(forms.X)
    if submitted is None:
        raise _bad("bad-payload", "the form is missing")
    if submitted.get("type") == "cancel":
        submitted.set("type", "submit")
    try:
        return form.read(submitted)
    except StanzaError as why:
        raise _bad("bad-payload", why.text) from None


def _bad(condition: str, text: str) -> StanzaError:
    return StanzaError("bad-request", text, application=(NS, condition))


def _told(execution: Execution, status: str, *content: Element) -> Element:
    attrs = {"node": execution.command.node, "sessionid": execution.id, "status": status}
    return E(NS, "command", attrs, *content)


def _described(type: str, name: str | None, features: Iterable[str]) -> list[Element]:
    identity = E(_INFO, "identity", {"category": "automation", "type": type, "name": name})
    return [identity, *(E(_INFO, "feature", {"var": each}) for each in features)]
