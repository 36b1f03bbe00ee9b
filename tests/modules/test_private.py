"""Private XML storage (XEP-0049)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.testing import Network
from jabberd.testing.client import condition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jabberd.testing.client import Client

PREFS = "<exodus xmlns='exodus:prefs'><defaultnick>Hamlet</defaultnick></exodus>"


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.serve("montague.lit", modules={"private": {"elements": 3, "size": 500}})
    yield network
    network.close()


@pytest.fixture
def romeo(network: Network) -> Client:
    return network.client("romeo@montague.lit/orchard")


def query(type: str, inside: str, to: str = "") -> str:
    return f"<iq type='{type}'{to}><query xmlns='jabber:iq:private'>{inside}</query></iq>"


def test_what_was_kept_is_given_back(network: Network, romeo: Client) -> None:
    assert romeo.ask(query("set", PREFS)).get("type") == "result"
    street = network.client("romeo@montague.lit/street")
    answer = street.ask(query("get", "<exodus xmlns='exodus:prefs'/>"))
    assert answer.findtext(".//{exodus:prefs}defaultnick") == "Hamlet"
    romeo.ask(query("set", PREFS.replace("Hamlet", "Yorick")))
    answer = street.ask(query("get", "<exodus xmlns='exodus:prefs'/>"))
    assert answer.findtext(".//{exodus:prefs}defaultnick") == "Yorick"


def test_what_nobody_kept_is_empty(romeo: Client) -> None:
    answer = romeo.ask(query("get", "<exodus xmlns='exodus:prefs'/>"))
    assert answer[0][0].tag == "{exodus:prefs}exodus"
    assert len(answer[0][0]) == 0


def test_it_is_private(network: Network, romeo: Client) -> None:
    romeo.ask(query("set", PREFS))
    to = " to='romeo@montague.lit'"
    villain = network.client("villain@montague.lit/cave")
    for type in ("get", "set"):
        assert condition(villain.ask(query(type, PREFS, to))) == "service-unavailable"


@pytest.mark.parametrize(
    ("type", "inside", "refused"),
    [
        ("get", "", "bad-request"),
        ("set", "", "bad-request"),
        ("get", "<a xmlns='urn:a'/><b xmlns='urn:a'/>", "bad-request"),
        ("set", "<a xmlns='urn:a'/><a xmlns='urn:a'/>", "bad-request"),
        ("set", "<vCard xmlns='vcard-temp'/>", "not-acceptable"),
        ("set", "<query/>", "not-acceptable"),
        ("set", "<a xmlns=''/>", "not-acceptable"),
        ("set", f"<a{'a' * 500} xmlns='urn:a'/>", "not-acceptable"),
        ("set", f"<a xmlns='urn:a'>{'a' * 500}</a>", "resource-constraint"),
        ("set", "".join(f"<a xmlns='urn:{n}'/>" for n in range(4)), "resource-constraint"),
    ],
)
def test_what_makes_no_sense_is_refused(romeo: Client, type: str, inside: str, refused: str) -> None:
    assert condition(romeo.ask(query(type, inside))) == refused
