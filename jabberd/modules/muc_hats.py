"""XEP-0317: hats, which tell in a room what somebody is there for, beside roles and affiliations."""

from __future__ import annotations

import hashlib
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import urlsplit

from jabberd.api import JID, AccountDeleted, E, Element, Sealed, StanzaError, on
from jabberd.modules.muc.messages import announce_codes
from jabberd.modules.muc.presence import News, broadcast
from jabberd.modules.muc.privileges import Affiliation
from jabberd.modules.muc.seam import Extension, RoomAnswer, RoomRequest
from jabberd.xmpp.element import escape_attribute
from jabberd.xmpp.forms import NS as FORMS
from jabberd.xmpp.forms import Field, Form, Submission, X, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.room import Room

NS: Final = "urn:xmpp:hats:0"
COMMANDS: Final = "http://jabber.org/protocol/commands"
FORM_TYPE: Final = "urn:xmpp:hats:commands"
_HATS: Final = f"{{{NS}}}hats"
_INFO: Final = "http://jabber.org/protocol/disco#info"
_ITEMS: Final = "http://jabber.org/protocol/disco#items"
_TITLE, _URI, _HUE, _JID = "hats#title", "hats#uri", "hats#hue", "hats#jid"
#: How hats are called in `Record.kept`: each by its URI, and those that somebody wears by the bare JID.
_KEPT: Final = f"{NS} hat "
_WORN: Final = f"{NS} worn by "
_MOST: Final = 50  # hats of a room
_LONGEST: Final = 200  # characters of a title or a URI
_ANGLE: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,12})?")


@dataclass(frozen=True, slots=True)
class Hat:
    """A hat.

    :ivar hue: its color as an angle from 0 to 360 (XEP-0392 §5), or empty.
    """

    uri: str
    title: str
    hue: str

    @property
    def data(self) -> str:
        """The element."""
        hue = f" hue='{escape_attribute(self.hue)}'" if self.hue else ""
        return f"<hat title='{escape_attribute(self.title)}' uri='{escape_attribute(self.uri)}'{hue}/>"


def hats(room: Room) -> dict[str, Hat]:
    """Those that a room has, by URI, in the order in which they were created."""
    found = (
        (name.removeprefix(_KEPT), each) for name, each in room.record.kept.items() if name.startswith(_KEPT)
    )
    return {uri: Hat(uri, *values) for uri, values in found}


def worn(room: Room) -> dict[JID, tuple[str, ...]]:
    """Who wears which, by their URIs."""
    kept = room.record.kept.items()
    return {JID.parse(name.removeprefix(_WORN)): uris for name, uris in kept if name.startswith(_WORN)}


