"""What is kept of rooms: their archives (XEP-0313 §7.1.2), and everything else across restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred

from jabberd.admin import Admin
from jabberd.api import Refused
from jabberd.hosting import verb_groups
from jabberd.modules.muc import Rooms
from jabberd.storage import open_storage
from jabberd.testing import Network
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
    say,
    standing,
    texts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lxml.etree import _Element

    from jabberd.interfaces import Storage
    from jabberd.testing.client import Client

AT = {"DOMAIN": ROOMS}  # how operators name the domain
MAM = "urn:xmpp:mam:2"
JULIET, NURSE = "juliet@capulet.lit", "nurse@capulet.lit"


def module(network: Network) -> Rooms:
    found = network.server("montague.lit").hosts[ROOMS].manager.module("muc")
    assert isinstance(found, Rooms)
    return found


def query(who: Client, inside: str = "", room: str = ROOM) -> tuple[list[_Element], _Element]:
    """The results and the answer."""
    answer = who.ask(f"<iq type='set' to='{room}'><query xmlns='{MAM}' queryid='q'>{inside}</query></iq>")
    heard = heard_by(who)
    return [each for each in heard if each.find(f"{{{MAM}}}result") is not None], answer


def bodies_in(heard: list[_Element]) -> list[str]:
    return [text for each in heard for text in texts(each, "c:body/text()")]


def bodies(results: list[_Element]) -> list[str]:
    return [each.findtext(".//{jabber:client}body") or "" for each in results]


# -- archives -------------------------------------------------------------------------------------------


def test_what_was_said_is_read_page_by_page(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    for number in range(4):
        say(juliet, f"line {number}")
    romeo.send(f"<message to='{ROOM}' type='groupchat'><subject>Roses</subject></message>")
    juliet.send(f"<message to='{ROOM}/Romeo' type='chat'><body>psst</body></message>")
    [first] = [each for each in heard_by(romeo) if each.findtext("{*}body") == "line 0"]
    results, _ = query(nurse)
    assert bodies(results) == ["line 0", "line 1", "line 2", "line 3", ""]
    assert results[-1].findtext(".//{jabber:client}subject") == "Roses"
    assert {each.get("from") for each in results} == {ROOM}
    [message] = results[0].findall(".//{jabber:client}message")
    assert (message.get("from"), message.get("to"), message.get("type")) == (
        f"{ROOM}/Juliet",
        None,
        "groupchat",
    )
    [id] = texts(first, "sid:stanza-id/@id")
    assert results[0].find(f"{{{MAM}}}result").get("id") == id  # type: ignore[union-attr]
    paging = f"<set xmlns='http://jabber.org/protocol/rsm'><max>2</max><after>{id}</after></set>"
    results, fin = query(nurse, paging)
    assert bodies(results) == ["line 1", "line 2"]
    assert fin.find(f"{{{MAM}}}fin").get("complete") is None  # type: ignore[union-attr]
    metadata = nurse.ask(f"<iq type='get' to='{ROOM}'><metadata xmlns='{MAM}'/></iq>")
    assert metadata.find(f".//{{{MAM}}}start").get("id") == id  # type: ignore[union-attr]
    fields = nurse.ask(f"<iq type='get' to='{ROOM}'><query xmlns='{MAM}'/></iq>")
    assert "with" in texts(fields, ".//x:field/@var")


def test_addresses_in_an_archive_are_for_those_who_see_them_in_the_room(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    say(juliet, "Ay me!", inside="<x xmlns='http://jabber.org/protocol/muc#user'><item jid='a@b.lit'/></x>")
    for who in (romeo, juliet):
        who.forget()

    def seen(who: Client) -> list[str]:
        [result], _ = query(who)
        return texts(result, ".//c:message/u:x/u:item/@jid")

    assert seen(romeo) == [JULIET]
    assert seen(nurse) == seen(juliet) == []
    configure(romeo, whois="anyone")
    juliet.forget()
    assert seen(juliet) == [JULIET]


def test_an_archive_is_for_those_who_may_enter(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    affiliate(romeo, JULIET, "member")
    affiliate(romeo, NURSE, "outcast")
    say(romeo, "He jests at scars")
    for who in (romeo, juliet):
        who.forget()

    def allowed(who: Client) -> str:
        return condition(query(who)[1])

    assert (allowed(juliet), allowed(nurse)) == ("", "forbidden")
    affiliate(romeo, NURSE, "none")
    for fields, said in (
        ({"membersonly": "1"}, "forbidden"),
        ({"membersonly": "0", "passwordprotectedroom": "1", "roomsecret": "rose"}, "forbidden"),
        ({"enablelogging": "1"}, ""),
        ({"enablelogging": "0", "passwordprotectedroom": "0"}, ""),
        ({"enablearchiving": "0"}, "service-unavailable"),
    ):
        configure(romeo, **fields)
        juliet.forget()
        assert allowed(nurse) == said


def test_nothing_is_archived_where_the_room_does_not_want_it(romeo: Client) -> None:
    create(romeo, "Romeo", enablearchiving="0")
    say(romeo, "forget this")
    configure(romeo, enablearchiving="1")
    say(romeo, "keep this")
    say(romeo, "not this", inside="<no-store xmlns='urn:xmpp:hints'/>")
    romeo.forget()
    assert bodies(query(romeo)[0]) == ["keep this"]


def test_a_question_to_an_archive_makes_sense(romeo: Client) -> None:
    create(romeo, "Romeo")
    paging = "<set xmlns='http://jabber.org/protocol/rsm'><after>{}</after></set>"
    assert condition(query(romeo, paging.format("12345"))[1]) == "item-not-found"
    assert condition(query(romeo, room=f"nowhere@{ROOMS}")[1]) == "item-not-found"


def test_what_is_too_old_or_too_much_goes(network: Network) -> None:
    settings = {"age": 86400.0, "messages": 3}
    network.serve("verona.lit", services={"r.verona.lit": {"disco": {}, "muc": settings}})
    escalus = network.client("escalus@verona.lit/palace")
    room = "square@r.verona.lit"
    create(escalus, "E", room=room, persistentroom="1")
    for number in range(5):
        say(escalus, f"line {number}", room)
    page = network.stranger("page@mantua.lit/x")  # who stays, however long nothing is said
    assert len(bodies_in(enter(page, "P", room=room))) == 5
    network.clock.advance(6 * 3600 + 1)  # in one step: it is about the two ends of it
    network.flush()
    rooms = network.server("verona.lit").hosts["r.verona.lit"].manager.module("muc")
    assert isinstance(rooms, Rooms)
    assert done(rooms.messages.count(room)) == 3
    network.clock.advance(86400)
    network.flush()
    assert done(rooms.messages.count(room)) == 0
    assert bodies_in(enter(network.stranger("guard@mantua.lit/x"), "G", room=room)) == []
    say(page, "line 5", room)
    assert bodies_in(enter(network.stranger("cook@mantua.lit/x"), "C", room=room)) == ["line 5"]


# -- restarts -------------------------------------------------------------------------------------------


@pytest.fixture
def storage() -> Storage:
    return open_storage("memory", None)


@pytest.fixture
def networks(storage: Storage) -> Iterator[Any]:
    """Makes the stage anew, each time on what is stored."""
    stages: list[Network] = []

    def start(**settings: object) -> Network:
        if stages:
            stages[-1].close()
        network = Network()
        network.clock.rightNow = 10_000 * (len(stages) + 1)
        service = {"disco": {}, "muc": {"creators": ["montague.lit", "capulet.lit"], **settings}}
        network.serve("montague.lit", "capulet.lit", services={ROOMS: service}, storage=storage)
        stages.append(network)
        return network

    yield start
    stages[-1].close()


def people(network: Network) -> tuple[Client, Client, Client]:
    return tuple(  # type: ignore[return-value]
        network.client(each)
        for each in ("romeo@montague.lit/orchard", f"{JULIET}/balcony", f"{NURSE}/chamber")
    )


def test_who_finds_a_room_empty_hears_what_was_said_last_though_it_is_just_being_stored(
    network: Network, romeo: Client, juliet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(romeo, "Romeo", persistentroom="1")
    archive = module(network).service.archive
    append, mark = archive.append, archive.mark
    stored: Deferred[None] = Deferred()

    def late(*row: Any, **more: Any) -> Deferred[int]:
        return Deferred.fromCoroutine(after(stored, lambda: append(*row, **more)))

    monkeypatch.setattr(archive, "append", late)
    monkeypatch.setattr(
        archive, "mark", lambda *ids, **how: Deferred.fromCoroutine(after(stored, lambda: mark(*ids, **how)))
    )
    say(romeo, "Farewell")
    romeo.send(f"<presence to='{ROOM}/Romeo' type='unavailable'/>")
    join(juliet, "Juliet")
    assert not heard_by(juliet)
    stored.callback(None)
    assert "Farewell" in [each.findtext("{*}body") for each in heard_by(juliet)]


async def after(first: Deferred[None], then: Callable[[], Deferred[Any]]) -> Any:
    await first
    return await then()


def test_a_persistent_room_is_the_same_after_a_restart(networks: Any) -> None:
    romeo, juliet, nurse = people(networks())
    create(romeo, "Romeo", persistentroom="1", roomname="The orchard", whois="anyone", maxusers="7")
    affiliate(romeo, JULIET, "admin", "nick='Rose'")
    affiliate(romeo, NURSE, "outcast")
    enter(juliet, "Juliet")
    romeo.send(f"<message to='{ROOM}' type='groupchat'><subject>Roses</subject></message>")
    say(juliet, "Ay me!")
    [id] = texts(heard_by(romeo)[-1], "id:occupant-id/@id")
    before = ask(romeo, "", "get", "owner")

    romeo, juliet, nurse = people(networks())
    after = ask(romeo, "", "get", "owner")
    assert [each.text for each in before.iter()] == [each.text for each in after.iter()]
    join(nurse, "Nurse")
    assert condition(nurse.next()) == "forbidden"
    join(romeo, "Rose")
    assert condition(romeo.next()) == "conflict"
    own, line, subject = enter(juliet, "Rose")
    assert (standing(own), texts(own, "id:occupant-id/@id")) == (("admin", "moderator"), [id])
    assert (line.findtext("{*}body"), texts(line, "d:delay/@from")) == ("Ay me!", [ROOM])
    assert (len(find(line, "id:occupant-id")), len(find(line, "sid:stanza-id")), find(line, "u:x")) == (
        1,
        1,
        [],
    )
    assert (subject.findtext("{*}subject"), texts(subject, "d:delay/@stamp")) == (
        "Roses",
        ["1970-01-01T02:46:40Z"],
    )


def test_a_temporary_room_is_gone_after_a_restart_also_one_that_did_not_end_well(
    networks: Any, storage: Storage
) -> None:
    network = networks()
    romeo, *_ = people(network)
    create(romeo, "Romeo")
    rooms = module(network)
    record = rooms.service.rooms.resident[ROOM].record  # type: ignore[index]
    say(romeo, "He jests")
    network = networks(rooms_each=1)
    done(module(network).records.put(ROOM, "", record))  # as if the process had been killed
    network = networks(rooms_each=1)
    romeo, *_ = people(network)
    assert codes(enter(romeo, "Romeo")[0]) == ["110", "201"]
    assert configure(romeo).get("type") == "result"
    assert query(romeo)[0] == []


def test_rooms_that_are_stored_count(networks: Any) -> None:
    romeo, *_ = people(networks())
    create(romeo, "Romeo", persistentroom="1")
    romeo, *_ = people(networks(rooms_each=1))
    join(romeo, "Romeo", room=f"other@{ROOMS}")
    assert condition(romeo.next()) == "resource-constraint"


def test_nothing_of_a_room_is_in_memory_that_nobody_is_in(networks: Any) -> None:
    network = networks()
    romeo, juliet, _ = people(network)
    create(romeo, "Romeo", persistentroom="1")
    say(romeo, "He jests")
    rooms = module(network).service.rooms
    assert [*rooms.resident] == [ROOM]
    romeo.send(f"<presence to='{ROOM}/Romeo' type='unavailable'/>")
    assert not rooms.resident
    assert ask(romeo, "", "get", "owner").get("type") == "result"
    assert affiliate(romeo, JULIET, "member").get("type") == "result"
    query(juliet)
    say(juliet, "Romeo?")
    assert not rooms.resident
    assert not rooms._turns
    juliet.forget()
    assert [
        each.findtext("{*}body") for each in enter(juliet, "Juliet") if each.find("{*}body") is not None
    ] == ["He jests"]


def test_a_destroyed_room_leaves_nothing_behind(networks: Any, storage: Storage) -> None:
    network = networks()
    romeo, *_ = people(network)
    create(romeo, "Romeo", persistentroom="1")
    say(romeo, "He jests")
    ask(romeo, "<destroy/>", part="owner")
    rooms = module(network)
    assert done(rooms.records.owners(ROOMS)) == done(rooms.belongings.owners(ROOMS)) == []
    assert done(rooms.messages.count(ROOM)) == 0
    assert rooms.service.rooms.count == 0
    assert not rooms.service.rooms._creators


# -- operators ------------------------------------------------------------------------------------------


def test_operators_list_show_affiliate_and_destroy(network: Network, romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", persistentroom="1", publicroom="0", roomname="The orchard")
    enter(juliet, "Juliet")
    romeo.forget()
    server = network.server("montague.lit")
    admin = Admin(lambda: verb_groups(server.hosts))

    def call(verb: str, **arguments: object) -> Any:
        return done(admin.call("rooms", verb, arguments))

    [row] = call("list", **AT)
    assert (row["room"], row["name"], row["occupants"], row["public"]) == (ROOM, "The orchard", 2, False)
    assert call("list", **AT, after=ROOM) == []
    shown = call("show", room=ROOM)
    assert shown["here"]["Juliet"] == f"{JULIET} (participant)"
    assert shown["affiliations"] == {"romeo@montague.lit": "owner"}
    assert call("affiliate", room=ROOM, jid=JULIET, affiliation="admin") == f"{JULIET} is admin of {ROOM}"
    assert [standing(each) for each in heard_by(romeo)] == [("admin", "moderator")]
    for wrong in ({"affiliation": "king"}, {"affiliation": "none", "jid": "romeo@montague.lit"}):
        with pytest.raises(Refused):
            call("affiliate", **{"room": ROOM, "jid": JULIET, **wrong})
    assert call("destroy", room=ROOM, reason="Plague") == f"{ROOM} is destroyed"
    assert texts(romeo.next(), "u:x/u:destroy/u:reason/text()") == ["Plague"]
    for verb, more in (("show", {}), ("destroy", {}), ("affiliate", {"jid": JULIET, "affiliation": "none"})):
        with pytest.raises(Refused, match="there is no room"):
            call(verb, room=ROOM, **more)


# -- one change after the other -------------------------------------------------------------------------


class Slow:
    """A store that takes its time: what is asked for is done when `go` is called, in that order."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._asked: list[tuple[Deferred[Any], Any]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def asked(*arguments: Any, **more: Any) -> Deferred[Any]:
            answer: Deferred[Any] = Deferred()
            self._asked.append((answer, lambda: method(*arguments, **more)))
            return answer

        return asked

    def go(self) -> None:
        """Do what was asked for so far."""
        asked, self._asked = self._asked, []
        for answer, work in asked:
            work().chainDeferred(answer)


