"""Registering with a room: membership and a nickname of one's own (XEP-0045 §7.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.api import E, StanzaError
from jabberd.modules.muc.affiliations import Order, affiliate
from jabberd.modules.muc.approval import ask_for_membership
from jabberd.modules.muc.entering import check_nick
from jabberd.modules.muc.names import REGISTER, REGISTER_FORM
from jabberd.modules.muc.privileges import Affiliation, Role
from jabberd.modules.muc.seam import RoomAnswer
from jabberd.xmpp.forms import Field, Form, X
from jabberd.xmpp.jid import InvalidJID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jabberd.api import JID
    from jabberd.modules.muc.room import Room
    from jabberd.modules.muc.seam import RoomRequest

__all__ = ["register", "requirements"]

_NICK: Final = "muc#register_roomnick"
_MOST: Final = 100  # requests that wait for an admin


def _form(room: Room) -> Form:
    field = Field(_NICK, "text-single", "Desired nickname", required=True)
    return Form(REGISTER_FORM, (field,), f"Registration with {room.options.name or room.jid.localpart}")


async def requirements(request: RoomRequest) -> RoomAnswer:
    """What has to be filled in, or the nickname that is registered."""
    room = request.room
    if room.affiliation(request.sender.bare) is Affiliation.outcast:
        raise StanzaError("not-allowed")
    known = room.belongings.get(request.sender.bare)
    if known is not None and known.nick:
        return RoomAnswer(
            E(REGISTER, "query", None, E(REGISTER, "registered"), E(REGISTER, "username", None, known.nick))
        )
    told = E(REGISTER, "instructions", None, "Fill in the form to have a nickname of your own here.")
    return RoomAnswer(E(REGISTER, "query", None, told, _form(room).element()))


async def register(request: RoomRequest) -> RoomAnswer:
    """Reserve a nickname, or give it back with the membership.

    Where not everybody has a voice or may come in, membership is for admins to give (§9.9).
    """
    room, account = request.room, request.sender.bare
    affiliation = room.affiliation(account)
    if affiliation is Affiliation.outcast or not account.localpart:
        raise StanzaError("not-allowed")
    if request.payload.find(f"{{{REGISTER}}}remove") is not None:
        return RoomAnswer(None, await _belong(room, account, ""))
    form = request.payload.find(X)
    if form is None:
        raise StanzaError("bad-request", "fill in the form")
    try:
        nick = _form(room).read(form).text(_NICK)
    except StanzaError as why:
        raise StanzaError("bad-request", why.text) from None  # §7.10, whatever is wrong
    try:
        check_nick(room.jid.with_resource(nick))
    except InvalidJID:
        raise StanzaError("not-acceptable", "that cannot be a nickname") from None
    _check_free(room, account, nick)
    if affiliation is Affiliation.none and (room.options.moderated or not room.options.is_open):
        if len(room.wanted) >= _MOST:
            raise StanzaError("resource-constraint")
        ask_for_membership(room, account, nick)
        return RoomAnswer()
    return RoomAnswer(None, await _belong(room, account, nick))


def _check_free(room: Room, account: JID, nick: str) -> None:
    there = room.occupant(nick)
    if room.reserved_by(nick) not in (None, account) or (there is not None and there.account != account):
        raise StanzaError("conflict")


async def _belong(room: Room, account: JID, nick: str) -> Callable[[], Awaitable[None] | None]:
    async with room.changing():
        if account not in room.belongings and not nick:
            return lambda: None
        affiliation = room.affiliation(account)  # another change may have come first
        if affiliation is Affiliation.outcast:
            raise StanzaError("not-allowed")
        if nick:
            affiliation = max(affiliation, Affiliation.member)
        elif affiliation is Affiliation.member:
            affiliation = Affiliation.none
        order = Order(account, affiliation, nick=nick)
        voice, silent = room.voices.get(account), [o for o in room.of(account) if o.role is Role.visitor]
        # the room does it by itself
        told = await affiliate(room, [order], Affiliation.owner, account, "")
        for occupant in silent:
            occupant.role = Role.visitor  # nobody gets a voice that was taken but from a moderator
        if voice is not None:
            room.voices[account] = voice
        return told
