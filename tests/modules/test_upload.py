"""Slots for files (XEP-0363), and what becomes of the files."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jabberd.api import JID, Refused
from jabberd.interfaces import LoginPolicy
from jabberd.modules.upload import DELETE, Upload
from jabberd.modules.upload.files import Held
from jabberd.modules.upload.sending import LeftError, Part, sent
from jabberd.modules.upload.terms import NS, PURPOSE
from jabberd.operating.change import Change
from jabberd.pages import PublicPages
from jabberd.testing import Network
from jabberd.testing.client import condition
from jabberd.testing.outcome import done
from tests.test_web import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lxml.etree import _Element

    from jabberd.testing.client import Client

KIB, DAY = 1024, 86400
ROMEO = "romeo@montague.lit"
COMMANDS = "http://jabber.org/protocol/commands"
FOR_GOOD = f"<permanent xmlns='{PURPOSE}'/>"
INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Of Romeo's server, with small limits and some time behind it."""
    network = Network()
    network.clock.advance(10 * DAY)
    limits = {"size": 10 * KIB, "day": 30 * KIB, "quota": 25 * KIB, "total": 50 * KIB, "slots": 3}
    profile = {"profile_size": KIB, "profile_quota": 2 * KIB}
    permanent = {"permanent_quota": 12 * KIB, "permanent_total": 20 * KIB}
    upload = {"folder": str(tmp_path), "age": 5.0 * DAY, **limits, **profile, **permanent}
    network.serve("montague.lit", modules={"commands": {}, "disco": {}, "upload": upload})
    yield network
    network.close()


@pytest.fixture
def romeo(network: Network) -> Client:
    return network.client(f"{ROMEO}/orchard")


@pytest.fixture
def pages(network: Network) -> PublicPages:
    manager = network.servers[0].hosts["montague.lit"].manager
    return PublicPages(lambda: {manager.jid: (manager.url, manager.registry.pages)}, network.clock)


@pytest.fixture
def upload(network: Network) -> Upload:
    module = network.servers[0].hosts["montague.lit"].manager.module("upload")
    assert isinstance(module, Upload)
    return module


def later(network: Network, seconds: float) -> Client:
    """Romeo, who comes back when so much time has passed."""
    network.clock.advance(seconds)
    network.flush()
    return network.client(f"{ROMEO}/garden")


def ask(
    client: Client,
    name: str = "rose.txt",
    size: object = 4,
    inside: str = "",
    type: str = "",
    to: str = "montague.lit",
) -> _Element:
    type = f" content-type='{type}'" if type else ""
    request = f"<request xmlns='{NS}' filename='{name}' size='{size}'{type}>{inside}</request>"
    return client.ask(f"<iq type='get' to='{to}'>{request}</iq>")


def places(answer: _Element) -> tuple[str, str]:
    """Where to put a file, and where it will be found, without the host."""
    slot = answer.find(f"{{{NS}}}slot")
    assert slot is not None, answer
    found = [str(slot.find(f"{{{NS}}}{each}").get("url")) for each in ("put", "get")]  # type: ignore[union-attr]  # both are there
    assert all(each.startswith("https://montague.lit/") for each in found)
    return found[0].removeprefix("https://montague.lit"), found[1].removeprefix("https://montague.lit")


def heard(pages: PublicPages, head: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    """Status and headers of the answer."""
    client = Connection(pages)
    head = f"{head}\r\nHost: montague.lit" if "Host:" not in head else head
    client.say(f"{head}\r\n\r\n".encode() + body)
    status, *lines = client.heard.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    client.leave()
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines)


def put(pages: PublicPages, place: str, body: bytes, headers: str = "") -> int:
    return heard(pages, f"PUT {place} HTTP/1.1\r\n{headers}Content-Length: {len(body)}", body)[0]


def head(pages: PublicPages, place: str) -> tuple[int, dict[str, str]]:
    return heard(pages, f"HEAD {place} HTTP/1.1")


def uploaded(pages: PublicPages, client: Client, size: int, name: str = "rose.txt", inside: str = "") -> str:
    """Where a file of that size is found that the client has uploaded just now."""
    there, place = places(ask(client, name, size, inside))
    assert put(pages, there, b"r" * size) == 201
    return place


def files(tmp_path: Path) -> int:
    return sum(each.is_file() for each in tmp_path.rglob("*"))


