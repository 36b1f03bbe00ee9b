"""Files put and read with slixmpp, and over HTTPS by aiohttp, on a real server."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import resource
import socket
import ssl
import subprocess
import time
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest
from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0363.http_upload import FileTooBig

from jabberd.certificates import development_certificates, issue, make_ca
from tests.interop.actor import entered
from tests.interop.test_pep import JABBERCTL, JULIET, ROMEO, accounts, client, played
from tests.running import PATIENCE, free_ports, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import Running

pytestmark = pytest.mark.process
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "web"
address = "127.0.0.1"
port = 0
direct_tls = true
[domains."montague.lit"]
federation = "off"
[domains."montague.lit".modules.upload]
folder = "files"
size = "1 MiB"
[tls]
certificates = "certs"
[storage]
url = "sqlite:montague.db"
[control]
socket = "montague.sock"
"""
PURPOSE = "urn:xmpp:http:upload:purpose:0"
DELETE = "urn:jabberd:upload#delete"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    development_certificates(tmp_path / "certs", ("montague.lit",))
    config = tmp_path / "montague.toml"
    config.write_text(CONFIG)
    accounts(config)
    return config


@pytest.fixture
def server(config: Path) -> Iterator[Running]:
    with running(config) as server:
        yield server


def trust(server: Running, authority: Path | None = None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority or server.log.parent / "certs" / "ca.crt")


class Resolver(aiohttp.abc.AbstractResolver):
    """Finds every host on this machine."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        found = {"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 4}
        return [found]

    async def close(self) -> None:
        pass


def visitor(server: Running, authority: Path | None = None) -> aiohttp.ClientSession:
    """A client for HTTPS that trusts the server's CA, and finds all names here."""
    connector = aiohttp.TCPConnector(ssl=trust(server, authority), resolver=Resolver())
    return aiohttp.ClientSession(connector=connector)


def uploader(server: Running, monkeypatch: pytest.MonkeyPatch, jid: str = ROMEO) -> Any:
    """A client with the plug-in, whose HTTP goes the same way."""
    actor = client(server, f"{jid}/orchard")
    actor.register_plugin("xep_0363")
    monkeypatch.setattr("slixmpp.plugins.xep_0363.http_upload.ClientSession", lambda **_: visitor(server))
    return actor


async def put(actor: Any, name: str, data: bytes, **more: Any) -> str:
    """Upload it: where it is found."""
    upload = actor.plugin["xep_0363"]
    place: str = await upload.upload_file(name, size=len(data), input_file=io.BytesIO(data), **more)
    return place


async def slot(actor: Any, name: str, size: int, kind: str = "text/plain") -> tuple[str, str]:
    """Where to put a file, and where it will be found."""
    answer = await actor.plugin["xep_0363"].request_slot("montague.lit", name, size, kind)
    found = answer["http_upload_slot"]
    return found["put"]["url"], found["get"]["url"]


def kept(server: Running) -> list[str]:
    """What lies in the folder."""
    folder = server.log.parent / "files" / "montague.lit"
    return sorted(each.name for each in folder.rglob("*") if each.is_file())


def begun(server: Running, place: str) -> ssl.SSLSocket:
    """A connection on which four bytes of a thousand were put there."""
    port = server.port("web-direct")
    raw = socket.create_connection(("127.0.0.1", port))
    half = trust(server).wrap_socket(raw, server_hostname="montague.lit")
    path = place.removeprefix(f"https://montague.lit:{port}")
    head = "Host: montague.lit\r\nContent-Type: text/plain\r\nContent-Length: 1000"
    half.sendall(f"PUT {path} HTTP/1.1\r\n{head}\r\n\r\nrose".encode())
    return half


def change(config: Path, *changes: tuple[str, str]) -> None:
    """Put some texts in place of others into a configuration."""
    text = config.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    config.write_text(text)


def jabberctl(server: Running, *words: str) -> str:
    line = [str(JABBERCTL), "--config", str(server.log.with_suffix(".toml")), *words]
    return subprocess.run(line, text=True, check=True, capture_output=True, timeout=90).stdout


