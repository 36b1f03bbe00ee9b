"""``jabberctl`` as a process: with a server, without one, at a terminal, in a script."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from jabberd import __version__, ctl
from jabberd.certificates import issue, make_ca
from tests.running import PATIENCE, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process

ROMEO = "romeo@montague.lit"
SECRET = "wherefore art thou"
CONFIG = """
[[listeners]]
kind = "c2s"
address = "127.0.0.1"
port = 0
[domains."montague.lit"]
[domains."capulet.lit"]
[tls]
certificates = "certs"
[storage]
url = "sqlite:jabberd.db"
[control]
socket = "jabberd.sock"
"""


class Said(NamedTuple):
    """What a command printed, and its exit status."""

    status: int
    out: str
    error: str


def jabberctl(*arguments: str | Path, given: str = "") -> Said:
    command = [sys.executable, "-m", "jabberd.ctl", *map(str, arguments)]
    run = subprocess.run(command, input=given, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return Said(run.returncode, run.stdout, run.stderr)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    issue(make_ca(), "montague.lit", "capulet.lit").write(folder, "both")
    return folder


@pytest.fixture
def config(tmp_path: Path, certificates: Path) -> Path:
    (tmp_path / "certs").symlink_to(certificates)
    file = tmp_path / "jabberd.toml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(params=["running", "stopped"])
def either(request: pytest.FixtureRequest, config: Path) -> Iterator[Path]:
    """The configuration of a server that runs, and then of one that does not."""
    if request.param == "stopped":
        yield config
    else:
        with running(config):
            yield config


# -- the verbs ------------------------------------------------------------------------------------------


def test_accounts_are_operated_on_a_server_that_runs_and_on_one_that_does_not(either: Path) -> None:
    def accounts(*words: str, given: str = "") -> Said:
        return jabberctl("--config", either, "--password-stdin", "accounts", *words, given=given)

    assert accounts("list", "montague.lit") == Said(0, "", "")
    assert accounts("create", ROMEO, given=SECRET) == Said(0, f"{ROMEO} was made\n", "")
    assert accounts("create", "benvolio@montague.lit", given=f"{SECRET}\nnot read\n").status == 0
    assert accounts("list", "montague.lit") == Said(0, f"benvolio@montague.lit\n{ROMEO}\n", "")
    assert accounts("list", "capulet.lit") == Said(0, "", "")
    assert accounts("create", ROMEO, given=SECRET) == Said(1, "", f"jabberctl: {ROMEO} exists already\n")
    assert accounts("password", ROMEO, given="rosaline\n") == Said(0, f"{ROMEO} has a new password\n", "")
    assert accounts("delete", ROMEO) == Said(0, f"{ROMEO} is deleted\n", "")
    assert accounts("delete", ROMEO) == Said(1, "", f"jabberctl: there is no account {ROMEO}\n")
    refused = accounts("create", "tybalt@evil.example", given=SECRET)
    assert (refused.status, refused.out) == (1, "")
    assert "evil.example is not hosted here; hosted are capulet.lit, montague.lit" in refused.error


def test_words_that_are_not_understood_end_with_status_two_and_a_suggestion(either: Path) -> None:
    said = jabberctl("--config", either, "accounts", "craete", ROMEO)
    assert said.status == 2
    assert re.match(
        r"jabberctl: 'accounts craete' is not a verb( while no server answers on \S+)?; there are: ",
        said.error,
    )
    assert jabberctl("--config", either, "accounts", "list").status == 2


def test_a_verb_that_needs_a_server_is_told_so_without_one(config: Path) -> None:
    said = jabberctl("--config", config, "links", "list")
    socket = config.resolve().parent / "jabberd.sock"
    assert said.status == 2
    assert f"'links list' is not a verb while no server answers on {socket}; there are: " in said.error


def test_a_configuration_is_examined_with_a_server_and_without(either: Path) -> None:
    right = jabberctl("--config", either, "config", "check")
    assert right == Said(0, f"{either} is right\n", "")
    other = either.with_name("other.toml")
    manhole = '[manhole]\nauthorized_keys = "nobody"\nhost_key = "key"\n'
    other.write_text(f'{CONFIG}{manhole}[log]\nfile = "no/log"\n')
    wrong = jabberctl("--config", either, "config", "check", other)
    assert wrong.status == 1
    where = f"jabberctl: {other}:15: manhole.authorized_keys: {either.resolve().parent / 'nobody'}"
    assert wrong.error.splitlines() == [
        f"{where} cannot be read: No such file or directory; put public keys there",
        f"{other}:18: log.file: cannot be written: No such file or directory; choose another",
    ]
    assert not other.with_name("key").exists()


def test_a_socket_that_cannot_be_is_told_with_its_line(config: Path) -> None:
    config.write_text(CONFIG.replace("jabberd.sock", f"{'s' * 120}.sock"))
    said = jabberctl("--config", config, "accounts", "list", "montague.lit")
    assert said.status == 1
    assert f"{config}:13: control.socket: is too long for a Unix socket" in said.error


def test_json_answers_every_verb_and_every_refusal(either: Path) -> None:
    def asked(*words: str) -> tuple[int, object]:
        said = jabberctl("--config", either, "--json", "--password-stdin", *words, given=SECRET)
        assert said.error == ""
        return said.status, json.loads(said.out)

    assert asked("accounts", "create", ROMEO) == (0, {"done": f"{ROMEO} was made"})
    assert asked("accounts", "list", "montague.lit") == (0, {"done": [ROMEO]})
    assert asked("accounts", "password", ROMEO) == (0, {"done": f"{ROMEO} has a new password"})
    assert asked("accounts", "create", ROMEO) == (1, {"refused": f"{ROMEO} exists already"})
    assert asked("accounts", "delete", ROMEO) == (0, {"done": f"{ROMEO} is deleted"})
    assert asked("accounts", "list") == (2, {"usage": "DOMAIN is missing; usage: accounts list DOMAIN"})
    status, verbs = asked("help")
    assert status == 0
    assert {"verb": "accounts create JID", "help": "make an account"} in verbs["done"]  # type: ignore[index]  # JSON


def test_without_a_terminal_a_password_is_not_guessed_at(either: Path) -> None:
    said = jabberctl("--config", either, "accounts", "create", ROMEO, given=SECRET)
    assert said == Said(
        2, "", "jabberctl: there is no terminal to ask for the password; use --password-stdin\n"
    )
    said = jabberctl("--config", either, "--password-stdin", "accounts", "create", ROMEO)
    assert said == Said(1, "", "jabberctl: no password was given; nothing was done\n")
    assert jabberctl("--config", either, "accounts", "list", "montague.lit").out == ""


# -- secrets --------------------------------------------------------------------------------------------


def test_the_password_is_typed_twice_and_not_shown(config: Path) -> None:
    shown = typed(config, [SECRET, "a slip", SECRET, SECRET])
    assert shown.splitlines() == [
        f"password for {ROMEO}: ",
        "once more: ",
        "they differ; again, please",
        f"password for {ROMEO}: ",
        "once more: ",
        f"{ROMEO} was made",
        "status 0",
    ]


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_who_thinks_better_of_it_leaves_nothing_behind(config: Path, key: str) -> None:
    shown = typed(config, [key])
    assert shown.endswith("jabberctl: no password was given; nothing was done\r\nstatus 1")
    assert jabberctl("--config", config, "accounts", "list", "montague.lit").out == ""


TERMINAL = """
import os, pty, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell has it ignored in what runs behind it
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


