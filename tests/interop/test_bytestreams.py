"""Two slixmpp clients exchange a file through the proxy (XEP-0065), and nobody else does anything with it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.actor import PATIENCE, Actor, entered
from tests.interop.logins import DOMAIN, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Running

pytestmark = [pytest.mark.process, pytest.mark.foreign]

PROXY = f"proxy.{DOMAIN}"
MORE = f"""
[[listeners]]
kind = "bytestreams"
address = "127.0.0.1"
port = 0
[domains."{PROXY}"]
federation = "off"
service = "bytestreams"
[domains."{PROXY}".modules.bytestreams]
rate = "200 MiB"
"""
FILE = os.urandom(1 << 20) * 40  # more than all buffers on the way hold


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("montague"), MORE, PROXY) as server:
        yield server


def actor(server: Running, name: str) -> Actor:
    register = name != "romeo"
    made = Actor(
        f"{name}@{DOMAIN}/orchard", server.port("c2s"), server.log.with_name("ca.crt"), register=register
    )
    made.register_plugin("xep_0065", {"auto_accept": True})
    return made


class Reader:
    """Who gets a file, and reads nothing for a while."""

    def __init__(self, actor: Actor) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self.over = asyncio.Event()
        self.transport: Any = None
        actor.add_event_handler("socks5_stream", self._begin)
        actor.add_event_handler("socks5_data", self._take)
        actor.add_event_handler("socks5_closed", lambda _: self.over.set())

    def _begin(self, stream: Any) -> None:
        self.transport = stream.transport
        self.transport.pause_reading()

    def _take(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)


def test_a_file_goes_from_one_to_the_other_no_faster_than_it_is_read(server: Running) -> None:
    async def play() -> None:
        romeo, juliet = actor(server, "romeo"), actor(server, "juliet")
        async with entered(romeo, juliet):
            reader = Reader(juliet)
            juliet.send_presence(
                pto=romeo.boundjid.full
            )  # RFC 6121 §8.5.3.1: else he cannot ask her anything
            await romeo.receives("presence", from_=juliet.boundjid.full)
            plugin: Any = romeo.plugin["xep_0065"]
            stream = await plugin.handshake(juliet.boundjid, timeout=PATIENCE)
            assert stream is not None
            assert list(plugin._proxies) == [PROXY]
            stream.transport.write(FILE)
            await asyncio.sleep(1.0)
            left = stream.transport.get_write_buffer_size()
            assert left > 0  # nobody reads, so the server stopped reading long ago
            stream.transport.close()
            reader.transport.resume_reading()
            async with asyncio.timeout(PATIENCE):
                await reader.over.wait()
            assert reader.size == len(FILE)
            assert reader.digest.digest() == hashlib.sha256(FILE).digest()

    asyncio.run(play())
    assert f"{len(FILE)} octets passed" in server.log.read_text()


def test_it_leads_nowhere_else(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port("bytestreams")), PATIENCE) as sock:
        sock.sendall(b"\x05\x01\x00")
        assert sock.recv(10) == b"\x05\x00"
        port = server.port("c2s")
        sock.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
        assert sock.recv(10)[:2] == b"\x05\x08"
        assert sock.recv(10) == b""
