"""The servers that are compared: ours, and Debian's Prosody, ejabberd and jabberd2 where they are installed.

Each runs in a folder of its own, on loopback, with the same certificate and accounts; the configuration
of the others is in ``peers/``.  What they use is that of all their processes together.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import load
from twisted.internet.defer import Deferred, succeed

from jabberd.certificates import CLIENT_AUTH, SERVER_AUTH, issue, make_ca
from jabberd.jsm.account import ACCOUNTS
from jabberd.jsm.credentials import AccountRecord, Accounts
from jabberd.storage import open_storage
from jabberd.xmpp.jid import JID

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.interop.peers import NameServer  # the checkout is no package of its own

if TYPE_CHECKING:
    from collections.abc import Mapping

DOMAIN = "montague.lit"
OTHER = "capulet.lit"  # at the other end, where two servers are measured
PASSWORD = "secret"
HERE = Path(__file__).parent
PATIENCE = 30.0  # seconds that a start may take
JABBERD2 = Path("/usr/lib/x86_64-linux-gnu/jabberd2")
EJABBERD = next(Path("/usr/lib").glob("*/ejabberd-*"), None)

OURS = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = {port}
[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = {s2s}
[domains."{domain}"]
{modules}
[domains."rooms.{domain}"]
service = "muc"
[tls]
certificates = "certs"
[federation]
authorities = ["certs/ca.crt"]
[federation.hosts]
{hosts}
[storage]
url = "sqlite:jabberd.db"
[limits]
connections = 100000
connection_attempts = "1000000 per s"
rate = "1000 MiB"
server_rate = "1000 MiB"
presence = "1000000 per s"
subscriptions = "1000000 per s"
server_subscriptions = "1000000 per s"
[log]
level = "warn"
"""


