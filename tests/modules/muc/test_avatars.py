"""XEP-0486: avatars of rooms."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from jabberd.testing.client import condition
from tests.modules.muc.play import ROOM, ROOMS, ask, codes, create, enter, heard_by, texts

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing.client import Client

PNG = b"\x89PNG rose"
OTHER = b"<svg/>"
HASH = "muc#roominfo_avatarhash"


@pytest.fixture
def modules() -> dict[str, dict[str, object]]:
    return {"muc_avatars": {"size": 1_000}}


def photo(image: bytes, type: str = "image/png") -> str:
    return f"<PHOTO><TYPE>{type}</TYPE><BINVAL>{b64encode(image).decode()}</BINVAL></PHOTO>"


def card(who: Client, kind: str, inside: str = "") -> _Element:
    return who.ask(f"<iq type='{kind}' to='{ROOM}'><vCard xmlns='vcard-temp'>{inside}</vCard></iq>")


def sha1(image: bytes) -> str:
    return hashlib.sha1(image).hexdigest()


def hashes(who: Client) -> list[str]:
    """What the room tells of its avatar."""
    info = who.ask(f"<iq type='get' to='{ROOM}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
    return texts(info, f".//x:field[@var='{HASH}']/x:value/text()")


def shown(element: _Element) -> str | None:
    """The hash in a room's own presence."""
    assert (element.tag, element.get("from")) == ("{jabber:client}presence", ROOM)
    return element.findtext("{vcard-temp:x:update}x/{vcard-temp:x:update}photo")


def test_an_owner_sets_an_avatar_and_everybody_sees_it(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    assert hashes(nurse) == []
    assert card(romeo, "set", photo(PNG)).get("type") == "result"
    changed, presence = heard_by(juliet)
    assert codes(changed) == ["104"]
    assert shown(presence) == sha1(PNG)
    assert hashes(nurse) == [sha1(PNG)]
    got = card(nurse, "get")
    assert got.findtext(".//{vcard-temp}BINVAL") == b64encode(PNG).decode()


def test_a_newcomer_learns_which_avatar_there_is(romeo: Client, juliet: Client, nurse: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    card(romeo, "set", photo(PNG))
    nurse.send(f"<presence to='{ROOM}/Nurse'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    assert shown(heard_by(nurse)[-1]) == sha1(PNG)


def test_an_empty_vcard_removes_the_avatar(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    card(romeo, "set", photo(PNG))
    juliet.forget()
    assert card(romeo, "set").get("type") == "result"
    _, presence = heard_by(juliet)
    assert not shown(presence)
    assert hashes(juliet) == []
    [empty] = card(juliet, "get")
    assert (empty.tag, len(empty)) == ("{vcard-temp}vCard", 0)


def test_the_same_avatar_again_is_not_shown_anew(romeo: Client) -> None:
    create(romeo, "Romeo")
    card(romeo, "set", photo(PNG))
    romeo.forget()
    card(romeo, "set", f"<FN>Orchard</FN>{photo(PNG)}")
    assert [each.tag for each in heard_by(romeo) if each.tag == "{jabber:client}presence"] == []


def test_an_avatar_in_two_formats_has_two_hashes(romeo: Client) -> None:
    create(romeo, "Romeo")
    card(romeo, "set", photo(OTHER, "image/svg+xml") + photo(PNG))
    assert hashes(romeo) == [sha1(OTHER), sha1(PNG)]


def test_a_media_type_is_the_same_in_capitals(romeo: Client) -> None:
    create(romeo, "Romeo")
    assert card(romeo, "set", photo(PNG, "IMAGE/PNG")).get("type") == "result"
    assert hashes(romeo) == [sha1(PNG)]


def test_only_owners_set_an_avatar(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo")
    enter(juliet, "Juliet")
    ask(romeo, "<item jid='juliet@capulet.lit' affiliation='admin'/>")
    assert condition(card(juliet, "set", photo(PNG))) == "forbidden"
    assert hashes(romeo) == []


@pytest.mark.parametrize(
    ("inside", "error"),
    [
        (photo(b"x" * 1_000), "resource-constraint"),
        (photo(PNG, "text/html"), "not-acceptable"),
        ("<PHOTO><TYPE>image/png</TYPE><BINVAL>no base64!</BINVAL></PHOTO>", "not-acceptable"),
        (photo(b"") + photo(PNG) * 6, "not-acceptable"),
    ],
    ids=["too large", "no image", "not base64", "too many"],
)
def test_what_is_no_avatar_is_refused_and_changes_nothing(romeo: Client, inside: str, error: str) -> None:
    create(romeo, "Romeo")
    card(romeo, "set", photo(OTHER, "image/svg+xml"))
    assert condition(card(romeo, "set", inside)) == error
    assert hashes(romeo) == [sha1(OTHER)]


def test_a_room_without_configuration_has_no_avatar_yet(romeo: Client) -> None:
    enter(romeo, "Romeo")
    assert condition(card(romeo, "set", photo(PNG))) == "unexpected-request"


def test_an_avatar_stays_while_nobody_is_there_and_goes_with_the_room(romeo: Client, juliet: Client) -> None:
    create(romeo, "Romeo", persistentroom="1")
    card(romeo, "set", photo(PNG))
    romeo.send(f"<presence type='unavailable' to='{ROOM}/Romeo'/>")
    assert hashes(juliet) == [sha1(PNG)]
    ask(romeo, "<destroy/>", part="owner")
    create(romeo, "Romeo")
    assert hashes(juliet) == []
    assert len(card(juliet, "get")[0]) == 0


def test_service_and_room_say_that_there_are_avatars(romeo: Client) -> None:
    create(romeo, "Romeo")
    for jid in (ROOM, ROOMS):
        info = romeo.ask(
            f"<iq type='get' to='{jid}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        )
        assert info.xpath("*/*[@var='vcard-temp']"), jid
