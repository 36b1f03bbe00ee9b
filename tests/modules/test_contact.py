"""Contact addresses (XEP-0157) and where outages are told (XEP-0455)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jabberd.registry import LoadError

if TYPE_CHECKING:
    from jabberd.testing import Network

INFO = "<iq type='get' to='montague.lit'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"


def told(network: Network) -> dict[str, list[str]]:
    answer = network.client("romeo@montague.lit/orchard").ask(INFO)
    return {
        each.get("var", ""): [str(value.text) for value in each]
        for each in answer.iter("{jabber:x:data}field")
    }


def test_what_is_named_is_told(network: Network) -> None:
    settings = {"abuse": ("mailto:abuse@montague.lit",), "outages": ("https://status.example/s.json",)}
    network.serve("montague.lit", modules={"disco": {}, "contact": settings})
    assert told(network) == {
        "FORM_TYPE": ["urn:xmpp:sos:0"],
        "abuse-addresses": ["mailto:abuse@montague.lit"],
        "external-status-addresses": ["https://status.example/s.json"],
    }


def test_nothing_is_told_where_nothing_is_named(network: Network) -> None:
    network.serve("montague.lit", modules={"disco": {}, "contact": {}})
    assert told(network) == {}


def test_an_address_is_a_uri(network: Network) -> None:
    with pytest.raises(LoadError, match="is no URI"):
        network.serve("montague.lit", modules={"disco": {}, "contact": {"abuse": ("abuse at montague",)}})


def test_where_programs_read_of_outages_is_a_web_address(network: Network) -> None:
    with pytest.raises(LoadError, match="is no web address"):
        network.serve(
            "montague.lit", modules={"disco": {}, "contact": {"outages": ("mailto:x@montague.lit",)}}
        )
