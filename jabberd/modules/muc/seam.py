"""Where other modules of the domain take part in rooms; `jabberd.modules.muc` tells how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from jabberd.api import Module

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from jabberd.api import JID, Element, Sealed, Stanza
    from jabberd.modules.muc import Rooms
    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.privileges import Affiliation
    from jabberd.modules.muc.room import Room
    from jabberd.xmpp.forms import Field

__all__ = [
    "Admission",
    "Admits",
    "AnswersRooms",
    "Change",
    "DescribesRooms",
    "Extension",
    "FollowsAffiliations",
    "Hears",
    "MarksOccupants",
    "RoomAnswer",
    "RoomFields",
    "RoomNodes",
    "RoomRequest",
    "Seam",
]


class Extension(Module):
    """A module that takes part in rooms, and requires ``muc``; it may come and go while people are there."""

    @property
    def rooms(self) -> Rooms:
        """The module of the rooms."""
        return cast("Rooms", self.domain.module("muc"))

    async def ready(self) -> None:
        """Take part."""
        self.rooms.see_others()

    async def stop(self) -> None:
        """Take part no more."""
        self.rooms.see_others()


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """A question put to a room; see `jabberd.api.IQ`.

    :ivar payload: the one child element, opened.
    """

    room: Room
    stanza: Stanza
    sender: JID
    payload: Element

    @property
    def type(self) -> str:
        """``get`` or ``set``."""
        return self.stanza.type


@dataclass(frozen=True, slots=True)
class RoomAnswer:
    """An answer, and what happens once it is on its way; what the asker says next waits for that."""

    payload: Element | None = None
    then: Callable[[], Awaitable[None] | None] | None = None


@runtime_checkable
class AnswersRooms(Protocol):
    """A module that answers questions to rooms."""

    def room_answers(self) -> Mapping[tuple[str, str], Callable[[RoomRequest], Awaitable[RoomAnswer]]]:
        """By type (``get``, ``set``) and Clark name of the child, what answers it.

        A `StanzaError` that it raises is the refusal.  Everybody may ask: see `Room.affiliation`.
        """


@runtime_checkable
class DescribesRooms(Protocol):
    """A module that tells more of a room in its disco#info."""

    def room_features(self, room: Room) -> Iterable[str]:
        """Features that the room has."""

    def room_info(self, room: Room, asker: JID) -> Iterable[Field]:
        """Fields of the ``muc#roominfo`` form."""


@runtime_checkable
class RoomNodes(Protocol):
    """A module that describes nodes of rooms (XEP-0030)."""

    def room_node_info(self, room: Room, node: str, asker: JID) -> Iterable[Element] | None:
        """Identities and features of a node; None: it is not this module's.

        :raises StanzaError: that is not for the asker.
        """

    def room_node_items(self, room: Room, node: str, asker: JID) -> Iterable[Element] | None:
        """What belongs to a node; None as above."""


@runtime_checkable
class RoomFields(Protocol):
    """A module with fields in the configuration form; what was filled in is in `Options.extra`."""

    def room_fields(self, room: Room) -> Iterable[Field]:
        """The fields, with what holds now."""


@runtime_checkable
class MarksOccupants(Protocol):
    """A module that adds something to what others hear of an occupant."""

    #: Clark names that nobody but the room may send: they are taken out of presence and messages.
    forged: frozenset[str]

    def marks(self, room: Room, occupant: Occupant) -> Iterable[Sealed]:
        """Children for the occupant's presence."""


@runtime_checkable
class Hears(Protocol):
    """A module that has a say in what is said to all."""

    def hears(self, room: Room, occupant: Occupant, stanza: Stanza) -> Stanza:
        """The message to go on with, before the room adds its own.

        :raises StanzaError: it is not said, and its sender learns why.
        """


@runtime_checkable
class Admits(Protocol):
    """A module that may let somebody in who could not enter."""

    def admits(self, room: Room, stanza: Stanza, affiliation: Affiliation) -> Awaitable[Admission | None]:
        """How whoever sent that presence is looked at, before it enters; None: as it is.

        Called for those alone who are no members yet, or do not know the password; the banned stay out.
        Storing an affiliation is the module's business.

        :raises StanzaError: that one does not enter.
        """


@dataclass(frozen=True, slots=True)
class Admission:
    """How somebody is looked at who enters.

    :ivar password: whether it is as if the room's password was given.
    """

    affiliation: Affiliation
    password: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """An account or a domain stands in another of a room's lists; none: in no list."""

    jid: JID
    before: Affiliation
    after: Affiliation


@runtime_checkable
class FollowsAffiliations(Protocol):
    """A module that follows who belongs to a room, and tells those who are in it."""

    def greet(self, room: Room, newcomer: Occupant, join: Stanza) -> None:
        """Tell somebody who has just entered, before anything else is told."""

    def standing(self, room: Room, occupant: Occupant) -> bytes:
        """What stands in the ``<x/>`` of an occupant's own presence."""

    def changed(self, room: Room, changes: Iterable[Change]) -> Mapping[JID, Callable[[Occupant], bytes]]:
        """Affiliations have changed, and are stored, one after the other.

        :returns: by account or domain, what stands in the ``<x/>`` in which an occupant learns of it.
        """


class Seam:
    """Those of a domain's modules that take part."""

    def __init__(self, modules: Iterable[Module]) -> None:
        known = list(modules)
        self._marking = [each for each in known if isinstance(each, MarksOccupants)]
        self.hearing = [each for each in known if isinstance(each, Hears)]
        self.admitting = [each for each in known if isinstance(each, Admits)]
        self.describing = [each for each in known if isinstance(each, DescribesRooms)]
        self.noding = [each for each in known if isinstance(each, RoomNodes)]
        self.following = [each for each in known if isinstance(each, FollowsAffiliations)]
        self.adding = [each for each in known if isinstance(each, RoomFields)]
        self.forged = frozenset[str]().union(*(each.forged for each in self._marking))
        self.answers: dict[tuple[str, str], Callable[[RoomRequest], Awaitable[RoomAnswer]]] = {}
        for each in known:
            if isinstance(each, AnswersRooms):
                self.answers.update(each.room_answers())

    def changed(self, room: Room, changes: Iterable[Change]) -> Mapping[JID, Callable[[Occupant], bytes]]:
        """See `FollowsAffiliations`: what the last module says that has something to say."""
        found: dict[JID, Callable[[Occupant], bytes]] = {}
        for each in self.following:
            found.update(each.changed(room, changes))
        return found

    def standing(self, room: Room, occupant: Occupant) -> bytes:
        """See `FollowsAffiliations`."""
        return b"".join([each.standing(room, occupant) for each in self.following])

    def marks(self, room: Room, occupant: Occupant) -> tuple[tuple[str, ...], bytes]:
        """What modules add to an occupant's presence: names and bytes."""
        if not self._marking:
            return (), b""
        found = [mark for each in self._marking for mark in each.marks(room, occupant)]
        return tuple(mark.tag for mark in found), b"".join(mark.data for mark in found)
