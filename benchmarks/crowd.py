"""A crowd on one process: many idle TLS sessions, some that chat at a pace, for ten minutes.

    python benchmarks/crowd.py [--for 600] [--idle 5000] [--chatting 500] [--every 2] [--output FOLDER]

Half of those who chat write to the other half and are answered; each says one thing every so many
seconds, whatever came back meanwhile.  What is measured: the server's resident memory and CPU, the time
from writing a message to reading it at the other end, and the server's own account of how late its timers
were (``jabberd_reactor_lag_seconds``).  Where there are two cores, the server has one and the crowd another.
"""

from __future__ import annotations

import argparse
import heapq
import importlib
import json
import os
import re
import resource
import statistics
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import load
import servers

STEP = 5.0  # seconds between two looks at the server
_ARRIVED = re.compile(rb"<message [^>]*?\bid=['\"]t(\d+)['\"]")
_ASKED = re.compile(rb"<iq [^>]*?\bid=['\"]([^'\"]+)['\"][^>]*><ping ")
_BUCKET = re.compile(r'^jabberd_reactor_lag_seconds_bucket\{le="([^"]+)"\} ([0-9.e+]+)', re.MULTILINE)
Lag = dict[float, float]  # how many were late by at most so many seconds


class Watched(servers.Jabberd):
    """Ours, with its page of figures."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.page = servers.free_port()

    def commands(self) -> list[list[str]]:
        found = super().commands()
        with (self.folder / "jabberd.toml").open("a") as config:
            config.write(f'[[listeners]]\nkind = "http"\naddress = "127.0.0.1"\nport = {self.page}\n')
        return found

    def lag(self) -> Lag:
        """How late its timers were since it was started."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.page}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return {float(bound): float(count) for bound, count in _BUCKET.findall(text)}


@dataclass
class Moment:
    """What was seen in one step.

    :ivar at: seconds since the crowd was there.
    :ivar rss: bytes; ``cpu``: share of one core.
    :ivar took: seconds from writing to reading, of each message that arrived.
    """

    at: float
    rss: int
    cpu: float
    took: list[float] = field(default_factory=list)


class Crowd:
    """All clients, and what they see."""

    def __init__(self, server: Watched, args: argparse.Namespace) -> None:
        self.server = server
        self.every: float = args.every
        self.sent = 0
        self.took: list[float] = []
        self._due: list[tuple[float, int]] = []  # whose turn it is to write, and when
        count = args.idle + args.chatting
        self.clients = load.logins(
            server.port,
            [f"user{n}" for n in range(count)],
            load.context(),
            lambda there: show(f"{there} of {count} sessions"),
            scram=True,
        )
        self._selector = load.waiting(self.clients)
        self._first = args.idle  # of those who chat

    def chat(self, seconds: float) -> list[Moment]:
        """Let them chat; what was seen, step by step."""
        began = time.monotonic()
        chatting = range(self._first, len(self.clients))
        self._due = [(began + self.every * n / len(chatting), n + self._first) for n in range(len(chatting))]
        heapq.heapify(self._due)
        moments: list[Moment] = []
        cpu = self.server.cpu_seconds()
        while (at := STEP * (len(moments) + 1)) <= seconds:
            self._until(began + at)
            used, cpu = self.server.cpu_seconds() - cpu, self.server.cpu_seconds()
            moments.append(Moment(at, self.server.rss(), used / STEP, self.took))
            self.took = []
            show(f"{at:.0f} of {seconds:.0f} s")
        return moments

    def _until(self, end: float) -> None:
        while (now := time.monotonic()) < end:
            while self._due and self._due[0][0] <= now:
                due, number = heapq.heappop(self._due)
                heapq.heappush(self._due, (due + self.every, number))
                self._write(number)
            wait = min(end, self._due[0][0] if self._due else end) - now
            for key, _ in self._selector.select(max(0.0, wait)):
                self._read(key.data)

    def _write(self, number: int) -> None:
        other = self._first + ((number - self._first) ^ 1)
        self.sent += 1
        self.clients[number].say(
            f"<message to='user{other}@{load.DOMAIN}/bench' type='chat' id='t{time.monotonic_ns()}'>"
            f"<body>{load.BODY}</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
        )

    def _read(self, client: load.Connection) -> None:
        data = client.received()
        now = time.monotonic_ns()
        self.took += [(now - int(written)) / 1e9 for written in _ARRIVED.findall(data)]
        for asked in _ASKED.findall(data):  # whether it is still there
            client.say(f"<iq type='result' to='{load.DOMAIN}' id='{asked.decode()}'/>")

    def leave(self) -> None:
        self._selector.close()
        for client in self.clients:
            client.sock.close()


# --- what came of it -----------------------------------------------------------------------------


def percentile(figures: list[float], share: float) -> float:
    """The figure that so large a share of them do not exceed."""
    return sorted(figures)[min(len(figures) - 1, int(len(figures) * share))] if figures else 0.0


