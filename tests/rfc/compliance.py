"""The table of XEP-0479 in docs: what the compliance suites demand of a server, and the tests that prove it.

``python -m tests.rfc.compliance`` writes it; a test compares what is committed.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jabberd import modules
from jabberd.loader import BESIDE, DEFAULT, module_class
from tests.rfc.statements import ROOT, Test

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = ROOT / "docs" / "compliance.md"

INTRODUCTION: Final = """\
# XMPP Compliance Suites

<!-- Made by `make docs` from what the modules declare and tests/rfc/xep0479.toml: change those. -->

What [XEP-0479](https://xmpp.org/extensions/xep-0479.html) (version 0.1.0) demands of servers, one line for
each specification: a feature is there when all of its lines are. What is demanded of advanced servers alone
says so. What is not there yet is *owed*; what is off has to be [switched on](operating.md#modules). Features
that the suites leave to clients are left out.
"""

#: What is on, where there are accounts or rooms.
_ON: Final = {*DEFAULT, *(name for names in BESIDE.values() for name in names)}

HEADER: Final = "| feature | specification | version | where | proved by |\n|---|---|---|---|---|\n"

FURTHER: Final = """
## Beside the suites

What else the modules declare.

| specification | version | where |
|---|---|---|
"""


@dataclass(frozen=True)
class Place:
    """Where a specification is followed.

    :ivar version: of the specification; empty for an RFC.
    :ivar path: a file, from the root of the repository.
    :ivar module: the module that declares it; empty: none does.
    """

    version: str
    path: str
    module: str = ""

    def __str__(self) -> str:
        if self.path.startswith("docs/"):
            page = self.path.removeprefix("docs/")
            return f"[{page}]({page})"
        name = self.path.removeprefix("jabberd/").removesuffix(".py").removesuffix("/__init__")
        return f"[{name}](../{self.path}){', off' if self.module and self.module not in _ON else ''}"


@dataclass(frozen=True)
class Suite:
    """What the document demands: by category and feature its level and specifications.

    :ivar elsewhere: where the specifications are followed that no module declares.
    :ivar proofs: the tests of each specification.
    """

    rows: dict[str, dict[str, list[str]]]
    elsewhere: dict[str, Place]
    proofs: dict[str, list[Test]]

    @classmethod
    def read(cls) -> Suite:
        data = tomllib.loads((ROOT / "tests/rfc/xep0479.toml").read_text())
        places = {
            each: Place(version, path, _module(path)) for each, (version, path) in data["elsewhere"].items()
        }
        proofs = {each: [Test(*test.split(": ")) for test in tests] for each, tests in data["proofs"].items()}
        return cls(data["rows"], places, proofs)

    def specifications(self) -> set[str]:
        """All that are demanded."""
        return {each for rows in self.rows.values() for _, *each_row in rows.values() for each in each_row}


def _module(path: str) -> str:
    """The module that the file belongs to; empty: none."""
    below = path.removeprefix("jabberd/modules/")
    return "" if below == path else below.removesuffix(".py").partition("/")[0]


def declared() -> dict[str, Place]:
    """What the modules of this repository say themselves, by number of the XEP."""
    found = {}
    for name in sorted(each.name for each in pkgutil.iter_modules(modules.__path__)):
        cls = module_class(name)
        if cls.xep is not None:
            path = Path(inspect.getfile(cls)).relative_to(ROOT).as_posix()
            found[f"XEP-{cls.xep:04}"] = Place(cls.version, path, name)
    return found


def defined(path: str) -> set[str]:
    """The names of the test functions in a file; none: there is no such file."""
    file = ROOT / path
    body = ast.parse(file.read_text()).body if file.exists() else []
    return {each.name for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def table() -> str:
    """The whole document."""
    suite, ours = Suite.read(), declared()
    text = INTRODUCTION
    for category, rows in suite.rows.items():
        text += f"\n## {category}\n\n{HEADER}"
        for feature, (level, *specifications) in rows.items():
            shown = feature if level == "Core" else f"{feature} (advanced)"
            for each in specifications:
                place = (suite.elsewhere | ours).get(each)
                text += f"| {shown} | {each} | {' | '.join(_cells(place, suite.proofs.get(each, [])))} |\n"
    every = sorted((suite.elsewhere | ours).items())
    others = {each: place for each, place in every if each not in suite.specifications()}
    return text + FURTHER + "".join(_further(others))


def _cells(place: Place | None, tests: list[Test]) -> tuple[str, str, str]:
    if place is None:
        return "", "*owed*", ""
    return place.version, str(place), "<br>".join(map(str, tests))


def _further(places: dict[str, Place]) -> Iterator[str]:
    for each, place in places.items():
        yield f"| {each} | {place.version} | {place} |\n"


if __name__ == "__main__":
    PAGE.write_text(table())
