"""What operators change while people talk costs nobody a stanza or a stream; and how a server ends."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from jabberd.certificates import issue, make_ca
from tests.running import PATIENCE, Running, running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

CLIENTS = 200
SECONDS = 4.0
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
require_tls = false
anonymous = true
[domains."montague.lit".modules]
[domains."verona.lit"]
require_tls = false
anonymous = true
[tls]
certificates = "certs"
[storage]
url = "sqlite:jabberd.db"
[control]
socket = "jabberd.sock"
[limits]
connections = 1000
"""
OPENING = (
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    " to='{}' version='1.0'>"
)
AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'>=</auth>"
BIND = "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    ca = make_ca(tmp_path / "ca")
    for domain in ("montague.lit", "verona.lit"):
        issue(ca, domain).write(tmp_path / "certs", domain)
    file = tmp_path / "jabberd.toml"
    file.write_text(CONFIG)
    return file


class Talker:
    """A client that numbers what it says to its partner."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.jid = ""
        self.said = 0
        self.all = ""

    @classmethod
    async def login(cls, port: int, domain: str) -> Talker:
        talker = cls(*await asyncio.open_connection("127.0.0.1", port))
        opening = OPENING.format(domain)
        for said, wanted in (
            (opening, "</stream:features>"),
            (AUTH, "<success"),
            (opening, "</stream:features>"),
            (BIND, "</iq>"),
        ):
            answer = await talker._ask(said, wanted)
        talker.jid = re.findall("<jid>(.*?)</jid>", answer)[0]
        talker.say("<presence/>")
        return talker

    def say(self, xml: str) -> None:
        self._writer.write(xml.encode())

    async def _ask(self, said: str, wanted: str) -> str:
        self.say(said)
        heard = ""
        while wanted not in heard:
            more = await asyncio.wait_for(self._reader.read(65536), PATIENCE)
            assert more, heard
            heard += more.decode()
        return heard

    async def close(self) -> None:
        self._writer.transport.abort()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def talk(self, partner: str, until: float) -> None:
        while time.monotonic() < until:
            self.say(f"<message to='{partner}' type='chat'><body>#{self.said}.</body></message>")
            self.said += 1
            await asyncio.sleep(0.01)

    async def listen(self) -> None:
        while more := await self._reader.read(65536):
            self.all += more.decode()

    def numbers(self) -> list[int]:
        return [int(each) for each in re.findall(r"#(\d+)\.", self.all)]


def jabberctl(config: Path, *words: str) -> Any:
    arguments = [sys.executable, "-m", "jabberd.ctl", "--json", "--config", str(config), *words]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return json.loads(run.stdout)


def disturb(config: Path, server: Running) -> int:
    """Everything that can change, again and again; how often."""
    end, rounds = time.monotonic() + SECONDS, 0
    ca = make_ca(config.parent / "ca")
    while time.monotonic() < end:
        rounds += 1
        issue(ca, "montague.lit").write(config.parent / "certs", "montague.lit")
        issue(ca, "capulet.lit").write(config.parent / "certs", "capulet.lit")
        modules = f"time = {str(rounds % 2 == 0).lower()}\noffline = {{ limit = {rounds + 10} }}"
        file = CONFIG.replace(".modules]", f".modules]\n{modules}") + f"login_attempts = {rounds + 3}"
        config.write_text(file)
        rows = jabberctl(config, "config", "reload")["done"]
        assert rows
        assert {row["outcome"] for row in rows} == {"applied"}
        assert "done" in jabberctl(config, "modules", "reload", "montague.lit", "version")
        assert "done" in jabberctl(config, "domains", "add", "capulet.lit")
        assert "done" in jabberctl(config, "domains", "remove", "capulet.lit")
        server.process.send_signal(signal.SIGHUP)
        assert (
            jabberctl(config, "backup", str(config.with_name(f"copy-{rounds}.db")))["done"]["integrity"]
            == "ok"
        )
    return rounds


def test_a_reload_under_chatting_users_loses_no_stanza_and_drops_no_stream(config: Path) -> None:
    async def play(server: Running) -> tuple[list[Talker], int, list[bool]]:
        talkers = [await Talker.login(server.port("c2s"), "montague.lit") for _ in range(CLIENTS)]
        listening = [asyncio.create_task(each.listen()) for each in talkers]
        until = time.monotonic() + SECONDS + 1
        pairs = zip(talkers, [*talkers[1:], talkers[0]], strict=True)
        talking = [asyncio.create_task(each.talk(partner.jid, until)) for each, partner in pairs]
        rounds = await asyncio.to_thread(disturb, config, server)
        await asyncio.gather(*talking)
        end = time.monotonic() + PATIENCE
        while sum(len(each.numbers()) for each in talkers) < sum(each.said for each in talkers):
            if time.monotonic() > end:
                break
            await asyncio.sleep(0.1)
        open_streams = [not task.done() for task in listening]
        for task in listening:
            task.cancel()
        for each in talkers:
            await each.close()
        return talkers, rounds, open_streams

    with running(config) as server:
        talkers, rounds, open_streams = asyncio.run(play(server))
        assert "Traceback" not in server.log.read_text()
    assert rounds >= 1
    assert all(open_streams)
    for before, talker in zip([talkers[-1], *talkers], talkers, strict=False):
        assert talker.numbers() == [*range(before.said)]
    assert sum(each.said for each in talkers) > 10 * CLIENTS


def test_clients_of_a_removed_domain_are_told_host_gone_and_a_shutdown_says_why(config: Path) -> None:
    async def play(server: Running) -> tuple[str, str]:
        romeo = await Talker.login(server.port("c2s"), "montague.lit")
        prince = await Talker.login(server.port("c2s"), "verona.lit")
        listening = [asyncio.create_task(each.listen()) for each in (romeo, prince)]
        assert "done" in await asyncio.to_thread(jabberctl, config, "domains", "remove", "verona.lit")
        await asyncio.wait_for(listening[1], PATIENCE)
        assert not listening[0].done()
        said = await asyncio.to_thread(jabberctl, config, "shutdown", "a plague on both your houses")
        assert said == {"done": "told 1 session; the server ends"}
        await asyncio.wait_for(listening[0], PATIENCE)
        await romeo.close()
        await prince.close()
        return romeo.all, prince.all

    with running(config) as server:
        romeo, prince = asyncio.run(play(server))
        assert server.process.wait(PATIENCE) == -signal.SIGTERM
    assert "<host-gone" in prince
    assert "a plague on both your houses" in romeo
    assert romeo.index("a plague") < romeo.index("<system-shutdown")
