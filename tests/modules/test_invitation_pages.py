"""The page of an invitation (XEP-0379 §3.3, XEP-0401 §4.2), and what users do about their own invitations."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from jabberd import direct
from jabberd.api import JID
from jabberd.config import Config, ConfigError
from jabberd.hosting import check_pages, public_url
from jabberd.operating.options import options
from jabberd.pages import PublicPages
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.modules.test_invitations import (
    CONFIG,
    DOMAIN,
    ITEMS,
    WEEK,
    invited,
    made,
    module,
    ran,
    registers,
    serve,
    shows,
    submitted,
    token,
)
from tests.modules.test_registration import newcomer
from tests.test_web import ask

if TYPE_CHECKING:
    from pathlib import Path

    from jabberd.testing import Client, Network

LIST, REVOKE = "urn:jabberd:invitations#list", "urn:jabberd:invitations#revoke"
COMMANDS = "http://jabber.org/protocol/commands"
ANDROID = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36"


class Seen(HTMLParser):
    """What a browser makes of a page.

    :ivar links: by what is written on each.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.links: dict[str, str] = {}
        self.tags: list[str] = []
        self.text = ""
        self._href: str | None = None
        self.feed(body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._href = dict(attrs).get("href")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._href is not None:
            self.links[data], self._href = self._href, None


class Visitor:
    """Somebody with a browser.

    :ivar pages: of the server.
    """

    def __init__(self, network: Network) -> None:
        manager = network.server("montague.lit").hosts["montague.lit"].manager
        self.pages = PublicPages(
            lambda: {"montague.lit": (manager.url, manager.registry.pages)}, network.clock
        )

    def get(self, path: str, agent: str = ANDROID, method: str = "GET", **more: Any) -> Any:
        request = f"{method} {path} HTTP/1.1\nHost: montague.lit\nUser-Agent: {agent}"
        return ask(self.pages, request, **more)


def page_of(token: str) -> str:
    return f"/invite/{token}"


# --- the page -------------------------------------------------------------------------------------


def test_the_page_of_a_users_invitation_says_who_invites_and_leads_to_the_app(network: Network) -> None:
    serve(network, inviters="everybody")
    told = invited(network.client("romeo@montague.lit/orchard"))
    path = told["landing-url"].removeprefix("https://montague.lit")
    status, headers, body = Visitor(network).get(path)
    seen = Seen(body)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "romeo@montague.lit invites you to chat" in seen.text
    assert seen.links["Open the invitation"] == told["uri"]
    assert "1970-01-08 00:00 UTC" in seen.text
    assert seen.links["Conversations (Android)"] == "https://conversations.im/"
    assert "Monal (iOS, macOS)" not in seen.links


def test_whom_no_system_is_known_of_sees_all_apps(network: Network) -> None:
    serve(network, apps={"Rose (Android)": "https://rose.example/", "Lark": "https://lark.example/"})
    visitor, path = Visitor(network), page_of(made(network, DOMAIN))
    assert "Lark" not in Seen(visitor.get(path)[2]).links
    assert {"Lark", "Rose (Android)"} <= Seen(visitor.get(path, agent="Links (2.28)")[2]).links.keys()


def test_the_page_of_an_account_names_it_and_nobody_else(network: Network) -> None:
    serve(network)
    romeo = network.client("romeo@montague.lit/orchard").jid.bare
    one = made(network, JID.parse("juliet@montague.lit"), romeo)
    seen = Seen(Visitor(network).get(page_of(one))[2])
    assert "You are invited to juliet@montague.lit" in seen.text
    assert "romeo" not in seen.text
    assert seen.links["Open the invitation"] == f"xmpp:juliet@montague.lit?register;preauth={one}"


def test_whatever_cannot_be_used_has_one_and_the_same_page(network: Network) -> None:
    serve(network)
    used, revoked, expired = (made(network, DOMAIN) for _ in range(3))
    assert registers(network, used) == ""
    kept = module(network).list(DOMAIN)
    done(module(network).revoke(DOMAIN, str(kept[0]["id"])))
    visitor = Visitor(network)
    assert {visitor.get(page_of(each))[0] for each in (revoked, expired)} == {200, 404}
    network.advance(WEEK)
    paths = [page_of(each) for each in (used, revoked, expired, "a" * 24, "", "a/b", "%c3%28")]
    answers = [visitor.get(path) for path in (*paths, "/invite")]
    told = {(status, body, *sorted(headers.items())) for status, headers, body in answers}
    assert len(told) == 1
    [(status, body, *_)] = told
    assert status == 404
    assert "ask whoever sent it for another one" in Seen(body).text


def test_looking_at_a_page_uses_nothing_up(network: Network) -> None:
    serve(network)
    one = made(network, DOMAIN)
    visitor = Visitor(network)
    assert [visitor.get(page_of(one), method=each)[0] for each in ("HEAD", "GET", "GET", "POST")] == [
        200,
        200,
        200,
        405,
    ]
    assert registers(network, one) == ""


def test_nothing_of_a_page_is_run_loaded_kept_or_passed_on(network: Network) -> None:
    serve(network)
    for path, status in ((page_of(made(network, DOMAIN)), 200), (page_of("none"), 404)):
        found, headers, body = Visitor(network).get(path)
        assert found == status
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "script" not in policy
        style = body.partition(b"<style>")[2].partition(b"</style>")[0]
        assert f"'sha256-{b64encode(sha256(style).digest()).decode()}'".lower() in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert not {"script", "img", "link", "iframe", "form"} & {*Seen(body).tags}


def test_what_an_address_may_be_called_stays_text(network: Network) -> None:
    serve(network, inviters="everybody", apps={"<b>&\"'": "https://rose.example/?a='\"><script>"})
    villain = network.client("d\u00f6rte`;?#@montague.lit/x")
    told = invited(villain)
    _, _, body = Visitor(network).get(page_of(token(told["uri"])))
    seen = Seen(body)
    assert "d\u00f6rte`;?#@montague.lit invites you" in seen.text
    assert "script" not in seen.tags
    assert seen.links["Open the invitation"] == told["uri"]
    assert "xmpp:d%C3%B6rte%60%3B%3F%23@montague.lit?roster;preauth=" in told["uri"]


def test_who_asks_too_often_is_told_to_wait_and_others_are_not(network: Network) -> None:
    serve(network)
    path, visitor = page_of(made(network, DOMAIN)), Visitor(network)
    villain, other = "2001:db8::1", "2001:db8:0:1::1"
    assert {visitor.get(page_of("guess"), peer=f"2001:db8::{n:x}")[0] for n in range(60)} == {404}
    status, headers, _ = visitor.get(path, peer=villain)
    assert (status, headers["retry-after"]) == (429, "1")
    assert visitor.get(path, peer=other)[0] == 200
    assert visitor.get(path, peer="127.0.0.1")[0] == 200  # a proxy's: it counts by itself
    network.advance(1)
    assert [visitor.get(path, peer=villain)[0] for _ in range(2)] == [200, 429]
    before, module(network).config = module(network).config, replace(module(network).config, visits=1)
    module(network).reconfigured(before)
    assert [visitor.get(path, peer=villain)[0] for _ in range(2)] == [200, 429]


def test_a_page_elsewhere_is_named_instead_of_the_own_one(network: Network) -> None:
    serve(network, inviters="everybody", landing_page="https://rose.example/#{uri}")
    told = invited(network.client("romeo@montague.lit/orchard"))
    assert told["landing-url"] == f"https://rose.example/#{told['uri'].removeprefix('xmpp:')}"


WEB = """
[[listeners]]
kind = "web"
address = "127.0.0.1"
port = 5443
direct_tls = true
"""


def test_invitations_are_of_use_without_pages_and_have_none_then(tmp_path: Path) -> None:
    text = CONFIG.format("memory", "")
    for more, url in (("", ""), (WEB, "https://montague.lit:5443")):
        config = Config("m.toml", text + more, tmp_path)
        check_pages(config, config.settings)
        config.check()
        doors = [(each.full_kind, each.address, each.port) for each in config.settings.listeners]
        assert public_url(config.settings, DOMAIN, doors) == url


@pytest.mark.parametrize("url", ["http://rose.example/", "javascript:alert(1)"])
def test_an_app_is_found_at_a_safe_place(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="for Rose, which is no safe place"):
        options(Config("m.toml", CONFIG.format("memory", f'apps = {{Rose = "{url}"}}'), tmp_path))


# --- one's own invitations ------------------------------------------------------------------------


def commanded(client: Client, node: str, inside: str = "", session: str = "") -> Any:
    attrs = f" sessionid='{session}'" if session else ""
    command = f"<command xmlns='{COMMANDS}' node='{node}'{attrs}>{inside}</command>"
    answer = client.ask(f"<iq type='set' to='montague.lit'>{command}</iq>")
    return answer[0] if answer.get("type") == "result" else answer


def listed(client: Client) -> list[dict[str, str]]:
    return [
        {str(each.get("var")): each.findtext("*") or "" for each in item}
        for item in commanded(client, LIST).iterfind(".//{jabber:x:data}item")
    ]


def revoked(client: Client, *ids: str) -> str:
    """The status, or why not."""
    form = commanded(client, REVOKE)
    if form.get("type") == "error":
        return condition(form)
    values = "".join(f"<value>{each}</value>" for each in ids)
    filled = f"<x xmlns='jabber:x:data' type='submit'><field var='id'>{values}</field></x>"
    answer = commanded(client, REVOKE, filled, form.get("sessionid"))
    return str(answer.get("status") or condition(answer))


def test_a_user_lists_and_revokes_the_own_invitations_and_no_others(network: Network) -> None:
    serve(network, inviters="everybody")
    romeo = network.client("romeo@montague.lit/orchard")
    mercutio = network.client("mercutio@montague.lit/street")
    tokens = [token(invited(romeo)["uri"]) for _ in range(2)]
    theirs = token(invited(mercutio)["uri"])
    rows = listed(romeo)
    assert [(row["for"], row["expire"]) for row in rows] == [
        ("a contact or an account at montague.lit", "1970-01-08T00:00:00Z")
    ] * 2
    [other] = listed(mercutio)
    assert revoked(romeo, other["id"]) == "bad-request"
    assert revoked(romeo, rows[0]["id"]) == "completed"
    assert [row["id"] for row in listed(romeo)] == [rows[1]["id"]]
    assert sorted(shows(newcomer(network)[0], each) for each in tokens) == ["", "item-not-found"]
    assert shows(newcomer(network)[0], theirs) == ""
    assert revoked(romeo, rows[1]["id"]) == "completed"
    assert revoked(romeo) == "item-not-found"


def test_who_may_invite_no_more_still_revokes(network: Network) -> None:
    serve(network, inviters="everybody", open=1)
    romeo = network.client("romeo@montague.lit/orchard")
    tybalt = network.client("tybalt@montague.lit/street")
    invited(romeo)
    module(network).config = type(module(network).config)(inviters="nobody")
    nodes = [str(each.get("node")) for each in romeo.ask(ITEMS)[0]]
    assert {LIST, REVOKE} <= {*nodes}
    assert condition(commanded(tybalt, LIST)) == "forbidden"
    assert revoked(romeo, listed(romeo)[0]["id"]) == "completed"
    assert condition(commanded(romeo, LIST)) == "forbidden"


def test_one_that_is_used_while_it_is_chosen_is_passed_over(network: Network) -> None:
    serve(network, inviters="everybody")
    romeo = network.client("romeo@montague.lit/orchard")
    one = token(invited(romeo)["uri"])
    [row] = listed(romeo)
    form = commanded(romeo, REVOKE)
    assert registers(network, one) == ""
    answer = commanded(romeo, REVOKE, submitted(id=row["id"]), form.get("sessionid"))
    assert answer.get("status") == "completed"
    assert ran(romeo, "invite").get("status") == "completed"


def test_operators_are_told_of_the_page_while_no_server_runs(tmp_path: Path) -> None:
    file = tmp_path / "montague.toml"
    file.write_text(CONFIG.format("sqlite:montague.db", "") + WEB)
    told = direct.run(file, ["invitations", "create", "montague.lit"], {})["done"]
    assert told["page"] == f"https://montague.lit:5443/invite/{token(told['uri'])}"
