"""Pictures of what `bench` measured; without matplotlib there are none, and the table says it all."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def draw(path: Path, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw a bar for each server and workload: its CPU per operation as a share of the dearest one's."""
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ImportError:
        print("no picture: pip install matplotlib", file=sys.stderr)
        return
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    names = list(dict.fromkeys(name for found in results.values() for name in found))
    figure, axes = pyplot.subplots(figsize=(9, 0.6 * len(results) + 1.5))
    height = 0.8 / len(names)
    for at, name in enumerate(names):
        for line, found in enumerate(results.values()):
            if name not in found:
                continue
            dearest = max(result.cost for result in found.values())
            place = line + at * height
            axes.barh(
                place, found[name].cost / dearest, height, color=f"C{at}", label=name if line == 0 else None
            )
            axes.text(found[name].cost / dearest, place, f" {found[name].cost:,.0f} µs", va="center", size=7)
    axes.set_yticks([line + 0.4 - height / 2 for line in range(len(results))], list(results))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15)
    axes.set_xticks([])
    axes.set_title("CPU per operation, beside the dearest server")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
