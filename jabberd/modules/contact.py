"""XEP-0157 and XEP-0455: where to reach those who run the server, and where it tells of outages."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Final

from jabberd.api import Mistake, Module, Settings, checked
from jabberd.xmpp.forms import Field, Form

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jabberd.api import Element

SERVER_INFO: Final = "http://jabber.org/network/serverinfo"
OUTAGES: Final = "urn:xmpp:sos:0"
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:[^\s]+", re.ASCII)
_PAGE: Final = re.compile(r"https?://[^\s]+", re.ASCII)


def _uris(value: tuple[str, ...]) -> tuple[str, ...]:
    for each in value:
        if not _URI.fullmatch(each):
            raise Mistake('is no URI; write it like "mailto:abuse@montague.lit" or "xmpp:admin@montague.lit"')
    return value


def _pages(value: tuple[str, ...]) -> tuple[str, ...]:
    """XEP-0455 §2.1."""
    for each in value:
        if not _PAGE.fullmatch(each):
            raise Mistake('is no web address; write it like "https://status.example/outage.json"')
    return value


Addresses = Annotated[tuple[str, ...], checked(_uris)]
Pages = Annotated[tuple[str, ...], checked(_pages)]


class ContactAddresses(Module, xep=157, version="1.1.1"):
    """Tells them in disco#info, in forms of their own (XEP-0128)."""

    class Config(Settings):
        """URIs for each purpose; none is told that is not named.

        :ivar abuse: to report abuse; ``admin``, ``feedback``, ``sales``, ``security``, ``support``: as named.
        :ivar status: where people read how the service is.
        :ivar outages: where programs read it, while the server is away, too (XEP-0455 §2.2).
        """

        abuse: Addresses = ()
        admin: Addresses = ()
        feedback: Addresses = ()
        sales: Addresses = ()
        security: Addresses = ()
        status: Addresses = ()
        support: Addresses = ()
        outages: Pages = ()

    config: Config

    def extensions(self) -> Iterable[Element]:
        """See `jabberd.modules.disco.Extends`."""
        named = {each.name: getattr(self.config, each.name) for each in fields(self.config)}
        outages = named.pop("outages")
        told = [Field(f"{name}-addresses", "list-multi", values=uris) for name, uris in named.items() if uris]
        if told:
            yield Form(SERVER_INFO, tuple(told)).element("result")
        if outages:
            addresses = Field("external-status-addresses", "list-multi", values=outages)
            yield Form(OUTAGES, (addresses,)).element("result")
