"""What is said in a room: to all (XEP-0045 §7.4), to one (§7.5), and the subject (§8.1)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jabberd.api import E, Element, Stanza, StanzaError
from jabberd.modules.muc.events import RoomMessage
from jabberd.modules.muc.names import BODY, DELAY, OCCUPANT_ID, STANZA_ID, SUBJECT, THREAD, USER, X_USER
from jabberd.modules.muc.presence import item
from jabberd.modules.muc.privileges import Affiliation, Role
from jabberd.xmpp.content import treatment
from jabberd.xmpp.element import escape_attribute
from jabberd.xmpp.jid import JID, InvalidJID
from jabberd.xmpp.stanza import LANG
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.defer import Deferred

    from jabberd.api import Sealed
    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.room import Room

__all__ = [
    "announce",
    "announce_codes",
    "announce_forms",
    "change_subject",
    "declare",
    "invitation",
    "is_subject",
    "say",
    "say_privately",
    "subject_of",
]

_FORGED: Final = frozenset({OCCUPANT_ID, X_USER})
_SIGNED: Final = frozenset({STANZA_ID, DELAY})
_KEPT: Final = ("id", LANG)
_LONGEST_SUBJECT: Final = 4 << 10  # bytes: every newcomer gets it


def is_subject(stanza: Stanza) -> bool:
    """Whether a message to all changes the subject, and does nothing else (§8.1)."""
    children = stanza.children
    return SUBJECT in children and BODY not in children and THREAD not in children


def say(room: Room, occupant: Occupant, stanza: Stanza) -> Deferred[Any] | None:
    """Reflect a message to all who are in the room; it is written once, and every copy shares its bytes.

    :returns: what fires when it is in the archive; None: it is not to be there.
    :raises StanzaError: ``forbidden``: the sender has no voice.
    """
    if occupant.role < Role.participant:
        raise StanzaError("forbidden", "you have no voice in this room")
    service = room.service
    for each in service.seam.hearing:
        stanza = each.hears(room, occupant, stanza)
    honest = without_forged(room, stanza)
    now = service.now()
    id = service.archive.new_id(now)
    said = _reflected(room, occupant, honest, room.uid(id))
    reflect(room, occupant, said)
    kept = treatment(Stanza("message", {"type": "chat"}, honest.children, honest.payload)).archived
    if kept:
        room.history.add(id, now, said)
    service.fire(RoomMessage(room, occupant, id, said, kept and room.options.keeps))
    return keep(room, occupant, said, id, now) if kept and room.options.keeps else None


def _reflected(room: Room, occupant: Occupant, honest: Stanza, id: str) -> Stanza:
    attrs = {"type": "groupchat", "id": id}
    attrs.update((name, honest.attrs[name]) for name in _KEPT if honest.attrs.get(name))
    attrs["from"] = occupant.jid
    children = (*honest.children, OCCUPANT_ID, STANZA_ID)
    return Stanza("message", attrs, children, honest.payload + occupant.mark + _signed(room, id))


def _signed(room: Room, id: str) -> bytes:
    """What tells under which id a message is in the room's archive (XEP-0359)."""
    return f"<stanza-id xmlns='urn:xmpp:sid:0' by='{escape_attribute(room.jid)}' id='{id}'/>".encode()


def reflect(room: Room, occupant: Occupant, stanza: Stanza) -> None:
    """Send a message of an occupant to all who are in the room."""
    with room.service.doorway:
        room.service.spread(stanza.copies(occupant.jid, tuple(room.visits)))


def keep(room: Room, occupant: Occupant, said: Stanza, id: int, now: datetime) -> Deferred[Any]:
    """Archive a message, with the address of who said it, which some may know (XEP-0313 §7.1.2)."""
    where = item(room.affiliation(occupant.account), occupant.role, occupant.account)
    x = f"<x xmlns='{USER}'>{where}</x>".encode()
    row = said.with_sealed(X_USER, x).to_standalone()
    stored = room.service.archive.append(room.jid, occupant.jid, now, row, id=id, patient=True)
    return stored.addErrback(room.service.not_archived)


def without_forged(room: Room, stanza: Stanza) -> Stanza:
    """The message without what the room alone may say (XEP-0421 §4, XEP-0359 §3)."""
    forged = _FORGED | room.service.seam.forged
    if not forged.isdisjoint(stanza.children):
        stanza = stanza.without(forged)
    if _SIGNED.isdisjoint(stanza.children):
        return stanza
    found = [each for each in stanza.element() if each.tag in _SIGNED]
    honest = [each for each in found if not _is_by(each, room.jid)]
    return stanza if len(honest) == len(found) else stanza.without(_SIGNED).with_child(*honest)


def _is_by(element: Element, room: JID) -> bool:
    text = element.get("by" if element.tag == STANZA_ID else "from", "")
    try:
        return JID.parse(text).bare in (room, room.domainpart)
    except InvalidJID:
        return False


# -- to one ---------------------------------------------------------------------------------------------

_MAY_WHISPER: Final = {"anyone": Role.visitor, "participants": Role.participant, "moderators": Role.moderator}


