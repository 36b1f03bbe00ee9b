"""docs/operating.md names every module that comes with the server, and every setting with its default."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from jabberd.loader import DEFAULT, SERVICE_DEFAULT, module_class
from jabberd.typed import read

ROOT = Path(__file__).parent.parent.parent
OURS = sorted(path.stem for path in (ROOT / "jabberd/modules").iterdir() if not path.stem.startswith("_"))
PAGE = (ROOT / "docs/operating.md").read_text()
SECTION = PAGE.partition("\n## Modules\n")[2].partition("\n## ")[0]
[SHOWN] = re.findall(r"^```toml\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
TABLES = {
    name: settings
    for domain in tomllib.loads(SHOWN)["domains"].values()
    for name, settings in domain["modules"].items()
}


def test_the_page_says_which_modules_are_on_and_which_off() -> None:
    on, off = SECTION.partition("On are, unless")[2].partition("```")[0].split("Off are")
    assert tuple(re.findall(r"`(\w+)`", on)) == DEFAULT
    assert set(re.findall(r"`(\w+)`", off)) == {*OURS} - {*DEFAULT} | {*SERVICE_DEFAULT}


@pytest.mark.parametrize("name", OURS)
def test_the_settings_on_the_page_are_all_and_with_their_defaults(name: str) -> None:
    config = module_class(name).Config
    defaults = dataclasses.asdict(config())
    table = TABLES.get(name, {})
    assert {*table, *(key for key, value in defaults.items() if value is None)} == set(defaults)
    assert read(config, table, told=print, folder=ROOT) == config()
    assert all(re.search(rf"^#?{key} = ", SHOWN, re.MULTILINE) for key in defaults)


def test_the_page_has_settings_of_no_other_module() -> None:
    assert TABLES.keys() <= {*OURS}
