"""Inviting others into a room, and declining (XEP-0045 §7.8.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.api import JID, E, Stanza, StanzaError
from jabberd.modules.muc.affiliations import Order, affiliate
from jabberd.modules.muc.messages import invitation
from jabberd.modules.muc.names import USER, X_USER
from jabberd.modules.muc.privileges import Affiliation
from jabberd.modules.muc.relay import nameless
from jabberd.xmpp.jid import InvalidJID
from jabberd.xmpp.ns import CLIENT

if TYPE_CHECKING:
    from collections.abc import Collection

    from jabberd.modules.muc.room import Room

__all__ = ["decline", "invite", "not_invited"]

_MOST: Final = 20  # invitations in one message
_INVITE: Final = f"{{{USER}}}invite"
_DECLINE: Final = f"{{{USER}}}decline"
_REASON: Final = f"{{{USER}}}reason"
_CONTINUE: Final = f"{{{USER}}}continue"


async def invite(room: Room, stanza: Stanza) -> None:
    """Pass invitations on; in a room for members who is invited becomes one (§9.5).

    :raises StanzaError: ``not-acceptable``: the sender is not in the room; ``forbidden``: it may not invite;
        ``jid-malformed``; ``bad-request``: it names nobody, or too many; ``resource-constraint``: it has
        invited enough people for now.
    """
    assert stanza.sender is not None
    by, occupant = stanza.sender.bare, room.speaker(stanza.sender)
    x = stanza.child(X_USER)
    invites = [] if x is None else x.findall(_INVITE)
    if not 1 <= len(invites) <= _MOST:
        raise StanzaError("bad-request", f"1 to {_MOST} at once")
    wanted = {_address(each.get("to", "")): each for each in invites}
    _check(room, by, wanted)
    if not room.service.invites.take(by, len(wanted), room.service.now().timestamp()):
        raise StanzaError("resource-constraint", "you have invited enough people; wait for some minutes")
    if room.options.members_only:
        async with room.changing():
            _check(room, by, wanted)  # another change may have come first
            new = [to.bare for to in wanted if room.affiliation(to.bare) is Affiliation.none]
            orders = [Order(jid, Affiliation.member, invited=True) for jid in dict.fromkeys(new)]
            # the room does it, for somebody who may
            told = await affiliate(room, orders, Affiliation.owner, by, occupant.nick)
            told()
    for to, each in wanted.items():
        reason = each.findtext(_REASON) or ""
        room.service.route(invitation(room, to, by, reason, each.find(_CONTINUE), stanza.id))


def _check(room: Room, by: JID, invited: Collection[JID]) -> None:
    affiliation = room.affiliation(by)
    if room.options.members_only:
        least = Affiliation.member if room.options.allow_invites else Affiliation.admin
        if affiliation < least:
            raise StanzaError("forbidden", "you may not invite others")
        if not all(to.localpart for to in invited):
            raise StanzaError("forbidden", "admins alone make members of a whole domain")
    if any(room.affiliation(to.bare) is Affiliation.outcast for to in invited):
        raise StanzaError("forbidden", "somebody is banned here")


def decline(room: Room, stanza: Stanza) -> None:
    """Tell somebody in the room that an invitation of theirs was declined; nobody else gets mail this way."""
    x = stanza.child(X_USER)
    declined = None if x is None else x.find(_DECLINE)
    assert declined is not None  # whoever calls has seen it
    assert stanza.sender is not None
    to = _address(declined.get("to", ""))
    named = room.occupant(to.resourcepart) if to.bare == room.jid else next(room.of(to.bare), None)
    sender = stanza.sender.bare
    if named is None or (sender, named.account) not in room.invited:
        return
    reason = declined.findtext(_REASON) or ""
    inside = [E(USER, "reason", None, reason)] if reason else []
    told = E(USER, "x", None, E(USER, "decline", {"from": sender}, *inside))
    for jid in tuple(named.visits):
        room.service.route(Stanza.of("message", told, sender=room.jid, to=jid, id=stanza.id))


def not_invited(room: Room, stanza: Stanza) -> None:
    """An invitation came back: who has sent it learns why (§7.8.2), if it is in the room still."""
    sender, error = stanza.sender, stanza.child(f"{{{CLIENT}}}error")
    if stanza.name != "message" or sender is None or error is None:
        return
    for by in {by for invited, by in room.invited if invited == sender.bare}:
        told = nameless(stanza.select([f"{{{CLIENT}}}error"]))
        for occupant in tuple(room.of(by)):
            for jid in tuple(occupant.visits):
                room.service.route(told.stamped(room.jid, jid))


def _address(text: str) -> JID:
    try:
        return JID.parse(text)
    except InvalidJID:
        raise StanzaError("jid-malformed") from None
