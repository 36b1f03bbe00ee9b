"""docs/operating.md prints what is really printed; ``python -m tests.operating.test_page`` writes it anew."""

from __future__ import annotations

import difflib
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.operating.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.process,
    pytest.mark.foreign,
    pytest.mark.skipif(shutil.which("ssh") is None, reason="install openssh-client"),
]
PAGE = Path(__file__).parent.parent.parent / "docs" / "operating.md"
PART = re.compile(r"<!-- stage: (?P<scene>\w+) -->|^```console\n(?P<block>.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (?P<words>.*)\n(?P<said>(?:(?!\$ ).*\n)*)", re.MULTILINE)
#: What is typed to the servers; `twistd` runs on where it prints nothing.
TYPED = ("jabberctl ", "ssh ", "curl ", "twistd ")
#: What differs from run to run: ids, keys, numbers; how wide columns are; how many filters modules have.
CHANGING = [
    (re.compile(r"^filter .*\n", re.MULTILINE), ""),
    (re.compile(r"(?<=preauth=)\w+|(?<=/invite/)\w+"), "TOKEN"),
    (re.compile(r"\b[0-9a-f]{8,}\b|\bSHA256:\S+|(?<=  )[\w-]{20,36}(?=  )"), "ID"),
    (re.compile(r"[\d.:]*\d"), "N"),
    (re.compile(r"[ \t]+"), " "),
]


class Printed(NamedTuple):
    """A command of the page.

    :ivar span: where in the page stands what it printed.
    """

    words: str
    said: str
    span: tuple[int, int]


def parts(page: str) -> Iterator[str | Printed]:
    """The scenes (names) and commands of the page, in order."""
    for part in PART.finditer(page):
        if part["scene"]:
            yield part["scene"]
            continue
        for command in COMMAND.finditer(part["block"]):
            begin, end = (part.start("block") + each for each in command.span("said"))
            shows = command["said"] or not command["words"].startswith("twistd ")
            if shows and command["words"].startswith(TYPED) and ">>>" not in command["said"]:
                yield Printed(command["words"], command["said"], (begin, end))


def shape(text: str) -> list[str]:
    """The text without what differs from run to run."""
    for changing, constant in CHANGING:
        text = changing.sub(constant, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def told(printed: Printed, said: str) -> list[str]:
    """How the page differs from what was printed; a line of dots in it stands for any lines."""
    expected, got = shape(printed.said), shape(said)
    if "..." in expected:
        expected = [line for line in expected if line != "..."]
        got = [line for line in got if line in expected]
    return [*difflib.unified_diff(expected, got, f"$ {printed.words}", "really", lineterm="", n=9)]


def played(page: str, folder: Path) -> Iterator[tuple[Printed, str]]:
    """What each command of the page prints really."""
    with Stage(folder) as stage:
        for part in parts(page):
            if isinstance(part, str):
                getattr(stage, part)()
            else:
                yield part, stage.play(part.words) + "\n"


def test_the_page_shows_every_verb_with_what_it_prints(tmp_path: Path) -> None:
    page = PAGE.read_text()
    found = [*played(page, tmp_path)]
    wrong = [line for printed, said in found for line in told(printed, said)]
    assert not wrong, "\n".join(("python -m tests.operating.test_page writes the page anew:", *wrong))
    lines = next(said for printed, said in found if printed.words.endswith(" help")).splitlines()[1:]
    helps = dict(re.findall(r"^([a-z -]*[a-z])(?: [A-Z[ _\]]+)?  +(\S.*)$", "\n".join(lines), re.MULTILINE))
    assert len(helps) == len(lines)
    shown = [printed.words.partition(".toml ")[2].removeprefix("--json ") for printed, _ in found]
    shown += re.findall(r"`(?:jabberctl )?([a-z -]+)", page)  # or at least told of
    assert [verb for verb in helps if not any(f"{each} ".startswith(f"{verb} ") for each in shown)] == []
    prompt = re.findall(r"^admin\.accounts\.(\w+)\(.*?\) +(.*)$", page, re.MULTILINE)
    assert {f"accounts {verb}": help for verb, help in prompt} == {
        verb: help for verb, help in helps.items() if verb.startswith("accounts ")
    }


def write() -> None:
    """Put what is really printed into the page."""
    page = PAGE.read_text()
    with tempfile.TemporaryDirectory() as folder:
        found = [*played(page, Path(folder))]
    for printed, said in reversed(found):
        if told(printed, said):
            begin, end = printed.span
            page = page[:begin] + said + page[end:]
            sys.stderr.write("\n".join(told(printed, said)) + "\n")
    PAGE.write_text(page)


if __name__ == "__main__":
    write()
