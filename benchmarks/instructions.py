"""How many machine instructions a chat message costs, and a login, from bytes in to bytes out, without TLS.

The message once with the default modules, once with the archive, in memory, as well, and once with that and
with clients that acknowledge each message and ask for it (XEP-0198), want carbons, and are active (XEP-0352);
the login with a password (SCRAM-SHA-256), with a token (XEP-0484), and to resume (XEP-0198), with what the
client computes.

    python benchmarks/instructions.py            # count, and compare with the stored figure
    python benchmarks/instructions.py --record   # count, and store the figure for this build

Instructions are counted by valgrind (callgrind), so that other work on the machine does not matter and
two runs differ by far less than `SLACK`.  The figure belongs to one build of Python, expat and Twisted:
``instructions.json`` keeps one for each; for a build that is new, the first count is the figure.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import pyexpat
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WARM_UP = 300  # operations, after which all caches are filled
SLACK = 0.05  #: how much more than the stored figure is taken for a change of the machine, not of the code
OPERATIONS = {"chat": 1000, "archived": 1000, "modern": 1000, "login": 200, "fast": 200, "resumption": 200}
KINDS = tuple(OPERATIONS)
STORED = Path(__file__).with_suffix(".json")

#: The message of `load`: what a common client sends.
MESSAGE = (
    "<message to='{to}' type='chat' id='7d2ac3f0'>"
    "<body>Art thou not Romeo, and a Montague? Neither, fair maid, if either thee dislike.</body>"
    "<active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>"
)


SM = "urn:xmpp:sm:3"
REQUEST = f"<r xmlns='{SM}'/>"
BEGINNING = (
    "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>",
    f"<enable xmlns='{SM}' resume='true'/>",
    "<active xmlns='urn:xmpp:csi:0'/>",
)  #: what modern clients say after the login


def build() -> str:
    """What the figure depends on beside our code: interpreter, parser and Twisted."""
    compiler = re.sub(r"\s+", " ", platform.python_compiler())
    python = f"{platform.python_implementation()} {platform.python_version()} ({compiler})"
    return f"{python}, {pyexpat.EXPAT_VERSION}, Twisted {version('twisted')}, {platform.machine()}"


# -- in the process that is counted ----------------------------------------------------------------------


class Counter:
    """A transport that counts what is written, and does nothing else."""

    def __init__(self) -> None:
        self.stanzas = 0

    def write(self, data: bytes) -> None:
        self.stanzas += data.count(b"</message>")

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def play(kind: str) -> None:
    """Do it until all caches are filled, and then as often as is counted; tell valgrind when to count."""
    work = _chats(kind) if kind in ("chat", "archived", "modern") else _visits(kind)
    work(WARM_UP)
    gc.collect()
    gc.freeze()
    gc.disable()
    control("-i", "on")
    work(OPERATIONS[kind])
    control("-i", "off")


def _chats(kind: str) -> Callable[[int], None]:
    """Two sessions chat."""
    romeo, juliet = _sessions(kind)
    chat = _modern_chat if kind == "modern" else _chat

    def work(count: int) -> None:
        before = romeo.transport.stanzas + juliet.transport.stanzas
        chat(romeo, juliet, count)
        delivered = romeo.transport.stanzas + juliet.transport.stanzas - before
        if delivered != count:
            raise SystemExit(f"{delivered} messages were delivered, not {count}")

    return work


def _visits(kind: str) -> Callable[[int], None]:
    """Clients come and go; one that is refused is an error."""
    import visits  # noqa: PLC0415  # only where it is counted

    from jabberd.loader import DEFAULT  # noqa: PLC0415
    from jabberd.testing import Network  # noqa: PLC0415

    once = visits.visits(Network(), {name: {} for name in DEFAULT}, kind)

    def work(count: int) -> None:
        for number in range(count):
            once(number)

    return work


def _sessions(kind: str) -> list[Any]:
    """The server's side of two logged-in streams, each writing to a `Counter`."""
    from jabberd.loader import DEFAULT  # noqa: PLC0415  # only where it is counted
    from jabberd.testing import Network  # noqa: PLC0415

    network = Network()
    modules: dict[str, Any] = {name: {} for name in (*DEFAULT, *([] if kind == "chat" else ["archive"]))}
    door = network.serve("montague.lit", modules=modules).door
    made: list[Any] = []
    build_protocol = door.buildProtocol

    def noted(address: Any) -> Any:
        made.append(build_protocol(address))
        return made[-1]

    door.buildProtocol = noted  # type: ignore[method-assign,assignment]  # to get hold of what it builds
    for jid in ("romeo@montague.lit/orchard", "juliet@montague.lit/balcony"):
        network.client(jid)
    for protocol in made:
        protocol.transport = Counter()
    return made


