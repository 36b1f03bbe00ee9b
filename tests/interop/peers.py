"""Servers of others, each started for one test, on loopback, with a configuration of the test's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.names import dns

from jabberd.certificates import SERVER_AUTH, issue, make_ca

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cryptography import x509

HERE = Path(__file__).parent
PATIENCE = 90.0  # seconds that a start may take on a busy machine: for ejabberd 30 were too few
HOST = "localhost"  # the one name that ejabberd, which asks the C library for addresses, finds without DNS
COTURN = shutil.which("turnserver")
PROSODY = shutil.which("prosody")
ERLANG = shutil.which("erl")
EJABBERD = next(Path("/usr/lib").glob("*/ejabberd-*"), None)


@contextmanager
def started(command: Sequence[str], log: Path, ports: Sequence[int], **options: Any) -> Iterator[None]:
    """Run a server until the block ends; it is ready when it listens on these ports.

    :raises AssertionError: it ended, or was not ready in time; with what it printed.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
    try:
        end = time.monotonic() + PATIENCE
        for port in ports:
            while not listens(port):
                assert process.poll() is None, f"ended with {process.returncode}:\n{log.read_text()}"
                assert time.monotonic() < end, f"not ready after {PATIENCE} s:\n{log.read_text()}"
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class NameServer(threading.Thread):
    """DNS on loopback: every service that it knows is on ``localhost``.

    :param services: by service and domain, as in ``_xmpp-server._tcp.capulet.lit``, the port.
    """

    def __init__(self, services: Mapping[str, int]) -> None:
        super().__init__(daemon=True)
        self._services = services
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.asked: list[str] = []

    def run(self) -> None:
        while True:
            try:
                data, peer = self._socket.recvfrom(4096)
            except OSError:
                return
            if not data:
                return
            message = dns.Message()
            message.fromStr(data)
            self._answer(message)
            self._socket.sendto(message.toStr(), peer)

    def stop(self) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self.join(5)
        self._socket.close()

    def _answer(self, message: dns.Message) -> None:
        message.answer = 1
        for query in message.queries:
            name = query.name.name.decode()
            self.asked.append(name)
            if query.type == dns.SRV and name in self._services:
                found: Any = dns.Record_SRV(0, 0, self._services[name], HOST.encode())
            elif query.type == dns.A and name == HOST:
                found = dns.Record_A("127.0.0.1")
            else:
                message.rCode = dns.OK if name == HOST else dns.ENAME
                continue
            message.answers.append(dns.RRHeader(query.name.name, query.type, dns.IN, 60, found))


class Authority:
    """A CA and its certificates in a folder, in the forms that different servers want.

    :param eku: the purposes of all certificates but the root; those of public authorities unless given.
    """

    def __init__(self, folder: Path, eku: Sequence[x509.ObjectIdentifier] = (SERVER_AUTH,)) -> None:
        self.root = make_ca()
        self.eku = eku
        self.intermediate = issue(self.root, "Verona CA", authority=True, eku=eku)
        self.folder = folder
        self.file = folder / "ca.pem"
        folder.mkdir()
        self.file.write_bytes(self.root.certificate_pem())

    def certify(self, domain: str, by: Authority | None = None) -> None:
        """Write ``DOMAIN.crt``, ``DOMAIN.key``, and ``DOMAIN.pem`` with both.

        :param by: another authority than this one.
        """
        issued = issue((by or self).intermediate, domain, eku=self.eku)
        issued.write(self.folder, domain)
        pem = self.folder / f"{domain}.pem"
        pem.touch(mode=0o600)
        pem.write_bytes(issued.certificate_pem() + issued.key_pem())


