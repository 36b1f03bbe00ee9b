"""The benchmarks measure what they say: a short run of ours alone."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "benchmarks" / "bench.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, which is in no package."""
    monkeypatch.syspath_prepend(str(BENCH.parent))
    return importlib.import_module("bench")


def test_the_table_puts_us_beside_the_cheapest_and_beside_the_fastest(bench: Any) -> None:
    found = {
        "prosody": bench.Result([90, 100, 110], [2_000, 3_000, 4_000]),
        "jabberd": bench.Result([20, 20, 90], [30_000, 31_000, 20_000]),
        "ejabberd": bench.Result([40], [10_000]),
        "jabberd2": bench.Result([60], [12_000]),
    }
    assert bench.compared(found) == (0.5, 2.5)
    line = bench.row(bench.workloads.ChatWindow, found, ["jabberd", "nobody"])
    assert line.removeprefix("chat, window 4").split() == ["20", "(30,000)", "-", "0.50", "2.50"]
    assert bench.compared({"jabberd": found["jabberd"]}) == ()
    assert bench.compared({"prosody": found["prosody"]}) == ()
    assert bench.compared({"jabberd": found["jabberd"], "floor": bench.Result([10], [50_000])}) == ()


def test_what_was_measured_is_drawn_in_letters(bench: Any) -> None:
    found = {"jabberd": bench.Result([20], [1]), "prosody": bench.Result([100], [1])}
    assert bench.plots.bars({"chat": found}).splitlines()[2:] == [
        "chat",
        f"  jabberd    {'#' * 10} 20 µs",
        f"  prosody    {'#' * 50} 100 µs",
    ]


@pytest.mark.process
def test_a_short_run_writes_a_table(tmp_path: Path) -> None:
    options = [
        "--only",
        "roster",
        "--seconds",
        "0.2",
        "--rounds",
        "1",
        "--idle",
        "5",
        "10",
        "--output",
        str(tmp_path),
    ]
    ran = subprocess.run(
        [sys.executable, BENCH, *options], check=False, timeout=120, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    table = (tmp_path / "bench.txt").read_text()
    assert table in ran.stdout
    assert "roster of 500" in table
    assert "KiB more per idle session of 5" in table
    assert "KiB more per idle session of 10" in table
    assert "roster of 500" in (tmp_path / "bench-bars.txt").read_text()


@pytest.mark.process
def test_a_server_that_does_nothing_is_the_floor_of_two_that_talk() -> None:
    options = ["--only", "chat between", "--floor", "--seconds", "0.2", "--rounds", "1", "--idle", "0"]
    ran = subprocess.run(
        [sys.executable, BENCH, *options], check=False, timeout=120, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    heads, row = (line.split() for line in ran.stdout.splitlines() if "floor" in line or "between" in line)
    ours, floor = (int(cost) for cost in row[4::2][:2])
    assert heads[:2] == ["jabberd", "floor"]
    assert 0 < floor < ours


@pytest.mark.process
def test_in_a_short_run_of_rooms_nothing_is_lost(tmp_path: Path) -> None:
    sizes = {"--for": 3, "--rooms": 3, "--occupants": 8, "--every": 0.1, "--churn": 0.2}
    options = [str(each) for pair in sizes.items() for each in pair]
    command = [sys.executable, str(BENCH.with_name("rooms.py")), *options, "--output", str(tmp_path)]
    ran = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    table = (tmp_path / "rooms.txt").read_text()
    assert table in ran.stdout
    assert "3 x 8 occupants, 16 sessions" in table
