"""What is served over HTTP, and the rules that hold for every page.

A page is put into the tree with ``root.putChild(b"name", page)``.  It is found by its decoded path, taken
literally: one with ``..`` or an encoded slash in it leads nowhere, and so does a host that is none of ours.
"""

from __future__ import annotations

import ipaddress
import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, runtime_checkable
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.web import http
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from jabberd.rates import Meter, Rate, ip, network

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jabberd.interfaces import Storage

__all__ = [
    "Body",
    "Few",
    "Health",
    "Page",
    "Pages",
    "Readable",
    "Refusal",
    "TakesBodies",
    "Unwanted",
    "Visits",
    "plain",
]

log = Logger()

_MOST_BODY: Final = 64 << 10  # bytes of one request
_TIMEOUT: Final = 30.0  # seconds that a connection may be silent
_PACE: Final = 4 << 10  # bytes of a request that have to come in so long, or its end
_GOODBYE: Final = 60.0  # seconds that the end of a connection may take
_PATIENCE: Final = 2.0  # seconds that the storage has for an answer


class Page(Resource):
    """A page; what lies below it, and was not put there, is not found."""

    def __init__(self) -> None:
        Resource.__init__(self)

    def getChild(self, path: bytes, request: Request) -> Resource:  # noqa: ARG002  # Twisted's
        return Refusal(http.NOT_FOUND, b"not found\n")

    def render(self, request: Request) -> bytes | int:
        try:
            done: bytes | int = Resource.render(self, request)
        except UnsupportedMethod as error:
            request.setHeader(b"allow", b", ".join(sorted(error.allowedMethods)))
            return Refusal(http.NOT_ALLOWED, b"not done here\n").render(request)
        return done


class Refusal(Page):
    """A status and a line of text, whatever was asked."""

    def __init__(self, code: int, text: bytes) -> None:
        super().__init__()
        self._code = code
        self._text = text

    def render(self, request: Request) -> bytes:
        request.setResponseCode(self._code, HTTPStatus(self._code).phrase.encode())
        return plain(request, b"text/plain; charset=utf-8", self._text)


class Visits:
    """How often one address may ask for pages on which somebody could guess.

    A proxy on this machine, behind which everybody has the same address, sees to that by itself.
    """

    def __init__(self, most: int, seconds: float, clock: Any) -> None:
        self._meter = Meter("visits", Rate(most, seconds))
        self._clock = clock

    def refusal(self, request: Request) -> Refusal | None:
        """What is rendered for one visit too many; None: it may be, and counts (RFC 6585 §4)."""
        host, now = ip(request.getClientAddress()), self._clock.seconds()
        if not host or ipaddress.ip_address(host).is_loopback or self._meter.take(network(host), now):
            return None
        request.setHeader(b"retry-after", b"%d" % math.ceil(self._meter.wait(network(host), now)))
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, b"too many requests; try again later\n")


class Readable(Page):
    """Something that pages of all origins may read (CORS); below it is nothing."""

    def __init__(self, type: bytes, content: bytes) -> None:
        super().__init__()
        self._type = type
        self._content = content

    def render_GET(self, request: Request) -> bytes:
        """The content, to whoever asks at its very place."""
        if request.postpath:
            return Refusal(http.NOT_FOUND, b"not found\n").render(request)
        request.setHeader(b"access-control-allow-origin", b"*")
        return plain(request, self._type, self._content)


def plain(request: Request, type: bytes, body: bytes) -> bytes:
    """The body of an answer that nobody keeps, or takes for anything else."""
    request.setHeader(b"content-type", type)
    request.setHeader(b"content-length", b"%d" % len(body))
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"x-content-type-options", b"nosniff")
    return body


class Body(Protocol):
    """Takes the body of a request while it arrives."""

    def take(self, data: bytes) -> None:
        """The next part of it.

        :raises Unwanted: no more of it is.
        """

    def drop(self) -> None:
        """It will not get whole."""