PROSODY_CONFIG = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
plugin_paths = {{ "{here}/prosody_modules" }}
log = {{ {{ levels = {{ min = "debug" }}, to = "console" }} }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s} }}
s2s_ports = {{ {s2s} }}
s2s_direct_tls_ports = {{ {direct} }}
c2s_direct_tls_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
modules_enabled = {{
    "disco"; "roster"; "saslauth"; "tls"; "dialback"; "ping"; "register"; "version"; "hosts_for_tests";
    {modules}
}}
allow_registration = true
c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = {secure}
hosts_for_tests = {{ {hosts} }}
ssl = {{ certificate = "{certs}/{domain}.crt"; key = "{certs}/{domain}.key"; cafile = "{authority}" }}
VirtualHost "{domain}"
"""


@contextmanager
def prosody(
    folder: Path,
    domain: str,
    authority: Authority,
    ports: tuple[int, int, int],
    hosts: Mapping[str, int],
    *,
    trusted: Path | None = None,
    secure: bool = True,
    modules: Sequence[str] = (),
) -> Iterator[Path]:
    """Run Prosody for a domain; gives the file that it logs to.

    :param ports: for clients, for servers, and for servers with direct TLS.
    :param hosts: by service and domain, as in ``xmpp-server montague.lit``, the port of another server.
    :param trusted: the file of the CA that it trusts, if it is another.
    :param modules: those that it has beside the ones that every test needs.
    :param secure: certificates alone prove who other servers are; else dialback does, too.
    """
    assert PROSODY
    folder.mkdir()
    config = folder / "prosody.cfg.lua"
    c2s, s2s, direct = ports
    config.write_text(
        PROSODY_CONFIG.format(
            folder=folder,
            here=HERE,
            c2s=c2s,
            s2s=s2s,
            direct=direct,
            secure=str(secure).lower(),
            modules="; ".join(f'"{module}"' for module in modules),
            hosts="; ".join(f'["{name}"] = {port}' for name, port in hosts.items()),
            authority=trusted or authority.file,
            certs=authority.folder,
            domain=domain,
        )
    )
    log = folder / "prosody.log"
    with started([PROSODY, "-F", "--config", str(config)], log, ports, cwd=folder):
        yield log


EJABBERD_CONFIG = """
hosts: ["{domain}"]
loglevel: debug
certfiles: ["{certs}/{domain}.pem"]
ca_file: "{authority}"
auth_password_format: scram
registration_timeout: infinity
s2s_use_starttls: required
s2s_cafile: "{authority}"
disable_sasl_mechanisms: []
listen:
  - {{port: {c2s}, ip: "127.0.0.1", module: ejabberd_c2s, starttls: true, starttls_required: true}}
  - {{port: {s2s}, ip: "127.0.0.1", module: ejabberd_s2s_in}}
acl: {{}}
modules:
  mod_disco: {{}}
  mod_ping: {{}}
  mod_roster: {{}}
  mod_version: {{}}
  mod_offline: {{}}
  mod_register: {{ip_access: all, access: all}}
  mod_s2s_dialback: {{}}
"""


@contextmanager
def ejabberd(
    folder: Path,
    domain: str,
    authority: Authority,
    ports: tuple[int, int],
    resolver: int,
    *,
    trusted: Path | None = None,
) -> Iterator[Path]:
    """Run ejabberd for a domain; gives the file that it logs to.

    :param ports: for clients and for servers.
    :param resolver: the port of a name server on loopback.
    :param trusted: the file of the CA that it trusts, if it is another.
    """
    assert ERLANG
    assert EJABBERD
    folder.mkdir()
    c2s, s2s = ports
    config = folder / "ejabberd.yml"
    config.write_text(
        EJABBERD_CONFIG.format(
            domain=domain,
            certs=authority.folder,
            authority=trusted or authority.file,
            c2s=c2s,
            s2s=s2s,
        )
    )
    inetrc = folder / "inetrc"
    inetrc.write_text(
        '{lookup, [dns]}.\n{resolv_conf, ""}.\n{hosts_file, ""}.\n'
        f"{{nameserver, {{127,0,0,1}}, {resolver}}}.\n"
    )
    log = folder / "ejabberd.log"
    command = [ERLANG, "-noinput", "-mnesia", "dir", f'"{folder}/mnesia"', "-s", "ejabberd"]
    environment = {
        **os.environ,
        "HOME": str(folder),
        "ERL_LIBS": str(EJABBERD.parent),
        "ERL_INETRC": str(inetrc),
        "EJABBERD_CONFIG_PATH": str(config),
        "EJABBERD_LOG_PATH": str(log),
        "EJABBERD_PID_PATH": str(folder / "ejabberd.pid"),
    }
    with started(command, folder / "console.log", ports, cwd=folder, env=environment):
        yield log
