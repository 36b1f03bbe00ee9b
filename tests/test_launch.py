"""Real server processes: how they start, why they do not, and how they end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from jabberd.certificates import issue, make_ca
from tests.running import PATIENCE, command, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.process

CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
direct_tls = true
[[listeners]]
kind = "s2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
[tls]
certificates = "certs"
[storage]
url = "sqlite:montague.db"
"""

OPENING = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" to='montague.lit' version='1.0'>"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    issue(make_ca(), "montague.lit").write(tmp_path / "certs", "montague.lit")
    file = tmp_path / "montague.toml"
    file.write_text(CONFIG)
    return file


def refused(config: Path) -> list[str]:
    """What a start that fails, as it must, says to the terminal."""
    done = subprocess.run(
        command(config), check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=config.parent
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr.splitlines()


def heard_until(client: socket.socket, last: bytes) -> bytes:
    """What the server sends, up to and with those last bytes."""
    heard = b""
    while not heard.endswith(last):
        more = client.recv(4096)
        assert more, f"closed after {heard!r}"
        heard += more
    return heard


def test_a_wrong_configuration_stops_the_start_with_a_line_for_each_mistake(config: Path) -> None:
    module = '[domains."montague.lit".modules.offline]\nlimits = 5\n'
    config.write_text(CONFIG.replace('"s2s"', '"s2x"') + '[limits]\ndepth = "deep"\n' + module)
    assert refused(config) == [
        (
            f'{config}:12: listeners[2].kind: is not known here (got "s2x");'
            " use 'bytestreams', 'c2s', 'component', 'http', 's2s' or 'web'"
        ),
        f'{config}:21: limits.depth: is not a whole number (got "deep"); write only digits, without quotes',
        (
            f'{config}:23: domains."montague.lit".modules.offline.limits: is not a setting here (got 5);'
            " did you mean limit?"
        ),
    ]


def test_mistakes_of_the_server_of_modules_and_of_certificates_are_told_at_once(config: Path) -> None:
    modules = '[domains."montague.lit".modules]\npong = true\n'
    config.write_text(CONFIG.replace("[tls]", f'{modules}[domains."capulet.lit"]\n[tls]'))
    told = refused(config)
    assert len(told) == 2
    assert told[0].startswith(f'{config}:17: domains."montague.lit".modules.pong: ')
    assert "did you mean ping?" in told[0]
    assert re.match(rf"{re.escape(str(config))}:\d+: .*no certificate for capulet.lit", told[1])


def test_mistakes_are_told_before_a_storage_that_is_not_there(config: Path) -> None:
    config.write_text(
        CONFIG.replace("montague.db", "nowhere/montague.db").replace('"certs"', '"nowhere"')
        + '[federation]\nauthorities = ["nowhere.pem"]\n'
    )
    first, second = refused(config)
    assert "tls.certificates" in first
    assert "federation.authorities" in second


def test_a_port_that_is_taken_stops_the_start_and_is_named(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(CONFIG.replace("port = 0", f"port = {port}", 1))
        (told,) = refused(config)
    assert told == (
        f"Couldn't listen on 127.0.0.1:{port}: listeners[0]: Address already in use;"
        " end what listens there, or choose another port."
    )


def test_an_address_that_this_machine_does_not_have_stops_the_start_and_is_named(config: Path) -> None:
    config.write_text(CONFIG.replace("127.0.0.1", "192.0.2.7", 2).replace("192.0.2.7", "127.0.0.1", 1))
    (told,) = refused(config)
    assert told == (
        "Couldn't listen on 192.0.2.7:0: listeners[1]: Cannot assign requested address;"
        ' use an address of this machine, or "::" for all.'
    )


def test_a_control_socket_replaces_no_file_of_another_kind(config: Path) -> None:
    diary = config.with_name("diary")
    diary.write_text("wherefore art thou")
    config.write_text(CONFIG + '[control]\nsocket = "diary"\n')
    (told,) = refused(config)
    assert told == f"Couldn't listen on unix:{diary}: there is a file, and no socket; name another place."
    assert diary.read_text() == "wherefore art thou"


def test_a_storage_that_cannot_be_opened_stops_the_start(config: Path) -> None:
    config.write_text(CONFIG.replace("sqlite:montague.db", "sqlite:nowhere/montague.db"))
    (told,) = refused(config)
    assert "nowhere/montague.db" in told


def test_readiness_is_told_with_the_ports_that_the_system_chose(config: Path) -> None:
    with running(config) as server:
        assert [(kind, host) for kind, host, _ in server.bound] == [
            ("c2s", "127.0.0.1"),
            ("c2s-direct", "127.0.0.1"),
            ("s2s", "127.0.0.1"),
        ]
        for _, host, port in server.bound:
            socket.create_connection((host, port), PATIENCE).close()


def test_two_servers_run_in_one_folder(config: Path) -> None:
    other = config.with_name("capulet.toml")
    other.write_text(CONFIG.replace("montague.db", "capulet.db"))
    with running(config), running(other):
        pass


def test_sigterm_says_system_shutdown_to_each_stream_and_ends_within_five_seconds(config: Path) -> None:
    with running(config) as server, ExitStack() as stack:
        place = ("127.0.0.1", server.port("c2s"))
        client, _silent = (stack.enter_context(socket.create_connection(place, PATIENCE)) for _ in range(2))
        client.sendall(OPENING)
        assert b"<starttls" in heard_until(client, b"</stream:features>")
        status, seconds = server.stop()
        goodbye = heard_until(client, b"</stream:stream>")
        printed = server.log.read_text()
    assert b"<system-shutdown" in goodbye
    assert status == -signal.SIGTERM
    assert seconds < 5
    assert "Traceback" not in printed


@pytest.mark.parametrize("reactor", ["epoll", "poll", "select", "asyncio"])
def test_every_reactor_will_do(config: Path, reactor: str) -> None:
    with running(config, f"--reactor={reactor}") as server:
        socket.create_connection(("127.0.0.1", server.port("c2s")), PATIENCE).close()
        status, seconds = server.stop()
        assert "Traceback" not in server.log.read_text()
    assert (status, seconds < 5) == (-signal.SIGTERM, True)


def test_the_log_has_the_levels_that_are_asked_for(config: Path) -> None:
    config.write_text(CONFIG + '[log]\nlevel = "error"\n')
    with running(config) as server:
        server.stop()
        assert server.log.read_text() == ""


def test_in_the_background_it_works_too_and_its_pid_file_goes_with_it(config: Path) -> None:
    pidfile, log = config.with_name("montague.pid"), config.with_name("montague.log")
    config.write_text(
        CONFIG.replace('[domains."montague.lit"]', '[domains."montague.lit"]\nrequire_tls = false')
    )
    program, _, *rest = command(config)
    subprocess.run(
        [program, "--pidfile", str(pidfile), "--logfile", str(log), *rest],
        check=True,
        timeout=PATIENCE,
        cwd=config.parent,
    )
    daemon = int(pidfile.read_text())
    try:
        (port,) = re.findall(r"ready: c2s 127.0.0.1:(\d+)", eventually(log.read_text, "ready: "))
        with socket.create_connection(("127.0.0.1", int(port)), PATIENCE) as client:
            client.sendall(OPENING)
            heard_until(client, b"</stream:features>")
            # n,,n=romeo,r=orchard: the answer needs the storage, and a thread
            client.sendall(
                b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>"
                b"biwsbj1yb21lbyxyPW9yY2hhcmQ=</auth>"
            )
            assert b"<challenge" in heard_until(client, b"</challenge>")
            os.kill(daemon, signal.SIGTERM)
            assert b"<system-shutdown" in heard_until(client, b"</stream:stream>")
        eventually(lambda: str(pidfile.exists()), "False")
        assert "Traceback" not in log.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.kill(daemon, signal.SIGKILL)


def eventually(look: Callable[[], str], wanted: str) -> str:
    """What is seen as soon as it holds what is wanted."""
    end = time.monotonic() + PATIENCE
    while wanted not in (seen := look()):
        assert time.monotonic() < end, f"no {wanted!r} in {seen!r}"
        time.sleep(0.05)
    return seen
