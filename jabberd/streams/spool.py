"""What has no home at another server yet is kept here, so that it survives this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twisted.python.failure import Failure

    from jabberd.interfaces import Archive, ArchiveRow
    from jabberd.streams.parcel import Parcel

__all__ = ["Spool"]

log = Logger()

_BATCH: Final = 50  # rows that are read at a time


class Spool:
    """One row for each message that found no home in time, owned by the domain that it leaves.

    :param archive: where the rows are.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._needless: list[tuple[str, int]] = []  # rows that could not be removed yet

    def write(self, parcel: Parcel) -> Deferred[None]:
        """Keep it, unless it is kept already; fires when that is durable, or has failed."""
        if parcel.spooling or parcel.stanza.name != "message":
            return succeed(None)
        parcel.spooling = True
        stanza = parcel.stanza
        assert stanza.sender is not None  # it was addressed when it was taken
        assert stanza.to is not None
        owner = stanza.sender.domainpart
        written = self._archive.append(owner, stanza.to.bare, parcel.since, stanza.to_standalone())
        return written.addCallbacks(
            self._written, self._not_written, callbackArgs=(parcel, owner), errbackArgs=(parcel,)
        )

    def _written(self, row: int, parcel: Parcel, owner: str) -> None:
        parcel.row = row
        parcel.housed()
        if parcel.over:
            self.remove(owner, row)

    def _not_written(self, why: Failure, parcel: Parcel) -> None:
        """Whoever looks for what is late comes again."""
        log.failure("a message cannot be spooled", why)
        parcel.spooling = False

    def forget(self, parcel: Parcel) -> None:
        """It has another home."""
        if parcel.row is not None:
            assert parcel.stanza.sender is not None
            self.remove(parcel.stanza.sender.domainpart, parcel.row)
            parcel.row = None

    def remove(self, owner: str, row: int) -> None:
        """That row is not needed any more."""
        self._archive.remove(owner, [row]).addErrback(self._not_removed, owner, row)

    def _not_removed(self, why: Failure, owner: str, row: int) -> None:
        """Try again: what stays there is sent once more after the next start."""
        log.failure("the spool cannot be emptied", why)
        self._needless.append((owner, row))

    def tidy(self) -> None:
        """Remove what could not be removed before."""
        needless, self._needless = self._needless, []
        for owner, row in needless:
            self.remove(owner, row)

    async def rows(self, domain: str) -> AsyncIterator[ArchiveRow]:
        """What the last process left behind of one domain of ours, in order."""
        last = 0
        while rows := await self._archive.rows(domain, after=last, limit=_BATCH):
            for row in rows:
                yield row
            last = rows[-1].id
