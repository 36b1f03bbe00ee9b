"""What all commands of service administration share: who may run them, and how they call verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from jabberd.api import JID, Refused
from jabberd.modules.commands import Command, Result
from jabberd.xmpp.forms import Field, Form, Submission

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jabberd.api import Domain
    from jabberd.xmpp.element import Element

__all__ = ["NS", "Desk", "Run", "form", "note", "result"]

NS: Final = "http://jabber.org/protocol/admin"
_INSTRUCTIONS: Final = "Fill in this form and send it."


class Run(Protocol):
    """Does what a command does, with what was filled in."""

    def __call__(self, filled: Submission, /) -> Awaitable[Result]: ...


class Desk:
    """Makes commands about one domain, for those who may.

    :param operates: whether somebody may administer the domain.
    """

    def __init__(self, domain: Domain, operates: Callable[[JID], bool]) -> None:
        self.domain = domain
        self._operates = operates

    def command(
        self,
        node: str,
        name: str,
        run: Run,
        *fields: Field,
        opening: Callable[[], Awaitable[tuple[Field, ...]]] | None = None,
        server: bool = False,
    ) -> Command:
        """A command with a form of these fields; without fields it runs at once.

        :param opening: gives the fields instead, with how things are.
        :param server: it is for those alone who operate the whole server.
        """

        async def told(_who: JID, filled: Submission) -> Result:
            try:
                return await run(filled)
            except Refused as why:
                return Result(notes=(("error", str(why)),))

        def made(fields: tuple[Field, ...]) -> Form:
            return Form(NS, fields, name, _INSTRUCTIONS)

        async def opened(_who: JID) -> Form:
            assert opening is not None
            return made(await opening())

        allowed = self._operates_server if server else self._operates
        forms = (made(fields),) if fields else ()
        return Command(f"{NS}#{node}", name, allowed, told, forms, opened if opening else None)

    async def call(self, noun: str, verb: str, **arguments: object) -> Any:
        """Have an operators' verb do it, for this domain.

        :raises Refused: it cannot be done, or is about another domain.
        """
        for value in arguments.values():
            if isinstance(value, JID) and value.domainpart != self.domain.jid:
                raise Refused(f"{value} is not at {self.domain.jid}")
        return await self.domain.operators.call(noun, verb, arguments)

    def _operates_server(self, who: JID) -> bool:
        return who.bare in self.domain.operators.server


def note(said: object) -> Result:
    """A result that is a line to read."""
    return Result(notes=(("info", str(said)),))


def form(*fields: Field) -> Element:
    """Data that was asked for."""
    return Form(NS, fields).element("result")


def result(*fields: Field, notes: tuple[tuple[str, str], ...] = ()) -> Result:
    """A result that is data."""
    return Result((form(*fields),), notes)
