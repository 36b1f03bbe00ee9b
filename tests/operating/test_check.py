"""``jabberctl check``, with a server and without one, as a process: it has a reactor of its own."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from jabberd.certificates import issue, make_ca
from tests.running import PATIENCE, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.process

CONFIG = """
[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = {listen}
[domains."{domain}"]
[tls]
certificates = "certs"
[federation]
authorities = ["{ca}"]
resolver = "127.0.0.1:9"
[federation.hosts]
"montague.lit" = "127.0.0.1:{montague}"
"capulet.lit" = "127.0.0.1:{capulet}"
[storage]
url = "sqlite:{domain}.db"
[control]
socket = "{domain}.sock"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ca = make_ca(tmp_path / "ca")
    for domain in ("montague.lit", "capulet.lit"):
        issue(ca, domain).write(tmp_path / "certs", domain)
    (tmp_path / "stranger.crt").write_bytes(make_ca().certificate_pem())
    return tmp_path


def config(folder: Path, domain: str, *, listen: int = 0, capulet: int = 9, ca: str = "ca/ca.crt") -> Path:
    file = folder / f"{domain}.toml"
    file.write_text(CONFIG.format(domain=domain, listen=listen, montague=9, capulet=capulet, ca=ca))
    return file


def check(file: Path, *words: str) -> tuple[int, list[str]]:
    """The exit status and the lines."""
    arguments = [sys.executable, "-m", "jabberd.ctl", "--json", "--config", str(file), "check", *words]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False)
    answer = json.loads(run.stdout)
    return run.returncode, answer.get("done") or answer["refused"].splitlines()


def test_a_component_that_finds_no_door_is_told(folder: Path) -> None:
    file = config(folder, "montague.lit")
    component = '[components."sms.montague.lit"]\nsecret = "a thing of no great worth"\nfederation = "off"\n'
    file.write_text(f"{file.read_text()}{component}")
    told = 'components: FAILED: sms.montague.lit cannot connect; add a listener of the kind "component"'
    assert told in check(file)[1]
    door = '[[listeners]]\nkind = "component"\naddress = "127.0.0.1"\nport = 0\n'
    file.write_text(f"{file.read_text()}{door}")
    assert not any(line.startswith("components") for line in check(file)[1])