@played
async def test_what_is_to_stay_is_put_and_deleted_by_its_uploader(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    romeo = uploader(server, monkeypatch)
    romeo.register_plugin("xep_0050")
    async with entered(romeo):
        info = await romeo.plugin["xep_0030"].get_info(jid="montague.lit")
        assert f"{PURPOSE}#permanent" in info["disco_info"]["features"]
        iq = romeo.Iq(stype="get", sto="montague.lit")
        iq["http_upload_request"]["filename"] = "blog.png"
        iq["http_upload_request"]["size"] = str(len(PICTURE))
        iq["http_upload_request"].xml.append(ET.Element(f"{{{PURPOSE}}}permanent"))
        found = (await iq.send())["http_upload_slot"]
        async with visitor(server) as http:
            assert (await http.put(found["put"]["url"], data=PICTURE)).status == 201
            commands = romeo.plugin["xep_0050"]
            asked = (await commands.send_command("montague.lit", DELETE))["command"]
            [option] = asked["form"].get_fields()["file"]["options"]
            assert option["label"].startswith("blog.png, ")
            assert option["label"].endswith("until never")
            form = asked["form"]
            form.set_type("submit")
            form.set_values({"file": [option["value"]]})
            iq = romeo.Iq(stype="set", sto="montague.lit")
            iq["command"]["node"], iq["command"]["sessionid"] = DELETE, asked["sessionid"]
            iq["command"].append(form)
            assert (await iq.send())["command"]["status"] == "completed"
            assert (await http.get(found["get"]["url"])).status == 404
    assert kept(server) == []


@played
async def test_a_picture_is_put_and_read_by_whoever_knows_where(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    romeo = uploader(server, monkeypatch)
    async with entered(romeo):
        info = await romeo.plugin["xep_0363"].find_upload_service()
        assert info["from"] == "montague.lit"
        place = await put(romeo, "tr\u00e8s cool.png", PICTURE)
        assert place.startswith(f"https://montague.lit:{server.port('web-direct')}/upload/")
        assert place.endswith("/tr%C3%A8s%20cool.png")
        async with visitor(server) as web, web.get(place) as got:
            assert got.status == 200
            assert hashlib.sha256(await got.read()).digest() == hashlib.sha256(PICTURE).digest()
            assert got.headers["content-type"] == "image/png"
            assert got.headers["content-disposition"] == "inline; filename*=UTF-8''tr%C3%A8s%20cool.png"


@played
async def test_parts_of_a_file_are_read_and_what_has_not_changed_is_not_sent_again(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    romeo = uploader(server, monkeypatch)
    async with entered(romeo), visitor(server) as web:
        place = await put(romeo, "rose.png", PICTURE)
        size = len(PICTURE)

        async def read(**headers: str) -> tuple[int, bytes, str]:
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            async with web.get(place, headers=named) as got:
                return got.status, await got.read(), got.headers.get("content-range", "")

        async with web.head(place) as head:
            assert (head.status, head.headers["content-length"]) == (200, str(size))
            assert head.headers["accept-ranges"] == "bytes"
            tag = head.headers["etag"]
        assert await read(range="bytes=100-199") == (206, PICTURE[100:200], f"bytes 100-199/{size}")
        assert await read(range="bytes=-7") == (206, PICTURE[-7:], f"bytes {size - 7}-{size - 1}/{size}")
        tail = f"bytes {size - 10}-{size - 1}/{size}"
        assert await read(range=f"bytes={size - 10}-") == (206, PICTURE[-10:], tail)
        assert await read(range="bytes=5-9", if_range=tag) == (206, PICTURE[5:10], f"bytes 5-9/{size}")
        assert await read(range=f"bytes=-{size + 1}") == (206, PICTURE, f"bytes 0-{size - 1}/{size}")
        assert (await read(range=f"bytes={size}-"))[::2] == (416, f"bytes */{size}")
        for whole in ("bytes=9-5", "bytes=0-1,5-6", "bytes=x", "lines=1-2", "bytes=-"):
            assert await read(range=whole) == (200, PICTURE, ""), whole
        assert await read(range="bytes=5-9", if_range='"another"') == (200, PICTURE, "")
        assert await read(if_none_match=tag) == (304, b"", "")


@played
async def test_pages_of_other_origins_may_put_and_read(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    romeo = uploader(server, monkeypatch)
    asks = {"Origin": "https://web.example", "Access-Control-Request-Method": "PUT"}
    async with entered(romeo), visitor(server) as web:
        there, place = await slot(romeo, "rose.txt", 4)
        async with web.options(there, headers=asks) as may:
            assert may.status == 204
            assert may.headers["access-control-allow-origin"] == "*"
            assert "PUT" in may.headers["access-control-allow-methods"].split(", ")
            assert "Content-Type" in may.headers["access-control-allow-headers"].split(", ")
        type = {"content-type": "text/plain"}
        async with web.put(there, data=b"rose", headers=type) as done:
            assert (done.status, done.headers["access-control-allow-origin"]) == (201, "*")
        async with web.get(place) as got:
            assert (await got.read(), got.headers["access-control-allow-origin"]) == (b"rose", "*")


@played
async def test_a_file_that_is_too_large_is_not_even_begun(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    romeo = uploader(server, monkeypatch)
    async with entered(romeo):
        with pytest.raises(FileTooBig):
            await put(romeo, "war.txt", bytes((1 << 20) + 1))
        with pytest.raises(IqError) as refused:
            await slot(romeo, "war.txt", (1 << 20) + 1)
        error = refused.value.iq["error"]
        assert error["condition"] == "not-acceptable"
        most = error.xml.find("{urn:xmpp:http:upload:0}file-too-large/{urn:xmpp:http:upload:0}max-file-size")
        assert most.text == str(1 << 20)


@played
async def test_who_is_too_slow_or_says_another_type_or_size_is_refused_and_leaves_nothing(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    romeo = uploader(server, monkeypatch)
    async with entered(romeo), visitor(server) as web:
        there, place = await slot(romeo, "rose.txt", 4)
        html, plain = {"content-type": "text/html"}, {"content-type": "text/plain; charset=utf-8"}
        for data, headers, code in ((b"rose", html, 415), (b"roses", plain, 413), (b"ros", plain, 400)):
            async with web.put(there, data=data, headers=headers) as refused:
                assert refused.status == code
        async with web.put(there, data=b"rose", headers=plain) as done:
            assert done.status == 201
        async with web.put(there, data=b"rose", headers=plain) as again:
            assert again.status == 404  # a slot is for one file
        async with web.put(place, data=b"rose", headers=plain) as elsewhere:
            assert elsewhere.status == 404
        assert len(kept(server)) == 1
        assert jabberctl(server, "upload", "usage", "montague.lit").split()[-3:] == [ROMEO, "1", "4"]


@played
async def test_files_outlive_the_server_and_half_files_do_not(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(config) as server:
        romeo = uploader(server, monkeypatch)
        async with entered(romeo):
            there, _ = await slot(romeo, "half.txt", 1000)
            half = begun(server, there)
            place = await put(romeo, "rose.png", PICTURE)
            await _comes_to(server, 2)
            server.process.kill()
            server.process.wait()
            half.close()
            (server.log.parent / "files" / "montague.lit" / "aa").mkdir(exist_ok=True)
            (server.log.parent / "files" / "montague.lit" / "aa" / "aaaa").write_text("nobody knows it")
    with running(config) as server:
        assert len(kept(server)) == 1
        async with visitor(server) as web:
            port = server.port("web-direct")
            at = f"https://montague.lit:{port}/upload/{place.partition('/upload/')[2]}"
            async with web.get(at) as got:
                assert await got.read() == PICTURE


@played
async def test_a_connection_that_breaks_leaves_nothing_and_the_file_may_be_put_again(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    romeo = uploader(server, monkeypatch)
    async with entered(romeo), visitor(server) as web:
        there, place = await slot(romeo, "rose.txt", 1000)
        half = begun(server, there)
        await _comes_to(server, 1)
        async with web.get(place) as early:
            assert early.status == 404
        half.close()
        await _comes_to(server, 0)
        async with web.put(there, data=b"r" * 1000, headers={"content-type": "text/plain"}) as done:
            assert done.status == 201


async def _comes_to(server: Running, count: int) -> None:
    """Wait until so many files lie in the folder."""
    end = time.monotonic() + PATIENCE
    while len(kept(server)) != count:
        assert time.monotonic() < end, kept(server)
        await asyncio.sleep(0.01)


@played
async def test_without_room_on_the_disk_nothing_is_left_and_the_server_goes_on(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    romeo = uploader(server, monkeypatch)
    async with entered(romeo), visitor(server) as web:
        there, place = await slot(romeo, "rose.txt", 500_000)
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (200_000, limits[1]))
        async with web.put(there, data=b"r" * 500_000, headers={"content-type": "text/plain"}) as refused:
            assert refused.status == 507
        assert kept(server) == []
        async with web.get(place) as got:
            assert got.status == 404
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
        assert await put(romeo, "rose.png", PICTURE)


@played
async def test_an_account_that_is_deleted_takes_its_files_with_it(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    romeo, juliet = uploader(server, monkeypatch), uploader(server, monkeypatch, JULIET)
    async with entered(juliet), visitor(server) as web:
        hers = await put(juliet, "hers.png", PICTURE)
        async with entered(romeo):
            his = await put(romeo, "his.png", PICTURE)
        jabberctl(server, "accounts", "delete", ROMEO)
        async with web.get(his) as gone, web.get(hers) as there:
            assert (gone.status, there.status) == (404, 200)
        await _comes_to(server, 1)
        said = jabberctl(server, "upload", "delete", "montague.lit", hers)
        assert said == f"hers.png of {JULIET} is deleted\n"
        async with web.get(hers) as deleted:
            assert deleted.status == 404
        assert kept(server) == []


# --- where the pages are -------------------------------------------------------------------------


def shown(server: Running, host: str) -> bytes:
    """The certificate that a visitor sees who asks for that host."""
    raw = socket.create_connection(("127.0.0.1", server.port("web-direct")))
    with trust(server).wrap_socket(raw, server_hostname=host) as sock:
        return sock.getpeercert(binary_form=True) or b""


@played
async def test_a_host_of_its_own_has_its_own_certificate_which_can_be_renewed(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [port] = free_ports(1)
    listener = 'kind = "web"\naddress = "127.0.0.1"\nport = '
    domain = '[domains."montague.lit"]\n'
    named = (domain, f'{domain}url = "https://files.example:{port}"\n')
    change(config, (f"{listener}0", f"{listener}{port}"), named)
    ca = make_ca(config.parent / "certs")
    issue(ca, "files.example").write(config.parent / "certs", "files.example")
    with running(config) as server:
        assert shown(server, "montague.lit") != shown(server, "files.example")
        romeo = uploader(server, monkeypatch)
        async with entered(romeo), visitor(server) as web:
            place = await put(romeo, "rose.png", PICTURE)
            assert place.startswith(f"https://files.example:{port}/montague.lit/upload/")
            async with web.get(place) as got:
                assert await got.read() == PICTURE
            before = shown(server, "files.example")
            issue(ca, "files.example").write(config.parent / "certs", "files.example")
            jabberctl(server, "certificates", "reload")
            assert shown(server, "files.example") != before
            async with web.get(place) as again:
                assert again.status == 200


@played
async def test_a_proxy_may_stand_before_it(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = '[domains."montague.lit"]\n'
    named = (domain, f'{domain}url = "https://montague.lit"\n')
    change(config, ("direct_tls = true", ""), named)
    with running(config) as server:
        romeo = uploader(server, monkeypatch)
        async with entered(romeo), aiohttp.ClientSession() as web:
            there, place = await slot(romeo, "rose.txt", 4)
            assert there.startswith("https://montague.lit/upload/")
            near = f"http://127.0.0.1:{server.port('web')}"
            named_so = {"host": "montague.lit", "content-type": "text/plain"}
            at = there.replace("https://montague.lit", near)
            async with web.put(at, data=b"rose", headers=named_so) as done:
                assert done.status == 201
            async with web.get(place.replace("https://montague.lit", near), headers=named_so) as got:
                assert await got.read() == b"rose"


@played
async def test_the_host_meta_file_is_where_it_should_be(config: Path) -> None:
    change(config, ("[tls]", '[domains."montague.lit".modules.hostmeta]\n[tls]'))
    with running(config) as server:
        at = f"https://montague.lit:{server.port('web-direct')}/.well-known/host-meta"
        async with visitor(server) as web:
            async with web.get(at) as xml:
                assert (xml.status, xml.content_type) == (200, "application/xrd+xml")
                assert xml.headers["access-control-allow-origin"] == "*"
                assert (await xml.text()).endswith("<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'/>")
            async with web.get(f"{at}.json") as made:
                assert await made.json() == {"links": []}


def test_what_is_missing_for_files_is_told(config: Path) -> None:
    change(config, ('"files"', '"nowhere/files"'))
    line = [str(JABBERCTL), "--config", str(config), "check"]
    run = subprocess.run(line, text=True, check=False, capture_output=True, timeout=90)
    told = (
        f"folder {config.parent}/nowhere/files cannot be used; make it, for the user that the server runs as"
    )
    assert run.returncode == 1
    assert told in run.stderr
    assert re.search(r"montague\.toml:\d+: domains\.\"montague\.lit\"\.modules\.upload: ", run.stderr)
    change(config, ("nowhere/", ""))
    run = subprocess.run(line, text=True, check=False, capture_output=True, timeout=90)
    said = run.stdout + run.stderr
    assert "pages montague.lit: FAILED: https://montague.lit:" in said
    assert "publish addresses of montague.lit, or say with url where others reach them" in said
    assert f"upload montague.lit: folder {config.parent}/files: has room for " in said