def retry(answer: _Element) -> str:
    """When a refused client may try again."""
    assert condition(answer) == "resource-constraint"
    found = answer.find(f"{{*}}error/{{{NS}}}retry")
    return "" if found is None else str(found.get("stamp"))


# --- what clients ask for (§3, §4) ---------------------------------------------------------------


def test_the_domain_tells_that_it_takes_files_and_how_large_they_may_be(romeo: Client) -> None:
    info = romeo.ask(f"<iq type='get' to='montague.lit'>{INFO}</iq>")
    assert {NS, f"{PURPOSE}#message", f"{PURPOSE}#ephemeral"} <= set(info.xpath(".//@var"))
    assert info.xpath("boolean(.//*[@category='store'][@type='file'])")
    [form] = info.iter("{jabber:x:data}x")
    assert form.get("type") == "result"
    assert form.xpath("string(*[@var='FORM_TYPE']/*)") == NS
    assert form.xpath("string(*[@var='max-file-size']/*)") == str(10 * KIB)


def test_a_slot_has_two_places_that_nobody_guesses(romeo: Client) -> None:
    found = {each for _ in range(3) for each in places(ask(romeo))}
    assert len(found) == 6
    assert all(re.fullmatch(r"/upload/[0-9a-f]{32}/rose\.txt", each) for each in found)


def test_what_is_not_ascii_is_percent_encoded_in_both(romeo: Client) -> None:
    assert all(each.endswith("/tr%C3%A8s%20cool.jpg") for each in places(ask(romeo, "tr\u00e8s cool.jpg")))


def test_others_and_those_without_an_account_get_no_slot(network: Network) -> None:
    stranger = network.stranger("tybalt@capulet.lit/street")
    stranger.send(
        f"<iq type='get' id='1' to='montague.lit'><request xmlns='{NS}' filename='a' size='1'/></iq>"
    )
    assert condition(stranger.next()) == "service-unavailable"


def test_guests_get_no_slot(network: Network, tmp_path: Path) -> None:
    policy = LoginPolicy(anonymous=True, require_tls=False)
    modules = {"commands": {}, "disco": {}, "upload": {"folder": str(tmp_path)}}
    network.serve("verona.lit", modules=modules, policy=policy)
    guest = network.connected("verona.lit")
    guest.open()
    guest.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'>=</auth>")
    guest.forget()
    guest.open()
    guest.bind()
    assert condition(ask(guest, to="verona.lit")) == "forbidden"


def test_who_is_deleted_while_a_place_for_a_file_is_looked_for_gets_none(
    network: Network, romeo: Client, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quota(_owner: str) -> None:
        await upload.domain.registrar.delete(romeo.jid.bare)

    monkeypatch.setattr(upload.quotas, "get", quota)
    with pytest.raises(AssertionError, match="no answer"):
        ask(romeo)
    assert upload.slots.promised(ROMEO, network.clock.seconds()) == []


def test_f11_a_file_over_the_limit_gets_no_slot_and_the_limit(romeo: Client) -> None:
    for size in (10 * KIB + 1, 10**30):
        refused = ask(romeo, size=size)
        assert condition(refused) == "not-acceptable"
        assert refused.findtext(f"{{*}}error/{{{NS}}}file-too-large/{{{NS}}}max-file-size") == str(10 * KIB)
    assert places(ask(romeo, size=10 * KIB))


@pytest.mark.parametrize(
    ("name", "size", "type"),
    [
        ("", 4, ""),
        ("..", 4, ""),
        ("a", 0, ""),
        ("a", -1, ""),
        ("a", "1e3", ""),
        ("a", "\u0664", ""),
        ("a", 4, "text"),
    ],
)
def test_a_file_without_a_name_size_or_type_that_is_one_is_refused(
    romeo: Client, name: str, size: object, type: str
) -> None:
    assert condition(ask(romeo, name, size, type=type)) == "bad-request"


def test_f11_an_account_has_so_many_files_however_small_and_what_is_promised_counts(
    romeo: Client, pages: PublicPages, upload: Upload
) -> None:
    upload.config = Upload.Config(**vars(upload.config) | {"files": 3})
    for _ in range(2):
        uploaded(pages, romeo, 1)
    there, _ = places(ask(romeo, size=1))
    assert condition(ask(romeo, size=1)) == "resource-constraint"
    assert put(pages, there, b"r") == 201
    assert retry(ask(romeo, size=1))


# --- putting and reading (§7) --------------------------------------------------------------------


def test_a_file_is_found_when_it_is_whole_and_at_no_other_name(
    romeo: Client, pages: PublicPages, tmp_path: Path
) -> None:
    there, place = places(ask(romeo, size=4, type="text/html"))
    assert head(pages, place)[0] == 404
    assert put(pages, there, b"rose", "Content-Type: text/html\r\n") == 201
    status, headers = head(pages, place)
    assert (status, headers["content-length"], headers["content-type"]) == (200, "4", "text/html")
    assert files(tmp_path) == 1
    for other in (there, f"{place}.html", place[:-1], place.replace("rose", "%2e%2e/rose"), f"{place}/"):
        assert head(pages, other)[0] == 404, other


def test_a_file_is_of_the_type_that_was_announced_or_else_of_the_one_it_is_put_as(
    romeo: Client, pages: PublicPages
) -> None:
    for announced, said, type in (
        ("image/png", "image/png", "image/png"),
        ("image/png", "", "image/png"),
        ("", "image/PNG; q=1", "image/png"),
        ("", "", "application/octet-stream"),
    ):
        there, place = places(ask(romeo, size=4, type=announced))
        assert put(pages, there, b"rose", f"Content-Type: {said}\r\n" if said else "") == 201
        assert head(pages, place)[1]["content-type"] == type
    for announced, said in (("image/png", "text/html"), ("", "nonsense")):
        there, _ = places(ask(romeo, size=4, type=announced))
        assert put(pages, there, b"rose", f"Content-Type: {said}\r\n") == 415


def test_f11_what_could_run_a_script_is_never_shown_where_it_is(romeo: Client, pages: PublicPages) -> None:
    for name, type in (("a.html", "text/html"), ("a.svg", "image/svg+xml"), ("a.pdf", "application/pdf")):
        there, place = places(ask(romeo, name, 4, type=type))
        assert put(pages, there, b"rose", f"Content-Type: {type}\r\n") == 201
        headers = head(pages, place)[1]
        assert headers["content-disposition"] == f"attachment; filename*=utf-8''{name}"
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "sandbox", "frame-ancestors 'none'"} <= set(policy)


