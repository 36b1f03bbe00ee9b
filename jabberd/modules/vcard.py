"""XEP-0054: what accounts tell of their owners, for everybody to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from jabberd.api import (
    ACCOUNT,
    ANYONE,
    IQ,
    Account,
    E,
    Element,
    Keyed,
    Module,
    Settings,
    Size,
    StanzaError,
    answers,
)
from jabberd.xmpp.element import parse, serialize

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from jabberd.api import JID

NS: Final = "vcard-temp"
PHOTO: Final = f"{{{NS}}}PHOTO"


@dataclass(frozen=True, slots=True)
class VCardChanged:
    """An account has another vCard than before."""

    account: Account
    old: Element | None
    new: Element


@runtime_checkable
class HasPhotos(Protocol):
    """A module that knows newer photos than a vCard."""

    def photo(self, account: Account, asker: JID) -> Awaitable[Element | None]:
        """A ``<PHOTO/>`` for whoever asks; None: what stands in the vCard is right."""


class VCards(Module, xep=54, version="1.3.0"):
    """Keeps a vCard for each account."""

    features = (NS,)
    account_features = (NS,)
    counted = ("size",)

    class Config(Settings):
        """How much one may hold.

        :ivar size: of a vCard with its photo.
        """

        size: Size = 128 << 10

    config: Config

    kept = Keyed("vcard", of=str)

    async def ready(self) -> None:
        """See who knows photos."""
        self._photos = self.domain.having(HasPhotos)

    @answers.get(NS, "vCard", to=ACCOUNT, by=ANYONE)
    async def get(self, request: IQ) -> Element:
        """The vCard; others cannot tell an account without one from one that does not exist (§3.3)."""
        account = request.account
        assert account is not None
        card = await self.of(account)
        for each in self._photos:
            photo = await each.photo(account, request.sender)
            if photo is not None:
                others = [child for child in card if child.tag != PHOTO] if card is not None else []
                card = E(NS, "vCard", None, *others, photo)
        if card is None:
            raise StanzaError(
                "item-not-found" if request.sender.bare == account.jid else "service-unavailable"
            )
        return card

    async def of(self, account: Account) -> Element | None:
        """An account's vCard, as it was written."""
        text = await self.kept.get(account.jid)
        return parse(text.encode(), "") if text else None

    @answers.set(NS, "vCard", to=ACCOUNT)
    async def set(self, request: IQ) -> None:
        """Keep it in place of the one before; what follows from that is done when this is answered."""
        account = request.account
        assert account is not None
        if account.anonymous:
            raise StanzaError("service-unavailable")  # nothing is kept of it
        text = serialize(request.payload, "").decode()
        if len(text.encode()) > self.config.size:
            raise self.limited("size", f"a vCard has at most {self.config.size} bytes")
        old = await self.of(account)
        if not account.exists:
            raise StanzaError("service-unavailable")  # it was deleted meanwhile
        await self.kept.put(account.jid, "", text)
        await self.domain.happened(VCardChanged(account, old, request.payload))
