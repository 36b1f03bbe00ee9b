"""XEP-0433: rooms that are found by words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.client import condition
from tests.modules.muc.play import MUC, ROOMS, ask, configure, create, enter, texts

if TYPE_CHECKING:
    from lxml.etree import _Element

    from jabberd.testing.client import Client

NS = "urn:xmpp:channel-search:0:search"
ORDER = "{urn:xmpp:channel-search:0:order}"
ERRORS = "urn:xmpp:channel-search:0:error"


@pytest.fixture
def modules() -> dict[str, dict[str, object]]:
    return {"muc_search": {}}


def search(who: Client, page: str = "", **fields: str) -> _Element:
    """Search with these fields; a page if one is asked for."""
    filled = "".join(f"<field var='{var}'><value>{text}</value></field>" for var, text in fields.items())
    form = f"<x xmlns='jabber:x:data' type='submit'>{filled}</x>"
    asked = f"<set xmlns='http://jabber.org/protocol/rsm'>{page}</set>" if page else ""
    return who.ask(f"<iq type='get' to='{ROOMS}'><search xmlns='{NS}'>{form}{asked}</search></iq>")


def found(answer: _Element) -> list[str]:
    """The localparts of the rooms."""
    assert answer.get("type") == "result", condition(answer)
    [result] = answer.iterfind(f"{{{NS}}}result")
    return [each.get("address", "").partition("@")[0] for each in result.iterfind(f"{{{NS}}}item")]


def paging(answer: _Element, what: str) -> str:
    return answer.findtext(f".//{{http://jabber.org/protocol/rsm}}{what}") or ""


@pytest.fixture
def verona(romeo: Client, juliet: Client, nurse: Client) -> Client:
    """Rooms: three that are public, two people in one of them."""
    rooms = {
        "cell": {"roomname": "Friar's cell", "roomdesc": "Herbs and advice", "lang": "la"},
        "orchard": {"roomname": "Orchard", "roomdesc": "ROSES by any name", "whois": "anyone"},
        "tomb": {"roomname": "Monument", "membersonly": "1"},
        "secret": {"roomname": "Secret roses", "publicroom": "0"},
    }
    for name, fields in rooms.items():
        create(romeo, "Romeo", f"{name}@{ROOMS}", persistentroom="1", **fields)
    enter(juliet, "Juliet", room=f"orchard@{ROOMS}")
    romeo.send(f"<presence type='unavailable' to='tomb@{ROOMS}/Romeo'/>")
    romeo.forget()
    return nurse


def test_the_form_has_all_fields_with_their_defaults(verona: Client) -> None:
    answer = verona.ask(f"<iq type='get' to='{ROOMS}'><search xmlns='{NS}'/></iq>")
    kinds = {each.get("var"): each.get("type") for each in answer.iterfind(".//{jabber:x:data}field")}
    assert kinds == {
        "FORM_TYPE": "hidden",
        "q": "text-single",
        "all": "boolean",
        "sinname": "boolean",
        "sindescription": "boolean",
        "sinaddress": "boolean",
        "min_users": "text-single",
        "types": "list-multi",
        "key": "list-single",
    }
    assert texts(answer, ".//x:field[@var='key']/x:value/text()") == [f"{ORDER}nusers"]


@pytest.mark.parametrize(
    ("words", "rooms"),
    [
        ("roses", ["orchard"]),
        ("HERBS cell", ["cell"]),
        ("herbs roses", []),
        ("tomb", ["tomb"]),
        ("secret", []),
        (ROOMS, ["orchard", "cell", "tomb"]),
    ],
)
def test_public_rooms_are_found_by_words_in_name_description_and_address(
    verona: Client, words: str, rooms: list[str]
) -> None:
    assert found(search(verona, q=words)) == rooms


def test_one_says_where_to_search(verona: Client) -> None:
    assert found(search(verona, q="monument", sinname="false")) == []
    assert found(search(verona, q="roses", sindescription="0")) == []
    assert found(search(verona, q="tomb", sinaddress="0")) == []
    assert found(search(verona, q="cell", sinname="0", sindescription="0", sinaddress="0")) == []


def test_all_are_found_by_users_or_by_address(verona: Client) -> None:
    assert found(search(verona, all="1")) == ["orchard", "cell", "tomb"]
    assert found(search(verona, all="1", key=f"{ORDER}address")) == ["cell", "orchard", "tomb"]
    assert found(search(verona, all="1", min_users="1")) == ["orchard", "cell"]
    assert found(search(verona, all="1", min_users="2")) == ["orchard"]


def test_other_types_of_channels_are_not_here(verona: Client) -> None:
    assert found(search(verona, all="1", types="xep-0369")) == []
    assert len(found(search(verona, all="1", types="xep-0045"))) == 3
    assert len(found(search(verona, all="1", types=""))) == 3


def test_what_is_told_of_a_room(verona: Client) -> None:
    def told(words: str) -> dict[str, str]:
        [item] = search(verona, q=words).iterfind(f".//{{{NS}}}item")
        return {str(each.tag).partition("}")[2]: each.text or "" for each in item}

    assert told("herbs") == {
        "name": "Friar's cell",
        "description": "Herbs and advice",
        "language": "la",
        "nusers": "1",
        "service-type": "xep-0045",
        "is-open": "true",
        "anonymity-mode": "muc_semianonymous",
    }
    assert told("roses")["anonymity-mode"] == "{urn:xmpp:channel-search:0:anonymity}none"
    assert "is-open" not in told("tomb")


@pytest.mark.parametrize("key", ["address", "nusers"])
def test_pages_go_on_behind_each_other_and_back(verona: Client, key: str) -> None:
    order = f"{ORDER}{key}"
    rooms = found(search(verona, all="1", key=order))
    first = search(verona, "<max>2</max>", all="1", key=order)
    assert found(first) == rooms[:2]
    assert paging(first, "count") == "3"
    second = search(verona, f"<max>2</max><after>{paging(first, 'last')}</after>", all="1", key=order)
    assert found(second) == rooms[2:]
    back = search(verona, f"<max>1</max><before>{paging(second, 'first')}</before>", all="1", key=order)
    assert found(back) == rooms[1:2]
    assert found(search(verona, "<max>1</max><before/>", all="1", key=order)) == rooms[2:]
    assert found(search(verona, "<max>0</max>", all="1", key=order)) == []


def test_a_page_behind_a_room_that_is_gone_goes_on_there(verona: Client, romeo: Client) -> None:
    first = search(verona, "<max>2</max>", all="1", key=f"{ORDER}address")
    ask(romeo, "<destroy/>", part="owner", room=f"orchard@{ROOMS}")
    after = f"<after>{paging(first, 'last')}</after>"
    assert found(search(verona, after, all="1", key=f"{ORDER}address")) == ["tomb"]
    for wrong in ("<after>@</after>", "<after>many rooms</after>"):
        assert condition(search(verona, wrong, all="1")) == "item-not-found"


@pytest.mark.parametrize(
    ("fields", "error", "type", "name"),
    [
        ({"all": "1", "key": "beauty"}, "feature-not-implemented", "modify", "invalid-sort-key"),
        ({"q": " "}, "bad-request", "modify", "invalid-search-terms"),
        ({"q": "x" * 300}, "bad-request", "modify", "invalid-search-terms"),
        ({"q": "roses", "all": "1"}, "bad-request", "modify", "conflicting-fields"),
        ({}, "bad-request", "cancel", "no-search-conditions"),
        ({"sinname": "1"}, "bad-request", "cancel", "no-search-conditions"),
    ],
)
def test_searches_that_make_no_sense_are_told_why(
    verona: Client, fields: dict[str, str], error: str, type: str, name: str
) -> None:
    answer = search(verona, **fields)
    assert condition(answer) == error
    [why] = answer.iterfind("{jabber:client}error")
    assert why.get("type") == type
    assert why.find(f"{{{ERRORS}}}{name}") is not None


def test_fields_that_conflict_are_named_by_their_labels(verona: Client) -> None:
    [why] = texts(search(verona, q="roses", all="1"), "c:error/s:text/text()")
    assert "Search for" in why
    assert "Return all entries" in why


def test_a_number_of_users_is_a_number(verona: Client) -> None:
    assert condition(search(verona, all="1", min_users="many")) == "not-acceptable"


def test_fields_that_nobody_knows_are_passed_over(verona: Client) -> None:
    assert found(search(verona, q="roses", colour="red")) == ["orchard"]


def test_what_changes_is_found_at_once(verona: Client, romeo: Client) -> None:
    found(search(verona, all="1"))
    configure(romeo, room=f"cell@{ROOMS}", roomname="Laboratory")
    assert found(search(verona, q="laboratory")) == ["cell"]
    configure(romeo, room=f"cell@{ROOMS}", publicroom="0")
    assert found(search(verona, q="laboratory")) == []
    create(romeo, "Romeo", f"street@{ROOMS}")
    assert found(search(verona, q="street")) == ["street"]
    ask(romeo, "<destroy/>", part="owner", room=f"street@{ROOMS}")
    assert found(search(verona, q="street")) == []


def test_the_service_says_that_it_can_be_searched(verona: Client) -> None:
    info = verona.ask(
        f"<iq type='get' to='{ROOMS}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    assert info.xpath(f"*/*[@var='{NS}']")
    assert info.xpath(f"*/*[@var='{MUC}']")
