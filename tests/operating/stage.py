"""Two servers with people, as docs/operating.md has them, and what is typed there typed to them.

A comment in the page, ``<!-- stage: NAME -->``, calls the method of that name before the next block.
"""

from __future__ import annotations

import asyncio
import os
import pty
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from slixmpp import JID
from twisted.conch.ssh.keys import Key

from jabberd.certificates import issue, make_ca
from tests.interop.actor import PASSWORD, PATIENCE, Actor
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.running import Running

#: By name the port that stands in the page.
PORTS = {"c2s": 15222, "s2s": 15269, "http": 15280, "web": 15443, "theirs": 15369, "manhole": 5022}
CONFIG = """\
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = {c2s}

[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = {s2s}

[[listeners]]
kind = "http"
address = "127.0.0.1"
port = {http}

[[listeners]]
kind = "web"
address = "127.0.0.1"
port = {web}
direct_tls = true

[domains."example.org"]

[domains."example.org".modules]
strangers = true
archive = true
groups = true
invitations = true
outages = true

[domains."example.org".modules.upload]
folder = "upload"

[domains."example.org".modules.offline]
limit = 500

[tls]
certificates = "certs"

[storage]
url = "sqlite:jabberd.db"

[control]
socket = "jabberd.sock"

[federation]
authorities = ["ca/ca.crt"]
resolver = "127.0.0.1:{names}"

[federation.hosts]
"example.org" = "127.0.0.1:{s2s}"
"example.net" = "127.0.0.1:{theirs}"

[limits]
login_attempts = 3

[log]
format = "text"
level = "info"

[manhole]
authorized_keys = "operators"
host_key = "var/manhole_key"
port = {manhole}
"""
THEIRS = """\
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0

[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = {theirs}

[domains."example.net"]

[tls]
certificates = "certs"

[storage]
url = "sqlite:theirs.db"

[control]
socket = "theirs.sock"

[federation]
authorities = ["ca/ca.crt"]

[federation.hosts]
"example.org" = "127.0.0.1:{s2s}"
"""
WRONG = """\
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = "15222x"

[domains."example.org"]

[storage]
url = "sqllite:var/jabberd.db"
"""
ORGANISED = ["example.org", "example.com"]


