"""The benchmarks measure what they say: a short run of ours alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "benchmarks" / "bench.py"


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
