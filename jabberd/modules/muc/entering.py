"""Entering a room, moving about in it, and leaving it (XEP-0045 §7.2, §7.6, §7.7, §7.14, §10.1)."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from jabberd.api import JID, Sealed, Stanza, StanzaError
from jabberd.modules.muc.events import OccupantJoined
from jabberd.modules.muc.messages import subject_of
from jabberd.modules.muc.names import JOIN, MUC, OCCUPANT_ID, STANZA_ID, X_USER
from jabberd.modules.muc.occupant import Occupant, Visit
from jabberd.modules.muc.presence import UNAVAILABLE, News, broadcast, depart, introduce, item, rename
from jabberd.modules.muc.privileges import Affiliation, Role
from jabberd.modules.muc.room import Belonging, Record, Room
from jabberd.modules.muc.seam import Admission
from jabberd.xmpp.stanza import LANG

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.modules.muc.service import Service

__all__ = ["arrive", "knows_password", "made", "not_in_room", "password_of", "present"]

_FORGED: Final = frozenset({JOIN, X_USER, OCCUPANT_ID, STANZA_ID})
_LARGEST: Final = 16 << 10  # bytes of a presence: it goes to everybody who ever enters
_LONGEST_NICK: Final = 256
_RESERVE: Final = 10  # occupants more than may be: admins and owners (§7.2.9)


def made(service: Service, jid: JID, creator: JID) -> Room:
    """A new room, locked, whose owner is who makes it (§10.1.1).

    :raises StanzaError: ``not-allowed``: that one may not; ``resource-constraint``: there are too many.
    """
    service.rooms.check(creator)
    record = Record(creator, secrets.token_hex(32), replace(service.usual, name=""))
    room = Room(service, jid, record, {creator: Belonging("owner")}, locked=True)
    service.rooms.add(room)
    return room


async def arrive(room: Room, stanza: Stanza, to: JID, waits: Callable[[], bool]) -> None:
    """Let somebody in, or have another nickname, when it is its turn (§7.2, §7.6).

    :param waits: whether it still does.
    :raises StanzaError: that one may not enter; §7.2.16 has the reasons.
    """
    sender = stanza.sender
    assert sender is not None  # the router's business
    check_nick(to)
    admission = await _admission(room, stanza, sender.bare) if JOIN in stanza.children else None
    turn = room.service.doorway.turn(room)
    if turn is not None:
        await turn
    if not waits():
        return  # it is gone by now, and has perhaps come again
    if sender in room.visits:
        present(room, stanza, to)
    elif admission is None:
        not_in_room(room.service, stanza)
    else:
        _let_in(room, stanza, to, admission())


async def _admission(room: Room, stanza: Stanza, account: JID) -> Callable[[], Admission]:
    """How somebody is looked at when its turn has come; other modules may know another way in."""
    before, knew = room.affiliation(account), knows_password(room, stanza)
    found = Admission(before, password=knew)
    for each in room.service.seam.admitting if stanza.sender not in room.visits else ():
        if found.affiliation is Affiliation.outcast:
            break
        if found.affiliation < Affiliation.member or not found.password:
            admitted = await each.admits(room, stanza, found.affiliation)
            if admitted is not None:
                found = replace(admitted, password=found.password or admitted.password)
    known = room.affiliation(account)  # others may have changed it while somebody was asked
    affiliation = found.affiliation if known is before else known
    let_in = found.password and not knew

    def in_turn() -> Admission:
        now = room.affiliation(account)
        return Admission(affiliation if now is known else now, let_in or knows_password(room, stanza))

    return in_turn


def knows_password(room: Room, stanza: Stanza) -> bool:
    """Whether somebody enters with the room's password, or it has none."""
    password = room.options.password
    return not password or hmac.compare_digest(password_of(stanza).encode(), password.encode())


def _check(room: Room, stanza: Stanza, admission: Admission) -> None:
    affiliation = admission.affiliation
    if room.gone or (room.locked and affiliation is not Affiliation.owner):
        raise StanzaError("item-not-found")
    if affiliation is Affiliation.outcast:
        raise StanzaError("forbidden")
    if room.default_role(affiliation) is Role.none:
        raise StanzaError("registration-required")
    if not admission.password:
        raise StanzaError("not-authorized")
    if _is_full(room, stanza, _RESERVE if affiliation >= Affiliation.admin else 0):
        raise StanzaError("service-unavailable", type="wait")


def _is_full(room: Room, stanza: Stanza, reserve: int) -> bool:
    """Whether there is no place; another session of an occupant needs one of the service's alone."""
    assert stanza.to is not None
    most, there = room.options.most, room.occupant(stanza.to.resourcepart)
    crowded = bool(most) and len(room.occupants) >= most + reserve and there is None
    full = len(room.visits) >= room.service.limits.occupants + reserve
    room.service.met["occupants"] += full
    return crowded or full


def password_of(stanza: Stanza) -> str:
    """The password that somebody enters with; empty: none."""
    join = stanza.child(JOIN)
    return "" if join is None else join.findtext(f"{{{MUC}}}password") or ""


