"""XEP-0313: questions and pages, and XEP-0059."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.client import condition
from tests.modules.archived import JULIET, MAM, NURSE, ROMEO, form, paging, read, says, serve

if TYPE_CHECKING:
    from jabberd.testing import Client, Network

SEVEN = [str(number) for number in range(7)]


@pytest.fixture
def romeo(network: Network) -> Client:
    """He has got seven messages, a minute apart; those with even numbers are Juliet's."""
    serve(network, now=1279000000, page=5)  # 2010-07-13T05:46:40Z
    network.client(f"{ROMEO}/orchard").close()
    for number in SEVEN:
        says(network, JULIET if int(number) % 2 == 0 else NURSE, number)
        network.advance(60)
    return network.client(f"{ROMEO}/orchard")


def ids(romeo: Client) -> list[str]:
    first = read(romeo, paging(max="5"))
    return first.ids + read(romeo, paging(after=first.ids[-1])).ids


def test_a_result_is_the_message_as_it_came_with_its_time(romeo: Client) -> None:
    answer = read(romeo, paging(max="1"), " queryid='f27'")
    assert [each.get("queryid") for each in answer.results] == ["f27"]
    inside = (
        f"<result xmlns='{MAM}' queryid='f27' id='{answer.ids[0]}'><forwarded xmlns='urn:xmpp:forward:0'>"
        "<delay xmlns='urn:xmpp:delay' stamp='2010-07-13T05:46:40.000000Z'/>"
        f"<message xmlns='jabber:client' type='chat' id='0' to='{ROMEO}' from='{JULIET}'>"
        "<body>0</body></message>"
        "</forwarded></result>"
    )
    romeo.heard[:] = answer.messages
    assert romeo.receives(f"<message from='{ROMEO}' to='{romeo.jid}'>{inside}</message>")


def test_pages_forward(romeo: Client) -> None:
    answer = read(romeo, paging(max="3"))
    assert (answer.bodies, answer.complete) == (SEVEN[:3], False)
    assert (answer.rsm("first"), answer.rsm("last")) == (answer.ids[0], answer.ids[2])
    answer = read(romeo, paging(max="3", after=answer.ids[2]))
    assert (answer.bodies, answer.complete) == (SEVEN[3:6], False)
    answer = read(romeo, paging(max="3", after=answer.ids[2]))
    assert (answer.bodies, answer.complete) == (SEVEN[6:], True)
    answer = read(romeo, paging(max="3", after=answer.ids[0]))
    assert (answer.bodies, answer.complete, answer.rsm("first")) == ([], True, None)


def test_pages_backward(romeo: Client) -> None:
    answer = read(romeo, paging(max="3", before=""))
    assert (answer.bodies, answer.complete) == (SEVEN[4:], False)
    answer = read(romeo, paging(max="3", before=answer.ids[0]))
    assert (answer.bodies, answer.complete) == (SEVEN[1:4], False)
    answer = read(romeo, paging(max="3", before=answer.ids[0]))
    assert (answer.bodies, answer.complete) == (SEVEN[:1], True)


def test_a_page_may_come_the_other_way_round(romeo: Client) -> None:
    answer = read(romeo, paging(max="3", before="") + "<flip-page/>")
    assert (answer.bodies, answer.complete) == (["6", "5", "4"], False)
    assert (answer.rsm("first"), answer.rsm("last")) == (answer.ids[2], answer.ids[0])


def test_the_server_has_a_limit_of_its_own(romeo: Client) -> None:
    assert read(romeo).bodies == SEVEN[:5]
    assert read(romeo, paging(max="10000000000")).bodies == SEVEN[:5]


def test_no_messages_but_their_number(romeo: Client) -> None:
    answer = read(romeo, paging(max="0"))
    assert (answer.bodies, answer.complete, answer.rsm("count")) == ([], False, "7")
    answer = read(romeo, form(with_="juliet@capulet.lit") + paging(max="0"))
    assert answer.rsm("count") == "4"
    answer = read(romeo, form(with_="tybalt@evil.example") + paging(max="0"))
    assert (answer.complete, answer.rsm("count")) == (True, "0")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"with_": "juliet@capulet.lit"}, "0246"),
        ({"with_": JULIET}, "0246"),
        ({"with_": "juliet@capulet.lit/chamber"}, ""),
        ({"with_": "capulet.lit"}, ""),
        ({"with_": ROMEO}, ""),
        ({"start": "2010-07-13T05:50:40Z"}, "456"),
        ({"start": "2010-07-13T05:50:40.000001Z"}, "56"),
        ({"start": "2010-07-13T07:50:40+02:00"}, "456"),
        ({"end": "2010-07-13T05:48:40Z"}, "012"),
        ({"start": "2010-07-13T05:47:40Z", "end": "2010-07-13T05:48:40Z"}, "12"),
        ({"start": "1969-01-01T00:00:00Z", "end": "1969-01-02T00:00:00Z"}, ""),
        ({"with_": "nurse@capulet.lit", "start": "2010-07-13T05:48:00Z"}, "35"),
        ({"include_groupchat": "true", "start": "2010-07-13T05:50:40Z"}, "456"),
    ],
)
def test_a_form_says_which_messages_are_wanted(romeo: Client, fields: dict[str, str], found: str) -> None:
    answer = read(romeo, form(**fields))
    assert (answer.bodies, answer.complete) == (list(found), True)


