"""The servers that are compared: ours and, where it is installed, Prosody; each in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from twisted.internet.defer import Deferred, execute

from jabberd.certificates import development_certificates
from jabberd.jsm.account import ACCOUNTS
from jabberd.jsm.credentials import AccountRecord, Accounts
from jabberd.storage import open_storage
from jabberd.xmpp.jid import JID

DOMAIN = "montague.lit"
PASSWORD = "secret"

OURS = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = {port}
[domains."montague.lit"]
[tls]
certificates = "certs"
[storage]
url = "sqlite:jabberd.db"
[limits]
connections = 100000
[log]
level = "warn"
"""

PROSODY = """
daemonize = false
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}/certs"
plugin_paths = {{}}
admins = {{}}
modules_enabled = {{ "disco"; "roster"; "saslauth"; "tls"; "blocklist"; "carbons"; "pep"; "private"; "vcard4";
  "vcard_legacy"; "ping"; "time"; "uptime"; "version"; }}
modules_disabled = {{ "s2s"; "offline" }}
c2s_require_encryption = true
limits = {{}}
c2s_ports = {{ {port} }}
c2s_interfaces = {{ "127.0.0.1" }}
c2s_direct_tls_ports = {{}}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
authentication = "internal_plain"
storage = "internal"
network_backend = "epoll"
log = {{ warn = "{folder}/prosody.log" }}
VirtualHost "montague.lit"
  ssl = {{ key = "{folder}/certs/montague.lit.key"; certificate = "{folder}/certs/montague.lit.crt" }}
"""


class Server:
    """A server process of ours to measure."""

    name: str

    def __init__(self, folder: Path, port: int, cpu: int | None) -> None:
        self.folder, self.port, self.cpu = folder, port, cpu
        folder.mkdir(parents=True)
        development_certificates(folder / "certs", (DOMAIN,))
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def accounts(self, names: list[str]) -> None:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(self.command(), cwd=self.folder, stdout=output, stderr=output)
        if self.cpu is not None:
            os.sched_setaffinity(self.process.pid, {self.cpu})
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"{self.name} did not start:\n{(self.folder / 'output').read_text()}")

    def cpu_seconds(self) -> float:
        """User and system time that the process has used."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> int:
        """Resident memory in bytes."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Jabberd(Server):
    name = "jabberd"

    def command(self) -> list[str]:
        (self.folder / "jabberd.toml").write_text(OURS.format(port=self.port))
        twistd = str(Path(sys.executable).with_name("twistd"))
        return [twistd, "--nodaemon", "jabberd", "--config", "jabberd.toml"]

    def accounts(self, names: list[str]) -> None:
        storage = open_storage(f"sqlite:///{self.folder}/jabberd.db", None)
        accounts = Accounts(
            JID.parse(DOMAIN), storage.keyed(ACCOUNTS, AccountRecord), execute, bytes(16), iterations=4096
        )
        for name in names:
            Deferred.fromCoroutine(accounts.create(name, PASSWORD))
        storage.close()


class Prosody(Server):
    name = "prosody"

    def command(self) -> list[str]:
        config = self.folder / "prosody.cfg.lua"
        config.write_text(PROSODY.format(folder=self.folder, port=self.port))
        if os.geteuid() != 0:
            return ["prosody", "--config", str(config)]
        shutil.chown(self.folder, "prosody", "prosody")
        for path in self.folder.rglob("*"):
            shutil.chown(path, "prosody", "prosody")
        run_as = ["setpriv", "--reuid=prosody", "--regid=prosody", "--clear-groups"]
        return [*run_as, "prosody", "--config", str(config)]

    def accounts(self, names: list[str]) -> None:
        folder = self.folder / "data" / "montague%2elit" / "accounts"
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def installed() -> list[type[Server]]:
    """What can be measured on this machine."""
    return [Jabberd, *([Prosody] if shutil.which("prosody") else [])]