def test_what_a_browser_need_not_ask_again_is_so_until_the_file_goes(
    romeo: Client, pages: PublicPages, network: Network
) -> None:
    place = uploaded(pages, romeo, 4)
    assert head(pages, place)[1]["cache-control"] == "private, max-age=86400, immutable"
    later(network, 5 * DAY - 60)
    assert head(pages, place)[1]["cache-control"] == "private, max-age=60, immutable"


def test_f11_a_put_that_is_longer_than_its_slot_is_refused_at_its_announcement(
    romeo: Client, pages: PublicPages, tmp_path: Path
) -> None:
    there, _ = places(ask(romeo, size=4))
    client = Connection(pages)
    client.say(f"PUT {there} HTTP/1.1\r\nHost: montague.lit\r\nContent-Length: 5\r\n\r\n".encode())
    assert client.heard.startswith(b"HTTP/1.1 413 ")
    assert client.disconnecting
    assert b"access-control-allow-origin: *" in client.heard.lower()
    client.leave()
    assert files(tmp_path) == 0


def test_f11_a_put_without_a_length_is_cut_off_where_it_gets_too_long(
    romeo: Client, pages: PublicPages, tmp_path: Path
) -> None:
    there, place = places(ask(romeo, size=4))
    start = f"PUT {there} HTTP/1.1\r\nHost: montague.lit\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    client = Connection(pages)
    client.say(start + b"3\r\nros\r\n")
    assert (client.heard, files(tmp_path)) == (b"", 1)
    client.say(b"2\r\nes\r\n")
    assert client.heard.startswith(b"HTTP/1.1 413 ")
    assert (client.disconnecting, files(tmp_path)) == (True, 0)
    client.say(b"3\r\nand\r\n0\r\n\r\n")
    client.leave()
    for body, status in ((b"3\r\nros\r\n0\r\n\r\n", b"400"), (b"4\r\nrose\r\n0\r\n\r\n", b"201")):
        client = Connection(pages)
        client.say(start + body)
        assert client.heard.split()[1] == status
        client.leave()
    assert head(pages, place)[0] == 200


