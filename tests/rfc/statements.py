"""Every MUST, SHOULD and their kin in the RFCs, and what has become of each: ``tests/rfc/texts/*.toml``.

``python -m tests.rfc.statements FOLDER`` compares these files with the texts themselves, which are not in
this repository: ``rfc6120.txt`` and so on, as <https://www.rfc-editor.org> has them.  It tells what of a text
no quote covers, and which quote is nowhere.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parent.parent.parent
DOCUMENTS: Final = ("rfc6120", "rfc6121", "rfc7590", "rfc7622", "rfc9325")

#: What of a statement is not for this server: it binds clients or somebody else (certification authorities,
#: operators, authors of specifications); it presumes what does not happen here; it only explains words.
NOT_OURS: Final = {"client", "others", "void", "wording"}

_KEYWORD: Final = re.compile(
    r"\b(?:MUST NOT|MUST|SHALL NOT|SHALL|REQUIRED|SHOULD NOT|SHOULD|NOT RECOMMENDED|RECOMMENDED)\b"
)
_HEADING: Final = re.compile(r"(?:Appendix )?((?:[0-9]+|[A-Z])(?:\.[0-9]+)*)\.  ?\S")
_PAGE: Final = re.compile(r".*\[Page [0-9]+\]|RFC [0-9]+ .* [0-9]{4}")


@dataclass(frozen=True)
class Test:
    """A test function, by file and name."""

    __test__ = False  # pytest is not to collect it

    path: str
    name: str

    def __str__(self) -> str:
        return f"[{self.name.removeprefix('test_')}](../{self.path})"


@dataclass(frozen=True)
class Statement:
    """One of them.

    :ivar quote: some words of the text, all on one line, with the word or words in capitals.
    :ivar rules: the numbers of the rules that say it in our words, if any do.
    :ivar proofs: of what SHOULD be and is, with no rule of its own: tests.
    :ivar why_not: one of `NOT_OURS`, or empty.
    """

    section: str
    quote: str
    rules: tuple[str, ...] = ()
    proofs: tuple[Test, ...] = ()
    why_not: str = ""

    @classmethod
    def of(cls, section: str, quote: str, verdict: str) -> Statement:
        """Read a line of the file."""
        if verdict in NOT_OURS:
            return cls(section, quote, why_not=verdict)
        if ".py: " in verdict:
            tests = tuple(Test(*each.split(": ")) for each in verdict.split(", "))
            return cls(section, quote, proofs=tests)
        return cls(section, quote, rules=tuple(verdict.split()))

    @property
    def words(self) -> list[str]:
        """The words in capitals."""
        return _KEYWORD.findall(self.quote)

    @property
    def demands(self) -> bool:
        """Whether it is a MUST of any kind."""
        return any(word in ("MUST", "MUST NOT", "SHALL", "SHALL NOT", "REQUIRED") for word in self.words)


@dataclass(frozen=True)
class Statements:
    """All of one document.

    :ivar left_out: sections that explain the words or repeat what others say.
    """

    left_out: dict[str, str]
    all: tuple[Statement, ...]

    @classmethod
    def read(cls, name: str) -> Statements:
        """Read the file of that document."""
        data = tomllib.loads((ROOT / f"tests/rfc/texts/{name}.toml").read_text())
        left_out = data.pop("left_out")
        return cls(
            left_out,
            tuple(
                Statement.of(section, quote, verdict)
                for section, found in data.items()
                for quote, verdict in found.items()
            ),
        )

    def count(self) -> Counter[str]:
        """How many words there are: ``ours`` and, of those that are not, by why not."""
        found: Counter[str] = Counter()
        for each in self.all:
            found[each.why_not or "ours"] += len(each.words)
        return found

    def differences(self, text: str) -> Iterator[str]:
        """What of a text no quote covers, and which quote is nowhere in it, in words."""
        sections = read(text)
        for section, body in sections.items():
            if section not in self.left_out:
                yield from self._differences(section, body)
        for each in self.all:
            if each.section not in sections:
                yield f"{each.section}: there is no such section"

    def _differences(self, section: str, body: str) -> Iterator[str]:
        covered: set[int] = set()
        for each in self.all:
            if each.section != section:
                continue
            if body.count(each.quote) != 1:
                yield f"{section}: {body.count(each.quote)} times there: {each.quote}"
            start = body.find(each.quote)
            covered.update(range(start, start + len(each.quote)))
        for word in _KEYWORD.finditer(body):
            if word.start() not in covered:
                yield f"{section}: no quote covers: {body[max(0, word.start() - 60) : word.end() + 60]}"


def read(text: str) -> dict[str, str]:
    """The sections of an RFC by their numbers, white space made one space; pages have no trace."""
    found: dict[str, list[str]] = {}
    lines = text.replace("\f", "").splitlines()
    first = max((n for n, line in enumerate(lines) if re.match(r"1\. +Introduction", line)), default=0)
    section = ""
    for line in lines[first:]:
        heading = _HEADING.match(line)
        if heading:
            section = heading[1]
        if section and not _PAGE.fullmatch(line):
            found.setdefault(section, []).append(line)
    return {section: " ".join(" ".join(lines).split()) for section, lines in found.items()}


def main(folder: str) -> int:
    """Compare all; the status of the process."""
    wrong = [
        f"{name} {difference}"
        for name in DOCUMENTS
        for difference in Statements.read(name).differences((Path(folder) / f"{name}.txt").read_text())
    ]
    print("\n".join(wrong) or "every statement is there")  # noqa: T201  # what it is for
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
