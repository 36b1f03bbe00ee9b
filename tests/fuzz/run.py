"""Coverage-guided fuzzing with atheris: ``python -m tests.fuzz.run TARGET SECONDS``.

It begins with the corpus beside this file, and keeps what it finds in ``var/fuzz``.  ``... TARGET keep``
puts the little of it that reaches more of the code into the corpus.  A crash is a file in ``var/fuzz``; it
becomes a test by moving it to the corpus.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # no types; may be missing

CORPUS: Final = Path(__file__).with_name("corpus")
FOUND: Final = Path("var") / "fuzz"
_LONGEST: Final = 4096  # bytes of one input
_SLOWEST: Final = 10  # seconds for one input
_MEMORY: Final = 1024  # MiB


def main(target: str, what: str, *given: str) -> None:
    """Fuzz for some seconds, or keep what was found.

    :param given: libFuzzer's own arguments, when it starts this program again for each try.
    """
    with atheris.instrument_imports(include=["jabberd.xmpp"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415  # as it is instrumented
    found, corpus = FOUND / target, CORPUS / target
    found.mkdir(parents=True, exist_ok=True)
    if what == "keep":
        how = ["-merge=1", str(corpus), str(found)]
    else:
        how = [f"-max_total_time={what}", "-print_final_stats=1", str(found), str(corpus)]
    options = [
        f"-max_len={_LONGEST}",
        f"-dict={CORPUS.with_name('xmpp.dict')}",
        f"-timeout={_SLOWEST}",
        f"-rss_limit_mb={_MEMORY}",
        f"-artifact_prefix={FOUND}/{target}-",
    ]
    program = f"{sys.executable} -m tests.fuzz.run {target} {what}"
    atheris.Setup([program, *(given or (*options, *how))], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
