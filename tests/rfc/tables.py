"""The tables of RFCs in docs: each rule beside the tests that prove it, written from their markers.

``python -m tests.rfc.tables`` writes them; a test compares what is committed.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.rfc.statements import DOCUMENTS, ROOT, Statements, Test

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INTRODUCTION: Final = """\
# {title}

<!-- Made by `make docs` from tests/rfc/{name}.toml and the markers on the tests: change those. -->

Each rule that binds a server (MUST, MUST NOT, REQUIRED, SHALL), in our words, with the tests that prove it.
Then come those that are kept otherwise, what SHOULD be and is not, each with the reason, and what SHOULD be
and is. The text itself is at <https://www.rfc-editor.org/rfc/{name}>.

It says MUST, SHOULD or their kin {all} times, beside where it explains or repeats them: {ours} of them are
about what this server does, {client} about clients, {others} about others (certification authorities,
operators, authors of specifications), {void} about what does not happen here, such as features that are
not offered.
What has become of each of these words is in [{texts}](../{texts}).

| section | rule | proved by |
|---|---|---|
"""


@dataclass(frozen=True)
class Rules:
    """What one document demands, each rule by its number."""

    title: str
    must: dict[str, str]
    otherwise: dict[str, tuple[str, str]]
    should: dict[str, tuple[str, str]]

    @classmethod
    def read(cls, name: str) -> Rules:
        data = tomllib.loads((ROOT / f"tests/rfc/{name}.toml").read_text())
        pairs = {part: {k: (v[0], v[1]) for k, v in data[part].items()} for part in ("otherwise", "should")}
        return cls(data["title"], data["must"], pairs["otherwise"], pairs["should"])


def proofs(name: str) -> dict[str, list[Test]]:
    """By the number of a rule, the tests that are marked with it."""
    found: defaultdict[str, list[Test]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test, number in _marks(path, name):
            found[number].append(Test(path.relative_to(ROOT).as_posix(), test))
    return dict(found)


def _marks(path: Path, name: str) -> Iterator[tuple[str, str]]:
    source = path.read_text()
    if f"mark.{name}(" not in source:
        return
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == f"pytest.mark.{name}":
                    yield from ((function.name, ast.literal_eval(number)) for number in mark.args)


def order(number: str) -> tuple[list[tuple[int, str]], int]:
    """Where a rule stands among the others: ``4.10-1`` comes after ``4.9-2``, appendices come last."""
    parts = section(number).split(".")
    place = [(int(part), "") if part.isdecimal() else (1000, part) for part in parts]
    return place, int(number.rpartition("-")[2])


def section(number: str) -> str:
    """The section of a rule."""
    return number.rpartition("-")[0]


def table(name: str) -> str:
    """The whole document."""
    rules, tests = Rules.read(name), proofs(name)
    statements = Statements.read(name)
    counts = {"ours": 0, "client": 0, "others": 0, "void": 0, **statements.count()}
    counts.pop("wording", None)
    texts = f"tests/rfc/texts/{name}.toml"
    counted = {**counts, "all": sum(counts.values())}
    text = INTRODUCTION.format(title=rules.title, name=name, texts=texts, **counted)
    for number, rule in rules.must.items():
        shown = "<br>".join(dict.fromkeys(map(str, tests.get(number, ()))))
        text += f"| {section(number)} | {rule} | {shown} |\n"
    for heading, others in (("Kept otherwise", rules.otherwise), ("Not followed", rules.should)):
        if not others:
            continue
        text += f"\n## {heading}\n\n| section | rule | reason |\n|---|---|---|\n"
        text += "".join(f"| {section(n)} | {rule} | {why} |\n" for n, (rule, why) in others.items())
    return text + _followed(statements)


def _followed(statements: Statements) -> str:
    """What SHOULD be and is, in the words of the text."""
    followed = [each for each in statements.all if each.proofs]
    if not followed:
        return ""
    text = "\n## Followed\n\n| section | what SHOULD be | proved by |\n|---|---|---|\n"
    for each in followed:
        quote = each.quote.replace("|", "\\|").replace("<", "\\<")
        text += f"| {each.section} | … {quote} … | {'<br>'.join(map(str, each.proofs))} |\n"
    return text


def write() -> None:
    """Write all documents."""
    for name in DOCUMENTS:
        (ROOT / f"docs/{name}.md").write_text(table(name))


if __name__ == "__main__":
    write()
