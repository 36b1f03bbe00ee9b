"""News of an outage for programs (XEP-0455)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from jabberd.admin import Admin
from jabberd.api import Refused
from jabberd.hosting import verb_groups
from jabberd.pages import PublicPages
from jabberd.testing.outcome import done
from tests.modules.test_contact import told
from tests.test_web import ask

if TYPE_CHECKING:
    from jabberd.testing import Network

TEXT = "Il server trasloca."


def serve(network: Network, **modules: dict[str, object]) -> None:
    network.serve("montague.lit", modules={"disco": {}, "outages": {}, **modules})


def page(network: Network) -> object:
    manager = network.server("montague.lit").hosts["montague.lit"].manager
    pages = PublicPages(lambda: {"montague.lit": (manager.url, manager.registry.pages)}, network.clock)
    status, headers, body = ask(pages, "GET /outage.json HTTP/1.1\nHost: montague.lit")
    assert (status, headers["content-type"]) == (200, "application/json")
    return json.loads(body)


def operate(network: Network, *words: str) -> object:
    hosts = network.server("montague.lit").hosts
    return done(Admin(lambda: verb_groups(hosts)).run(["outages", *words], {}))


def test_an_outage_is_told_until_it_is_over(network: Network) -> None:
    serve(network)
    assert page(network) == {}
    operate(network, "announce", "montague.lit", TEXT, "1970-01-03T00:00:00Z", "1970-01-02T00:00:00+00:00")
    assert page(network) == {
        "planned": True,
        "beginning": "1970-01-02T00:00:00Z",
        "expected_end": "1970-01-03T00:00:00Z",
        "message": {"default": TEXT},
    }
    operate(network, "withdraw", "montague.lit")
    assert page(network) == {}
    with pytest.raises(Refused, match=r"no outage of montague.lit is announced"):
        operate(network, "withdraw", "montague.lit")


def test_an_outage_that_nobody_planned_begins_now(network: Network) -> None:
    serve(network)
    operate(network, "announce", "montague.lit", TEXT)
    told = page(network)
    assert isinstance(told, dict)
    assert (told["planned"], "expected_end" in told) == (False, False)
    assert operate(network, "show", "montague.lit") == [
        {"begins": told["beginning"], "ends": "", "planned": False, "text": TEXT}
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((TEXT, "tomorrow"), "tomorrow is no time"),
        ((TEXT, "1970-01-02T00:00:00Z", "1970-01-03T00:00:00Z"), "is over before it begins"),
        ((" ",), "the text has to have"),
    ],
)
def test_what_makes_no_sense_is_not_announced(network: Network, words: tuple[str, ...], why: str) -> None:
    serve(network)
    with pytest.raises(Refused, match=why):
        operate(network, "announce", "montague.lit", *words)
    assert operate(network, "show", "montague.lit") == []


def test_clients_are_told_where_it_is_in_one_form_with_other_places(network: Network) -> None:
    serve(network, contact={"outages": ("https://status.example/s.json",)})
    places = told(network)["external-status-addresses"]
    assert sorted(places) == ["https://montague.lit/outage.json", "https://status.example/s.json"]
