"""The tutorial for authors of modules: its examples run, its tests pass, and it leaves nothing out."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jabberd import api
from jabberd.api.events import AccountDeleted
from jabberd.typed import read

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "modules.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WHOLE = (ROOT / "tests" / "thirdparty" / "jabberd_oracle" / "__init__.py").read_text()


def run() -> dict[str, Any]:
    """What the examples define, each run after those before it."""
    page = ModuleType("modules_page")
    for example in EXAMPLES:
        if example != WHOLE:
            exec(compile(example, "docs/modules.md", "exec", dont_inherit=True), vars(page))
    return vars(page)


NAMES = run()
TESTS = {name: value for name, value in NAMES.items() if name.startswith("test_")}
MODULES = [
    name
    for name, value in NAMES.items()
    if inspect.isclass(value) and issubclass(value, api.Module) and value is not api.Module
]


def wanted(name: str) -> str:
    """The fixture that a test of the page asks for."""
    [fixture] = inspect.signature(TESTS[name]).parameters
    return fixture


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.process] if wanted(name) == "local_server" else [])
        for name in TESTS
    ],
)
def test_a_test_on_the_page_passes(name: str, request: pytest.FixtureRequest) -> None:
    TESTS[name](request.getfixturevalue(wanted(name)))


@pytest.mark.parametrize("name", MODULES)
def test_every_module_on_the_page_is_played_with_there(name: str) -> None:
    assert any(f'"{name.lower()}": {name}' in example for example in EXAMPLES)


def test_the_settings_on_the_page_are_right() -> None:
    tables = [
        tomllib.loads(text) for text in re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    ]
    [almanac] = [table for table in tables if "almanac" in json.dumps(table)]
    table = almanac["domains"]["montague.lit"]["modules"]["almanac"]
    settings = read(NAMES["Almanac"].Config, table, told=print, folder=ROOT)
    assert settings is not None
    assert (settings.pause, settings.longest) == (5.0, 2048)
    assert settings.friends == {"capulet.lit": "the neighbours"}


def test_the_whole_package_on_the_page_is_the_one_that_is_tested() -> None:
    assert WHOLE in EXAMPLES


@pytest.mark.parametrize("name", api.__all__)
def test_the_page_explains_every_name_of_the_api(name: str) -> None:
    assert re.search(rf"`(jabberd\.api\.)?{name}\b", PAGE) or any(
        re.search(rf"\b{name}\b", example) for example in EXAMPLES
    )


def test_the_page_names_every_event() -> None:
    events = {
        value for value in vars(api).values() if getattr(value, "__module__", "") == AccountDeleted.__module__
    }
    table = PAGE[PAGE.index("| event |") :]
    assert {event.__name__ for event in events} == set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
