"""A real server as its operators see it: pages, log files, the watchdog."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from jabberd.certificates import issue, make_ca
from tests.running import PATIENCE, TWISTD, running

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent

CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "http"
address = "127.0.0.1"
port = 0
[[listeners]]
kind = "http"
address = "127.0.0.1"
port = 0
direct_tls = true
[domains."montague.lit"]
[tls]
certificates = "certs"
[storage]
url = "sqlite:montague.db"
[log]
format = "json"
file = "operation.json"
"""

OPENING = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" to='montague.lit' version='1.0'>"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    ca = make_ca()
    issue(ca, "montague.lit").write(tmp_path / "certs", "montague.lit")
    (tmp_path / "ca.crt").write_bytes(ca.certificate_pem())
    file = tmp_path / "montague.toml"
    file.write_text(CONFIG)
    return file


def page(connection: HTTPConnection, path: str, host: str = "localhost") -> tuple[int, str]:
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_a_server_tells_over_http_that_it_is_well_and_how_it_is_doing(config: Path) -> None:
    with running(config) as server:
        plain = HTTPConnection("127.0.0.1", server.port("http"), timeout=PATIENCE)
        status, body = page(plain, "/healthz")
        assert (status, json.loads(body)) == (
            200,
            {"status": "ok", "domains": {"montague.lit": True}, "storage": True},
        )
        with socket.create_connection(("127.0.0.1", server.port("c2s")), PATIENCE) as client:
            client.sendall(OPENING)
            assert client.recv(1)
            status, body = page(plain, "/metrics")
        samples = {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in read_openmetrics(body)  # type: ignore[no-untyped-call]  # the library's
            for sample in family.samples
        }
        assert samples["jabberd_streams", ("c2s", "negotiating")] == 1
        assert page(plain, "/nowhere")[0] == 404
        plain.close()


def test_the_pages_answer_to_the_names_of_the_domains_that_are_hosted_now(config: Path) -> None:
    config.write_text(CONFIG + '[control]\nsocket = "control"\n')
    issue(make_ca(), "capulet.lit").write(config.with_name("certs"), "capulet.lit")

    def operate(*words: str) -> None:
        command = [sys.executable, "-m", "jabberd.ctl", "--config", str(config), *words]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    with running(config) as server:
        plain = HTTPConnection("127.0.0.1", server.port("http"), timeout=PATIENCE)
        assert [page(plain, "/healthz", host)[0] for host in ("montague.lit", "capulet.lit")] == [200, 404]
        operate("domains", "add", "capulet.lit")
        assert page(plain, "/healthz", "Capulet.lit")[0] == 200
        operate("domains", "remove", "capulet.lit")
        assert page(plain, "/healthz", "capulet.lit")[0] == 404
        plain.close()


def test_the_pages_are_there_over_tls_too(config: Path) -> None:
    with running(config) as server:
        context = ssl.create_default_context(cafile=str(config.with_name("ca.crt")))
        context.set_alpn_protocols(["http/1.1"])
        raw = socket.create_connection(("127.0.0.1", server.port("http-direct")), PATIENCE)
        secure = HTTPSConnection("montague.lit", context=context, timeout=PATIENCE)
        secure.sock = context.wrap_socket(raw, server_hostname="montague.lit")
        assert page(secure, "/healthz")[0] == 200
        assert secure.sock.selected_alpn_protocol() == "http/1.1"
        secure.close()


def test_the_log_goes_to_its_file_and_sigusr1_opens_it_anew(config: Path) -> None:
    file, moved = config.with_name("operation.json"), config.with_name("operation.json.1")
    with running(config) as server:
        file.rename(moved)
        server.process.send_signal(signal.SIGUSR1)
        eventually_exists(file)
        server.stop()
        assert server.log.read_text() == ""
    before = [json.loads(line) for line in moved.read_text().splitlines()]
    after = [json.loads(line) for line in file.read_text().splitlines()]
    assert any(line["message"].startswith("ready: c2s 127.0.0.1:") for line in before)
    assert "Server Shut Down." in [line["message"] for line in after]
    assert all(line["level"] == "info" for line in before + after)


def test_a_log_file_that_cannot_be_written_stops_the_start(config: Path) -> None:
    config.write_text(CONFIG.replace("operation.json", "nowhere/operation.json"))
    why = r"log\.file: cannot be written: No such file or directory; choose another"
    with pytest.raises(AssertionError, match=why), running(config):
        pass


def test_the_watchdog_is_told_in_time(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    with running(config) as server:
        assert server.tells("WATCHDOG") == "1"
        began = time.monotonic()
        for _ in range(5):
            server.tells("WATCHDOG")
        assert time.monotonic() - began < 5 * 0.4
        server.process.terminate()
        assert server.tells("STOPPING") == "1"


@pytest.mark.foreign
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit_and_the_server_well_locked_in(tmp_path: Path) -> None:
    unit = tmp_path / "jabberd.service"
    text = (ROOT / "etc/jabberd.service").read_text()
    unit.write_text(text.replace("/opt/jabberd/bin/twistd", str(TWISTD)))
    assert analyzed("verify", "--man=no", unit) == (0, "")
    status, told = analyzed("security", "--offline=yes", "--threshold=20", unit)
    assert status == 0, told


def analyzed(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(["systemd-analyze", *arguments], check=False, capture_output=True, text=True)
    return done.returncode, done.stderr


def eventually_exists(file: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not file.exists():
        assert time.monotonic() < end, f"{file} is not there"
        time.sleep(0.02)