def check_nick(jid: JID) -> None:
    """Refuse what cannot be a nickname (§18.1).

    :raises StanzaError: ``jid-malformed``: it is missing; ``not-acceptable``: nobody could see it, or it
        is too long.
    """
    nick = jid.resourcepart
    if not nick:
        raise StanzaError("jid-malformed")
    if not nick.strip() or len(nick) > _LONGEST_NICK:
        raise StanzaError("not-acceptable", "that cannot be a nickname")


def _check_nick_free(room: Room, jid: JID, account: JID) -> None:
    """See that nobody else has the nickname, or a right to it (§7.2.8)."""
    there = room.occupant(jid.resourcepart)
    if there is not None and there.account != account:
        raise StanzaError("conflict")
    if room.reserved_by(jid.resourcepart) not in (None, account):
        raise StanzaError("conflict")


def _let_in(room: Room, stanza: Stanza, to: JID, admission: Admission) -> None:
    sender = stanza.sender
    assert sender is not None
    _check(room, stanza, admission)
    _check_nick_free(room, to, sender.bare)
    default = room.default_role(admission.affiliation)
    role = room.voice_of(sender.bare, default)
    occupant = room.add(to, visit_of(room, stanza), role)
    occupant.role = max(occupant.role, role)
    _welcome(room, occupant, stanza)
    if occupant.visits:
        room.service.fire(OccupantJoined(room, occupant))


def _welcome(room: Room, occupant: Occupant, stanza: Stanza) -> None:
    """Tell a newcomer everything in the order of §7.1, and the others of it."""
    sender = stanza.sender
    assert sender is not None
    for each in room.service.seam.following:
        each.greet(room, occupant, stanza)
    introduce(room, occupant, sender)
    visit = occupant.visits.get(sender)
    if visit is None:
        return  # it is gone by now
    broadcast(room, occupant, visit, News(own=_first_codes(room)), stanza.id)
    join = stanza.child(JOIN)
    route = room.service.route
    if join is not None:
        for line in room.history.wanted(join, room.options.history, room.service.now()):
            route(_to(line, sender))
    route(_to(subject_of(room), sender))


def _to(stanza: Stanza, to: JID) -> Stanza:
    assert stanza.sender is not None
    return stanza.stamped(stanza.sender, to)


def _first_codes(room: Room) -> tuple[int, ...]:
    """§7.2.3, §7.2.12, §10.1.1."""
    codes = [(100, room.options.whois == "anyone"), (170, room.options.logged), (201, room.locked)]
    return tuple(code for code, holds in codes if holds)


def visit_of(room: Room, stanza: Stanza) -> Visit:
    """A session with what it said of itself, as the others may see it (§18.3).

    :raises StanzaError: ``not-acceptable``: that is too much.
    """
    forged = _FORGED | room.service.seam.forged
    honest = stanza if forged.isdisjoint(stanza.children) else stanza.without(forged)
    if len(honest.payload) > _LARGEST:
        raise StanzaError("not-acceptable", f"presence in a room has at most {_LARGEST} bytes")
    assert stanza.sender is not None
    return Visit(stanza.sender, honest.children, honest.payload, stanza.attrs.get(LANG, ""))


def present(room: Room, stanza: Stanza, to: JID) -> None:
    """Somebody who is in the room sends presence: another status, another nickname, or a goodbye."""
    sender = stanza.sender
    assert sender is not None
    occupant = room.visits[sender]
    if stanza.type == UNAVAILABLE:
        said = stanza.without(_FORGED | room.service.seam.forged)
        # Without <destroy/> also where the room ends unconfigured (§10.1.3): Smack would take it, a moment
        # later, for the end of the room of that name which it has entered meanwhile
        goodbye = News(UNAVAILABLE, children=said.children, payload=said.payload, id=stanza.id)
        depart(room, occupant, occupant.visits[sender], goodbye)
        return
    check_nick(to)
    visit = visit_of(room, stanza)
    if to.resourcepart != occupant.nick:
        _check_nick_free(room, to, occupant.account)
        there = room.occupant(to.resourcepart)
        if there is not None and there is not occupant:
            raise StanzaError("conflict")
        rename(room, occupant, occupant.visits[sender], to)
    if sender not in occupant.visits:
        return  # it is gone by now
    del occupant.visits[sender]
    occupant.visits[sender] = visit  # at the end: the others see it
    if JOIN in stanza.children:
        _welcome(room, occupant, stanza)  # it has lost track (§7.2.1)
    else:
        broadcast(room, occupant, occupant.visits[sender], News(), stanza.id)


def not_in_room(service: Service, stanza: Stanza) -> None:
    """Tell somebody who seems to believe that it is in a room (§7.2.17)."""
    inside = item(Affiliation.none, Role.none, reason="You are not in the room.")
    codes = "".join(f"<status code='{code}'/>" for code in (110, 307, 333))
    x = Sealed(X_USER, f"<x xmlns='{X_USER[1:-2]}'>{inside}{codes}</x>".encode())
    service.route(Stanza.of("presence", x, sender=stanza.to, to=stanza.sender, type=UNAVAILABLE))
