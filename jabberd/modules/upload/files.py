"""Which files there are, whose they are and how long they stay; the files themselves lie in a folder."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from twisted.internet.defer import DeferredLock, execute
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from twisted.internet.defer import Deferred

    from jabberd.interfaces import Keyed

__all__ = ["DAY", "FOREVER", "PERMANENT", "File", "Files", "Held", "Spooled", "bucket"]

log = Logger()

T = TypeVar("T")

DAY: Final = 86400.0  # seconds
#: When a permanent file goes: never, as far as XEP-0082 has years.
FOREVER: Final = 253402300799.0
PERMANENT: Final = "permanent"
_PRIVATE: Final = 0o700
_ODD: Final = 100  # files without a row that a crash may leave; more of them are somebody's mistake
_SPOOL: Final = "arriving"


@dataclass(frozen=True)
class File:
    """A file that can be had.

    :ivar uploader: a bare JID.
    :ivar since: when it came, in seconds since 1970; ``expires``: when it goes, perhaps `FOREVER`.
    """

    uploader: str
    name: str
    type: str
    size: int
    since: float
    expires: float
    purpose: str = "message"


@dataclass(frozen=True)
class Held:
    """The same, as far as it counts for its uploader: for a day also when it is gone.

    :ivar expires: as there, or when it was removed.
    """

    size: int
    since: float
    expires: float
    purpose: str = "message"


def bucket(purpose: str) -> str:
    """What shares a quota with it (§5)."""
    return purpose if purpose in ("profile", PERMANENT) else "message"


class Files:
    """The files of one domain.

    A file is there when its row is: that comes last, when all bytes are on disk, and goes first.  Whatever
    else lies in the folder after a crash goes with the next start.

    :param rows: by ``TOKEN@DOMAIN``, each file; ``held``: by uploader and token, what counts.
    :param folder: asked each time.
    :ivar sizes: bytes of all files, by `bucket`.
    """

    def __init__(
        self,
        rows: Keyed[File],
        held: Keyed[Held],
        domain: str,
        folder: Callable[[], Path],
        clock: Any,
    ) -> None:
        self.sizes: Counter[str] = Counter()
        self._rows = rows
        self._held = held
        self._domain = domain
        self._folder = folder
        self._clock = clock
        self._removing = DeferredLock()  # what two remove at once would make room twice

    def make_room(self) -> None:
        """Make the folder, if it is not there.

        :raises OSError: it cannot be used.
        """
        self._place(_SPOOL).mkdir(mode=_PRIVATE, parents=True, exist_ok=True)

    async def start(self, *, alone: bool = True) -> None:
        """Count what is there; of what a crash left half, nothing stays.

        :param alone: nobody else puts files there, for whom something half may get whole.
        :raises OSError: the folder cannot be used.
        """
        self.make_room()
        known = set()
        whose: dict[str, dict[str, Held]] = {}
        self.sizes.clear()
        async for token, file in self.all():
            if file.uploader not in whose:
                whose[file.uploader] = await self._held.all(file.uploader)
            if token in whose[file.uploader] and self.path(token).is_file():
                known.add(token)
                self.sizes[bucket(file.purpose)] += file.size
            elif alone:
                await self._forget(token, file)
        if alone:
            await self._forget_half(known)
            await self._in_thread(lambda: self._clear(known))

    async def _forget_half(self, known: set[str]) -> None:
        """What was on its way in or out when the process was killed counts for nobody."""
        now = self._clock.seconds()
        for uploader in await self._held.owners(self._domain):
            held = await self._held.all(uploader)
            half = [token for token, each in held.items() if each.expires > now and token not in known]
            if half:
                await self._held.change(uploader, dict.fromkeys(half))

    def _clear(self, known: set[str]) -> None:
        for path in self._place(_SPOOL).iterdir():  # nobody else writes there, on whatever storage
            path.unlink(missing_ok=True)
        odd = [path for path in self._place("").glob("*/*") if path.name not in known and path.is_file()]
        if len(odd) > len(known) + _ODD:
            said = (
                "{count} files in {folder} are not in the storage; is it the right one? they are left alone"
            )
            log.error(said, count=len(odd), folder=str(self._place("")))
            return
        for path in odd:
            path.unlink(missing_ok=True)

    def _place(self, name: str) -> Path:
        return self._folder() / self._domain / name

    def path(self, token: str) -> Path:
        """Where a file lies."""
        return self._place(token[:2]) / token

    async def all(self) -> AsyncIterator[tuple[str, File]]:
        """Every file with its token; it may be removed meanwhile."""
        last = ""
        while page := await self._rows.page(self._domain, last):
            for last, file in page.items():
                yield last.partition("@")[0], file

    def get(self, token: str) -> Deferred[File | None]:
        """The file, if its row is there."""
        return self._rows.get(self._owner(token))

    def of(self, uploader: str) -> Deferred[dict[str, Held]]:
        """By token, what somebody has uploaded."""
        return self._held.all(uploader)

    def spooled(self) -> Spooled:
        """A place for a file that is about to arrive.

        :raises OSError: there is none.
        """
        return Spooled(self._place(_SPOOL) / secrets.token_hex(8))

    async def keep(self, spooled: Spooled, token: str, file: File) -> None:
        """What has arrived is a file from now on, also after a crash.

        :raises OSError: it cannot be kept; nothing of it is left.  So it is for a `StorageError`.
        """
        try:
            await self._in_thread(lambda: spooled.move(self.path(token)))
            held = Held(file.size, file.since, file.expires, file.purpose)
            await self._held.put(file.uploader, token, held)
            await self._rows.put(self._owner(token), "", file)
        except BaseException:
            spooled.drop()
            self.path(token).unlink(missing_ok=True)
            await self._forget(token, file)
            raise
        self.sizes[bucket(file.purpose)] += file.size

    async def remove(self, token: str, file: File, *, counts: bool = True) -> None:
        """It is gone when this returns.

        :param counts: whether it was uploaded by somebody who may go on.
        """
        async with self._removing:
            if await self.get(token) is None:
                return  # somebody else has removed it
            now = self._clock.seconds()
            still = counts and file.since > now - DAY
            await self._forget(token, file, Held(file.size, file.since, now, file.purpose) if still else None)
            self.sizes[bucket(file.purpose)] -= file.size
            with suppress(FileNotFoundError):
                await self._in_thread(self.path(token).unlink)

    async def _forget(self, token: str, file: File, left: Held | None = None) -> None:
        await self._rows.change(self._owner(token), {"": None})
        await self._held.change(file.uploader, {token: left})

    async def sweep(self, goes: Callable[[File], bool], *, counts: bool = True) -> int:
        """Remove all files of which that is true; how many there were.

        :param counts: see `remove`.
        """
        gone = 0
        async for token, file in self.all():
            if goes(file):
                await self.remove(token, file, counts=counts)
                gone += 1
        return gone

    async def settle(self) -> None:
        """Forget what was uploaded, is gone, and does not count any more."""
        now = self._clock.seconds()
        for uploader in await self._held.owners(self._domain):
            held = await self._held.all(uploader)
            old = [token for token, each in held.items() if each.expires <= now and each.since <= now - DAY]
            await self._held.change(uploader, dict.fromkeys(old))

    def _owner(self, token: str) -> str:
        return f"{token}@{self._domain}"

    def _in_thread(self, work: Callable[[], T]) -> Deferred[T]:
        """Do what waits for the disk; at once where there are no threads, as in a test."""
        threads = getattr(self._clock, "getThreadPool", None)
        return execute(work) if threads is None else deferToThreadPool(self._clock, threads(), work)


class Spooled:
    """A file that arrives.

    :ivar size: bytes so far.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._path = path
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        """Add to it.

        :raises OSError: there is no room.
        """
        assert self._file is not None
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]
        self.size += len(data)

    def move(self, path: Path) -> None:
        """Put it where it stays, durably; other threads may go on meanwhile.

        :raises OSError: it cannot be.
        """
        assert self._file is not None
        os.fsync(self._file)
        path.parent.mkdir(mode=_PRIVATE, exist_ok=True)
        self._path.rename(path)
        for folder in (path.parent, path.parent.parent):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._close()

    def drop(self) -> None:
        """Leave nothing of it, unless it was moved."""
        if self._file is not None:
            self._close()
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        assert self._file is not None
        descriptor, self._file = self._file, None
        os.close(descriptor)
