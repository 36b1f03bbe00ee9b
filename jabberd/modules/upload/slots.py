"""What has been promised to uploaders and has not come yet, and what they may have beside (XEP-0363 §6)."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from jabberd.modules.upload.files import DAY, FOREVER, bucket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jabberd.modules.upload.files import File, Held

__all__ = ["Allowance", "FullError", "Slot", "Slots"]

_TOKEN: Final = 16  # bytes: 128 bits that nobody guesses


class FullError(Exception):
    """There is no room for more.

    :ivar until: when there may be, in seconds since 1970; None: nobody knows.
    :ivar limit: the setting that leaves none; empty: the disk.
    """

    def __init__(self, said: str, until: float | None, limit: str = "") -> None:
        super().__init__(said)
        self.until = until
        self.limit = limit


@dataclass(frozen=True)
class Allowance:
    """How much one uploader may have.

    :ivar day: bytes uploaded within 24 hours; ``stored``: at a time, in one `bucket`; ``slots``: promised at
        a time.
    :ivar files: of any size, within 24 hours and at a time: each costs a row, however small it is.
    """

    day: int
    stored: int
    slots: int
    files: int

    def check(self, size: int, purpose: str, held: Iterable[Held], promised: list[Slot], now: float) -> None:
        """See whether a file of that size may come as well.

        :raises FullError: it may not.
        """
        if len(promised) >= self.slots:
            said = f"at most {self.slots} uploads at a time"
            raise FullError(said, min(each.until for each in promised), "slots")
        held, shared = [*held], bucket(purpose)
        today = [(each.since + DAY, each.size) for each in held if each.since > now - DAY]
        stored = [each for each in held if each.expires > now]
        beside = [(each.expires, each.size) for each in stored if bucket(each.purpose) == shared]
        waiting = [(bucket(each.file.purpose), each.file.size) for each in promised]
        left = self.day - size - sum(each for _, each in waiting)
        _room("day", f"at most {self.day} bytes in 24 hours", left, today)
        left = self.stored - size - sum(each for which, each in waiting if which == shared)
        _room("quota", f"at most {self.stored} bytes at a time", left, beside)
        files = self.files - len(promised) - 1
        for those, when in (
            ([until for until, _ in today], "in 24 hours"),
            ([each.expires for each in stored], "at a time"),
        ):
            said = f"at most {self.files} files {when}"
            _room("files", said, files, [(until, 1) for until in those])


def _room(limit: str, said: str, left: int, taken: list[tuple[float, int]]) -> None:
    """See that what is taken fits in there.

    :param taken: until when, and how much.
    :raises FullError: it does not; with the time when enough of it is gone.
    """
    excess = sum(size for _, size in taken) - left
    if excess <= 0:
        return
    for until, size in sorted(taken):
        excess -= size
        if excess <= 0:
            raise FullError(said, until if until < FOREVER else None, limit)
    raise FullError(said, None, limit)


@dataclass(frozen=True)
class Slot:
    """A promise.

    :ivar token: where the file will be found; where it is put is known to the uploader alone.
    :ivar file: what is to come, as announced; ``typed``: whether its type was.
    :ivar until: when the promise ends, in seconds since 1970, unless the file is arriving.
    """

    token: str
    file: File
    until: float
    typed: bool


class Slots:
    """The promises of one domain, by the secret with which each is kept."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}
        self._arriving: dict[str, Slot] = {}

    def promise(self, file: File, until: float, *, typed: bool) -> tuple[str, Slot]:
        """Promise to take a file; the secret of whoever may put it."""
        secret = secrets.token_hex(_TOKEN)
        slot = Slot(secrets.token_hex(_TOKEN), file, until, typed)
        self._slots[secret] = slot
        return secret, slot

    def promised(self, uploader: str, now: float) -> list[Slot]:
        """What is promised to somebody, or arriving."""
        self._expire(now)
        return [each for each in self._all() if each.file.uploader == uploader]

    @property
    def sizes(self) -> Counter[str]:
        """Bytes of all that is promised or arriving, by `bucket`."""
        sizes: Counter[str] = Counter()
        for each in self._all():
            sizes[bucket(each.file.purpose)] += each.file.size
        return sizes

    def _all(self) -> Iterator[Slot]:
        return chain(self._slots.values(), self._arriving.values())

    def get(self, secret: str, now: float) -> Slot | None:
        """The promise, if it holds."""
        self._expire(now)
        return self._slots.get(secret)

    def stands(self, secret: str) -> bool:
        """Whether a file that arrives is still wanted."""
        return secret in self._arriving

    def begin(self, secret: str) -> Slot:
        """The file begins to arrive: nobody else can put it."""
        slot = self._arriving[secret] = self._slots.pop(secret)
        return slot

    def end(self, secret: str) -> None:
        """It has arrived."""
        self._arriving.pop(secret, None)

    def again(self, secret: str) -> None:
        """It has not arrived; it may still be put."""
        slot = self._arriving.pop(secret, None)
        if slot is not None:
            self._slots[secret] = slot

    def forget(self, uploader: str) -> None:
        """Nothing is wanted any more of somebody."""
        for slots in (self._slots, self._arriving):
            for secret in [key for key, each in slots.items() if each.file.uploader == uploader]:
                del slots[secret]

    def _expire(self, now: float) -> None:
        for secret in [key for key, each in self._slots.items() if each.until <= now]:
            del self._slots[secret]
