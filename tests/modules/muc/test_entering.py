"""Making rooms, entering and leaving them, nicknames (XEP-0045 §7.2, §7.6, §7.7, §7.14, §10.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.testing.client import condition
from tests.modules.muc.play import (
    ROOM,
    codes,
    configure,
    create,
    enter,
    find,
    heard_by,
    join,
    nick,
    say,
    standing,
    texts,
)

if TYPE_CHECKING:
    from jabberd.testing.client import Client


def test_who_enters_first_makes_the_room_and_owns_it(romeo: Client, juliet: Client) -> None:
    own, subject = enter(romeo, "Romeo")
    assert (standing(own), codes(own)) == (("owner", "moderator"), ["110", "201"])
    assert subject.findtext("{*}subject") == ""
    join(juliet, "Juliet")
    assert condition(juliet.next()) == "item-not-found"
    assert configure(romeo).get("type") == "result"
    assert [nick(each) for each in enter(juliet, "Juliet")] == ["Romeo", "Juliet", ""]
    assert [nick(each) for each in heard_by(romeo)] == ["Juliet"]


def test_a_newcomer_is_told_all_in_order(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    say(juliet, "Who's there?")
    romeo.send(f"<message to='{ROOM}' type='groupchat'><subject>Love</subject></message>")
    heard = enter(nurse, "Nurse")
    assert [(each.tag.partition("}")[2], nick(each)) for each in heard] == [
        ("presence", "Romeo"),
        ("presence", "Juliet"),
        ("presence", "Nurse"),
        ("message", "Juliet"),
        ("message", "Romeo"),
    ]
    assert standing(heard[1]) == ("none", "participant")
    assert heard[2].get("id") == "in"
    assert texts(heard[3], "d:delay/@from") == [ROOM]
    assert heard[4].findtext("{*}subject") == "Love"
    assert texts(heard[4], "d:delay/@from") == [ROOM]


def test_leaving(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    juliet.send(f"<presence type='unavailable' to='{ROOM}/Juliet'><status>anon</status></presence>")
    [own], [his] = heard_by(juliet), heard_by(romeo)
    assert (own.get("type"), standing(own), codes(own)) == ("unavailable", ("none", "none"), ["110"])
    assert (his.get("type"), codes(his), his.findtext("{*}status")) == ("unavailable", [], "anon")
    assert find(his, "u:x/u:item/@jid")