def say_privately(room: Room, stanza: Stanza, nick: str) -> None:
    """Send a private message to all sessions of an occupant (§7.5).

    :raises StanzaError: ``not-acceptable``: the sender is not in the room; ``bad-request``: it is a message
        to all; ``item-not-found``: nobody has that nickname; ``forbidden``: the room does not let it.
    """
    sender = stanza.sender
    assert sender is not None
    occupant = room.speaker(sender)
    if stanza.type == "groupchat":
        raise StanzaError("bad-request", "what is for all goes to the room")
    target = room.occupant(nick)
    if target is None:
        raise StanzaError("item-not-found")
    least = _MAY_WHISPER.get(room.options.allow_pm)
    if target is not occupant and (least is None or occupant.role < least):
        raise StanzaError("forbidden", "no private messages, please")
    honest = without_forged(room, stanza)
    x = f"<x xmlns='{USER}'/>".encode()
    said = honest.with_sealed(X_USER, x).with_sealed(OCCUPANT_ID, occupant.mark)
    room.whispered.extend((jid, hash(stanza.id), occupant.jid) for jid in target.visits)
    room.service.spread(said.copies(occupant.jid, tuple(target.visits)))


# -- from the room ------------------------------------------------------------------------------------


def announce(room: Room, *children: Element | Sealed, to: Iterable[Occupant] | None = None) -> None:
    """Send a message from the room itself to all who are in it, or to some of them."""
    told = Stanza.of("message", *children, sender=room.jid, type="groupchat")
    recipients = [jid for each in (room.occupants.values() if to is None else to) for jid in each.visits]
    room.service.spread(told.copies(room.jid, recipients))


def announce_codes(room: Room, *codes: int) -> None:
    """Tell all who are in it that the room has changed (§10.2.1)."""
    announce(room, E(USER, "x", None, *(E(USER, "status", {"code": str(code)}) for code in codes)))


async def declare(room: Room, id: int, now: datetime, *children: Element) -> None:
    """Say something to all as the room itself, that is kept like what its occupants say.

    :param id: a new one of the room's archive; the message has it, too.
    """
    told = Stanza.of("message", *children, sender=room.jid, type="groupchat", id=room.uid(id))
    told = told.with_sealed(STANZA_ID, _signed(room, room.uid(id)))
    room.service.spread(told.copies(room.jid, tuple(room.visits)))
    room.history.add(id, now, told)
    if room.options.keeps:
        stored = room.service.archive.append(room.jid, room.jid, now, told.to_standalone(), id=id)
        await stored.addErrback(room.service.not_archived)


def announce_forms(room: Room, form: Element, role: Role | None) -> None:
    """Ask those of that role who are in the room; None: its admins and owners (§8.6, §9.9)."""
    for occupant in tuple(room.occupants.values()):
        admin = room.affiliation(occupant.account) >= Affiliation.admin
        if admin if role is None else occupant.role is role:
            for jid in tuple(occupant.visits):
                room.service.route(Stanza.of("message", form, sender=room.jid, to=jid))


def invitation(
    room: Room, to: JID, by: JID, reason: str, go_on: Element | None = None, id: str = ""
) -> Stanza:
    """The room's invitation on somebody's behalf, with the password if there is one."""
    inside = [E(USER, "reason", None, reason)] if reason else []
    if go_on is not None:
        inside.append(E(USER, "continue", {"thread": go_on.get("thread")}))
    password = [E(USER, "password", None, room.options.password)] if room.options.password else []
    x = E(USER, "x", None, E(USER, "invite", {"from": by}, *inside), *password)
    room.invited.append((to.bare, by))
    return Stanza.of("message", x, sender=room.jid, to=to, id=id)


def subject_of(room: Room) -> Stanza:
    """The subject, for somebody who enters (§7.2.15), still without an address."""
    record = room.record
    attrs: dict[str, str] = {"type": "groupchat", "from": room.jid}
    if not record.subject:
        return Stanza("message", attrs, (SUBJECT,), b"<subject/>")
    attrs["from"] = room.jid.with_resource(record.subject_by)
    stamp = to_stamp(datetime.fromtimestamp(record.subject_at, UTC))
    note = f"<delay xmlns='urn:xmpp:delay' from='{escape_attribute(room.jid)}' stamp='{stamp}'/>"
    by = f"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{record.subject_id}'/>"
    payload = f"{record.subject}{by}{note}".encode()
    return Stanza("message", attrs, (SUBJECT, OCCUPANT_ID, DELAY), payload)


async def change_subject(room: Room, occupant: Occupant, stanza: Stanza) -> None:
    """Give the room another subject; everybody hears of it when it is stored (§8.1).

    :raises StanzaError: ``forbidden``: that is for moderators; ``not-acceptable``: it is too long.
    """
    _check_may_change_subject(room, occupant)
    for each in room.service.seam.hearing:
        stanza = each.hears(room, occupant, stanza)
    honest = without_forged(room, stanza)
    subject = honest.select([SUBJECT]).payload
    if len(subject) > _LONGEST_SUBJECT:
        raise StanzaError("not-acceptable", f"a subject has at most {_LONGEST_SUBJECT} bytes")
    async with room.changing():
        _check_may_change_subject(room, occupant)
        now = room.service.now()
        await room.store(
            subject=subject.decode(),
            subject_by=occupant.nick,
            subject_id=occupant.id,
            subject_at=now.timestamp(),
        )
        id = room.service.archive.new_id(now)
        said = _reflected(room, occupant, honest, room.uid(id))
        reflect(room, occupant, said)
        if room.options.keeps:
            await keep(room, occupant, said, id, now)


def _check_may_change_subject(room: Room, occupant: Occupant) -> None:
    if not occupant.visits:
        raise StanzaError("not-acceptable", "you are not in the room", type="cancel")
    least = Role.participant if room.options.change_subject else Role.moderator
    if occupant.role < least:
        raise StanzaError("forbidden", "you may not change the subject")
