"""Those who were told to be silent, or that there is no place, and try another way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, fail

from jabberd.api import JID
from jabberd.interfaces import StorageError
from jabberd.modules.muc import Rooms
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.modules.muc.play import (
    MUC,
    ROOM,
    ROOMS,
    affiliate,
    configure,
    create,
    enter,
    give_role,
    heard_by,
    join,
    say,
)

if TYPE_CHECKING:
    from jabberd.testing import Network
    from jabberd.testing.client import Client

JULIET, NURSE, ROMEO = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"


def rooms(network: Network) -> Rooms:
    found = network.server("montague.lit").hosts[ROOMS].manager.module("muc")
    assert isinstance(found, Rooms)
    return found


@pytest.fixture
def silent(romeo: Client, juliet: Client) -> Client:
    """Juliet, whose voice was taken in a room where everybody has one."""
    create(romeo, "Romeo", persistentroom="1")
    enter(juliet, "Juliet")
    assert give_role(romeo, "Juliet", "visitor").get("type") == "result"
    juliet.forget()
    return juliet


def register(who: Client, name: str = "") -> str:
    """Register with that nickname or, without one, no more; how that was refused."""
    field = f"<field var='muc#register_roomnick'><value>{name}</value></field>"
    inside = f"<x xmlns='jabber:x:data' type='submit'>{field}</x>" if name else "<remove/>"
    query = f"<query xmlns='jabber:iq:register'>{inside}</query>"
    return condition(who.ask(f"<iq type='set' to='{ROOM}'>{query}</iq>"))


def is_heard(who: Client) -> bool:
    who.forget()
    say(who, "I am not silent")
    return not [each for each in heard_by(who) if condition(each)]


@pytest.mark.parametrize("name", ["Juliet", "Rose"])
def test_no_other_session_has_the_voice_that_was_taken(network: Network, silent: Client, name: str) -> None:
    other = network.client(f"{JULIET}/garden")
    enter(other, name)
    assert not is_heard(other)
    assert not is_heard(silent)


def test_who_registers_has_no_voice_by_that(silent: Client) -> None:
    register(silent, "Rose")
    assert not is_heard(silent)


def test_who_gives_membership_back_has_no_voice_by_that(silent: Client, romeo: Client) -> None:
    affiliate(romeo, JULIET, "member")
    give_role(romeo, "Juliet", "visitor")
    assert register(silent) == ""
    assert not is_heard(silent)


def test_who_leaves_registers_and_comes_again_has_no_voice_by_that(silent: Client) -> None:
    silent.send(f"<presence type='unavailable' to='{ROOM}/Juliet'/>")
    register(silent, "Rose")
    enter(silent, "Rose")
    assert not is_heard(silent)


def test_one_account_takes_no_more_places_than_there_are(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo", maxusers="2")
    first, second, third = (network.client(f"{JULIET}/{place}") for place in ("a", "b", "c"))
    enter(first, "Juliet")
    enter(second, "Juliet")
    join(third, "Rose")
    assert [condition(each) for each in heard_by(third)] == ["service-unavailable"]


def full(*_: object, **__: object) -> Deferred[None]:
    return fail(StorageError("the disk is full"))


@pytest.mark.parametrize("step", ["room", "redirect"])
def test_a_room_that_cannot_be_stored_is_as_before(
    network: Network,
    romeo: Client,
    juliet: Client,
    monkeypatch: pytest.MonkeyPatch,
    logged_errors: Any,
    step: str,
) -> None:
    enter(romeo, "Romeo")
    service = rooms(network).service
    with monkeypatch.context() as patch:
        if step == "room":
            patch.setattr(service.rooms, "save", full)
        else:
            patch.setattr(service.redirects._kept, "change", full)
        assert condition(configure(romeo, roomowners=[JULIET], persistentroom="1"))
    logged_errors.take(StorageError)
    room = service.rooms.resident[JID.parse(ROOM)]
    assert room.locked
    assert {*room.belongings} == {ROMEO}
    assert done(rooms(network).records.get(ROOM, "")) is None
    join(juliet, "Juliet")
    assert [condition(each) for each in heard_by(juliet)] == ["item-not-found"]
    assert configure(romeo, roomowners=[ROMEO, JULIET]).get("type") == "result"


def test_what_is_said_behind_an_invitation_that_cannot_be_stored_is_heard(
    network: Network,
    romeo: Client,
    juliet: Client,
    nurse: Client,
    monkeypatch: pytest.MonkeyPatch,
    logged_errors: Any,
) -> None:
    """A room is no account: nothing waits for it until the storage is well again."""
    create(romeo, "Romeo", roomowners=[ROMEO, JULIET], membersonly="1")
    enter(juliet, "Juliet")
    romeo.forget()
    with monkeypatch.context() as patch:
        patch.setattr(type(rooms(network).belongings), "change", full)
        invite = f"<x xmlns='{MUC}#user'><invite to='{NURSE}'/></x><body>Come</body>"
        romeo.send(f"<message to='{ROOM}' id='i'>{invite}</message>")
        say(romeo, "Nurse?")
    logged_errors.take(StorageError)
    refused, said = heard_by(romeo)
    assert (refused.get("id"), condition(refused)) == ("i", "resource-constraint")
    assert said.findtext("{*}body") == "Nurse?"
    assert [each.findtext("{*}body") for each in heard_by(juliet)][-1] == "Nurse?"
    assert not heard_by(nurse)
