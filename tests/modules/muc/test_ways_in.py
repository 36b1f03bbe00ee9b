"""Ways into a room: invitations, registration, asking for voice (XEP-0045 §7.8, §7.10, §7.13, §8.6, §9.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.client import condition
from tests.modules.muc.play import (
    MUC,
    ROOM,
    affiliate,
    create,
    enter,
    find,
    give_role,
    heard_by,
    join,
    standing,
    texts,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing.client import Client

JULIET, NURSE, ROMEO = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"


def to_room(who: Client, inside: str) -> str:
    """Send the room what is not for all; the condition with which it is refused."""
    who.send(f"<message to='{ROOM}' id='w'>{inside}</message>")
    errors = [condition(each) for each in who.heard if each.get("type") == "error"]
    who.heard = [each for each in who.heard if each.get("type") != "error"]
    return errors[0] if errors else ""


def invite(who: Client, *whom: str) -> str:
    inside = "<reason>A feast</reason><continue thread='t1'/>"
    invites = "".join(f"<invite to='{each}'>{inside}</invite>" for each in whom)
    return to_room(who, f"<x xmlns='{MUC}#user'>{invites}</x>")


def form(kind: str, **fields: str) -> str:
    filled = "".join(
        f"<field var='muc#{name.replace('__', '_')}'><value>{value}</value></field>"
        for name, value in fields.items()
    )
    kind = f"<field var='FORM_TYPE'><value>{MUC}#{kind}</value></field>"
    return f"<x xmlns='jabber:x:data' type='submit'>{kind}{filled}</x>"


# -- invitations ----------------------------------------------------------------------------------------


def test_an_invitation_goes_through_the_room_with_its_password(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", passwordprotectedroom="1", roomsecret="rose")
    assert invite(romeo, JULIET) == ""
    [heard] = heard_by(juliet)
    assert (heard.get("from"), heard.get("id")) == (ROOM, "w")
    [invited] = find(heard, "u:x/u:invite")
    assert (invited.get("from"), invited.get("to")) == (ROMEO, None)
    assert invited.findtext("{*}reason") == "A feast"
    assert texts(invited, "u:continue/@thread") == ["t1"]
    assert texts(heard, "u:x/u:password/text()") == ["rose"]
    enter(juliet, "Juliet", "<password>rose</password>")


def test_declining_is_told_to_who_is_in_the_room_and_to_nobody_else(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo")
    invite(romeo, JULIET)
    for to in (ROMEO, NURSE, f"{ROOM}/Romeo", f"{ROOM}/Nurse"):
        inside = f"<decline to='{to}'><reason>I am busy</reason></decline>"
        assert to_room(juliet, f"<x xmlns='{MUC}#user'>{inside}</x>") == ""
    told = heard_by(romeo)
    assert [texts(each, "u:x/u:decline/@from") for each in told] == [[JULIET]] * 2
    assert texts(told[0], "u:x/u:decline/u:reason/text()") == ["I am busy"]
    assert heard_by(nurse) == []


def test_who_invites_somebody_that_is_not_there_learns_it(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    invitation = f"<x xmlns='{MUC}#user'><invite to='tybalt@capulet.lit'/></x>"
    romeo.send(f"<message to='{ROOM}' id='i'>{invitation}</message>")
    told = [each for each in heard_by(romeo) if str(each.tag).endswith("message")][-1]
    assert (told.get("from"), told.get("id"), condition(told)) == (ROOM, "i", "service-unavailable")
    assert not [each for each in heard_by(juliet) if each.get("type") == "error"]


def test_who_is_not_in_the_room_invites_nobody_and_nobody_invites_the_banned(
    romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo")
    assert invite(juliet, NURSE) == "not-acceptable"
    affiliate(romeo, NURSE, "outcast")
    assert invite(romeo, NURSE) == "forbidden"
    assert invite(romeo, "@") == "jid-malformed"
    assert invite(romeo, *[NURSE] * 21) == "bad-request"


def test_inviting_into_a_room_for_members_makes_members_if_one_may(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo", membersonly="1")
    assert invite(romeo, JULIET) == ""
    [invitation] = heard_by(juliet)
    assert len(find(invitation, "u:x/u:invite")) == 1
    enter(juliet, "Juliet")
    assert invite(juliet, NURSE) == "forbidden"
    create(romeo, "Romeo", room="cell@rooms.montague.lit")
    assert heard_by(nurse) == []


def test_members_invite_where_the_room_lets_them_and_open_rooms_make_no_members(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo", membersonly="1", allowinvites="1")
    invite(romeo, JULIET)
    juliet.forget()
    enter(juliet, "Juliet")
    assert invite(juliet, NURSE) == ""
    nurse.forget()
    assert standing(enter(nurse, "Nurse")[-2]) == ("member", "participant")


def test_an_invitation_to_an_open_room_makes_nobody_a_member(romeo: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    assert invite(romeo, NURSE) == ""
    nurse.forget()
    assert standing(enter(nurse, "Nurse")[-2]) == ("none", "participant")


# -- voice ----------------------------------------------------------------------------------------------


def test_a_visitor_asks_for_voice_and_a_moderator_gives_it(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo", moderatedroom="1")
    for who in (juliet, nurse):
        enter(who, who.jid.localpart.capitalize())
    for who in (romeo, juliet, nurse):
        who.forget()
    assert to_room(juliet, form("request", role="participant")) == ""
    [asked] = heard_by(romeo)
    values = {each.get("var"): each.findtext("{*}value") for each in find(asked, "x:x[@type='form']/x:field")}
    assert values == {
        "FORM_TYPE": f"{MUC}#request",
        "muc#role": "participant",
        "muc#jid": juliet.jid,
        "muc#roomnick": "Juliet",
        "muc#request_allow": "0",
    }
    assert heard_by(nurse) == []
    answer = {"jid": str(juliet.jid), "roomnick": "Juliet", "role": "participant"}
    assert to_room(romeo, form("request", **answer, request__allow="0")) == ""
    assert to_room(nurse, form("request", **answer, request__allow="1")) == "forbidden"
    assert heard_by(nurse) == []
    assert to_room(romeo, form("request", **answer, request__allow="1")) == ""
    assert [standing(each) for each in heard_by(nurse)] == [("none", "participant")]
    assert to_room(juliet, form("request", role="participant")) == "bad-request"
    stale = answer | {"jid": f"{NURSE}/x"}
    assert to_room(romeo, form("request", **stale, request__allow="1")) == "item-not-found"


def test_forms_that_a_room_does_not_know_are_refused(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", moderatedroom="1")
    assert to_room(juliet, form("request", role="participant")) == "not-acceptable"
    enter(juliet, "Juliet")
    assert to_room(juliet, form("king")) == "bad-request"
    assert to_room(juliet, form("request", role="moderator")) == "not-acceptable"


# -- registration ---------------------------------------------------------------------------------------


def register(who: Client, inside: str = "", kind: str = "set") -> _Element:
    return who.ask(f"<iq type='{kind}' to='{ROOM}'><query xmlns='jabber:iq:register'>{inside}</query></iq>")


def reserved(who: Client) -> list[str]:
    answer = who.ask(
        f"<iq type='get' to='{ROOM}'>"
        "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/></iq>"
    )
    return texts(answer, "*/*[local-name()='identity']/@name")


def test_a_nickname_is_registered_in_an_open_room(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    enter(nurse, "Nurse")
    asked = register(juliet, kind="get")
    assert texts(asked, ".//x:field[x:required]/@var") == ["muc#register_roomnick"]
    assert reserved(juliet) == []
    assert register(juliet, form("register", register__roomnick="Rose")).get("type") == "result"
    assert reserved(juliet) == ["Rose"]
    known = register(juliet, kind="get")
    assert known.findtext("{*}query/{*}username") == "Rose"
    assert known.find("{*}query/{*}registered") is not None
    for taken in ("rose", "Nurse", "Romeo"):
        who = nurse if taken == "rose" else juliet
        assert condition(register(who, form("register", register__roomnick=taken))) == "conflict"
    join(nurse, "Rose")
    assert condition(nurse.heard[-1]) == "conflict"
    assert standing(enter(juliet, "Rose")[-2]) == ("member", "participant")
    assert register(juliet, "<remove/>").get("type") == "result"
    assert reserved(juliet) == []
    assert standing(juliet.next()) == ("none", "participant")


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("", "bad-request"),
        ("<username>Rose</username>", "bad-request"),
        (form("register"), "bad-request"),
        (form("register", register__roomnick="  "), "not-acceptable"),
        (form("request", register__roomnick="Rose"), "bad-request"),
    ],
)
def test_a_registration_is_a_form(romeo: Client, juliet: Client, inside: str, said: str) -> None:
    create(romeo, "Romeo")
    assert condition(register(juliet, inside)) == said


def test_the_banned_do_not_register_and_rooms_that_are_not_there_answer_so(
    romeo: Client, juliet: Client
) -> None:
    assert condition(register(juliet, kind="get")) == "item-not-found"
    create(romeo, "Romeo")
    affiliate(romeo, JULIET, "outcast")
    assert condition(register(juliet, kind="get")) == "not-allowed"
    assert condition(register(juliet, form("register", register__roomnick="Rose"))) == "not-allowed"


@pytest.mark.parametrize("fields", [{"membersonly": "1"}, {"moderatedroom": "1"}])
def test_where_not_everybody_may_speak_admins_decide_who_becomes_a_member(
    romeo: Client, juliet: Client, nurse: Client, fields: dict[str, str]
) -> None:
    create(romeo, "Romeo", **fields)
    assert register(juliet, form("register", register__roomnick="Rose")).get("type") == "result"
    assert reserved(juliet) == []
    [asked] = heard_by(romeo)
    assert texts(asked, ".//x:field[@var='muc#register_roomnick']/x:value/text()") == ["Rose"]
    answer = {"register__jid": JULIET, "register__roomnick": "Rose", "register__allow": "1"}
    affiliate(romeo, NURSE, "member")
    nurse.forget()
    enter(nurse, "Nurse")
    assert to_room(nurse, form("register", **answer)) == "forbidden"
    assert to_room(romeo, form("register", **answer)) == ""
    assert reserved(juliet) == ["Rose"]
    assert to_room(romeo, form("register", **answer)) == "item-not-found"
    juliet.forget()
    enter(juliet, "Rose")


def test_where_nobody_can_decide_nobody_registers(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo", moderatedroom="1", persistentroom="1")
    romeo.send(f"<presence type='unavailable' to='{ROOM}/Romeo'/>")
    assert condition(register(juliet, form("register", register__roomnick="Rose"))) == "not-allowed"


def test_an_admin_has_a_nickname_and_stays_an_admin_without(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    affiliate(romeo, JULIET, "admin")
    assert register(juliet, form("register", register__roomnick="Rose")).get("type") == "result"
    assert register(juliet, "<remove/>").get("type") == "result"
    juliet.forget()
    enter(juliet, "Juliet")
    assert give_role(juliet, "Juliet", "moderator").get("type") == "result"
