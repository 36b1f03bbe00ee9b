"""The map is true, and what the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jabberd.config import Config

if TYPE_CHECKING:
    from jabberd.testing import Network

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TOUR = (ROOT / "docs" / "tour.md").read_text()
SECTION = re.compile(r"^### `([\w/]+)/`\n\n\| file .*\n\|---\|---\|\n((?:\|.*\n)+)", re.MULTILINE)


def mapped() -> dict[str, list[str]]:
    """By folder, what the map names there."""
    return {
        folder: re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE) for folder, rows in SECTION.findall(TOUR)
    }


def present(folder: Path) -> set[str]:
    """The modules and, but at the top, the packages in a folder."""
    found = {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    return found if folder == ROOT / "jabberd" else found | packages


def test_every_package_is_on_the_map() -> None:
    packages = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "jabberd").glob("*/__init__.py")}
    assert set(mapped()) == packages | {"jabberd"}


@pytest.mark.parametrize("folder", mapped())
def test_the_map_names_every_file_and_no_other(folder: str) -> None:
    named = mapped()[folder]
    assert len(named) == len(set(named))
    assert set(named) == present(ROOT / folder)


def test_what_the_tour_names_in_the_code_is_there() -> None:
    prose = TOUR.partition("## The map")[0]
    code = {
        name for path in (ROOT / "jabberd").rglob("*.py") for name in re.findall(r"\w+", path.read_text())
    }
    named = re.findall(r"`(\w+(?:\.\w+)+)(?:\(\))?`", prose)
    assert [name for name in named if not name.endswith(".py") and not set(name.split(".")) <= code] == []
    files = re.findall(r"`([\w/]+\.py)`", prose)
    folders = (ROOT, ROOT / "jabberd", ROOT / "jabberd" / "streams")
    assert [name for name in files if not any((folder / name).exists() for folder in folders)] == []


def test_the_module_in_the_readme_answers_its_question(network: Network) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    defined: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), defined)
    network.serve("montague.lit", modules={"oracle": {}}, classes={"oracle": defined["Oracle"]})
    romeo = network.client("romeo@montague.lit/orchard")
    answer = romeo.ask("<iq type='get' to='montague.lit'><question xmlns='urn:example:oracle'/></iq>")
    assert answer[0].text == "Some consequence, yet hanging in the stars"


def test_the_configuration_in_the_readme_can_be_used(tmp_path: Path) -> None:
    [toml] = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    file = tmp_path / "jabberd.toml"
    file.write_text(re.sub(r"(?m)^ +", "", toml))
    assert list(Config.read(file).settings.domains) == ["example.org"]
