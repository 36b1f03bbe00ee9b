"""What a chat message, an idle session and an empty process cost, ours beside Prosody's in one run.

    python benchmarks/chat.py [--pairs 50] [--window 4] [--seconds 5] [--rounds 3] [--idle 1000]

Server CPU (user and system) comes from /proc, memory is resident memory; TLS 1.3, the same certificate
and client for each server, rounds interleaved, the median shown.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
from pathlib import Path

import load
import servers

MICRO = 1e6


def chat_cost(server: servers.Server, args: argparse.Namespace) -> tuple[float, float]:
    """Microseconds of server CPU per delivered message, and messages per second."""
    tls = load.context()
    clients = [load.login(server.port, f"user{n}", tls) for n in range(args.pairs * 2)]
    load.chat(clients, args.window, 1.0)  # warm up
    before = server.cpu_seconds()
    delivered, took = load.chat(clients, args.window, args.seconds)
    used = server.cpu_seconds() - before
    load.close(clients)
    return used / delivered * MICRO, delivered / took


def idle_growth(server: servers.Server, count: int) -> float:
    """KiB of resident memory per idle session: (at count - at 0) / count."""
    empty = server.rss()
    tls = load.context()
    clients = []
    for n in range(count):
        clients.append(load.login(server.port, f"user{n}", tls))
        if n % 100 == 99:
            show(f"{server.name}: {n + 1} of {count} sessions")
    grown = (server.rss() - empty) / count / 1024
    load.close(clients)
    return grown


def show(text: str) -> None:
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    for name, default in (("pairs", 50), ("window", 4), ("seconds", 5), ("rounds", 3), ("idle", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=[each.name for each in servers.installed()])
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    cpus = sorted(os.sched_getaffinity(0))
    ours, theirs = (cpus[0], cpus[1:]) if len(cpus) > 1 else (None, cpus)
    os.sched_setaffinity(0, theirs)
    with tempfile.TemporaryDirectory(prefix="jabberd-bench-") as folder:
        Path(folder).chmod(0o755)
        compare(args, Path(folder), ours)


def compare(args: argparse.Namespace, folder: Path, cpu: int | None) -> None:
    running = []
    try:
        for cls in servers.installed():
            if args.only in (None, cls.name):
                server = cls(folder / cls.name, servers.free_port(), cpu)
                show(f"{server.name}: making accounts")
                server.accounts([f"user{n}" for n in range(max(args.idle, args.pairs * 2))])
                server.start()
                running.append(server)
        table(args, running)
    finally:
        for server in running:
            server.stop()


def table(args: argparse.Namespace, running: list[servers.Server]) -> None:
    empty = {server.name: server.rss() / 2**20 for server in running}
    grown = {server.name: idle_growth(server, args.idle) for server in running} if args.idle else {}
    costs: dict[str, list[tuple[float, float]]] = {server.name: [] for server in running}
    for number in range(args.rounds):
        for server in running:
            show(f"round {number + 1} of {args.rounds}: {server.name} chats")
            costs[server.name].append(chat_cost(server, args))
    show("")
    print(f"{args.pairs} pairs, window {args.window}, TLS 1.3, {args.rounds} rounds of {args.seconds} s")
    print(f"{'':10} {'CPU/message':>12} {'messages/s':>11} {'KiB/session':>12} {'empty MiB':>10}")
    for name, rounds in costs.items():
        cost = statistics.median(c for c, _ in rounds)
        rate = statistics.median(r for _, r in rounds)
        memory = f"{grown[name]:12.1f}" if name in grown else f"{'-':>12}"
        print(f"{name:10} {cost:9.1f} µs {rate:11.0f} {memory} {empty[name]:10.1f}")
    medians = {name: statistics.median(c for c, _ in rounds) for name, rounds in costs.items()}
    if {"jabberd", "prosody"} <= set(medians):
        print(f"ratio jabberd / prosody: {medians['jabberd'] / medians['prosody']:.2f}")


if __name__ == "__main__":
    main()