def typed(config: Path, lines: list[str]) -> str:
    """What a terminal shows while somebody types these lines, one at each prompt."""
    command = [sys.executable, "-m", "jabberd.ctl", "--config", str(config), "accounts", "create", ROMEO]
    left = list(lines)
    shown = ""
    with subprocess.Popen(
        [sys.executable, "-c", TERMINAL, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as terminal:
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        while data := os.read(terminal.stdout.fileno(), 1024):
            shown += data.decode()
            if shown.endswith(": ") and left:
                line = left.pop(0)
                os.write(terminal.stdin.fileno(), line.encode() + (b"" if line in "\x03\x04" else b"\n"))
        return f"{shown}status {terminal.wait(PATIENCE)}"


def test_a_password_among_the_words_is_refused_and_does_not_reach_the_log(config: Path) -> None:
    with running(config) as server:
        said = jabberctl("--config", config, "accounts", "create", ROMEO, SECRET)
        assert said.status == 2
        assert "one word too many; usage: accounts create JID\n" in said.error
        jabberctl("--config", config, "--password-stdin", "accounts", "create", ROMEO, given=SECRET)
        jabberctl("--config", config, "--password-stdin", "accounts", "create", ROMEO, given=SECRET)
        log = server.log.read_text()
    assert SECRET not in log
    assert len(re.findall(r"operator: accounts create .*'password': Secret\(\.\.\.\)", log)) == 2


# -- whom it asks ---------------------------------------------------------------------------------------


def test_what_was_done_without_the_server_is_there_when_it_starts(config: Path) -> None:
    jabberctl("--config", config, "--password-stdin", "accounts", "create", ROMEO, given=SECRET)
    with running(config):
        assert jabberctl("--config", config, "accounts", "list", "montague.lit").out == f"{ROMEO}\n"
        jabberctl(
            "--config",
            config,
            "--password-stdin",
            "accounts",
            "create",
            "mercutio@montague.lit",
            given=SECRET,
        )
    left = jabberctl("--config", config, "accounts", "list", "montague.lit").out
    assert left == f"mercutio@montague.lit\n{ROMEO}\n"


def test_the_socket_is_for_the_owner_of_the_server_alone(config: Path) -> None:
    with running(config) as server:
        path = config.with_name("jabberd.sock")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        server.stop()
        assert not path.exists()


def test_a_socket_that_a_crash_has_left_is_in_nobodys_way(config: Path) -> None:
    with running(config) as server:
        server.process.kill()
        server.process.wait()
    assert config.with_name("jabberd.sock").exists()
    assert jabberctl("--config", config, "accounts", "list", "montague.lit").status == 0
    with running(config):
        assert jabberctl("--config", config, "accounts", "list", "montague.lit").status == 0


def test_a_server_that_does_not_answer_is_told_from_none(config: Path) -> None:
    path = config.with_name("jabberd.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        asking = subprocess.Popen(
            [sys.executable, "-m", "jabberd.ctl", "--config", config, "accounts", "list", "montague.lit"],
            stderr=subprocess.PIPE,
            text=True,
        )
        with listener.accept()[0] as connection:
            connection.recv(1024)
        _, error = asking.communicate(timeout=PATIENCE)
    assert (asking.returncode, error) == (
        1,
        "jabberctl: the server ended the connection without an answer\n",
    )


ROWS = b'{"row": {"what": "said", "id": null, "children": ["body", "x"]}}\n{"row": {"what": "\\u001b[2J"}}\n'


def followed(config: Path, *options: str) -> Said:
    """What ``jabberctl`` shows of an answer that goes on."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(config.with_name("jabberd.sock")))
        listener.listen()
        asking = subprocess.Popen(
            [sys.executable, "-m", "jabberd.ctl", "--config", config, *options, "trace", ROMEO],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with listener.accept()[0] as connection:
            connection.recv(1024)
            connection.sendall(ROWS)
            assert asking.stdout is not None
            first = asking.stdout.readline()  # there, though the answer goes on
            connection.sendall(b'{"done": null}\n')
        with asking:
            assert asking.stderr is not None
            said = first + asking.stdout.read(), asking.stderr.read()
    return Said(asking.returncode, *said)


def test_an_answer_that_goes_on_is_shown_row_by_row(config: Path) -> None:
    assert followed(config) == Said(0, "said  -  body,x\n\\x1b[2J\n", "")


def test_an_answer_that_goes_on_is_a_line_of_json_for_each_row(config: Path) -> None:
    said = followed(config, "--json")
    rows = [json.loads(line) for line in ROWS.splitlines()]
    assert [json.loads(line) for line in said.out.splitlines()] == [*rows, {"done": None}]


def test_an_account_is_traced_until_the_time_is_up_or_somebody_interrupts(config: Path) -> None:
    with running(config):
        assert jabberctl("--config", config, "trace", ROMEO, "hidden", "10", "1") == Said(0, "", "")
        command = [sys.executable, "-m", "jabberd.ctl", "--config", str(config), "trace", ROMEO]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracing:
            with pytest.raises(subprocess.TimeoutExpired):
                tracing.wait(1)
            tracing.send_signal(signal.SIGINT)
            assert tracing.communicate(timeout=PATIENCE)[1] == ""
        assert tracing.returncode == ctl.INTERRUPTED


def test_what_is_kept_in_memory_only_cannot_be_operated_without_the_server(config: Path) -> None:
    config.write_text(CONFIG.replace("sqlite:jabberd.db", "memory"))
    said = jabberctl("--config", config, "accounts", "list", "montague.lit")
    assert said == Said(
        1, "", "jabberctl: the server does not run, and what it keeps in memory is gone with it\n"
    )
    with running(config):
        made = jabberctl("--config", config, "--password-stdin", "accounts", "create", ROMEO, given=SECRET)
        assert made.status == 0
        assert jabberctl("--config", config, "accounts", "list", "montague.lit").out == f"{ROMEO}\n"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            CONFIG.replace("port = 0", "prot = 0"),
            r"jabberd\.toml:5: listeners\[0\]\.prot: is not a setting here",
        ),
        (CONFIG.replace("sqlite:jabberd.db", "sqlite:nowhere/jabberd.db"), r"nowhere/jabberd\.db"),
        ("[[listeners", r"jabberd\.toml:1: "),
    ],
)
def test_a_configuration_that_cannot_be_used_is_told_as_at_the_start(
    config: Path, broken: str, said: str
) -> None:
    config.write_text(broken)
    refused = jabberctl("--config", config, "accounts", "list", "montague.lit")
    assert refused.status == 1
    assert re.search(said, refused.error)
    assert "Traceback" not in refused.error


def test_a_verb_that_a_server_answers_needs_neither_twisted_nor_a_database(config: Path) -> None:
    script = (
        "import sys; from jabberd.ctl import main; status = main(sys.argv[1:]);"
        "print(status, sorted({'twisted', 'sqlalchemy', 'msgspec', 'lxml'} & set(sys.modules)))"
    )
    with running(config):
        run = subprocess.run(
            [sys.executable, "-c", script, "--config", config, "accounts", "list", "montague.lit"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    assert run.stdout == "0 []\n"


# -- without a configuration ----------------------------------------------------------------------------


def test_the_example_is_what_the_repository_shows(capsys: pytest.CaptureFixture[str]) -> None:
    example = (Path(__file__).parent.parent / "etc" / "jabberd.toml").read_text()
    assert ctl.main(["config", "example"]) == 0
    assert capsys.readouterr().out == example
    assert ctl.main(["--json", "config", "example"]) == 0
    assert json.loads(capsys.readouterr().out) == {"done": example.removesuffix("\n")}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_option_may_stand_anywhere_among_the_words(place: int, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["config", "example"]
    words.insert(place, "--json")
    assert ctl.main(words) == 0
    assert capsys.readouterr().out.startswith('{"done": ')


def test_its_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ctl.main(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == f"jabberd {__version__}\n"


def test_verbs_need_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ctl.main(["accounts", "list"])
    assert ended.value.code == 2
    assert "--config FILE is missing" in capsys.readouterr().err
