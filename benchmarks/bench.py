"""What every kind of work costs, ours beside the servers of others in one run: a table, and plots.

    python benchmarks/bench.py                    # ours alone, two minutes
    python benchmarks/bench.py --peers            # beside Prosody, ejabberd and jabberd2 where installed
    python benchmarks/bench.py --floor            # beside what sockets, TLS and the reactor take alone
    python benchmarks/bench.py --only "chat"      # the workloads whose names begin so

Server CPU (user and system, of all the server's processes) per operation comes from their clocks.  Rounds are
interleaved, the median is shown; the servers have one CPU and the load the others where there are two.
The last columns are our cost divided by that of the cheapest other, and our operations a second divided
by those of the fastest other.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import load
import plots
import servers
import workloads

MICRO = 1e6
SETTLE = 6.0  # seconds after which nothing of a login is left to be done


@dataclass
class Result:
    """What one server needed for one workload.

    :ivar costs: microseconds of CPU per operation, one figure a round.
    :ivar rates: operations per second, one figure a round.
    """

    costs: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    @property
    def cost(self) -> float:
        return statistics.median(self.costs)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


Results = dict[str, dict[str, Result]]  # by the names of workload and server


def main() -> None:
    args = arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 16384)), hard))
    cpus = sorted(os.sched_getaffinity(0))
    cpu = cpus[0] if len(cpus) > 1 else None
    os.sched_setaffinity(0, cpus[1:] or cpus)
    kinds = [each for each in servers.installed() if args.peers or each is servers.Jabberd]
    kinds += [servers.Floor] if args.floor else []
    with tempfile.TemporaryDirectory(prefix="jabberd-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        results: Results = {}
        for archived in (False, True):
            measure(
                args, kinds, folder / ("archived" if archived else "plain"), cpu, results, archived=archived
            )
        steps = sorted(each for each in args.idle if each > 0)
        grown = {cls.name: growth(cls, steps, folder / "idle", cpu) for cls in kinds} if steps else {}
    show("")
    report = table(results, [each.name for each in kinds]) + memory(grown)
    print(report)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "bench.txt").write_text(report + "\n")
        (args.output / "bench-bars.txt").write_text(plots.bars(results))
        plots.draw(args.output / "bench.png", results, grown)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--peers", action="store_true", help="measure the servers of others, too")
    parser.add_argument("--floor", action="store_true", help="measure a server that does nothing, too")
    parser.add_argument("--only", default="", help="workloads whose names begin so")
    parser.add_argument("--seconds", type=float, default=1.5, help="that a round takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--idle", type=int, nargs="*", default=[1000], help="after so many sessions their memory is measured"
    )
    parser.add_argument("--output", type=Path, help="a folder for the table and the plots")
    return parser.parse_args()


def measure(
    args: argparse.Namespace,
    kinds: list[type[servers.Server]],
    folder: Path,
    cpu: int | None,
    results: Results,
    *,
    archived: bool,
) -> None:
    """Run all workloads for which messages are archived, or all others."""
    chosen = [each for each in workloads.ALL if each.archived == archived and each.name.startswith(args.only)]
    for kind in chosen:
        running: list[tuple[workloads.Workload, list[servers.Server]]] = []
        try:
            for cls in kinds:
                if kind.needs <= cls.does:
                    show(f"{kind.name}: {cls.name} gets ready")
                    pair = "federation" in kind.needs
                    started = start(cls, folder / kind.__name__, cpu, pair=pair, archived=archived)
                    running.append((kind(started), started))
                    running[-1][0].prepare()
            results[kind.name] = rounds(args, running)
        except OSError as error:
            raise SystemExit(f"{kind.name}, {cls.name}: {error}") from error
        finally:
            for workload, started in running:
                workload.finish()
                for server in started:
                    server.stop()


def start(
    cls: type[servers.Server], folder: Path, cpu: int | None, *, pair: bool, archived: bool
) -> list[servers.Server]:
    """Start a server of that kind, or two that know where the other is."""
    names = [f"user{n}" for n in range(max(workloads.CONTACTS, 2 * workloads.PAIRS) + 1)]
    ports = {domain: servers.free_port() for domain in (servers.DOMAIN, servers.OTHER)}
    made = []
    for domain, port in ports.items() if pair else [(servers.DOMAIN, ports[servers.DOMAIN])]:
        others = {name: there for name, there in ports.items() if name != domain}
        server = cls(
            folder / f"{cls.name}-{domain}",
            servers.free_port(),
            cpu,
            domain=domain,
            archived=archived,
            hosts=others,
            s2s=port,
        )
        server.accounts(names)
        server.start()
        made.append(server)
    return made


def rounds(
    args: argparse.Namespace, running: list[tuple[workloads.Workload, list[servers.Server]]]
) -> dict[str, Result]:
    """Let each work in turn, and again."""
    results = {started[0].name: Result() for _, started in running}
    for number in range(args.rounds):
        for workload, started in running:
            name = started[0].name
            show(f"{workload.name}: round {number + 1} of {args.rounds}, {name}")
            used, began = sum(each.cpu_seconds() for each in started), time.monotonic()
            done = workload.round(args.seconds)
            results[name].rates.append(done / (time.monotonic() - began))
            used = sum(each.cpu_seconds() for each in started) - used
            results[name].costs.append(used / done * MICRO)
    return results


@dataclass
class Growth:
    """What a server keeps in memory.

    :ivar empty: MiB before anybody came.
    :ivar each: KiB more per idle session, by the number of them.
    """

    empty: float
    each: dict[int, float] = field(default_factory=dict)


def growth(cls: type[servers.Server], steps: list[int], folder: Path, cpu: int | None) -> Growth:
    """What one server keeps in memory with so many idle sessions, few first."""
    tls, names = load.context(), [f"user{n}" for n in range(steps[-1])]
    server = cls(folder / cls.name, servers.free_port(), cpu)
    show(f"idle sessions: {cls.name} gets ready")
    server.accounts(names)
    server.start()
    clients: list[load.Connection] = []
    try:
        empty = server.rss()
        grown = Growth(empty / 2**20)
        for step in steps:
            there = len(clients)
            clients += load.logins(
                server.port,
                names[there:step],
                tls,
                lambda more, there=there: show(f"idle sessions: {cls.name}, {there + more} of {steps[-1]}"),
                scram="scram" in cls.does,
            )
            time.sleep(SETTLE)
            grown.each[step] = (server.rss() - empty) / step / 1024
    finally:
        load.close(clients)
        server.stop()
    return grown


def table(results: Results, names: list[str]) -> str:
    """CPU and rate of every workload, and how ours compares in both."""
    lines = ["microseconds of server CPU per operation (operations per second)", ""]
    lines.append(f"{'':30}" + "".join(f"{name:>20}" for name in names) + f"{'cost':>8}{'rate':>8}")
    measured = (each for each in workloads.ALL if each.name in results)
    lines.extend(row(each, results[each.name], names) for each in measured)
    return "\n".join(lines)


def row(workload: type[workloads.Workload], found: dict[str, Result], names: list[str]) -> str:
    cells = [f"{workload.name:30}"]
    for name in names:
        result = found.get(name)
        cells.append(f"{f'{result.cost:,.0f} ({result.rate:,.0f})':>20}" if result else f"{'-':>20}")
    cells += (f"{ratio:8.2f}" for ratio in compared(found))
    return "".join(cells)


def compared(found: dict[str, Result]) -> tuple[float, ...]:
    """Our cost as a share of the cheapest other's, and our rate of the fastest other's; empty if alone."""
    ours_alone = (servers.Jabberd.name, servers.Floor.name)
    others = [result for name, result in found.items() if name not in ours_alone]
    ours = found.get(servers.Jabberd.name)
    if not ours or not others:
        return ()
    cheapest = min(each.cost for each in others) or math.nan  # its rounds were too short
    return ours.cost / cheapest, ours.rate / max(each.rate for each in others)


def memory(grown: dict[str, Growth]) -> str:
    lines = ["", "", "resident memory"] if grown else []
    for name, found in grown.items():
        each = ", ".join(f"{size:.1f} KiB more per idle session of {n:,}" for n, size in found.each.items())
        lines.append(f"{name:10} {found.empty:6.1f} MiB when empty, {each}")
    return "\n".join(lines)


def show(text: str) -> None:
    """Progress, on one line that is overwritten."""
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