def test_who_was_refused_and_leaves_late_does_not_end_the_next_try(
    romeo: Client, pages: PublicPages, tmp_path: Path, upload: Upload
) -> None:
    there, place = places(ask(romeo, size=4))
    start = f"PUT {there} HTTP/1.1\r\nHost: montague.lit\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    first, second = Connection(pages), Connection(pages)
    first.say(start + b"5\r\nroses\r\n")
    assert first.heard.startswith(b"HTTP/1.1 413 ")
    second.say(start + b"2\r\nro\r\n")
    first.leave()
    assert put(pages, there, b"rose") == 404  # it is arriving still
    second.say(b"2\r\nse\r\n0\r\n\r\n")
    assert second.heard.startswith(b"HTTP/1.1 201 ")
    second.leave()
    assert (head(pages, place)[0], files(tmp_path), upload.files.sizes.total()) == (200, 1, 4)


def test_who_leaves_in_the_middle_leaves_nothing_even_with_all_bytes_said(
    romeo: Client, pages: PublicPages, tmp_path: Path
) -> None:
    there, place = places(ask(romeo, size=4))
    start = f"PUT {there} HTTP/1.1\r\nHost: montague.lit\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for said in (b"", b"3\r\nros\r\n", b"4\r\nrose\r\n"):
        client = Connection(pages)
        client.say(start + said)
        assert put(pages, there, b"rose") == 404  # it is arriving already
        client.leave()
        assert files(tmp_path) == 0
    assert put(pages, there, b"rose") == 201
    assert head(pages, place)[0] == 200


def test_who_expects_to_continue_is_told_so_only_if_the_body_is_wanted(
    romeo: Client, pages: PublicPages
) -> None:
    there, _ = places(ask(romeo, size=4))
    for length, answers in ((5, [b"HTTP/1.1 413 "]), (4, [b"HTTP/1.1 100 "])):
        client = Connection(pages)
        expects = f"Host: montague.lit\r\nContent-Length: {length}\r\nExpect: 100-continue"
        client.say(f"PUT {there} HTTP/1.1\r\n{expects}\r\n\r\n".encode())
        assert re.findall(rb"HTTP/1.1 \d+ ", client.heard) == answers
        client.leave()


def test_a_slot_waits_for_five_minutes_and_takes_what_has_begun_by_then(
    romeo: Client, pages: PublicPages, network: Network
) -> None:
    slow, late = places(ask(romeo, size=4))[0], places(ask(romeo, size=4))[0]
    start = f"PUT {slow} HTTP/1.1\r\nHost: montague.lit\r\nContent-Length: 4\r\n\r\n"
    network.advance(299)
    client = Connection(pages)
    client.say(start.encode() + b"ro")
    network.advance(2)
    assert put(pages, late, b"rose") == 404
    client.say(b"se")
    assert client.heard.startswith(b"HTTP/1.1 201 ")
    client.leave()


def test_f11_who_guesses_finds_nothing(romeo: Client, pages: PublicPages) -> None:
    place = uploaded(pages, romeo, 4)
    token = place.split("/")[2]
    for other in (
        "0" * 32,
        token[:-1],
        token.upper() if token.upper() != token else "x",
        f"{token}0",
        "..",
        "%00",
    ):
        for method in ("GET", "HEAD", "PUT"):
            status, headers = heard(pages, f"{method} /upload/{other}/rose.txt HTTP/1.1")
            assert status == 404, (method, other)
            assert "server" not in headers


def test_g3_only_the_path_itself_leads_to_a_file_and_only_at_the_domains_name(
    romeo: Client, pages: PublicPages
) -> None:
    place = uploaded(pages, romeo, 4)
    for path in (f"/{place}", f"/x/..{place}", f"/./{place[1:]}", f"/%2e%2e{place}", f"/%u002e%u002e{place}"):
        assert head(pages, path)[0] == 404, path
    assert head(pages, place.replace("/rose", "%2frose"))[0] == 404
    assert head(pages, place.replace("rose", "%72ose"))[0] == 200  # decoded once, and the same file
    for host in ("evil.example", "127.0.0.1", "localhost", "x.montague.lit", ""):
        assert heard(pages, f"HEAD {place} HTTP/1.1\r\nHost: {host}")[0] == 404, host


# --- how much, and how long (§5, §6) -------------------------------------------------------------


def test_f11_who_has_used_the_quota_up_learns_when_there_is_room_again(
    romeo: Client, pages: PublicPages, network: Network
) -> None:
    place = uploaded(pages, romeo, 10 * KIB)
    romeo = later(network, 2 * DAY)
    uploaded(pages, romeo, 10 * KIB)
    assert retry(ask(romeo, size=6 * KIB)) == "1970-01-16T00:00:01Z"  # five days after the first
    assert places(ask(romeo, size=5 * KIB))
    romeo = later(network, 3 * DAY + 1)
    assert head(pages, place)[0] == 404
    assert places(ask(romeo, size=10 * KIB))


