"""What owners do with a room: configure it and destroy it (XEP-0045 §10.1, §10.2, §10.9)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from jabberd.api import JID, E, Element, StanzaError
from jabberd.modules.muc.affiliations import Order, affiliate, settle
from jabberd.modules.muc.events import RoomConfigured
from jabberd.modules.muc.messages import announce
from jabberd.modules.muc.names import OWNER, USER
from jabberd.modules.muc.options import ADMINS, OWNERS, Options, config_form, filled_in
from jabberd.modules.muc.presence import UNAVAILABLE, News, Telling, remove
from jabberd.modules.muc.privileges import Affiliation
from jabberd.modules.muc.seam import RoomAnswer
from jabberd.xmpp.element import serialize
from jabberd.xmpp.forms import X
from jabberd.xmpp.jid import InvalidJID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jabberd.modules.muc.room import Room
    from jabberd.modules.muc.seam import RoomRequest
    from jabberd.xmpp.forms import Form, Submission

__all__ = ["configuration", "destroy", "order"]

_DESTROY: Final = f"{{{OWNER}}}destroy"
_LONGEST_REASON: Final = 1_000


def _check_owner(request: RoomRequest) -> None:
    if request.room.affiliation(request.sender.bare) is not Affiliation.owner:
        raise StanzaError("forbidden")


def form_of(room: Room) -> Form:
    """The configuration form, with what holds now."""
    admins, owners = (
        [jid for jid, _ in room.affiliated(each)] for each in (Affiliation.admin, Affiliation.owner)
    )
    others = [field for each in room.service.seam.adding for field in each.room_fields(room)]
    return config_form(room.jid, room.options, admins, owners, room.service.limits.occupants, others)


async def configuration(request: RoomRequest) -> RoomAnswer:
    """The configuration form (§10.1.3, §10.2)."""
    _check_owner(request)
    return RoomAnswer(E(OWNER, "query", None, form_of(request.room).element()))


async def order(request: RoomRequest) -> RoomAnswer:
    """Configure the room, leave it as it is, or destroy it."""
    _check_owner(request)
    room = request.room
    wanted = request.payload.find(_DESTROY)
    if wanted is not None:
        return await _destroy(request, wanted)
    form = request.payload.find(X)
    if form is None:
        raise StanzaError("bad-request", "a form, or destroy")
    if form.get("type") == "cancel":
        if room.locked:
            await destroy(room)  # §10.1.3
        return RoomAnswer()
    async with room.changing():
        _check_owner(request)  # another change may have come first
        return RoomAnswer(None, await _configure(request, form))


# -- configuration --------------------------------------------------------------------------------------


async def _configure(request: RoomRequest, submitted: Element) -> Telling:
    room, limits = request.room, request.room.service.limits
    before, is_new = room.options, room.locked
    form = form_of(room)
    options, given = filled_in(form, submitted, before, limits.occupants, limits.history)
    orders = _orders(room, given)
    told: list[Callable[[], None]] = []
    if orders:
        actor = room.visits.get(request.sender)
        nick = "" if actor is None else actor.nick
        by = request.sender.bare
        # one transaction: nobody shall find half of what an owner has said
        told += (await affiliate(room, orders, Affiliation.owner, by, nick, options)).steps
    if is_new:
        if not orders:
            await room.service.rooms.create(room, options)
    elif options != before:
        if not orders:
            await room.store(options=options)
        room.record = replace(room.record, options=options)
        if options.moderated != before.moderated:
            room.voices.clear()
        told += _settled(room, before)
    room.service.fire(RoomConfigured(room, before))
    return Telling(room, told)


def _orders(room: Room, given: Submission) -> list[Order]:
    """Whom the form makes an admin or owner, and who is none any more (§10.2)."""
    owners, admins = (frozenset(jid.bare for jid in given.jids(var)) for var in (OWNERS, ADMINS))
    wanted = dict.fromkeys(admins, Affiliation.admin) | dict.fromkeys(owners, Affiliation.owner)
    before = {
        jid: each for each in (Affiliation.admin, Affiliation.owner) for jid, _ in room.affiliated(each)
    }
    for jid, affiliation in before.items():
        wanted.setdefault(jid, Affiliation.admin if affiliation is Affiliation.owner else Affiliation.none)
    return [Order(jid, each) for jid, each in wanted.items() if before.get(jid) is not each]


def _settled(room: Room, before: Options) -> Iterable[Callable[[], None]]:
    """Put out who may not be here any more, and tell what has changed."""
    standing = {each: room.affiliation(each.account) for each in room.occupants.values()}
    yield from settle(room, standing, {}, "", leaving=322)
    codes = _codes(before, room.options)
    statuses = (E(USER, "status", {"code": str(code)}) for code in codes)
    told = E(USER, "x", None, *statuses)
    yield lambda: announce(room, told)


def _codes(before: Options, after: Options) -> list[int]:
    """§10.2.1: what has become less or more private; 104: something else."""
    codes = []
    if before.logged != after.logged:
        codes.append(170 if after.logged else 171)
    if before.whois != after.whois:
        codes.append(172 if after.whois == "anyone" else 173)
    return codes or [104]


# -- the end --------------------------------------------------------------------------------------------


async def _destroy(request: RoomRequest, wanted: Element) -> RoomAnswer:
    try:
        venue = JID.parse(wanted.get("jid", "")) if wanted.get("jid") else None
    except InvalidJID:
        raise StanzaError("jid-malformed") from None
    reason, password = (wanted.findtext(f"{{{OWNER}}}{name}") or "" for name in ("reason", "password"))
    async with request.room.changing():
        _check_owner(request)  # another change may have come first
        await _remove(request.room, venue, reason[:_LONGEST_REASON], password[:_LONGEST_REASON])
    return RoomAnswer()


async def destroy(room: Room, venue: JID | None = None, reason: str = "", password: str = "") -> None:
    """Remove a room; everybody in it learns that, and where else to go (§10.9)."""
    async with room.changing():
        await _remove(room, venue, reason, password)


async def _remove(room: Room, venue: JID | None, reason: str, password: str) -> None:
    if venue is not None:
        await room.service.redirects.remember(room, venue)  # first: else nobody inside might learn of the end
    await room.service.rooms.destroy(room)
    inside = [
        E(USER, name, None, text) for name, text in (("password", password), ("reason", reason)) if text
    ]
    told = serialize(E(USER, "destroy", {"jid": venue}, *inside), USER)
    news = News(UNAVAILABLE, inside=told, affiliation=Affiliation.none)
    for occupant in tuple(room.occupants.values()):
        remove(room, occupant, news)
