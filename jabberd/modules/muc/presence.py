"""What a room tells its occupants of each other (XEP-0045 §7.2.2, §7.6, §7.7, §7.14)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from jabberd.api import Stanza
from jabberd.modules.muc.events import OccupantLeft
from jabberd.modules.muc.names import OCCUPANT_ID, USER, X_USER
from jabberd.modules.muc.occupant import fold
from jabberd.modules.muc.privileges import Affiliation, Role
from jabberd.xmpp.element import escape_attribute, escape_text
from jabberd.xmpp.stanza import LANG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from twisted.internet.defer import Deferred

    from jabberd.api import JID
    from jabberd.modules.muc.occupant import Occupant, Visit
    from jabberd.modules.muc.room import Room

__all__ = [
    "GONE",
    "News",
    "Telling",
    "broadcast",
    "depart",
    "introduce",
    "item",
    "remove",
    "rename",
    "tell",
    "telling",
]

UNAVAILABLE: Final = "unavailable"


@dataclass(frozen=True, slots=True)
class News:
    """What is told of an occupant beside what it said itself.

    :ivar type: empty or ``unavailable``.
    :ivar codes: status codes for everybody, ``own``: for itself beside 110.
    :ivar nick: the nickname that it has from now on.
    :ivar actor: the nickname of who did it.
    :ivar inside: more of ``<x/>``, ``inside_of``: still more, for each of those who are told.
    :ivar affiliation: if it is not what the room knows.
    :ivar changed: role or affiliation are others than before: who knows of it learns that, even where its
        role is one whose presence is not broadcast.
    :ivar children: Clark names of what a goodbye says, ``payload``: its bytes, and ``id``: its id, which
        whoever said it hears.
    """

    type: str = ""
    codes: tuple[int, ...] = ()
    own: tuple[int, ...] = ()
    nick: str = ""
    actor: str = ""
    reason: str = ""
    inside: bytes = b""
    inside_of: Callable[[Occupant], bytes] | None = None
    affiliation: Affiliation | None = None
    changed: bool = False
    children: tuple[str, ...] = ()
    payload: bytes = b""
    id: str = ""


GONE: Final = News(UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Telling:
    """What tells those who are in a room of what was done, in turns (see `jabberd.modules.muc.doorway`).

    :ivar steps: each tells all of them of one thing.
    """

    room: Room
    steps: Sequence[Callable[[], None]]

    def __call__(self) -> Deferred[None] | None:
        """Tell them.

        :returns: what fires when they were told; None: they were.
        """
        return self.room.service.doorway.tell(self.room, self.steps)


def item(
    affiliation: Affiliation, role: Role, jid: str = "", nick: str = "", actor: str = "", reason: str = ""
) -> str:
    """The ``<item/>`` that tells where somebody stands."""
    where = f" jid='{escape_attribute(jid)}'" if jid else ""
    name = f" nick='{escape_attribute(nick)}'" if nick else ""
    start = f"<item affiliation='{affiliation.name}' role='{role.name}'{where}{name}"
    if not actor and not reason:
        return start + "/>"
    by = f"<actor nick='{escape_attribute(actor)}'/>" if actor else ""
    why = f"<reason>{escape_text(reason)}</reason>" if reason else ""
    return f"{start}>{by}{why}</item>"


def tell(
    room: Room, occupant: Occupant, visit: Visit, news: News, *, address: bool, own: bool, more: bytes = b""
) -> Stanza:
    """Presence of an occupant, still without an address to go to.

    :param address: whether the full JID is told.
    :param own: whether it is for the occupant itself.
    :param more: what stands in ``<x/>`` beside `News.inside`.
    """
    gone = news.type == UNAVAILABLE
    affiliation = room.affiliation(occupant.account) if news.affiliation is None else news.affiliation
    role = Role.none if gone and not news.nick else occupant.role
    inside = item(affiliation, role, visit.jid if address else "", news.nick, news.actor, news.reason)
    codes = (*news.codes, 110, *news.own) if own else news.codes
    statuses = "".join([f"<status code='{code}'/>" for code in sorted(codes)])
    x = f"<x xmlns='{USER}'>{inside}{statuses}".encode() + news.inside + more + b"</x>"
    attrs: dict[str, str] = {}
    if news.type:
        attrs["type"] = news.type
    if visit.lang:
        attrs[LANG] = visit.lang
    names, marks = room.service.seam.marks(room, occupant)
    said, payload = (news.children, news.payload) if gone else (visit.children, visit.payload)
    return Stanza(
        "presence", attrs, (*said, X_USER, OCCUPANT_ID, *names), payload + x + occupant.mark + marks
    )


def broadcast(room: Room, occupant: Occupant, visit: Visit, news: News, id: str = "") -> None:
    """Tell everybody of an occupant, itself last.

    :param id: of the presence that its client sent, for the client.
    """
    with room.service.doorway:
        _tell_those_who_know(room, occupant, visit, news)
        _tell_itself(room, occupant, visit, news, id)


def rename(room: Room, occupant: Occupant, visit: Visit, to: JID) -> None:
    """Give an occupant another nickname: the old one goes (§7.6)."""
    news, before = News(UNAVAILABLE, codes=(303,), nick=to.resourcepart), occupant.jid
    with room.service.doorway:
        _tell_those_who_know(room, occupant, visit, news)
        del room.occupants[fold(occupant.nick)]
        # before it hears of it: who is gone at that moment goes by the name that others know
        occupant.jid = to
        room.occupants[fold(occupant.nick)] = occupant
        _tell_itself(room, occupant, visit, news, "", before)


def _tell_those_who_know(room: Room, occupant: Occupant, visit: Visit, news: News) -> None:
    if room.is_visible(occupant):
        occupant.shown = True
        _tell_others(room, occupant, visit, news)
    elif occupant.shown and (news.changed or news.type):
        _tell_others(room, occupant, visit, news)


def _tell_others(room: Room, occupant: Occupant, visit: Visit, news: News) -> None:
    told: dict[tuple[bool, bytes], list[JID]] = {}
    for other in room.occupants.values():
        if other is not occupant:
            more = b"" if news.inside_of is None else news.inside_of(other)
            told.setdefault((room.sees_addresses(other), more), []).extend(other.visits)
    for (address, more), recipients in told.items():
        stanza = tell(room, occupant, visit, news, address=address, own=False, more=more)
        room.service.spread(stanza.copies(occupant.jid, recipients))


def _tell_itself(
    room: Room, occupant: Occupant, visit: Visit, news: News, id: str, sender: JID | None = None
) -> None:
    if not occupant.visits:
        return
    standing = (
        room.service.seam.standing(room, occupant) if news.inside_of is None else news.inside_of(occupant)
    )
    stanza = tell(room, occupant, visit, news, address=True, own=True, more=standing)
    for jid in tuple(occupant.visits):
        own = stanza.with_attrs(id=id) if id and jid == visit.jid else stanza
        room.service.route(own.stamped(sender or occupant.jid, jid))


def introduce(room: Room, newcomer: Occupant, to: JID) -> None:
    """Tell a newcomer's session of all others (§7.2.2)."""
    address, news = room.sees_addresses(newcomer), News()
    others = [each for each in room.occupants.values() if each is not newcomer and room.is_visible(each)]
    room.service.spread(
        tell(room, each, each.main, news, address=address, own=False).stamped(each.jid, to)
        for each in others
        if each.visits  # what is told may drop a connection at once: who was here then need not be here now
    )


