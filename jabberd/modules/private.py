"""XEP-0049: clients keep XML of their own on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Protocol, runtime_checkable

from msgspec import Meta

from jabberd.api import ACCOUNT, IQ, E, Element, Keyed, Module, Settings, Size, StanzaError, answers
from jabberd.xmpp.element import parse, serialize, split

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection

    from jabberd.api import Account

NS: Final = "jabber:iq:private"
_LONGEST_NAME: Final = 500  #: bytes of an element's name with its namespace
_RESERVED: Final = ("jabber:", "http://jabber.org/", "vcard-temp")


@runtime_checkable
class KeepsPrivate(Protocol):
    """A module that keeps some of these elements itself.

    :ivar private_names: the Clark names of those.
    """

    private_names: Collection[str]

    def private(self, account: Account, name: str) -> Awaitable[Element]:
        """The element, empty if there is none."""

    def set_private(self, account: Account, element: Element) -> Awaitable[None]:
        """Keep it."""


class PrivateStorage(Module, xep=49, version="1.2"):
    """Keeps an element of each name for each account; nobody else sees them."""

    features = (NS,)
    account_features = (NS,)
    counted = ("elements", "size")

    class Config(Settings):
        """How much an account may keep.

        :ivar elements: how many.
        :ivar size: of all of them together.
        """

        elements: Annotated[int, Meta(ge=1)] = 200
        size: Size = 1 << 20

    config: Config

    kept = Keyed("private", of=str)

    async def ready(self) -> None:
        """See who keeps elements itself."""
        self._keepers = {
            name: each for each in self.domain.having(KeepsPrivate) for name in each.private_names
        }

    @answers.get(NS, "query", to=ACCOUNT)
    async def get(self, request: IQ) -> Element:
        """The element of that name, or an empty one."""
        assert request.account is not None
        [name] = _names(request)
        keeper = self._keepers.get(name)
        if keeper is not None:
            return E(NS, "query", None, await keeper.private(request.account, name))
        text = await self.kept.get(request.account.jid, name)
        return E(NS, "query", None, parse(text.encode(), "") if text else E(*split(name)))

    @answers.set(NS, "query", to=ACCOUNT)
    async def set(self, request: IQ) -> None:
        """Keep these elements in place of those of the same names."""
        account = request.account
        assert account is not None
        if account.anonymous:
            raise StanzaError("service-unavailable")  # nothing is kept of it
        given = dict(zip(_names(request), request.payload, strict=True))
        own = {
            name: serialize(each, "").decode() for name, each in given.items() if name not in self._keepers
        }
        kept = {**await self.kept.all(account.jid), **own} if own else {}
        if len(kept) > self.config.elements:
            raise self.limited("elements", "there is no room for more")
        if sum(map(len, kept.values())) > self.config.size:
            raise self.limited("size", "there is no room for more")
        if not account.exists:
            raise StanzaError("service-unavailable")  # it was deleted meanwhile
        await self.kept.change(account.jid, own)
        for name in given.keys() - own.keys():
            await self._keepers[name].set_private(account, given[name])


def _names(request: IQ) -> list[str]:
    """The Clark names of the elements that are asked for or given.

    :raises StanzaError: there are none, or too many, or they have no names of their own.
    """
    names = [each.tag for each in request.payload]
    if not names or (request.type == "get" and len(names) > 1) or len(set(names)) < len(names):
        raise StanzaError("bad-request", "one element of a namespace of its own")
    for name in names:
        namespace = split(name)[0]
        if not namespace or namespace.startswith(_RESERVED) or len(name.encode()) > _LONGEST_NAME:
            raise StanzaError("not-acceptable")
    return names
