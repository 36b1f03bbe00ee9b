"""Files over HTTP: put once as promised, then read by whoever knows where (XEP-0363 §7, §8)."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web import http
from twisted.web.server import NOT_DONE_YET

from jabberd.api import StorageError
from jabberd.modules.upload.names import disposition, media_type
from jabberd.modules.upload.sending import LeftError, Part, asked_part, sent
from jabberd.web import Page, Refusal, Unwanted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.python.failure import Failure
    from twisted.web.resource import Resource
    from twisted.web.server import Request

    from jabberd.modules.upload.files import File, Files
    from jabberd.modules.upload.slots import Slot, Slots

__all__ = ["FilePage", "file_page"]

log = Logger()

_FRESH: Final = 86400  # seconds that a browser need not ask again
#: §8: pages of other origins may read, and put.
_CORS: Final = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "OPTIONS, HEAD, GET, PUT",
    "access-control-allow-headers": "Authorization, Content-Type, Range",
    "access-control-expose-headers": "Content-Length, Content-Range, ETag",
    "access-control-max-age": "7200",
}
#: §9.1: what somebody has uploaded runs no script and is what it was said to be.
_ISOLATION: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "cross-origin",
    "referrer-policy": "no-referrer",
}


class FilePage(Page):
    """One place: where a file is put, or where it is read.

    :param key: the token of a file, or the secret of a slot.
    :param name: what it is called there.
    """

    def __init__(self, key: str, name: str, files: Files, slots: Slots, now: Callable[[], float]) -> None:
        super().__init__()
        self._key = key
        self._name = name
        self._files = files
        self._slots = slots
        self._now = now

    def render(self, request: Request) -> bytes | int:
        for name, value in _CORS.items():
            request.setHeader(name, value)
        return Page.render(self, request)

    def render_OPTIONS(self, request: Request) -> bytes:
        """What pages of other origins may do here (CORS)."""
        request.setResponseCode(http.NO_CONTENT)
        request.setHeader(b"allow", _CORS["access-control-allow-methods"])
        return b""

    # -- putting ------------------------------------------------------------------------------------

    def body(self, request: Any, length: int | None) -> Arrival | None:
        """See `jabberd.web.TakesBodies`."""
        if request.method != b"PUT":
            return None
        request.setHeader("access-control-allow-origin", "*")
        slot = self._slots.get(self._key, self._now())
        if slot is None or slot.file.name != self._name:
            raise Unwanted(http.NOT_FOUND)
        if length is not None and length != slot.file.size:
            raise Unwanted(http.REQUEST_ENTITY_TOO_LARGE if length > slot.file.size else http.BAD_REQUEST)
        type = _type(request, slot)
        try:
            return Arrival(self._files, self._slots, self._key, type)
        except OSError as error:
            raise _no_room(error) from None

    def render_PUT(self, request: Any) -> bytes | int:
        """Keep what has arrived, and say so when it will be there after a crash as well."""
        arrival: Arrival = request.body
        if not arrival.whole:
            arrival.drop()
            return Refusal(http.BAD_REQUEST, b"shorter than announced\n").render(request)
        _answered(request, self._keep(request, arrival))
        return NOT_DONE_YET

    async def _keep(self, request: Request, arrival: Arrival) -> None:
        request.setResponseCode(await arrival.keep())
        request.setHeader(b"content-length", b"0")
        request.finish()

    # -- reading ------------------------------------------------------------------------------------

    def render_GET(self, request: Request) -> int:
        """The file, or the part of it that is asked for (RFC 9110 §14)."""
        giving = _answered(request, self._give(request))
        request.notifyFinish().addErrback(lambda _: giving.cancel())
        return NOT_DONE_YET

    async def _give(self, request: Any) -> None:
        file = await self._files.get(self._key)
        if request.channel is None:
            return  # who asked has gone
        try:
            if file is None or file.name != self._name or file.expires <= self._now():
                raise FileNotFoundError
            opened = self._files.path(self._key).open("rb")
        except FileNotFoundError:
            request.write(Refusal(http.NOT_FOUND, b"not found\n").render(request))
        else:
            with opened:
                await self._send(request, file, opened)
        request.finish()

    async def _send(self, request: Request, file: File, opened: BinaryIO) -> None:
        self._describe(request, file)
        if request.setETag(_tag(self._key)) is http.CACHED:
            return
        first, last = self._part(request, file)
        if request.method != b"HEAD" and first <= last:
            opened.seek(first)
            await sent(request, Part(opened, last + 1 - first))

    def _part(self, request: Request, file: File) -> tuple[int, int]:
        """The first and the last byte to send; none if the last comes before the first."""
        part = asked_part(request.getHeader(b"range"), file.size)
        if request.getHeader(b"if-range") not in (None, _tag(self._key)):
            part = None
        first, last = part or (0, file.size - 1)
        if part:
            request.setResponseCode(http.PARTIAL_CONTENT)
            request.setHeader("content-range", f"bytes {first}-{last}/{file.size}")
        if first >= file.size:
            request.setResponseCode(http.REQUESTED_RANGE_NOT_SATISFIABLE)
            request.setHeader("content-range", f"bytes */{file.size}")
            first, last = 0, -1
        request.setHeader("content-length", str(last + 1 - first))
        return first, last

    def _describe(self, request: Request, file: File) -> None:
        for name, value in _ISOLATION.items():
            request.setHeader(name, value)
        request.setHeader("content-type", file.type)
        request.setHeader("accept-ranges", "bytes")
        request.setHeader("content-disposition", disposition(file.name, file.type))
        fresh = max(0, min(_FRESH, int(file.expires - self._now())))
        request.setHeader("cache-control", f"private, max-age={fresh}, immutable")


class Arrival:
    """A file that arrives: see `jabberd.web.Body`.

    :ivar slot: the promise; nobody else can have it kept.
    :param secret: with which it is put.
    :ivar type: the media type of the file.
    :ivar over: whether it is whole, and somebody else's business from now on, or was dropped.
    """

    def __init__(self, files: Files, slots: Slots, secret: str, type: str) -> None:
        self.type = type
        self.spooled = files.spooled()
        self.slot = slots.begin(secret)
        self._files = files
        self._slots = slots
        self._secret = secret
        self.over = False

    @property
    def whole(self) -> bool:
        """Whether all of it is there."""
        return self.spooled.size == self.slot.file.size

    def take(self, data: bytes) -> None:
        """See `jabberd.web.Body`."""
        if not self._slots.stands(self._secret):
            raise Unwanted(http.NOT_FOUND)
        if self.spooled.size + len(data) > self.slot.file.size:
            raise Unwanted(http.REQUEST_ENTITY_TOO_LARGE)
        try:
            self.spooled.write(data)
        except OSError as error:
            raise _no_room(error) from None

    async def keep(self) -> int:
        """Have it be a file from now on, also after a crash; the status that says what has become of it."""
        self.over = True
        token, file = self.slot.token, replace(self.slot.file, type=self.type)
        try:
            await self._files.keep(self.spooled, token, file)
            wanted = self._slots.stands(self._secret)
            if not wanted:  # meanwhile the account was deleted
                await self._files.remove(token, file, counts=False)
        except (OSError, StorageError) as error:
            return _no_room(error).code
        else:
            return http.CREATED if wanted else http.NOT_FOUND
        finally:
            self._slots.end(self._secret)

    def drop(self) -> None:
        """See `jabberd.web.Body`; it may be put again."""
        if not self.over:  # else the slot may be somebody's who puts it again
            self.over = True
            self.spooled.drop()
            self._slots.again(self._secret)


def file_page(request: Request, files: Files, slots: Slots, now: Callable[[], float]) -> Resource:
    """The page below which ``KEY/NAME`` is left of the path."""
    match [each.decode("utf-8", "replace") for each in request.postpath or ()]:
        case [str(key), str(name)] if key and name:
            return FilePage(key, name, files, slots, now)
        case _:
            return Refusal(http.NOT_FOUND, b"not found\n")


def _type(request: Request, slot: Slot) -> str:
    """The media type of the file: as announced, or else as it is put (§7).

    :raises Unwanted: it is put as another one.
    """
    said = request.getHeader("content-type")
    if said is None:
        return slot.file.type
    try:
        type = media_type(said)
    except ValueError:
        raise Unwanted(http.UNSUPPORTED_MEDIA_TYPE) from None
    if slot.typed and type != slot.file.type:
        raise Unwanted(http.UNSUPPORTED_MEDIA_TYPE)
    return type


def _no_room(error: Exception) -> Unwanted:
    log.error("an upload cannot be kept: {error}", error=error)
    return Unwanted(http.INSUFFICIENT_STORAGE_SPACE)


def _tag(key: str) -> bytes:
    """A file never changes where it is."""
    return b'"%s"' % sha256(key.encode()).hexdigest()[:16].encode()


def _answered(request: Request, answer: Coroutine[Any, Any, None]) -> Deferred[None]:
    """Let the answer come later; who has gone is not answered."""
    gone: list[Failure] = []
    request.notifyFinish().addErrback(gone.append)

    def failed(why: Failure) -> None:
        if not gone and not why.check(LeftError):
            log.failure("a page of files failed", why)
            request.setResponseCode(http.INTERNAL_SERVER_ERROR)
            request.finish()

    return Deferred.fromCoroutine(answer).addErrback(failed)