class Stage:
    """Everything that the page talks of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ends = ExitStack()
        self._ours: ExitStack | None = None
        self._theirs: ExitStack | None = None
        self._people: dict[str, Actor] = {}
        self._gone: list[Actor] = []  # slixmpp's tasks live as long as they do
        self._talk: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._ports = {name: _free() for name in PORTS}

    # -- the whole ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        ca = make_ca(self.folder / "ca")
        for domain in (*ORGANISED, "example.net"):
            issue(ca, domain).write(self.folder / "certs", domain)
        self._names()
        self._keys()
        (self.folder / "password").write_text(PASSWORD)
        self.write()
        (self.folder / "theirs.toml").write_text(THEIRS.format(**self._ports))
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        for each in (self._ours, self._theirs, self._ends):
            if each is not None:
                each.close()
        self._run(_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _names(self) -> None:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.operating.names"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ends.callback(server.communicate)
        assert server.stdout is not None
        self._ports["names"] = int(server.stdout.readline())

    def _keys(self) -> None:
        key = Key(Ed25519PrivateKey.generate())
        nurse = self.folder / "nurse"
        nurse.write_bytes(key.toString("OPENSSH", subtype="v1"))
        nurse.chmod(0o600)
        (self.folder / "operators").write_bytes(key.public().toString("OPENSSH", comment=b"nurse@verona"))
        (self.folder / "operators").chmod(0o600)

    def write(self, *changes: tuple[str, str]) -> None:
        """The configuration, with some texts in place of others."""
        text = CONFIG.format(**self._ports)
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        (self.folder / "jabberd.toml").write_text(text)

    def play(self, words: str) -> str:
        """What a command of the page prints, with ports and folder as they stand there."""
        for name, port in PORTS.items():
            words = re.sub(rf"\b{port}\b", str(self._ports[name]), words)
        if "reports remove" in words:  # the id of a report is another one each time
            listed = self.play(f"jabberctl --config jabberd.toml reports list {words.split()[-2]}")
            words = words.replace(words.split()[-1], listed.splitlines()[-1].split()[0])
        if "upload delete" in words:  # as above
            listed = self.play("jabberctl --config jabberd.toml upload list romeo@example.org")
            words = words.replace(words.split()[-1], listed.splitlines()[-1].split()[0])
        said = (
            self._typed
            if words.startswith("jabberctl") and re.search(r"accounts (create|password)", words)
            else self._ran
        )(words)
        for name, port in PORTS.items():
            said = re.sub(rf"\b{self._ports[name]}\b", str(port), said)
        return said.replace(str(self.folder), "/tmp/live/etc").replace("\r", "").rstrip("\n")

    def _ran(self, words: str) -> str:
        program, *rest = shlex.split(words.replace("< password", ""))
        if program == "ssh":
            host, *verb = rest[rest.index("admin@127.0.0.1") :]
            options = ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
            settings = [f"-o{each}" for each in (*options, "LogLevel=ERROR")]
            line = ["ssh", "-F", "none", "-i", "nurse", *settings, *rest[:2], host, *verb]
        else:
            line = [_found(program), *rest]
        errors = subprocess.DEVNULL if program == "curl" else subprocess.STDOUT
        with (self.folder / "password").open() as typed:
            run = subprocess.run(
                line,
                stdin=typed,
                stdout=subprocess.PIPE,
                stderr=errors,
                timeout=60,
                check=False,
                cwd=self.folder,
            )
        return run.stdout.decode()

    def _typed(self, words: str) -> str:
        """With somebody at the terminal who types the password when it is asked for."""
        program, *rest = shlex.split(words)
        ours, theirs = pty.openpty()
        run = subprocess.Popen(
            [_found(program), *rest],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            cwd=self.folder,
        )
        os.close(theirs)
        said = b""
        with suppress(OSError):  # which is how a terminal ends
            while more := os.read(ours, 1024):
                said += more
                if said.endswith(b": "):
                    os.write(ours, PASSWORD.encode() + b"\n")
        os.close(ours)
        run.wait(30)
        return "\n".join(line.rstrip() for line in said.decode().splitlines())

    # -- servers ------------------------------------------------------------------------------------

    def uncertified(self) -> None:
        """There is no certificate."""
        self.write(('certificates = "certs"', 'certificates = "/etc/jabberd/certificates"'))

    def started(self) -> None:
        """Our server runs."""
        self.write()
        self._ours = ExitStack()
        self.server: Running = self._ours.enter_context(running(self.folder / "jabberd.toml"))

    def other(self) -> None:
        """There is a second file for the same storage."""
        text = (self.folder / "jabberd.toml").read_text().replace("jabberd.sock", "other.sock")
        (self.folder / "other.toml").write_text(re.sub(r"port = \d+", "port = 0", text))

    def again(self) -> None:
        """It was restarted."""
        self.server.tells("READY")

    def wrong(self) -> None:
        """There is a file with mistakes."""
        (self.folder / "wrong.toml").write_text(WRONG)

    def edited(self) -> None:
        """The configuration was edited."""
        self.write(
            ("limit = 500", "limit = 1000"),
            ("login_attempts = 3", "login_attempts = 5"),
            ('format = "text"', 'format = "json"'),
            ('level = "info"', 'level = "warn"'),
            ("[tls]", '[domains."example.com"]\n\n[tls]'),
        )

    def mistaken(self) -> None:
        """It was edited with a mistake."""
        self.write(("login_attempts = 3", 'login_attempts = "five"'))

    def unread(self) -> None:
        """It was edited, and nobody told the server."""
        self.write(("login_attempts = 3", "login_attempts = 5"))

    def limited(self) -> None:
        """Limits are tight, somebody tries Romeo's passwords, and somebody opens one connection too many."""
        self.write(("login_attempts = 3", 'connections = 3\nlogin_failures = "3 per 300 s"'))
        self.play("jabberctl --config jabberd.toml config reload")
        for _ in range(3):
            self._run(self._guess("romeo@example.org/alley"))
        for _ in range(2):
            self._ends.enter_context(socket.create_connection(("127.0.0.1", self.server.port("c2s"))))
        time.sleep(0.5)

    def original(self) -> None:
        """The configuration is what it was, and the server follows it."""
        self.write()
        self.play("jabberctl --config jabberd.toml config reload")

    def federated(self) -> None:
        """The server of example.net runs."""
        self._theirs = ExitStack()
        self._there: Running = self._theirs.enter_context(running(self.folder / "theirs.toml"))

    def alone(self) -> None:
        """It runs no more, and Romeo writes there."""
        self.leave("juliet@example.net/balcony")
        assert self._theirs is not None
        self._theirs.close()
        self._theirs = None
        for _ in range(3):
            self._say("romeo@example.org/orchard", "juliet@example.net", "But soft!")
            time.sleep(0.5)

    def ended(self) -> None:
        """Our server ends by itself."""
        assert self._ours is not None
        self.server.process.wait(30)

    # -- people -------------------------------------------------------------------------------------

    def born(self) -> None:
        """There are Benvolio and Juliet."""
        for file, jid in (("jabberd", "benvolio@example.org"), ("theirs", "juliet@example.net")):
            self._ctl(file, "--password-stdin", "accounts", "create", jid)

    def tybalt(self) -> None:
        """There is Tybalt."""
        self._ctl("jabberd", "--password-stdin", "accounts", "create", "tybalt@example.org")

    def online(self) -> None:
        """Romeo is there twice, with his phone away; Juliet at the other server."""
        self._enter("romeo@example.org/orchard", self.server, priority=5)
        self._enter("romeo@example.org/phone", self.server, priority=-1, show="away")
        self._enter("juliet@example.net/balcony", self._there)

    def romeo(self) -> None:
        """Romeo is there again."""
        self.leave("romeo@example.org/orchard", "romeo@example.org/phone")
        self._enter("romeo@example.org/orchard", self.server, priority=5)
        self._enter("romeo@example.org/phone", self.server, priority=-1, show="away")

    def known(self) -> None:
        """Romeo gets messages from everybody."""
        self._ctl("jabberd", "strangers", "admit", "romeo@example.org")
        self._say("romeo@example.org/orchard", "juliet@example.net", "She speaks.")
        time.sleep(1.0)

    def talk(self) -> None:
        """Juliet writes to Romeo every second, and he answers at once."""
        romeo, juliet = (
            self._people[each] for each in ("romeo@example.org/orchard", "juliet@example.net/balcony")
        )
        romeo.add_event_handler("message", lambda said: said.reply("Neither, fair saint.").send())

        async def ask() -> None:
            for number in range(60):
                juliet.send_message(JID("romeo@example.org"), f"Art thou not Romeo? {number}", mtype="chat")
                await asyncio.sleep(1.0)

        async def begin() -> None:
            self._talk = asyncio.get_running_loop().create_task(ask())

        self._run(begin())
        time.sleep(0.3)

    def kept(self) -> None:
        """Romeo tells what he hears, and blocks somebody whom he reports."""
        nick = "<item id='current'><nick xmlns='http://jabber.org/protocol/nick'>Romeo</nick></item>"
        node = "http://jabber.org/protocol/nick"
        pubsub = "http://jabber.org/protocol/pubsub"
        report = "<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/>"
        for xml in (
            f"<pubsub xmlns='{pubsub}'><publish node='{node}'>{nick}</publish></pubsub>",
            f"<block xmlns='urn:xmpp:blocking'><item jid='tybalt@evil.example'>{report}</item></block>",
        ):
            self._run(_asked(self._people["romeo@example.org/orchard"], xml))

    def uploaded(self) -> None:
        """Romeo uploads a picture."""
        picture = b"\x89PNG\r\n\x1a\n" + b"rose" * 500
        asked = {"filename": "rose.png", "size": str(len(picture)), "content-type": "image/png"}
        request = ET.Element("{urn:xmpp:http:upload:0}request", asked)
        self._run(self._put(picture, request))

    async def _put(self, data: bytes, request: ET.Element) -> None:
        iq = self._people["romeo@example.org/orchard"].Iq(stype="get", sto="example.org")
        iq.append(request)
        answer = await iq.send()  # type: ignore[no-untyped-call]  # slixmpp's
        place = urlsplit(answer.xml.find("*/{*}put").get("url"))
        trust = ssl.create_default_context(cafile=self.folder / "ca" / "ca.crt")
        where = ("127.0.0.1", self._ports["web"])
        reader, writer = await asyncio.open_connection(*where, ssl=trust, server_hostname="example.org")
        headers = f"Host: example.org\r\nContent-Type: image/png\r\nContent-Length: {len(data)}"
        writer.write(f"PUT {place.path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + data)
        assert b" 201 " in await reader.readline()
        writer.close()

    def silent(self) -> None:
        """They are silent."""

        async def end() -> None:
            assert self._talk is not None
            self._talk.cancel()

        self._run(end())

    def leave(self, *jids: str) -> None:
        """Some leave, or all."""
        for jid in jids or [*self._people]:
            self._gone.append(self._people.pop(jid))
            self._run(_left(self._gone[-1]))

    def _enter(self, jid: str, server: Running, **presence: Any) -> None:
        async def enter() -> Actor:
            actor = Actor(jid, server.port("c2s"), self.folder / "ca" / "ca.crt", register=False)
            actor.register_plugin("xep_0115")
            await actor.enter()
            await actor.plugin["xep_0115"].update_caps(broadcast=False)
            actor.send_presence(ppriority=presence.get("priority"), pshow=presence.get("show"))
            return actor

        self._people[jid] = self._run(enter())
        time.sleep(0.3)

    async def _guess(self, jid: str) -> None:
        """Log in with a wrong password."""
        failed = asyncio.Event()
        actor = Actor(jid, self.server.port("c2s"), self.folder / "ca" / "ca.crt", register=False)
        self._gone.append(actor)
        actor.password = "rosaline"
        actor.add_event_handler("failed_auth", lambda _: failed.set())
        actor.connect("127.0.0.1", self.server.port("c2s"))
        async with asyncio.timeout(PATIENCE):
            await failed.wait()
        await actor.disconnect(wait=0.5)

    def _say(self, sender: str, to: str, text: str) -> None:
        async def say() -> None:
            self._people[sender].send_message(JID(to), text, mtype="chat")

        self._run(say())

    def _ctl(self, file: str, *words: str) -> None:
        line = [_found("jabberctl"), "--config", f"{file}.toml", *words]
        subprocess.run(
            line, input=PASSWORD, text=True, capture_output=True, timeout=60, check=True, cwd=self.folder
        )

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


async def _asked(actor: Actor, xml: str) -> None:
    iq = actor.Iq(stype="set")
    iq.append(ET.fromstring(xml))
    await iq.send()  # type: ignore[no-untyped-call]  # slixmpp's


async def _rest() -> None:
    """End what slixmpp leaves behind."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _left(actor: Actor) -> None:
    await actor.disconnect(wait=0.5)


def _found(program: str) -> str:
    beside = Path(sys.executable).with_name(program)
    found = str(beside) if beside.exists() else shutil.which(program)
    assert found, program
    return found


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