def test_what_came_today_counts_today_also_when_it_is_gone(
    romeo: Client, pages: PublicPages, network: Network, upload: Upload
) -> None:
    soon = f"<ephemeral xmlns='{PURPOSE}' expire-before='1970-01-11T00:00:30Z'/>"
    for _ in range(3):
        uploaded(pages, romeo, 10 * KIB if _ < 2 else 5 * KIB, inside=soon)
    romeo = later(network, 2 * 3600)
    assert retry(ask(romeo, size=6 * KIB)) == "1970-01-12T00:00:01Z"
    assert places(ask(romeo, size=5 * KIB))
    assert len(done(upload.files.of(ROMEO))) == 3
    romeo = later(network, DAY)
    assert done(upload.files.of(ROMEO)) == {}
    assert places(ask(romeo, size=10 * KIB))


def test_what_is_promised_counts_and_there_are_so_many_slots_at_a_time(
    romeo: Client, network: Network
) -> None:
    assert places(ask(romeo, size=10 * KIB))
    assert places(ask(romeo, size=10 * KIB))
    assert retry(ask(romeo, size=6 * KIB)) == ""  # nothing that is stored will go
    assert places(ask(romeo, size=KIB))
    assert retry(ask(romeo, size=1)) == "1970-01-11T00:05:01Z"
    network.advance(301)
    assert places(ask(romeo, size=10 * KIB))


def test_all_together_have_so_much(network: Network, pages: PublicPages) -> None:
    people = [network.client(f"{name}@montague.lit/orchard") for name in ("romeo", "benvolio", "mercutio")]
    for each in people[:2]:
        uploaded(pages, each, 10 * KIB)
        uploaded(pages, each, 10 * KIB)
    uploaded(pages, people[2], 10 * KIB)
    assert retry(ask(people[2], size=1))


def test_files_for_a_profile_are_small_and_stay_longer(
    romeo: Client, pages: PublicPages, network: Network
) -> None:
    profile = f"<profile xmlns='{PURPOSE}'/>"
    assert condition(ask(romeo, size=KIB + 1, inside=profile)) == "not-acceptable"
    place = uploaded(pages, romeo, KIB, inside=profile)
    uploaded(pages, romeo, KIB, inside=profile)
    assert retry(ask(romeo, size=1, inside=profile))
    later(network, 300 * DAY)
    assert head(pages, place)[0] == 200
    later(network, 66 * DAY)
    assert head(pages, place)[0] == 404


def test_what_is_ephemeral_is_gone_when_it_was_to_be(
    romeo: Client, pages: PublicPages, network: Network, tmp_path: Path
) -> None:
    when = "<ephemeral xmlns='{}' expire-before='{}'/>"
    place = uploaded(pages, romeo, 4, inside=when.format(PURPOSE, "1970-01-11T00:10:00Z"))
    network.advance(599)
    assert head(pages, place)[0] == 200
    network.advance(1)
    assert (head(pages, place)[0], files(tmp_path)) == (404, 1)
    romeo = later(network, 3600)
    assert files(tmp_path) == 0
    for wrong in ("", "tomorrow", "1970-01-01T00:00:00Z"):
        assert condition(ask(romeo, inside=when.format(PURPOSE, wrong))) == "bad-request"


def test_what_is_permanent_stays_and_has_a_quota_of_its_own(
    romeo: Client, pages: PublicPages, network: Network
) -> None:
    uploaded(pages, romeo, 10 * KIB)
    place = uploaded(pages, romeo, 10 * KIB, inside=FOR_GOOD)
    assert retry(ask(romeo, size=3 * KIB, inside=FOR_GOOD)) == ""  # nothing there will go
    assert places(ask(romeo, size=2 * KIB, inside=FOR_GOOD))
    romeo = later(network, 4000 * DAY)
    assert head(pages, place)[0] == 200
    assert retry(ask(romeo, size=3 * KIB, inside=FOR_GOOD)) == ""
    assert places(ask(romeo, size=10 * KIB))


