"""Making rooms, entering and leaving them, nicknames (XEP-0045 §7.2, §7.6, §7.7, §7.14, §10.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jabberd.testing.client import condition
from tests.modules.muc.play import (
    MUC,
    ROOM,
    ROOMS,
    affiliate,
    codes,
    configure,
    create,
    enter,
    find,
    give_role,
    heard_by,
    join,
    nick,
    say,
    standing,
    texts,
)

if TYPE_CHECKING:
    from jabberd.testing import Network
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
    assert [(str(each.tag).partition("}")[2], nick(each)) for each in heard] == [
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


# -- who may not (§7.2.16) -------------------------------------------------------------------------------


def refused(who: Client, name: str, inside: str = "") -> tuple[str, str]:
    """The condition, and who says so."""
    join(who, name, inside)
    [answer] = heard_by(who)
    assert (answer.get("type"), answer.get("from"), answer.get("id")) == ("error", f"{ROOM}/{name}", "in")
    assert answer.find(f"{{{MUC}}}x") is not None  # by this slixmpp knows what it is about
    return condition(answer), texts(answer, "c:error/@by")[0]


def test_a_nickname_is_needed(romeo: Client, juliet: Client) -> None:
    for who in (romeo, juliet):
        who.send(f"<presence to='{ROOM}'><x xmlns='{MUC}'/></presence>")
        assert condition(who.next()) == "jid-malformed"
        if who is romeo:
            create(romeo, "Romeo")
    assert refused(juliet, "   ") == ("not-acceptable", ROOM)
    assert refused(juliet, "x" * 257) == ("not-acceptable", ROOM)


def test_a_password_is_needed_where_there_is_one(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", passwordprotectedroom="1", roomsecret="rosé")
    assert refused(juliet, "Juliet") == ("not-authorized", ROOM)
    assert refused(juliet, "Juliet", "<password>rose</password>") == ("not-authorized", ROOM)
    enter(juliet, "Juliet", "<password>rosé</password>")


def test_only_members_enter_a_room_for_members(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", membersonly="1")
    assert refused(juliet, "Juliet") == ("registration-required", ROOM)
    affiliate(romeo, "juliet@capulet.lit", "member")
    juliet.forget()
    assert standing(enter(juliet, "Juliet")[1]) == ("member", "participant")


def test_who_is_banned_stays_outside_alone_or_with_the_whole_domain(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo")
    affiliate(romeo, "juliet@capulet.lit", "outcast")
    assert refused(juliet, "Juliet") == ("forbidden", ROOM)
    enter(nurse, "Nurse")
    affiliate(romeo, "capulet.lit", "outcast")
    assert [codes(each) for each in heard_by(nurse)] == [["110", "301"]]
    assert refused(nurse, "Nurse") == ("forbidden", ROOM)
    affiliate(romeo, "juliet@capulet.lit", "member")
    juliet.forget()
    enter(juliet, "Juliet")


def test_a_nickname_is_one_person_however_it_is_spelt(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    for name in ("Romeo", "romeo", "ROMEO", " Romeo "):
        assert refused(juliet, name) == ("conflict", ROOM)


def test_a_reserved_nickname_is_for_its_owner(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    affiliate(romeo, "juliet@capulet.lit", "member", "nick='Jule'")
    assert refused(nurse, "jule") == ("conflict", ROOM)
    enter(nurse, "Nurse")
    nurse.send(f"<presence to='{ROOM}/Jule'/>")
    assert condition(nurse.next()) == "conflict"
    juliet.forget()
    enter(juliet, "Jule")


def test_a_full_room_lets_admins_in(network: Network, romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo", maxusers="2")
    enter(juliet, "Juliet")
    assert refused(nurse, "Nurse") == ("service-unavailable", ROOM)
    enter(network.client("juliet@capulet.lit/garden"), "Juliet")
    affiliate(romeo, "nurse@capulet.lit", "admin")
    nurse.forget()
    enter(nurse, "Nurse")


def test_only_some_make_rooms(network: Network) -> None:
    tybalt = network.client("tybalt@verona.lit/street")
    assert refused(tybalt, "Tybalt") == ("not-allowed", ROOM)


def test_there_are_so_many_rooms(network: Network) -> None:
    network.serve(
        "verona.lit", services={"r.verona.lit": {"disco": {}, "muc": {"rooms": 3, "rooms_each": 2}}}
    )
    escalus, page = (network.client(f"{name}@verona.lit/palace") for name in ("escalus", "page"))
    for number in (1, 2):
        create(escalus, "E", room=f"room{number}@r.verona.lit")
    join(escalus, "E", room="room3@r.verona.lit")
    assert condition(escalus.next()) == "resource-constraint"
    create(page, "P", room="room4@r.verona.lit")
    join(page, "P", room="room5@r.verona.lit")
    assert condition(page.next()) == "resource-constraint"
    met = network.server("verona.lit").hosts["r.verona.lit"].manager.module("muc").met
    assert (met["rooms"], met["rooms_each"]) == (1, 1)
    escalus.send("<presence type='unavailable' to='room1@r.verona.lit/E'/>")
    create(page, "P", room="room5@r.verona.lit")


def test_admins_of_the_domain_own_every_room(network: Network, romeo: Client) -> None:
    create(romeo, "Romeo", membersonly="1")
    friar = network.client("friar@montague.lit/cell")
    assert standing(enter(friar, "Friar")[-2]) == ("owner", "moderator")


# -- what is told of it ----------------------------------------------------------------------------------


def test_addresses_are_for_moderators_where_the_room_keeps_them(
    romeo: Client, juliet: Client, nurse: Client
) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    assert "100" not in codes(enter(nurse, "Nurse")[2])
    assert texts(romeo.next(), "u:x/u:item/@jid") == ["nurse@capulet.lit/chamber"]
    assert texts(juliet.next(), "u:x/u:item/@jid") == []


def test_everybody_is_warned_where_addresses_are_shown_and_logs_are_public(
    romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo", whois="anyone", enablelogging="1")
    his, hers, _ = enter(juliet, "Juliet")
    assert texts(his, "u:x/u:item/@jid") == ["romeo@montague.lit/orchard"]
    assert codes(hers) == ["100", "110", "170"]


def test_a_role_whose_presence_is_not_broadcast_is_seen_by_itself(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", moderatedroom="1", presencebroadcast=["moderator", "participant"])
    assert [nick(each) for each in enter(juliet, "Juliet")] == ["Romeo", "Juliet", ""]
    assert heard_by(romeo) == []
    give_role(romeo, "Juliet", "participant")
    assert [standing(each) for each in heard_by(romeo)] == [("none", "participant")]
    give_role(romeo, "Juliet", "visitor")
    assert [standing(each) for each in heard_by(romeo)] == [("none", "visitor")]
    juliet.send(f"<presence to='{ROOM}/Juliet'><show>away</show></presence>")
    assert heard_by(romeo) == []
    juliet.send(f"<presence type='unavailable' to='{ROOM}/Juliet'/>")
    assert [each.get("type") for each in heard_by(romeo)] == ["unavailable"]


def test_status_and_what_clients_can_do_pass_and_what_only_the_room_may_say_does_not(
    romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo")
    forged = (
        "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner'/></x>"
        + "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>" * 3
    )
    caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>"
    join(juliet, "Juliet", more=f"<show>dnd</show>{caps}{forged}")
    seen = romeo.next()
    assert (seen.findtext("{*}show"), len(seen.findall("{*}c"))) == ("dnd", 1)
    [id] = texts(seen, "id:occupant-id/@id")
    assert id != "forged"
    assert standing(seen) == ("none", "participant")
    juliet.send(f"<presence to='{ROOM}/Juliet'><show>xa</show>{forged}</presence>")
    seen = romeo.next()
    assert (seen.findtext("{*}show"), texts(seen, "id:occupant-id/@id")) == ("xa", [id])


def test_presence_that_is_too_large_for_everybody_is_refused(romeo: Client) -> None:
    join(romeo, "Romeo", more=f"<status>{'x' * 20_000}</status>")
    assert condition(romeo.next()) == "not-acceptable"


# -- occupant ids (XEP-0421) -----------------------------------------------------------------------------


def test_an_occupant_id_is_of_the_account_and_of_one_room(
    network: Network, romeo: Client, juliet: Client
) -> None:
    create(romeo, "Romeo")
    other = f"cell@{ROOMS}"
    create(romeo, "Romeo", room=other)
    ids = [
        texts(enter(juliet, name, room=room)[1], "id:occupant-id/@id")
        for name, room in (("Juliet", ROOM), ("Rosaline", other))
    ]
    assert ids[0] != ids[1]
    juliet.send(f"<presence type='unavailable' to='{ROOM}/Juliet'/>")
    juliet.forget()
    assert texts(enter(juliet, "Jule")[1], "id:occupant-id/@id") == ids[0]
    assert len(ids[0][0]) == 64


# -- moving about ----------------------------------------------------------------------------------------


def test_another_nickname(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    romeo.forget()
    juliet.send(f"<presence to='{ROOM}/Rose' id='n'/>")
    for who, own in ((romeo, []), (juliet, ["110"])):
        old, new = heard_by(who)
        assert (nick(old), old.get("type"), codes(old)) == ("Juliet", "unavailable", [*own, "303"])
        assert texts(old, "u:x/u:item/@nick") == ["Rose"]
        assert (nick(new), new.get("type"), codes(new)) == ("Rose", None, own)
    juliet.send(f"<presence to='{ROOM}/rose'/>")
    assert [nick(each) for each in heard_by(romeo)] == ["Rose", "rose"]
    juliet.send(f"<presence to='{ROOM}/ROMEO'/>")
    assert condition(juliet.heard[-1]) == "conflict"


def test_two_clients_of_one_account_are_one_occupant(network: Network, romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    second = network.client("juliet@capulet.lit/garden")
    assert [nick(each) for each in enter(second, "Juliet")] == ["Romeo", "Juliet", ""]
    romeo.forget()
    juliet.forget()
    say(romeo, "Hush")
    assert [each.findtext("{*}body") for who in (juliet, second) for each in heard_by(who)] == ["Hush"] * 2
    romeo.send(f"<message to='{ROOM}/Juliet' type='chat'><body>psst</body></message>")
    assert [each.findtext("{*}body") for who in (juliet, second) for each in heard_by(who)] == ["psst"] * 2
    romeo.forget()
    second.send(f"<presence type='unavailable' to='{ROOM}/Juliet'/>")
    assert [each.get("type") for each in heard_by(second)] == ["unavailable"]
    assert [each.get("type") for each in heard_by(romeo)] == [None]
    juliet.drop()
    assert [each.get("type") for each in heard_by(romeo)] == ["unavailable"]


def test_who_has_lost_track_is_told_everything_again(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    first = [nick(each) for each in enter(juliet, "Juliet")]
    romeo.forget()
    assert [nick(each) for each in enter(juliet, "Juliet")] == first
    assert [nick(each) for each in heard_by(romeo)] == ["Juliet"]


def test_who_only_believes_to_be_in_the_room_learns_that(romeo: Client, juliet: Client) -> None:
    for room in (ROOM, f"nowhere@{ROOMS}"):
        juliet.send(f"<presence to='{room}/Juliet'/>")
        told = juliet.next()
        assert (told.get("type"), codes(told)) == ("unavailable", ["110", "307", "333"])
        if room == ROOM:
            create(romeo, "Romeo")


def test_presence_of_other_types_neither_comes_nor_goes(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    for kind in ("subscribe", "probe", "unavailable"):
        juliet.send(f"<presence to='{ROOM}/Juliet' type='{kind}'><x xmlns='{MUC}'/></presence>")
    assert heard_by(romeo) == []
    romeo.send(f"<presence to='{ROOM}/Romeo' type='subscribe'/>")
    say(romeo, "still here")
    assert [each.findtext("{*}body") for each in heard_by(romeo)] == ["still here"]


def test_a_temporary_room_ends_with_its_last_occupant_and_an_unconfigured_one_too(
    romeo: Client, juliet: Client
) -> None:
    for configured in (True, False):
        if configured:
            create(romeo, "Romeo")
        else:
            enter(romeo, "Romeo")
        romeo.send(f"<presence type='unavailable' to='{ROOM}/Romeo'/>")
        romeo.forget()
        assert codes(enter(juliet, "Juliet")[0]) == ["110", "201"]
        juliet.send(f"<presence type='unavailable' to='{ROOM}/Juliet'/>")
        juliet.forget()
