"""A whole server, assembled around a reactor in memory, with a configuration file to change."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from jabberd.admin import Admin
from jabberd.certificates import Issued, issue, make_ca
from jabberd.config import Config
from jabberd.logs import Levels
from jabberd.operating.reload import Hangup, Reload
from jabberd.operating.verbs import operating_verbs
from jabberd.service import assemble
from jabberd.testing.outcome import done

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from twisted.application.service import MultiService

CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 5222
[domains."montague.lit"]
[domains."montague.lit".modules]
[tls]
certificates = "certs"
[storage]
url = "memory"
[limits]
[federation]
[log]
"""


class Scene:
    """A running server and its configuration file."""

    def __init__(self, folder: Path, ca: Issued) -> None:
        self.folder = folder
        self.ca = ca
        self.file = folder / "jabberd.toml"
        self.certify("montague.lit")
        self.file.write_text(CONFIG)
        self.reactor: Any = MemoryReactorClock()
        config = Config.read(self.file)
        self.levels = Levels(config.settings.log)
        self.server: MultiService = assemble(config, self.reactor, self.levels)
        hangup: Any = self.server.getServiceNamed("hangup")
        assert isinstance(hangup, Hangup)
        self.hangup = hangup
        self.reload: Reload = hangup._reload  # nobody else has it
        self._admin = Admin(lambda: operating_verbs(self.reload))

    def certify(self, domain: str, file: str = "") -> None:
        """Put a new certificate into the folder."""
        issue(self.ca, domain).write(self.folder / "certs", file or domain)

    def write(self, table: str, line: str) -> None:
        """Add a line below a table's header in the file."""
        text = self.file.read_text()
        assert f"[{table}]\n" in text
        self.file.write_text(text.replace(f"[{table}]\n", f"[{table}]\n{line}\n"))

    def operate(self, *words: str) -> Any:
        """What a verb answers."""
        return done(self._admin.run([*words], {}))


@pytest.fixture(scope="session")
def ca() -> Issued:
    return make_ca()


@pytest.fixture
def scene(tmp_path: Path, ca: Issued) -> Iterator[Scene]:
    scene = Scene(tmp_path, ca)
    before = signal.getsignal(signal.SIGHUP)
    scene.server.startService()
    yield scene
    scene.server.stopService()
    scene.reactor.advance(10)
    signal.signal(signal.SIGHUP, before)