def test_ids_in_a_form_bound_what_is_wanted_or_name_it(romeo: Client) -> None:
    all_ = ids(romeo)
    assert read(romeo, form(after_id=all_[3])).bodies == SEVEN[4:]
    assert read(romeo, form(before_id=all_[2])).bodies == SEVEN[:2]
    assert read(romeo, form(after_id=all_[1], before_id=all_[4])).bodies == SEVEN[2:4]
    assert read(romeo, form(ids=[all_[5], all_[1], all_[1]])).bodies == ["1", "5"]
    assert read(romeo, form(after_id=all_[0]) + paging(max="2", before="")).bodies == ["5", "6"]
    assert read(romeo, form(after_id=all_[0]) + paging(max="2", after=all_[2])).bodies == ["3", "4"]


@pytest.mark.parametrize(
    ("inside", "error"),
    [
        (form(after_id="1"), "item-not-found"),
        (form(before_id="nonsense"), "item-not-found"),
        (form(ids=["1"]), "item-not-found"),
        (paging(after="1"), "item-not-found"),
        (paging(before="99999999999999999999"), "item-not-found"),
        (paging(max="many"), "bad-request"),
        (paging(max="-1"), "bad-request"),
        (form(start="yesterday"), "bad-request"),
        (form(end="2010-07-13"), "bad-request"),
        (form(with_="@"), "bad-request"),
        (form(with_=["a@b", "c@d"]), "bad-request"),
        (form(ids=[str(number) for number in range(501)]), "bad-request"),
        (form().replace(MAM, "urn:xmpp:mam:1"), "bad-request"),
        (form(**{"{urn:example:odd}odd": "1"}), "feature-not-implemented"),
    ],
)
def test_f8_what_cannot_be_answered_is_refused(romeo: Client, inside: str, error: str) -> None:
    answer = read(romeo, inside)
    assert (condition(answer.iq), answer.results) == (error, [])


def test_archives_of_nodes_are_not_here(romeo: Client) -> None:
    assert condition(read(romeo, "", " node='urn:example:node'").iq) == "feature-not-implemented"


def test_what_one_can_ask_for_is_told(romeo: Client) -> None:
    answer = romeo.ask(f"<iq type='get'><query xmlns='{MAM}'/></iq>")
    assert answer.xpath(".//@var") == [
        "FORM_TYPE",
        "with",
        "start",
        "end",
        "before-id",
        "after-id",
        "ids",
        "include-groupchat",
    ]
    assert answer.find(".//{http://jabber.org/protocol/xdata-validate}open") is not None


def test_where_the_archive_begins_and_ends(romeo: Client, network: Network) -> None:
    all_ = ids(romeo)
    romeo.send(f"<iq type='get' id='m1'><metadata xmlns='{MAM}'/></iq>")
    assert romeo.receives(
        f"<iq type='result' id='m1' from='{ROMEO}' to='{romeo.jid}'><metadata xmlns='{MAM}'>"
        f"<start id='{all_[0]}' timestamp='2010-07-13T05:46:40.000000Z'/>"
        f"<end id='{all_[-1]}' timestamp='2010-07-13T05:52:40.000000Z'/></metadata></iq>"
    )
    mercutio = network.client("mercutio@montague.lit/square")
    empty = mercutio.ask(f"<iq type='get'><metadata xmlns='{MAM}'/></iq>")
    assert len(empty[0]) == 0


@pytest.mark.parametrize("question", ["query", "metadata", "prefs"])
def test_f8_nobody_reads_the_archive_of_another(romeo: Client, network: Network, question: str) -> None:
    for type in ("get", "set"):
        iq = f"<iq xmlns='jabber:client' type='{type}' id='1' to='{ROMEO}'><{question} xmlns='{MAM}'/></iq>"
        tybalt = network.stranger("tybalt@evil.example/alley")
        tybalt.send(iq)
        assert condition(tybalt.next()) == "service-unavailable"
        mercutio = network.client("mercutio@montague.lit/square")
        mercutio.send(iq)
        assert condition(mercutio.next()) == "service-unavailable"


def test_the_account_tells_what_it_can(romeo: Client) -> None:
    info = f"<iq type='get' to='{ROMEO}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    told = set(romeo.ask(info).xpath(".//@var"))
    assert told >= {MAM, f"{MAM}#extended", f"{MAM}#groupchat-field", "urn:xmpp:sid:0"}


def test_a_page_by_number_is_refused_and_not_another_page(romeo: Client) -> None:
    """XEP-0059 §2.6: who cannot do that says so."""
    assert condition(read(romeo, paging(max="2", index="4")).iq) == "feature-not-implemented"
