"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jabberd.api import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Finding", "reported"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :ivar remedy: what to do about it; empty: all is well.
    """

    what: str
    said: str
    remedy: str = ""

    def __str__(self) -> str:
        failed = f"FAILED: {self.said}; {self.remedy}"
        return f"{self.what}: {failed if self.remedy else self.said}"


def reported(findings: Iterable[Finding]) -> list[str]:
    """A line for each.

    :raises Refused: one failed; the text has all lines.
    """
    found = list(findings)
    lines = [str(each) for each in found]
    if any(each.remedy for each in found):
        raise Refused("\n".join(lines))
    return lines
