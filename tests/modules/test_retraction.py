"""XEP-0424: tombstones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.modules.archived import JULIET, MODULES, NURSE, ROMEO, read, says

if TYPE_CHECKING:
    from jabberd.testing import Client, Network
    from tests.modules.archived import Answer

NS = "urn:xmpp:message-retract:1"
FALLBACK = "<fallback xmlns='urn:xmpp:fallback:0'/><body>/me retracted a message</body>"


@pytest.fixture
def romeo(network: Network) -> Client:
    network.clock.rightNow = 1e9
    network.serve("montague.lit", modules={**MODULES, "retraction": {}})
    network.stranger(JULIET)
    return network.client(f"{ROMEO}/orchard")


def retraction(of: str, id: str = "r1") -> str:
    return f"<message type='chat' id='{id}' to='{{}}'><retract xmlns='{NS}' id='{of}'/>{FALLBACK}</message>"


def take_back(network: Network, of: str, sender: str = JULIET) -> None:
    xml = retraction(of).format(ROMEO).replace("<message", "<message xmlns='jabber:client'")
    network.stranger(sender).send(xml)


def stones(answer: Answer) -> list[dict[str, str]]:
    found = [each.find(f".//{{*}}message/{{{NS}}}retracted") for each in answer.results]
    return [dict(each.attrib) for each in found if each is not None]


def test_what_the_other_side_takes_back_is_buried(romeo: Client, network: Network) -> None:
    for body in ("one", "two", "three"):
        says(network, JULIET, body)
    before = read(romeo).ids
    take_back(network, "two")
    answer = read(romeo)
    assert answer.bodies == ["one", "", "three", "/me retracted a message"]
    assert answer.ids[:3] == before
    assert stones(answer) == [{"id": "r1", "stamp": "2001-09-09T01:46:40Z"}]
    [buried] = answer.results[1].iterfind(".//{jabber:client}message")
    assert (buried.get("id"), buried.get("from"), len(buried)) == ("two", JULIET, 1)


def test_what_one_takes_back_oneself_is_buried(romeo: Client) -> None:
    romeo.send(f"<message type='chat' id='m1' to='{JULIET}'><body>O, wilt thou leave me so?</body></message>")
    romeo.send(retraction("m1").format(JULIET))
    answer = read(romeo)
    assert answer.bodies == ["", "/me retracted a message"]
    assert len(stones(answer)) == 1


def test_both_archives_have_the_tombstone_where_both_are_here(romeo: Client, network: Network) -> None:
    benvolio = network.client("benvolio@montague.lit/street")
    romeo.send(f"<message type='chat' id='m1' to='{benvolio.jid}'><body>oops</body></message>")
    romeo.send(retraction("m1").format(benvolio.jid))
    assert len(stones(read(romeo))) == len(stones(read(benvolio))) == 1


def test_it_holds_for_somebody_who_is_not_there(romeo: Client, network: Network) -> None:
    romeo.close()
    says(network, JULIET, "one")
    take_back(network, "one")
    back = network.client(f"{ROMEO}/orchard", presence="")
    back.send("<presence/>")
    assert "one" not in [each.findtext("{*}body") for each in back.heard]
    assert len(stones(read(back))) == 1


@pytest.mark.parametrize("sender", [NURSE, "juliet@evil.example/balcony"])
def test_nobody_takes_back_what_another_said(romeo: Client, network: Network, sender: str) -> None:
    says(network, JULIET, "one")
    take_back(network, "one", sender)
    assert stones(read(romeo)) == []


def test_nobody_takes_back_what_was_said_to_them(romeo: Client, network: Network) -> None:
    romeo.send(f"<message type='chat' id='m1' to='{JULIET}'><body>mine</body></message>")
    take_back(network, "m1")
    assert stones(read(romeo)) == []


def test_what_is_buried_is_not_buried_again(romeo: Client, network: Network) -> None:
    says(network, JULIET, "one")
    take_back(network, "one")
    network.advance(60)
    take_back(network, "one")
    assert stones(read(network.client(f"{ROMEO}/orchard"))) == [{"id": "r1", "stamp": "2001-09-09T01:46:40Z"}]


def test_what_was_never_said_cannot_be_taken_back(romeo: Client, network: Network) -> None:
    for number in range(250):
        says(network, JULIET, f"n{number}")
    take_back(network, "n24x")
    take_back(network, "")
    take_back(network, "n3")
    assert len(stones(read(romeo))) == 1


def test_the_server_says_that_it_buries(romeo: Client) -> None:
    for to in (ROMEO, "montague.lit"):
        info = f"<iq type='get' to='{to}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        assert f"{NS}#tombstone" in romeo.ask(info).xpath(".//@var")


def test_without_an_archive_there_is_nothing_to_bury(network: Network) -> None:
    network.serve("montague.lit", modules={"retraction": {}, "disco": {}})
    romeo = network.client(f"{ROMEO}/orchard")
    take_back(network, "one")
    assert len(romeo.heard) == 1
    info = "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    assert NS not in romeo.ask(info).xpath(".//@var")
