"""A process to kill: appends rows, 64 in flight, and prints the id of each whose Deferred fired."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from jabberd.storage import open_storage
from tests.storage.pump import Pump

LIMIT = 60  # seconds, should nobody kill it


def main(url: str) -> None:
    pump = Pump()
    messages = open_storage(url, pump).archive("messages")

    def append() -> None:
        stanza = b"<message><body>Wherefore art thou?</body></message>"
        messages.append("romeo@montague.lit", "juliet@capulet.lit", datetime.now(UTC), stanza).addCallback(
            written
        )

    def written(id: int) -> None:
        os.write(1, b"%d\n" % id)
        append()

    for _ in range(64):
        append()
    while True:
        pump.turn(LIMIT)


if __name__ == "__main__":
    main(sys.argv[1])