def late(lag: Lag, share: float) -> float:
    """The bound below which so large a share of all looks were late."""
    most = max(lag.values())
    return min(bound for bound, count in lag.items() if count >= share * most)


def table(args: argparse.Namespace, empty: int, crowd: Crowd, moments: list[Moment], lag: Lag) -> str:
    took = [each for moment in moments for each in moment.took]
    settled = moments[min(len(moments) - 1, int(60 / STEP)) :]  # a minute for caches to fill
    slope = 0.0
    if len(settled) > 1:
        slope = statistics.linear_regression([m.at for m in settled], [m.rss for m in settled]).slope
    sessions = args.idle + args.chatting
    rows = [
        ("sessions", f"{args.idle} idle, {args.chatting} chatting, TLS 1.3, {moments[-1].at:.0f} s"),
        ("messages", f"{crowd.sent} written, {len(took)} read, {crowd.sent / moments[-1].at:.0f} a second"),
        ("memory, empty", f"{empty / 2**20:.1f} MiB"),
        ("memory, first and last", f"{moments[0].rss / 2**20:.1f} MiB, {moments[-1].rss / 2**20:.1f} MiB"),
        ("memory, most", f"{max(m.rss for m in moments) / 2**20:.1f} MiB"),
        ("memory of a session", f"{(moments[0].rss - empty) / sessions / 1024:.1f} KiB"),
        ("memory, growth", f"{slope * 60 / 1024:.1f} KiB a minute"),
        ("CPU", f"{statistics.mean(m.cpu for m in moments) * 100:.1f} % of one core"),
        *((f"latency, p{100 * share:g}", f"{percentile(took, share) * 1000:.1f} ms") for share in SHARES),
        *((f"reactor lag, p{100 * share:g}", f"at most {late(lag, share) * 1000:g} ms") for share in SHARES),
    ]
    return "".join(f"{name:24} {value}\n" for name, value in rows)


SHARES = (0.5, 0.9, 0.99, 0.999)


def draw(path: Path, moments: list[Moment], lag: Lag) -> None:
    """Memory and latency over time, and the reactor's lag; nothing without matplotlib."""
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ImportError:
        print("no picture: pip install matplotlib", file=sys.stderr)
        return
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, (memory, latency, lateness) = pyplot.subplots(3, 1, figsize=(8, 8))
    times = [moment.at for moment in moments]
    memory.plot(times, [moment.rss / 2**20 for moment in moments])
    memory.set_ylim(0, 1.25 * max(moment.rss for moment in moments) / 2**20)
    memory.set_ylabel("resident memory, MiB")
    for share in SHARES[:3]:
        found = [percentile(moment.took, share) * 1000 for moment in moments]
        latency.plot(times, found, label=f"p{100 * share:g}")
    latency.set_yscale("log")
    latency.set_ylabel("latency of messages, ms")
    latency.set_xlabel("seconds")
    latency.legend(loc="upper right")
    bounds = sorted(lag)
    counts = [lag[bound] - (lag[bounds[at - 1]] if at else 0) for at, bound in enumerate(bounds)]
    lateness.bar([f"{bound * 1000:g}" for bound in bounds], counts)
    lateness.set_yscale("symlog")
    lateness.set_ylabel("looks at the reactor")
    lateness.set_xlabel("late by at most, ms")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def show(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--for", dest="seconds", type=float, default=600)
    parser.add_argument("--idle", type=int, default=5000)
    parser.add_argument("--chatting", type=int, default=500)
    parser.add_argument("--every", type=float, default=2, help="seconds between two messages of one client")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.chatting < 2 or args.chatting % 2 or args.seconds < STEP:
        parser.error(f"an even number of clients chats, for {STEP:g} s or more")
    return args


def main() -> None:
    args = arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[1:] or cpus)
    with tempfile.TemporaryDirectory(prefix="jabberd-crowd-") as folder:
        cpu = cpus[0] if len(cpus) > 1 else None
        server = Watched(Path(folder) / "jabberd", servers.free_port(), cpu)
        show("making accounts")
        server.accounts([f"user{n}" for n in range(args.idle + args.chatting)])
        server.start()
        try:
            measure(server, args)
        finally:
            server.stop()


def measure(server: Watched, args: argparse.Namespace) -> None:
    empty = server.rss()
    crowd = Crowd(server, args)
    before = server.lag()
    moments = crowd.chat(args.seconds)
    after = server.lag()
    crowd.leave()
    lag = {bound: count - before[bound] for bound, count in after.items()}
    text = table(args, empty, crowd, moments, lag)
    show("")
    print(text, end="")
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "crowd.txt").write_text(text)
        (args.output / "crowd.json").write_text(json.dumps([asdict(moment) for moment in moments]))
        draw(args.output / "crowd.png", moments, lag)


if __name__ == "__main__":
    main()
