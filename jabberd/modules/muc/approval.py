"""Forms that visitors and newcomers send, and admins answer (XEP-0045 §7.13, §8.6, §9.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.api import JID, Element, StanzaError
from jabberd.modules.muc.admin import set_role
from jabberd.modules.muc.affiliations import Order, affiliate
from jabberd.modules.muc.messages import announce_forms
from jabberd.modules.muc.names import REGISTER_FORM, REQUEST
from jabberd.modules.muc.presence import Telling
from jabberd.modules.muc.privileges import Affiliation, Role
from jabberd.xmpp.forms import NS as FORMS
from jabberd.xmpp.forms import Field, Form, X

if TYPE_CHECKING:
    from jabberd.api import Stanza
    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.room import Room

__all__ = ["ask_for_membership", "filled_in"]

_ROLE: Final = "muc#role"
_JID: Final = "muc#jid"
_NICK: Final = "muc#roomnick"
_ALLOW: Final = "muc#request_allow"
_WANTED_NICK: Final = "muc#register_roomnick"
_WHO: Final = "muc#register_jid"
_REGISTER: Final = "muc#register_allow"
_BETWEEN: Final = 60.0  # seconds between two requests of one occupant for voice
_ROLES: Final = {"participant": "Participant"}


async def filled_in(room: Room, stanza: Stanza) -> None:
    """Somebody has sent a form to the room.

    :raises StanzaError: ``not-acceptable``: the sender is not in the room; ``bad-request``: the room knows no
        such form; ``forbidden``: it is not for that one.
    """
    assert stanza.sender is not None
    occupant = room.speaker(stanza.sender)
    form = stanza.child(X)
    assert form is not None  # whoever calls has seen it
    kind = form.findtext(f"{{{FORMS}}}field[@var='FORM_TYPE']/{{{FORMS}}}value")
    if kind == REQUEST:
        _voice(room, occupant, form)
    elif kind == REGISTER_FORM:
        await _registered(room, stanza.sender, occupant, form)
    else:
        raise StanzaError("bad-request", "that form is not known here")


# -- voice ----------------------------------------------------------------------------------------------


def _form(occupant: Occupant | None) -> Form:
    """§8.6; filled in about an occupant."""
    who, nick = (("",), ("",)) if occupant is None else ((occupant.main.jid,), (occupant.nick,))
    return Form(
        REQUEST,
        (
            Field(_ROLE, "list-single", "Requested role", ("participant",), options=_ROLES),
            Field(_JID, "jid-single", "Who it is", who),
            Field(_NICK, "text-single", "Nickname", nick),
            Field(_ALLOW, "boolean", "Give voice to this one", ("0",)),
        ),
        "Request for voice",
        "Somebody asks for voice. Nothing happens if you do not answer.",
    )


def _voice(room: Room, occupant: Occupant, submitted: Element) -> None:
    given = _form(None).read(submitted)
    asks = submitted.find(f"{{{FORMS}}}field[@var='{_ALLOW}']") is None
    if asks:
        if occupant.role is not Role.visitor:
            raise StanzaError("bad-request", "you have voice")
        now = room.service.now().timestamp()
        if now - occupant.asked < _BETWEEN:
            raise StanzaError("resource-constraint", "you have asked already; wait for a minute")
        occupant.asked = now
        announce_forms(room, _form(occupant).element(), Role.moderator)
        return
    if occupant.role is not Role.moderator:
        raise StanzaError("forbidden")
    target = room.occupant(given.text(_NICK))
    if target is None or given.text(_JID) not in target.visits:
        raise StanzaError("item-not-found")
    if given.flag(_ALLOW) and target.role is Role.visitor:
        Telling(room, [set_role(room, target, Role.participant, "")])()


# -- membership -----------------------------------------------------------------------------------------


def _registration(account: str, nick: str) -> Form:
    """§9.9."""
    return Form(
        REGISTER_FORM,
        (
            Field(_WHO, "jid-single", "Who it is", (account,)),
            Field(_WANTED_NICK, "text-single", "Nickname", (nick,)),
            Field(_REGISTER, "boolean", "Let this one be a member", ("0",)),
        ),
        "Request for membership",
        "Somebody wants to be a member. Nothing happens if you do not answer.",
    )


def ask_for_membership(room: Room, account: JID, nick: str) -> None:
    """Ask the admins who are in the room (§9.9).

    :raises StanzaError: ``not-allowed``: there is none.
    """
    if not any(room.affiliation(each.account) >= Affiliation.admin for each in room.occupants.values()):
        raise StanzaError("not-allowed", "nobody is there who could decide; try again later")
    room.wanted[account] = nick
    announce_forms(room, _registration(account, nick).element(), None)


async def _registered(room: Room, sender: JID, occupant: Occupant, submitted: Element) -> None:
    if room.affiliation(occupant.account) < Affiliation.admin:
        raise StanzaError("forbidden")
    given = _registration("", "").read(submitted)
    accounts = given.jids(_WHO)
    account = accounts[0].bare if accounts else sender
    nick = room.wanted.pop(account, None)
    if nick is None:
        raise StanzaError("item-not-found", "nobody waits for that")
    if given.flag(_REGISTER):
        async with room.changing():
            if room.affiliation(account) is not Affiliation.none:
                raise StanzaError("conflict")
            orders = [Order(account, Affiliation.member, nick=nick)]
            told = await affiliate(
                room, orders, room.affiliation(occupant.account), occupant.account, occupant.nick
            )
        told()
