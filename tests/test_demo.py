"""``make demo``: the whole play as a process, and what it says when something is missing."""

from __future__ import annotations

import importlib.util
import io
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PATIENCE = 180.0  # seconds that a play may take on a busy machine
STEPS = [
    "1. A stream, TLS, SASL and a resource for Romeo",
    "2. His roster, by <iq/>",
    "3. His presence, broadcast to his contacts on both servers",
    "4. Their presence, back to him",
    "5. A message there, a message back, and one that waits",
]


# -- the play -------------------------------------------------------------------------------------------


@pytest.fixture
def play(tmp_path: Path) -> Path:
    """A copy of what the play needs, with ports of its own, and patience for a busy machine."""
    for folder in ("demo", "etc"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    base = next(number for number in random_numbers() if all(map(is_free, where_it_may_be(number))))
    for file in ("montague.toml", "capulet.toml"):
        text = (tmp_path / "etc" / file).read_text()
        for old, new in zip(("5222", "5269", "5322", "5369"), ports(base), strict=True):
            text = text.replace(old, str(new))
        (tmp_path / "etc" / file).write_text(text)
    edit(tmp_path / "demo" / "actors.py", "PATIENCE: Final = 10.0", "PATIENCE: Final = 60.0")
    return tmp_path


def impatient(play: Path) -> Path:
    """The play with its own patience again, where a test waits for what does not come."""
    edit(play / "demo" / "actors.py", "PATIENCE: Final = 60.0", "PATIENCE: Final = 10.0")
    return play


def random_numbers() -> Iterator[int]:
    """Where nobody listens by chance: below the ports that systems give to clients."""
    while True:
        yield random.randrange(16_000, 22_000)


def ports(base: int) -> range:
    return range(base, base + 4)


def where_it_may_be(base: int) -> list[int]:
    """Its ports, and those that it moves to."""
    return [port + shift for shift in (0, 10_000) for port in ports(base)]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def listening(play: Path) -> list[int]:
    """The ports of the play's configurations."""
    texts = ((play / "etc" / file).read_text() for file in ("montague.toml", "capulet.toml"))
    return [int(port) for text in texts for port in re.findall(r"(?m)^port = (\d+)", text)]


def played(play: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, play / "demo" / "play.py", "--once"],
        cwd=play,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def once(play: Path) -> subprocess.CompletedProcess[str]:
    """Play it to its end; nobody listens any more then."""
    done = played(play)
    assert all(map(is_free, listening(play))), "a server is left"
    return done


@pytest.mark.process
def test_every_step_is_seen_also_with_what_an_earlier_play_has_left(play: Path) -> None:
    first = once(play)
    assert (first.returncode, first.stderr) == (0, "")
    assert [line for line in first.stdout.splitlines() if line in STEPS] == STEPS
    assert shown(first.stdout) == [
        ("romeo", "→", "hi!"),
        ("juliet", "←", "hi!"),
        ("juliet", "→", "hi yourself!"),
        ("romeo", "←", "hi yourself!"),
        ("romeo", "→", "Commend me to thy lady."),
        ("nurse", "←", "Commend me to thy lady."),
    ]
    assert re.search(r"<delay xmlns=.urn:xmpp:delay. from=.capulet.lit. stamp=", first.stdout)
    assert "\033" not in first.stdout
    (play / "var" / "capulet.db").unlink()  # the Capulets have forgotten it all, the Montagues have not
    again = once(play)
    assert (again.returncode, again.stderr) == (0, "")


def shown(output: str) -> list[tuple[str, str, str]]:
    """Who sent and who received which message."""
    return re.findall(r" ms  (\w+) +(.) <message [^>]*>\s*<body>([^<]*)</body>", output)


@pytest.mark.process
def test_a_port_that_is_taken_is_named_and_all_move(play: Path) -> None:
    port = listening(play)[3]
    with socket.create_server(("127.0.0.1", port)):
        done = played(play)
    assert (done.returncode, done.stderr) == (0, "")
    said = f"Port {port} is taken, where capulet.lit wants to hear other servers: all ports move by 10,000."
    assert said in done.stdout.splitlines()
    moved = [int(port) for port in re.findall(r"[cs]2s 127\.0\.0\.1:(\d+)", done.stdout)]
    assert moved == [each + 10_000 for each in listening(play)]


@pytest.mark.process
def test_ctrl_c_ends_both_servers_in_time_and_well(play: Path) -> None:
    command = [sys.executable, str(play / "demo" / "play.py")]
    with subprocess.Popen(command, cwd=play, stdout=subprocess.PIPE, text=True) as playing:
        assert playing.stdout is not None
        told = ""
        for line in playing.stdout:
            told += line
            if line.startswith("  logs "):
                break
        assert not any(map(is_free, listening(play)))
        playing.send_signal(signal.SIGINT)
        status = playing.wait(PATIENCE)
    assert status == 0  # 1 if a server had to be killed, five seconds after it was told to end
    assert all(map(is_free, listening(play)))
    for wanted in ("montague.lit", "127.0.0.1", str(listening(play)[2]), "juliet, nurse", "certs/ca.crt"):
        assert wanted in told.partition("until Ctrl-C")[2]


# -- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_server_that_cannot_be_reached_by_the_other_ends_the_play(play: Path) -> None:
    with ExitStack() as stack:
        nobody = stack.enter_context(socket.socket())
        nobody.bind(("127.0.0.1", 0))  # it does not listen
        edit(
            play / "etc" / "montague.toml",
            f'"capulet.lit" = "127.0.0.1:{listening(play)[3]}"',
            f'"capulet.lit" = "127.0.0.1:{nobody.getsockname()[1]}"',
        )
        edit(play / "etc" / "montague.toml", "[federation]\n", "[federation]\nbidi = false\n")
        done = once(impatient(play))
    assert done.returncode == 1
    assert re.fullmatch(
        r"\nThe play has stopped: the rosters: \w+ did not see a subscription of both with \S+ .*\n",
        done.stderr,
    )


@pytest.mark.process
def test_a_step_that_nobody_sees_is_named(play: Path) -> None:
    edit(play / "etc" / "capulet.toml", "archive = true", "offline = false")
    done = once(impatient(play))
    assert done.returncode == 1
    assert re.match(
        r"\nThe play has stopped: step 5, a message there, a message back, and one that waits: nurse did not",
        done.stderr,
    )


@pytest.mark.process
def test_a_server_that_does_not_start_is_named_with_the_end_of_its_log(play: Path) -> None:
    edit(play / "etc" / "capulet.toml", "sqlite:../var/capulet.db", "sqlite:nowhere/capulet.db")
    done = once(play)
    assert done.returncode == 1
    assert "The play has stopped: the server of capulet.lit has ended with status 1" in done.stderr
    assert "nowhere/capulet.db" in done.stderr


@pytest.mark.process
def test_a_mistake_in_a_configuration_is_told_with_its_line(play: Path) -> None:
    edit(play / "etc" / "capulet.toml", "[control]", "[controll]")
    done = once(play)
    assert done.returncode == 1
    assert re.search(r"capulet\.toml:\d+: controll: .* did you mean control\?", done.stderr)


# -- what it looks like ---------------------------------------------------------------------------------


def stage() -> Any:
    """``demo/stage.py``, which is beside the script that uses it and in no package."""
    found = importlib.util.spec_from_file_location("stage", ROOT / "demo" / "stage.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "no_color", "coloured"),
    [(Terminal(), "", True), (Terminal(), "1", False), (io.StringIO(), "", False)],
    ids=["terminal", "NO_COLOR", "pipe"],
)
def test_it_has_colours_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, out: io.StringIO, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    stage().Stage(out).stanza("romeo", "<presence/>", sent=True)
    assert ("\033[" in out.getvalue()) is coloured
    assert "<presence/>" in out.getvalue()


def test_the_secrets_of_a_login_are_not_shown() -> None:
    out = io.StringIO()
    shown = stage().Stage(out)
    shown.stanza(
        "romeo", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVv</auth>", sent=True
    )
    for name in ("challenge", "response", "success"):
        shown.stanza(
            "romeo", f"<{name} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AHJvbWVv</{name}>", sent=False
        )
    assert "AHJvbWVv" not in out.getvalue()
    assert out.getvalue().count("(secret)") == 4


def test_what_is_too_long_for_a_line_has_a_line_for_each_element() -> None:
    xml = "<iq type='result'><query><item jid='a'><group>Verona</group></item><item jid='b'/></query></iq>"
    assert stage().laid_out(xml, 200) == [xml]
    assert stage().laid_out(xml, 40) == [
        "<iq type='result'>",
        "  <query>",
        "    <item jid='a'>",
        "      <group>Verona</group></item>",
        "    <item jid='b'/></query></iq>",
    ]


def test_what_belongs_to_a_later_step_is_shown_there() -> None:
    out = io.StringIO()
    shown = stage().Stage(out)
    shown.keep("romeo")
    shown.stanza("romeo", "<presence from='juliet'/>", sent=False)
    shown.stanza("romeo", "<presence/>", sent=True)
    shown.headline("4")
    shown.release("romeo")
    before, _, after = out.getvalue().partition("\n4\n")
    assert "→ <presence/>" in before
    assert "← <presence from='juliet'/>" in after
