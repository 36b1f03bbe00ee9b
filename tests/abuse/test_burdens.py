"""Rows G5, H3 and H4 of the abuses: the manhole of a real server, who never reads, who says too much."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.abuse.scene import VILLAINS
from tests.abuse.wire import PATIENCE

if TYPE_CHECKING:
    from tests.abuse.scene import Scene

pytestmark = pytest.mark.process

STREET: Final = "benvolio@montague.lit/street"
DEAF: Final = f"tybalt{VILLAINS - 2}"
LONG: Final = "x" * 9000


# --- G5 ----------------------------------------------------------------------------------------------


def manhole(scene: Scene) -> tuple[int, str]:
    """Its port, and the key that it shows."""
    found = re.search(r"manhole: at 127\.0\.0\.1 port (\d+), host key (\S+)", scene.whole_log())
    assert found
    return int(found[1]), found[2]


def knock(scene: Scene, user: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What OpenSSH's client gets that asks for a verb."""
    port, _ = manhole(scene)
    common = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")
    words = [f"-o{each}" for each in (*common, *options)]
    return subprocess.run(
        ["ssh", "-F", "none", "-p", str(port), *words, f"{user}@127.0.0.1", "accounts list montague.lit"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={"PATH": "/usr/bin:/bin"},  # no agent
    )


@pytest.mark.foreign
@pytest.mark.skipif(shutil.which("ssh") is None, reason="install openssh-client")
def test_g5_without_a_key_of_an_operator_the_manhole_lets_nobody_in(scene: Scene) -> None:
    key = scene.folder / "evil" / "ssh"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (scene.folder / "operators").write_text("")
    strange = knock(scene, "admin", f"IdentityFile={key}", "IdentitiesOnly=yes")
    assert (strange.returncode, strange.stdout) == (255, "")
    assert "(publickey)" in strange.stderr  # it takes nothing else
    for user in ("admin", "root", "matrix", "jabberd"):
        none = knock(scene, user, "PubkeyAuthentication=no", "PreferredAuthentications=password,none")
        assert (none.returncode, none.stdout) == (255, "")
    assert "refused the key SHA256:" in scene.log()
    scene.lines = 6  # the key that is none, and each time that somebody left


def test_g5_the_manhole_is_not_there_for_other_machines_and_its_key_is_its_own(scene: Scene) -> None:
    port, _ = manhole(scene)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), PATIENCE)
    key = scene.folder / "own" / "manhole"
    assert key.stat().st_mode & 0o777 == 0o600
    scene.lines = 0


# --- H -----------------------------------------------------------------------------------------------


def test_h3_who_does_not_read_is_let_go_and_what_he_did_not_get_waits_once(scene: Scene) -> None:
    deaf, speaker = scene.bound(DEAF), scene.bound()
    deaf.ask("<presence/>")
    deaf.stop_listening()
    to = f"{DEAF}@montague.lit/alley"
    for number in range(700):  # 6 MB: more than the system and the server keep for one who does not read
        speaker.say(f"<message to='{to}' type='chat' id='m{number}'><body>{LONG}</body></message>")
        if number % 100 == 0:
            assert scene.talk()
    assert speaker.hears_nothing()
    waited = waiting(scene, until=699)
    assert waited == [*range(waited[0], 700)]  # what came before had left for him


def waiting(scene: Scene, until: int) -> list[int]:
    """The numbers of the messages that wait for the deaf, who is back and hears them, to that one."""
    again = scene.bound(DEAF, "again")
    again.say("<presence/>")
    numbers: list[int] = []
    while not numbers or numbers[-1] != until:
        heard = again.next()
        if heard.tag.endswith("}message"):
            numbers.append(int((heard.get("id") or "")[1:]))
    assert again.hears_nothing()
    return numbers


def slowed(scene: Scene) -> int:
    """How often somebody was not read from for saying too much."""
    [row] = [each for each in scene.operate("limits", "show") if each["limit"] == "limits.rate"]
    met: int = row["met"]
    return met


def test_h4_who_says_too_much_is_not_read_from_and_the_others_are(scene: Scene) -> None:
    flooding, before = scene.bound(), slowed(scene)
    said = f"<message to='nobody@montague.lit' type='headline'><body>{LONG}</body></message>".encode()
    assert (
        flooding.pour(said * 4000, 3.0) < 20 << 20
    )  # of 36 MB: a burst, three seconds, and what systems keep
    assert slowed(scene) > before
    began = time.monotonic()
    assert scene.talk()
    assert time.monotonic() - began < 2
    scene.lines = 0