def depart(room: Room, occupant: Occupant, visit: Visit, news: News = GONE) -> None:
    """Let one session of an occupant out; the others see the occupant go with its last one."""
    was_main = occupant.main is visit
    room.drop(occupant, visit)
    if not occupant.visits:
        room.remember_voice(occupant)
        Telling(room, [_say_goodbye(room, occupant, [visit], news)])()
        return
    _say_own(room, occupant, visit, news)
    if was_main:
        Telling(room, [telling(room, occupant, News())])()


def telling(room: Room, occupant: Occupant, news: News) -> Callable[[], None]:
    """What tells everybody of an occupant, if it is in the room still."""

    def tell_all() -> None:
        if occupant.visits:
            broadcast(room, occupant, occupant.main, news)

    return tell_all


def remove(room: Room, occupant: Occupant, news: News) -> Callable[[], None]:
    """Put an occupant out with all its sessions, and tell them.

    :returns: what tells the others.
    """
    room.voices.pop(occupant.account, None)
    visits = list(occupant.visits.values())
    if not visits:
        return _nothing
    for visit in visits:
        room.drop(occupant, visit)
    return _say_goodbye(room, occupant, visits, news)


def _nothing() -> None:
    """It was told before."""


def _say_own(room: Room, occupant: Occupant, visit: Visit, news: News) -> None:
    own = tell(room, occupant, visit, news, address=True, own=True)
    if news.id:
        own = own.with_attrs(id=news.id)
    room.service.route(own.stamped(occupant.jid, visit.jid))


def _say_goodbye(room: Room, occupant: Occupant, visits: Iterable[Visit], news: News) -> Callable[[], None]:
    last = None
    for last in visits:
        _say_own(room, occupant, last, news)
    room.service.fire(OccupantLeft(room, occupant))

    def others() -> None:
        if last is not None and occupant.shown:
            _tell_others(room, occupant, last, replace(news, own=()))

    return others
