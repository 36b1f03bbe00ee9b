"""@xmpp/client, which nobody here wrote: SASL2, Bind 2, stream management inline and tokens, over sockets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jabberd.certificates import issue, make_ca
from tests.interop.actor import PASSWORD
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Running

HERE = Path(__file__).parent / "javascript"
OLDEST = 20  # the Node.js that the library needs
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
federation = "off"
[tls]
certificates = "certs"
[storage]
url = "sqlite:montague.db"
"""


def _version() -> int:
    node = shutil.which("node")
    said = (
        subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
        if node
        else "v0"
    )
    return int(said.removeprefix("v").partition(".")[0])


pytestmark = [
    pytest.mark.process,
    pytest.mark.foreign,
    pytest.mark.xfail(  # not skipped, which fails in CI: that has Debian's Node.js, which is older
        shutil.which("npm") is None or _version() < OLDEST,
        reason=f"no Node.js {OLDEST} here, or no npm: install nodejs and npm",
        run=False,
    ),
]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The play, beside the library that it is played with."""
    folder = tmp_path_factory.mktemp("javascript")
    for name in ("package.json", "package-lock.json", "play.mjs"):
        shutil.copy(HERE / name, folder)
    subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, capture_output=True, timeout=120
    )
    return folder / "play.mjs"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """With an account for romeo."""
    ca = make_ca()
    issue(ca, "montague.lit").write(tmp_path / "certs", "montague.lit")
    (tmp_path / "ca.crt").write_bytes(ca.certificate_pem())
    config = tmp_path / "montague.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "jabberd.ctl", "--config", str(config), "--password-stdin"]
    create = [*command, "accounts", "create", "romeo@montague.lit"]
    subprocess.run(create, input=PASSWORD, text=True, check=True, capture_output=True, timeout=90)
    with running(config) as server:
        yield server


def test_a_client_logs_in_resumes_and_comes_back_with_a_token(server: Running, script: Path) -> None:
    played = subprocess.run(
        ["node", str(script), str(server.port("c2s")), PASSWORD],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(server.log.with_name("ca.crt"))},
    )
    told: list[dict[str, Any]] = [json.loads(line) for line in played.stdout.splitlines()]
    assert told[-1:] == [{"end": "well"}], played.stdout + played.stderr
    logins = [each["said"] for each in told if each.get("said", "").startswith("<authenticate ")]
    used = [(re.findall(r'mechanism="([^"]+)"', login)[0], "<resume " in login) for login in logins]
    assert used == [("SCRAM-SHA-1", False), ("HT-SHA-256-NONE", True), ("HT-SHA-256-NONE", False)]
    jids = {str(each[key]) for each in told for key in ("online", "again") if key in each}
    assert len(jids) == 1  # the same installation has the same resource again
    assert next(iter(jids)).startswith("romeo@montague.lit/Tassel/")
    assert [each for each in told if "resumed" in each] == [{"resumed": True}]
    assert "enable" not in " ".join(each["said"].split()[0] for each in told if "said" in each)
