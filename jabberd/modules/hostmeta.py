"""XEP-0156: where else than DNS says a client may connect, as web pages read it (RFC 6415)."""

from __future__ import annotations

import json
import re
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Final, Protocol, runtime_checkable

from jabberd.api import Mistake, Module, Settings, checked, page
from jabberd.xmpp.element import E, serialize

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twisted.web.resource import Resource
    from twisted.web.server import Request

XRD: Final = "http://docs.oasis-open.org/ns/xri/xrd-1.0"
PATH: Final = ".well-known/host-meta"
_ALTERNATIVE: Final = "urn:xmpp:alt-connections:"
_FORM: Final = re.compile(r"[a-z][a-z0-9+.-]*:[^\s]+", re.ASCII)
_ENCRYPTED: Final = ("https://", "wss://")


def _links(links: Mapping[str, str]) -> Mapping[str, str]:
    for relation, href in links.items():
        if not _FORM.fullmatch(relation) or not _FORM.fullmatch(href):
            raise Mistake('has a link that is none; write it like "urn:example:rel" = "https://example.org/"')
        if relation.startswith(_ALTERNATIVE) and not href.startswith(_ENCRYPTED):
            raise Mistake(
                f'lets clients connect to {href}, unencrypted; begin it with "https://" or "wss://"'
            )
    return links


@runtime_checkable
class Linked(Protocol):
    """A module that clients can reach at a place of its own."""

    def links(self) -> Iterable[tuple[str, str]]:
        """Relations and URLs, which begin with ``https://`` or ``wss://`` (§2.2)."""


class HostMeta(Module, xep=156, version="1.4.0"):
    """Serves the domain's host-meta file, as XML and as JSON.

    It lists what modules of this domain offer, and what the operator names; what is in DNS anyway does not
    belong there (§2.2).
    """

    class Config(Settings):
        """What is served elsewhere.

        :ivar links: by relation, such as ``urn:xmpp:alt-connections:websocket``, the URL.
        """

        links: Annotated[dict[str, str], checked(_links)] = field(default_factory=dict)

    config: Config

    def _all(self) -> list[tuple[str, str]]:
        offered = [link for each in self.domain.having(Linked) for link in each.links()]
        return [*offered, *self.config.links.items()]

    @page(PATH)
    def xml(self, request: Request) -> Resource:
        """The file as XRD (RFC 6415 §3)."""
        links = (E(XRD, "Link", {"rel": relation, "href": href}) for relation, href in self._all())
        return _file(b"application/xrd+xml", _PROLOG + serialize(E(XRD, "XRD", None, *links)))

    @page(f"{PATH}.json")
    def json(self, request: Request) -> Resource:
        """The file as JRD (RFC 6415 appendix A)."""
        links = [{"rel": relation, "href": href} for relation, href in self._all()]
        return _file(b"application/json", json.dumps({"links": links}).encode())


_PROLOG: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def _file(type: bytes, content: bytes) -> Resource:
    """A page that pages of all origins may read (§3)."""
    from jabberd.web import Readable  # noqa: PLC0415 - 3 MiB, for those who serve pages

    return Readable(type, content)
