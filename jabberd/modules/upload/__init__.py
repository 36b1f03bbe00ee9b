"""XEP-0363: clients put files on this server, and send others the place where they are."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from jabberd.api import (
    DOMAIN,
    IQ,
    JID,
    LOCAL,
    AccountDeleted,
    E,
    Element,
    Keyed,
    Module,
    Refused,
    StanzaError,
    answers,
    on,
    operator,
    page,
)
from jabberd.modules.commands import Command, Result
from jabberd.modules.upload.files import FOREVER, PERMANENT, File, Files, Held, bucket
from jabberd.modules.upload.pages import file_page
from jabberd.modules.upload.slots import Allowance, FullError, Slots
from jabberd.modules.upload.terms import NS, PURPOSE, Terms, announced
from jabberd.xmpp.forms import Field, Form
from jabberd.xmpp.timestamp import to_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.web.resource import Resource

    from jabberd.xmpp.forms import Submission

PATH: Final = "upload"
DELETE: Final = "urn:jabberd:upload#delete"  # no XEP has it
_DELETE: Final = "Delete files that you have uploaded"
_CHOICE: Final = 200  # files of one form
_SWEEP: Final = 3600.0  # seconds between two looks at what has expired
_LEFT: Final = 64 << 20  # bytes of the disk that stay free

Rows = list[dict[str, object]]


class Upload(Module, xep=363, version="1.2.0"):
    """Promises slots to the domain's own accounts, and takes and gives what is put there."""

    requires = ("commands", "disco")
    identities = (("store", "file"),)
    features: tuple[str, ...] = (NS,)
    counted = (
        "slots",
        "day",
        "quota",
        "profile_quota",
        "permanent_quota",
        "permanent_total",
        "files",
        "total",
    )

    class Config(Terms):
        """See `Terms`."""

    config: Config

    rows = Keyed("upload-files", of=File)
    held = Keyed("upload-held", of=Held)
    quotas = Keyed("upload-quotas", of=int)

    @classmethod
    def surroundings(cls, config: Config) -> Iterable[tuple[str, str, str]]:
        """See `jabberd.api.Module`."""
        folder = config.folder
        there = folder if folder.exists() else folder.parent
        what = f"folder {folder}"
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield what, "cannot be used", "make it, for the user that the server runs as"
        else:
            yield what, f"has room for {shutil.disk_usage(there).free >> 20} MiB more", ""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        clock = self.domain.clock
        self.slots = Slots()
        self.files = Files(self.rows, self.held, self.domain.jid, lambda: self.config.folder, clock)
        self._sweep = LoopingCall(self._sweep_out)
        self._sweep.clock = clock

    async def start(self) -> None:
        """Count what there is, and look for what has expired from now on."""
        self._tell()
        await self.files.start(alone=not self.succeeds)
        self._sweep.start(_SWEEP, now=False)

    async def stop(self) -> None:
        """Look no more."""
        if self._sweep.running:
            self._sweep.stop()

    def _tell(self) -> None:
        """§5: the purposes are features."""
        self.features = (NS, *(f"{PURPOSE}#{each}" for each in self.config.purposes))

    def reconfigured(self, before: Config) -> None:
        """Files come into another folder, perhaps, where the operator has put those that there were."""
        self._tell()
        if before.folder != self.config.folder:
            self.files.make_room()

    def _sweep_out(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._swept()).addErrback(
            lambda why: self.log.failure("what has expired cannot be removed", why)
        )

    async def _swept(self) -> None:
        now = self._seconds()
        gone = await self.files.sweep(lambda file: file.expires <= now)
        await self.files.settle()
        if gone:
            self.log.info("{count} files have expired", count=gone)

    def _seconds(self) -> float:
        return self.domain.clock.seconds()

    def extensions(self) -> Iterable[Element]:
        """§3; see `jabberd.modules.disco.Extends`."""
        most = Field("max-file-size", values=(str(self.config.size),))
        yield Form(NS, (most,)).element("result")

    @page(PATH)
    def found(self, request: Any) -> Resource:
        """A place for a file."""
        return file_page(request, self.files, self.slots, self._seconds)

    # -- what clients ask for -----------------------------------------------------------------------

    @answers.get(NS, "request", to=DOMAIN, by=LOCAL)
    async def promise(self, request: IQ) -> Element:
        """Promise to take a file (§4)."""
        account = await self.domain.account(request.sender.bare)
        if account.anonymous or not account.exists:
            raise StanzaError("forbidden", "only accounts may upload")  # §6
        if not self.domain.url:
            raise StanzaError("service-unavailable", "the files of this domain cannot be reached")
        file = announced(request, self.config, self._seconds())
        await self._admit(file)
        if not account.exists:
            raise StanzaError("forbidden", "the account was deleted")
        typed = bool(request.payload.get("content-type"))
        secret, slot = self.slots.promise(file, self._seconds() + self.config.timeout, typed=typed)
        places = (
            (name, f"{PATH}/{key}/{quote(file.name)}") for name, key in (("put", secret), ("get", slot.token))
        )
        return E(NS, "slot", None, *(E(NS, name, {"url": f"{self.domain.url}/{at}"}) for name, at in places))

    async def _admit(self, file: File) -> None:
        """See whether there is room for the file (§6).

        :raises StanzaError: ``resource-constraint``, with the time when there may be.
        """
        now, config = self._seconds(), self.config
        quotas = {"profile": config.profile_quota, PERMANENT: config.permanent_quota}
        own = await self.quotas.get(file.uploader)
        stored = quotas.get(file.purpose, own or config.quota)
        held = await self.files.of(file.uploader)
        promised = self.slots.promised(file.uploader, now)
        try:
            allowance = Allowance(config.day, stored, config.slots, config.files)
            allowance.check(file.size, file.purpose, held.values(), promised, now)
            coming = self.slots.sizes
            sizes = self.files.sizes + coming
            if sizes.total() + file.size > config.total:
                raise FullError("the server has no room for more files", now + _SWEEP, "total")
            if file.purpose == PERMANENT and sizes[PERMANENT] + file.size > config.permanent_total:
                raise FullError("the server has no room for more permanent files", None, "permanent_total")
            if shutil.disk_usage(config.folder).free < file.size + coming.total() + _LEFT:
                self.log.error("the disk with {folder} is full", folder=str(config.folder))
                raise FullError("the server has no room for more files", now + _SWEEP)
        except FullError as why:
            own_quota = why.limit == "quota" and file.purpose in quotas
            limit = f"{file.purpose}_quota" if own_quota else why.limit
            if limit:
                self.met[limit] += 1
            stamp = why.until and _stamp(why.until + 1)
            application, details = ((NS, "retry"), {"stamp": stamp}) if stamp else (None, {})
            raise StanzaError(
                "resource-constraint", str(why), application=application, details=details
            ) from None

    @on(AccountDeleted)
    async def forget(self, event: AccountDeleted) -> None:
        """What belonged to an account goes with it."""
        self.slots.forget(event.jid)
        await self.files.sweep(lambda file: file.uploader == event.jid, counts=False)

    # -- what uploaders see of it -------------------------------------------------------------------

    @property
    def commands(self) -> Iterable[Command]:
        """See `jabberd.modules.commands.Offers`: nothing else takes back what stays for good."""
        return (Command(DELETE, _DELETE, self._may_own, self._deleted, opening=self._own),)

    def _may_own(self, who: JID) -> bool:
        return who.domainpart == self.domain.jid

    async def _own(self, who: JID) -> Form:
        """The newest files of an uploader, to choose from.

        :raises StanzaError: ``item-not-found``: there is none.
        """
        rows = (await self.list(who))[: -_CHOICE - 1 : -1]
        if not rows:
            raise StanzaError("item-not-found", "you have uploaded nothing that is still here")
        options = {
            str(row["file"]): f"{row['name']}, {row['bytes']} bytes, {row['since']}, until {row['expires']}"
            for row in rows
        }
        chosen = Field("file", "list-multi", "Nobody can have them any more", required=True, options=options)
        return Form(DELETE, (chosen,), _DELETE)

    async def _deleted(self, who: JID, filled: Submission) -> Result:
        for token in filled.texts("file"):
            file = await self.files.get(token)
            if file is not None and file.uploader == who.bare:  # else it went meanwhile
                await self.files.remove(token, file)
        return Result(notes=(("info", "Nobody can have them any more."),))

    # -- for operators ------------------------------------------------------------------------------

    @operator("list how much each account has uploaded")
    async def usage(self) -> Rows:
        """Those with the most first."""
        found: dict[str, list[int]] = {}
        async for _, file in self.files.all():
            of = found.setdefault(file.uploader, [0, 0])
            of[0] += 1
            of[1] += file.size
        rows = [{"jid": jid, "files": count, "bytes": size} for jid, (count, size) in found.items()]
        return sorted(rows, key=lambda row: -int(str(row["bytes"])))

    @operator("list the files that an account has uploaded")
    async def list(self, jid: JID) -> Rows:
        """The newest last."""
        tokens = await self.files.of(jid.bare)
        found = [(token, await self.files.get(token)) for token in tokens]
        there = sorted(((token, file) for token, file in found if file), key=lambda each: each[1].since)
        return [_row(token, file) for token, file in there]

    @operator("delete an uploaded file, by the name of its folder in its URL")
    async def delete(self, file: str) -> str:
        """It cannot be had any more.

        :raises Refused: there is none.
        """
        token = file.rpartition(f"/{PATH}/")[2].partition("/")[0]
        known = await self.files.get(token)
        if known is None:
            raise Refused(f"there is no file {token}")
        await self.files.remove(token, known)
        return f"{known.name} of {known.uploader} is deleted"

    @operator("show how much of an account is kept at most, or set it (MiB; 0: as all)")
    async def quota(self, jid: JID, mebibytes: int | None = None) -> str:
        """In MiB.

        :raises Refused: there is no such account.
        """
        if not (await self.domain.account(jid)).exists:
            raise Refused(f"there is no account {jid.bare}")
        if mebibytes is not None:
            await self.quotas.change(jid.bare, {"": mebibytes << 20 if mebibytes > 0 else None})
        own = await self.quotas.get(jid.bare)
        most = own or self.config.quota
        now = self._seconds()
        held = sum(
            each.size
            for each in (await self.files.of(jid.bare)).values()
            if each.expires > now and bucket(each.purpose) == "message"
        )
        return f"{jid.bare} has {held} of {most} bytes{', a quota of its own' if own else ''}"


def _row(token: str, file: File) -> dict[str, object]:
    return {
        "file": token,
        "name": file.name,
        "type": file.type,
        "bytes": file.size,
        "since": _stamp(file.since),
        "expires": "never" if file.expires >= FOREVER else _stamp(file.expires),
    }


def _stamp(seconds: float) -> str:
    return to_stamp(datetime.fromtimestamp(seconds, UTC))
