"""Rows C of the abuse cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing.client import condition, written
from tests.jsm.said import HI, STANZAS, UNKNOWN, Counting, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from jabberd.testing import Client, Network


@pytest.mark.rfc6120("8.1.2.1-1", "8.1.2.1-4")
def test_c1_the_true_sender_stands_in_every_stanza(
    romeo: Client, juliet: Client, unharmed: Callable[[], None]
) -> None:
    for forged in ("tybalt@capulet.lit", "capulet.lit", "juliet@capulet.lit", "@@"):
        juliet.send(f"<message from='{forged}' to='romeo@montague.lit'/>")
        assert romeo.receives("<message from='juliet@capulet.lit/balcony' to='romeo@montague.lit'/>")
        juliet.send(f"<presence from='{forged}' to='romeo@montague.lit'/>")
        assert romeo.receives("<presence from='juliet@capulet.lit/balcony' to='romeo@montague.lit'/>")
    unharmed()


@pytest.mark.rfc6120("8.2.3-1", "8.2.3-5")
@pytest.mark.parametrize(
    "iq",
    [
        "<iq type='get' to='{}'><x xmlns='urn:x'/></iq>",
        "<iq type='foo' id='q1' to='{}'><x xmlns='urn:x'/></iq>",
        "<iq id='q1' to='{}'><x xmlns='urn:x'/></iq>",
        "<iq type='get' id='q1' to='{}'/>",
        "<iq type='set' id='q1' to='{}'><x xmlns='urn:x'/><x xmlns='urn:x'/></iq>",
    ],
)
@pytest.mark.parametrize(
    "to", ["montague.lit", "juliet@capulet.lit", "juliet@capulet.lit/balcony", "a@evil.example"]
)
def test_c2_an_iq_that_is_none_is_a_bad_request(
    romeo: Client, juliet: Client, unharmed: Callable[[], None], iq: str, to: str
) -> None:
    romeo.send(iq.format(to))
    assert condition(romeo.next()) == "bad-request"
    assert juliet.hears_nothing()
    unharmed()


@pytest.mark.rfc6120("8.2.3-5")
@pytest.mark.parametrize(
    "iq",
    [
        "<iq type='get' id='q1' to='{}'/>",
        "<iq type='set' id='q1' to='{}'><x xmlns='urn:x'/><y xmlns='urn:x'/></iq>",
    ],
)
@pytest.mark.parametrize("to", ["montague.lit", "romeo@montague.lit"])
def test_c2_that_holds_for_other_servers(
    network: Network, unharmed: Callable[[], None], iq: str, to: str
) -> None:
    tybalt = network.stranger("tybalt@evil.example/street")
    tybalt.send(iq.format(to))
    assert condition(tybalt.next()) == "bad-request"
    unharmed()


@pytest.mark.rfc7622("4-1")
@pytest.mark.parametrize(
    "to", ["@@", "x" * 1024 + "@capulet.lit", "juliet@cap\u2024ulet..lit", "juliet@capulet.lit/"]
)
@pytest.mark.parametrize("stanza", STANZAS)
def test_c3_an_address_that_is_none_is_malformed(
    romeo: Client, unharmed: Callable[[], None], to: str, stanza: str
) -> None:
    romeo.send(stanza.format(to))
    assert refused(romeo) == "jid-malformed"
    unharmed()


@pytest.mark.rfc6120("8.4-1", "10.3.3-2")
@pytest.mark.parametrize(
    "to", ["", "montague.lit", "romeo@montague.lit", "capulet.lit", "juliet@capulet.lit"]
)
@pytest.mark.parametrize("type", ["get", "set"])
def test_c4_what_nobody_knows_is_unavailable(
    romeo: Client, unharmed: Callable[[], None], to: str, type: str
) -> None:
    romeo.send(UNKNOWN.format(to, type).replace("to=''", ""))
    assert refused(romeo, "q1") == "service-unavailable"
    unharmed()


@pytest.mark.rfc6120("8.3.3.7-1", "13.10.2-1")
@pytest.mark.rfc6121("11-2")
def test_c5_an_account_that_does_not_exist_looks_like_one_that_does_not_know_the_sender(
    juliet: Client, network: Network, unharmed: Callable[[], None]
) -> None:
    tybalt = network.stranger("tybalt@evil.example/street")
    seen: dict[str, list[str]] = {}
    for name in ("juliet", "nobody"):
        for stanza in (
            UNKNOWN.format(f"{name}@capulet.lit", "get"),
            f"<iq type='get' id='1' to='{name}@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>",
            f"<iq type='set' id='1' to='{name}@capulet.lit'><query xmlns='jabber:iq:roster'/></iq>",
            f"<iq type='get' id='1' to='{name}@capulet.lit/balcony'><x xmlns='urn:x'/></iq>",
            f"<presence type='probe' to='{name}@capulet.lit'/>",
            f"<presence to='{name}@capulet.lit'/>",
            f"<presence type='subscribed' to='{name}@capulet.lit'/>",
            f"<message type='groupchat' to='{name}@capulet.lit/gone'/>",
        ):
            tybalt.send(stanza)
        seen[name] = [written(each).replace("nobody", "juliet") for each in tybalt.heard]
        tybalt.forget()
    assert seen["juliet"] == seen["nobody"]
    assert len(seen["nobody"]) == 6
    tybalt.send(HI.format("nobody@capulet.lit", "chat"))
    assert condition(tybalt.next()) == "service-unavailable"  # RFC 6121 §8.5.1
    juliet.forget()
    unharmed()


def test_c5_both_cost_the_same_look_ups(network: Network) -> None:
    storage = Counting()
    server = network.serve("montague.lit", storage=storage)
    server.create(network.stranger("romeo@montague.lit").jid, "secret")
    tybalt = network.stranger("tybalt@evil.example/street")
    storage.loads.clear()
    for name in ("romeo", "nobody"):
        for _ in range(3):
            tybalt.send(UNKNOWN.format(f"{name}@montague.lit", "get"))
    assert storage.loads == ["romeo@montague.lit", "nobody@montague.lit"]


@pytest.mark.rfc6120("8.2.3-4", "8.3.1-6")
@pytest.mark.parametrize(
    "to",
    [
        "juliet@capulet.lit",
        "juliet@capulet.lit/gone",
        "nobody@capulet.lit",
        "capulet.lit",
        "nobody@nowhere.example",
        "@@",
    ],
)
@pytest.mark.parametrize(
    "stanza",
    [
        "<message type='error' id='m1' to='{}'/>",
        "<presence type='error' id='m1' to='{}'/>",
        "<iq type='error' id='m1' to='{}'/>",
        "<iq type='result' id='m1' to='{}'/>",
        "<iq type='result' to='{}'/>",
    ],
)
def test_c6_an_error_or_a_result_is_never_answered(
    romeo: Client, unharmed: Callable[[], None], stanza: str, to: str
) -> None:
    romeo.send(stanza.format(to))
    assert romeo.hears_nothing()
    unharmed()


ROSTER_SET = (
    "<iq type='set' id='q1' to='{}'>"
    "<query xmlns='jabber:iq:roster'><item jid='tybalt@evil.example'/></query></iq>"
)


def test_c8_a_roster_set_by_another_server_changes_nothing(
    juliet: Client, network: Network, unharmed: Callable[[], None]
) -> None:
    tybalt = network.stranger("tybalt@evil.example/street")
    for to in ("juliet@capulet.lit", "juliet@capulet.lit/balcony", "nobody@capulet.lit"):
        tybalt.send(ROSTER_SET.format(to))
        assert condition(tybalt.next()) == ("service-unavailable" if "/" in to else "forbidden")
        assert juliet.hears_nothing()
    roster = juliet.ask("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>")
    assert len(roster[0]) == 0
    juliet.send("<presence to='tybalt@evil.example/street'/>")
    tybalt.forget()
    tybalt.send(ROSTER_SET.format("juliet@capulet.lit/balcony"))  # he may ask, but cannot pass for her server
    assert juliet.next().get("from") == "tybalt@evil.example/street"
    unharmed()


def test_c9_a_carbon_that_somebody_made_up_comes_from_him(
    juliet: Client, network: Network, unharmed: Callable[[], None]
) -> None:
    tybalt = network.stranger("tybalt@evil.example/street")
    carbon = (
        "<message {}to='juliet@capulet.lit/balcony'><received xmlns='urn:xmpp:carbons:2'>"
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
        "from='romeo@montague.lit/orchard' to='juliet@capulet.lit/balcony'><body>farewell</body>"
        "</message></forwarded></received></message>"
    )
    tybalt.send(carbon.format(""))
    assert juliet.receives(carbon.format("from='tybalt@evil.example/street' "))
    unharmed()
