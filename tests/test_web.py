"""HTTP in memory: what is found, what is not, how much may be sent, and whether the server is well."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from jabberd.storage import open_storage
from jabberd.web import Few, Health, Page, Pages, plain
from tests.storage.pump import Pump

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.web.server import Request

    from jabberd.interfaces import Storage


class Balcony(Page):
    """Says who asked for it."""

    def render_GET(self, request: Request) -> bytes:
        return plain(request, b"text/plain", b"balcony")

    def render_POST(self, request: Request) -> bytes:
        return plain(request, b"text/plain", b"%d bytes" % len(request.content.read()))  # type: ignore[union-attr]  # there is content


class Tomb(Page):
    """Fails."""

    def render_GET(self, request: Request) -> bytes:
        raise RuntimeError("poison")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pages(clock: Clock) -> Pages:
    root = Page()
    root.putChild(b"balcony", Balcony())
    root.putChild(b"tomb", Tomb())
    return Pages(root, {"montague.lit", "host-17"}.__contains__, clock)


class Connection(StringTransport):
    """A connection to pages.

    :ivar aborted: whether it was cut off.
    """

    aborted = False

    def __init__(self, pages: Pages, peer: str = "127.0.0.1") -> None:
        kind = IPv6Address if ":" in peer else IPv4Address
        here, there = IPv4Address("TCP", "127.0.0.1", 5280), kind("TCP", peer, 40000)
        StringTransport.__init__(self, here, there)
        factory: Any = pages
        self._channel = factory.buildProtocol(there)
        self._channel.makeConnection(self)

    @property
    def heard(self) -> bytes:
        return bytes(StringTransport.value(self))

    def say(self, data: bytes) -> None:
        self._channel.dataReceived(data)

    def abortConnection(self) -> None:
        self.aborted = True

    def leave(self) -> None:
        self._channel.connectionLost(connectionDone)


def ask(
    pages: Pages, request: str, body: bytes = b"", peer: str = "127.0.0.1"
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to ``GET /path HTTP/1.1\\nHost: ...``."""
    client = Connection(pages, peer)
    client.say(request.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    head, _, content = client.heard.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    client.leave()
    return int(status.split()[1]), headers, content


def get(pages: Pages, path: str, host: str = "127.0.0.1:5280") -> int:
    return ask(pages, f"GET {path} HTTP/1.1\nHost: {host}")[0]


# --- what is found -------------------------------------------------------------------------------


def test_a_page_is_found_by_its_path(pages: Pages) -> None:
    status, headers, body = ask(pages, "GET /balcony?orchard=1 HTTP/1.1\nHost: 127.0.0.1")
    assert (status, body) == (200, b"balcony")
    assert headers["content-length"] == "7"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_nobody_learns_what_software_answers(pages: Pages) -> None:
    for path in ("/balcony", "/nowhere"):
        assert "server" not in ask(pages, f"GET {path} HTTP/1.1\nHost: localhost")[1]


def test_g3_a_path_that_is_not_literally_that_of_a_page_leads_nowhere(pages: Pages) -> None:
    for path in (
        "/",
        "//balcony",
        "/balcony/",
        "/balcony/x",
        "/./balcony",
        "/x/../balcony",
        "/balcony/../balcony",
        "/%2e%2e/balcony",
        "/x/%2e%2e/balcony",
        "/x%2f..%2fbalcony",
        "/%252e%252e/balcony",
        "/x/%u002e%u002e/balcony",
        "/..%5cbalcony",
        "/balcony%00",
        "/%2fbalcony",
        "/BALCONY",
        "xbalcony",
        "http://127.0.0.1/balcony",
    ):
        assert get(pages, path) == 404, path
    assert get(pages, "/%62alcony") == 200  # decoded once, and the same page


def test_below_a_folder_steps_back_lead_nowhere_before_the_page_is_asked(clock: Clock) -> None:
    class Folder(Page):
        def getChild(self, path: bytes, request: Request) -> Page:
            return Balcony()

    root = Page()
    root.putChild(b"upload", Folder())
    pages = Pages(root, lambda _: False, clock)
    assert get(pages, "/upload/romeo.png") == 200
    for path in ("/upload/..", "/upload/%2e%2e", "/upload/%2E%2E%2Fetc", "/upload/a%5c..%5cb", "/upload/."):
        assert get(pages, path) == 404, path


def test_g3_a_host_that_is_not_ours_has_no_pages(pages: Pages) -> None:
    for host in ("127.0.0.1", "127.0.0.1:5280", "[::1]:5280", "localhost", "Montague.lit", "host-17:5280"):
        assert get(pages, "/balcony", host) == 200, host
    for host in ("evil.example", "evil.example:5280", "127.0.0.1.evil.example", "x.montague.lit", "", "[]"):
        assert get(pages, "/balcony", host) == 404, host


def test_a_request_names_one_host(pages: Pages) -> None:
    assert ask(pages, "GET /balcony HTTP/1.1\nHost: localhost\nHost: evil.example")[0] == 400
    assert ask(pages, "GET /balcony HTTP/1.1\nX: y")[0] == 400
    assert ask(pages, "GET /balcony HTTP/1.0\nX: y")[0] == 200  # it had no such header


def test_only_what_a_page_can_do_is_done(pages: Pages) -> None:
    assert ask(pages, "HEAD /balcony HTTP/1.1\nHost: localhost")[::2] == (200, b"")
    status, headers, _ = ask(pages, "DELETE /balcony HTTP/1.1\nHost: localhost")
    assert (status, headers["allow"]) == (405, "get, head, post")
    assert ask(pages, "BREW /balcony HTTP/1.1\nHost: localhost")[0] == 405


def test_a_page_that_fails_tells_the_log_and_nobody_else(pages: Pages, logged_errors: object) -> None:
    status, _, body = ask(pages, "GET /tomb HTTP/1.1\nHost: localhost")
    assert status == 500
    assert b"poison" not in body
    assert len(logged_errors.take(RuntimeError)) == 1  # type: ignore[attr-defined]  # the fixture's


# --- how much ------------------------------------------------------------------------------------


def post(pages: Pages, headers: str, body: bytes) -> tuple[int, Connection]:
    client = Connection(pages)
    start = f"POST /balcony HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode()
    client.say(start)
    for at in range(0, len(body), 4096):
        if client.disconnecting:
            break
        client.say(body[at : at + 4096])
    return int(client.heard.split()[1]), client


def test_a_body_of_the_limit_arrives_and_a_longer_one_is_refused_at_its_announcement(pages: Pages) -> None:
    status, client = post(pages, "Content-Length: 65536", b"a" * 65536)
    assert status == 200
    assert client.heard.endswith(b"65536 bytes")
    status, client = post(pages, "Content-Length: 65537", b"")
    assert (status, client.disconnecting) == (413, True)


def test_a_body_without_a_length_is_refused_when_it_gets_too_long(pages: Pages) -> None:
    chunk = b"1000\r\n" + b"a" * 4096 + b"\r\n"
    status, client = post(pages, "Transfer-Encoding: chunked", chunk * 16 + b"0\r\n\r\n")
    assert status == 200
    status, client = post(pages, "Transfer-Encoding: chunked", chunk * 17 + b"0\r\n\r\n")
    assert (status, client.disconnecting) == (413, True)


def test_what_follows_a_refusal_is_not_answered(pages: Pages) -> None:
    client = Connection(pages)
    body = b"a" * 70000
    client.say(
        b"POST /balcony HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n"
        + body
        + b"GET /balcony HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    assert client.heard.count(b"HTTP/1.1") == 1
    assert b"413" in client.heard


def test_headers_without_end_are_refused(pages: Pages) -> None:
    for endless in (b"X: " + b"a" * 20_000, b"X: a\r\n" * 5_000):
        client = Connection(pages)
        client.say(b"GET /balcony HTTP/1.1\r\n" + endless)
        assert client.disconnecting
        assert b"200" not in client.heard


def test_only_so_many_connections_are_open_at_a_time(pages: Pages) -> None:
    few = Few(pages, most=2)
    made = []
    for _ in range(2):
        made.append(few.buildProtocol(None))
        made[-1].makeConnection(StringTransport())
    assert few.buildProtocol(None) is None
    assert few.refused == 1
    made[0].connectionLost(connectionDone)
    assert few.buildProtocol(None) is not None
    made[1].connectionLost(connectionDone)


def test_nobody_is_told_what_answers_also_of_the_whole_server(pages: Pages) -> None:
    status, headers, _ = ask(pages, "OPTIONS * HTTP/1.1\nHost: montague.lit")
    assert (status, "server" in headers) == (404, False)


def test_a_line_without_end_is_a_bad_request(pages: Pages, clock: Clock) -> None:
    client = Connection(pages)
    client.say(b"GET /balcony HTTP/1.1\r\nRose: " + b"a" * 17_000)
    assert client.heard.startswith(b"HTTP/1.1 400 ")
    assert client.disconnecting
    client.leave()
    assert not clock.getDelayedCalls()


def test_who_says_nothing_is_dropped(pages: Pages, clock: Clock) -> None:
    client = Connection(pages)
    client.say(b"GET /balc")
    clock.advance(31)
    assert client.disconnecting


# --- /healthz ------------------------------------------------------------------------------------


def kept(client: Connection, clock: Clock, said: bytes, seconds: int) -> int:
    """For how many seconds somebody keeps a connection who says a byte a second of that, round and round."""
    for second in range(seconds):
        if client.disconnecting:
            return second
        client.say(said[second % len(said) :][:1])
        clock.advance(1)
    return seconds


def test_h1_who_says_a_byte_now_and_then_keeps_a_connection_for_no_longer(pages: Pages, clock: Clock) -> None:
    assert kept(Connection(pages), clock, b"GET /" + b"a" * 200, 100) < 40
    assert kept(Connection(pages), clock, b"\r\n", 100) < 40
    client = Connection(pages)
    client.say(b"GET / HTTP/1.1\r\nHost: montague.lit\r\n")
    assert kept(client, clock, b"A: b\r\n", 100) < 40
    client = Connection(pages)
    client.say(b"POST /balcony HTTP/1.1\r\nHost: montague.lit\r\nContent-Length: 60000\r\n\r\n")
    assert kept(client, clock, b"a", 100) < 40


def test_who_gets_on_slowly_is_waited_for(pages: Pages, clock: Clock) -> None:
    client = Connection(pages)
    for _ in range(3):
        clock.advance(29)
        client.say(b"GET /balcony HTTP/1.1\r\n")
        clock.advance(29)
        client.say(b"Host: montague.lit\r\n\r\n")
    client.say(b"POST /balcony HTTP/1.1\r\nHost: montague.lit\r\nContent-Length: 60000\r\n\r\n")
    for _ in range(12):
        clock.advance(29)
        client.say(b"a" * 5000)
    assert client.heard.count(b"HTTP/1.1 ") == 4
    assert not client.disconnecting


def test_h3_who_does_not_take_the_end_of_a_connection_is_cut_off(pages: Pages, clock: Clock) -> None:
    for said in (b"Host: montague.lit\r\nConnection: close\r\n", b"Content-Length: 70000\r\n", b"a\r\n"):
        client = Connection(pages)
        client.say(b"GET /balcony HTTP/1.1\r\n" + said + b"\r\n")
        assert client.disconnecting
        clock.advance(59)
        assert not client.aborted
        clock.advance(2)
        assert client.aborted
        client.leave()
    assert not clock.getDelayedCalls()


def health(storage: Storage, clock: Clock, **domains: bool) -> Pages:
    root = Page()
    root.putChild(b"healthz", Health(lambda: domains, storage, clock))
    return Pages(root, lambda _: False, clock)


ASK = "GET /healthz HTTP/1.1\nHost: localhost"


def test_a_server_is_well_while_its_domains_serve_and_its_storage_answers(clock: Clock) -> None:
    status, headers, body = ask(health(open_storage("memory", None), clock, montague=True, capulet=True), ASK)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {
        "status": "ok",
        "domains": {"montague": True, "capulet": True},
        "storage": True,
    }


def test_a_server_with_a_domain_that_does_not_serve_is_not_well(clock: Clock) -> None:
    status, _, body = ask(health(open_storage("memory", None), clock, montague=True, capulet=False), ASK)
    assert status == 503
    assert json.loads(body)["domains"] == {"montague": True, "capulet": False}


def test_a_server_whose_storage_fails_is_not_well(clock: Clock, tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/montague.db", None)
    pages = health(storage, clock, montague=True)
    assert ask(pages, ASK)[0] == 200
    with sqlite3.connect(tmp_path / "montague.db") as database:
        database.execute("DROP TABLE keyed")
    database.close()
    status, _, body = ask(pages, ASK)
    assert (status, json.loads(body)) == (
        503,
        {"status": "failing", "domains": {"montague": True}, "storage": False},
    )
    storage.close()


def test_a_server_whose_storage_is_late_is_not_well(clock: Clock, tmp_path: Path) -> None:
    threads = Pump()  # which nobody turns: the answer stays with its thread
    storage = open_storage(f"sqlite:///{tmp_path}/montague.db", threads)
    client = Connection(health(storage, clock, montague=True))
    client.say(ASK.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    clock.advance(1.9)
    assert client.heard == b""
    clock.advance(0.2)
    assert client.heard.startswith(b"HTTP/1.1 503")
    threads.wait(storage.close())


def test_who_leaves_before_the_answer_is_not_answered(clock: Clock, tmp_path: Path) -> None:
    threads = Pump()
    storage = open_storage(f"sqlite:///{tmp_path}/montague.db", threads)
    client = Connection(health(storage, clock, montague=True))
    client.say(ASK.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    client.leave()
    threads.wait(storage.close())
    assert client.heard == b""
    assert not clock.getDelayedCalls()
