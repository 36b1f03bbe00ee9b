"""XEP-0317: hats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.client import condition
from tests.modules.muc.play import ROOM, affiliate, codes, configure, create, enter, heard_by, say, texts

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing.client import Client

NS = "urn:xmpp:hats:0"
TYPE = "urn:xmpp:hats:commands"
COMMANDS = "http://jabber.org/protocol/commands"
TEACHER = "http://tech.example.edu/hats#Teacher"
SCRIBE = "http://tech.example.edu/hats#Scribe"
JULIET = "juliet@capulet.lit"


@pytest.fixture
def modules() -> dict[str, dict[str, object]]:
    return {"muc_hats": {}}


def run(who: Client, name: str, action: str = "execute", *, form: bool = True, **fields: str) -> _Element:
    """Run a command, with a form filled in."""
    filled = "".join(f"<field var='hats#{var}'><value>{text}</value></field>" for var, text in fields.items())
    x = f"<x xmlns='jabber:x:data' type='submit'>{filled}</x>" if form else ""
    return who.ask(
        f"<iq type='set' to='{ROOM}'>"
        f"<command xmlns='{COMMANDS}' node='{TYPE}:{name}' action='{action}'>{x}</command></iq>"
    )


def status(answer: _Element) -> str:
    """What became of a command, or the error."""
    found = answer.find(f"{{{COMMANDS}}}command")
    return condition(answer) if found is None else found.get("status", "")


def make(who: Client, uri: str = TEACHER, title: str = "Teacher", hue: str = "120") -> None:
    assert status(run(who, "create", uri=uri, title=title, hue=hue)) == "completed"


def rows(answer: _Element) -> list[dict[str, str]]:
    """The items of a form."""
    return [
        {field.get("var", ""): field.findtext("*") or "" for field in item}
        for item in answer.iterfind(".//{jabber:x:data}item")
    ]


def worn(presence: _Element) -> list[dict[str, str]]:
    return [dict(each.attrib) for each in presence.iterfind(f"{{{NS}}}hats/{{{NS}}}hat")]


def disco(who: Client, kind: str, node: str = "") -> _Element:
    where = f" node='{node}'" if node else ""
    return who.ask(
        f"<iq type='get' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#{kind}'{where}/></iq>"
    )


def test_a_hat_is_created_assigned_seen_changed_and_destroyed(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    make(romeo)
    assert [codes(each) for each in heard_by(romeo)] == [["104"]]
    juliet.forget()
    assert status(run(romeo, "assign", jid=f"{JULIET}/balcony", uri=TEACHER)) == "completed"
    hat = {"title": "Teacher", "uri": TEACHER, "hue": "120"}
    for who in (romeo, juliet):
        [presence] = heard_by(who)
        assert worn(presence) == [hat]
        assert presence.get("from") == f"{ROOM}/Juliet"
    make(romeo, title="Master &amp; servant")
    changed, told = heard_by(juliet)
    assert worn(changed) == [{**hat, "title": "Master & servant"}]
    assert codes(told) == ["104"]
    romeo.forget()
    assert status(run(romeo, "destroy", uri=TEACHER)) == "completed"
    assert worn(heard_by(juliet)[0]) == []
    assert rows(run(romeo, "list", form=False)) == []


def test_a_hat_is_taken_off_and_another_one_stays(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    make(romeo)
    make(romeo, SCRIBE, "Scribe", "")
    for uri in (TEACHER, SCRIBE):
        run(romeo, "assign", jid=JULIET, uri=uri)
    juliet.forget()
    assert status(run(romeo, "unassign", jid=JULIET, uri=TEACHER)) == "completed"
    assert worn(heard_by(juliet)[0]) == [{"title": "Scribe", "uri": SCRIBE}]
    assert status(run(romeo, "unassign", jid=JULIET, uri=TEACHER)) == "completed"
    assert heard_by(juliet) == []


def test_hats_wait_for_those_who_come_later(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", persistentroom="1")
    make(romeo)
    run(romeo, "assign", jid=JULIET, uri=TEACHER)
    romeo.send(f"<presence type='unavailable' to='{ROOM}/Romeo'/>")
    own = enter(juliet, "Juliet")[0]
    assert [each["uri"] for each in worn(own)] == [TEACHER]


def test_nobody_puts_on_a_hat_by_himself(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    forged = f"<hats xmlns='{NS}'><hat title='Prince' uri='urn:x:prince'/></hats>"
    juliet.send(f"<presence to='{ROOM}/Juliet'>{forged}</presence>")
    say(juliet, "Bow!", inside=forged)
    assert [each.find(f"{{{NS}}}hats") for each in heard_by(romeo)] == [None, None]


def test_only_admins_and_owners_manage_hats(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    make(romeo)
    for who in (juliet, nurse):
        for name in ("create", "destroy", "assign", "unassign", "list-assigned"):
            assert status(run(who, name, jid=JULIET, uri=TEACHER, title="x")) == "forbidden"
    assert [row["hats#title"] for row in rows(run(nurse, "list", form=False))] == ["Teacher"]
    affiliate(romeo, JULIET, "admin")
    assert status(run(juliet, "assign", jid=JULIET, uri=TEACHER)) == "completed"


def test_the_list_is_for_those_who_may_enter_and_addresses_for_those_who_may_see_them(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    make(romeo)
    run(romeo, "assign", jid=JULIET, uri=TEACHER)
    wearer = {"hats#jid": JULIET, "hats#uri": TEACHER, "hats#title": "Teacher", "hats#hue": "120"}
    assert rows(run(romeo, "list-assigned", form=False)) == [wearer]
    assert status(run(juliet, "list-assigned", form=False)) == "forbidden"
    configure(romeo, whois="anyone", membersonly="1")
    affiliate(romeo, JULIET, "member")
    enter(juliet, "Juliet")
    assert rows(run(juliet, "list-assigned", form=False)) == [wearer]
    assert status(run(nurse, "list", form=False)) == "forbidden"


def test_who_is_named_as_an_occupant_is_the_account_behind_it(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    make(romeo)
    assert status(run(romeo, "assign", jid=f"{ROOM}/Juliet", uri=TEACHER)) == "completed"
    assert [row["hats#jid"] for row in rows(run(romeo, "list-assigned", form=False))] == [JULIET]
    assert status(run(romeo, "unassign", jid=f"{ROOM}/Juliet", uri=TEACHER)) == "completed"
    for nobody in (ROOM, f"{ROOM}/Tybalt"):
        assert status(run(romeo, "assign", jid=nobody, uri=TEACHER)) == "bad-request"
    assert rows(run(romeo, "list-assigned", form=False)) == []


def test_a_title_is_one_line(romeo: Client) -> None:
    create(romeo, "Romeo")
    make(romeo, title="Master\nof  the&#9;house")
    assert [row["hats#title"] for row in rows(run(romeo, "list", form=False))] == ["Master of the house"]


def test_a_form_comes_first_and_is_filled_in_then(romeo: Client) -> None:
    create(romeo, "Romeo")
    make(romeo)
    asked = run(romeo, "assign", form=False)
    assert status(asked) == "executing"
    assert texts(asked, ".//x:field/@var") == ["FORM_TYPE", "hats#jid", "hats#uri"]
    assert texts(asked, ".//x:option/x:value/text()") == [TEACHER]
    [command] = asked.iterfind(f"{{{COMMANDS}}}command")
    assert command.get("sessionid")
    assert status(run(romeo, "assign", "complete", jid=JULIET, uri=TEACHER)) == "completed"
    assert status(run(romeo, "assign", "cancel", form=False)) == "canceled"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("create", {"uri": "no uri", "title": "x"}),
        ("create", {"uri": "http://[", "title": "x"}),
        ("create", {"uri": "urn:x:" + "x" * 300, "title": "x"}),
        ("create", {"uri": "urn:x:y", "title": " "}),
        ("create", {"uri": "urn:x:y"}),
        ("create", {"uri": "urn:x:y", "title": "x", "hue": "400"}),
        ("create", {"uri": "urn:x:y", "title": "x", "hue": "nan"}),
        ("assign", {"uri": "urn:x:unknown", "jid": JULIET}),
        ("assign", {"uri": TEACHER, "jid": "@"}),
        ("destroy", {"uri": "urn:x:unknown"}),
    ],
)
def test_what_makes_no_sense_changes_nothing(romeo: Client, name: str, fields: dict[str, str]) -> None:
    create(romeo, "Romeo")
    make(romeo)
    assert status(run(romeo, name, "complete", form=True, **fields)) == "bad-request"
    assert [row["hats#uri"] for row in rows(run(romeo, "list", form=False))] == [TEACHER]
    assert rows(run(romeo, "list-assigned", form=False)) == []


def test_unknown_commands_and_actions_are_refused(romeo: Client) -> None:
    create(romeo, "Romeo")
    assert status(run(romeo, "dance")) == "item-not-found"
    assert status(run(romeo, "list", "next")) == "bad-request"
    assert status(run(romeo, "list", "jump")) == "bad-request"


def test_there_are_not_too_many_hats(romeo: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jabberd.modules.muc_hats._MOST", 1)
    monkeypatch.setattr("jabberd.modules.muc.room._LARGEST_KEPT", 200)
    create(romeo, "Romeo")
    make(romeo)
    assert status(run(romeo, "create", uri=SCRIBE, title="Scribe")) == "resource-constraint"
    make(romeo, title="Master")
    run(romeo, "assign", jid=JULIET, uri=TEACHER)
    assert status(run(romeo, "assign", jid="nurse@capulet.lit", uri=TEACHER)) == "resource-constraint"


def test_the_room_tells_of_hats_and_commands(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    info = disco(romeo, "info")
    assert info.xpath(f"*/*[@var='{NS}']")
    assert texts(info, ".//x:field[@var='hats#hash']/x:value/text()") == []
    make(romeo)
    [before] = texts(disco(juliet, "info"), ".//x:field[@var='hats#hash']/x:value/text()")
    make(romeo, title="Master")
    assert [before] != texts(disco(juliet, "info"), ".//x:field[@var='hats#hash']/x:value/text()")
    commands = [each.get("node") for each in disco(romeo, "items", COMMANDS).iterfind("*/*")]
    assert len(commands) == 6
    assert [each.get("node") for each in disco(juliet, "items", COMMANDS).iterfind("*/*")] == [f"{TYPE}:list"]
    named = disco(romeo, "info", f"{TYPE}:create").xpath("string(*/*[1]/@name)")
    assert named == "Create or change a hat"
    assert disco(romeo, "info", COMMANDS).xpath("string(*/*/@type)") == "command-list"
    assert condition(disco(juliet, "info", f"{TYPE}:create")) == "item-not-found"
    assert condition(disco(juliet, "items", "elsewhere")) == "item-not-found"
