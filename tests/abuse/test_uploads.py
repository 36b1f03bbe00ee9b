"""Rows F11 and G3: uploads beyond what was granted, paths that climb, hosts that are not ours."""

from __future__ import annotations

import contextlib
import re
import ssl
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tests.abuse.scene import Scene
    from tests.abuse.wire import Wire

pytestmark = pytest.mark.process
NS: Final = "urn:xmpp:http:upload:0"
HOST: Final = "Host: montague.lit\r\n"


@pytest.fixture(autouse=True)
def calm(scene: Scene) -> None:
    """None of these is worth a line, and none leaves a file."""
    scene.lines = 0
    files = scene.folder / "files"
    for each in [*files.rglob("*")]:
        if each.is_file():
            each.unlink()


def lying(scene: Scene) -> list[int]:
    """The sizes of all files that lie in the folder."""
    return [each.stat().st_size for each in (scene.folder / "files").rglob("*") if each.is_file()]


def asked(wire: Wire, name: str = "rose.txt", size: int = 4, type: str = "text/plain") -> Element:
    request = f"<request xmlns='{NS}' filename='{name}' size='{size}' content-type='{type}'/>"
    return wire.ask(f"<iq type='get' id='slot' to='montague.lit'>{request}</iq>")


def places(answer: Element) -> tuple[str, str]:
    """Where to put a file, and where it will be found: the paths."""
    urls = [str(each.get("url")) for each in answer.findall(f"{{{NS}}}slot/*")]
    put, get = (re.sub(r"^https://montague\.lit:\d+", "", url) for url in urls)
    return put, get


def heard(scene: Scene, *said: bytes) -> tuple[int, bytes]:
    """The status of the answer and all of it, to what is said until the server hangs up."""
    with scene.visitor() as sock:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            for each in said:
                sock.sendall(each)
        parts = []
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while part := sock.recv(65536):
                parts.append(part)
    answer = b"".join(parts)
    return int(answer.split()[1]), answer


def request(method: str, path: str, headers: str = "", host: str = HOST) -> bytes:
    return f"{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n".encode()


def put(scene: Scene, place: str, body: bytes, type: str = "text/plain") -> int:
    headers = f"Content-Type: {type}\r\nContent-Length: {len(body)}\r\n"
    return heard(scene, request("PUT", place, headers), body)[0]


def test_f11_a_slot_over_the_limit_is_not_given(scene: Scene) -> None:
    error = asked(scene.bound(), size=(1 << 20) + 1).find("{jabber:client}error")
    assert error is not None
    assert error.find("{urn:ietf:params:xml:ns:xmpp-stanzas}not-acceptable") is not None
    assert error.findtext(f"{{{NS}}}file-too-large/{{{NS}}}max-file-size") == str(1 << 20)


def test_f11_what_is_longer_than_its_slot_is_not_stored_announced_or_not(scene: Scene) -> None:
    there, place = places(asked(scene.bound()))
    type, endless = "Content-Type: text/plain\r\n", b"10000\r\n" + b"r" * 65536 + b"\r\n"
    assert heard(scene, request("PUT", there, f"{type}Content-Length: 1000000000\r\n"))[0] == 413
    assert heard(scene, request("PUT", there, f"{type}Transfer-Encoding: chunked\r\n"), endless)[0] == 413
    assert heard(scene, request("PUT", there, f"{type}Content-Length: -4\r\n"))[0] == 400
    twice = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"
    assert heard(scene, request("PUT", there, f"{type}{twice}"), b"4\r\nrose\r\n0\r\n\r\n")[0] == 400
    assert lying(scene) == []
    assert heard(scene, request("GET", place))[0] == 404


def test_f11_names_do_not_climb_nor_end_a_line(scene: Scene) -> None:
    wire = scene.bound()
    for name in ("../../../etc/cron.d/evil", "..\\..\\evil", "a&#13;&#10;Set-Cookie: evil", "&#10;evil"):
        there, place = places(asked(wire, name))
        assert put(scene, there, b"rose") == 201
        status, answer = heard(scene, request("GET", place))
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert (status, b"evil" in head) == (200, True)
        assert not re.search(rb"^(set-cookie|evil)", head, re.MULTILINE)
        assert ".." not in place
    inside = {each.parent.parent.parent for each in (scene.folder / "files").rglob("*") if each.is_file()}
    assert inside == {scene.folder / "files"}
    assert [*scene.folder.rglob("*evil*")] == [scene.folder / "evil", *(scene.folder / "evil").glob("*evil*")]


