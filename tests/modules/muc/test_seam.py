"""Other modules take part in rooms: see the docstring of `jabberd.modules.muc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from jabberd.api import JID, E, Module, Sealed, Stanza, StanzaError, on
from jabberd.loader import module_class
from jabberd.modules.muc import Rooms
from jabberd.modules.muc.events import (
    AffiliationChanged,
    OccupantJoined,
    OccupantLeft,
    RoomConfigured,
    RoomDestroyed,
    RoomMessage,
)
from jabberd.modules.muc.messages import announce
from jabberd.modules.muc.privileges import Affiliation
from jabberd.modules.muc.seam import Admission, RoomAnswer, RoomRequest
from jabberd.operating.change import Change
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from jabberd.xmpp.forms import Field
from tests.modules.muc.play import (
    ROOM,
    ROOMS,
    affiliate,
    ask,
    configure,
    create,
    enter,
    find,
    heard_by,
    say,
    standing,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from jabberd.modules.muc.occupant import Occupant
    from jabberd.modules.muc.room import Room
    from jabberd.testing.client import Client

NS = "urn:example:masks"
MASK = f"{{{NS}}}mask"
LOUD = "{urn:example}loudness"


class Masks(Module):
    """Everybody wears a mask, swearing is refused, and who knows the word comes in."""

    requires = ("muc",)
    forged: ClassVar[frozenset[str]] = frozenset({MASK})

    async def start(self) -> None:
        """Listen."""
        self.seen: list[str] = []

    def room_answers(self) -> Mapping[tuple[str, str], Callable[[RoomRequest], Awaitable[RoomAnswer]]]:
        """How many masks there are; everybody hears that somebody has asked."""
        return {("get", f"{{{NS}}}count"): self.count}

    async def count(self, request: RoomRequest) -> RoomAnswer:
        """As said."""
        room = request.room
        answer = E(NS, "count", None, str(len(room.occupants)))
        return RoomAnswer(answer, lambda: announce(room, E(NS, "asked")))

    def room_features(self, room: Room) -> Iterable[str]:
        """One."""
        return [NS]

    def room_info(self, room: Room, asker: JID) -> Iterable[Field]:
        """One field."""
        return [Field(LOUD, "text-single", "Loudness", room.options.extra.get(LOUD, ()))]

    def room_fields(self, room: Room) -> Iterable[Field]:
        """One field."""
        return [Field(LOUD, "text-single", "Loudness", room.options.extra.get(LOUD, ("soft",)))]

    def marks(self, room: Room, occupant: Occupant) -> Iterable[Sealed]:
        """A mask for each."""
        return [Sealed(MASK, f"<mask xmlns='{NS}' of='{occupant.role.name}'/>".encode())]

    def hears(self, room: Room, occupant: Occupant, stanza: Stanza) -> Stanza:
        """No swearing."""
        if b"moon" in stanza.payload:
            raise StanzaError("policy-violation", "swear not by the moon")
        return stanza

    async def admits(self, room: Room, stanza: Stanza, affiliation: Affiliation) -> Admission | None:
        """Who says the word is a member."""
        return Admission(Affiliation.member) if b"sesame" in stanza.payload else None

    @on(OccupantJoined)
    @on(OccupantLeft)
    @on(RoomMessage)
    @on(AffiliationChanged)
    @on(RoomConfigured)
    @on(RoomDestroyed)
    def see(self, event: object) -> None:
        """Write it down."""
        self.seen.append(type(event).__name__)


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    service: dict[str, dict[str, object]] = {
        "disco": {},
        "muc": {"creators": ["montague.lit", "capulet.lit"]},
        "masks": {},
    }
    network.serve(
        "montague.lit", "capulet.lit", services={ROOMS: service}, classes={"masks": Masks, "muc": Rooms}
    )
    yield network
    network.close()


def test_another_module_answers_questions_and_speaks_for_the_room(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    answer = juliet.ask(f"<iq type='get' to='{ROOM}'><count xmlns='{NS}'/></iq>")
    assert answer.findtext(f"{{{NS}}}count") == "1"
    assert [each.find(f"{{{NS}}}asked") is not None for each in heard_by(romeo)] == [True]


def test_another_module_marks_occupants_and_nobody_else_does(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    forged = f"<mask xmlns='{NS}' of='king'/>"
    juliet.send(f"<presence to='{ROOM}/Juliet'>{forged}</presence>")
    say(juliet, "Ay me!", inside=forged)
    presence, message = heard_by(romeo)
    assert [each.get("of") for each in presence.findall(MASK)] == ["participant"]
    assert message.findall(MASK) == []


def test_another_module_refuses_what_is_said(romeo: Client) -> None:
    create(romeo, "Romeo")
    say(romeo, "Lady, by yonder blessed moon")
    assert condition(romeo.next()) == "policy-violation"


def test_another_module_lets_somebody_in(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", membersonly="1")
    juliet.send(
        f"<presence to='{ROOM}/Juliet'><x xmlns='http://jabber.org/protocol/muc'/><status>sesame</status></presence>"
    )
    assert standing(heard_by(juliet)[1])[1] == "participant"


def test_another_module_has_fields_in_the_form_and_tells_of_them(romeo: Client) -> None:
    create(romeo, "Romeo")
    field = f"<field var='{LOUD}'><value>loud</value></field>"
    filled = f"<x xmlns='jabber:x:data' type='submit'>{field}</x>"
    assert ask(romeo, filled, part="owner").get("type") == "result"
    form = ask(romeo, "", "get", "owner")
    assert texts(form, f".//x:field[@var='{LOUD}']/x:value/text()") == ["loud"]
    info = romeo.ask(
        f"<iq type='get' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    assert texts(info, f".//x:field[@var='{LOUD}']/x:value/text()") == ["loud"]
    assert info.xpath(f"*/*[@var='{NS}']")
    configure(romeo, roomname="x")
    assert texts(ask(romeo, "", "get", "owner"), f".//x:field[@var='{LOUD}']/x:value/text()") == ["loud"]


def test_other_modules_hear_what_happens(network: Network, romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    say(juliet, "Ay me!")
    affiliate(romeo, "juliet@capulet.lit", "outcast")
    ask(romeo, "<destroy/>", part="owner")
    masks = network.server("montague.lit").hosts[ROOMS].manager.module("masks")
    assert isinstance(masks, Masks)
    assert masks.seen == [
        "OccupantJoined",
        "RoomConfigured",
        "OccupantJoined",
        "RoomMessage",
        "OccupantLeft",
        "AffiliationChanged",
        "RoomDestroyed",
        "OccupantLeft",
    ]
    assert find(romeo.heard[-1], "u:x/u:destroy")


def test_modules_come_and_go_while_people_are_in_rooms(network: Network, romeo: Client) -> None:
    def takes_part() -> bool:
        info = romeo.ask(
            f"<iq type='get' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        )
        return bool(info.xpath("*/*[@var='urn:xmpp:hats:0']"))

    def change(*names: str) -> None:
        change = Change(host, {name: module_class(name).Config() for name in names})
        done(change.start())
        change.commit()
        done(change.finish())

    create(romeo, "Romeo")
    host = network.server("montague.lit").hosts[ROOMS]
    assert not takes_part()
    change("disco", "muc", "muc_hats")
    assert takes_part()
    change("disco", "muc")
    assert not takes_part()
