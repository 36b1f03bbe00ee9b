"""Versions of affiliations (XEP-0463)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.modules.muc_versions import NS
from jabberd.testing.client import condition
from tests.modules.muc.play import (
    ROOM,
    affiliate,
    ask,
    configure,
    create,
    enter,
    find,
    heard_by,
    join,
    nick,
    texts,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing.client import Client

ROMEO, JULIET, NURSE, TYBALT = (
    "romeo@montague.lit",
    "juliet@capulet.lit",
    "nurse@capulet.lit",
    "tybalt@capulet.lit",
)
PRIVATE: dict[str, Any] = {"membersonly": "1", "whois": "anyone", "persistentroom": "1"}


@pytest.fixture
def modules() -> dict[str, dict[str, object]]:
    return {"muc_versions": {}}


def mav(stanza: _Element) -> tuple[str | None, str | None]:
    """From which version to which it leads."""
    [found] = find(stanza, f"u:x/*[namespace-uri()='{NS}']")
    return found.get("since"), found.get("until")


def items(stanza: _Element) -> dict[str, str]:
    return {each.get("jid", ""): each.get("affiliation", "") for each in find(stanza, "u:x/u:item")}


def come(who: Client, nickname: str, since: str | None = None) -> tuple[list[_Element], str]:
    """Enter and ask what has changed: the messages before all presence, and the version."""
    attr = "" if since is None else f" since='{since}'"
    who.forget()
    heard = enter(who, nickname, f"<mav xmlns='{NS}'{attr}/>")
    first = next(n for n, each in enumerate(heard) if str(each.tag).endswith("}presence"))
    [own] = [each for each in heard if find(each, "u:x/u:status[@code='110']")]
    since, until = mav(own)
    assert since is None
    assert until
    return heard[:first], until


def leave(who: Client, nickname: str) -> None:
    who.send(f"<presence to='{ROOM}/{nickname}' type='unavailable'/>")
    who.forget()


def test_a_room_says_that_it_can_do_it(romeo: Client) -> None:
    create(romeo, "Romeo")
    info = romeo.ask(
        f"<iq type='get' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    assert NS in [each.get("var") for each in info[0]]


def test_who_asks_for_the_first_time_gets_all_lists_before_anything_else(
    romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo", **PRIVATE)
    for jid, each in ((JULIET, "member"), (NURSE, "admin"), (TYBALT, "outcast")):
        affiliate(romeo, jid, each)
    [told], version = come(juliet, "Juliet")
    assert mav(told) == (None, version)
    assert (told.get("from"), told.get("type")) == (ROOM, None)
    assert items(told) == {
        ROMEO: "owner",
        NURSE: "admin",
        JULIET: "member",
    }  # not who is banned: she is no admin
    leave(romeo, "Romeo")
    [told], _ = come(romeo, "Romeo")
    assert items(told)[TYBALT] == "outcast"


def test_who_comes_back_hears_what_has_changed_or_nothing(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", **PRIVATE)
    affiliate(romeo, JULIET, "member")
    affiliate(romeo, NURSE, "member")
    _, first = come(juliet, "Juliet")
    leave(juliet, "Juliet")
    assert come(juliet, "Juliet", first) == ([], first)
    leave(juliet, "Juliet")
    affiliate(romeo, NURSE, "none")
    affiliate(romeo, TYBALT, "admin")
    affiliate(romeo, "paris@verona.lit", "member")
    affiliate(romeo, "paris@verona.lit", "none")
    [told], second = come(juliet, "Juliet", first)
    assert mav(told) == (first, second)
    assert items(told) == {NURSE: "none", TYBALT: "admin"}


def test_a_version_that_is_not_known_is_answered_by_all_lists(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", **PRIVATE)
    affiliate(romeo, JULIET, "member")
    [told], version = come(juliet, "Juliet", "9pacabr2q1")
    assert mav(told) == (None, version)
    assert items(told) == {ROMEO: "owner", JULIET: "member"}


def test_each_change_says_from_which_version_to_which_it_leads(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo", **PRIVATE)
    affiliate(romeo, JULIET, "member")
    affiliate(romeo, NURSE, "member")
    _, version = come(juliet, "Juliet")
    enter(nurse, "Nurse")
    heard_by(juliet)
    ask(romeo, f"<item jid='{TYBALT}' affiliation='member'/><item jid='{NURSE}' affiliation='admin'/>")
    presence, message = heard_by(juliet)
    assert (nick(presence), items(message)) == ("Nurse", {TYBALT: "member"})
    assert mav(message)[0] == version
    assert mav(message)[1] == mav(presence)[0]
    leave(juliet, "Juliet")
    assert come(juliet, "Juliet", mav(presence)[1])[0] == []


def test_a_ban_and_an_invitation_are_told_with_their_versions(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo", **PRIVATE)
    affiliate(romeo, JULIET, "member")
    affiliate(romeo, NURSE, "member")
    _, version = come(juliet, "Juliet")
    enter(nurse, "Nurse")
    heard_by(juliet)
    affiliate(romeo, NURSE, "outcast")
    [gone] = heard_by(juliet)
    assert mav(gone)[0] == version
    invite = f"<x xmlns='http://jabber.org/protocol/muc#user'><invite to='{TYBALT}'/></x>"
    romeo.send(f"<message to='{ROOM}'>{invite}</message>")
    [told] = heard_by(juliet)
    assert items(told) == {TYBALT: "member"}
    assert mav(told)[0] == mav(gone)[1]


def test_who_may_not_see_the_lists_is_told_so_and_gets_no_version(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    join(juliet, "Juliet", f"<mav xmlns='{NS}'/>")
    refused, *presences, _ = heard_by(juliet)
    assert (condition(refused), refused.get("type"), refused.get("from")) == ("forbidden", "error", ROOM)
    assert [nick(each) for each in presences] == ["Romeo", "Juliet"]
    heard_by(romeo)
    affiliate(romeo, JULIET, "member")
    assert not any(find(each, f".//*[namespace-uri()='{NS}']") for each in [*presences, *heard_by(juliet)])


def test_lists_that_somebody_may_not_see_do_not_show_in_what_has_changed(
    romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo", **PRIVATE)
    affiliate(romeo, JULIET, "member")
    _, version = come(juliet, "Juliet")
    leave(juliet, "Juliet")
    affiliate(romeo, TYBALT, "outcast")
    assert come(juliet, "Juliet", version) == ([], version)
    leave(juliet, "Juliet")
    affiliate(romeo, TYBALT, "member")
    affiliate(romeo, NURSE, "outcast")
    [told], _ = come(juliet, "Juliet", version)
    assert items(told) == {TYBALT: "member"}


def test_a_version_is_the_same_when_the_room_comes_into_memory_again(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", **PRIVATE)
    affiliate(romeo, JULIET, "member")
    _, version = come(juliet, "Juliet")
    for who, nickname in ((juliet, "Juliet"), (romeo, "Romeo")):
        leave(who, nickname)
    assert come(juliet, "Juliet", version) == ([], version)


def test_many_items_come_in_several_messages_that_fit_together(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", **PRIVATE)
    ask(romeo, "".join(f"<item jid='m{n}@verona.lit' affiliation='member'/>" for n in range(450)))
    affiliate(romeo, JULIET, "member")
    told, version = come(juliet, "Juliet")
    assert len(told) == 3
    assert mav(told[0])[0] is None
    assert [mav(each)[1] for each in told[:-1]] == [mav(each)[0] for each in told[1:]]
    assert mav(told[-1])[1] == version
    assert sum(len(items(each)) for each in told) == 452


def test_nobody_else_sees_that_somebody_asked(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", **PRIVATE)
    affiliate(romeo, JULIET, "member")
    heard_by(romeo)
    come(juliet, "Juliet")
    assert not any(texts(each, f".//*[namespace-uri()='{NS}']/@since") for each in heard_by(romeo))


class TestOff:
    """Without the module."""

    @pytest.fixture
    def modules(self) -> dict[str, dict[str, object]]:
        return {}

    def test_nothing_is_told(self, romeo: Client) -> None:
        heard = enter(romeo, "Romeo", f"<mav xmlns='{NS}'/>")
        configure(romeo)
        assert not any(find(each, f".//*[namespace-uri()='{NS}']") for each in heard)
