"""A file, or a part of it, goes out as fast as it is read (RFC 9110 §14)."""

from __future__ import annotations

import re
from typing import Any, BinaryIO, Final

from twisted.internet.task import LoopingCall
from twisted.protocols.basic import FileSender

__all__ = ["LeftError", "Part", "asked_part", "sent"]

_STALLED: Final = 60.0  # seconds without progress, after which a download is given up
_RANGE: Final = re.compile(rb"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")


def asked_part(header: bytes | None, size: int) -> tuple[int, int] | None:
    """The first and the last byte of the one range that is asked for (RFC 9110 §14.1.2).

    The first may be behind the end.  None: all of it, as also for several ranges, which may cost more than
    the file (§14.2 leaves that free).
    """
    found = _RANGE.fullmatch(header or b"")
    if found is None:
        return None
    first, last, suffix = (int(each) if each else None for each in found.groups())
    if first is None:
        return (max(0, size - suffix), size - 1) if suffix else (size, size)
    if last is not None and last < first:
        return None
    return first, size - 1 if last is None else min(last, size - 1)


class LeftError(Exception):
    """Whoever asked for a file has gone meanwhile."""


class Part:
    """So much of an open file, from where it is."""

    def __init__(self, file: BinaryIO, left: int) -> None:
        self._file = file
        self._left = left

    def read(self, most: int) -> bytes:
        """The next bytes; none: it is over."""
        data = self._file.read(min(most, self._left))
        self._left -= len(data)
        return data


async def sent(request: Any, part: Part) -> None:
    """Send it as fast as it is read; who does not read for long is given up."""
    seen = -1

    def look() -> None:
        nonlocal seen
        if request.sentLength == seen:
            request.channel.forceAbortClient()
        seen = request.sentLength

    watch = LoopingCall(look)
    watch.clock = request.site.reactor
    watch.start(_STALLED, now=False)
    try:
        await FileSender().beginFileTransfer(part, request)
    except Exception as why:  # which is how it says that nobody takes it any more
        raise LeftError from why
    finally:
        watch.stop()