def test_what_is_permanent_leaves_room_for_the_rest(network: Network, pages: PublicPages) -> None:
    people = [network.client(f"{name}@montague.lit/orchard") for name in ("romeo", "benvolio", "mercutio")]
    for each in people[:2]:
        uploaded(pages, each, 10 * KIB, inside=FOR_GOOD)
    assert retry(ask(people[2], size=1, inside=FOR_GOOD)) == ""
    uploaded(pages, people[2], 10 * KIB)


def test_what_is_promised_for_one_purpose_takes_no_room_of_another(romeo: Client) -> None:
    assert places(ask(romeo, size=10 * KIB))
    assert places(ask(romeo, size=KIB, inside=f"<profile xmlns='{PURPOSE}'/>"))
    assert places(ask(romeo, size=10 * KIB, inside=FOR_GOOD))


def test_a_purpose_that_is_not_told_of_is_not_pretended(
    network: Network, romeo: Client, upload: Upload
) -> None:
    def told() -> set[str]:
        found = romeo.ask(f"<iq type='get' to='montague.lit'>{INFO}</iq>").xpath(".//@var")
        return {str(each).partition("#")[2] for each in found if str(each).startswith(PURPOSE)}

    both = f"<message xmlns='{PURPOSE}'/><profile xmlns='{PURPOSE}'/>"
    assert condition(ask(romeo, inside=both)) == "bad-request"
    assert condition(ask(romeo, inside=f"<rose xmlns='{PURPOSE}'/>")) == "feature-not-implemented"
    assert told() == {"message", "profile", "ephemeral", "permanent"}
    before, upload.config = upload.config, replace(upload.config, permanent_quota=0)
    upload.reconfigured(before)
    assert told() == {"message", "profile", "ephemeral"}
    assert condition(ask(romeo, inside=FOR_GOOD)) == "feature-not-implemented"


# --- what uploaders do about what they have uploaded ---------------------------------------------


def ordered(client: Client, inside: str = "", session: str = "") -> _Element:
    attrs = f" sessionid='{session}'" if session else ""
    command = f"<command xmlns='{COMMANDS}' node='{DELETE}'{attrs}>{inside}</command>"
    return client.ask(f"<iq type='set' to='montague.lit'>{command}</iq>")


def chosen(*tokens: str) -> str:
    values = "".join(f"<value>{each}</value>" for each in tokens)
    return f"<x xmlns='jabber:x:data' type='submit'><field var='file'>{values}</field></x>"


def test_uploaders_delete_what_is_theirs_and_there_is_room_again(
    romeo: Client, pages: PublicPages, network: Network, tmp_path: Path
) -> None:
    assert condition(ordered(romeo)) == "item-not-found"
    old = uploaded(pages, romeo, 10 * KIB, "old.txt", FOR_GOOD)
    romeo = later(network, DAY)
    new = uploaded(pages, romeo, KIB, "new.txt")
    form = ordered(romeo)[0]
    found = {each.get("label"): each.findtext("{*}value") or "" for each in form.iter("{*}option")}
    assert [str(each).partition(",")[0] for each in found] == ["new.txt", "old.txt"]
    assert [str(each).rpartition("until ")[2] for each in found][1] == "never"
    answer = ordered(romeo, chosen([*found.values()][1]), form.get("sessionid", ""))
    assert answer[0].get("status") == "completed"
    assert (head(pages, old)[0], head(pages, new)[0], files(tmp_path)) == (404, 200, 1)
    assert places(ask(romeo, size=10 * KIB, inside=FOR_GOOD))


def test_what_two_remove_at_once_makes_room_once(romeo: Client, pages: PublicPages, upload: Upload) -> None:
    token = uploaded(pages, romeo, KIB).split("/")[2]
    uploaded(pages, romeo, KIB)
    known = done(upload.files.get(token))
    assert known is not None
    for _ in range(2):
        done(upload.files.remove(token, known))
    assert upload.files.sizes.total() == KIB


def test_nobody_deletes_what_is_not_theirs(romeo: Client, pages: PublicPages, network: Network) -> None:
    benvolio = network.client("benvolio@montague.lit/orchard")
    place = uploaded(pages, romeo, 4)
    uploaded(pages, benvolio, 4)
    form = ordered(benvolio)[0]
    answer = ordered(benvolio, chosen(place.split("/")[2]), form.get("sessionid", ""))
    assert condition(answer) == "bad-request"
    assert head(pages, place)[0] == 200
    stranger = network.stranger("paris@evil.example/x")
    command = f"<command xmlns='{COMMANDS}' node='{DELETE}'/>"
    stranger.send(f"<iq xmlns='jabber:client' type='set' id='c' to='montague.lit'>{command}</iq>")
    assert condition(stranger.next()) in ("forbidden", "item-not-found")


