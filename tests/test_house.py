"""The house keeps its order: who may import whom, what files are called and how long they are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import jabberd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "jabberd"
FILES = sorted(HOUSE.rglob("*.py"))

_SEAMS = {"api", "interfaces", "measure", "rates", "registry", "settings", "xmpp"}
_PARTS = {"admin", "config", "control", "jsm", "loader", "notify", "router", "storage", "streams"}

#: What each part may import when it runs, itself apart.  A new part needs a row, and thereby a thought.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "xmpp": set(),
    "toml": set(),
    "certificates": set(),
    "notify": set(),
    "garbage": set(),
    "measure": set(),
    "lock": set(),
    "table": set(),
    "typed": {"toml"},
    "rates": set(),
    "values": {"rates", "typed", "xmpp"},
    "settings": {"rates", "typed", "values"},
    "config": {"settings", "toml", "typed"},
    "stores": set(),
    "interfaces": {"stores", "xmpp"},
    "api": {"interfaces", "settings", "typed", "xmpp"},
    "registry": {"api", "interfaces", "xmpp"},
    "router": {"interfaces", "xmpp"},
    "streams": _SEAMS,
    "jsm": _SEAMS,
    "storage": _SEAMS | {"lock"},
    "pubsub": {"api", "interfaces", "xmpp"},
    "archive": {"api", "interfaces", "xmpp"},
    "modules": {"api", "archive", "pubsub", "web", "xmpp"},
    "loader": {"api", "interfaces", "modules", "registry", "typed", "xmpp"},
    "admin": _SEAMS,
    "local": {"lock"},
    "control": _SEAMS | {"admin", "local"},
    "manhole": _SEAMS | {"admin", "control", "local", "table"},
    "logs": {"api", "table"},
    "holdings": _SEAMS,
    "web": _SEAMS,
    "metrics": _SEAMS | {"web"},
    "pages": {"web"},
    # these put the parts together, and alone know more than one of them
    "hosting": _SEAMS | _PARTS,
    "operating": _SEAMS | _PARTS | {"hosting", "logs", "manhole", "typed"},
    "services": _SEAMS | _PARTS | {"hosting"},
    "service": _SEAMS
    | _PARTS
    | {"holdings", "hosting", "logs", "manhole", "metrics", "operating"}
    | {"pages", "services", "web"},
    "direct": _SEAMS | _PARTS | {"hosting", "operating"},
    "testing": _SEAMS | _PARTS | {"certificates", "hosting", "service"},
    # and these start what was put together
    "tap": {"config", "garbage", "hosting", "interfaces", "logs", "notify", "service"},
    "ctl": {"config", "direct", "interfaces", "table"},
}
#: From outside the standard library; no Twisted, no database: XMPP itself can be used and tested alone.
XMPP_MAY_IMPORT = {"idna", "precis_i18n"}

EMPTY_NOUNS = re.compile(r"(^|_)(util|utils|helper|helpers|common|misc|handler|processor|engine)s?(_|$)")
LONGEST = 450


class Import(NamedTuple):
    """One module imported by another when it runs (not for the sake of types alone)."""

    file: Path
    line: int
    name: str

    @property
    def importer(self) -> str:
        return part(self.file.relative_to(HOUSE).with_suffix("").parts)

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.name}"


def part(names: tuple[str, ...]) -> str:
    """The part of the house that a file or module below ``jabberd`` belongs to."""
    return names[0] if names else "__init__"


def executed(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from executed(node.orelse)
        else:
            yield node
            yield from executed(ast.iter_child_nodes(node))


def imports(file: Path) -> Iterator[Import]:
    for node in executed(ast.parse(file.read_text()).body):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write imports in full"
            base = str(node.module)
            yield from (Import(file, node.lineno, f"{base}.{alias.name}") for alias in node.names)


IMPORTS = [each for file in FILES for each in imports(file)]
INSIDE = [each for each in IMPORTS if each.name.startswith("jabberd.")]


def imported(each: Import) -> str:
    name = each.name.split(".")[1]
    return name if (HOUSE / name).is_dir() or (HOUSE / f"{name}.py").exists() else "__init__"


def test_the_reader_of_imports_sees_what_runs_and_skips_what_is_for_types(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(
        "import a.b\nfrom c import d\nif TYPE_CHECKING:\n    import e\nelse:\n    import f\n"
        "if typing.TYPE_CHECKING:\n    import g\ndef later():\n    from h import i, j\n"
    )
    assert [each.name for each in imports(file)] == ["a.b", "c.d", "f", "h.i", "h.j"]


def test_every_part_of_the_house_has_its_place() -> None:
    assert {part(file.relative_to(HOUSE).with_suffix("").parts) for file in FILES} <= set(MAY_IMPORT)


def test_imports_go_downwards_only() -> None:
    upwards = [
        str(each)
        for each in INSIDE
        if imported(each) not in MAY_IMPORT[each.importer] | {each.importer, "__init__"}
    ]
    assert upwards == []


def test_the_table_of_imports_has_no_circle() -> None:
    seen: set[str] = set()
    while len(seen) < len(MAY_IMPORT):
        free = {name for name, below in MAY_IMPORT.items() if below & set(MAY_IMPORT) <= seen} - seen
        assert free, f"these import each other: {sorted(set(MAY_IMPORT) - seen)}"
        seen |= free


def test_streams_and_session_managers_know_each_other_by_interfaces_only() -> None:
    pairs = {(each.importer, imported(each)) for each in INSIDE}
    assert not pairs & {("streams", "jsm"), ("jsm", "streams")}


def test_xmpp_itself_stands_on_the_standard_library_and_three_packages() -> None:
    allowed = sys.stdlib_module_names | XMPP_MAY_IMPORT | {"jabberd"}
    strange = [
        str(each) for each in IMPORTS if each.importer == "xmpp" and each.name.split(".")[0] not in allowed
    ]
    assert strange == []


def required(file: Path) -> set[str]:
    """The names in the ``requires`` of the module classes in a file, or in the package that it is in."""
    package = HOUSE / "modules" / file.relative_to(HOUSE / "modules").parts[0]
    names: set[str] = set()
    for each in package.rglob("*.py") if package.is_dir() else [file]:
        for node in ast.walk(ast.parse(each.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "requires":
                names |= set(ast.literal_eval(node.value))
    return names


def test_a_module_imports_only_those_modules_that_it_requires() -> None:
    undeclared = [
        str(each)
        for each in INSIDE
        if each.importer == "modules"
        and imported(each) == "modules"
        and (other := each.name.split(".")[2]) not in required(each.file)
        and other != each.file.relative_to(HOUSE / "modules").with_suffix("").parts[0]
    ]
    assert undeclared == []


def test_no_file_has_an_empty_noun_for_a_name() -> None:
    # storage/engine.py is about SQLAlchemy's Engine: a name, not an empty noun
    allowed = {HOUSE / "storage" / "engine.py"}
    assert [str(file) for file in FILES if EMPTY_NOUNS.search(file.stem) and file not in allowed] == []


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in FILES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_the_version_is_one_that_packages_may_have() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", jabberd.__version__)


def test_news_fragments_have_a_type_that_towncrier_knows() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        types = {each["directory"] for each in tomllib.load(file)["tool"]["towncrier"]["type"]}
    names = [path.name for path in (ROOT / "newsfragments").iterdir()]
    form = re.compile(rf"\+?[a-z0-9-]+\.({'|'.join(types)})\.md|README\.md|\.gitkeep")
    assert [name for name in names if not form.fullmatch(name)] == []


def test_twisted_finds_its_plugins_by_itself() -> None:
    plugins = ROOT / "twisted" / "plugins"
    assert not list((ROOT / "twisted").rglob("__init__.py"))
    if not (ROOT / ".git").exists():
        pytest.skip("only a git checkout can tell what is committed")
    committed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", plugins], check=True, capture_output=True, text=True
    ).stdout.split()
    assert committed == ["twisted/plugins/jabberd_plugin.py"]
