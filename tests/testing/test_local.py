"""A real server for authors of clients, as they get it from the fixture."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jabberd.testing.local import local_server as started
from jabberd.testing.process import PATIENCE
from tests.interop.actor import PASSWORD, Actor, entered

if TYPE_CHECKING:
    from jabberd.testing.local import LocalServer

pytestmark = pytest.mark.process


def test_a_client_logs_in_with_the_account_that_was_made_for_it(local_server: LocalServer) -> None:
    jid = local_server.account("romeo", PASSWORD)

    async def play() -> None:
        romeo = Actor(f"{jid}/orchard", local_server.port, local_server.authority, register=False)
        async with entered(romeo):
            [session] = local_server.operate("sessions", "list")
            assert session["jid"] == "romeo@montague.lit/orchard"

    asyncio.run(play())


def test_direct_tls_shows_a_certificate_of_its_authority(local_server: LocalServer) -> None:
    context = ssl.create_default_context(cafile=local_server.authority)
    with (
        socket.create_connection((local_server.host, local_server.direct_port)) as plain,
        context.wrap_socket(plain, server_hostname=local_server.domain) as client,
    ):
        certificate = client.getpeercert()
    assert certificate is not None
    assert certificate["subjectAltName"][0] == ("DNS", "montague.lit")


def test_what_is_refused_says_why(local_server: LocalServer) -> None:
    local_server.account("romeo")
    with pytest.raises(ValueError, match="exists already") as refused:
        local_server.account("romeo")
    assert "operator: accounts create" in refused.value.__notes__[0]


@pytest.mark.parametrize("end", [None, signal.SIGTERM, signal.SIGINT], ids=["input", "term", "int"])
def test_a_test_in_another_language_starts_one_and_ends_it(end: signal.Signals | None) -> None:
    command = [sys.executable, "-m", "jabberd.testing", "romeo:art thou: romeo"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        told = json.loads(process.stdout.readline())
        listed = [
            sys.executable,
            "-m",
            "jabberd.ctl",
            "--config",
            told["config"],
            "accounts",
            "list",
            told["domain"],
        ]
        assert subprocess.check_output(listed) == b"romeo@montague.lit\n"
        with socket.create_connection((told["host"], told["direct_port"])):
            if end is None:
                process.stdin.close()
            else:
                process.send_signal(end)
            assert process.wait(PATIENCE) == 0
            assert process.stderr.read() == b""
    assert not os.path.lexists(Path(told["log"]).parent)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((told["host"], told["port"]))


def test_what_is_no_account_is_told_how_to_write_one() -> None:
    command = [sys.executable, "-m", "jabberd.testing", "--help"]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    usage = "usage: python -m jabberd.testing [NAME:PASSWORD ...]"
    assert (said.returncode, said.stdout, said.stderr) == (1, "", f"--help is not NAME:PASSWORD; {usage}\n")


def test_its_domain_and_settings_may_be_others_and_it_leaves_nothing() -> None:
    more = '[domains."capulet.lit".modules]\narchive = true\n'
    with started("capulet.lit", more) as server:
        modules = server.operate("modules", "list", "capulet.lit")
        assert "archive" in [each["module"] for each in modules]
    assert not os.path.lexists(server.log.parent)
