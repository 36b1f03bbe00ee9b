"""What those try with rooms who mean no good (XEP-0045 §13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, fail

from jabberd.api import JID
from jabberd.interfaces import StorageError
from jabberd.modules.muc import Rooms, affiliations
from jabberd.modules.muc.room import Belonging
from jabberd.modules.muc_tokens import NS as TOKENS
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.modules.muc.play import (
    MUC,
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
    nick,
    say,
    send,
    texts,
)

if TYPE_CHECKING:
    from jabberd.api import Stanza
    from jabberd.testing import Network
    from jabberd.testing.client import Client

JULIET, NURSE, ROMEO = "juliet@capulet.lit", "nurse@capulet.lit", "romeo@montague.lit"
EVIL = "evil.example"
ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"


@pytest.fixture
def modules() -> dict[str, dict[str, object]]:
    return {"muc_moderation": {}, "muc_retraction": {}, "muc_tokens": {}}


def rooms(network: Network) -> Rooms:
    found = network.server("montague.lit").hosts[ROOMS].manager.module("muc")
    assert isinstance(found, Rooms)
    return found


def members(who: Client) -> list[str]:
    return texts(ask(who, "<item affiliation='member'/>", "get"), "a:query/a:item/@jid")


# -- a whole domain -------------------------------------------------------------------------------------


def test_who_may_invite_makes_no_member_of_a_whole_domain(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", membersonly="1", allowinvites="1")
    affiliate(romeo, JULIET, "member")
    enter(juliet, "Juliet")
    heard_by(juliet)
    juliet.send(f"<message to='{ROOM}'><x xmlns='{MUC}#user'><invite to='{EVIL}'/></x></message>")
    assert [condition(each) for each in heard_by(juliet)] == ["forbidden"]
    assert members(romeo) == [JULIET]


def test_a_server_registers_none_but_its_people(romeo: Client, network: Network) -> None:
    create(romeo, "Romeo")
    value = "<field var='muc#register_roomnick'><value>Everybody</value></field>"
    form = f"<x xmlns='jabber:x:data' type='submit'>{value}</x>"
    query = f"<query xmlns='jabber:iq:register'>{form}</query>"
    for who, error in ((EVIL, "not-allowed"), (f"someone@{EVIL}/r", "")):
        stranger = network.stranger(who)
        stranger.send(f"<iq xmlns='jabber:client' type='set' id='r' to='{ROOM}'>{query}</iq>")
        assert [condition(each) for each in heard_by(stranger) if each.get("id") == "r"] == [error]
    assert members(romeo) == [f"someone@{EVIL}"]


def test_a_token_makes_no_member_of_a_whole_domain(romeo: Client, network: Network) -> None:
    create(romeo, "Romeo", membersonly="1")
    made = romeo.ask(f"<iq type='set' to='{ROOM}'><request xmlns='{TOKENS}'/></iq>")
    word = made.findtext(f"{{{TOKENS}}}token")
    stranger = network.stranger(f"{EVIL}/r")
    join(stranger, "Everybody", f"<password>{word}</password>")
    assert [condition(each) for each in heard_by(stranger)] == ["not-allowed"]
    assert members(romeo) == []


# -- while something is stored --------------------------------------------------------------------------


def held(monkeypatch: pytest.MonkeyPatch, store: Any, name: str) -> Deferred[None]:
    """Let a store's change wait until that fires."""
    gate: Deferred[None] = Deferred()
    really = getattr(store, name)

    async def waiting(*args: Any, **more: Any) -> None:
        await gate
        await really(*args, **more)

    def wait(*args: Any, **more: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(waiting(*args, **more))

    monkeypatch.setattr(store, name, wait)
    return gate


def test_nobody_slips_in_while_a_new_room_is_configured(
    romeo: Client, juliet: Client, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(romeo, "Romeo")
    gate = held(monkeypatch, rooms(network).service.rooms, "save")
    form = "<field var='muc#roomconfig_membersonly'><value>1</value></field>"
    romeo.send(
        f"<iq type='set' id='c' to='{ROOM}'><query xmlns='{MUC}#owner'>"
        f"<x xmlns='jabber:x:data' type='submit'>{form}</x></query></iq>"
    )
    join(juliet, "Juliet")
    assert [condition(each) for each in heard_by(juliet)] == ["item-not-found"]
    gate.callback(None)
    assert [each.get("type") for each in heard_by(romeo) if each.get("id") == "c"] == ["result"]
    join(juliet, "Juliet")
    assert [condition(each) for each in heard_by(juliet)] == ["registration-required"]


def test_who_is_banned_while_a_token_is_looked_for_does_not_enter(
    romeo: Client, juliet: Client, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(romeo, "Romeo")
    tokens = network.server("montague.lit").hosts[ROOMS].manager.module("muc_tokens")
    gate: Deferred[None] = Deferred()

    async def admits(*_: object) -> None:
        await gate

    monkeypatch.setattr(tokens, "admits", admits)
    join(juliet, "Juliet")
    assert heard_by(juliet) == []
    affiliate(romeo, JULIET, "outcast")
    gate.callback(None)
    assert [condition(each) for each in heard_by(juliet)] == ["forbidden"]


def test_who_is_kicked_while_something_is_stored_changes_no_subject(
    romeo: Client, juliet: Client, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(romeo, "Romeo", changesubject="1")
    enter(juliet, "Juliet")
    heard_by(romeo)
    heard_by(juliet)
    gate = held(monkeypatch, rooms(network).service.rooms.belongings, "change")
    romeo.send(
        f"<iq type='set' id='b' to='{ROOM}'><query xmlns='{MUC}#admin'>"
        f"<item jid='{JULIET}' affiliation='outcast'/></query></iq>"
    )
    juliet.send(f"<message to='{ROOM}' type='groupchat'><subject>Mine</subject></message>")
    gate.callback(None)
    assert [condition(each) for each in heard_by(juliet) if each.get("type") == "error"] == ["not-acceptable"]
    assert not [each for each in heard_by(romeo) if find(each, "c:subject")]


@pytest.mark.parametrize("affiliation", ["outcast", "member"])
def test_nobody_registers_or_destroys_by_what_was_true_before_a_change(
    romeo: Client,
    juliet: Client,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    affiliation: str,
) -> None:
    create(romeo, "Romeo")
    affiliate(romeo, JULIET, "owner")
    heard_by(juliet)
    gate = held(monkeypatch, rooms(network).service.rooms.belongings, "change")
    romeo.send(
        f"<iq type='set' id='b' to='{ROOM}'><query xmlns='{MUC}#admin'>"
        f"<item jid='{JULIET}' affiliation='{affiliation}'/></query></iq>"
    )
    value = "<field var='muc#register_roomnick'><value>Jule</value></field>"
    form = f"<x xmlns='jabber:x:data' type='submit'>{value}</x>"
    juliet.send(f"<iq type='set' id='r' to='{ROOM}'><query xmlns='jabber:iq:register'>{form}</query></iq>")
    juliet.send(f"<iq type='set' id='d' to='{ROOM}'><query xmlns='{MUC}#owner'><destroy/></query></iq>")
    gate.callback(None)
    answers = {each.get("id"): condition(each) for each in heard_by(juliet) if each.get("id")}
    assert answers == {"r": "not-allowed" if affiliation == "outcast" else "", "d": "forbidden"}
    assert texts(ask(romeo, f"<item affiliation='{affiliation}'/>", "get"), "a:query/a:item/@jid") == [JULIET]


def test_a_new_room_has_nothing_that_a_crash_left_of_another(
    romeo: Client, juliet: Client, network: Network
) -> None:
    module = rooms(network)
    left = module.belongings.change(ROOM, {JULIET: Belonging("owner")})
    assert left.called
    create(romeo, "Romeo", persistentroom="1")
    romeo.send(f"<presence type='unavailable' to='{ROOM}/Romeo'/>")
    romeo.forget()
    assert module.service.rooms.resident == {}
    assert condition(configure(juliet, roomname="Mine")) == "forbidden"
    assert texts(ask(romeo, "<item affiliation='owner'/>", "get"), "a:query/a:item/@jid") == [ROMEO]


# -- what only the room may say, and who somebody is ----------------------------------------------------


def test_a_subject_feigns_no_moderation(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", changesubject="1")
    enter(juliet, "Juliet")
    heard_by(romeo)
    heard_by(juliet)
    claim = f"<moderated xmlns='urn:xmpp:message-moderate:1' by='{ROOM}/Romeo'/>"
    feigned = f"<retract xmlns='urn:xmpp:message-retract:1' id='1'>{claim}</retract>"
    juliet.send(f"<message to='{ROOM}' type='groupchat'><subject>Plague</subject>{feigned}</message>")
    assert [condition(each) for each in heard_by(juliet)] == ["forbidden"]
    assert heard_by(romeo) == []


def test_an_error_does_not_tell_who_an_occupant_is(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(nurse, "Nurse")
    enter(romeo, "Romeo")
    enter(juliet, "Juliet")
    for each in (romeo, juliet):
        heard_by(each)
    romeo.send(f"<message to='{ROOM}/Juliet' type='chat' id='p'><body>psst</body></message>")
    romeo.send(f"<iq to='{ROOM}/Juliet' type='get' id='q'><ping xmlns='urn:xmpp:ping'/></iq>")
    for asked in heard_by(juliet):
        name = str(asked.tag).partition("}")[2]
        error = f"<error type='cancel' by='{JULIET}/balcony'><not-acceptable xmlns='{ERRORS}'/></error>"
        forged = f"<x xmlns='{MUC}#user'><status code='100'/></x>"
        inside = forged + error if name == "message" else error
        attrs = f"type='error' id='{asked.get('id', '')}' to='{asked.get('from', '')}'"
        juliet.send(f"<{name} {attrs}>{inside}</{name}>")
    told = heard_by(romeo)
    assert [(each.get("id"), nick(each), condition(each)) for each in told] == [
        ("p", "Juliet", "not-acceptable"),
        ("q", "Juliet", "not-acceptable"),
    ]
    for answer in told:
        assert find(answer, "c:error/@by") == []
        assert find(answer, "u:x") == []


def test_an_error_goes_to_nobody_but_who_whispered(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(nurse, "Nurse", allowpm="none")
    enter(romeo, "Romeo")
    enter(juliet, "Juliet")
    for each in (romeo, juliet):
        heard_by(each)
    romeo.send(f"<message to='{ROOM}/Romeo' type='chat' id='p'><body>to myself</body></message>")
    heard_by(romeo)
    error = f"<error type='cancel'><not-acceptable xmlns='{ERRORS}'/></error>"
    romeo.send(f"<message type='error' id='p' to='{ROOM}/Juliet'><body>psst</body>{error}</message>")
    assert heard_by(juliet) == []


# -- too much -------------------------------------------------------------------------------------------


def test_of_whispers_long_ids_take_no_memory(romeo: Client, juliet: Client, network: Network) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.send(f"<message to='{ROOM}/Juliet' type='chat' id='{'w' * 9000}'><body>Hush</body></message>")
    whispered = rooms(network).service.rooms.resident[JID.parse(ROOM)].whispered
    assert len(whispered) == 1
    assert len(repr(whispered)) < 1000


def test_what_an_admin_reserves_for_others_is_a_nickname(romeo: Client) -> None:
    create(romeo, "Romeo")
    for wrong in ("x" * 300, "x" * 2000, "\u00a0"):
        answer = affiliate(romeo, JULIET, "member", f"nick='{wrong}'")
        assert condition(answer) == "not-acceptable"
    assert condition(affiliate(romeo, JULIET, "member", "nick='Jule'")) == ""


def test_a_password_is_not_a_disk(romeo: Client) -> None:
    create(romeo, "Romeo")
    answer = configure(romeo, passwordprotectedroom="1", roomsecret="x" * 1001)
    assert condition(answer) == "not-acceptable"
    assert condition(configure(romeo, passwordprotectedroom="1", roomsecret="x" * 1000)) == ""


def test_who_has_too_much_to_say_keeps_the_nickname(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    heard_by(romeo)
    heard_by(juliet)
    send(juliet, f"<presence to='{ROOM}/Capulet'><status>{'x' * (17 << 10)}</status></presence>")
    assert [condition(each) for each in heard_by(juliet)] == ["not-acceptable"]
    assert heard_by(romeo) == []


def test_a_list_is_told_once_however_often_it_is_asked_for(romeo: Client) -> None:
    create(romeo, "Romeo")
    answer = ask(romeo, "<item affiliation='owner'/>" * 500, "get")
    assert texts(answer, "a:query/a:item/@jid") == [ROMEO]


def test_nobody_is_invited_twice_at_once(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    invites = f"<invite to='{JULIET}'/>" * 20
    romeo.send(f"<message to='{ROOM}'><x xmlns='{MUC}#user'>{invites}</x></message>")
    assert len(heard_by(juliet)) == 1


def test_moderators_are_asked_for_voice_once_in_a_minute(
    romeo: Client, juliet: Client, network: Network
) -> None:
    create(romeo, "Romeo", moderatedroom="1")
    enter(juliet, "Juliet")
    heard_by(romeo)
    heard_by(juliet)
    kind = f"<field var='FORM_TYPE'><value>{MUC}#request</value></field>"
    role = "<field var='muc#role'><value>participant</value></field>"
    asked = f"<message to='{ROOM}'><x xmlns='jabber:x:data' type='submit'>{kind}{role}</x></message>"
    juliet.send(asked * 3)
    assert [condition(each) for each in heard_by(juliet)] == ["resource-constraint"] * 2
    network.advance(60)
    juliet.send(asked)
    assert heard_by(juliet) == []
    assert len(heard_by(romeo)) == 2


def test_who_was_not_invited_declines_nothing(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    affiliate(romeo, JULIET, "outcast")
    enter(nurse, "Nurse")
    nurse.send(f"<message to='{ROOM}'><x xmlns='{MUC}#user'><invite to='{ROMEO}'/></x></message>")
    for each in (romeo, juliet):
        heard_by(each)
    decline = "<decline to='{}'><reason>Buy tulips</reason></decline>"
    for to in (f"{ROOM}/Romeo", ROMEO):
        juliet.send(f"<message to='{ROOM}'><x xmlns='{MUC}#user'>{decline.format(to)}</x></message>")
    romeo.send(f"<message to='{ROOM}'><x xmlns='{MUC}#user'>{decline.format(NURSE)}</x></message>")
    assert heard_by(romeo) == []
    assert [texts(each, "u:x/u:decline/@from") for each in heard_by(nurse)][-1] == [ROMEO]


# -- who gets the name of somebody else -----------------------------------------------------------------


def test_who_gets_the_name_of_a_deleted_account_belongs_to_no_room(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo", persistentroom="1")
    affiliate(romeo, JULIET, "admin")
    enter(juliet, "Juliet")
    for name, client in (("juliet", juliet), ("romeo", romeo)):
        domain = client.jid.domainpart
        done(network.server(domain).hosts[domain].manager.registrar.delete(client.jid.bare))
        heir = network.client(f"{name}@{domain}/heir")
        assert condition(ask(heir, "<item affiliation='owner'/>", "get")) == "forbidden"
        assert condition(configure(heir, roomname="Mine")) == "forbidden"
    friar = network.client("friar@montague.lit/cell")
    assert texts(ask(friar, "<item affiliation='owner'/>", "get"), "a:query/a:item/@jid") == []
    assert condition(affiliate(friar, NURSE, "member")) == ""
    assert condition(affiliate(friar, NURSE, "owner")) == ""
    nurse = network.client(f"{NURSE}/chamber")
    assert condition(affiliate(nurse, NURSE, "none")) == "conflict"


# -- many at once -----------------------------------------------------------------------------------------


def test_a_room_writes_to_so_many_who_have_not_asked_and_no_more(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo")
    told = strangers_told(network)
    for start in (0, 75):
        make_members(romeo, start, start + 75)
    assert told == [f"u{number}@verona.lit" for number in range(100)]
    assert len(rooms(network).service.rooms.resident[JID.parse(ROOM)].belongings) == 151


def test_a_new_room_of_the_same_creator_writes_to_no_more(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo", persistentroom="1")
    told = strangers_told(network)
    make_members(romeo, 0, 100)
    ask(romeo, "<destroy/>", part="owner")
    create(romeo, "Romeo")
    make_members(romeo, 100, 150)
    assert told == [f"u{number}@verona.lit" for number in range(100)]


def strangers_told(network: Network) -> list[str]:
    """The addresses at verona.lit to which the rooms write from now on."""
    told: list[str] = []
    service = rooms(network).service
    really = service.route

    def route(stanza: Stanza) -> object:
        if stanza.to is not None and stanza.to.domainpart == "verona.lit":
            told.append(str(stanza.to))
            return None
        return really(stanza)

    service.route = route
    return told


def make_members(owner: Client, start: int, end: int) -> None:
    items = "".join(f"<item jid='u{n}@verona.lit' affiliation='member'/>" for n in range(start, end))
    owner.send(f"<iq type='set' id='a' to='{ROOM}'><query xmlns='{MUC}#admin'>{items}</query></iq>")


def invite(who: Client, count: int) -> str:
    """What is said against so many invitations."""
    inside = "".join(f"<invite to='u{number}@montague.lit/x'/>" for number in range(count))
    who.send(f"<message to='{ROOM}' id='i'><x xmlns='{MUC}#user'>{inside}</x></message>")
    return condition(heard_by(who)[-1])


def test_an_occupant_invites_so_many_and_no_more(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo")
    for _ in range(5):
        assert invite(romeo, 20) in ("", "service-unavailable")  # as of those whom nobody knows
    assert invite(romeo, 1) == "resource-constraint"
    network.advance(25)
    assert invite(romeo, 5) != "resource-constraint"
    assert invite(romeo, 1) == "resource-constraint"


def test_who_leaves_and_enters_again_invites_no_more(romeo: Client) -> None:
    create(romeo, "Romeo", persistentroom="1")
    for _ in range(5):
        invite(romeo, 20)
    romeo.send(f"<presence type='unavailable' to='{ROOM}/Romeo'/>")
    heard_by(romeo)
    enter(romeo, "Romeo")
    assert invite(romeo, 1) == "resource-constraint"


def test_nobody_gives_so_many_affiliations_that_telling_it_takes_for_ever(
    romeo: Client, juliet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affiliations, "_MOST_TOLD", 5)
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    items = [f"<item jid='u{number}@verona.lit' affiliation='member'/>" for number in range(3)]
    assert condition(ask(romeo, "".join(items))) == "resource-constraint"
    assert condition(ask(romeo, "".join(items[:2]))) == ""


def test_where_it_cannot_be_kept_where_a_room_has_gone_the_room_stays(
    romeo: Client, juliet: Client, network: Network, monkeypatch: pytest.MonkeyPatch, logged_errors: Any
) -> None:
    create(romeo, "Romeo", persistentroom="1")
    enter(juliet, "Juliet")
    heard_by(juliet)

    def full(*_: object, **__: object) -> Deferred[None]:
        return fail(StorageError("the disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(rooms(network).service.redirects._kept, "change", full)
        answer = ask(romeo, f"<destroy jid='hall@{ROOMS}'/>", part="owner")
    assert answer.get("type") == "error"
    logged_errors.take(StorageError)
    say(romeo, "Still here?")
    assert [each.findtext("{*}body") for each in heard_by(juliet)] == ["Still here?"]