def test_each_thing_is_looked_at_with_a_server_and_without(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = config(folder, "montague.lit", listen=port)
        status, lines = check(file)
        assert status == 1
        (failed,) = [line for line in lines if "FAILED" in line]
        remedy = "end the program that holds it, or choose another"
        assert failed == f"port 127.0.0.1 {port}: FAILED: Address already in use; {remedy}"
    status, stopped = check(file)
    with running(file):
        live = check(file)[1]
    free = f"port 127.0.0.1 {port}: it is free (s2s)"
    place = stopped.index(free)
    assert (status, place) == (0, 4)
    steady = [line for line in (*live, *stopped) if not line.startswith("disk: ")]
    assert steady[len(steady) // 2 :] == [
        line.replace("this server listens there", "it is free") for line in steady[: len(steady) // 2]
    ]
    assert live[place] == f"port 127.0.0.1 {port}: this server listens there (s2s)"
    assert stopped[:place] == [
        f"configuration: {file} is right",
        *(line for line in stopped if line.startswith("certificate montague.lit: ")),
        "dns montague.lit: 127.0.0.1:9 (STARTTLS) is 127.0.0.1",
    ]
    assert [line.partition(":")[0] for line in stopped[place + 1 :]] == ["open files", "disk", "storage"]


@pytest.fixture
def names() -> Iterator[int]:
    """The port of a name server."""
    command = [sys.executable, "-m", "tests.operating.names"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.communicate()


def test_where_clients_and_other_servers_look_for_the_domains_is_told(folder: Path, names: int) -> None:
    file = config(folder, "montague.lit")
    plain = file.read_text().replace('resolver = "127.0.0.1:9"', f'resolver = "127.0.0.1:{names}"')
    plain = re.sub(r'".*lit" = ".*"\n', "", plain.replace('"s2s"', '"c2s"'))
    file.write_text(plain.replace("[tls]", '[domains."capulet.lit"]\n[tls]'))
    status, lines = check(file)
    assert status == 1
    place = "capulet.lit:5222 (STARTTLS)"
    remedy = "publish _xmpp-client._tcp.capulet.lit SRV 0 5 5222 YOUR.HOST, and addresses of that host"
    assert [line for line in lines if line.startswith("dns ")] == [
        "dns montague.lit: xmpp.montague.lit:5269 (STARTTLS) is 127.0.0.1",
        "dns montague.lit for clients: xmpp.montague.lit:5222 (STARTTLS) is 127.0.0.1",
        "dns montague.lit for clients: xmpp.montague.lit:5223 (TLS at once) is 127.0.0.1",
        "dns capulet.lit: xmpp.montague.lit:5269 (STARTTLS) is 127.0.0.1",
        f"dns capulet.lit for clients: FAILED: {place}: the host has no address; {remedy}",
    ]


def test_what_the_running_server_does_not_follow_is_told(folder: Path) -> None:
    file = config(folder, "montague.lit")
    right = file.read_text()
    with running(file):
        file.write_text(f'{right}[log]\nformat = "json"\nlevel = "warn"\n')
        issue(make_ca(folder / "ca"), "montague.lit").write(folder / "certs", "montague.lit")
        (folder / "certs" / "montague.lit.key").chmod(0o644)
        status, lines = check(file)
    key = f"{folder}/certs/montague.lit.key"
    format, level, readable, shown = [line for line in lines if "FAILED" in line]
    differ = "FAILED: the running server has {}, the file {}; jabberctl {}"
    assert status == 1
    assert format == f"configuration log.format: {differ.format('text', 'json', 'restart')}"
    assert level == f"configuration log.level: {differ.format('info', 'warn', 'config reload')}"
    assert readable == f"key {key}: FAILED: everybody on this machine can get at it; chmod o= {key}"
    assert shown.startswith("certificate montague.lit: FAILED: the running server shows one that expires on")
    assert shown.endswith("; jabberctl certificates reload")
    file.write_text("nonsense")
    assert check(file)[0] == 1


def test_a_certificate_that_others_will_not_believe_is_told(folder: Path) -> None:
    status, lines = check(config(folder, "montague.lit", ca="stranger.crt"))
    (failed,) = [line for line in lines if "FAILED" in line]
    assert status == 1
    assert failed.startswith("certificate montague.lit: FAILED: it was issued by an unknown authority")


def test_the_handshake_is_played_step_by_step_with_a_server_and_without(folder: Path) -> None:
    with running(config(folder, "capulet.lit")) as capulet:
        file = config(folder, "montague.lit", capulet=capulet.port("s2s"))
        stopped = check(file, "--federation", "capulet.lit")
        with running(file):
            assert check(file, "--federation", "capulet.lit") == stopped
        steps = [line.partition(":")[0] for line in stopped[1]]
        assert steps == ["dns capulet.lit", "connect", "tls", "certificate", "authentication"]
        assert (stopped[0], stopped[1][-1]) == (0, "authentication: it takes our certificate")
        file = config(folder, "montague.lit", capulet=capulet.port("s2s"), ca="stranger.crt")
        status, lines = check(file, "--federation", "capulet.lit")
        assert status == 1
        assert lines[3].startswith("certificate: FAILED: it was issued by an unknown authority")
    status, lines = check(file, "--federation", "capulet.lit")
    assert (status, len(lines)) == (1, 2)
    assert lines[1].startswith("connect: FAILED: 127.0.0.1:")


def test_a_domain_that_cannot_be_found_is_told_and_nothing_more_is_tried(folder: Path) -> None:
    status, lines = check(config(folder, "montague.lit"), "--federation", "nowhere.example")
    assert (status, len(lines)) == (1, 1)
    assert lines[0].startswith("dns nowhere.example: FAILED: ")
