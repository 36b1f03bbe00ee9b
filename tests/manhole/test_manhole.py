"""The manhole as a service: only where it is wanted, and only where it is safe."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, eventAsText

from jabberd.config import Config, ConfigError
from jabberd.manhole import manhole
from jabberd.testing.outcome import done
from tests.manhole.client import new_key
from tests.manhole.seat import Treasury, verbs

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
[storage]
url = "memory"
"""
KEEP = "keep to 127.0.0.1 or ::1, or add allow_remote = true"
WANTED = '[manhole]\nauthorized_keys = "operators"\nhost_key = "own"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "operators").write_bytes(new_key().public().toString("OPENSSH", comment=b"nurse"))
    (tmp_path / "operators").chmod(0o600)
    return tmp_path


def made(folder: Path, more: str, reactor: Any = None) -> list[Any]:
    config = Config("montague.toml", CONFIG + more, folder)
    return [*manhole(config, reactor or MemoryReactorClock(), verbs(Treasury()), {})]


def mistake(folder: Path, more: str) -> str:
    """The one mistake in the configuration, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        made(folder, more)
    [line] = str(caught.value).splitlines()
    return line.removeprefix("montague.toml:")


def test_unless_it_is_configured_there_is_none(folder: Path) -> None:
    assert made(folder, "") == []


def test_it_listens_on_this_machine_only(folder: Path) -> None:
    reactor = MemoryReactorClock()
    [service] = made(folder, WANTED, reactor)
    with capturedLogs() as events:
        service.privilegedStartService()
        service.startService()
    [(port, _, _, interface)] = reactor.tcpServers
    assert (interface, port) == ("127.0.0.1", 5022)
    assert ", host key SHA256:" in eventAsText(events[-1])
    done(service.stopService())


def test_it_listens_on_a_socket_that_only_the_owner_can_use(folder: Path) -> None:
    reactor = MemoryReactorClock()
    [service] = made(folder, WANTED + 'socket = "run/manhole.sock"\n', reactor)
    service.startService()
    [(path, _, _, mode, _)] = reactor.unixServers
    assert (path, mode) == (str(folder / "run" / "manhole.sock"), 0o600)
    assert not reactor.tcpServers


def test_a_socket_that_is_taken_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reactor = MemoryReactorClock()
    [service] = made(folder, WANTED + 'socket = "manhole.sock"\n', reactor)

    def taken(*_: object, **__: object) -> None:
        raise CannotListenError(None, None, OSError("taken"))

    monkeypatch.setattr(reactor, "listenUNIX", taken)
    with pytest.raises(CannotListenError, match=r"unix:.*manhole\.sock"):
        service.startService()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            'address = "0.0.0.0"\n',
            f'11: manhole.address: lets other machines in (got "0.0.0.0"); {KEEP}',
        ),
        (
            'address = "::"\n',
            f'11: manhole.address: lets other machines in (got "::"); {KEEP}',
        ),
        (
            'socket = "manhole.sock"\nport = 1\n',
            "8: manhole: has a socket and an address or port; take one of them away",
        ),
    ],
)
def test_where_it_would_be_unsafe_or_unclear_it_is_a_mistake(folder: Path, more: str, said: str) -> None:
    assert mistake(folder, WANTED + more) == said


@pytest.mark.parametrize("more", ['address = "0.0.0.0"\nallow_remote = true\n', 'address = "::1"\n'])
def test_other_machines_are_let_in_by_two_words_only(folder: Path, more: str) -> None:
    assert len(made(folder, WANTED + more)) == 1


def test_there_is_no_default_for_keys(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        made(folder, "[manhole]\n")
    assert str(caught.value).splitlines() == [
        "montague.toml:8: manhole.authorized_keys: is missing; add it",
        "montague.toml:8: manhole.host_key: is missing; add it",
    ]


def test_files_of_keys_that_cannot_be_used_are_mistakes_of_the_configuration(folder: Path) -> None:
    (folder / "own").write_bytes(b"nonsense")
    (folder / "own").chmod(0o600)
    assert mistake(folder, WANTED) == (
        f"10: manhole.host_key: {folder}/own is not a private key without a passphrase; remove it"
    )
    (folder / "operators").chmod(0o666)
    assert mistake(folder, WANTED) == (
        f"9: manhole.authorized_keys: {folder}/operators: others may write to it; chmod go-w it"
    )


def test_without_its_packages_it_says_what_to_install_and_without_it_they_are_not_needed(
    folder: Path,
) -> None:
    code = (
        "import sys; sys.modules['bcrypt'] = None\n"
        "import jabberd.service\n"
        "from pathlib import Path\n"
        f"text, folder = {CONFIG + WANTED!r}, Path({str(folder)!r})\n"
        "from jabberd.config import Config, ConfigError\n"
        "assert 'twisted.conch' not in sys.modules\n"
        "try:\n"
        "    jabberd.service.manhole(Config('m.toml', text, folder), 0, 0, {})\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(
        rf"m.toml:8: manhole: .*bcrypt.*; {sys.executable} -m pip install 'twisted\[conch\]'\n", said
    )
