"""Changing who belongs to a room, and what follows for those who are in it (XEP-0045 §5.2.2, §9, §10)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from jabberd.api import JID, E, Sealed, Stanza, StanzaError
from jabberd.modules.muc.events import AffiliationChanged
from jabberd.modules.muc.messages import announce, invitation
from jabberd.modules.muc.names import USER, X_USER
from jabberd.modules.muc.occupant import Occupant, fold
from jabberd.modules.muc.presence import UNAVAILABLE, News, Telling, item, remove, telling
from jabberd.modules.muc.privileges import Affiliation, Role, check_affiliation, role_after
from jabberd.modules.muc.room import Belonging
from jabberd.modules.muc.seam import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jabberd.modules.muc.options import Options
    from jabberd.modules.muc.room import Room

__all__ = ["Order", "affiliate", "settle"]


_MOST_TOLD: Final = 25_000  # stanzas in which occupants learn of one order


@dataclass(frozen=True, slots=True)
class Order:
    """An account, or everybody at a domain, is to belong to a room in that way.

    :ivar nick: to be reserved; empty: none any more; None: as it was.
    :ivar invited: that one is invited otherwise.
    :ivar deleted: there is nobody of that name any more: it is not told, and may have been the last owner.
    """

    jid: JID
    affiliation: Affiliation
    reason: str = ""
    nick: str | None = None
    invited: bool = False
    deleted: bool = False


async def affiliate(
    room: Room,
    orders: Iterable[Order],
    actor: Affiliation,
    by: JID,
    nick: str,
    options: Options | None = None,
) -> Telling:
    """Change affiliations, all or none; `Room.changing` is held.  Those who have to leave do at once.

    :param actor: the affiliation of who orders it, ``by``: its bare JID, and ``nick``: its nickname if it is
        in the room.
    :param options: see `Room.store_belongings`.
    :returns: what tells the others.
    :raises StanzaError: see `check_affiliation`; ``conflict``: nobody would own the room, the nickname is
        another one's, or that one would ban itself; ``resource-constraint``: there are too many, or so many
        at once that the server would have nothing else to do than to tell it.
    """
    orders = list(orders)
    if len(orders) > 1 and len(orders) * len(room.visits) > _MOST_TOLD:
        raise StanzaError("resource-constraint", "too many changes at once for a room so full")
    before = {each.jid: room.affiliation(each.jid) for each in orders}
    changes: dict[str, Belonging | None] = {}
    for each in orders:
        if each.affiliation is Affiliation.outcast and each.jid == by and actor >= Affiliation.admin:
            raise StanzaError("conflict", "nobody bans himself")
        check_affiliation(actor, before[each.jid], each.affiliation)
        changes[each.jid] = _belonging(room, each)
    _check(room, changes, ownerless=any(each.deleted for each in orders))
    await room.store_belongings(changes, options)
    standing = {occupant: room.affiliation(occupant.account) for occupant in room.occupants.values()}
    inside = _followed(room, changes)
    reasons = {each.jid: each.reason for each in orders}
    told = settle(room, standing, reasons, nick, inside=inside)
    changed = [each.jid for each in orders if room.affiliation(each.jid) is not before[each.jid]]
    for jid in changed:
        room.service.fire(AffiliationChanged(room, jid, before[jid], room.affiliation(jid)))
    absent = [jid for jid in changed if not room.is_in(jid) and not any(o.account == jid for o in standing)]
    quiet = {each.jid for each in orders if each.invited or each.deleted}

    def of_absent(jid: JID) -> None:
        service, creator = room.service, room.record.creator
        _tell_others(room, jid, inside.get(jid))
        if jid not in quiet and service.courtesies.take(creator, 1, service.now().timestamp()):
            _tell_absent(room, jid, before[jid], by)

    return Telling(room, [*told, *(partial(of_absent, jid) for jid in absent)])


def _followed(
    room: Room, changes: Mapping[str, Belonging | None]
) -> Mapping[JID, Callable[[Occupant], bytes]]:
    """Make changes that are stored, and ask what is told with the news of each."""
    before = {jid: room.belongings.get(jid) for jid in changes}
    room.belong(changes)
    if not room.service.seam.following:
        return {}
    steps = [Change(JID.parse(jid), _listed(before[jid]), _listed(each)) for jid, each in changes.items()]
    return room.service.seam.changed(room, [each for each in steps if each.before is not each.after])


def _listed(belonging: Belonging | None) -> Affiliation:
    return Affiliation.none if belonging is None else Affiliation[belonging.affiliation]


def _belonging(room: Room, order: Order) -> Belonging | None:
    known = room.belongings.get(order.jid)
    if not order.jid.localpart and order.affiliation >= Affiliation.admin:
        raise StanzaError("not-acceptable", "a whole domain cannot be that")
    if order.affiliation is Affiliation.none:
        return None
    if order.affiliation is Affiliation.outcast:
        return Belonging(order.affiliation.name, "", order.reason)  # §9.1: the nickname goes
    nick = (known.nick if known is not None else "") if order.nick is None else order.nick.strip()
    if nick and room.reserved_by(nick) not in (None, order.jid):
        raise StanzaError("conflict", "that nickname belongs to another one")
    return Belonging(order.affiliation.name, nick, order.reason)


def _check(room: Room, changes: Mapping[str, Belonging | None], *, ownerless: bool) -> None:
    """:param ownerless: it may be without an owner from now on; one that is so already may stay it."""
    after: dict[str, Belonging | None] = {**room.belongings, **changes}
    left = [each for each in after.values() if each is not None]
    if _owned(room.belongings.values()) and not ownerless and not _owned(left):
        raise StanzaError("conflict", "every room has an owner")
    if len(left) > max(room.service.limits.affiliations, len(room.belongings)):
        room.service.met["affiliations"] += 1
        raise StanzaError("resource-constraint", "too many people belong to this room")
    nicks = [fold(each.nick) for each in changes.values() if each is not None and each.nick]
    if len(set(nicks)) < len(nicks):
        raise StanzaError("conflict", "that nickname twice")


def _owned(belongings: Iterable[Belonging]) -> bool:
    return any(each.affiliation == Affiliation.owner.name for each in belongings)


def settle(
    room: Room,
    standing: Mapping[Occupant, Affiliation],
    reasons: Mapping[JID, str],
    actor: str,
    leaving: int = 321,
    inside: Mapping[JID, Callable[[Occupant], bytes]] | None = None,
) -> list[Callable[[], None]]:
    """Bring roles in line with affiliations; who may not be in the room any more is out at once.

    :param standing: what the affiliations were.
    :param reasons: by bare JID or domain, what was said of the change.
    :param leaving: the status code of those who have to leave, and are not banned.
    :param inside: by bare JID or domain, see `News.inside_of`.
    :returns: what tells the others.
    """
    told: list[Callable[[], None]] = []
    for occupant, before in standing.items():
        after = room.affiliation(occupant.account)
        default = room.default_role(after)
        if (after is before and default is not Role.none) or not occupant.visits:
            continue
        reason = reasons.get(occupant.account) or reasons.get(occupant.account.domain, "")
        more = inside and (inside.get(occupant.account) or inside.get(occupant.account.domain))
        news = News(actor=actor, reason=reason, changed=True, inside_of=more or None)
        if default is Role.none:
            code = 301 if after is Affiliation.outcast else leaving
            told.append(remove(room, occupant, replace(news, type=UNAVAILABLE, codes=(code,))))
            continue
        occupant.role = role_after(before, occupant.role, default)
        told.append(telling(room, occupant, news))
    return told


def _tell_others(room: Room, jid: JID, inside_of: Callable[[Occupant], bytes] | None) -> None:
    """Somebody who is not in the room belongs to it in another way (§9.5, §10.3)."""
    where = item(room.affiliation(jid), Role.none, jid).encode()
    told: dict[bytes, list[Occupant]] = {}
    for each in room.occupants.values():
        if room.sees_addresses(each):
            told.setdefault(b"" if inside_of is None else inside_of(each), []).append(each)
    for more, occupants in told.items():
        x = Sealed(X_USER, f"<x xmlns='{USER}'>".encode() + where + more + b"</x>")
        announce(room, x, to=occupants)


def _tell_absent(room: Room, jid: JID, before: Affiliation, by: JID) -> None:
    """Tell that one itself."""
    after = room.affiliation(jid)
    invited = room.options.members_only and before is Affiliation.none and after is Affiliation.member
    if not jid.localpart or Affiliation.outcast in (before, after):
        return
    if invited:
        room.service.route(invitation(room, jid, by, ""))
        return
    known = E(
        USER, "x", None, E(USER, "item", {"affiliation": after.name}), E(USER, "status", {"code": "101"})
    )
    room.service.route(Stanza.of("message", known, sender=room.jid, to=jid))  # §19.1: out of courtesy