def test_a_disk_without_room_refuses_and_keeps_what_is_whole(
    romeo: Client, pages: PublicPages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged_errors: Any
) -> None:
    there, place = places(ask(romeo, size=4))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        assert put(pages, there, b"rose") == 507
    assert files(tmp_path) == 0
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert put(pages, there, b"rose") == 507
    assert (files(tmp_path), head(pages, place)[0]) == (0, 404)
    told = logged_errors.take()
    assert told == ["an upload cannot be kept: [Errno 28] No space left on device"] * 2


def test_a_disk_that_is_nearly_full_takes_no_more(
    romeo: Client, monkeypatch: pytest.MonkeyPatch, logged_errors: Any
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=64 << 20))
    assert retry(ask(romeo)) == "1970-01-11T01:00:01Z"
    assert re.fullmatch("the disk with .* is full", logged_errors.take()[0])


async def test_who_does_not_read_for_two_minutes_is_given_up(tmp_path: Path) -> None:
    class Visitor:
        """Asks for a file, and reads nothing."""

        def __init__(self) -> None:
            self.site = SimpleNamespace(reactor=Clock())
            self.channel, self.sentLength, self.left = self, 0, False

        def registerProducer(self, producer: Any, streaming: bool) -> None:
            self.producer = producer

        def forceAbortClient(self) -> None:
            self.left = True
            self.producer.stopProducing()

    (tmp_path / "rose").write_text("rose")
    visitor = Visitor()
    with (tmp_path / "rose").open("rb") as opened:
        sending = Deferred.fromCoroutine(sent(visitor, Part(opened, 4)))
        visitor.site.reactor.advance(60)
        visitor.sentLength = 2
        visitor.site.reactor.advance(60)
        assert not visitor.left
        visitor.site.reactor.advance(60)
        assert visitor.left
        with pytest.raises(LeftError):
            await sending
    assert not visitor.site.reactor.getDelayedCalls()


# --- accounts, operators -------------------------------------------------------------------------


def test_an_account_takes_its_files_and_slots_with_it(
    network: Network, romeo: Client, pages: PublicPages, tmp_path: Path, upload: Upload
) -> None:
    place, there = uploaded(pages, romeo, 4), places(ask(romeo))[0]
    benvolio = network.client("benvolio@montague.lit/orchard")
    other = uploaded(pages, benvolio, 4)
    arriving = Connection(pages)
    late = places(ask(romeo))[0]
    arriving.say(f"PUT {late} HTTP/1.1\r\nHost: montague.lit\r\nContent-Length: 4\r\n\r\nro".encode())
    done(upload.domain.registrar.delete(JID(ROMEO)))
    arriving.say(b"se")
    assert arriving.heard.startswith(b"HTTP/1.1 404 ")
    arriving.leave()
    assert put(pages, there, b"rose") == 404
    assert (head(pages, place)[0], head(pages, other)[0], files(tmp_path)) == (404, 200, 1)
    assert done(upload.files.of(ROMEO)) == {}


def test_operators_see_who_has_how_much_delete_files_and_give_quotas(
    romeo: Client, pages: PublicPages, upload: Upload, tmp_path: Path
) -> None:
    place = uploaded(pages, romeo, 10 * KIB)
    uploaded(pages, romeo, KIB, "nightingale.txt")
    assert done(upload.usage()) == [{"jid": ROMEO, "files": 2, "bytes": 11 * KIB}]
    assert [row["name"] for row in done(upload.list(JID(ROMEO)))] == ["rose.txt", "nightingale.txt"]
    assert done(upload.quota(JID(ROMEO), 1)) == f"{ROMEO} has 11264 of 1048576 bytes, a quota of its own"
    assert done(upload.quota(JID(ROMEO), 0)) == f"{ROMEO} has 11264 of {25 * KIB} bytes"
    assert done(upload.delete(f"https://montague.lit{place}")) == f"rose.txt of {ROMEO} is deleted"
    assert (head(pages, place)[0], files(tmp_path)) == (404, 1)
    with pytest.raises(Refused, match="there is no file"):
        done(upload.delete("0" * 32))
    assert done(upload.quota(JID(ROMEO))) == f"{ROMEO} has 1024 of {25 * KIB} bytes"