def _chat(romeo: Any, juliet: Any, count: int) -> None:
    there = MESSAGE.format(to="juliet@montague.lit/balcony").encode()
    back = MESSAGE.format(to="romeo@montague.lit/orchard").encode()
    for _ in range(count // 2):
        romeo.dataReceived(there)
        juliet.dataReceived(back)


def _modern_chat(romeo: Any, juliet: Any, count: int) -> None:
    there = (MESSAGE.format(to="juliet@montague.lit/balcony") + REQUEST).encode()
    back = (MESSAGE.format(to="romeo@montague.lit/orchard") + REQUEST).encode()
    for each in (romeo, juliet):
        if not each.transport.stanzas:
            for said in BEGINNING:
                each.dataReceived(said.encode())
    for _ in range(count // 2):
        for speaker, said, hearer in ((romeo, there, juliet), (juliet, back, romeo)):
            speaker.dataReceived(said)
            hearer.dataReceived(b"<a xmlns='%s' h='%d'/>" % (SM.encode(), hearer.transport.stanzas))


def control(*arguments: str) -> None:
    """Say something to the valgrind that this process runs in."""
    subprocess.run(["callgrind_control", *arguments, str(os.getpid())], check=True, capture_output=True)


# -- in the process that asks ----------------------------------------------------------------------------


def counted(kind: str) -> int:
    """Instructions per operation of that kind, one of `KINDS`."""
    with tempfile.TemporaryDirectory(prefix="jabberd-count-") as folder:
        output = Path(folder) / "callgrind.out"
        command = [
            "valgrind",
            "--quiet",
            "--tool=callgrind",
            "--instr-atstart=no",
            f"--callgrind-out-file={output}",
            sys.executable,
            __file__,
            "--play",
            kind,
        ]
        subprocess.run(command, check=True, timeout=600, env=os.environ | {"PYTHONHASHSEED": "0"})
        return round(_total(output) / OPERATIONS[kind])


def _total(output: Path) -> int:
    found = re.search(r"^totals: (\d+)", output.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit("valgrind counted nothing")
    return int(found[1])


def stored() -> dict[str, dict[str, int]]:
    """Instructions per operation of each kind, for each build that was ever counted."""
    return dict(json.loads(STORED.read_text())) if STORED.exists() else {}


def verdict(count: int, figures: Mapping[str, int], kind: str) -> str | None:
    """Return what is wrong with that count, if anything is.

    :param figures: what `stored` has for the build.
    """
    if kind not in figures:
        return None
    change = count / figures[kind] - 1
    if change > SLACK:
        return (
            f"{kind}: one costs {change:.1%} more instructions than is stored ({figures[kind]:,}):"
            " profile it, or store the new figure with --record and say why in the commit"
        )
    if change < -SLACK:
        return f"{kind}: one costs {-change:.1%} less than the stored figure: store it with --record"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--record", action="store_true", help="store the figure for this build")
    parser.add_argument("--play", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.play:
        play(args.play)
        return
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed: on Debian, apt-get install valgrind")
    counts, figures = {kind: counted(kind) for kind in KINDS}, stored()
    for kind, count in counts.items():
        print(f"{kind:12}{count:10,} instructions for one")
    known = figures.get(build(), {})
    wrong = [] if args.record else [verdict(count, known, kind) for kind, count in counts.items()]
    if any(wrong):
        raise SystemExit("\n".join(filter(None, wrong)))
    if args.record or not known:
        figures[build()] = counts
        STORED.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
