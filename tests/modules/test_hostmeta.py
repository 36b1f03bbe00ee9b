"""Where clients may connect that cannot ask DNS (XEP-0156)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from jabberd.api import Module
from jabberd.modules.hostmeta import HostMeta
from jabberd.pages import PublicPages
from jabberd.typed import read
from tests.test_web import ask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.testing import Network

WEBSOCKET, BOSH = "urn:xmpp:alt-connections:websocket", "urn:xmpp:alt-connections:xbosh"
PATH = "/.well-known/host-meta"


class Socket(Module):
    """Clients reach it at a place of its own."""

    def links(self) -> Iterable[tuple[str, str]]:
        """See `jabberd.modules.hostmeta.Linked`."""
        yield WEBSOCKET, "wss://montague.lit/ws"


def pages(network: Network, *, links: dict[str, str] | None = None, socket: bool = False) -> PublicPages:
    modules = {"hostmeta": {"links": links or {}}} | ({"socket": {}} if socket else {})
    server = network.serve("montague.lit", modules=modules, classes={"socket": Socket})
    manager = server.hosts["montague.lit"].manager
    return PublicPages(lambda: {"montague.lit": (manager.url, manager.registry.pages)}, network.clock)


def get(pages: PublicPages, path: str, host: str = "montague.lit") -> tuple[int, dict[str, str], bytes]:
    return ask(pages, f"GET {path} HTTP/1.1\nHost: {host}")


def test_what_modules_and_operators_offer_is_listed_as_xml_and_as_json(network: Network) -> None:
    served = pages(network, links={BOSH: "https://web.montague.lit/bosh"}, socket=True)
    wanted = [(WEBSOCKET, "wss://montague.lit/ws"), (BOSH, "https://web.montague.lit/bosh")]
    status, headers, body = get(served, PATH)
    assert (status, headers["content-type"]) == (200, "application/xrd+xml")
    document = etree.fromstring(body)
    assert document.tag == "{http://docs.oasis-open.org/ns/xri/xrd-1.0}XRD"
    assert [(each.get("rel"), each.get("href")) for each in document.iterfind("{*}Link")] == wanted
    status, headers, body = get(served, f"{PATH}.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"links": [{"rel": rel, "href": href} for rel, href in wanted]}


def test_where_there_is_nothing_but_what_dns_says_the_list_is_empty(network: Network) -> None:
    served = pages(network)
    assert len(etree.fromstring(get(served, PATH)[2])) == 0
    assert json.loads(get(served, f"{PATH}.json")[2]) == {"links": []}


def test_pages_of_all_origins_may_read_it(network: Network) -> None:
    served = pages(network)
    for path in (PATH, f"{PATH}.json"):
        assert get(served, path)[1]["access-control-allow-origin"] == "*"


def test_it_is_at_its_place_and_its_domain_alone(network: Network) -> None:
    served = pages(network)
    assert get(served, PATH, "evil.example")[0] == 404
    for path in ("/.well-known", "/.well-known/", f"{PATH}/", f"{PATH}/x", f"{PATH}.xml", "/host-meta"):
        assert get(served, path)[0] == 404, path


@pytest.mark.parametrize("links", [{WEBSOCKET: "ws://montague.lit/ws"}, {"": "https://a"}, {"a:b": "x y"}])
def test_links_that_are_none_or_not_encrypted_are_refused(links: dict[str, str]) -> None:
    told: list[str] = []
    assert read(HostMeta.Config, {"links": links}, told=lambda _, said: told.append(said)) is None
    assert len(told) == 1
