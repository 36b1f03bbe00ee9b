"""Lists and orders of ``muc#admin``: roles and affiliations (XEP-0045 §8.2 to §8.5, §9, §10.3 to §10.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from jabberd.api import JID, E, Element, StanzaError
from jabberd.modules.muc.affiliations import Order, affiliate
from jabberd.modules.muc.entering import check_nick
from jabberd.modules.muc.names import ADMIN
from jabberd.modules.muc.presence import UNAVAILABLE, News, Telling, remove, telling
from jabberd.modules.muc.privileges import Affiliation, Role, check_role
from jabberd.modules.muc.seam import RoomAnswer
from jabberd.xmpp.jid import InvalidJID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.room import Room
    from jabberd.modules.muc.seam import RoomRequest

__all__ = ["change", "lists", "may_list", "set_role"]

_ITEM = f"{{{ADMIN}}}item"
_REASON = f"{{{ADMIN}}}reason"
_MOST = 500  # items of one order
_LONGEST_REASON = 1_000

T = TypeVar("T", Role, Affiliation)


def _items(request: RoomRequest) -> list[Element]:
    items = request.payload.findall(_ITEM)
    if not items or len(items) > _MOST:
        raise StanzaError("bad-request", f"1 to {_MOST} items, please")
    return items


def _named(kind: type[T], text: str) -> T:
    try:
        return kind[text]
    except KeyError:
        raise StanzaError("bad-request", f"there is no {kind.__name__.lower()} of that name") from None


# -- lists ----------------------------------------------------------------------------------------------


async def lists(request: RoomRequest) -> RoomAnswer:
    """Tell who has a role or an affiliation (§8.5, §9.2, §9.5, §9.8, §10.5, §10.8)."""
    found: list[Element] = []
    asked = [(each.get("role"), each.get("affiliation")) for each in _items(request)]
    for role, affiliation in dict.fromkeys(asked):  # a list is told once
        if (role is None) == (affiliation is None):
            raise StanzaError("bad-request", "a role or an affiliation")
        if role is not None:
            found += _with_role(request, _named(Role, role))
        else:
            found += _with_affiliation(request, _named(Affiliation, affiliation or ""))
    return RoomAnswer(E(ADMIN, "query", None, *found))


def _with_role(request: RoomRequest, role: Role) -> Iterable[Element]:
    room, sender = request.room, request.sender
    occupant = room.visits.get(sender)
    asks = room.affiliation(sender.bare)
    is_moderator = occupant is not None and occupant.role is Role.moderator
    if asks < Affiliation.admin and (role is Role.moderator or not is_moderator):
        raise StanzaError("forbidden")
    return [_occupant_item(room, each) for each in room.occupants.values() if each.role is role]


def _occupant_item(room: Room, occupant: Occupant) -> Element:
    attrs = {
        "affiliation": room.affiliation(occupant.account).name,
        "jid": occupant.main.jid,
        "nick": occupant.nick,
        "role": occupant.role.name,
    }
    return E(ADMIN, "item", attrs)


def _with_affiliation(request: RoomRequest, affiliation: Affiliation) -> Iterable[Element]:
    room = request.room
    if affiliation is Affiliation.none:
        raise StanzaError("bad-request", "nobody keeps a list of those")
    if not may_list(room, request.sender, affiliation):
        raise StanzaError("forbidden")
    for jid, each in room.affiliated(affiliation):
        attrs = {"affiliation": each.affiliation, "jid": jid, "nick": each.nick or None}
        yield E(ADMIN, "item", attrs, *([E(ADMIN, "reason", None, each.reason)] if each.reason else []))


def may_list(room: Room, sender: JID, affiliation: Affiliation) -> bool:
    """Whether somebody may know who has an affiliation (§9.5, §10.5).

    Others than admins and owners may where addresses are no secret and the room lets them.
    """
    asks = room.affiliation(sender.bare)
    least = Affiliation.owner if affiliation >= Affiliation.admin else Affiliation.admin
    if asks >= least:
        return True
    if affiliation is Affiliation.outcast or room.options.whois != "anyone":
        return False
    occupant = room.visits.get(sender)
    if occupant is not None:
        return occupant.role.name in room.options.lists
    return asks >= Affiliation.member


# -- changes --------------------------------------------------------------------------------------------


async def change(request: RoomRequest) -> RoomAnswer:
    """Give roles or affiliations; all of it or nothing."""
    items = _items(request)
    for each in items:
        if ("role" in each.attrib) == ("affiliation" in each.attrib):
            raise StanzaError("bad-request", "a role or an affiliation, and not both")
    if "role" in items[0].attrib:
        return RoomAnswer(None, _change_roles(request, items))
    async with request.room.changing():
        orders = [_order(request, each) for each in items]
        actor = request.room.visits.get(request.sender)
        asks = request.room.affiliation(request.sender.bare)
        told = await affiliate(
            request.room, orders, asks, request.sender.bare, "" if actor is None else actor.nick
        )
    return RoomAnswer(None, told)


def _order(request: RoomRequest, each: Element) -> Order:
    if "affiliation" not in each.attrib:
        raise StanzaError("bad-request", "roles and affiliations are changed one after the other")
    affiliation = _named(Affiliation, each.get("affiliation", ""))
    return Order(
        _whom(request.room, each),
        affiliation,
        _reason(each),
        _nick(request.room, each) if "jid" in each.attrib else None,
    )


def _nick(room: Room, each: Element) -> str | None:
    nick = each.get("nick")
    if nick:
        try:
            check_nick(room.jid.with_resource(nick))
        except InvalidJID:
            raise StanzaError("not-acceptable", "that cannot be a nickname") from None
    return nick


def _whom(room: Room, each: Element) -> JID:
    """Whom an item is about: an address or, as many clients have it, somebody's nickname."""
    if "jid" not in each.attrib:
        occupant = room.occupant(each.get("nick", ""))
        if occupant is None:
            raise StanzaError("item-not-found" if "nick" in each.attrib else "bad-request")
        return occupant.account
    try:
        return JID.parse(each.get("jid", "")).bare
    except InvalidJID:
        raise StanzaError("jid-malformed") from None


