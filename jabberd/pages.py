"""The pages that modules have for everybody, each domain's at its own name (`jabberd.api.page`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web import http

from jabberd.web import Page, Pages, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.web.resource import Resource
    from twisted.web.server import Request

__all__ = ["Counted", "Declared", "PublicPages"]

log = Logger()

#: By path, who gives the page there: see `jabberd.registry.Registry.pages`.
Declared: TypeAlias = "Mapping[str, Callable[[Request], Resource]]"


class PublicPages(Pages):
    """All pages of all domains.

    :param hosts: by domain where its pages are (``Domain.url``) and who gives them; asked each time.
    """

    def __init__(self, hosts: Callable[[], Mapping[str, tuple[str, Declared]]], reactor: Any) -> None:
        Pages.__init__(self, _Domains(self._named), lambda name: self._named(name) is not None, reactor)
        self._hosts = hosts

    def _named(self, name: str) -> Declared | None:
        """The pages of the domain that is called so, and of those that have theirs on that host."""
        found: dict[str, Callable[[Request], Resource]] | None = None
        for domain, (url, pages) in self._hosts().items():
            place = urlsplit(url)
            if name in {domain, place.hostname}:
                below = f"{place.path[1:]}/" if name != domain and place.path else ""
                found = (found or {}) | {f"{below}{path}": give for path, give in pages.items()}
        return found

    def log(self, request: http.Request) -> None:
        """Without the path: who knows that of a file may have the file."""
        log.debug(
            "{method!r} {host!r}: {code}", method=request.method, host=_host(request), code=request.code
        )


class _Domains(Page):
    """Leads to the page of the domain whose name the request has.

    :param named: its pages; None: there is no such domain.
    """

    def __init__(self, named: Callable[[str], Declared | None]) -> None:
        super().__init__()
        self._named = named

    def getChild(self, path: bytes, request: Request) -> Resource:
        pages = self._named(_host(request)) or {}
        segments = [path, *(request.postpath or ())]
        for count in range(len(segments), 0, -1):
            give = pages.get(b"/".join(segments[:count]).decode("utf-8", "replace"))
            if give is not None:
                request.prepath = [*(request.prepath or ()), *segments[1:count]]
                request.postpath = segments[count:]
                page = give(request)
                page.isLeaf = True  # what is left of the path is its own business
                return page
        return Refusal(http.NOT_FOUND, b"not found\n")


def _host(request: Any) -> str:
    name: str = request.getRequestHostname().decode("latin-1").lower()
    return name


class Counted(WrappingFactory[Any]):
    """Connections to another factory's protocols that count among all others of their address.

    :param admit: whether one more may come from an address; ``leave``: one from there is gone.
    """

    noisy = False

    def __init__(self, factory: Any, admit: Callable[[Any], bool], leave: Callable[[Any], None]) -> None:
        WrappingFactory.__init__(self, factory)
        self._admit = admit
        self._leave = leave

    def buildProtocol(self, addr: Any) -> Any:
        return WrappingFactory.buildProtocol(self, addr) if self._admit(addr) else None

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        WrappingFactory.unregisterProtocol(self, p)
        self._leave(p.getPeer())
