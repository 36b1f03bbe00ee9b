"""Pages of modules for everybody: whose they are is told by the host, and on a shared one by the path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from jabberd.api import Module, page
from jabberd.certificates import issue, make_ca
from jabberd.config import Config, ConfigError
from jabberd.hosting import certificates, check_pages, public_url
from jabberd.pages import Counted, PublicPages
from jabberd.registry import LoadError, Registry
from jabberd.web import Page, plain
from jabberd.xmpp.jid import JID
from tests.test_web import ask

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.web.server import Request

    from jabberd.testing import Network


class Balcony(Page):
    """Says whose it is, and what is left of the path."""

    def __init__(self, whose: str) -> None:
        super().__init__()
        self._whose = whose

    def render_GET(self, request: Request) -> bytes:
        left = b"/".join(request.postpath or ())
        return plain(request, b"text/plain", self._whose.encode() + b": " + left)


class House(Module):
    """Has two pages."""

    @page("balcony")
    def balcony(self, request: Request) -> Page:
        return Balcony(self.domain.jid)

    @page(".well-known/garden")
    def garden(self, request: Request) -> Page:
        return Balcony(f"garden of {self.domain.jid}")


URLS = {
    "montague.lit": "https://montague.lit:5443",
    "capulet.lit": "https://house.example/capulet.lit",
    "verona.lit": "https://house.example/verona.lit",
}


@pytest.fixture
def pages(network: Network) -> PublicPages:
    server = network.serve(*URLS, modules={"house": {}}, classes={"house": House})
    hosts = {name: (URLS[name], host.manager.registry.pages) for name, host in server.hosts.items()}
    return PublicPages(lambda: hosts, Clock())


def get(pages: PublicPages, path: str, host: str) -> bytes | int:
    status, _, body = ask(pages, f"GET {path} HTTP/1.1\nHost: {host}")
    return body if status == 200 else status


def test_a_domain_has_its_pages_at_its_own_name(pages: PublicPages) -> None:
    for domain in URLS:
        assert get(pages, "/balcony", domain) == f"{domain}: ".encode()
    assert get(pages, "/balcony/rose/thorn", "Montague.lit:5443") == b"montague.lit: rose/thorn"
    assert get(pages, "/.well-known/garden", "capulet.lit") == b"garden of capulet.lit: "


def test_several_domains_share_a_host_each_below_its_own_name(pages: PublicPages) -> None:
    assert get(pages, "/capulet.lit/balcony", "house.example") == b"capulet.lit: "
    assert get(pages, "/verona.lit/balcony/rose", "house.example") == b"verona.lit: rose"
    for path in ("/balcony", "/montague.lit/balcony", "/capulet.lit", "/capulet.lit/", "/"):
        assert get(pages, path, "house.example") == 404, path
    assert get(pages, "/capulet.lit/balcony", "capulet.lit") == 404


def test_two_modules_cannot_have_the_same_place() -> None:
    class Other(Module):
        @page("balcony")
        def balcony(self, request: Request) -> Page:
            return Balcony("")

    given: Any = (None, House.Config(), {}, None)
    with pytest.raises(LoadError, match="the pages at /balcony"):
        Registry([House("house", *given), Other("other", *given)])


def test_who_has_too_many_connections_gets_no_more(pages: PublicPages) -> None:
    there: list[object] = []

    def admit(peer: object) -> bool:
        there.append(peer)
        return len(there) <= 1

    gone: list[object] = []
    counted = Counted(pages, admit, gone.append)
    first = counted.buildProtocol("romeo")
    assert counted.buildProtocol("tybalt") is None
    first.makeConnection(StringTransport())
    first.connectionLost(Failure(ConnectionDone()))
    assert (there, len(gone)) == (["romeo", "tybalt"], 1)


# --- configuration -------------------------------------------------------------------------------

TEXT = """
[[listeners]]
kind = "web"
address = "{address}"
port = 5443
direct_tls = {tls}
[domains."montague.lit"]
require_tls = false
{url}
[domains."montague.lit".modules]
hostmeta = true
[storage]
url = "memory"
"""


def config(tmp_path: Path, url: str = "", *, tls: bool = True, address: str = "127.0.0.1") -> Config:
    named = f'url = "{url}"' if url else ""
    return Config("m.toml", TEXT.format(url=named, tls=str(tls).lower(), address=address), tmp_path)


def mistakes(config: Config) -> str:
    try:
        check_pages(config, config.settings)
        config.check()
    except ConfigError as error:
        return str(error)
    return ""


def test_the_place_of_the_pages_is_the_domain_and_the_port_of_the_listener(tmp_path: Path) -> None:
    montague = JID("montague.lit")

    def at(url: str = "", port: int = 5443, kind: str = "web-direct") -> str:
        return public_url(config(tmp_path, url).settings, montague, [("c2s", "::", 5222), (kind, "::", port)])

    assert at() == "https://montague.lit:5443"
    assert at(port=443) == "https://montague.lit"
    assert at(kind="web") == ""
    assert at("https://montague.lit") == "https://montague.lit"
    assert at("https://house.example:444", kind="web") == "https://house.example:444/montague.lit"


def test_pages_that_nobody_can_reach_are_told_before_the_start(tmp_path: Path) -> None:
    assert mistakes(config(tmp_path)) == ""
    assert mistakes(config(tmp_path, "https://house.example", tls=False)) == ""
    said = "has pages behind another server; say with url where others reach them"
    assert mistakes(config(tmp_path, tls=False)).endswith(said)
    other = Config(
        "m.toml", TEXT.format(url="", tls="true", address="::1").replace('"web"', '"http"'), tmp_path
    )
    assert mistakes(other).endswith('nobody can reach them; add a listener of the kind "web"')


def test_pages_without_tls_are_for_this_machine_unless_said_otherwise(tmp_path: Path) -> None:
    said = mistakes(config(tmp_path, "https://house.example", tls=False, address="::"))
    assert "lets other machines in" in said
    assert said.endswith("add allow_remote = true, or direct_tls = true")


@pytest.mark.parametrize(
    "url",
    [
        "http://a.lit",
        "https://",
        "a.lit",
        "https://a.lit/",
        "https://u@a.lit",
        "https://a.lit:0x1",
        "https://[a",
    ],
)
def test_a_place_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    assert 'write it like "https://example.org"' in mistakes(config(tmp_path, url))


def test_a_certificate_is_wanted_for_the_host_of_the_pages_where_tls_ends_here(tmp_path: Path) -> None:
    ca = make_ca()
    issue(ca, "montague.lit").write(tmp_path / "certs", "montague.lit")
    text = TEXT.format(url='url = "https://house.example"', tls="true", address="::1")
    wanted = Config("m.toml", f'{text}[tls]\ncertificates = "certs"\n', tmp_path)
    certificates(wanted, wanted.settings)
    with pytest.raises(ConfigError, match=r"no certificate for house\.example"):
        wanted.check()
    issue(ca, "house.example").write(tmp_path / "certs", "house.example")
    again = Config("m.toml", f'{text}[tls]\ncertificates = "certs"\n', tmp_path)
    assert set(certificates(again, again.settings)) == {"montague.lit", "house.example"}
    again.check()