class Server:
    """A server to measure.

    :param cpu: what it is pinned to.
    :param domain: that it hosts.
    :param archived: whether all messages are archived.
    :param hosts: the ports at which the servers of other domains listen for servers.
    :param s2s: the port at which it listens for servers itself; one that is free if not given.
    """

    name: str
    does: ClassVar[frozenset[str]]  #: what of `FEATURES` it has

    def __init__(
        self,
        folder: Path,
        port: int,
        cpu: int | None,
        *,
        domain: str = DOMAIN,
        archived: bool = False,
        hosts: Mapping[str, int] | None = None,
        s2s: int | None = None,
    ) -> None:
        self.folder, self.port, self.cpu = folder, port, cpu
        self.domain, self.archived, self.hosts = domain, archived, dict(hosts or {})
        self.s2s = s2s or free_port()
        folder.mkdir(parents=True)
        shutil.copytree(certificates(folder.parent), folder / "certs")
        self.processes: list[subprocess.Popen[bytes]] = []

    def commands(self) -> list[list[str]]:
        """What to run, in this order."""
        raise NotImplementedError

    def accounts(self, names: list[str]) -> None:
        """Make accounts, before the start or after it, whichever the server needs."""
        raise NotImplementedError

    @property
    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def fill(self, template: str, target: str = "", **more: object) -> Path:
        """Write one of the files in ``peers/``, each ``@word@`` replaced."""
        values = {
            "folder": self.folder,
            "port": self.port,
            "s2s": self.s2s,
            "domain": self.domain,
            "root": HERE.parent,
            **more,
        }
        text = (HERE / "peers" / template).read_text()
        path = self.folder / (target or Path(template).name)
        path.write_text(re.sub(r"@(\w+)@", lambda found: str(values[found[1]]), text))
        return path

    def start(self) -> None:
        """Start it, and wait until it serves its domain."""
        pin = [] if self.cpu is None else ["taskset", "--cpu-list", str(self.cpu)]
        with (self.folder / "output").open("ab") as output:
            for command in self.commands():
                process = subprocess.Popen(
                    [*pin, *command], cwd=self.folder, stdout=output, stderr=output, env=self.environment
                )
                self.processes.append(process)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and all(each.poll() is None for each in self.processes):
            if self._serves():
                return
            time.sleep(0.05)
        raise SystemExit(f"{self.name} did not start:\n{(self.folder / 'output').read_text()[-4000:]}")

    def _serves(self) -> bool:
        """Whether it knows its domain by now: a port may be open earlier."""
        try:
            with load.encrypted(self.port, self.domain):
                return True
        except OSError:
            return False

    def cpu_seconds(self) -> float:
        """User and system time that its processes have used.

        From their clocks (clock_getcpuclockid(3)), not from ``/proc/PID/stat``: that counts in hundredths of
        a second, of which a round of rosters has only a few.
        """
        return sum(time.clock_gettime((~process.pid << 3) | 2) for process in self.processes)

    def rss(self) -> int:
        """Resident memory in bytes."""
        pages = (int(Path(f"/proc/{each.pid}/statm").read_text().split()[1]) for each in self.processes)
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """End it, the last process first."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


class Jabberd(Server):
    name = "jabberd"
    does = frozenset({"sm", "carbons", "csi", "scram", "fast", "archive", "rooms", "federation"})

    def commands(self) -> list[list[str]]:
        hosts = "\n".join(f'"{name}" = "127.0.0.1:{port}"' for name, port in self.hosts.items())
        config = OURS.format(
            port=self.port, s2s=self.s2s, domain=self.domain, hosts=hosts, modules=self._modules()
        )
        (self.folder / "jabberd.toml").write_text(config)
        twistd = str(Path(sys.executable).with_name("twistd"))
        return [[twistd, "--nodaemon", "jabberd", "--config", "jabberd.toml"]]

    def _modules(self) -> str:
        return f'[domains."{self.domain}".modules]\narchive = true' if self.archived else ""

    def accounts(self, names: list[str]) -> None:
        storage = open_storage(f"sqlite:///{self.folder}/jabberd.db", None)
        keys = lru_cache(lambda work, *how: work(*how))  # made once: all have the same password
        accounts = Accounts(
            JID.parse(self.domain),
            storage.keyed(ACCOUNTS, AccountRecord),
            lambda derive: succeed(keys(derive.func, *derive.args)),
            bytes(16),
            iterations=4096,
        )
        for name in names:
            Deferred.fromCoroutine(accounts.create(name, PASSWORD))
        storage.close()


class Floor(Server):
    """What is left of ours without XMPP: sockets, TLS and the reactor (see ``floor.py``)."""

    name = "floor"
    does = frozenset({"sm", "carbons", "csi", "scram", "fast", "federation"})

    def commands(self) -> list[list[str]]:
        others = [str(each) for pair in self.hosts.items() for each in pair]
        where = [str(self.port), "certs", self.domain, str(self.s2s)]
        return [[sys.executable, str(HERE / "floor.py"), *where, *others]]

    def accounts(self, names: list[str]) -> None:
        """Everybody has one."""


class Prosody(Server):
    name = "prosody"
    does = frozenset({"sm", "carbons", "csi", "scram", "archive", "rooms", "federation"})

    def commands(self) -> list[list[str]]:
        hosts = "; ".join(f'["xmpp-server {name}"] = {port}' for name, port in self.hosts.items())
        config = self.fill(
            "prosody.cfg.lua",
            archive='"mam"' if self.archived else "",
            rooms='"muc_mam"' if self.archived else "",
            hosts=hosts,
        )
        if os.geteuid() != 0:
            return [["prosody", "-F", "--config", str(config)]]
        for path in (self.folder, *self.folder.rglob("*")):
            shutil.chown(path, "prosody", "prosody")
        run_as = ["setpriv", "--reuid=prosody", "--regid=prosody", "--clear-groups"]
        return [[*run_as, "prosody", "-F", "--config", str(config)]]

    def accounts(self, names: list[str]) -> None:
        folder = self.folder / "data" / self.domain.replace(".", "%2e") / "accounts"
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')


class Ejabberd(Server):
    name = "ejabberd"
    does = frozenset({"sm", "carbons", "csi", "scram", "archive", "rooms", "federation"})

    def commands(self) -> list[list[str]]:
        self._resolver = NameServer({f"_xmpp-server._tcp.{name}": port for name, port in self.hosts.items()})
        self._resolver.start()
        archive = "  mod_mam: {default: always, request_activates_archiving: false}"
        archived = str(self.archived).lower()
        self.fill("ejabberd.yml", archived=archived, archive=archive if self.archived else "")
        (self.folder / "inetrc").write_text(
            '{lookup, [dns]}.\n{resolv_conf, ""}.\n{hosts_file, ""}.\n'
            f"{{nameserver, {{127,0,0,1}}, {self._resolver.port}}}.\n"
        )
        return [["erl", "-noinput", "-mnesia", "dir", f'"{self.folder}/mnesia"', "-s", "ejabberd"]]

    @property
    def environment(self) -> dict[str, str]:
        assert EJABBERD is not None
        return {
            **os.environ,
            "HOME": str(self.folder),
            "ERL_LIBS": str(EJABBERD.parent),
            "ERL_INETRC": str(self.folder / "inetrc"),
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "EJABBERD_PID_PATH": str(self.folder / "ejabberd.pid"),
        }

    def accounts(self, names: list[str]) -> None:
        self._names = names  # its store is Erlang's: they register themselves

    def start(self) -> None:
        super().start()
        register(self.port, self.domain, self._names)

    def stop(self) -> None:
        super().stop()
        self._resolver.stop()


class Jabberd2(Server):
    name = "jabberd2"
    does = frozenset()

    def commands(self) -> list[list[str]]:
        router = free_port()
        parts = ("router", "sm", "c2s")
        for part in (*parts, "router-users", "router-filter"):
            self.fill(f"jabberd2/{part}.xml", router=router, libraries=JABBERD2)
        return [[f"/usr/sbin/jabberd2-{part}", "-c", str(self.folder / f"{part}.xml")] for part in parts]

    def accounts(self, names: list[str]) -> None:
        schema = gzip.decompress(Path("/usr/share/doc/jabberd2/db-setup.sqlite.gz").read_bytes()).decode()
        with sqlite3.connect(self.folder / "sqlite.db") as database:
            database.executescript(schema)
            rows = [(name, self.domain, PASSWORD) for name in names]
            database.executemany('INSERT INTO "authreg" VALUES (?, ?, ?)', rows)
            active = [(f"{name}@{self.domain}", 0) for name in names]
            database.executemany('INSERT INTO "active" ("collection-owner", "time") VALUES (?, ?)', active)


def certificates(folder: Path) -> Path:
    """Certificates of one authority for both domains, made once in that folder."""
    made = folder / "certificates"
    if not made.exists():
        ca = make_ca(made)
        for domain in (DOMAIN, OTHER):
            issued = issue(ca, domain, f"rooms.{domain}", eku=(SERVER_AUTH, CLIENT_AUTH))
            issued.write(made, domain)
            (made / f"{domain}.pem").write_bytes(issued.certificate_pem() + issued.key_pem())
    return made


def register(port: int, domain: str, names: list[str]) -> None:
    """Make accounts as clients do (XEP-0077), on one stream for each hundred."""
    for at in range(0, len(names), 100):
        with load.encrypted(port, domain) as connection:
            for name in names[at : at + 100]:
                connection.sock.sendall(
                    f"<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>{name}</username>"
                    f"<password>{PASSWORD}</password></query></iq>".encode()
                )
                connection.read_until(b">", b"type='result'")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def installed() -> list[type[Server]]:
    """What can be measured on this machine."""
    found: list[type[Server]] = [Jabberd]
    if shutil.which("prosody"):
        found.append(Prosody)
    if EJABBERD and shutil.which("erl"):
        found.append(Ejabberd)
    if JABBERD2.exists():
        found.append(Jabberd2)
    return found
