"""One process at a time: a lock on a file that names who holds it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileLock", "HeldError"]


class HeldError(Exception):
    """Somebody else holds the lock.

    :ivar pid: the id of that process; 0 if it has not said yet.
    """

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"{path} is held by process {pid}")
        self.pid = pid


class FileLock:
    """A lock that the system takes away with the process that holds it: none is ever stale.

    The file stays, for its removal could not be told from another process's taking it.

    :param path: the file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Take it for this process, not for those that it forks.

        :raises HeldError: another one has it.
        :raises OSError: the file cannot be written.
        """
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read(file)
            os.close(file)
            raise HeldError(self._path, pid) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Let others take it; nothing happens if it is not held."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _read(file: int) -> int:
    with suppress(ValueError):
        return int(os.pread(file, 20, 0))
    return 0