class Hats(Extension, xep=317, version="0.3.1"):
    """Shows hats in presence; a room's admins and owners create them and say who wears which.

    The commands have one form each, so nothing is remembered between two steps: a client that knows the form
    fills it in at once (§3.3).
    """

    requires = ("muc",)
    forged: ClassVar[frozenset[str]] = frozenset({_HATS})

    async def start(self) -> None:
        """Name the commands."""
        self._commands = {
            f"{FORM_TYPE}:{name}": command
            for name, command in {
                "create": _Command("Create or change a hat", _may_manage, _creation, _create),
                "destroy": _Command("Destroy a hat", _may_manage, _destruction, _destroy),
                "list": _Command("List the hats", _may_look, None, _list),
                "assign": _Command("Assign a hat", _may_manage, _assignment, _assign),
                "unassign": _Command("Remove a hat", _may_manage, _assignment, _unassign),
                "list-assigned": _Command("List who wears which hat", _may_see_wearers, None, _list_worn),
            }.items()
        }

    @on(AccountDeleted)
    async def forget(self, event: AccountDeleted) -> None:
        """Whoever gets that name now wears nothing."""
        worn_by, rooms = _WORN + event.jid, self.rooms.service.rooms
        known = [jid for jid, room in rooms.resident.items() if worn_by in room.record.kept]
        known += [jid async for jid, record in rooms.stored() if worn_by in record.kept]
        for jid in dict.fromkeys(known):
            async with self.rooms.room(jid) as room:
                if room is not None:
                    with suppress(StanzaError):  # it was destroyed meanwhile
                        async with room.changing():
                            await room.keep({worn_by: ()})

    # -- what is seen -------------------------------------------------------------------------------

    def marks(self, room: Room, occupant: Occupant) -> Iterable[Sealed]:
        """See `jabberd.modules.muc.seam.MarksOccupants`; §3.1."""
        kept = room.record.kept
        uris = kept.get(_WORN + occupant.account) if kept else None
        if not uris:
            return ()
        inside = "".join(Hat(uri, *kept[_KEPT + uri]).data for uri in uris)
        return (Sealed(_HATS, f"<hats xmlns='{NS}'>{inside}</hats>".encode()),)

    def room_features(self, room: Room) -> Iterable[str]:
        """See `jabberd.modules.muc.seam.DescribesRooms`."""
        return (NS, COMMANDS)

    def room_info(self, room: Room, asker: JID) -> Iterable[Field]:
        """By which a client knows that its list of hats is out of date (§2)."""
        found = hats(room)
        if found:
            text = "\n".join(found[uri].data for uri in sorted(found))
            hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            yield Field("hats#hash", "text-single", "Hats hash", (hash,))

    def room_node_info(self, room: Room, node: str, asker: JID) -> Iterable[Element] | None:
        """See `jabberd.modules.muc.seam.RoomNodes`; XEP-0050 §2.2."""
        if node == COMMANDS:
            return [E(_INFO, "identity", {"category": "automation", "type": "command-list"})]
        command = self._commands.get(node)
        if command is None or not command.allowed(room, asker):
            return None
        attrs = {"category": "automation", "type": "command-node", "name": command.name}
        return [
            E(_INFO, "identity", attrs),
            *(E(_INFO, "feature", {"var": each}) for each in (COMMANDS, FORMS)),
        ]

    def room_node_items(self, room: Room, node: str, asker: JID) -> Iterable[Element] | None:
        """See `jabberd.modules.muc.seam.RoomNodes`: the commands that the asker may run."""
        if node in self._commands:
            return ()
        if node != COMMANDS:
            return None
        return [
            E(_ITEMS, "item", {"jid": room.jid, "node": name, "name": command.name})
            for name, command in self._commands.items()
            if command.allowed(room, asker)
        ]

    # -- commands -----------------------------------------------------------------------------------

    def room_answers(self) -> Mapping[tuple[str, str], Callable[[RoomRequest], Awaitable[RoomAnswer]]]:
        """See `jabberd.modules.muc.seam.AnswersRooms`."""
        return {("set", f"{{{COMMANDS}}}command"): self.run}

    async def run(self, request: RoomRequest) -> RoomAnswer:
        """Give out a command's form, or do what was filled in (XEP-0050 §2.4).

        :raises StanzaError: ``item-not-found``: there is no such command; ``forbidden``: it is not for the
            asker; ``bad-request``: an action or a form that there is not; see also the commands.
        """
        room, asked = request.room, request.payload
        command = self._commands.get(asked.get("node", ""))
        if command is None:
            raise StanzaError("item-not-found")
        action, submitted = asked.get("action", "execute"), asked.find(X)
        if action == "cancel":
            return RoomAnswer(_answer(asked, "canceled"))
        if action not in ("execute", "complete"):
            raise _bad("malformed-action" if action not in ("next", "prev") else "bad-action")
        async with room.changing():
            if not command.allowed(room, request.sender):
                raise StanzaError("forbidden")
            form = None if command.form is None else command.form(room)
            if form is not None and submitted is None:
                actions = E(COMMANDS, "actions", {"execute": "complete"}, E(COMMANDS, "complete"))
                return RoomAnswer(_answer(asked, "executing", actions, form.element()))
            given = Submission() if form is None or submitted is None else _filled(form, submitted)
            told, then = await command.run(room, given)
        return RoomAnswer(_answer(asked, "completed", *told), then)


@dataclass(frozen=True, slots=True)
class _Command:
    """A command.

    :ivar allowed: who may run it in a room.
    :ivar form: to be filled in; None: there is none.
    :ivar run: does it; returns what is shown, and what tells the occupants.
    """

    name: str
    allowed: Callable[[Room, JID], bool]
    form: Callable[[Room], Form] | None
    run: Callable[[Room, Submission], Awaitable[_Done]]


_Done = tuple[tuple[Element, ...], "Callable[[], None] | None"]


def _may_manage(room: Room, asker: JID) -> bool:
    return room.affiliation(asker.bare) >= Affiliation.admin


def _may_look(room: Room, asker: JID) -> bool:
    return room.may_read(asker.bare)


def _may_see_wearers(room: Room, asker: JID) -> bool:
    """Whoever may know addresses."""
    occupant = room.visits.get(asker)
    return _may_manage(room, asker) or (occupant is not None and room.sees_addresses(occupant))


def _answer(asked: Element, status: str, *content: Element) -> Element:
    id = asked.get("sessionid") or secrets.token_urlsafe(16)
    return E(COMMANDS, "command", {"node": asked.get("node"), "sessionid": id, "status": status}, *content)


def _bad(condition: str, text: str = "") -> StanzaError:
    return StanzaError("bad-request", text, application=(COMMANDS, condition))


def _filled(form: Form, submitted: Element) -> Submission:
    try:
        return form.read(submitted)
    except StanzaError as why:
        raise _bad("bad-payload", why.text) from None


# -- what they do ---------------------------------------------------------------------------------------


def _creation(_: Room) -> Form:
    fields = (
        Field(_TITLE, "text-single", "Hat Title", required=True),
        Field(_URI, "text-single", "Hat URI", required=True),
        Field(_HUE, "text-single", "Hat Hue"),
    )
    return Form(FORM_TYPE, fields, "Creating a Hat", "Fill out this form to create a hat.")


