"""Slow mode (XEP-0500)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.modules.muc_slow import SlowMode
from jabberd.testing.client import condition
from tests.modules.muc.play import (
    ROOM,
    ROOMS,
    affiliate,
    ask,
    codes,
    configure,
    create,
    enter,
    find,
    heard_by,
    say,
    texts,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Network
    from jabberd.testing.client import Client

VALIDATE = "{http://jabber.org/protocol/xdata-validate}"
INFO = f"<iq type='get' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"


@pytest.fixture
def modules() -> dict[str, dict[str, object]]:
    return {"muc_slow": {}}


def said(who: Client) -> list[str]:
    return [text for each in heard_by(who) for text in texts(each, "c:body/text()")]


def refusal(who: Client) -> _Element:
    [error] = [each for each in heard_by(who) if each.get("type") == "error"]
    return error


def test_an_owner_says_how_slow_a_room_is_and_everybody_can_know(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    [field] = find(ask(romeo, "", "get", "owner"), ".//x:field[@var='muc#roomconfig_slow_mode_duration']")
    assert (field.get("type"), texts(field, "x:value/text()")) == ("text-single", ["0"])
    validate = field.find(f"{VALIDATE}validate")
    assert validate is not None
    assert validate.get("datatype") == "xs:integer"
    assert [each.get("min") for each in validate] == ["0"]
    heard_by(juliet)
    assert configure(romeo, slow_mode_duration="20").get("type") == "result"
    assert [codes(each) for each in heard_by(juliet)] == [["104"]]
    [told] = find(juliet.ask(INFO), ".//x:field[@var='muc#roominfo_slow_mode_duration']")
    assert (told.get("type"), texts(told, "x:value/text()")) == ("text-single", ["20"])


def test_what_is_no_duration_is_refused(romeo: Client) -> None:
    create(romeo, "Romeo")
    for wrong in ("-1", "soon", "21601", "9" * 30, ""):
        assert condition(configure(romeo, slow_mode_duration=wrong)) == "not-acceptable", wrong


def test_who_speaks_too_soon_learns_how_long_to_wait(
    network: Network, romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo", slow_mode_duration="20")
    enter(juliet, "Juliet")
    enter(nurse, "Nurse")
    heard_by(romeo)
    say(juliet, "Ay me!")
    network.advance(5.5)
    say(juliet, "O Romeo")
    error = refusal(juliet)
    assert (condition(error), texts(error, "c:error/@type")) == ("policy-violation", ["wait"])
    assert "20 seconds" in texts(error, "c:error/s:text/text()")[0]
    assert "in 15 s" in texts(error, "c:error/s:text/text()")[0]
    say(nurse, "Madam!")
    assert said(romeo) == ["Ay me!", "Madam!"]
    network.advance(14.5)
    say(juliet, "Romeo")
    assert said(romeo) == ["Romeo"]


def test_another_session_or_nickname_of_the_account_waits_too(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo", slow_mode_duration="20")
    for resource in ("balcony", "garden"):
        who = network.client(f"juliet@capulet.lit/{resource}")
        enter(who, resource)
        say(who, resource)
    assert condition(refusal(who)) == "policy-violation"
    assert said(romeo) == ["balcony"]


def test_admins_and_owners_and_what_has_no_body_wait_for_nobody(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", slow_mode_duration="20")
    enter(juliet, "Juliet")
    say(romeo, "He jests")
    say(romeo, "at scars")
    affiliate(romeo, "juliet@capulet.lit", "admin")
    say(juliet, "Ay me!")
    say(juliet, "O Romeo")
    affiliate(romeo, "juliet@capulet.lit", "none")
    typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
    juliet.send(f"<message to='{ROOM}' type='groupchat'>{typing}</message>")
    assert not [each for each in heard_by(juliet) if each.get("type") == "error"]
    assert said(romeo) == ["He jests", "at scars", "Ay me!", "O Romeo"]


def become(network: Network, **settings: int) -> None:
    """Follow other settings, as after a reload."""
    module = network.server("montague.lit").hosts[ROOMS].manager.module("muc_slow")
    assert isinstance(module, SlowMode)
    before, module.config = module.config, SlowMode.Config(**settings)
    module.reconfigured(before)


def duration(who: Client) -> list[str]:
    return texts(who.ask(INFO), ".//x:field[@var='muc#roominfo_slow_mode_duration']/x:value/text()")


def test_an_owner_who_sends_the_field_back_as_it_was_has_not_said_anything(
    network: Network, romeo: Client
) -> None:
    create(romeo, "Romeo", roomname="Orchard", slow_mode_duration="0")
    configure(romeo, roomname="Garden")
    become(network, usual=5)
    assert duration(romeo) == ["5"]
    configure(romeo, slow_mode_duration="0")
    assert duration(romeo) == ["0"]
    configure(romeo, roomname="Orchard")
    become(network, usual=7)
    assert duration(romeo) == ["0"]


def test_where_an_operator_changes_the_duration_those_who_are_there_learn_it(
    network: Network, romeo: Client
) -> None:
    other = f"cell@{ROOMS}"
    create(romeo, "Romeo")
    create(romeo, "Romeo", other, slow_mode_duration="20")
    changes: tuple[tuple[dict[str, int], str], ...] = (
        ({"usual": 5}, ROOM),
        ({"usual": 5, "most": 10}, other),
        ({"most": 10}, ROOM),
    )
    for settings, room in changes:
        become(network, **settings)
        [told] = heard_by(romeo)
        assert (codes(told), told.get("from")) == (["104"], room)


def test_another_room_of_the_name_has_forgotten_who_spoke(romeo: Client, juliet: Client) -> None:
    for _ in range(2):
        create(romeo, "Romeo", slow_mode_duration="20")
        enter(juliet, "Juliet")
        say(juliet, "Ay me!")
        assert said(juliet) == ["Ay me!"]
        ask(romeo, "<destroy/>", part="owner")
        heard_by(juliet)
