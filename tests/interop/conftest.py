"""The client in ``golang/``, where it can be built."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@cache
def program() -> Path | None:
    """The program; None without a Go that is new enough, or without its packages."""
    go = shutil.which("go")
    if go is None:
        return None
    made = Path(tempfile.mkdtemp(prefix="jabberd-go-")) / "login"
    source = Path(__file__).with_name("golang")
    built = subprocess.run([go, "build", "-o", str(made), "."], cwd=source, capture_output=True, check=False)
    return None if built.returncode else made


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Debian has neither such a Go nor slidge: what needs them is left out, as a skip would be a failure."""
    needed: dict[str, Callable[[], object]] = {
        "test_logins_go.py": program,
        "test_slidge.py": lambda: shutil.which("slidge"),
    }
    for name, found in needed.items():
        wanted = [item for item in items if item.path.name == name]
        if wanted and found() is None:
            config.hook.pytest_deselected(items=wanted)
            items[:] = [item for item in items if item not in wanted]
