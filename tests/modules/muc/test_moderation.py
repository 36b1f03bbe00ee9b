"""XEP-0425 and XEP-0424 in rooms: what is taken back, by whom, and what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from jabberd.modules.muc import Rooms
from jabberd.testing.client import condition
from tests.modules.muc.play import (
    ROOM,
    ROOMS,
    ask,
    configure,
    create,
    enter,
    find,
    give_role,
    heard_by,
    say,
    send,
)

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing import Network
    from jabberd.testing.client import Client

NEW = "urn:xmpp:message-moderate:1"
OLD = "urn:xmpp:message-moderate:0"
RETRACT = "urn:xmpp:message-retract:1"
P = {
    "c": "jabber:client",
    "m": NEW,
    "o": OLD,
    "r": RETRACT,
    "ro": "urn:xmpp:message-retract:0",
    "f": "urn:xmpp:fasten:0",
    "sid": "urn:xmpp:sid:0",
    "id": "urn:xmpp:occupant-id:0",
    "u": "http://jabber.org/protocol/muc#user",
}


@pytest.fixture
def modules() -> dict[str, dict[str, object]]:
    return {"muc_retraction": {}, "muc_moderation": {}}


def path(element: _Element, where: str) -> Any:  # what lxml finds
    return element.xpath(where, namespaces=P)


def said(who: Client, text: str, *hearers: Client) -> str:
    """Say something; the id that the room gave it."""
    say(who, text)
    ids = {path(heard_by(each)[-1], "string(sid:stanza-id/@id)") for each in (who, *hearers)}
    assert len(ids) == 1
    return str(ids.pop())


def moderate(who: Client, id: str, reason: str = "", inside: str = f"<retract xmlns='{RETRACT}'/>") -> str:
    """Ask for it; what came of it: ``result`` or the error's condition."""
    why = f"<reason>{reason}</reason>" if reason else ""
    answer = who.ask(
        f"<iq type='set' to='{ROOM}'><moderate xmlns='{NEW}' id='{id}'>{inside}{why}</moderate></iq>"
    )
    return condition(answer) or answer.get("type", "")


def archived(who: Client) -> list[_Element]:
    """The messages in the room's archive."""
    who.forget()
    who.ask(f"<iq type='set' to='{ROOM}'><query xmlns='urn:xmpp:mam:2'/></iq>")
    return [path(each, ".//c:message")[0] for each in who.heard if each.tag == "{jabber:client}message"]


def take_back(who: Client, id: str, inside: str = "") -> None:
    retract = f"<retract xmlns='{RETRACT}' id='{id}'>{inside}</retract><body>/me took that back</body>"
    send(
        who,
        f"<message xmlns='jabber:client' to='{ROOM}' type='groupchat' id='r1'>{retract}</message>",
    )