def test_f11_a_page_with_a_script_is_a_download_that_runs_nothing(scene: Scene) -> None:
    script = b"<script>alert(document.cookie)</script>"
    there, place = places(asked(scene.bound(), "rose.html", len(script), "text/html"))
    assert put(scene, there, script, "text/html") == 201
    status, answer = heard(scene, request("GET", place))
    assert (status, answer.endswith(script)) == (200, True)
    for line in (
        b"x-content-type-options: nosniff",
        b"content-security-policy: default-src 'none'; frame-ancestors 'none'; sandbox",
        b"content-disposition: attachment; filename*=utf-8''rose.html",
    ):
        assert line in answer.lower()


def test_f11_another_type_than_announced_is_not_taken(scene: Scene) -> None:
    there, _ = places(asked(scene.bound(), "rose.png", 4, "image/png"))
    for type in ("text/html", "image/png+html", "", "image"):
        assert put(scene, there, b"rose", type) == 415, type
    assert lying(scene) == []


def test_f11_who_guesses_finds_nothing(scene: Scene) -> None:
    there, place = places(asked(scene.bound()))
    assert put(scene, there, b"rose") == 201
    token = place.split("/")[2]
    assert (len(token), put(scene, there, b"rose")) == (32, 404)
    for other in (f"{int(token, 16) ^ 1:032x}", "0" * 32, token[:31], f"{token}0", "*", "%2a", ""):
        assert heard(scene, request("GET", f"/upload/{other}/rose.txt"))[0] == 404
    for other in ("rose.html", "rose.txt/", "", "rose.txt%00.html", "../rose.txt"):
        assert heard(scene, request("GET", f"/upload/{token}/{other}"))[0] == 404


def test_f11_who_has_used_the_quota_up_is_told_when_to_come_again(scene: Scene) -> None:
    wire = scene.bound()
    for _ in range(2):
        there, _ = places(asked(wire, size=1 << 20))
        assert put(scene, there, b"r" * (1 << 20)) == 201
    error = asked(wire, size=1).find("{jabber:client}error")
    assert error is not None
    assert error.get("type") == "wait"
    assert error.find("{urn:ietf:params:xml:ns:xmpp-stanzas}resource-constraint") is not None
    retry = error.find(f"{{{NS}}}retry")
    assert retry is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(retry.get("stamp")))


def test_f11_who_breaks_off_leaves_nothing(scene: Scene) -> None:
    there, place = places(asked(scene.bound(), size=1 << 20))
    headers = f"Content-Type: text/plain\r\nContent-Length: {1 << 20}\r\n"
    for _ in range(3):
        with scene.visitor() as sock:
            sock.sendall(request("PUT", there, headers) + b"r" * 1000)
    while lying(scene):
        assert scene.talk()
    assert heard(scene, request("GET", place))[0] == 404


def test_g3_paths_that_climb_lead_nowhere(scene: Scene) -> None:
    there, place = places(asked(scene.bound()))
    assert put(scene, there, b"rose") == 201
    token = place.split("/")[2]
    for path in (
        "/upload/../upload",
        f"/upload/%2e%2e{place}",
        f"/setup/setup-s/%u002e%u002e/%u002e%u002e{place}",
        f"/x/%252e%252e{place}",
        f"/x%2f..{place}",
        f"/..%5c{place[1:]}",
        f"//montague.lit{place}",
        f"/upload/{token}/%2e%2e/{token}/rose.txt",
        "/upload/%2e%2e%2f%2e%2e%2fjabberd.toml/jabberd.toml",
        "/upload/../../jabberd.toml",
        "/metrics",
        "/healthz",
        "/",
    ):
        assert heard(scene, request("GET", path))[0] == 404, path
    assert heard(scene, request("GET", place))[0] == 200


def test_g3_hosts_that_are_not_ours_have_no_pages(scene: Scene) -> None:
    there, place = places(asked(scene.bound()))
    assert put(scene, there, b"rose") == 201
    for host in ("evil.example", "capulet.lit", "127.0.0.1", "localhost", "montague.lit.evil.example"):
        assert heard(scene, request("GET", place, host=f"Host: {host}\r\n"))[0] == 404, host
    for hosts in ("", "Host: montague.lit\r\nHost: evil.example\r\n"):
        assert heard(scene, request("GET", place, host=hosts))[0] == 400