def test_a_start_finds_what_is_whole_and_removes_what_is_not(
    romeo: Client, pages: PublicPages, upload: Upload, tmp_path: Path
) -> None:
    place, lost = uploaded(pages, romeo, 4), uploaded(pages, romeo, 5)
    folder = tmp_path / "montague.lit"
    upload.files.path(lost.split("/")[2]).unlink()
    for odd in ("arriving/half", "aa/aaaa"):
        (folder / odd).parent.mkdir(exist_ok=True)
        (folder / odd).write_text("odd")
    done(upload.files.start())
    assert (files(tmp_path), upload.files.sizes.total()) == (1, 4)
    assert (head(pages, place)[0], head(pages, lost)[0]) == (200, 404)
    assert len(done(upload.files.of(ROMEO))) == 1


def test_what_a_kill_leaves_half_counts_for_nobody(
    romeo: Client, pages: PublicPages, upload: Upload, network: Network
) -> None:
    place = uploaded(pages, romeo, 4)
    now = network.clock.seconds()
    half = {"f" * 32: Held(20 * KIB, now, now + 5 * DAY), "e" * 32: Held(2 * KIB, now, now + DAY, "profile")}
    done(upload.held.change(ROMEO, half))  # as between the two changes by which a file comes or goes
    assert retry(ask(romeo, size=10 * KIB))
    done(upload.files.start())
    assert places(ask(romeo, size=10 * KIB))
    assert [*done(upload.files.of(ROMEO))] == [place.split("/")[2]]


def test_new_code_takes_nothing_away_that_is_still_arriving(
    romeo: Client, pages: PublicPages, upload: Upload, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jabberd.operating.change._imported_anew", lambda _, cls: cls)
    there, place = places(ask(romeo, size=4))
    client = Connection(pages)
    client.say(f"PUT {there} HTTP/1.1\r\nHost: montague.lit\r\nContent-Length: 4\r\n\r\nro".encode())
    host = network.servers[0].hosts["montague.lit"]
    wanted = {module.name: module.config for module in host.manager.modules}
    change = Change(host, wanted, ["upload"])
    done(Deferred.fromCoroutine(change.start()))
    change.commit()
    done(Deferred.fromCoroutine(change.finish()))
    assert host.manager.module("upload") is not upload
    client.say(b"se")
    assert client.heard.startswith(b"HTTP/1.1 201 ")
    client.leave()
    assert head(pages, place)[0] == 200
    assert len(done(upload.files.of(ROMEO))) == 1


def test_a_reload_moves_to_another_folder(
    romeo: Client, pages: PublicPages, upload: Upload, tmp_path: Path
) -> None:
    before = upload.config
    upload.config = Upload.Config(**vars(before) | {"folder": tmp_path / "elsewhere"})
    upload.reconfigured(before)
    uploaded(pages, romeo, 4)
    assert files(tmp_path / "elsewhere") == 1


def test_a_start_removes_however_many_were_arriving_when_the_server_was_killed(
    romeo: Client, pages: PublicPages, upload: Upload, tmp_path: Path
) -> None:
    uploaded(pages, romeo, 4)
    for number in range(150):
        (tmp_path / "montague.lit" / "arriving" / f"{number:016x}").write_text("ro")
    done(upload.files.start())
    assert files(tmp_path) == 1


def test_a_start_on_the_wrong_storage_removes_nothing(
    upload: Upload, tmp_path: Path, logged_errors: Any
) -> None:
    folder = tmp_path / "montague.lit" / "aa"
    folder.mkdir()
    for number in range(101):
        (folder / f"aa{number}").write_text("rose")
    done(upload.files.start())
    assert files(tmp_path) == 101
    [told] = logged_errors.take()
    assert told.startswith(
        f"101 files in {tmp_path}/montague.lit are not in the storage; is it the right one?"
    )
    (folder / "aa0").unlink()
    done(upload.files.start())
    assert files(tmp_path) == 0


def test_a_folder_that_cannot_be_used_is_told_before_the_start(tmp_path: Path) -> None:
    [(what, said, remedy)] = Upload.surroundings(Upload.Config(folder=tmp_path / "files"))
    assert (what, remedy) == (f"folder {tmp_path}/files", "")
    assert re.fullmatch(r"has room for \d+ MiB more", said)
    [(_, said, remedy)] = Upload.surroundings(Upload.Config(folder=tmp_path / "no" / "files"))
    assert (said, remedy) == ("cannot be used", "make it, for the user that the server runs as")