def slowed(network: Network) -> Slow:
    """Let changes of affiliations take their time."""
    rooms = module(network).service.rooms
    slow = Slow(rooms.belongings)
    rooms.belongings = slow
    return slow


def order(who: Client, id: str, inside: str, part: str = "admin") -> None:
    """Ask, and do not wait."""
    query = f"<query xmlns='http://jabber.org/protocol/muc#{part}'>{inside}</query>"
    who.send(f"<iq type='set' id='{id}' to='{ROOM}'>{query}</iq>")


def test_two_owners_who_remove_each_other_at_the_same_moment_leave_one(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo")
    affiliate(romeo, JULIET, "owner")
    for who in (romeo, juliet):
        who.forget()
    slow = slowed(network)
    order(romeo, "his", f"<item jid='{JULIET}' affiliation='none'/>")
    order(juliet, "hers", "<item jid='romeo@montague.lit' affiliation='none'/>")
    assert heard_by(romeo) == heard_by(juliet) == []  # nothing is told before it is stored
    slow.go()
    network.flush()
    assert [each.get("type") for each in romeo.heard if each.get("id") == "his"] == ["result"]
    assert [condition(each) for each in juliet.heard if each.get("id") == "hers"] == ["forbidden"]


def test_nothing_is_changed_in_a_room_that_was_destroyed_meanwhile(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo")
    slow = slowed(network)
    order(romeo, "first", f"<item jid='{JULIET}' affiliation='member'/>")
    order(romeo, "destroy", "<destroy/>", "owner")
    order(romeo, "last", f"<item jid='{NURSE}' affiliation='member'/>")
    slow.go()
    network.flush()
    answers = {each.get("id"): condition(each) for each in romeo.heard if str(each.tag).endswith("iq")}
    assert answers == {"first": "", "destroy": "", "last": "item-not-found"}
    assert done(slow._store.owners(ROOMS)) == []


def test_who_is_banned_while_entering_does_not_stay(network: Network, romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    slow = slowed(network)
    order(romeo, "ban", f"<item jid='{JULIET}' affiliation='outcast'/>")
    enter(juliet, "Juliet")
    slow.go()
    network.flush()
    assert [codes(each) for each in heard_by(juliet)] == [["110", "301"]]


def loading(network: Network) -> Slow:
    """Let rooms come into memory in their own time."""
    rooms = module(network).service.rooms
    slow = Slow(rooms._storage)
    rooms._storage = slow
    return slow


def test_what_is_sent_to_a_room_that_comes_into_memory_keeps_its_order(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo", persistentroom="1")
    romeo.send(f"<presence to='{ROOM}/Romeo' type='unavailable'/>")
    slow = loading(network)
    join(juliet, "Juliet")
    say(juliet, "Ay me!")
    juliet.send(f"<presence to='{ROOM}/Juliet' type='unavailable'/>")
    join(juliet, "Rose")
    assert heard_by(juliet) == []
    for _ in range(3):
        slow.go()
    heard = [(str(each.tag).partition("}")[2], each.get("type"), nick(each)) for each in heard_by(juliet)]
    assert heard == [
        ("presence", None, "Juliet"),
        ("message", "groupchat", ""),
        ("message", "groupchat", "Juliet"),
        ("presence", "unavailable", "Juliet"),
        ("presence", None, "Rose"),
        ("message", "groupchat", "Juliet"),
        ("message", "groupchat", ""),
    ]


def test_of_two_who_make_a_room_at_the_same_moment_one_does(
    network: Network, romeo: Client, juliet: Client
) -> None:
    slow = loading(network)
    join(romeo, "Romeo")
    join(juliet, "Juliet")
    slow.go()
    slow.go()
    assert codes(romeo.next()) == ["110", "201"]
    assert condition(juliet.next()) == "item-not-found"


def test_a_temporary_room_that_ends_just_now_is_made_anew(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo")
    slow = loading(network)
    romeo.send(f"<presence to='{ROOM}/Romeo' type='unavailable'/>")
    join(juliet, "Juliet")
    assert heard_by(juliet) == []
    for _ in range(3):
        slow.go()
    assert codes(juliet.next()) == ["110", "201"]