def _reason(each: Element) -> str:
    return (each.findtext(_REASON) or "")[:_LONGEST_REASON]


def _change_roles(request: RoomRequest, items: list[Element]) -> Telling:
    room, sender = request.room, request.sender
    actor = room.visits.get(sender)
    affiliation = room.affiliation(sender.bare)
    # an admin need not be in the room (§9: it is the bare JID that counts)
    role = (
        actor.role
        if actor is not None
        else room.default_role(affiliation)
        if affiliation >= Affiliation.admin
        else Role.none
    )
    changes: list[tuple[Occupant, Role, str]] = []
    for each in items:
        wanted = _named(Role, each.get("role", "-"))
        if not each.get("nick"):
            raise StanzaError("bad-request", "whom? a nickname is missing")
        target = room.occupant(each.get("nick", ""))
        if role is not Role.moderator:
            raise StanzaError("forbidden", "only moderators change roles")
        if target is None:
            raise StanzaError("item-not-found")
        if not (target is actor and wanted is Role.none):  # who kicks himself may (§8.2)
            _check_role((role, affiliation), room, target, wanted)
        changes.append((target, wanted, _reason(each)))
    told = [set_role(room, *each, actor="" if actor is None else actor.nick) for each in changes]
    return Telling(room, told)


def _check_role(actor: tuple[Role, Affiliation], room: Room, target: Occupant, wanted: Role) -> None:
    try:
        check_role(actor, (target.role, room.affiliation(target.account)), wanted)
    except StanzaError as error:  # §8.4: with the offending item
        error.beside = E(ADMIN, "query", None, E(ADMIN, "item", {"nick": target.nick, "role": wanted.name}))
        raise


def set_role(room: Room, occupant: Occupant, role: Role, reason: str, actor: str = "") -> Callable[[], None]:
    """Give an occupant a role; one that is kicked is told at once.

    :returns: what tells the others.
    """
    if role is Role.none:
        return remove(room, occupant, News(UNAVAILABLE, codes=(307,), actor=actor, reason=reason))
    if role is occupant.role:
        return _nothing
    occupant.role = role
    return telling(room, occupant, News(reason=reason, actor=actor, changed=True))


def _nothing() -> None:
    """It is as it was."""
