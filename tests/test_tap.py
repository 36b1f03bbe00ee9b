"""``twistd jabberd``: its options and its file limit, without a process."""

from __future__ import annotations

import resource
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from twisted.scripts._twistd_unix import ServerOptions

from jabberd import __version__
from jabberd.tap import Options, raise_file_limit

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
[storage]
url = "memory"
"""


@pytest.fixture(autouse=True)
def _only_our_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all others brings warnings of theirs; that twistd finds ours is seen in test_launch."""
    ours = import_module("twisted.plugins.jabberd_plugin").jabberd
    monkeypatch.setattr(ServerOptions, "_getPlugins", lambda *_: [ours])


def parsed(*arguments: str) -> ServerOptions:
    """What twistd makes of its command line."""
    options = ServerOptions()
    options.parseOptions(list(arguments))
    return options


def test_twistd_knows_jabberd_and_its_option(tmp_path: Path) -> None:
    file = tmp_path / "montague.toml"
    file.write_text(CONFIG)
    ours = parsed("--nodaemon", "jabberd", "--config", str(file)).subOptions
    assert isinstance(ours, Options)
    assert list(ours.config.settings.domains) == ["montague.lit"]


@pytest.mark.parametrize(
    ("options", "pidfile"),
    [(["--nodaemon"], False), (["--nodaemon", "--pidfile", "montague.pid"], True), ([], True)],
)
def test_in_the_foreground_no_pid_file_is_kept_unless_asked_for(
    tmp_path: Path, options: list[str], pidfile: bool
) -> None:
    file = tmp_path / "montague.toml"
    file.write_text(CONFIG)
    assert bool(parsed(*options, "jabberd", "--config", str(file))["pidfile"]) is pidfile


def test_a_missing_option_or_file_ends_the_start_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--config FILE is missing"):
        parsed("--nodaemon", "jabberd")
    with pytest.raises(SystemExit, match=r"nowhere.toml: cannot be read: No such file or directory$"):
        parsed("--nodaemon", "jabberd", "--config", str(tmp_path / "nowhere.toml"))


def test_its_version_is_told_and_not_that_of_twisted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("--nodaemon", "jabberd", "--version")
    assert not ended.value.code
    assert capsys.readouterr().out == f"jabberd {__version__}\n"


def test_the_soft_limit_of_files_is_raised_to_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        raise_file_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert hard == before[1]
    assert soft == (1 << 20 if hard == resource.RLIM_INFINITY else min(hard, 1 << 20))
