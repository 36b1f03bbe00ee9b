"""Roles and affiliations over the wire (XEP-0045 §8.2 to §8.5, §9, §10.3 to §10.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.testing.client import condition
from tests.modules.muc.play import (
    ROOM,
    affiliate,
    ask,
    codes,
    configure,
    create,
    enter,
    find,
    give_role,
    heard_by,
    nick,
    standing,
    texts,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Network
    from jabberd.testing.client import Client

JULIET, NURSE, ROMEO = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"


def stage(romeo: Client, *others: Client, **fields: Any) -> None:
    """All are in the room, which is his, under their capitalised names."""
    create(romeo, "Romeo", **fields)
    for each in others:
        enter(each, each.jid.localpart.capitalize())
    for each in (romeo, *others):
        each.forget()


def listed(who: Client, what: str) -> _Element:
    return ask(who, f"<item {what}/>", "get")


# -- roles ----------------------------------------------------------------------------------------------


def test_a_kick_is_told_first_to_the_one_then_to_who_did_it_then_to_all(
    network: Network, romeo: Client, juliet: Client, nurse: Client
) -> None:
    stage(romeo, juliet, nurse)
    heard: list[tuple[str, str]] = []
    router = network.server("montague.lit").router
    send = router.route

    def watched(stanza: object) -> object:
        if str(getattr(stanza, "attrs", {}).get("from", "")).startswith(ROOM):
            heard.append((stanza.name, stanza.attrs["to"].partition("@")[0]))  # type: ignore[attr-defined]
        return send(stanza)  # type: ignore[arg-type]

    router.route = watched  # type: ignore[method-assign,assignment]
    router.spread = lambda copies: [watched(copy) for copy in copies]  # type: ignore[method-assign,assignment]
    assert give_role(romeo, "Juliet", "none", "<reason>Too late</reason>").get("type") == "result"
    assert heard == [("presence", "juliet"), ("iq", "romeo"), ("presence", "romeo"), ("presence", "nurse")]
    own, hers = juliet.next(), nurse.next()
    assert (codes(own), codes(hers)) == (["110", "307"], ["307"])
    assert (texts(own, "u:x/u:item/u:actor/@nick"), texts(own, "u:x/u:item/u:reason/text()")) == (
        ["Romeo"],
        ["Too late"],
    )
    enter(juliet, "Juliet")


def test_voice_and_moderators(romeo: Client, juliet: Client, nurse: Client) -> None:
    stage(romeo, juliet, nurse, moderatedroom="1")
    for role in ("participant", "moderator", "participant", "visitor"):
        assert give_role(romeo, "Juliet", role, "<reason>So</reason>").get("type") == "result"
        for who in (romeo, juliet, nurse):
            [told] = heard_by(who)
            assert (nick(told), standing(told)) == ("Juliet", ("none", role))
            assert texts(told, "u:x/u:item/u:reason/text()") == ["So"]
    assert give_role(romeo, "Juliet", "visitor").get("type") == "result"
    assert heard_by(nurse) == []


def test_who_is_no_moderator_gives_no_roles_and_nobody_degrades_admins(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    stage(romeo, juliet, nurse)
    assert condition(give_role(juliet, "Nurse", "none")) == "forbidden"
    assert condition(give_role(juliet, "Tybalt", "none")) == "forbidden"
    give_role(romeo, "Juliet", "moderator")
    assert condition(give_role(juliet, "Romeo", "none")) == "not-allowed"
    assert condition(give_role(juliet, "Romeo", "visitor")) == "not-allowed"
    assert condition(give_role(juliet, "Nurse", "moderator")) == "forbidden"
    assert condition(give_role(juliet, "Tybalt", "none")) == "item-not-found"
    assert give_role(juliet, "Nurse", "visitor").get("type") == "result"
    assert give_role(juliet, "Juliet", "none").get("type") == "result"


def test_who_may_not_take_a_voice_is_told_whose(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    for who, name in ((juliet, "Juliet"), (nurse, "Nurse")):
        enter(who, name)
    affiliate(romeo, JULIET, "admin")
    give_role(romeo, "Nurse", "moderator")
    nurse.forget()
    answer = give_role(nurse, "Juliet", "visitor")
    assert condition(answer) == "not-allowed"
    [item] = find(answer, "a:query/a:item")
    assert (item.get("nick"), item.get("role")) == ("Juliet", "visitor")


def test_a_voice_is_kept_across_visits(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo", moderatedroom="1")

    def returns(who: Client, name: str) -> str:
        who.send(f"<presence to='{ROOM}/{name}' type='unavailable'/>")
        return standing(enter(who, name)[-2])[1]

    for who, name in ((juliet, "Juliet"), (nurse, "Nurse")):
        enter(who, name)
    assert (returns(juliet, "Juliet"), returns(nurse, "Nurse")) == ("visitor", "visitor")
    give_role(romeo, "Juliet", "participant")
    give_role(romeo, "Nurse", "moderator")
    assert (returns(juliet, "Juliet"), returns(nurse, "Nurse")) == ("participant", "participant")
    give_role(romeo, "Juliet", "none")  # who is kicked has lost it
    assert standing(enter(juliet, "Juliet")[-2])[1] == "visitor"
    configure(romeo, moderatedroom="0")
    configure(romeo, moderatedroom="1")
    assert returns(romeo, "Romeo") == "moderator"
    affiliate(romeo, JULIET, "member")
    give_role(romeo, "Juliet", "visitor")
    assert returns(juliet, "Juliet") == "visitor"
    affiliate(romeo, JULIET, "none")
    affiliate(romeo, JULIET, "member")
    assert returns(juliet, "Juliet") == "participant"


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ("", "bad-request"),
        ("<item nick='Juliet'/>", "bad-request"),
        ("<item nick='Juliet' role='king'/>", "bad-request"),
        ("<item role='visitor'/>", "bad-request"),
        ("<item nick='Juliet' role='visitor' affiliation='none'/>", "bad-request"),
        ("<item nick='Juliet' role='none'/><item jid='a@b.lit' affiliation='none'/>", "bad-request"),
        ("<item jid='a@b.lit' affiliation='none'/><item nick='Juliet' role='none'/>", "bad-request"),
        ("<item affiliation='member'/>", "bad-request"),
        ("<item nick='Tybalt' affiliation='member'/>", "item-not-found"),
        ("<item jid='@' affiliation='member'/>", "jid-malformed"),
        ("<item jid='b.lit' affiliation='owner'/>", "not-acceptable"),
        ("<item nick='Juliet' role='none'/><item nick='Tybalt' role='none'/>", "item-not-found"),
        ("<item jid='a@b.lit' affiliation='outcast'/><item nick='Romeo' affiliation='none'/>", "conflict"),
        ("".join(f"<item jid='{each}@b.lit' affiliation='member' nick='X'/>" for each in "ac"), "conflict"),
        ("<item jid='romeo@montague.lit' affiliation='outcast'/>", "conflict"),
        ("<item jid='a@b.lit' affiliation='outcast'/>" * 501, "bad-request"),
    ],
)  # fmt: skip
def test_an_order_that_is_wrong_in_one_place_changes_nothing(
    romeo: Client, juliet: Client, items: str, said: str
) -> None:
    stage(romeo, juliet)
    assert condition(ask(romeo, items)) == said
    assert heard_by(juliet) == []
    for affiliation in ("outcast", "member"):
        assert find(listed(romeo, f"affiliation='{affiliation}'"), "a:query/a:item") == []


# -- affiliations ---------------------------------------------------------------------------------------


def test_affiliations_and_what_they_make_of_roles_in_the_room(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    stage(romeo, juliet, nurse)
    for affiliation, role in (
        ("member", "participant"),
        ("admin", "moderator"),
        ("member", "participant"),
        ("owner", "moderator"),
        ("admin", "moderator"),
        ("none", "participant"),
    ):
        assert affiliate(romeo, f"{JULIET}/balcony", affiliation).get("type") == "result"
        for who in (romeo, juliet, nurse):
            assert [standing(each) for each in heard_by(who)] == [(affiliation, role)]


def test_a_ban_puts_out_and_takes_the_nickname(romeo: Client, juliet: Client, nurse: Client) -> None:
    stage(romeo, juliet, nurse)
    affiliate(romeo, JULIET, "member", "nick='Jule'")
    for who in (romeo, juliet, nurse):
        who.forget()
    answer = ask(romeo, f"<item jid='{JULIET}' affiliation='outcast'><reason>Feud</reason></item>")
    assert answer.get("type") == "result"
    for who, own in ((juliet, ["110"]), (nurse, [])):
        [told] = heard_by(who)
        assert (codes(told), standing(told)) == ([*own, "301"], ("outcast", "none"))
    [item] = find(listed(romeo, "affiliation='outcast'"), "a:query/a:item")
    assert (item.get("jid"), item.get("nick"), item.findtext("{*}reason")) == (JULIET, None, "Feud")
    assert find(listed(romeo, "affiliation='member'"), "a:query/a:item") == []
    affiliate(romeo, JULIET, "none")
    enter(juliet, "Juliet")


def test_who_is_no_member_any_more_has_to_leave_a_room_for_members(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo", membersonly="1")
    for who in (juliet, nurse):
        affiliate(romeo, who.jid.bare, "member")
        [invitation] = heard_by(who)
        assert texts(invitation, "u:x/u:invite/@from") == [ROMEO]
        enter(who, who.jid.localpart)
    for who in (romeo, juliet):
        who.forget()
    affiliate(romeo, JULIET, "none")
    assert [(codes(each), standing(each)) for each in heard_by(juliet)] == [
        (["110", "321"], ("none", "none"))
    ]
    assert [codes(each) for each in heard_by(romeo)] == [["321"]]


def test_admins_ban_and_make_members_but_no_admins(romeo: Client, juliet: Client, nurse: Client) -> None:
    stage(romeo, juliet, nurse)
    for affiliation in ("member", "outcast", "none"):
        assert condition(affiliate(juliet, NURSE, affiliation)) == "forbidden"
    affiliate(romeo, JULIET, "admin")
    assert affiliate(juliet, NURSE, "member").get("type") == "result"
    assert condition(affiliate(juliet, NURSE, "admin")) == "forbidden"
    assert condition(affiliate(juliet, ROMEO, "outcast")) == "not-allowed"
    assert condition(affiliate(juliet, ROMEO, "none")) == "forbidden"
    assert condition(affiliate(juliet, JULIET, "outcast")) == "conflict"
    assert affiliate(juliet, NURSE, "outcast").get("type") == "result"


def test_a_room_has_an_owner_as_long_as_it_exists(romeo: Client, juliet: Client) -> None:
    stage(romeo, juliet)
    assert condition(affiliate(romeo, ROMEO, "admin")) == "conflict"
    affiliate(romeo, JULIET, "owner")
    assert affiliate(romeo, ROMEO, "admin").get("type") == "result"
    assert condition(affiliate(romeo, JULIET, "none")) == "forbidden"


def test_those_who_see_addresses_learn_of_changes_for_the_absent_and_so_do_these(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    stage(romeo, juliet)
    affiliate(romeo, NURSE, "member")
    [told] = heard_by(romeo)
    assert (standing(told), texts(told, "u:x/u:item/@jid")) == (("member", "none"), [NURSE])
    assert heard_by(juliet) == []
    assert [(each.get("from"), codes(each)) for each in heard_by(nurse)] == [(ROOM, ["101"])]
    affiliate(romeo, NURSE, "outcast")
    assert heard_by(nurse) == []


def test_an_admin_need_not_be_in_the_room(romeo: Client, juliet: Client, nurse: Client) -> None:
    stage(romeo, juliet, persistentroom="1")
    affiliate(romeo, NURSE, "admin")
    assert give_role(nurse, "Juliet", "none").get("type") == "result"
    romeo.send(f"<presence type='unavailable' to='{ROOM}/Romeo'/>")
    assert affiliate(nurse, JULIET, "outcast").get("type") == "result"
    assert texts(listed(nurse, "affiliation='outcast'"), "a:query/a:item/@jid") == [JULIET]


def test_there_are_so_many_affiliations(network: Network) -> None:
    network.serve("verona.lit", services={"r.verona.lit": {"disco": {}, "muc": {"affiliations": 2}}})
    escalus = network.client("escalus@verona.lit/palace")
    room = "square@r.verona.lit"
    create(escalus, "E", room=room)
    items = [f"<item jid='{name}@verona.lit' affiliation='member'/>" for name in ("page", "guard")]
    assert ask(escalus, items[0], room=room).get("type") == "result"
    assert condition(ask(escalus, items[1], room=room)) == "resource-constraint"


# -- lists ----------------------------------------------------------------------------------------------


def test_who_sees_which_list(romeo: Client, juliet: Client, nurse: Client) -> None:
    stage(romeo, juliet, nurse)
    affiliate(romeo, JULIET, "admin")
    kinds = [f"affiliation='{each}'" for each in ("owner", "admin", "member", "outcast")]
    kinds += [f"role='{each}'" for each in ("moderator", "participant", "visitor")]
    seen = {
        who.jid.localpart: [condition(listed(who, kind)) or "seen" for kind in kinds]
        for who in (romeo, juliet, nurse)
    }
    assert seen == {
        "romeo": ["seen"] * 7,
        "juliet": ["forbidden"] * 2 + ["seen"] * 5,
        "nurse": ["forbidden"] * 7,
    }
    affiliate(romeo, JULIET, "none")
    give_role(romeo, "Juliet", "moderator")
    assert [condition(listed(juliet, kind)) or "seen" for kind in kinds] == [
        *["forbidden"] * 5,
        "seen",
        "seen",
    ]
    assert condition(listed(romeo, "affiliation='none'")) == "bad-request"
    assert condition(listed(romeo, "")) == "bad-request"


def test_where_addresses_are_no_secret_occupants_and_members_see_who_belongs_to_the_room(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    stage(romeo, juliet, whois="anyone")
    affiliate(romeo, NURSE, "member")
    for who in (juliet, nurse):
        assert texts(listed(who, "affiliation='member'"), "a:query/a:item/@jid") == [NURSE]
        assert texts(listed(who, "affiliation='owner'"), "a:query/a:item/@jid") == [ROMEO]
        assert condition(listed(who, "affiliation='outcast'")) == "forbidden"
    configure(romeo, getmemberlist=["moderator"])
    assert condition(listed(juliet, "affiliation='member'")) == "forbidden"


def test_a_list_of_roles_tells_everything_of_each(romeo: Client, juliet: Client) -> None:
    stage(romeo, juliet)
    [item] = find(listed(romeo, "role='participant'"), "a:query/a:item")
    assert dict(item.attrib) == {
        "nick": "Juliet",
        "role": "participant",
        "affiliation": "none",
        "jid": juliet.jid,
    }