def test_a_moderator_takes_back_what_somebody_said_and_all_hear_it(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    id = said(juliet, "Buy magic potions!", romeo)
    assert moderate(romeo, id, "Not here") == "result"
    [told] = heard_by(juliet)
    assert (told.get("from"), told.get("type")) == (ROOM, "groupchat")
    [retract] = path(told, "r:retract")
    assert retract.get("id") == id
    assert path(retract, "string(r:reason)") == "Not here"
    assert path(retract, "string(m:moderated/@by)") == f"{ROOM}/Romeo"
    assert path(retract, "string(m:moderated/id:occupant-id/@id)")
    old = "f:apply-to/o:moderated[ro:retract]"
    assert path(told, f"string({old}/@by)") == f"{ROOM}/Romeo"
    assert path(told, f"string({old}/o:reason)") == "Not here"
    assert path(told, "string(f:apply-to/@id)") == id


def test_a_tombstone_is_left_in_the_archive_and_for_newcomers(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    id = said(juliet, "Buy magic potions!", romeo)
    moderate(romeo, id, "Not here")
    stone, retraction = archived(romeo)
    [retracted] = path(stone, "r:retracted")
    assert retracted.get("id") == retraction.get("id")
    assert retracted.get("stamp") == "1970-01-01T00:16:40Z"
    assert path(retracted, "string(m:moderated/@by)") == f"{ROOM}/Romeo"
    assert path(retracted, "string(r:reason)") == "Not here"
    assert path(stone, "o:moderated/ro:retracted")
    assert (stone.get("from"), path(stone, "c:body")) == (f"{ROOM}/Juliet", [])
    assert path(stone, "id:occupant-id")
    assert path(stone, "string(u:x/u:item/@jid)") == "juliet@capulet.lit"
    assert path(archived(juliet)[0], "u:x") == []
    assert path(retraction, "string(r:retract/@id)") == id
    heard = [each for each in enter(nurse, "Nurse") if each.tag == "{jabber:client}message"]
    assert [bool(path(each, "r:retracted")) for each in heard] == [True, False, False]
    assert not any(path(each, "c:body | u:x") for each in heard)


def test_f7_only_moderators_who_are_there_take_back_what_others_said(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    id = said(romeo, "He jests at scars")
    assert moderate(juliet, id) == "forbidden"
    assert moderate(nurse, id) == "forbidden"
    assert len(archived(romeo)) == 1
    give_role(romeo, "Juliet", "moderator")
    assert moderate(juliet, id) == "result"


def test_f7_what_nobody_said_or_was_taken_back_is_not_found(romeo: Client) -> None:
    create(romeo, "Romeo")
    id = said(romeo, "He jests at scars")
    for wrong in ("", "1", "-1", "nothing", "9" * 40, "\N{ARABIC-INDIC DIGIT ONE}"):
        assert moderate(romeo, wrong) == "item-not-found"
    assert moderate(romeo, id) == "result"
    assert moderate(romeo, id) == "item-not-found"
    notice = archived(romeo)[-1].get("id", "")
    assert moderate(romeo, notice) == "item-not-found"


def test_nothing_else_is_done_to_messages(romeo: Client) -> None:
    create(romeo, "Romeo")
    id = said(romeo, "He jests at scars")
    assert moderate(romeo, id, inside="<edit xmlns='urn:example'/>") == "feature-not-implemented"
    answer = romeo.ask(f"<iq type='set' to='{ROOM}'><apply-to xmlns='urn:xmpp:fasten:0' id='{id}'/></iq>")
    assert condition(answer) == "feature-not-implemented"


def test_an_older_client_takes_back_in_its_own_words(romeo: Client) -> None:
    create(romeo, "Romeo")
    id = said(romeo, "He jests at scars")
    retract = "<retract xmlns='urn:xmpp:message-retract:0'/>"
    moderation = f"<moderate xmlns='{OLD}'>{retract}<reason>Why</reason></moderate>"
    fastened = f"<apply-to xmlns='urn:xmpp:fasten:0' id='{id}'>{moderation}</apply-to>"
    answer = romeo.ask(f"<iq type='set' to='{ROOM}'>{fastened}</iq>")
    assert answer.get("type") == "result"
    assert path(archived(romeo)[0], "string(r:retracted/r:reason)") == "Why"


def test_what_is_not_archived_is_taken_back_from_the_history(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo", enablearchiving="0")
    enter(juliet, "Juliet")
    romeo.forget()
    id = said(juliet, "Buy magic potions!", romeo)
    assert moderate(romeo, id) == "result"
    heard = enter(nurse, "Nurse")
    assert not any(find(each, "c:body") for each in heard)
    assert any(path(each, "r:retracted") for each in heard)


@pytest.mark.parametrize("hint", ["no-store", "no-permanent-store"])
def test_nobody_escapes_by_asking_that_a_message_be_kept_nowhere(
    romeo: Client, juliet: Client, hint: str
) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    say(juliet, "Buy magic potions!", inside=f"<{hint} xmlns='urn:xmpp:hints'/>")
    id = path(heard_by(romeo)[-1], "string(sid:stanza-id/@id)")
    juliet.forget()
    assert moderate(romeo, id, "Not here") == "result"
    [told] = heard_by(juliet)
    assert path(told, "string(r:retract/@id)") == id
    assert path(told, "string(r:retract/m:moderated/@by)") == f"{ROOM}/Romeo"


def test_what_is_not_kept_any_more_is_taken_back_from_those_who_have_it(
    romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo", enablearchiving="0")
    enter(juliet, "Juliet")
    romeo.forget()
    first = said(juliet, "Buy magic potions!", romeo)
    for _ in range(60):
        said(juliet, "Ay me!", romeo)
    assert moderate(romeo, first) == "result"
    assert path(juliet.next(), "string(r:retract/@id)") == first


def test_nobody_feigns_a_tombstone_or_moderation(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    id = said(romeo, "He jests at scars")
    juliet.forget()
    moderated = f"<moderated xmlns='{NEW}' by='{ROOM}/Romeo'/>"
    take_back(juliet, id, moderated)
    assert condition(juliet.next()) == "forbidden"
    fastened = f"<apply-to xmlns='urn:xmpp:fasten:0' id='{id}'><moderated xmlns='{OLD}'/></apply-to>"
    say(juliet, "x", inside=fastened)
    assert condition(juliet.next()) == "forbidden"
    stones = f"<retracted xmlns='{RETRACT}'>{moderated}</retracted><moderated xmlns='{OLD}'/>"
    say(juliet, "y", inside=stones)
    [heard] = heard_by(romeo)
    assert path(heard, "c:body")
    assert path(heard, "r:retracted | o:moderated") == []


def test_an_author_takes_back_what_he_said(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    id = said(juliet, "Ay me!")
    take_back(juliet, id)
    stone, retraction = archived(romeo)
    assert path(stone, "string(r:retracted/@id)") == "r1"
    assert path(stone, "c:body | r:retracted/m:moderated") == []
    assert path(retraction, "string(r:retract/@id)") == id


def test_who_has_heard_that_something_is_taken_back_does_not_read_it_any_more(
    romeo: Client, juliet: Client, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    id = said(juliet, "Deny thy father", romeo)
    rooms = network.server("montague.lit").hosts[ROOMS].manager.module("muc")
    assert isinstance(rooms, Rooms)
    found, rows = Deferred[Any](), rooms.service.archive.rows

    def slow(*args: Any, **named: Any) -> Deferred[Any]:
        return found.addCallback(lambda _: rows(*args, **named))

    with monkeypatch.context() as patch:
        patch.setattr(rooms.service.archive, "rows", slow)
        take_back(juliet, id)
    assert path(heard_by(romeo)[-1], "r:retract")
    romeo.send(f"<iq type='set' id='q' to='{ROOM}'><query xmlns='urn:xmpp:mam:2'/></iq>")
    found.callback(None)
    first = next(each for each in heard_by(romeo) if each.tag == "{jabber:client}message")
    assert path(first, ".//r:retracted")
    assert not path(first, ".//c:body")


def test_nobody_takes_back_by_himself_what_another_one_said(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    id = said(romeo, "He jests at scars", juliet)
    take_back(juliet, id)
    take_back(juliet, "nothing")
    assert path(archived(romeo)[0], "string(c:body)") == "He jests at scars"


def test_who_comes_back_under_another_name_is_still_the_author(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    id = said(juliet, "Ay me!")
    juliet.send(f"<presence to='{ROOM}/Rose'/>")
    take_back(juliet, id)
    assert path(archived(romeo)[0], "r:retracted")


def test_the_room_says_what_it_can(romeo: Client, network: Network) -> None:
    create(romeo, "Romeo")
    question = f"<iq type='get' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    features = {each.get("var") for each in romeo.ask(question).iterfind("*/{*}feature")}
    assert features >= {NEW, OLD, RETRACT, f"{RETRACT}#tombstone"}
    configure(romeo, enablearchiving="0")
    features = {each.get("var") for each in romeo.ask(question).iterfind("*/{*}feature")}
    assert f"{RETRACT}#tombstone" not in features
    ask(romeo, "<destroy/>", part="owner")