@runtime_checkable
class TakesBodies(Protocol):
    """A page that takes bodies of any length."""

    def body(self, request: Request, length: int | None) -> Body | None:
        """What takes the body of a request, which has its headers but is not rendered yet.

        `Resource.render` finds it in ``request.body`` when it is whole.

        :param length: as announced; None: it comes in chunks.
        :returns: None: it is as small as that of any request.
        :raises Unwanted: none of it is.
        """


class Unwanted(Exception):  # noqa: N818  # what the body is
    """A request is refused before it is whole, with that status, and its connection ends."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class BoundedRequest(Request):
    """A request whose body is as long as a page may want, and no longer.

    :ivar body: what took the body, where the page is one of `TakesBodies`.
    """

    channel: Any
    content: Any
    body: Body | None = None
    _refused = False

    def gotLength(self, length: int | None) -> None:
        Request.gotLength(self, 0)  # which keeps the body in memory; Twisted would trust the length
        try:
            page = self._addressed()
            self.body = page.body(self, length) if isinstance(page, TakesBodies) else None
            if self.body is None and length is not None and length > _MOST_BODY:
                raise Unwanted(http.REQUEST_ENTITY_TOO_LARGE)
        except Unwanted as why:
            self._refuse(why.code)

    def _addressed(self) -> Any:
        """The page that the request will go to; Twisted looks for it when the body is whole."""
        channel = self.channel
        self.method, self.uri = channel._command, channel._path  # noqa: SLF001  # known to nobody else yet
        self.path, self.clientproto = self.uri.partition(b"?")[0], channel._version  # noqa: SLF001  # as above
        self.prepath, self.postpath = [], list(map(unquote_to_bytes, self.path[1:].split(b"/")))
        return channel.site.getResourceFor(self)

    def handleContentChunk(self, data: bytes) -> None:
        if self._refused:
            return
        try:
            if self.body is not None:
                self.body.take(data)
            elif self.content.tell() + len(data) > _MOST_BODY:
                raise Unwanted(http.REQUEST_ENTITY_TOO_LARGE)
            else:
                Request.handleContentChunk(self, data)
        except Unwanted as why:
            self._refuse(why.code)

    def _refuse(self, code: int) -> None:
        self._refused = True
        if self.body is not None:
            self.body.drop()
        self.requestHeaders.removeHeader(b"expect")  # or it would be told to continue
        self.responseHeaders.removeHeader(b"server")
        self.responseHeaders.setRawHeaders(b"content-length", [b"0"])
        self.responseHeaders.setRawHeaders(b"connection", [b"close"])
        reason = http.RESPONSES.get(code, b"")
        self.channel.writeHeaders(b"HTTP/1.1", b"%d" % code, reason, self.responseHeaders)
        self.channel.loseConnection()

    def connectionLost(self, reason: Any) -> None:
        if self.body is not None:
            self.body.drop()
        Request.connectionLost(self, reason)

    def process(self) -> None:
        if self.uri == b"*":  # which Twisted would answer by itself
            self.path = b"/*"
            self.uri = self.path
        if not self._refused:
            Request.process(self)

    def render(self, resrc: Any) -> None:
        self.responseHeaders.removeHeader(b"server")  # nobody's business
        Request.render(self, resrc)


class Channel(http.HTTPChannel):
    """A connection that gets on: whoever sends a byte now and then does not keep it for long.

    Nor does whoever, told that it ends, does not read the rest, or never ends TLS.
    """

    callLater: Any  # the clock of the site
    transport: Any
    _due = 0  # bytes until there is another `_TIMEOUT`; none at the beginning of a request

    def dataReceived(self, data: bytes) -> None:
        self._due -= len(data)
        http.HTTPChannel.dataReceived(self, data)

    def resetTimeout(self) -> None:
        """Twisted would, whenever there is a byte."""
        if self._due < 0:
            self._due = _PACE
            http.HTTPChannel.resetTimeout(self)

    def requestDone(self, request: Request) -> None:
        self._due = 0
        http.HTTPChannel.requestDone(self, request)

    def lineLengthExceeded(self, _line: bytes) -> None:
        # Twisted would say nothing, and TLS would not end
        self._respondToBadRequestAndDisconnect()  # type: ignore[no-untyped-call]  # of Twisted's

    def timeoutConnection(self) -> None:
        self.loseConnection()  # Twisted would say so in the log, of each that is idle

    def forceAbortClient(self) -> None:
        self._abortingCall = None
        self.transport.abortConnection()

    def loseConnection(self) -> None:
        self.setTimeout(None)  # type: ignore[no-untyped-call]  # of Twisted's
        if self._abortingCall is None:
            self._abortingCall = self.callLater(_GOODBYE, self.forceAbortClient)
        http.HTTPChannel.loseConnection(self)


class Pages(Site):
    """All pages of one kind of listener.

    :param ours: whether this server is called so, beside addresses and ``localhost``.  A page that a
        browser finds under another name was not meant for it (DNS rebinding).
    """

    protocol = cast("Any", Channel)  # where there is no HTTP/2 to choose
    requestFactory = BoundedRequest
    noisy = False

    def __init__(self, root: Page, ours: Callable[[str], bool], reactor: Any) -> None:
        Site.__init__(self, root, timeout=_TIMEOUT, reactor=reactor, parsePOSTFormSubmission=False)
        self._ours = ours

    def getResourceFor(self, request: Request) -> Any:
        hosts = request.requestHeaders.getRawHeaders(b"host") or []
        if len(hosts) != 1 and not (request.clientproto == b"HTTP/1.0" and not hosts):
            return Refusal(http.BAD_REQUEST, b"a request names one host\n")  # RFC 9112 §3.2
        if not (self._is_ours(request.getRequestHostname()) and _is_literal(request)):
            return Refusal(http.NOT_FOUND, b"not found\n")
        return Site.getResourceFor(self, request)

    def _is_ours(self, name: bytes) -> bool:
        host = name.decode("latin-1").lower()
        if host == "localhost" or self._ours(host):
            return True
        try:
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def log(self, request: http.Request) -> None:
        """Twisted would write every request into the server's own log."""
        log.debug("{method!r} {path!r}: {code}", method=request.method, path=request.path, code=request.code)


