"""XEP-0488: words that let strangers into a room, made by those who may invite."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta

from jabberd.api import (
    JID,
    AccountDeleted,
    Duration,
    E,
    Element,
    Keyed,
    Refused,
    Settings,
    Stanza,
    StanzaError,
    on,
    operator,
)
from jabberd.modules.muc.affiliations import Order, affiliate
from jabberd.modules.muc.entering import knows_password, password_of
from jabberd.modules.muc.privileges import Affiliation, Role
from jabberd.modules.muc.seam import Admission, Extension, RoomAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from jabberd.modules.muc.room import Room
    from jabberd.modules.muc.seam import RoomRequest
    from jabberd.xmpp.forms import Field

NS: Final = "urn:xmpp:muc-token-invite:0"
_MADE: Final = re.compile(r"[\w-]{32}", re.ASCII)  # what `secrets.token_urlsafe` makes of 24 bytes
_LARGEST: Final = 2**32 - 1  # xs:unsignedInt


@dataclass(frozen=True)
class Token:
    """A token.

    :ivar creator: a bare JID.
    :ivar expires: in seconds since 1970.
    :ivar uses: how many it still makes members.
    """

    creator: str
    expires: float
    uses: int


class Tokens(Extension, xep=488, version="0.1.0"):
    """Makes tokens for those who may invite into a room for members; whoever has one enters and is a member.

    A token stands in the place of the room's password, and of being a member.  It counts as long as who
    made it may make tokens.
    """

    requires = ("muc",)
    noun = "tokens"
    counted = ("each",)

    class Config(Settings):
        """How long tokens last.

        :ivar age: at most, and where nothing else is asked for.
        :ivar uses: how many one makes members, at most and where nothing else is asked for.
        :ivar each: tokens of one room.
        """

        age: Duration = 7 * 86400.0
        uses: Annotated[int, Meta(ge=1, le=_LARGEST)] = 100
        each: Annotated[int, Meta(ge=1, le=1000)] = 100

    config: Config

    kept = Keyed("muc-tokens", of=Token)

    def room_features(self, room: Room) -> Iterable[str]:
        """§3.1."""
        return (NS,)

    def room_info(self, room: Room, asker: JID) -> Iterable[Field]:
        """Nothing."""
        return ()

    def room_answers(self) -> Mapping[tuple[str, str], Callable[[RoomRequest], Awaitable[RoomAnswer]]]:
        """Making, listing and revoking."""
        return {
            ("set", f"{{{NS}}}request"): self._made,
            ("get", f"{{{NS}}}tokens"): self._listed,
            ("set", f"{{{NS}}}revoke"): self._revoked,
        }

    def _now(self) -> float:
        return self.domain.clock.seconds()

    # -- those who may invite -----------------------------------------------------------------------

    async def _made(self, request: RoomRequest) -> RoomAnswer:
        """§3.2, §3.3.

        :raises StanzaError: ``forbidden``: the asker may not invite; ``unexpected-request``: the room has no
            configuration yet, and nothing of it is stored; ``bad-request``: a limit that is none;
            ``resource-constraint``: there are enough.
        """
        _check(request)
        if request.room.locked:
            raise StanzaError("unexpected-request", "configure the room first")
        delay, counter = (_number(request.payload, name) for name in ("delay", "counter"))
        age, uses = self.config.age, self.config.uses
        until = self._now() + (age if delay is None else min(delay, age))
        token = Token(request.sender.bare, until, uses if counter is None else min(counter, uses))
        async with request.room.changing():
            await self._make_room(request.room)
            word = secrets.token_urlsafe(24)
            await self.kept.put(request.room.jid, word, token)
        return RoomAnswer(self._element(word, token))

    async def _make_room(self, room: Room) -> None:
        found = await self.kept.all(room.jid)
        old = [word for word, each in found.items() if not self._counts(room, each)]
        if old:
            await self.kept.change(room.jid, dict.fromkeys(old))
        if len(found) - len(old) >= self.config.each:
            raise self.limited("each", "there are too many tokens; revoke some")

    def _counts(self, room: Room, token: Token) -> bool:
        return token.expires > self._now() and token.uses > 0 and _may_invite(room, JID.parse(token.creator))

    def _element(self, word: str, token: Token, *, creator: bool = False) -> Element:
        attrs = {
            "delay": str(max(1, round(token.expires - self._now()))),
            "counter": str(token.uses),
            "creator": token.creator if creator else None,
        }
        return E(NS, "token", attrs, word)

    async def _listed(self, request: RoomRequest) -> RoomAnswer:
        """What the asker may revoke (§3.6)."""
        _check(request)
        found = await self._revocable(request)
        told = [self._element(word, each, creator=_sees_all(request)) for word, each in found.items()]
        return RoomAnswer(E(NS, "tokens", None, *told))

    async def _revocable(self, request: RoomRequest) -> dict[str, Token]:
        """A moderator's are all of them (§7)."""
        room, found = request.room, await self.kept.all(request.room.jid)
        mine = request.sender.bare
        return {
            word: each
            for word, each in found.items()
            if self._counts(room, each) and (_sees_all(request) or each.creator == mine)
        }

    async def _revoked(self, request: RoomRequest) -> RoomAnswer:
        """§3.7."""
        _check(request)
        word = (request.payload.text or "").strip()
        async with request.room.changing():
            if word not in await self._revocable(request):
                raise StanzaError("item-not-found", type="cancel")
            await self.kept.change(request.room.jid, {word: None})
        return RoomAnswer()

    # -- those who come -----------------------------------------------------------------------------

    async def admits(self, room: Room, stanza: Stanza, affiliation: Affiliation) -> Admission | None:
        """See `Admits`; who is a member already uses nothing up (§4)."""
        assert stanza.sender is not None
        word, account = password_of(stanza), stanza.sender.bare
        if not word or (room.options.password and knows_password(room, stanza)):
            return None
        token = await self._token(room, word) if _MADE.fullmatch(word) else None
        if token is None:
            _check_expired(room, affiliation, was_token=False)
            return None
        if affiliation >= Affiliation.member:
            return Admission(affiliation, password=True) if self._counts(room, token) else None
        async with room.changing():
            token = await self._token(room, word)  # it may have been used up meanwhile
            if token is None or not self._counts(room, token):
                _check_expired(room, room.affiliation(account), was_token=True)
                return None
            if room.affiliation(account) is not Affiliation.none:
                return Admission(room.affiliation(account), password=True)
            if not account.localpart:
                raise StanzaError("not-allowed", "a token makes nobody of a whole domain a member")
            await self._use(room, word, token, account)
        return Admission(Affiliation.member, password=True)

    async def _token(self, room: Room, word: str) -> Token | None:
        return await self.kept.get(room.jid, word)

    async def _use(self, room: Room, word: str, token: Token, account: JID) -> None:
        """Make somebody a member; the token has one use less first, whatever happens then."""
        await self.kept.put(room.jid, word, replace(token, uses=token.uses - 1))
        by = JID.parse(token.creator)
        order = Order(account, Affiliation.member, invited=True)
        told = await affiliate(room, [order], Affiliation.owner, by, "")
        told()

    @on(AccountDeleted)
    async def forget(self, event: AccountDeleted) -> None:
        """Whoever gets that name now, and may invite, has made none."""
        for room in await self.kept.owners(self.domain.jid):
            tokens = await self.kept.all(room)
            made = [word for word, each in tokens.items() if each.creator == event.jid]
            await self.kept.change(room, dict.fromkeys(made))

    # -- operators ----------------------------------------------------------------------------------

    @operator("list the tokens that let strangers into a room, and who made them")
    async def list(self, room: JID) -> list[dict[str, Any]]:
        """Those that still count; the words themselves are secret but for their beginnings."""
        async with self.rooms.room(room.bare) as found:
            if found is None:
                raise Refused(f"there is no room {room}")
            tokens = await self.kept.all(room.bare)
            return [
                {
                    "token": word[:8],
                    "creator": each.creator,
                    "uses left": each.uses,
                    "seconds left": round(each.expires - self._now()),
                }
                for word, each in sorted(tokens.items())
                if self._counts(found, each)
            ]

    @operator("revoke all tokens of a room, or those that begin so")
    async def revoke(self, room: JID, beginning: str = "") -> str:
        """Whoever came in with one is a member as before."""
        tokens = await self.kept.all(room.bare)
        named = [word for word in tokens if word.startswith(beginning)]
        if not named:
            raise Refused(f"{room.bare} has no such token")
        await self.kept.change(room.bare, dict.fromkeys(named))
        return f"revoked {len(named)}"


def _may_invite(room: Room, account: JID) -> bool:
    """§7: as into a room for members (XEP-0045 §7.8.2)."""
    least = Affiliation.member if room.options.allow_invites else Affiliation.admin
    return room.affiliation(account) >= least


def _check(request: RoomRequest) -> None:
    if not _may_invite(request.room, request.sender.bare):
        raise StanzaError("forbidden", "you may not invite others")


def _check_expired(room: Room, affiliation: Affiliation, *, was_token: bool) -> None:
    """§3.5: what is no password of a room for members was a token; who may enter without it does."""
    if room.options.is_open or affiliation >= Affiliation.member:
        return
    if was_token or not room.options.password:
        raise StanzaError("not-authorized", application=(NS, "expired-token"))


def _sees_all(request: RoomRequest) -> bool:
    room, occupant = request.room, request.room.visits.get(request.sender)
    is_moderator = occupant is not None and occupant.role is Role.moderator
    return is_moderator or room.affiliation(request.sender.bare) >= Affiliation.admin


def _number(element: Element, name: str) -> int | None:
    text = element.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and 1 <= int(text) <= _LARGEST):
        raise StanzaError("bad-request", f"{name} is a number from 1 to {_LARGEST}")
    return int(text)
