"""Pictures of what `bench` measured, and the same in letters for who has no matplotlib."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Results = Mapping[str, Mapping[str, Any]]  # `bench.Result` by the names of workload and server

WIDTH = 50  # letters of the longest bar


def bars(results: Results) -> str:
    """A bar of letters for each server and workload: its CPU per operation, beside the dearest one's."""
    lines = ["CPU per operation, beside the dearest server"]
    for workload, found in results.items():
        dearest = max(result.cost for result in found.values()) or 1.0  # the rounds were too short
        lines += ["", workload]
        for name, result in found.items():
            lines.append(
                f"  {name:10} {'#' * max(1, round(WIDTH * result.cost / dearest))} {result.cost:,.0f} µs"
            )
    return "\n".join(lines) + "\n"


def draw(path: Path, results: Results, grown: Mapping[str, Any]) -> None:
    """Draw CPU per operation and operations a second beside the server that has most of it, and the memory.

    Nothing without matplotlib.

    :param grown: `bench.Growth` by the server's name.
    """
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ImportError:
        print("no picture: pip install matplotlib", file=sys.stderr)
        return
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    panels = [
        ("CPU per operation, µs (shorter is better)", _figures(results, lambda result: result.cost)),
        ("operations a second (longer is better)", _figures(results, lambda result: result.rate)),
        ("resident memory, MiB (shorter is better)", _memory(grown)),
    ]
    panels = [(title, rows) for title, rows in panels if rows]
    if not panels:
        return
    heights = [0.6 * len(rows) + 1 for _, rows in panels]
    figure, found = pyplot.subplots(
        len(panels), 1, figsize=(9, sum(heights)), height_ratios=heights, squeeze=False
    )
    for axes, (title, rows) in zip(found[:, 0], panels, strict=True):
        _panel(axes, title, rows)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _figures(results: Results, figure: Callable[[Any], float]) -> dict[str, dict[str, float]]:
    return {
        workload: {name: figure(result) for name, result in found.items()}
        for workload, found in results.items()
    }


def _memory(grown: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    for name, found in grown.items():
        rows.setdefault("empty", {})[name] = found.empty
        for sessions, each in found.each.items():
            rows.setdefault(f"{sessions:,} idle sessions", {})[name] = found.empty + each * sessions / 1024
    return rows


def _panel(axes: Any, title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a bar for each server in each row, as a share of the row's longest."""
    names = list(dict.fromkeys(name for found in rows.values() for name in found))
    height = 0.8 / len(names)
    for line, found in enumerate(rows.values()):
        most = max(found.values()) or 1.0
        for at, name in enumerate(names):
            if name in found:
                place, share = line + at * height, found[name] / most
                axes.barh(place, share, height, color=f"C{at}")
                axes.text(share, place, f" {found[name]:,.0f}", va="center", size=7)
    axes.set_yticks([line + 0.4 - height / 2 for line in range(len(rows))], list(rows))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15)
    axes.set_xticks([])
    axes.set_title(title)
    handles = [axes.barh(0, 0, color=f"C{at}", label=name) for at, name in enumerate(names)]
    axes.legend(handles=handles, loc="lower right", fontsize=7)