async def _create(room: Room, given: Submission) -> _Done:
    """Make a hat, or change that of the same URI (§3.2)."""
    hat = Hat(*(" ".join(given.text(var).split()) for var in (_URI, _TITLE, _HUE)))
    _check(hat)
    known = hats(room)
    if hat.uri not in known and len(known) >= _MOST:
        raise StanzaError("resource-constraint", f"a room has at most {_MOST} hats")
    if known.get(hat.uri) == hat:
        return (), None
    await room.keep({_KEPT + hat.uri: (hat.title, hat.hue)})
    wearers = [jid for jid, uris in worn(room).items() if hat.uri in uris]
    return (), lambda: _tell(room, wearers, listed=True)


def _check(hat: Hat) -> None:
    """See that it can be worn.

    :raises StanzaError: ``bad-request``: its URI is none, a text is too long, or its hue is no angle.
    """
    try:
        known = bool(urlsplit(hat.uri).scheme) and not any(each.isspace() for each in hat.uri)
    except ValueError:
        known = False
    if not known or max(len(hat.uri), len(hat.title)) > _LONGEST or not hat.title:
        raise _bad("bad-payload", f"a title and a URI, of at most {_LONGEST} characters")
    if hat.hue and not (_ANGLE.fullmatch(hat.hue) and float(hat.hue) <= 360):
        raise _bad("bad-payload", "a hue is an angle from 0 to 360")


def _choice(room: Room) -> Field:
    return Field(
        _URI, "list-single", "The role", required=True, options={u: h.title for u, h in hats(room).items()}
    )


def _destruction(room: Room) -> Form:
    return Form(FORM_TYPE, (_choice(room),), "Destroying a Hat", "Fill out this form to destroy a hat.")


async def _destroy(room: Room, given: Submission) -> _Done:
    """Remove a hat from the room, and from all who wear it (§3.3)."""
    uri = given.text(_URI)
    changes = {
        _WORN + jid: tuple(each for each in uris if each != uri)
        for jid, uris in worn(room).items()
        if uri in uris
    }
    await room.keep({_KEPT + uri: (), **changes})
    wearers = [JID.parse(name.removeprefix(_WORN)) for name in changes]
    return (), lambda: _tell(room, wearers, listed=True)


def _assignment(room: Room) -> Form:
    who = Field(_JID, "jid-single", "User Address", required=True)
    return Form(FORM_TYPE, (who, _choice(room)), "Assigning a Hat", "Fill out this form to assign a hat.")


async def _assign(room: Room, given: Submission) -> _Done:
    """Give somebody a hat, whether or not they are there (§3.5)."""
    jid, uri = _wearer(room, given.jid(_JID)), given.text(_URI)
    return await _wear(room, jid, tuple(dict.fromkeys((*worn(room).get(jid, ()), uri))))


async def _unassign(room: Room, given: Submission) -> _Done:
    """Take a hat from somebody (§3.6)."""
    jid, uri = _wearer(room, given.jid(_JID)), given.text(_URI)
    return await _wear(room, jid, tuple(each for each in worn(room).get(jid, ()) if each != uri))


def _wearer(room: Room, jid: JID) -> JID:
    """The account that is meant; behind an occupant JID is one, too.

    :raises StanzaError: ``bad-request``: no occupant has that JID.
    """
    if jid.bare != room.jid:
        return jid.bare
    occupant = room.occupant(jid.resourcepart)
    if occupant is None:
        raise _bad("bad-payload", "nobody of that nickname is in the room")
    return occupant.account


async def _wear(room: Room, jid: JID, uris: tuple[str, ...]) -> _Done:
    if uris == worn(room).get(jid, ()):
        return (), None
    await room.keep({_WORN + jid: uris})
    return (), lambda: _tell(room, [jid], listed=False)


def _tell(room: Room, wearers: Iterable[JID], *, listed: bool) -> None:
    """Everybody sees who wears what now, and that the list of hats has changed if it has (§3.2)."""
    for jid in wearers:
        for occupant in tuple(room.of(jid)):
            if occupant.visits:
                broadcast(room, occupant, occupant.main, News())
    if listed:
        announce_codes(room, 104)


async def _list(room: Room, _: Submission) -> _Done:
    """All hats of the room (§3.4)."""
    rows = [{_TITLE: each.title, _URI: each.uri, _HUE: each.hue} for each in hats(room).values()]
    return (table("Hats List", (_TITLE, _URI, _HUE), rows),), None


async def _list_worn(room: Room, _: Submission) -> _Done:
    """All hats that somebody wears (§3.7)."""
    known = hats(room)
    rows = [
        {_JID: jid, _URI: uri, _TITLE: known[uri].title, _HUE: known[uri].hue}
        for jid, uris in sorted(worn(room).items())
        for uri in uris
    ]
    return (table("Assigned Hats List", (_JID, _URI, _TITLE, _HUE), rows),), None