class Few(WrappingFactory[Any]):
    """So many connections to another factory's protocols at a time, and no more.

    :ivar refused: how many were one too many.
    """

    noisy = False

    def __init__(self, factory: Any, most: int) -> None:
        WrappingFactory.__init__(self, factory)
        self.most = most
        self.refused = 0

    def buildProtocol(self, addr: Any) -> Any:
        if len(self.protocols) < self.most:
            return WrappingFactory.buildProtocol(self, addr)
        self.refused += 1
        return None


def _is_literal(request: Request) -> bool:
    """Whether the path says where it leads: no step back, no slash or backslash that was encoded."""
    return request.path.startswith(b"/") and not any(
        segment in {b".", b".."} or set(b"/\\\0") & set(segment) for segment in request.postpath or ()
    )


class Health(Page):
    """``/healthz``: 200 while all domains serve and the storage answers, else 503; as JSON.

    :param domains: by domain, whether it serves.
    """

    def __init__(self, domains: Callable[[], Mapping[str, bool]], storage: Storage, clock: Any) -> None:
        super().__init__()
        self._domains = domains
        self._storage = storage
        self._clock = clock

    def render_GET(self, request: Request) -> int:
        """Answer as soon as the storage does, or is late."""
        checking = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: checking.cancel())
        checking.addErrback(lambda _: None)  # cancelled: there is nobody to answer
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        domains, storage = dict(self._domains()), await self._storage_answers()
        healthy = storage and all(domains.values())
        request.setResponseCode(http.OK if healthy else http.SERVICE_UNAVAILABLE)
        body = {"status": "ok" if healthy else "failing", "domains": domains, "storage": storage}
        request.write(plain(request, b"application/json", json.dumps(body).encode() + b"\n"))
        request.finish()

    async def _storage_answers(self) -> bool:
        try:
            await self._storage.load("localhost", ()).addTimeout(_PATIENCE, self._clock)
        except Exception as error:  # noqa: BLE001  # whatever it is: no answer
            log.warn("the storage does not answer: {error!r}", error=error)
            return False
        return True
