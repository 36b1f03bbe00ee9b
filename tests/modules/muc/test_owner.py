"""Configuring and destroying a room (XEP-0045 §10.1, §10.2, §10.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jabberd.modules.muc import Rooms, moved
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
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
    join,
    nick,
    standing,
    texts,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Network
    from jabberd.testing.client import Client

JULIET, ROMEO = "juliet@capulet.lit", "romeo@montague.lit"
FIELDS = {
    "roomname": "The orchard",
    "roomdesc": "Behind the wall",
    "lang": "en",
    "pubsub": "xmpp:news.montague.lit?;node=orchard",
    "publicroom": "0",
    "persistentroom": "1",
    "membersonly": "1",
    "moderatedroom": "1",
    "whois": "anyone",
    "changesubject": "1",
    "allowinvites": "1",
    "allowpm": "moderators",
    "presencebroadcast": "moderator",
    "getmemberlist": "moderator",
    "enablearchiving": "0",
    "enablelogging": "1",
    "passwordprotectedroom": "1",
    "roomsecret": "rose",
    "maxusers": "37",
}


def shown(who: Client) -> dict[str, list[str]]:
    """The form as it is now, by the last part of the names."""
    answer = ask(who, "", "get", "owner")
    fields = find(answer, "o:query/x:x[@type='form']/x:field")
    return {
        each.get("var", "").rpartition("_")[2]: [str(value.text or "") for value in each.findall("{*}value")]
        for each in fields
    }


def test_every_field_is_kept_and_shown_again(romeo: Client) -> None:
    enter(romeo, "Romeo")
    before = shown(romeo)
    assert configure(romeo, **FIELDS, history="7").get("type") == "result"
    after = shown(romeo)
    assert {name: after[name] for name in FIELDS} == {name: [value] for name, value in FIELDS.items()}
    assert after["muc#maxhistoryfetch"] == ["7"]
    assert (after["roomowners"], after["roomadmins"]) == ([ROMEO], [])
    changed = [name for name, value in FIELDS.items() if before[name] == [value]]
    assert changed == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"passwordprotectedroom": "1"}, "not-acceptable"),
        ({"maxusers": "0"}, "not-acceptable"),
        ({"maxusers": "1001"}, "not-acceptable"),
        ({"maxusers": "many"}, "not-acceptable"),
        ({"history": "51"}, "not-acceptable"),
        ({"history": "-1"}, "not-acceptable"),
        ({"whois": "none"}, "not-acceptable"),
        ({"roomname": "x" * 1001}, "not-acceptable"),
        ({"roomowners": "@"}, "not-acceptable"),
        ({"publicroom": ["1", "0"]}, "bad-request"),
        ({"roomowners": []}, "conflict"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    romeo: Client, fields: dict[str, Any], said: str
) -> None:
    create(romeo, "Romeo")
    before = shown(romeo)
    assert condition(configure(romeo, **fields)) == said
    assert shown(romeo) == before


def test_only_owners_configure_and_destroy(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    affiliate(romeo, JULIET, "admin")
    assert condition(ask(juliet, "", "get", "owner")) == "forbidden"
    assert condition(configure(juliet, roomname="Mine")) == "forbidden"
    assert condition(ask(juliet, "<destroy/>", part="owner")) == "forbidden"
    assert condition(ask(romeo, "", part="owner")) == "bad-request"


def test_cancelling_destroys_a_new_room_and_leaves_another_as_it_was(romeo: Client, juliet: Client) -> None:
    cancel = "<x xmlns='jabber:x:data' type='cancel'/>"
    enter(romeo, "Romeo")
    assert ask(romeo, cancel, part="owner").get("type") == "result"
    [gone] = heard_by(romeo)
    assert (gone.get("type"), len(find(gone, "u:x/u:destroy"))) == ("unavailable", 1)
    create(juliet, "Juliet", roomname="Mine")
    before = shown(juliet)
    assert ask(juliet, cancel, part="owner").get("type") == "result"
    assert shown(juliet) == before


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"roomname": "x"}, ["104"]),
        ({}, {"whois": "anyone"}, ["172"]),
        ({"whois": "anyone"}, {"whois": "moderators"}, ["173"]),
        ({}, {"enablelogging": "1"}, ["170"]),
        ({"enablelogging": "1"}, {"enablelogging": "0"}, ["171"]),
        ({}, {"enablelogging": "1", "whois": "anyone"}, ["170", "172"]),
        ({}, {}, None),
    ],
)
def test_everybody_learns_what_has_changed(
    romeo: Client, juliet: Client, before: dict[str, str], after: dict[str, str], told: list[str] | None
) -> None:
    create(romeo, "Romeo", **before)
    enter(juliet, "Juliet")
    configure(romeo, **after)
    heard = heard_by(juliet)
    assert [codes(each) for each in heard] == ([] if told is None else [told])
    assert {(each.get("from"), each.get("type")) for each in heard} <= {(ROOM, "groupchat")}


def test_a_room_that_becomes_one_for_members_is_left_by_others(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo")
    for who in (juliet, nurse):
        enter(who, who.jid.localpart)
    affiliate(romeo, JULIET, "member")
    for who in (romeo, juliet, nurse):
        who.forget()
    configure(romeo, membersonly="1")
    assert [codes(each) for each in heard_by(nurse)] == [["110", "322"]]
    assert [codes(each) for each in heard_by(juliet)] == [["322"], ["104"]]


def test_admins_and_owners_by_the_form(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    for who in (juliet, nurse):
        enter(who, who.jid.localpart)
    for fields, expected in (
        ({"roomadmins": [JULIET]}, ("admin", "moderator")),
        ({"roomowners": [ROMEO, JULIET], "roomadmins": []}, ("owner", "moderator")),
        ({"roomowners": [ROMEO]}, ("admin", "moderator")),
        ({"roomadmins": []}, ("none", "participant")),
    ):
        nurse.forget()
        assert configure(romeo, **fields).get("type") == "result"
        assert [standing(each) for each in heard_by(nurse)] == [expected]


def test_destroying_sends_everybody_elsewhere(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", persistentroom="1")
    enter(juliet, "Juliet")
    for who in (romeo, juliet):
        who.forget()
    venue = f"cell@{ROOM.partition('@')[2]}"
    order = f"<destroy jid='{venue}'><password>rose</password><reason>Plague</reason></destroy>"
    assert ask(romeo, order, part="owner").get("type") == "result"
    for who, name in ((romeo, "Romeo"), (juliet, "Juliet")):
        [told] = heard_by(who)
        assert (told.get("type"), nick(told), standing(told)) == ("unavailable", name, ("none", "none"))
        [destroyed] = find(told, "u:x/u:destroy")
        assert destroyed.get("jid") == venue
        assert (destroyed.findtext("{*}password"), destroyed.findtext("{*}reason")) == ("rose", "Plague")
    assert condition(ask(romeo, "", "get", "owner")) == "item-not-found"
    join(juliet, "Juliet")
    [sent] = heard_by(juliet)
    assert (condition(sent), gone_to(sent)) == ("gone", f"xmpp:{venue}?join")
    assert codes(enter(romeo, "Romeo")[0]) == ["110", "201"]  # owners may make it again


def gone_to(answer: _Element) -> str:
    return answer.findtext(".//{urn:ietf:params:xml:ns:xmpp-stanzas}gone") or ""


def destroyed(who: Client, venue: str, **fields: str) -> None:
    create(who, "Romeo", **fields)
    ask(who, f"<destroy jid='{venue}'/>" if venue else "<destroy/>", part="owner")
    who.forget()


def test_nobody_is_sent_elsewhere_for_ever(
    romeo: Client, juliet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    destroyed(romeo, f"cell 1@{ROOMS}".replace(" ", "%25"))
    join(juliet, "Juliet")
    assert gone_to(juliet.next()) == f"xmpp:cell%25251@{ROOMS}?join"
    monkeypatch.setattr(moved, "KEPT", -1.0)
    create(juliet, "Juliet", persistentroom="1")
    ask(juliet, "<destroy/>", part="owner")
    assert codes(enter(romeo, "Romeo")[0]) == ["110", "201"]


@pytest.mark.parametrize(
    "fields", [{"membersonly": "1"}, {"passwordprotectedroom": "1", "roomsecret": "rose"}]
)
def test_where_a_closed_room_has_gone_is_for_those_who_were_in_it(
    romeo: Client, juliet: Client, fields: dict[str, str]
) -> None:
    destroyed(romeo, f"cell@{ROOMS}", **fields)
    assert codes(enter(juliet, "Juliet")[0]) == ["110", "201"]


def test_who_is_sent_elsewhere_stays_so_after_a_restart_and_so_many_rooms_are_known(network: Network) -> None:
    network.serve("verona.lit", services={"r.verona.lit": {"disco": {}, "muc": {"rooms": 2}}})
    escalus, page = (network.client(f"{name}@verona.lit/palace") for name in ("escalus", "page"))
    for name in "abc":
        room = f"{name}@r.verona.lit"
        create(escalus, "E", room=room)
        ask(escalus, "<destroy jid='d@r.verona.lit'/>", part="owner", room=room)
    service = network.server("verona.lit").hosts["r.verona.lit"].manager.module("muc")
    assert isinstance(service, Rooms)
    done(service.stop())
    done(service.start())
    done(service.ready())
    answers = []
    for name in "bca":
        join(page, "P", room=f"{name}@r.verona.lit")
        answers.append(condition(heard_by(page)[0]))
    assert answers == ["gone", "gone", ""]


def test_an_alternate_venue_is_an_address(romeo: Client) -> None:
    create(romeo, "Romeo")
    assert condition(ask(romeo, "<destroy jid='@'/>", part="owner")) == "jid-malformed"


def test_new_rooms_are_as_the_service_has_them(network: Network) -> None:
    settings = {"persistent": True, "whois": "anyone", "history": 5}
    network.serve("verona.lit", services={"r.verona.lit": {"disco": {}, "muc": settings}})
    escalus = network.client("escalus@verona.lit/palace")
    room = "square@r.verona.lit"
    join(escalus, "E", room=room)
    assert codes(escalus.next()) == ["100", "110", "201"]
    answer = ask(escalus, "", "get", "owner", room=room)
    values = {each: texts(answer, f".//x:field[@var='{each}']/x:value/text()") for each in
              ("muc#roomconfig_persistentroom", "muc#maxhistoryfetch")}  # fmt: skip
    assert list(values.values()) == [["1"], ["5"]]
