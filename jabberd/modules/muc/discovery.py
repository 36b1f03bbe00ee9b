"""What a room tells of itself (XEP-0045 §6.3 to §6.6, §7.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jabberd.api import JID, E, Element, StanzaError
from jabberd.archive.pages import NS as MAM
from jabberd.modules.disco import INFO, ITEMS
from jabberd.modules.muc.names import FEATURES, RESERVED, TRAFFIC
from jabberd.modules.muc.names import INFO as ROOM_INFO
from jabberd.modules.muc.options import shown_fields
from jabberd.modules.muc.privileges import Affiliation
from jabberd.modules.muc.seam import RoomAnswer
from jabberd.xmpp.element import parse_content
from jabberd.xmpp.forms import Field, Form

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.modules.muc.options import Options
    from jabberd.modules.muc.room import Room
    from jabberd.modules.muc.seam import RoomRequest

__all__ = ["info", "items"]

_ARCHIVED: Final = (MAM, f"{MAM}#extended")


async def info(request: RoomRequest) -> RoomAnswer:
    """What a room is and can do, or the asker's reserved nickname."""
    room, node = request.room, request.payload.get("node")
    if node == RESERVED:
        return RoomAnswer(E(INFO, "query", {"node": node}, *_reserved(room, request.sender)))
    if node == TRAFFIC:
        raise StanzaError("service-unavailable")  # §19.1.1: everything passes
    if node:
        found = [each.room_node_info(room, node, request.sender) for each in room.service.seam.noding]
        return _node(INFO, node, found)
    features = sorted({*FEATURES, INFO, ITEMS, *_features(room)})
    about = (
        E(
            INFO,
            "identity",
            {"category": "conference", "type": "text", "name": room.options.name or room.jid.localpart},
        ),
        *(E(INFO, "feature", {"var": each}) for each in features),
        _room_info(room, request.sender),
    )
    return RoomAnswer(E(INFO, "query", {"node": node}, *about))


def _node(namespace: str, node: str, found: Iterable[Iterable[Element] | None]) -> RoomAnswer:
    """A node that some module knows."""
    told = next((each for each in found if each is not None), None)
    if told is None:
        raise StanzaError("item-not-found")
    return RoomAnswer(E(namespace, "query", {"node": node}, *told))


def _reserved(room: Room, asker: JID) -> Iterable[Element]:
    known = room.belongings.get(asker.bare)
    if known is not None and known.nick:
        yield E(INFO, "identity", {"category": "conference", "type": "text", "name": known.nick})


def _features(room: Room) -> Iterable[str]:
    yield from _kinds(room.options)
    if room.options.keeps:
        yield from _ARCHIVED
    for each in room.service.seam.describing:
        yield from each.room_features(room)


def _kinds(options: Options) -> Iterable[str]:
    """§15.3: of each pair of kinds the one that it is."""
    yield "muc_public" if options.public else "muc_hidden"
    yield "muc_persistent" if options.persistent else "muc_temporary"
    yield "muc_membersonly" if options.members_only else "muc_open"
    yield "muc_moderated" if options.moderated else "muc_unmoderated"
    yield "muc_nonanonymous" if options.whois == "anyone" else "muc_semianonymous"
    yield "muc_passwordprotected" if options.password else "muc_unsecured"


def _room_info(room: Room, asker: JID) -> Element:
    options, limits = room.options, room.service.limits
    fields = [
        Field("muc#roominfo_description", "text-single", "Description", _if(options.description)),
        Field("muc#roominfo_lang", "text-single", "Language of the discussions", _if(options.lang)),
        Field("muc#roominfo_occupants", "text-single", "Number of occupants", (str(len(room.occupants)),)),
        Field("muc#roominfo_subjectmod", "boolean", "Participants may change the subject",
              ("1" if options.change_subject else "0",)),
        Field("muc#maxhistoryfetch", "text-single", "Messages for a newcomer", (str(options.history),)),
        Field("muc#roomconfig_maxusers", "text-single", "Occupants at most",
              (str(options.most or limits.occupants),)),
    ]  # fmt: skip
    if room.may_read(asker.bare):  # §14.4: what only those may know who may come in
        fields.append(Field("muc#roominfo_subject", "text-single", "Subject", _if(_subject(room))))
    if options.whois == "anyone":
        owners = tuple(jid for jid, _ in room.affiliated(Affiliation.owner))
        fields.append(Field("muc#roominfo_contactjid", "jid-multi", "Owners", owners))
    if options.logged and room.service.logs:
        where = room.service.logs.replace("{room}", room.jid.localpart)
        fields.append(Field("muc#roominfo_logs", "text-single", "Where logs can be read", (where,)))
    others = [field for each in room.service.seam.describing for field in each.room_info(room, asker)]
    return Form(ROOM_INFO, (*fields, *shown_fields(options), *others)).element("result")


def _if(text: str) -> tuple[str, ...]:
    return (text,) if text else ()


def _subject(room: Room) -> str:
    subjects = parse_content(room.record.subject.encode())
    return "".join(subjects[0].itertext()) if len(subjects) else ""


async def items(request: RoomRequest) -> RoomAnswer:
    """Who is in the room, for those who could see them by entering a public room (§6.5)."""
    room, asker = request.room, request.sender.bare
    if node := request.payload.get("node"):
        found = [each.room_node_items(room, node, request.sender) for each in room.service.seam.noding]
        return _node(ITEMS, node, found)
    shown = room.is_in(asker) or (room.options.public and room.options.is_open and room.may_enter(asker))
    occupants = [each for each in room.occupants.values() if room.is_visible(each)] if shown else []
    return RoomAnswer(E(ITEMS, "query", None, *(E(ITEMS, "item", {"jid": each.jid}) for each in occupants)))
