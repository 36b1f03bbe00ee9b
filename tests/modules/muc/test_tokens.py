"""Tokens that let strangers in (XEP-0488)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.api import JID, Refused
from jabberd.modules.muc_tokens import NS, Tokens
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
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
    join,
    standing,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Network
    from jabberd.testing.client import Client

JULIET, NURSE = "juliet@capulet.lit", "nurse@capulet.lit"


@pytest.fixture
def modules() -> dict[str, dict[str, object]]:
    return {"muc_tokens": {}}


def asked(who: Client, inside: str, kind: str = "set") -> _Element:
    return who.ask(f"<iq type='{kind}' to='{ROOM}'>{inside}</iq>")


def token_for(who: Client, **limits: int) -> str:
    attrs = "".join(f" {name}='{value}'" for name, value in limits.items())
    answer = asked(who, f"<request xmlns='{NS}'{attrs}/>")
    return answer.findtext(f"{{{NS}}}token") or ""


def revoke(who: Client, token: str) -> _Element:
    return asked(who, f"<revoke xmlns='{NS}'>{token}</revoke>")


def listed(who: Client) -> dict[str, dict[str, str]]:
    answer = asked(who, f"<tokens xmlns='{NS}'/>", "get")
    return {each.text or "": {str(k): str(v) for k, v in each.attrib.items()} for each in answer[0]}


def come(who: Client, nick: str, token: str = "") -> str:
    """Come in with a token: the affiliation, or why not."""
    join(who, nick, f"<password>{token}</password>" if token else "")
    heard = heard_by(who)
    own = [each for each in heard if find(each, "u:x/u:status[@code='110']")]
    return standing(own[0])[0] if own else condition(heard[-1])


def leave(who: Client, nick: str) -> None:
    who.send(f"<presence to='{ROOM}/{nick}' type='unavailable'/>")
    who.forget()


def test_a_stranger_enters_a_room_for_members_with_a_token_and_is_one(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", membersonly="1")
    assert come(juliet, "Juliet") == "registration-required"
    token = token_for(romeo)
    assert len(token) == 32
    assert come(juliet, "Juliet", token) == "member"
    leave(juliet, "Juliet")
    revoke(romeo, token)
    assert come(juliet, "Juliet") == "member"


def test_a_token_stands_for_the_password(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", passwordprotectedroom="1", roomsecret="rose")
    token = token_for(romeo, counter=1)
    assert come(juliet, "Juliet", "thorn") == "not-authorized"
    assert come(juliet, "Juliet", token) == "member"
    leave(juliet, "Juliet")
    revoked = token_for(romeo)
    revoke(romeo, revoked)
    assert come(juliet, "Juliet", revoked) == "not-authorized"
    assert come(juliet, "Juliet", "rose") == "member"


def test_a_bookmarked_token_still_stands_for_the_password_and_is_not_used_up(
    romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo", passwordprotectedroom="1", roomsecret="rose")
    token = token_for(romeo, counter=2)
    for _ in range(3):
        assert come(juliet, "Juliet", token) == "member"
        leave(juliet, "Juliet")
    assert listed(romeo)[token]["counter"] == "1"


def test_a_token_lets_so_many_in_and_not_longer_than_it_may(
    network: Network, romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo", membersonly="1")
    once, soon = token_for(romeo, counter=1), token_for(romeo, delay=60)
    assert listed(romeo)[soon]["delay"] == "60"
    assert come(juliet, "Juliet", once) == "member"
    assert come(nurse, "Nurse", once) == "not-authorized"
    network.advance(61)
    join(nurse, "Nurse", f"<password>{soon}</password>")
    [error] = heard_by(nurse)
    assert condition(error) == "not-authorized"
    assert find(error, f"c:error/*[namespace-uri()='{NS}' and local-name()='expired-token']")
    assert listed(romeo) == {}


def test_the_service_says_how_long_and_for_how_many_a_token_is(romeo: Client) -> None:
    create(romeo, "Romeo", membersonly="1")
    answer = asked(romeo, f"<request xmlns='{NS}' delay='2678400' counter='5'/>")
    assert (answer[0].get("delay"), answer[0].get("counter")) == ("604800", "5")
    for wrong in ("counter='0'", "counter='-1'", "delay='soon'", "delay='4294967296'"):
        assert condition(asked(romeo, f"<request xmlns='{NS}' {wrong}/>")) == "bad-request", wrong


def test_only_those_who_may_invite_make_list_and_revoke_tokens(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", membersonly="1")
    affiliate(romeo, JULIET, "member")
    mine = token_for(romeo)
    for kind, inside in (("set", "request"), ("get", "tokens"), ("set", "revoke")):
        assert condition(asked(juliet, f"<{inside} xmlns='{NS}'/>", kind)) == "forbidden", inside
    configure(romeo, allowinvites="1")
    hers = token_for(juliet)
    assert list(listed(juliet)) == [hers]
    assert {word: each["creator"] for word, each in listed(romeo).items()} == {
        mine: "romeo@montague.lit",
        hers: JULIET,
    }
    assert condition(revoke(juliet, mine)) == "item-not-found"
    assert condition(revoke(romeo, "nonsense")) == "item-not-found"
    assert revoke(romeo, hers).get("type") == "result"
    assert listed(juliet) == {}


def test_a_token_counts_no_longer_than_who_made_it_may_invite(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo", membersonly="1", allowinvites="1")
    affiliate(romeo, JULIET, "member")
    token = token_for(juliet)
    affiliate(romeo, JULIET, "outcast")
    assert come(nurse, "Nurse", token) == "not-authorized"


def test_the_banned_stay_out_and_members_use_nothing_up(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo", membersonly="1")
    affiliate(romeo, JULIET, "outcast")
    affiliate(romeo, NURSE, "member")
    token = token_for(romeo, counter=7)
    assert come(juliet, "Juliet", token) == "forbidden"
    assert come(nurse, "Nurse", token) == "member"
    assert listed(romeo)[token]["counter"] == "7"


def test_a_wrong_token_closes_no_room_that_is_open(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    token = token_for(romeo, counter=1)
    assert come(juliet, "Juliet", "nonsense") == "none"
    leave(juliet, "Juliet")
    assert come(juliet, "Juliet", token) == "member"


def test_a_room_has_not_more_tokens_than_it_may(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo", membersonly="1")
    for _ in range(100):
        token_for(romeo, delay=60)
    assert condition(asked(romeo, f"<request xmlns='{NS}'/>")) == "resource-constraint"
    network.advance(61)
    assert token_for(romeo)


def test_tokens_go_with_their_room(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", membersonly="1")
    token = token_for(romeo)
    ask(romeo, "<destroy/>", part="owner")
    create(romeo, "Romeo", membersonly="1")
    assert come(juliet, "Juliet", token) == "not-authorized"


def test_a_room_without_configuration_has_no_tokens_yet(network: Network, romeo: Client) -> None:
    enter(romeo, "Romeo")
    assert condition(asked(romeo, f"<request xmlns='{NS}'/>")) == "unexpected-request"
    leave(romeo, "Romeo")
    storage = network.server("montague.lit").hosts[ROOMS].manager.module("muc_tokens")
    assert isinstance(storage, Tokens)
    assert done(storage.kept.all(JID.parse(ROOM))) == {}


async def test_operators_list_and_revoke_tokens(network: Network, romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", membersonly="1")
    token = token_for(romeo, counter=3)
    tokens = network.server("montague.lit").hosts[ROOMS].manager.module("muc_tokens")
    assert isinstance(tokens, Tokens)
    [row] = await tokens.list(JID.parse(ROOM))
    assert (row["token"], row["creator"], row["uses left"]) == (token[:8], "romeo@montague.lit", 3)
    assert await tokens.revoke(JID.parse(ROOM), token[:8]) == "revoked 1"
    assert come(juliet, "Juliet", token) == "not-authorized"
    for refused in (tokens.revoke(JID.parse(ROOM)), tokens.list(JID.parse(f"cell@{ROOMS}"))):
        with pytest.raises(Refused):
            await refused
